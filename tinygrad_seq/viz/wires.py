"""What every wire of a grid has: a way, a colour, a tooltip, and its gradient's way back."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.viz.columns import Column, RowKey
from tinygrad_seq.viz.grid import PAD, Grid
from tinygrad_seq.viz.ir import Edge, Step
from tinygrad_seq.viz.picture import Point, Wire, route
from tinygrad_seq.viz.style import Theme
from tinygrad_seq.viz.words import edge_tooltip

__all__ = ["ASIDE", "Wires", "road_of"]

ASIDE = 7.0  # between a forward wire and its gradient


class Wires:
    """What all wires have in common.

    Parameters
    ----------
    grid : Grid
    theme : Theme
    weights : {"once", "labels", "hidden"}
        Shared weights as one box each, as pale labels at every use, or not at all.
    both : bool
        Draw the gradient beside every wire that one comes back along.
    """

    def __init__(self, grid: Grid, theme: Theme, weights: str, both: bool) -> None:
        self.grid, self.theme, self.weights, self.both = grid, theme, weights, both
        self.graph, self.picture = grid.graph, grid.picture
        self.weight_names: dict[str, str] = {}
        """Short names of the weights that are drawn as labels, by item."""
        self._road_numbers: dict[str, int] = {}
        self._loops: dict[tuple[RowKey, int], list[Edge]] = {}
        """Loops so far over (1) and under (-1) a row."""
        self._bridges: dict[Column, list[Edge]] = {}
        self._on_road: set[tuple[str, str, tuple[RowKey, Step]]] = set()

    def _wire(self, edge: Edge, corners: list[Point], **options: Any) -> Wire:
        points, tip = route(corners)
        options.setdefault("color", self.theme.line)
        wire = Wire(edge.tail, edge.head, points, tip, **options)
        wire.road = road_of(edge)
        wire.tooltip, wire.classes = edge_tooltip(edge), f"edge-{edge.kind}"
        self.picture.wires.append(wire)
        return wire

    def _gradient(self, edge: Edge, corners: list[Point], side: float = 1.0) -> None:
        """The way back along a wire, a little aside; none where the gradient is cut."""
        if not self.both or edge.cut:
            return
        (x, _), (u, v) = corners[0], corners[-1]
        if len(corners) == 2 and abs(corners[0][1] - v) < 1:
            moved = [(a, b + side * ASIDE) for a, b in corners]
        else:
            turn = ASIDE if u <= x else -ASIDE
            inner = [(a + ASIDE, b + turn) for a, b in corners[1:-1]]
            y, second, last = corners[0][1], corners[1][1], corners[-2][1]
            start = (x, y + turn) if abs(y - second) < 1 else (x + ASIDE, y)
            end = (u, v + turn) if abs(v - last) < 1 else (u + ASIDE, v)
            moved = [start, *inner, end]
        points, tip = route(moved[::-1], arrow=0.6)
        wire = Wire(edge.head, edge.tail, points, tip, self.theme.gradient, 1.3, arrow=0.6)
        wire.tooltip, wire.classes = f"gradient of: {edge_tooltip(edge)}", "gradient"
        wire.road = road_of(edge)
        self.picture.wires.append(wire)

    def _color(self, kind: str) -> str:
        return {"h": self.theme.h, "c": self.theme.c}.get(kind, self.theme.line)

    def _frame(self, column: Column) -> Point:
        """Left and right of a column's frame."""
        x, width = self.grid.x[column]
        return x - width / 2 - PAD, x + width / 2 + PAD


def road_of(edge: Edge) -> str:
    """Names an edge among the things that lie along one state or weight."""
    return f"{edge.tail}>{edge.head}:{edge.kind}"
