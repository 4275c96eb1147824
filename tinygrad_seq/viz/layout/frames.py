"""What stands around the blocks of a grid: a frame for every time step, and inputs below."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import BAR, BEGIN, FOLDED
from tinygrad_seq.viz.layout.columns import Column
from tinygrad_seq.viz.layout.grid import PAD, Grid
from tinygrad_seq.viz.picture.shapes import Line, Panel, Picture, Shape
from tinygrad_seq.viz.picture.style import subscript
from tinygrad_seq.viz.picture.words import item_look

__all__ = ["framed"]


def framed(grid: Grid) -> tuple[Picture, dict[str, Shape]]:
    """The blocks of a grid, with frames and inputs; and these inputs by item."""
    stepped = [row for row in grid.rows if not row[2]]
    floor = min(map(grid.bottom, stepped)) - grid.under()
    crossed = bool(grid.rows[0][2]) and not grid.graph.level.plain
    tops: dict[int, float] = {}
    for row in stepped:
        axis = grid.segment[row]
        above = 8.0 if (axis in {number for number, _ in grid.labels.outputs}) else 0.0
        tops[axis] = max(tops.get(axis, grid.y[row][0]), grid.top(row) + above)
    picture = Picture()
    panels: dict[Column, Panel] = {}
    for number, step in grid.columns:
        if step == BEGIN:
            continue
        name = f"t{step}" if number == 0 else f"axis{number}-t{step}"
        left, right = grid.frame((number, step))
        panel = Panel(name, left, floor, right, tops[number] + PAD, dashed=step == BAR)
        panel.steps = grid.axes.steps((number, step))
        label = _step_label(grid, (number, step), panel.steps)
        whose = grid.axes.name(number)
        named = f"{whose}: {label}" if whose else label
        # Wires come up through the frames from what spans all steps below them.
        aside = 3.4 * len(named) + 8 if crossed else 0.0
        panel.label = named if 6.6 * len(named) + 2 * aside < right - left else label
        panel.aside = 3.4 * len(panel.label) + 8 if crossed else 0.0
        for _, block in grid.standing[number, step]:
            panel.members += [shape.id for shape in block.shapes]
        picture.panels.append(panel)
        panels[number, step] = panel
    for block in grid.blocks.values():
        picture.shapes += block.shapes
        picture.wires += block.wires
    inputs: dict[str, Shape] = {}
    for item in grid.graph.items.values():
        if item.kind == "input":
            fed = grid.graph.out_of(item.id)[0]
            x, y = grid.anchor(fed.head, "x:")
            low = min(floor + 34 + grid.label_room, y - 40)
            near = [s for s in inputs.values() if abs(s.x - x) < 20 and abs(s.y - low) < 16]
            if not near:  # else that of another direction, say, stands there already
                line = Line("x" + subscript(item.place.step), 13)
                look = item_look(item, "input")
                near = [Shape(item.id, x, low, 24, 20, [line], "text", **look)]
                picture.shapes += near
                panels[grid.column(fed.head)].members.append(item.id)
            inputs[item.id] = near[0]
    return picture, inputs


def _step_label(grid: Grid, column: Column, steps: tuple[int, int]) -> str:
    if column[1] == FOLDED:
        several = len(set(grid.segment.values())) > 1
        return "every t" if several else f"every t of {grid.graph.length}"
    first, last = steps
    return f"t = {first} … {last}" if first < last else f"t = {first}"
