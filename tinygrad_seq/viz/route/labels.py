"""Labels under every input and over every output, beside the wires that are there."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from math import inf

from tinygrad_seq.viz.layout.columns import Column
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.layout.labels import LABEL, label_line, output_rank
from tinygrad_seq.viz.picture.shapes import Picture, Point, Shape

__all__ = ["add_labels"]

NEAR = 4.0


def add_labels(picture: Picture, grid: Grid, inputs: Mapping[str, Shape]) -> None:
    """Write the labels; `inputs` are the shapes of the inputs, by item."""
    fed: dict[Column, dict[str, Shape]] = {}
    for item, shape in inputs.items():
        column = grid.column(grid.graph.out_of(item)[0].head)
        fed.setdefault(column, {})[shape.id] = shape
    lows = {axis: _lowest(picture, grid, axis) for axis, _ in grid.labels.inputs}
    for column, text in grid.labels.inputs.items():
        under = [(shape.x, shape.y - shape.height / 2) for shape in fed.get(column, {}).values()]
        for x, y in under or [(grid.x[column][0], lows[column[0]] - 2)]:
            _write(picture, "x", column, text, x, y)
    ends = sorted(point for wire in picture.wires for point in wire.points)
    for column, text in grid.labels.outputs.items():
        x, y = _top(grid, column)
        near = ends[bisect(ends, (x - NEAR, -inf)) : bisect(ends, (x + NEAR, inf))]
        if any(-1 <= v - y <= LABEL for _, v in near):  # something goes up from it
            x += grid.labels.aside + label_line(text).width / 2
        _write(picture, "y", column, text, x, y + LABEL + 4)


def _write(picture: Picture, of: str, column: Column, text: str, x: float, top: float) -> None:
    line, (axis, step) = label_line(text), column
    name = f"label:{of}{axis}@{step}"
    if any(shape.id == name for shape in picture.shapes[-4:]):  # two directions, each its input
        name += "'"
    width = max(line.width, LABEL)
    shape = Shape(name, x, top - LABEL / 2, width, LABEL, [line], "text", tooltip=text)
    shape.classes = "label"
    picture.shapes.append(shape)


def _lowest(picture: Picture, grid: Grid, axis: int) -> float:
    """Where everything ends that stands at or under the columns of an axis."""
    frames = [grid.frame(column) for column in grid.columns if column[0] == axis]
    left, right = min(x for x, _ in frames), max(x for _, x in frames)
    lows = [panel.bottom for panel in picture.panels]
    lows += [y for wire in picture.wires for x, y in wire.points if left <= x <= right]
    for shape in picture.shapes:
        if left < shape.x + shape.width / 2 and shape.x - shape.width / 2 < right:
            lows.append(shape.y - shape.height / 2)
    return min(lows)


def _top(grid: Grid, column: Column) -> Point:
    """The upper end of a column's outputs, or else of its uppermost block."""
    rows = {row: block for row, block in grid.standing[column] if not row[2]}
    items = [item for row in rows for item in grid.members[row, column[1]]]
    best = max(items, key=output_rank)
    if output_rank(best):
        return grid.anchor(best.id, "up:")
    row = max(rows, key=grid.rows.index)
    return rows[row].anchor(grid.members[row, column[1]][-1].id, "up:")[0], grid.top(row)
