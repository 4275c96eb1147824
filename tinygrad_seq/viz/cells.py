"""Templates of known cells: every gate in its place, so that the states are straight roads.

The cell state c is one road on top (its residual path is then visible), the hidden state h a road
at the bottom, the gates stand between. A node finds its slot by the part it plays; the wires are
the recorded edges, led along the template's ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_seq.viz.block import Block
from tinygrad_seq.viz.ir import Edge, Item
from tinygrad_seq.viz.picture import Line, Point, Shape, Wire, outline, route
from tinygrad_seq.viz.style import HeatScale, Theme, subscript
from tinygrad_seq.viz.words import edge_tooltip, item_tooltip, span_text

__all__ = ["LSTM_ROADS", "RNN_ROADS", "Template", "template_block", "template_for"]


class Slot(NamedTuple):
    """Where a part stands, and how it looks."""

    x: float
    y: float
    width: float
    height: float
    text: str
    fill: str
    form: str = "box"


class Template(NamedTuple):
    """Slots of a cell; the glyph of a state's last operation; size and anchors."""

    slots: dict[str, Slot]
    glyphs: dict[str, Slot]
    width: float
    height: float
    center: Point


LSTM_ROADS = {"c": 72.0, "h": -70.0}
RNN_ROADS = {"h": 0.0}
_TIMES, _PLUS = "×", "+"
_C, _H = LSTM_ROADS["c"], LSTM_ROADS["h"]
_LSTM = Template(
    {
        "z": Slot(-40, _H, 156, 28, "W [h; x] + b", "weight_fill"),
        "f": Slot(-100, -14, 34, 24, "f  σ", "gate_fill"),
        "i": Slot(-60, -14, 34, 24, "i  σ", "gate_fill"),
        "g": Slot(-13, -14, 48, 24, "g  tanh", "squash_fill"),
        "o": Slot(32, -14, 34, 24, "o  σ", "gate_fill"),
        "f*c": Slot(-100, _C, 20, 20, _TIMES, "box", "circle"),
        "i*g": Slot(-37, 30, 20, 20, _TIMES, "box", "circle"),
        "c": Slot(78, _C, 34, 34, "c", "c_fill", "circle"),
        "tanh_c": Slot(78, 28, 40, 22, "tanh", "squash_fill"),
        "h": Slot(120, _H, 34, 34, "h", "h_fill", "circle"),
    },
    {
        "c": Slot(-37, _C, 20, 20, _PLUS, "box", "circle"),
        "h": Slot(78, -14, 20, 20, _TIMES, "box", "circle"),
    },
    274,
    208,
    (8, 0),
)
_RNN = Template(
    {
        "z": Slot(-52, 0, 100, 28, "W [h; x] + b", "weight_fill"),
        "h": Slot(86, 0, 34, 34, "h", "h_fill", "circle"),
    },
    {"h": Slot(32, 0, 44, 24, "tanh", "squash_fill")},
    214,
    50,
    (0, 0),
)


def template_for(parts: Iterable[str]) -> Template | None:
    """The template that has exactly these parts."""
    found = {"f*c" if part == "c*f" else "i*g" if part == "g*i" else part for part in parts}
    for template in (_LSTM, _RNN):
        if found == set(template.slots):
            return template
    return None


def template_block(
    template: Template, items: list[Item], edges: list[Edge], theme: Theme, heat: HeatScale | None
) -> Block:
    """A cell laid out by its template."""
    block = Block(template.width, template.height, [])
    of_part: dict[str, Shape] = {}
    glyph_of: dict[str, Shape] = {}
    for item in items:
        part = {"c*f": "f*c", "g*i": "i*g"}.get(item.part, item.part)
        shape = _shape(item, template.slots[part], template.center, theme, heat)
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
    _set_anchors(block, of_part)
    return block


def _note_norm(block: Block, item: Item, part: str, shape: Shape, theme: Theme) -> None:
    """The gradient norm of a state, in figures beside it."""
    span = item.gradients.get(part)
    if part not in {"h", "c"} or span is None:
        return
    line = Line(span_text(span), 9, color=theme.faint)
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
        [Line(text, 14 if state else 11)],
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
    return Wire(glyph.id, shape.id, points, tip, color, 2.2, classes=f"edge-{part}")


def _inside(edge: Edge, tail: Shape, head: Shape, parts: dict[str, str], theme: Theme) -> Wire:
    """A recorded edge within the cell."""
    color, pen = theme.line, 1.2
    start_part = parts.get(edge.tail)
    if start_part == "f*c":
        color, pen = theme.c, 2.2
    if start_part == "z" and head.form == "box" and head.y > tail.y:
        corners = [(head.x, tail.y + tail.height / 2), outline(head, (0, -1))]
    elif abs(tail.y - head.y) < 1:
        corners = [outline(tail, (1, 0)), outline(head, (-1, 0))]
    elif abs(tail.x - head.x) < 1:
        side = 1 if head.y > tail.y else -1
        corners = [outline(tail, (0, side)), outline(head, (0, -side))]
    else:
        away = (head.x - tail.x, head.y - tail.y)
        start = outline(tail, (0, 1)) if tail.form == "box" else outline(tail, away)
        corners = [start, outline(head, (start[0] - head.x, start[1] - head.y))]
    points, tip = route(corners, arrow=0.6)
    return Wire(
        edge.tail,
        head.id,
        points,
        tip,
        color,
        pen,
        tooltip=edge_tooltip(edge),
        classes=f"edge-{edge.kind}",
        arrow=0.6,
    )


def _set_anchors(block: Block, shapes: dict[str, Shape]) -> None:
    z, h = shapes["z"], shapes["h"]
    block.anchors = {
        "x": (z.x, z.y - z.height / 2),
        "w": (z.x - z.width / 2 + 24, z.y - z.height / 2),
        "up": (h.x, h.y + h.height / 2),
        "h": outline(z, (-1, 0)),
        "h+": outline(h, (1, 0)),
    }
    if "c" in shapes:
        block.anchors["c"] = outline(shapes["f*c"], (-1, 0))
        block.anchors["c+"] = outline(shapes["c"], (1, 0))
