"""Boxes of shared weights, left of the rows that use them: what they say and where they stand."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from tinygrad_seq.viz.graph.items import BEGIN, Item
from tinygrad_seq.viz.layout.boxes import weight_box
from tinygrad_seq.viz.layout.columns import RowKey
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.picture.shapes import Shape

__all__ = ["WeightBox", "carried_heights", "weight_boxes"]

BESIDE = 34.0  # from a box to the first frame of its axis
ASIDE = 108.0  # the same where a carried-in state stands between
APART = 8.0
LETTER = 7.2  # of a carried-in state's name


class WeightBox(NamedTuple):
    """A bundle of weights, the row that it stands beside, and how it is drawn."""

    item: Item
    row: RowKey
    shape: Shape


def weight_boxes(grid: Grid) -> list[WeightBox]:
    """A box for every bundle of weights at the height of its rail, none upon another.

    Where lines of attention come in from another time axis it stands over them.
    """
    found: list[WeightBox] = []
    beside: dict[int, list[WeightBox]] = {axis: [] for axis in set(grid.segment.values())}
    looked: dict[RowKey, list[float]] = {row: [] for row in grid.rows}
    for edge, (memory, _), (reader, _) in grid.links:
        if grid.attends(edge) and grid.segment[memory] < grid.segment[reader]:
            looked[reader].append(grid.anchor(edge.head, "x:")[1])  # lines of attention come there
    for item in grid.graph.items.values():
        heads = [edge.head for edge in grid.graph.out_of(item.id) if edge.head in grid.where]
        if item.kind != "weight" or not heads:
            continue
        row, box = grid.where[heads[0]][0], weight_box(item, grid.style)
        axis = grid.segment[row]
        found.append(WeightBox(item, row, box))
        if all(grid.where[head][1] == BEGIN for head in heads):  # above what the axis begins with
            box.x, top = grid.anchor(heads[0], "up:")
            highest = max(grid.rail(r) for r in grid.weighted if grid.segment[r] == axis)
            box.y = max(top + 24, highest + 14) + box.height / 2
        else:
            box.y = max(
                [grid.rail(row, item.id), *(y + box.height / 2 + APART for y in looked[row])]
            )
            beside[axis].append(found[-1])
    for axis, boxes in beside.items():
        for (_, _, below), (_, _, box) in pairwise(sorted(boxes, key=lambda box: box.shape.y)):
            box.y = max(box.y, below.y + (below.height + box.height) / 2 + APART)
        near = any(
            abs(y - box.y) < box.height / 2 + 10 or (grid.style.both and y > box.y)
            for y in carried_heights(grid, axis)
            for _, _, box in boxes
        )
        longest = max(map(len, grid.graph.tracks)) - 1 if near else 0
        for _, row, box in boxes:
            lefts = [grid.start(row) - (ASIDE + LETTER * longest if near else BESIDE)]
            lefts[0] -= grid.beside_loops if row in grid.backwards else 0.0
            for block in grid.spanning(axis):  # may be wider than all time steps
                shape = block.shapes[0]
                if abs(shape.y - box.y) < (shape.height + box.height) / 2:
                    lefts.append(shape.x - shape.width / 2 - APART)
            box.x = min(lefts) - box.width / 2
    return found


def carried_heights(grid: Grid, axis: int) -> list[float]:
    """Where states come in from before the first step of a time axis."""
    return [
        grid.anchor(edge.head, edge.kind)[1]
        for edge in grid.graph.edges.values()
        if grid.graph.items[edge.tail].kind in {"carried", "start"}
        and grid.column(edge.head)[0] == axis
        and grid.where[edge.head][0] not in grid.backwards
    ]
