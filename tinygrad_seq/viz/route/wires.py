"""What every wire of a grid has: a way, a colour, a tooltip, and its gradient's way back."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.viz.graph.items import Edge, Item, Step
from tinygrad_seq.viz.layout.columns import Column, RowKey
from tinygrad_seq.viz.layout.grid import PAD, TRACK, Grid
from tinygrad_seq.viz.picture.shapes import Point, Shape, Wire, route
from tinygrad_seq.viz.picture.style import Theme
from tinygrad_seq.viz.picture.words import edge_tooltip
from tinygrad_seq.viz.route.lanes import free_height

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
        self._boxes: list[tuple[Item, RowKey, Shape]] = []
        self._levels: dict[int, dict[tuple[str, str], float]] = {}
        self._named: set[tuple[str, str, float]] = set()
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

    def _track(self, edge: Edge) -> float:
        """Where an edge climbs from the end of its time axis to the height of a later one."""
        grid, (number, _) = self.grid, self.grid.column(edge.tail)
        last = [column for column in grid.columns if column[0] == number][-1]
        rights = [self._frame(last)[1] + (34.0 if self.graph.view.folds else 0.0)]
        for (row, step), block in grid.blocks.items():
            if step is None and grid.segment[row] == number:
                rights.append(block.shapes[0].x + block.shapes[0].width / 2)
        name = edge.tail, edge.kind if edge.delay else "memory"
        climbing = grid.climbing(grid.column(edge.head)[0])
        return max(rights) + 6 + TRACK * (climbing.index(name) if name in climbing else 1)

    def _boxes_before(self, axis: int) -> list[Shape]:
        return [box for _, row, box in self._boxes if self.grid.segment[row] == axis]

    def _boxes_left(self, axis: int, default: float) -> float:
        """Left of the boxes of weights that stand before a time axis; `default` without any."""
        return min((box.x - box.width / 2 for box in self._boxes_before(axis)), default=default)

    def _level(self, edge: Edge, wanted: float) -> float:
        """Height at which an edge to a later time axis passes the boxes of weights before it."""
        axis = self.grid.column(edge.head)[0]
        boxes = self._boxes_before(axis)
        levels = self._levels.setdefault(axis, {})
        name = edge.tail if edge.delay else edge.kind, f"{edge.kind} {wanted:.1f}"
        if name not in levels:
            levels[name] = free_height(boxes, wanted, list(levels.values()))
        return levels[name]

    def _color(self, kind: str) -> str:
        return {"h": self.theme.h, "c": self.theme.c}.get(kind, self.theme.line)

    def _frame(self, column: Column) -> Point:
        """Left and right of a column's frame."""
        x, width = self.grid.x[column]
        return x - width / 2 - PAD, x + width / 2 + PAD


def road_of(edge: Edge) -> str:
    """Names an edge among the things that lie along one state or weight."""
    return f"{edge.tail}>{edge.head}:{edge.kind}"
