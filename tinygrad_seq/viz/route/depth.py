"""Upwards between layers, within a time step or from and to what spans all."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import Edge
from tinygrad_seq.viz.layout.grid import PAD, Grid
from tinygrad_seq.viz.picture.shapes import Point
from tinygrad_seq.viz.route.attention import draw_attention
from tinygrad_seq.viz.route.canvas import Canvas

__all__ = ["draw_depth", "draw_input"]


def draw_input(canvas: Canvas, edge: Edge) -> None:
    """From an input up to its cell."""
    shape, column = canvas.inputs[edge.tail], canvas.grid.column(edge.head)
    way = [(shape.x, shape.y + 9), canvas.grid.anchor(edge.head, "x:")]
    canvas.wire(edge, canvas.lanes.around(edge, column, way)).tail = shape.id


def draw_depth(canvas: Canvas, edge: Edge) -> None:
    """Up to the next row; along the gap below it where the two are not above one another."""
    grid = canvas.grid
    attends = grid.attends(edge)
    if attends:
        draw_attention(canvas, edge)
        if not canvas.both:
            return
    corners = _corners(canvas, edge)
    for end in (edge.head, edge.tail):
        if grid.where[end][1] is not None:
            corners = canvas.lanes.around(edge, grid.column(end), corners)
            break
    if not attends:
        canvas.wire(edge, corners)
    canvas.gradient(edge, corners)


def _corners(canvas: Canvas, edge: Edge) -> list[Point]:
    grid = canvas.grid
    head_row, head_step = grid.where[edge.head]
    tail_row, tail_step = grid.where[edge.tail]
    start, end = grid.anchor(edge.tail, "up:"), grid.anchor(edge.head, "x:")
    if head_step is None and tail_step is None:
        return [start, end]
    if head_step is None:
        if grid.y[head_row][0] < grid.y[tail_row][0]:
            # A module that is closed may read its own steps below them.
            x = start[0] + 16
            return [(x, grid.bottom(tail_row)), (x, grid.top(head_row))]
        return _exit(grid, edge, grid.bottom(head_row))
    if tail_step is None:
        left, right = grid.extent(tail_row)
        if edge.kind in grid.graph.tracks and head_row[:2] in grid.plans:
            return _onto_road(grid, edge)
        if left <= end[0] <= right:
            return [(end[0], grid.top(tail_row)), end]
        box = grid.blocks[tail_row, None].shapes[0]
        right = max(right, box.x + box.width / 2)  # at least as wide as its name
        return _from_other_axis(canvas, edge, [(right, grid.y[tail_row][0])], -1)
    if grid.segment[head_row] > grid.segment[tail_row]:
        over = grid.top(tail_row) + (27 if grid.graph.view.folds else 12)
        return _from_other_axis(canvas, edge, [start, (start[0], over)], 1)
    if abs(start[0] - end[0]) >= 1 or _deep(grid, edge):
        lane = grid.top(tail_row) + (27 if grid.graph.view.folds else 12)
        return [start, (start[0], lane), *_entry(grid, edge, lane, "x:", 1)]
    return [start, end]


def _onto_road(grid: Grid, edge: Edge) -> list[Point]:
    """From what a state starts from, and others read too, to its road: inside the frame."""
    (head_row, _), top = grid.where[edge.head], grid.top(grid.where[edge.tail][0])
    (x, y), (left, right) = (
        grid.anchor(edge.head, grid.entry(edge)),
        grid.frame(grid.column(edge.head)),
    )
    way, side = (-1, right) if head_row in grid.backwards else (1, left)
    lane = side + way * (3 + 4 * [*grid.graph.tracks].index(edge.kind))
    out = grid.extent(grid.where[edge.tail][0])[way < 0] + way * 12
    return [(out, top), (out, top + 12), (lane, top + 12), (lane, y), (x, y)]


def _from_other_axis(canvas: Canvas, edge: Edge, first: list[Point], side: int) -> list[Point]:
    """From an earlier time axis to what reads it: along the gap below the reader."""
    grid, lanes = canvas.grid, canvas.lanes
    head_row = grid.where[edge.head][0]
    lane, y = grid.bottom(head_row) - 14, first[-1][1]
    out, level = lanes.track(edge), lanes.level(edge, lane)
    if abs(level - y) < 6 and len(first) == 1:  # no kink for a hair's breadth
        first = [(first[0][0], level)]
    corners = [*first, (out, first[-1][1]), (out, level)]
    if level != lane:
        back = grid.start(head_row) - 8
        corners += [(back, level), (back, lane)]
    return corners + _entry(grid, edge, lane, "m:", side)


def _deep(grid: Grid, edge: Edge) -> bool:
    """Whether an edge ends at a node that others of its block stand below."""
    spot = grid.where[edge.head]
    bottom = grid.y[spot[0]][0] - grid.blocks[spot].height / 2
    return grid.anchor(edge.head, "x:")[1] > bottom + 20


def _exit(grid: Grid, edge: Edge, top: float) -> list[Point]:
    """From a node up to what spans its column: past the side of what stands above it."""
    (x, y), block = grid.anchor(edge.tail, "up:"), grid.blocks[grid.where[edge.tail]]
    above = [s for s in block.shapes if s.y > y and abs(s.x - x) < s.width / 2 + 3]
    if not above or not grid.graph.level.plain:
        return [(x, y), (x, top)]
    right = grid.frame(grid.column(edge.tail))[1] - PAD
    out = grid.anchor(edge.tail, "h+")
    beside = [s for s in block.shapes if s.x > out[0] and abs(s.y - out[1]) < s.height / 2]
    first = [(x, y), (x, y + 8), (right + 5, y + 8)] if beside else [out, (right + 5, out[1])]
    return [*first, (right + 5, top - 9), (right - 12, top - 9), (right - 12, top)]


def _entry(grid: Grid, edge: Edge, lane: float, port: str, side: int) -> list[Point]:
    """From a lane below a block to one of its nodes: from below, or round the block's side."""
    if not _deep(grid, edge):
        end = grid.anchor(edge.head, port)
        return [(end[0], lane), end]
    shapes = grid.blocks[grid.where[edge.head]].shapes
    x = side * max(side * shape.x + shape.width / 2 for shape in shapes) + side * 8
    end = grid.anchor(edge.head, "h+" if side > 0 else "h")
    return [(x, lane), (x, end[1]), end]
