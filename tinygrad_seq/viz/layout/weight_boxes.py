"""Boxes of shared weights, left of the rows that use them: what they say and where they stand."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tinygrad_seq.viz.graph.items import BEGIN, Item
from tinygrad_seq.viz.picture.shapes import Line, Shape
from tinygrad_seq.viz.picture.style import Theme, number, shape_text
from tinygrad_seq.viz.picture.words import item_tooltip

if TYPE_CHECKING:
    from tinygrad_seq.viz.layout.columns import RowKey
    from tinygrad_seq.viz.layout.grid import Grid

__all__ = ["box_width", "weight_boxes", "weight_lines"]

BESIDE = 34.0  # from a box to the first frame of its axis
ASIDE = 108.0  # the same where a carried-in state stands between
APART = 8.0


def weight_lines(item: Item, theme: Theme, both: bool) -> list[Line]:
    """Whose weights they are, which, and how often each is used."""
    place = item.place
    layer = [] if place.layer is None else [f"layer {place.layer}"]
    owner = ", ".join([place.path, *layer] if place.path else layer)
    lines = [Line(owner or "weights", 10, bold=True, color=theme.weight)]
    for name, shape, *_ in item.names:
        lines.append(Line(f"{_below(place.path, name)}  {shape_text(shape)}".rstrip(), 9))
    counts = sorted({uses for _, _, uses in item.names})
    often = " or ".join(f"{count:,}" for count in counts) + (" time" if counts == [1] else " times")
    lines.append(Line(f"used {often}", 9, color=theme.faint))
    if both:
        total = item.gradients.get("W")
        text = "dL/dW: their sum" if total is None else f"|dL/dW| {number(total.high)}"
        lines.append(Line(text, 9, color=theme.gradient))
    return lines


def _below(path: str, name: str) -> str:
    """A parameter's name without the part of its path that its box's title says already."""
    ours, theirs = path.split("."), name.split(".")
    same = 0
    while same < min(len(ours), len(theirs) - 1) and ours[same] == theirs[same]:
        same += 1
    return ".".join(theirs[same:])


def box_width(item: Item, theme: Theme, both: bool) -> float:
    """Width of a box of weights."""
    return max(line.width for line in weight_lines(item, theme, both)) + 10


def weight_boxes(grid: Grid, theme: Theme, both: bool) -> list[tuple[Item, RowKey, Shape]]:
    """A box for every bundle of weights at the height of its rail, none upon another."""
    found: list[tuple[Item, RowKey, Shape]] = []
    above: list[Shape] = []  # of what a time axis begins with
    for item in grid.graph.items.values():
        heads = [edge.head for edge in grid.graph.out_of(item.id) if edge.head in grid.where]
        if item.kind != "weight" or not heads:
            continue
        row = grid.where[heads[0]][0]
        lines = weight_lines(item, theme, both)
        height = sum(line.height for line in lines) + 8
        width = box_width(item, theme, both)
        box = Shape(item.id, 0, grid.rail(row), width, height, lines, fill=theme.weight_fill)
        box.stroke, box.tooltip, box.classes = theme.weight, item_tooltip(item), "weight"
        found.append((item, row, box))
        if all(grid.where[head][1] == BEGIN for head in heads):
            box.x, top = grid.anchor(heads[0], "up")
            box.y = max(top + 24, _highest_rail(grid, grid.segment[row]) + 14) + box.height / 2
            above.append(box)
    for axis in set(grid.segment.values()):
        on_axis = [
            (row, box) for _, row, box in found if grid.segment[row] == axis and box not in above
        ]
        _stack([box for _, box in on_axis])
        carried = _carried_heights(grid, axis)
        near = any(
            abs(y - box.y) < box.height / 2 + 10 or (both and y > box.y)
            for y in carried
            for _, box in on_axis
        )
        for row, box in on_axis:
            left = grid.start(row) - (ASIDE if near else BESIDE)
            box.x = min([left, *_beside(grid, axis, box)]) - box.width / 2
    return found


def _beside(grid: Grid, axis: int, box: Shape) -> list[float]:
    """How far right a box may reach beside what spans all steps, and may be wider than they."""
    spanning = [
        block.shapes[0]
        for (row, step), block in grid.blocks.items()
        if step is None and grid.segment[row] == axis
    ]
    return [
        shape.x - shape.width / 2 - APART
        for shape in spanning
        if abs(shape.y - box.y) < (shape.height + box.height) / 2
    ]


def _highest_rail(grid: Grid, axis: int) -> float:
    """Height of the uppermost line of weights on a time axis."""
    return max(grid.rail(row) for row in grid.weighted if grid.segment[row] == axis)


def _stack(boxes: list[Shape]) -> None:
    """Move boxes that would overlap apart, from the lowest to the highest."""
    boxes = sorted(boxes, key=lambda box: box.y)
    for below, box in pairwise(boxes):
        box.y = max(box.y, below.y + (below.height + box.height) / 2 + APART)


def _carried_heights(grid: Grid, axis: int) -> list[float]:
    """Where states come in from before the first step of a time axis."""
    return [
        grid.anchor(edge.head, edge.kind)[1]
        for edge in grid.graph.edges.values()
        if grid.graph.items[edge.tail].kind in {"carried", "start"}
        and grid.column(edge.head)[0] == axis
        and grid.where[edge.head][0] not in grid.backwards
    ]
