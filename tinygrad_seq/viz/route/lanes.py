"""Wires that would run through other blocks of their column, or boxes of weights, go round."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import Edge
from tinygrad_seq.viz.layout.columns import Column
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.picture.shapes import Point, Shape

__all__ = ["around", "free_height"]

# Lanes beside the blocks, within the frame of the column; a third is that of states.
INPUT_LANE, LANE = 3.0, 6.5
CLEAR = 4.0  # between a level wire and boxes above and below it
BELOW = 15.0  # under the block that a wire ends at


def around(grid: Grid, edge: Edge, column: Column, corners: list[Point]) -> list[Point]:
    """The same way if it is free; otherwise beside what stands between, or along the column."""
    (x, low), (end, high) = corners[0], corners[-1]
    own = {grid.where[name][0] for name in (edge.tail, edge.head) if name in grid.where}
    between = [
        block
        for row, block in grid.standing[column]
        if row not in own and low < grid.y[row][0] < high
    ]
    if not between or len(corners) not in {2, 4} or (len(corners) == 2 and abs(x - end) >= 1):
        return corners
    middle, width = grid.x[column]
    back = high - BELOW
    if len(corners) == 4 and all(abs(x - middle) > block.width / 2 + 4 for block in between):
        return [(x, low), (x, back), (end, back), (end, high)]
    side = middle + width / 2 + (INPUT_LANE if edge.kind == "input" else LANE)
    out = low + 9
    return [(x, low), (x, out), (side, out), (side, back), (end, back), (end, high)]


def free_height(boxes: list[Shape], wanted: float, taken: list[float]) -> float:
    """The height nearest to the wanted one at which a level wire meets no box and no other wire."""

    def free(y: float) -> bool:
        return all(abs(y - box.y) >= box.height / 2 + CLEAR for box in boxes) and all(
            abs(y - other) >= CLEAR for other in taken
        )

    edges = [box.y + side * (box.height / 2 + CLEAR) for box in boxes for side in (1, -1)]
    beside = [other + side * CLEAR for other in taken for side in (1, -1)]
    found = [y for y in (wanted, *edges, *beside) if free(y)]
    return min(found, key=lambda y: abs(y - wanted), default=wanted)
