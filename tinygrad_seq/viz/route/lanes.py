"""Where wires find room: past other blocks of their column, past boxes of weights."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import INPUT, Edge
from tinygrad_seq.viz.layout.columns import Column
from tinygrad_seq.viz.layout.grid import TRACK, Grid
from tinygrad_seq.viz.layout.weight_boxes import WeightBox
from tinygrad_seq.viz.picture.shapes import Point, Shape

__all__ = ["Lanes"]

# Lanes beside the blocks, within the frame of the column; a third is that of states.
INPUT_LANE, LANE = 3.0, 6.5
CLEAR = 4.0  # between a level wire and boxes above and below it
NARROW = 3.6  # between wires beside one column
BELOW, UNDER_LOOPS = 15.0, 9.0  # under the block that a wire ends at


class Lanes:
    """Ways between the blocks of a grid and its boxes of weights."""

    def __init__(self, grid: Grid, boxes: list[WeightBox]) -> None:
        self.grid, self.boxes = grid, boxes
        self._beside: dict[Column, list[tuple[float, float, float, str]]] = {}
        self._levels: dict[int, dict[tuple[str, str], float]] = {}

    def around(self, edge: Edge, column: Column, corners: list[Point]) -> list[Point]:
        """The same way if it is free; otherwise beside what stands between, or along the column."""
        grid, (x, low), (end, high) = self.grid, corners[0], corners[-1]
        own = {grid.where[name][0] for name in (edge.tail, edge.head) if name in grid.where}
        between = [
            block
            for row, block in grid.standing[column]
            if row not in own and low < grid.y[row][0] < high
        ]
        back = high - (UNDER_LOOPS if grid.graph.view.folds else BELOW)
        slanted = len(corners) == 2 and abs(x - end) >= 1
        if not between and slanted and edge.kind == INPUT:
            return [(x, low), (x, back), (end, back), (end, high)]
        if not between or len(corners) not in {2, 4}:
            return corners
        middle, width = grid.x[column]
        if len(corners) == 4 and all(abs(x - middle) > block.width / 2 + 4 for block in between):
            return [(x, low), (x, back), (end, back), (end, high)]
        aside = width / 2 + (INPUT_LANE if edge.kind == INPUT else LANE)
        out = low + 9
        side = middle + self._free_side(edge.tail, column, aside, (out, back))
        return [(x, low), (x, out), (side, out), (side, back), (end, back), (end, high)]

    def _free_side(self, tail: str, column: Column, aside: float, span: Point) -> float:
        """How far aside a wire climbs beside a column: at its right, or where no other one does."""
        taken = self._beside.setdefault(column, [])
        ways = (aside, -aside, aside + NARROW, -aside - NARROW, aside + 2 * NARROW)
        for way in ways:
            other = (
                each
                for each, low, high, name in taken
                if name != tail and abs(each - way) < 3 and low < span[1] and high > span[0]
            )
            if next(other, None) is None:
                break
        else:
            way = aside
        taken.append((way, *span, tail))
        return way

    def track(self, edge: Edge) -> float:
        """Where an edge climbs from the end of its time axis to the height of a later one."""
        grid, (axis, _) = self.grid, self.grid.column(edge.tail)
        last = [column for column in grid.columns if column[0] == axis][-1]
        right = grid.frame(last)[1] + (34.0 + grid.beside_loops if grid.graph.view.folds else 0.0)
        for block in grid.spanning(axis):
            right = max(right, block.shapes[0].x + block.shapes[0].width / 2)
        name = edge.tail, edge.kind if edge.delay else "memory"
        climbing = grid.climbing(grid.column(edge.head)[0])
        return right + 6 + TRACK * (climbing.index(name) if name in climbing else 1)

    def boxes_before(self, axis: int) -> list[Shape]:
        """Boxes of weights that stand before a time axis."""
        return [box.shape for box in self.boxes if self.grid.segment[box.row] == axis]

    def level(self, edge: Edge, wanted: float) -> float:
        """Height at which an edge to a later time axis passes the boxes of weights before it."""
        axis = self.grid.column(edge.head)[0]
        levels = self._levels.setdefault(axis, {})
        name = edge.tail if edge.delay else edge.kind, f"{edge.kind} {wanted:.1f}"
        if name not in levels:
            clear = CLEAR + (TRACK if self.grid.style.both else 0.0)  # the way back lies beside
            levels[name] = _free_height(
                self.boxes_before(axis), wanted, list(levels.values()), clear
            )
        return levels[name]


def _free_height(boxes: list[Shape], wanted: float, taken: list[float], clear: float) -> float:
    """The height nearest to the wanted one at which a level wire meets no box and no other wire."""
    blocked = [(box.y, box.height / 2 + clear) for box in boxes] + [(y, clear) for y in taken]
    edges = [y + side * reach for y, reach in blocked for side in (1, -1)]
    free = [y for y in (wanted, *edges) if all(abs(y - b) >= reach for b, reach in blocked)]
    return min(free, key=lambda y: abs(y - wanted), default=wanted)
