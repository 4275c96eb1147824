"""What stands at one layer and time step: a box for a whole cell, or its gates in their places."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from tinygrad_seq.timeline.roles import WEIGHTS
from tinygrad_seq.viz.graph.items import BAR, WEIGHT, Graph, Item
from tinygrad_seq.viz.layout.block import Block, ports
from tinygrad_seq.viz.picture.shapes import LEADING, Line, Picture, Shape, Wire
from tinygrad_seq.viz.picture.style import Style, Theme, shape_text, subscript
from tinygrad_seq.viz.picture.words import edge_look, item_look, norm_text, weight_lines

STRIPE = 19.0  # height of the stripe of one state within a box

__all__ = ["cell_name", "circle", "closed_roads", "free_picture", "module_block", "weight_box"]


def cell_name(item: Item) -> str:
    """What a reader calls a box: ``LSTM 0``, ``RNN``, or the module's own name."""
    place = item.place
    own = place.path.rpartition(".")[2]
    if item.roles & {*item.states} and not item.nested:
        kind = (own or "cell") if item.cell is None else item.cell.title
        return kind if place.layer is None else f"{kind} {place.layer}"
    if item.heads > 1:
        return f"{own or 'multi-head attention'}, {item.heads} heads"
    if own:
        return own if place.layer is None else f"{own} {place.layer}"
    return "model" if item.nested else ", ".join(item.ops) or item.kind


def module_block(
    item: Item, graph: Graph, style: Style, roads: Mapping[str, float] = MappingProxyType({})
) -> Block:
    """One shape for everything at a place; `roads` are the heights that states pass at."""
    if item.place.step is None:
        shapes = [_spanning(item, graph, style.theme)]
    elif item.kind in {"output", "loss"}:
        shapes = [circle(item, style.theme)]
    else:
        shapes = _cell(item, style)
    shape = shapes[0]
    heights = {**closed_roads(item.states, item.roles), **roads}
    reach = max(map(abs, heights.values()))
    if roads or reach > shape.height / 2:
        shape.height = max(shape.height, 2 * reach + 22)
    anchors = ports(shape)
    for state, y in heights.items():
        anchors[state] = anchors["h"][0], y
        anchors[f"{state}+"] = anchors["h+"][0], y
    half_w, half_h = shape.width / 2, shape.height / 2
    narrow = shape.form == "circle"
    low = -half_h * (0.84 if narrow else 1.0)
    anchors["w:"], anchors["m:"] = (-half_w * 0.55, low), (half_w * 0.55, low)
    anchors["w-"] = (-half_w * 0.9, -half_h * 0.44) if narrow else (-half_w * 0.55 - 8, -half_h)
    return Block(shape.width, shape.height, shapes, anchors=anchors, narrow=narrow)


def closed_roads(states: Sequence[str], roles: Collection[str]) -> dict[str, float]:
    """Heights at which states pass a cell that is one box, the main one lowest."""
    held = [name for name in states if name in roles] or [states[0]]
    lowest = -STRIPE * (len(held) - 1) / 2
    return {name: lowest + STRIPE * k for k, name in reversed(list(enumerate(held)))}


def circle(item: Item, theme: Theme) -> Shape:
    """What a step gives out: an output, or what it adds to the loss."""
    letter, fill = ("y", theme.output_fill) if item.kind == "output" else ("L", theme.loss_fill)
    lines = [Line(letter + subscript(item.place.step), 13)]
    return Shape(item.id, 0, 0, 32, 32, lines, "circle", fill, **item_look(item, item.kind))


def _spanning(item: Item, graph: Graph, theme: Theme) -> Shape:
    """What happens once, for all time steps together."""
    chain = [name for name in item.ops if name not in {"stack", "item"}]
    ops = ", ".join(chain[:3]) + (", …" if len(chain) > 3 else "") or "stack"
    named = item.place.path or item.heads > 1
    label = cell_name(item) if named and not graph.level.plain else ops
    if item.part == "before" and _looked_at(item, graph):
        label += ": memory"
    if item.id in graph.roots and not item.shape:
        over = _over_steps(item, chain, sum(edge.count for edge in graph.into(item.id)))
        label = f"L = {over}" if over else "L" if len(chain) > 2 else f"L = {ops}"
    elif shape_text(item.shape):
        label += f"   {shape_text(item.shape)}"
    width, look = 7.0 * len(label) + 16, item_look(item, "spanning")
    return Shape(item.id, 0, 0, width, 26, [Line(label, 11)], fill=theme.loss_fill, **look)


def _over_steps(item: Item, ops: Collection[str], steps: int) -> str:
    """What operations make of the losses of some steps, if they only add them up."""
    adding, scaling = {"sum", "mean", "add", "subtract", "negative"}, {"divide", "multiply"}
    if steps < 2 or not {*ops} <= adding | scaling or not {*ops} & adding:
        return ""
    scaled = {*ops} & scaling
    if "mean" not in ops and len(scaled) == sum(item.ops[name] for name in scaled) == 1:
        divides = item.figures.get("divide") == {(steps, 1)}
        factors = [factor for factor, _ in item.figures.get("multiply", ())]
        if divides or any(math.isclose(factor * steps, 1.0) for factor in factors):
            return "mean over t"
    return ("mean" if "mean" in ops else "sum") + " over t" + ", scaled" * bool(scaled)


def _looked_at(item: Item, graph: Graph) -> bool:
    """Whether an item is what an attention made of a memory, once for all its queries."""
    readers = [graph.items[edge.head] for edge in graph.out_of(item.id)]
    return any(WEIGHTS in reader.roles and reader.place.row == item.place.row for reader in readers)


def _cell(item: Item, style: Style) -> list[Shape]:
    """A box for a whole cell; where it carries several states, a stripe for each on its road."""
    bar = item.place.step == BAR
    title = Line("⋯" if bar else cell_name(item), 12, bold=True)
    look = item_look(item, "bar" if bar else "cell")
    if bar and item.states[0] not in item.roles:
        return [Shape(item.id, 0, 0, 32, 32, [title], "circle", dashed=True, **look)]
    said = shape_text(item.shape)
    if bar:
        assert item.first is not None and item.last is not None
        hidden = item.last - item.first + 1
        said = f"{hidden:,} step{'' if hidden == 1 else 's'}, {item.count:,} nodes"
    below = [Line(said, 10)] if said else []
    norms = {
        role: Line(norm_text(role, item.gradients[role]), 10)
        for role in reversed(item.states)
        if role in item.gradients
    }
    apart = len(norms) > 1 and not bar
    middle = [Line(" ", len(norms) * STRIPE / LEADING)] if apart else list(norms.values())
    lines = [title, *middle, *below] if apart else [title, *below, *middle]
    width = max(80.0, *(line.width + 14 for line in [title, *below, *norms.values()]))
    height = sum(line.height for line in lines) + 10
    box = Shape(item.id, 0, 0, width, height, lines, fill=style.theme.box, dashed=bar, **look)
    shapes, look = [box], item_look(item, "norm")
    for role, line in norms.items():
        if apart:
            name, y = f"{item.id}#{role}", closed_roads(item.states, norms)[role]
            size = width - 2, STRIPE - 1
            shapes.append(Shape(name, 0, y, *size, [line], "square", box.fill, pen=0.4, **look))
        style.paint(shapes[-1], item.gradients[role])
        shapes[-1].stroke = shapes[-1].fill if apart else ""
    return shapes


def weight_box(item: Item, style: Style) -> Shape:
    """The box of a bundle of weights, anywhere."""
    lines, look = weight_lines(item, style.theme, style.both), item_look(item, "weight")
    fill, stroke = style.theme.weight_fill, style.theme.weight
    return Shape.around(item.id, lines, 10, 8, fill=fill, stroke=stroke, **look)


def free_picture(graph: Graph, style: Style) -> Picture:
    """A graph without time steps, for Graphviz to lay out."""
    picture = Picture(free=True)
    for item in graph.items.values():
        if style.weights == "once" or item.kind != "weight":
            picture.shapes.append(_free_shape(item, style.theme, graph.roots[0]))
    drawn = {shape.id for shape in picture.shapes}
    for edge in graph.edges.values():
        if edge.tail in drawn:
            color = style.theme.weight if edge.kind == WEIGHT else style.theme.line
            wire = Wire(edge.tail, edge.head, [], None, color, **edge_look(edge))
            picture.wires.append(wire)
    return picture


def _free_shape(item: Item, theme: Theme, root: str) -> Shape:
    """An item of a graph without time steps."""
    weight, size = item.kind == "weight", shape_text(item.shape)
    if weight:
        ((name, shape, *_),) = item.names
        lines, size = [Line(name, 10)], shape_text(shape)
    else:
        lines = [Line(", ".join(sorted(item.roles) or item.ops), 11, bold=True)]
        if item.place.path:
            lines.append(Line(cell_name(item), 9, color=theme.faint))
    if size:
        lines.append(Line(size, 9))
    box = Shape.around(item.id, lines, 12, 8, stroke=theme.line, **item_look(item, item.kind))
    box.fill = theme.output_fill if item.id == root else theme.box
    if weight:
        box.fill, box.stroke = theme.weight_fill, theme.weight
    return box
