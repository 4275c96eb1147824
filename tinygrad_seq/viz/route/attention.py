"""Attention as lines from every step of a memory, whose opacity is the recorded weight."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import BAR, Edge, Span, Step
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.picture.shapes import Point, Wire
from tinygrad_seq.viz.picture.style import opacity_top, see_through
from tinygrad_seq.viz.route.canvas import Canvas

__all__ = ["draw_attention"]

PEN = 2.2


def draw_attention(canvas: Canvas, edge: Edge) -> None:
    """A line for every weight that is not exactly 0, weakest first.

    They start above the memory, or above what else is made of it for all steps at once, at the
    memory's own time steps.
    """
    grid = canvas.grid
    top, low = opacity_top(grid.graph), _start_height(grid, edge)
    axis = grid.segment[grid.where[edge.tail][0]]
    number = list(grid.graph.items).index(edge.head)
    ranked = sorted(edge.alignment.items(), key=lambda pair: (pair[1].mean, str(pair[0])))
    for (query, step), weight in ranked:
        if weight.high == 0 or (axis, step) not in grid.x:
            continue
        x, (u, v) = grid.x[axis, step][0], _target(grid, edge, query)
        rise, run = v - low, u - x
        bend = [(x + 0.06 * run, low + 0.35 * rise), (u - 0.3 * run, v - 0.35 * rise)]
        color = see_through(canvas.theme.attention, weight.mean / top)
        wire = Wire(edge.tail, edge.head, [(x, low), *bend, (u, v)], None, color, PEN)
        wire.tooltip = _words(grid, edge, query, step, weight)
        seen = number if query is None else f"{number}-{query}"
        wire.classes = f"edge-attention road-q{seen}"  # all lines of one query
        canvas.picture.wires.append(wire)


def _start_height(grid: Grid, edge: Edge) -> float:
    """Where the lines start: above all that spans the memory's steps."""
    memory, reader = grid.where[edge.tail][0], grid.where[edge.head][0]
    low, high, axis = grid.y[memory][0], grid.y[reader][0], grid.segment[memory]
    return max(
        grid.top(row)
        for row, (y, _) in grid.y.items()
        if row == memory or (row[2] and grid.segment[row] == axis and low < y < high)
    )


def _target(grid: Grid, edge: Edge, query: Step) -> Point:
    """Where lines to a query end: at its own node, or at its time in a node for all queries."""
    row, step = grid.where[edge.head]
    if step is None:
        return grid.x[grid.segment[row], query][0], grid.bottom(row)
    x, y = grid.anchor(edge.head, "x:")
    block = grid.blocks[row, step]
    if f"x: {edge.head}" in block.inner:  # stands within its block
        (shape,) = (shape for shape in block.shapes if shape.id == edge.head)
        return shape.x - 0.14 * shape.width, shape.y - shape.height / 2
    return x - 0.14 * block.width, y


def _words(grid: Grid, edge: Edge, query: Step, step: Step, weight: Span) -> str:
    """The weight in figures, and whose it is."""
    seen = grid.graph.items[edge.head].place.step if query is None else query
    span = f"{weight.low:.3f}"
    if f"{weight.high:.3f}" != span:
        span += f" … {weight.high:.3f}"
    together = " together" if step == BAR else ""
    return f"attention of {_time(seen)} to {_time(step)}{together}: {span}"


def _time(step: Step) -> str:
    return "hidden steps" if step == BAR else f"t = {step}"
