"""Shared weights: from a box along a rail under each row to every use, or a pale name at each."""

from __future__ import annotations

from itertools import pairwise

from tinygrad_seq.viz.graph.items import BEGIN, WEIGHT, Edge, Item
from tinygrad_seq.viz.layout.weight_boxes import WeightBox, carried_heights
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape
from tinygrad_seq.viz.picture.style import number, subscript
from tinygrad_seq.viz.picture.words import item_look
from tinygrad_seq.viz.route.canvas import INSIDE, Canvas, beside

__all__ = ["draw_weights", "name_weights"]

APART = 6.0  # between the heads of two bundles at one node
_LONGEST = 8
"""Characters that there is room for at a use."""


def draw_weights(canvas: Canvas, box: WeightBox) -> None:
    """A box for a bundle of weights, and a line from it to every use."""
    grid, shape = canvas.grid, box.shape
    canvas.picture.shapes.append(shape)
    for edge in canvas.graph.out_of(box.item.id):
        if edge.head not in grid.where:
            continue
        (x, top), low = grid.anchor(edge.head, "up:"), shape.y - shape.height / 2
        if grid.where[edge.head][1] == BEGIN and low > top:
            corners = [(x, low), (x, top)]
            canvas.wire(edge, corners, canvas.theme.weight, pen=1.3)
            canvas.gradient(edge, corners)
        else:
            _draw_use(canvas, edge, box)


def _draw_use(canvas: Canvas, edge: Edge, box: WeightBox) -> None:
    grid, (row, step) = canvas.grid, canvas.grid.where[edge.head]
    start = (box.shape.x + box.shape.width / 2, box.shape.y)
    later = grid.segment[row] > grid.segment[box.row]  # past the first axis, then up
    left = grid.start(row if later else box.row)
    rail, rank = grid.rail(row, edge.tail), grid.rank(row, edge.tail)
    if step is None:
        end: Point = (grid.extent(row)[0] + 18 + APART * rank, grid.bottom(row))
    else:
        end = grid.anchor(edge.head, "w:")
        if row[:2] not in grid.plans:
            end = end[0] + APART * rank, end[1]
    way: list[Point] = []
    level = canvas.lanes.level(edge, start[1]) if later else start[1]
    if abs(level - start[1]) > 1:  # round the boxes of the later axis
        boxes = canvas.lanes.boxes_before(grid.segment[row])
        x = min((each.x - each.width / 2 for each in boxes), default=left - 14) - 6
        way = [(x, start[1]), (x, level), (left - 20, level), (left - 20, rail)]
    elif abs(rail - start[1]) > 1:
        down = left - (23.5 if canvas.graph.view.folds else 20)  # between loops
        if not canvas.graph.view.folds and _labelled(canvas, box, rail):
            down = start[0] + (20 if canvas.both else 8)
        way = [(down, start[1]), (down, rail)]
    canvas.wire(edge, [start, *way, (end[0], rail), end], canvas.theme.weight, pen=1.3)
    if canvas.both:
        aside = later or abs(rail - start[1]) > box.shape.height / 2 - 9
        _draw_contribution(canvas, edge, start, rail, way if aside else [])


def _labelled(canvas: Canvas, box: WeightBox, rail: float) -> bool:
    """Whether the name of a state that comes in stands between a box and its rail."""
    low, high = sorted((rail, box.shape.y))
    heights = carried_heights(canvas.grid, canvas.grid.segment[box.row])
    return any(low - 8 < y < high + 8 for y in heights)


def _draw_contribution(
    canvas: Canvas, edge: Edge, start: Point, rail: float, way: list[Point]
) -> None:
    """What a time step adds to the gradient of the shared weights, flowing back to them."""
    lower = rail - 9
    block = canvas.grid.blocks[spot := canvas.grid.where[edge.head]]
    x, top = canvas.grid.anchor(edge.head, "w-")
    back = [(start[0], (way[0][1] if way else rail) - 9)]
    for (u, v), (_, w) in pairwise(way):
        side = 9 if w > v else -9
        back += [(u + side, v - 9), (u + side, w - 9)] if abs(v - w) > 1 else []
    first = [(x, top), (x, lower)]
    if (own := f"w: {edge.head}") in block.anchors:
        x, top = block.anchors[own]
        first = beside([(x, lower), (x, top), *block.inner.get(own, [])], -INSIDE)[::-1]
    wire = canvas.back(edge, [*first, *back[::-1]])
    hidden = canvas.graph.items[edge.head].kind == "bar"  # norms of many steps have no sum
    uses = [e for e in canvas.graph.out_of(edge.tail) if canvas.grid.where.get(e.head) == spot]
    added = [e.contribution.squares for e in uses if e.contribution is not None]
    if added and not hidden and edge is uses[0]:
        wire.label = Line(f"+{number(sum(added) ** 0.5)}", 9)
        # Left of what comes up into the block, so that no line runs through the figure.
        right = canvas.grid.anchor(edge.head, "x:")[0] - 14
        wire.label_at = (min(x + 8, right - wire.label.width / 2), lower - 8)


def _label(item: Item) -> str:
    """The names of weights, or the first and the last; ``""`` if that is too long for a label."""
    names = [name.rpartition(".")[2] for name, *_ in item.names]
    texts = ", ".join(names), f"{names[0]} … {names[-1]}"
    return next((text for text in texts if len(text) <= _LONGEST), "")


def name_weights(canvas: Canvas) -> dict[str, str]:
    """A pale name of the weights at every use; the names by item."""
    names: dict[str, str] = {}
    for edge in canvas.graph.edges.values():
        if edge.kind != WEIGHT or edge.head not in canvas.grid.where:
            continue
        head = canvas.graph.items[edge.head]
        if head.place.row in canvas.grid.plans and head.kind == "op":
            continue  # said in its box
        known = (_label(canvas.graph.items[edge.tail]), "W" + subscript(len(names)))
        free = next(label for label in known if label and label not in names.values())
        name = names.setdefault(edge.tail, free)
        if canvas.grid.where[edge.head][1] is not None:
            x, y = canvas.grid.anchor(edge.head, "w:")
            faint, line = canvas.theme.faint, Line(name, 10, color=canvas.theme.faint)
            look = item_look(canvas.graph.items[edge.tail], "weight")
            use = f"{edge.tail}>{edge.head}"
            aside = canvas.grid.anchor(edge.head, "x:")[0] - 6 - line.width / 2
            size = max(22, line.width), 14
            text = Shape(use, min(x, aside), y - 24, *size, [line], "text", **look)
            canvas.picture.shapes.append(text)
            way = [(x, y - 24 + 7), (x, y)]
            canvas.wire(edge, way, faint, pen=0.9, arrow=0.5, road="").tail = use
    return names
