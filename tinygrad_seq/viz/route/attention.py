"""Attention as lines from every step of a memory, whose opacity is the recorded weight."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import BAR, Edge, Span, Step
from tinygrad_seq.viz.layout.grid import Grid
from tinygrad_seq.viz.picture.shapes import Point, Wire
from tinygrad_seq.viz.picture.style import Theme, opacity_top, see_through

__all__ = ["fan"]

PEN = 2.2


def fan(grid: Grid, edge: Edge, theme: Theme) -> list[Wire]:
    """A line for every weight that is not exactly 0, weakest first.

    They start above the memory, or above what else is made of it for all steps at once, at the
    memory's own time steps.
    """
    top = opacity_top(grid.graph)
    low = grid.fan_floor(edge)
    axis = grid.segment[grid.where[edge.tail][0]]
    number = list(grid.graph.items).index(edge.head)
    wires = []
    ranked = sorted(edge.alignment.items(), key=lambda pair: (pair[1].mean, str(pair[0])))
    for (query, step), weight in ranked:
        if weight.high == 0 or (axis, step) not in grid.x:
            continue
        end = _target(grid, edge, query)
        start = grid.x[axis, step][0], low
        rise, run = end[1] - low, end[0] - start[0]
        points = [
            start,
            (start[0] + 0.06 * run, low + 0.35 * rise),
            (end[0] - 0.3 * run, end[1] - 0.35 * rise),
            end,
        ]
        color = see_through(theme.attention, weight.mean / top)
        wire = Wire(edge.tail, edge.head, points, None, color, PEN)
        wire.tooltip = _words(grid, edge, query, step, weight)
        seen = number if query is None else f"{number}-{query}"
        wire.classes = f"edge-attention road-q{seen}"  # all lines of one query
        wires.append(wire)
    return wires


def _target(grid: Grid, edge: Edge, query: Step) -> Point:
    """Where lines to a query end: at its own node, or at its time in a node for all queries."""
    row, step = grid.where[edge.head]
    block = grid.blocks[row, step]
    if step is None:
        y, height = grid.y[row]
        return grid.x[grid.segment[row], query][0], y - height / 2
    x, y = grid.anchor(edge.head, "x")
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
