"""What stands at one layer and time step: a box for a whole cell, or its gates in their places."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import BAR, Graph, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.picture.shapes import LEADING, Line, Shape
from tinygrad_seq.viz.picture.style import HeatScale, Theme, shape_text, subscript
from tinygrad_seq.viz.picture.words import item_tooltip, span_text

STRIPE = 19.0  # height of the stripe of one state within a box

__all__ = ["cell_name", "closed_roads", "module_block", "plain_shape"]


def cell_name(item: Item) -> str:
    """What a reader calls a box: ``LSTM 0``, ``RNN``, or the module's own name."""
    place = item.place
    if item.roles & {"c", "h"} and not item.nested:
        kind = "LSTM" if "c" in item.roles else "GRU" if item.roles >= {"r", "n"} else "RNN"
        return kind if place.layer is None else f"{kind} {place.layer}"
    own = place.path.rpartition(".")[2]
    if item.heads > 1:
        return f"{own or 'multi-head attention'}, {item.heads} heads"
    if own:
        return own if place.layer is None else f"{own} {place.layer}"
    return "model" if item.nested else ", ".join(item.ops) or item.kind


def module_block(
    item: Item,
    graph: Graph,
    theme: Theme,
    heat: HeatScale | None,
    roads: dict[str, float] | None = None,
) -> Block:
    """One shape for everything at a place; `roads` are the heights that states pass at."""
    roads = roads or {}
    place = item.place
    if place.step is None:
        shapes = [_spanning(item, graph, theme)]
    elif item.kind in {"output", "loss"}:
        shapes = [_circle(item, theme)]
    else:
        shapes = _cell(item, graph, theme, heat)
    shape = shapes[0]
    if roads:
        shape.height = max(shape.height, 2 * max(map(abs, roads.values())) + 22)
    half_w, half_h = shape.width / 2, shape.height / 2
    own = closed_roads(item.roles)
    c, h = (roads.get(state, own.get(state, 0.0)) for state in ("c", "h"))
    anchors = {
        "x": (0.0, -half_h),
        "w": (-half_w * 0.55, -half_h * (1.0 if shape.form == "box" else 0.84)),
        "w-": (-half_w * 0.55 - 8, -half_h)
        if shape.form == "box"
        else (-half_w * 0.9, -half_h * 0.44),
        "up": (0.0, half_h),
        "h": (-half_w, h),
        "c": (-half_w, c),
        "h+": (half_w, h),
        "c+": (half_w, c),
    }
    narrow = shape.form == "circle"
    return Block(shape.width, shape.height, shapes, anchors=anchors, narrow=narrow)


def closed_roads(roles: set[str]) -> dict[str, float]:
    """Heights at which states pass a cell that is one box."""
    return {"c": STRIPE / 2, "h": -STRIPE / 2} if "c" in roles else {"h": 0.0}


def _circle(item: Item, theme: Theme) -> Shape:
    letter, fill = ("y", theme.output_fill) if item.kind == "output" else ("L", theme.loss_fill)
    return Shape(
        item.id,
        0,
        0,
        32,
        32,
        [Line(letter + subscript(item.place.step), 13)],
        form="circle",
        fill=fill,
        tooltip=item_tooltip(item),
        classes=item.kind,
    )


def _spanning(item: Item, graph: Graph, theme: Theme) -> Shape:
    """What happens once, for all time steps together."""
    chain = [name for name in item.ops if name not in {"stack", "item"}]
    ops = ", ".join(chain[:3]) + (", …" if len(chain) > 3 else "") or "stack"
    named = item.place.path or item.heads > 1
    label = cell_name(item) if named and not graph.level.plain else ops
    if item.part == "before" and _looked_at(item, graph):
        label += ": memory"
    if item.id in graph.roots and not item.shape:
        over = sum(edge.count for edge in graph.into(item.id)) > 1 and set(chain) <= {"sum", "mean"}
        label = f"L = {ops} over t" if over else "L" if len(chain) > 2 else f"L = {ops}"
    elif shape_text(item.shape):
        label += f"   {shape_text(item.shape)}"
    return Shape(
        item.id,
        0,
        0,
        7.0 * len(label) + 16,
        26,
        [Line(label, 11)],
        fill=theme.loss_fill,
        tooltip=item_tooltip(item),
        classes="spanning",
    )


def _looked_at(item: Item, graph: Graph) -> bool:
    """Whether an item is what an attention made of a memory, once for all its queries."""
    readers = [graph.items[edge.head] for edge in graph.out_of(item.id)]
    return any(
        "weights" in reader.roles and reader.place.row == item.place.row for reader in readers
    )


def _cell(item: Item, graph: Graph, theme: Theme, heat: HeatScale | None) -> list[Shape]:
    """A box for a whole cell; where it carries two states, a stripe for each on its road."""
    bar = item.place.step == BAR
    title = Line("⋯" if bar else cell_name(item), 12, bold=True)
    if bar and not item.roles & {"h"}:
        dots = Shape(item.id, 0, 0, 32, 32, [title], "circle", dashed=True, classes="bar")
        dots.tooltip = item_tooltip(item)
        return [dots]
    below = []
    if bar:
        assert item.first is not None and item.last is not None
        hidden = item.last - item.first + 1
        steps = "1 step" if hidden == 1 else f"{hidden:,} steps"
        below.append(Line(f"{steps}, {item.count:,} nodes", 10))
    elif shape_text(item.shape):
        below.append(Line(shape_text(item.shape), 10))
    norms = {
        role: Line(f"|∂L/∂{role}| {span_text(item.gradients[role])}", 10)
        for role in ("c", "h")
        if role in item.gradients
    }
    two = len(norms) == 2 and not bar
    middle = [Line(" ", 2 * STRIPE / LEADING)] if two else list(norms.values())
    lines = [title, *middle, *below] if two else [title, *below, *middle]
    width = max(80.0, *(line.width + 14 for line in [title, *below, *norms.values()]))
    height = sum(line.height for line in lines) + 10
    box = Shape(item.id, 0, 0, width, height, lines, fill=theme.box, dashed=bar)
    box.tooltip, box.classes = item_tooltip(item), "bar" if bar else "cell"
    if not two:
        for role in norms:
            _heated(box, item, role, heat)
        return [box]
    stripes = []
    for role, line in norms.items():
        y = STRIPE / 2 if role == "c" else -STRIPE / 2
        stripe = Shape(f"{item.id}#{role}", 0, y, width - 2, STRIPE - 1, [line], "square")
        stripe.fill, stripe.pen, stripe.tooltip = theme.box, 0.4, box.tooltip
        stripe.classes = "norm"
        _heated(stripe, item, role, heat)
        stripe.stroke = stripe.fill
        stripes.append(stripe)
    return [box, *stripes]


def _heated(shape: Shape, item: Item, role: str, heat: HeatScale | None) -> None:
    """Colour a shape by the gradient norm of a state, if it is one and not a range."""
    span = item.gradients[role]
    if heat is not None and span.count == 1:
        shape.fill = heat.color(span.high)
        for line in shape.lines:
            line.color = heat.text(span.high)


def plain_shape(item: Item, theme: Theme, root: str) -> Shape:
    """An item of a graph without time steps."""
    if item.kind in {"weight", "leaf"}:
        ((name, shape, *_),) = item.names
        lines = [Line(name, 10), *([Line(shape_text(shape), 9)] if shape_text(shape) else [])]
        fill, stroke = theme.weight_fill, theme.weight
    else:
        text = ", ".join(sorted(item.roles) or item.ops)
        lines = [Line(text, 11, bold=True)]
        if item.place.path:
            lines.append(Line(cell_name(item), 9, color=theme.faint))
        if shape_text(item.shape):
            lines.append(Line(shape_text(item.shape), 9))
        fill, stroke = (theme.output_fill if item.id == root else theme.box), theme.line
    return Shape(
        item.id,
        0,
        0,
        max(line.width for line in lines) + 12,
        sum(line.height for line in lines) + 8,
        lines,
        fill=fill,
        stroke=stroke,
        tooltip=item_tooltip(item),
        classes=item.kind,
    )
