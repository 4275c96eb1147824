"""Upward wires that would run through other blocks of their column go round them."""

from __future__ import annotations

from tinygrad_seq.viz.columns import Column
from tinygrad_seq.viz.grid import Grid
from tinygrad_seq.viz.ir import Edge
from tinygrad_seq.viz.picture import Point

__all__ = ["around"]

# Lanes beside the blocks, within the frame of the column; a third is that of states.
INPUT_LANE, LANE = 3.0, 6.5


def around(grid: Grid, edge: Edge, column: Column, corners: list[Point]) -> list[Point]:
    """The same way if it is free; otherwise along the right side of the column."""
    if len(corners) != 2:
        return corners
    (x, low), (end, high) = corners
    own = {grid.where[name][0] for name in (edge.tail, edge.head) if name in grid.where}
    if abs(x - end) >= 1 or not any(
        (grid.segment[row], step) == column and row not in own and low < grid.y[row][0] < high
        for row, step in grid.blocks
    ):
        return corners
    middle, width = grid.x[column]
    side = middle + width / 2 + (INPUT_LANE if edge.kind == "input" else LANE)
    out, back = low + 9, high - 15
    return [(x, low), (x, out), (side, out), (side, back), (x, back), (x, high)]
