"""What all routes draw on: a picture, and where its blocks stand."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.viz.graph.items import Edge
from tinygrad_seq.viz.layout.frames import framed
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.layout.weight_boxes import weight_boxes
from tinygrad_seq.viz.picture.shapes import Point, Wire
from tinygrad_seq.viz.picture.words import edge_look
from tinygrad_seq.viz.route.lanes import Lanes

__all__ = ["ASIDE", "Canvas", "road_of"]

ASIDE = 7.0  # between a forward wire and its gradient


class Canvas:
    """A picture that wires are added to.

    Attributes
    ----------
    inputs : dict
        Shapes of the inputs, by item.
    boxes : list of WeightBox
        Of shared weights, left of their rows.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid, self.graph = grid, grid.graph
        self.theme, self.both = grid.style.theme, grid.style.both
        self.picture, self.inputs = framed(grid)
        self.boxes = weight_boxes(grid) if grid.style.weights == "once" else []
        self.lanes = Lanes(grid, self.boxes)

    def wire(self, edge: Edge, corners: list[Point], color: str = "", **look: Any) -> Wire:
        """Draw an edge along corners."""
        corners = self.grid.whole(edge, corners)
        look = {"road": road_of(edge), **edge_look(edge), **look}
        wire = Wire.along(edge.tail, edge.head, corners, color or self.theme.line, **look)
        self.picture.wires.append(wire)
        return wire

    def gradient(self, edge: Edge, corners: list[Point], side: float = 1.0) -> None:
        """The way back along a wire, a little aside; none where the gradient is cut."""
        if not self.both or edge.cut:
            return
        (x, y), (u, v) = corners[0], corners[-1]
        if len(corners) == 2 and abs(y - v) < 1:
            moved = [(a, b + side * ASIDE) for a, b in corners]
        else:
            turn = ASIDE if u <= x else -ASIDE
            inner = [(a + ASIDE, b + turn) for a, b in corners[1:-1]]
            second, last = corners[1][1], corners[-2][1]
            start = (x, y + turn) if abs(y - second) < 1 else (x + ASIDE, y)
            end = (u, v + turn) if abs(v - last) < 1 else (u + ASIDE, v)
            moved = [start, *inner, end]
        self.back(edge, moved[::-1])

    def back(self, edge: Edge, corners: list[Point]) -> Wire:
        """Draw the gradient of an edge."""
        wire = self.wire(edge, corners, self.theme.gradient, pen=1.3, arrow=0.6)
        wire.tail, wire.head = edge.head, edge.tail
        wire.tooltip, wire.classes = f"gradient of: {wire.tooltip}", "gradient"
        return wire


def road_of(edge: Edge) -> str:
    """Names an edge among the things that lie along one state or weight."""
    return f"{edge.tail}>{edge.head}:{edge.kind}"
