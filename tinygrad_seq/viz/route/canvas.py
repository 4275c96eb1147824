"""What all routes draw on: a picture, and where its blocks stand."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from tinygrad_seq.viz.graph.items import Edge
from tinygrad_seq.viz.layout.frames import framed
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.layout.weight_boxes import weight_boxes
from tinygrad_seq.viz.picture.shapes import Point, Wire
from tinygrad_seq.viz.picture.words import edge_look
from tinygrad_seq.viz.route.lanes import Lanes

__all__ = ["ASIDE", "INSIDE", "Canvas", "beside", "road_of"]

ASIDE = 7.0  # between a forward wire and its gradient
INSIDE = 4.0  # where it goes on within a block, between the tracks there


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
        head = self.grid.met(edge)
        wire = Wire.along(edge.tail, head, corners, color or self.theme.line, **look)
        self.picture.wires.append(wire)
        return wire

    def gradient(self, edge: Edge, corners: list[Point], side: float = 1.0) -> None:
        """The way back along a wire, a little aside; none where the gradient is cut.

        Beside a level wire over (1) or under (-1) it, else right of the way forward.
        """
        if not self.both or edge.cut:
            return
        whole = self.grid.whole(edge, corners)
        if all(abs(y - whole[0][1]) < 1 for _, y in whole):
            moved = [(x, y + side * ASIDE) for x, y in (whole[0], whole[-1])]
        else:
            moved = beside(whole, ASIDE if len(whole) == len(corners) else INSIDE)
        self.back(edge, moved[::-1])

    def back_along(self, wire: Wire, ends: list[Point], side: float) -> None:
        """Draw the gradient of a level wire within a block."""
        way, tooltip = [(x, y + side) for x, y in ends[::-1]], f"gradient of: {wire.tooltip}"
        look: dict[str, Any] = {"road": wire.road, "tooltip": tooltip, "classes": "gradient"}
        back = Wire.along(wire.head, wire.tail, way, self.theme.gradient, 1.3, 0.6, **look)
        self.picture.wires.append(back)

    def back(self, edge: Edge, corners: list[Point]) -> Wire:
        """Draw the gradient of an edge."""
        wire = self.wire(edge, corners, self.theme.gradient, pen=1.3, arrow=0.6)
        wire.tail, wire.head = edge.head, edge.tail
        wire.tooltip, wire.classes = f"gradient of: {wire.tooltip}", "gradient"
        return wire


def beside(corners: list[Point], aside: float) -> list[Point]:
    """A way in parallel: right of another one, or left of it for less than 0."""
    right = []
    for (x, y), (u, v) in pairwise(corners):
        length = math.dist((x, y), (u, v)) or 1.0
        right.append(((v - y) / length, (x - u) / length))
    found: list[Point] = []
    for (x, y), (a, b), (c, d) in zip(corners, right[:1] + right, right + right[-1:], strict=True):
        by = aside / max(1 + a * c + b * d, 0.5)
        found.append((x + by * (a + c), y + by * (b + d)))
    return found


def road_of(edge: Edge) -> str:
    """Names an edge among the things that lie along one state or weight."""
    return f"{edge.tail}>{edge.head}:{edge.kind}"
