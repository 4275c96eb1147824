"""Templates of known cells: every gate in its place, so that the states are straight roads.

The cell state c is one road on top (its residual path is then visible), the hidden state h a road
at the bottom, the gates stand between. A node finds its slot by the part it plays; the wires are
the recorded edges, led along the template's ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_seq.viz.graph.items import Edge, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire, outline, route
from tinygrad_seq.viz.picture.style import HeatScale, Theme, subscript
from tinygrad_seq.viz.picture.words import edge_tooltip, item_tooltip, span_text

__all__ = ["Template", "bar_roads", "template_block", "template_for"]


class Slot(NamedTuple):
    """Where a part stands, and how it looks."""

    x: float
    y: float
    width: float
    height: float
    text: str
    fill: str
    form: str = "box"
    size: float = 12.0


class Template(NamedTuple):
    """Slots of a cell; the glyph of a state's last operation; size, and where states pass."""

    slots: dict[str, Slot]
    glyphs: dict[str, Slot]
    width: float
    height: float
    center: Point
    roads: dict[str, tuple[str, str]]
    """By state: the part that it enters first on its road, and the part that it leaves from."""


_C, _H = 72.0, -70.0  # heights of the upper and the lower road
_TIMES, _PLUS = "×", "+"


def _round(x: float, y: float, text: str) -> Slot:
    return Slot(x, y, 20, 20, text, "box", "circle")


def _gate(x: float, y: float, name: str, width: float = 34) -> Slot:
    return Slot(x, y, width, 24, f"{name}  σ", "gate_fill")


def _state(x: float, y: float, name: str) -> Slot:
    return Slot(x, y, 34, 34, name, f"{name}_fill", "circle")


_LSTM = Template(
    {
        "a": Slot(-40, _H, 156, 28, "W [h; x] + b", "weight_fill"),
        "f": _gate(-100, -14, "f"),
        "i": _gate(-60, -14, "i"),
        "g": Slot(-13, -14, 50, 24, "g  tanh", "squash_fill"),
        "o": _gate(32, -14, "o"),
        "f*c": _round(-100, _C, _TIMES),
        "i*g": _round(-37, 30, _TIMES),
        "c": _state(78, _C, "c"),
        "tanh_c": Slot(78, 28, 40, 22, "tanh", "squash_fill"),
        "h": _state(120, _H, "h"),
    },
    {"c": _round(-37, _C, _PLUS), "h": _round(78, -14, _TIMES)},
    274,
    208,
    (8, 0),
    {"c": ("f*c", "c"), "h": ("a", "h")},
)
_PROJECTED_LSTM = _LSTM._replace(
    slots={**_LSTM.slots, "o*tanh_c": _round(78, -14, _TIMES)},
    glyphs={**_LSTM.glyphs, "h": Slot(78, -44, 30, 20, "W", "weight_fill")},
)
_RNN = Template(
    {
        "a": Slot(-52, 0, 100, 28, "W [h; x] + b", "weight_fill"),
        "h": _state(86, 0, "h"),
    },
    {"h": Slot(32, 0, 44, 24, "tanh", "squash_fill")},
    214,
    50,
    (0, 0),
    {"h": ("a", "h")},
)
_GRU = Template(
    {
        "a": Slot(-27, _H, 184, 28, "W h,  W x + b", "weight_fill"),
        "z": _gate(-100, -14, "z"),
        "r": _gate(-54, -14, "r"),
        "reset": _round(-8, -14, _TIMES),
        "n": Slot(40, -14, 48, 24, "n  tanh", "squash_fill"),
        "1-z": Slot(-40, 30, 34, 22, "1 −", "box"),
        "fresh": _round(40, 30, _TIMES),
        "kept": _round(-100, _C, _TIMES),
        "h": _state(100, _C, "h"),
    },
    {"h": _round(40, _C, _PLUS)},
    244,
    208,
    (-3, 0),
    {"h": ("kept", "h")},
)
_GRU_RESET_BEFORE = _GRU._replace(
    slots={
        **_GRU.slots,
        "a": Slot(-54, _H, 130, 28, "W h,  W x + b", "weight_fill"),
        "inner": Slot(34, -14, 34, 24, "W", "weight_fill"),
        "n": Slot(86, -14, 48, 24, "n  tanh", "squash_fill"),
        "fresh": _round(86, 30, _TIMES),
        "h": _state(146, _C, "h"),
    },
    glyphs={"h": _round(86, _C, _PLUS)},
    width=290,
    center=(20, 0),
)
_TEMPLATES = (_LSTM, _PROJECTED_LSTM, _RNN, _GRU, _GRU_RESET_BEFORE)
_RESET_LANE = -41.0  # on it h goes to the reset gate's product, between the sum and the gates
_OTHER_ORDER = {"c*f": "f*c", "g*i": "i*g", "tanh_c*o": "o*tanh_c"}


def template_for(parts: Iterable[str]) -> Template | None:
    """The template that has exactly these parts."""
    found = {_OTHER_ORDER.get(part, part) for part in parts}
    for template in _TEMPLATES:
        if found == set(template.slots):
            return template
    return None


def bar_roads(roles: set[str]) -> dict[str, float]:
    """Heights at which the states of a cell with these roles pass a bar that hides some."""
    if "h" not in roles:
        return {}
    template = _LSTM if "c" in roles else _GRU if "z" in roles else _RNN
    heights = {
        state: template.slots[part].y - template.center[1]
        for state, (part, _) in template.roads.items()
    }
    return heights


def template_block(
    template: Template, items: list[Item], edges: list[Edge], theme: Theme, heat: HeatScale | None
) -> Block:
    """A cell laid out by its template."""
    block = Block(template.width, template.height, [])
    of_part: dict[str, Shape] = {}
    glyph_of: dict[str, Shape] = {}
    for item in items:
        part = _OTHER_ORDER.get(item.part, item.part)
        slot = _named(template.slots[part], item, part)
        shape = _shape(item, slot, template.center, theme, heat)
        of_part[part] = shape
        if part in template.glyphs:
            slot = template.glyphs[part]
            if part == "h" and "relu" in item.ops:
                slot = slot._replace(text="relu")
            glyph = _shape(item, slot, template.center, theme, None)
            glyph.id, glyph.classes = f"{item.id}·", "glyph"
            glyph_of[item.id] = glyph
            block.shapes.append(glyph)
            block.wires.append(_out_of_glyph(glyph, shape, part, theme))
        block.shapes.append(shape)
        _note_norm(block, item, part, shape, theme)
    shapes = {shape.id: shape for shape in block.shapes}
    parts = {shape.id: part for part, shape in of_part.items()}
    for edge in edges:
        tail, head = shapes[edge.tail], glyph_of.get(edge.head, shapes[edge.head])
        block.wires.append(_inside(edge, tail, head, parts, theme))
    _set_anchors(block, of_part, template)
    return block


def _named(slot: Slot, item: Item, part: str) -> Slot:
    """The slot with what is done besides: modules that are called within the cell."""
    inner = sorted({name.partition("_l")[0] for name in item.inner})
    if not inner:
        return slot
    if not all(name.startswith("norm") for name in inner):
        return slot._replace(text=", ".join([*inner, slot.text]))
    if part == "tanh_c":
        return slot._replace(text="norm, tanh", width=72)
    if part == "n":
        return slot._replace(text="norm tanh", width=66)
    if part == "a" and inner == ["norm_h", "norm_x"] and slot.width > 150:
        return slot._replace(text="norm W x + norm W h + b", size=11)
    text = f"norm {slot.text}"
    return slot._replace(text=text, width=max(slot.width, 5.6 * len(text) + 10), size=10)


def _note_norm(block: Block, item: Item, part: str, shape: Shape, theme: Theme) -> None:
    """The gradient norm of a state, in figures beside it."""
    span = item.gradients.get(part)
    if part not in {"h", "c"} or span is None:
        return
    line = Line(span_text(span), 10, color=theme.faint)
    away = 25.0 if part == "c" else -25.0
    note = Shape(f"{item.id}#", shape.x, shape.y + away, line.width, 12, [line], "text")
    note.tooltip, note.classes = f"|∂L/∂{part}| {line.text}", "norm"
    block.shapes.append(note)


def _shape(item: Item, slot: Slot, center: Point, theme: Theme, heat: HeatScale | None) -> Shape:
    state = slot.text in {"h", "c"} and slot.form == "circle"
    text = slot.text + (subscript(item.place.step) if state else "")
    shape = Shape(
        item.id,
        slot.x - center[0],
        slot.y - center[1],
        slot.width,
        slot.height,
        [Line(text, 15 if state else slot.size)],
        form=slot.form,
        fill=getattr(theme, slot.fill),
        tooltip=item_tooltip(item),
        classes=f"state-{slot.text}" if state else "gate",
    )
    if state:
        shape.stroke, shape.pen = getattr(theme, slot.text), 1.8
        span = item.gradients.get(slot.text)
        if heat is not None and span is not None and span.count == 1:
            shape.fill = heat.color(span.high)
            shape.lines[0].color = heat.text(span.high)
    return shape


def _out_of_glyph(glyph: Shape, shape: Shape, part: str, theme: Theme) -> Wire:
    """From a state's last operation to the state itself."""
    if abs(glyph.y - shape.y) < 1:
        corners = [outline(glyph, (1, 0)), outline(shape, (-1, 0))]
    else:
        corners = [outline(glyph, (0, -1)), (glyph.x, shape.y), outline(shape, (-1, 0))]
    points, tip = route(corners)
    color = theme.c if part == "c" else theme.h
    wire = Wire(glyph.id, shape.id, points, tip, color, 2.2, classes=f"edge-{part}")
    wire.road, wire.tooltip = shape.id, f"{glyph.lines[0].text} gives {part}"
    return wire


def _inside(edge: Edge, tail: Shape, head: Shape, parts: dict[str, str], theme: Theme) -> Wire:
    """A recorded edge within the cell."""
    color, pen = theme.line, 1.2
    start_part = parts.get(edge.tail)
    if start_part == "f*c":
        color, pen = theme.c, 2.2
    if start_part == "kept":
        color, pen = theme.h, 2.2
    over = abs(head.x - tail.x) < tail.width / 2 and head.y > tail.y
    if start_part == "a" and over and parts.get(edge.head) != "h":
        corners = [(head.x, tail.y + tail.height / 2), outline(head, (0, -1))]
    elif abs(tail.y - head.y) < 1:
        corners = [outline(tail, (1, 0)), outline(head, (-1, 0))]
    elif start_part == "a" and head.x > tail.x + tail.width / 2:
        corners = [outline(tail, (1, 0)), (head.x, tail.y), outline(head, (0, -1))]
    elif abs(tail.x - head.x) < 1:
        side = 1 if head.y > tail.y else -1
        corners = [outline(tail, (0, side)), outline(head, (0, -side))]
    else:
        away = (head.x - tail.x, head.y - tail.y)
        start = outline(tail, (0, 1)) if tail.form == "box" else outline(tail, away)
        corners = [start, outline(head, (start[0] - head.x, start[1] - head.y))]
    points, tip = route(corners, arrow=0.6)
    wire = Wire(edge.tail, head.id, points, tip, color, pen, arrow=0.6)
    wire.tooltip, wire.classes = edge_tooltip(edge), f"edge-{edge.kind}"
    if start_part in {"f*c", "kept"}:
        wire.road = edge.head
    return wire


def _set_anchors(block: Block, shapes: dict[str, Shape], template: Template) -> None:
    affine, h = shapes["a"], shapes["h"]
    block.anchors = {
        "x": (affine.x, affine.y - affine.height / 2),
        "w": (affine.x - affine.width / 2 + 24, affine.y - affine.height / 2),
        "up": (h.x, h.y + h.height / 2),
    }
    for state, (entry, leaving) in template.roads.items():
        block.anchors[state] = outline(shapes[entry], (-1, 0))
        block.anchors[state + "+"] = outline(shapes[leaving], (1, 0))
    if "kept" in shapes:
        block.anchors[f"h {affine.id}"] = outline(affine, (-1, 0))
    if "inner" in shapes:
        reset, inner = shapes["reset"], shapes["inner"]
        block.anchors[f"h {reset.id}"] = outline(reset, (0, -1))
        block.ways[f"h {reset.id}"] = [(reset.x, _RESET_LANE - template.center[1])]
        block.anchors[f"w {inner.id}"] = (inner.x + 8, inner.y - inner.height / 2)
    if "o*tanh_c" in shapes:
        below = next(shape for shape in block.shapes if shape.id == f"{h.id}·")
        block.anchors[f"w {h.id}"] = (below.x - 9, below.y - below.height / 2)
