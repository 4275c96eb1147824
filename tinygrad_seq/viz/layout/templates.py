"""Cells laid out by templates: every gate in its place, so that the states are straight roads.

The cell state c is one road on top (its residual path is then visible), the hidden state h a road
at the bottom, the gates stand between. A node finds its slot by the part it plays; the wires are
the recorded edges, led along the template's ways.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tinygrad_seq.timeline.picture import Slot, Template
from tinygrad_seq.viz.graph.items import Edge, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire
from tinygrad_seq.viz.picture.style import Style, Theme, subscript
from tinygrad_seq.viz.picture.words import edge_look, item_tooltip, norm_text, span_text

__all__ = ["bar_roads", "template_block", "template_for"]


def template_for(parts: Iterable[str], known: Sequence[Template]) -> Template | None:
    """The template that has exactly these parts."""
    names = list(parts)
    for template in known:
        if {template.part(name) for name in names} == template.slots.keys():
            return template
    return None


def bar_roads(roles: set[str], known: Sequence[Template]) -> dict[str, float]:
    """Heights at which the states of a cell with these roles pass a bar that hides some."""
    fitting = [template for template in known if template.roads.keys() <= roles]
    if not fitting:
        return {}
    nearest = max(fitting, key=lambda template: len(template.slots.keys() & roles))
    return {
        name: nearest.slots[entry].y - nearest.center[1]
        for name, (entry, _) in nearest.roads.items()
    }


def template_block(template: Template, items: list[Item], edges: list[Edge], style: Style) -> Block:
    """A cell laid out by its template."""
    theme, block = style.theme, Block(template.width, template.height, [])
    shapes: dict[str, Shape] = {}
    entered: dict[str, Shape] = {}
    """What lines to a part end at: the glyph before it, if it has one."""
    for item in items:
        part = template.part(item.part)
        slot, glyph = template.slots[part], template.glyphs.get(part)
        shape = shapes[part] = _shape(item, slot if glyph else _told(slot, item), template, theme)
        entered[part] = shape
        if glyph is not None:
            before = entered[part] = _shape(item, _told(glyph, item), template, theme)
            before.id, before.classes = f"{item.id}·", "glyph"
            block.shapes.append(before)
            block.wires.append(_out_of_glyph(before, shape, part, theme))
        block.shapes.append(shape)
        if slot.state:
            style.paint(shape, item.gradients.get(part))
            above = part != template.output
            block.shapes += _norm_notes(item, part, shape.y + (25 if above else -25), shape, theme)
    parts = {item.id: template.part(item.part) for item in items}
    roads = {entry: name for name, (entry, _) in template.roads.items() if entry != template.affine}
    for edge in edges:
        tail, head = parts[edge.tail], parts[edge.head]
        wide = tail == template.affine and head != template.output
        corners = _inside(shapes[tail], entered[head], tail == template.affine, wide)
        color, pen = (theme.state(roads[tail]), 2.2) if tail in roads else (theme.line, 1.2)
        wire = Wire.along(edge.tail, entered[head].id, corners, color, pen, 0.6, **edge_look(edge))
        wire.road = edge.head if tail in roads else ""
        block.wires.append(wire)
    _set_anchors(block, shapes, entered, template)
    return block


def _told(slot: Slot, item: Item) -> Slot:
    """The slot with what is done besides: modules that are called within the cell."""
    for name in slot.renamed:
        if name in item.ops:
            slot = slot._replace(text=name)
    inner = sorted({name.partition("_l")[0] for name in item.inner})
    if not inner:
        return slot
    if not all(name.startswith("norm") for name in inner):
        return slot._replace(text=", ".join([*inner, slot.text]))
    if slot.normed is not None and len(inner) >= slot.normed[0]:
        _, text, width, size = slot.normed
        return slot._replace(text=text, width=width or slot.width, size=size)
    text = f"norm {slot.text}"
    return slot._replace(text=text, width=max(slot.width, 5.6 * len(text) + 10), size=10)


def _norm_notes(item: Item, part: str, y: float, shape: Shape, theme: Theme) -> list[Shape]:
    """The gradient norm of a state, in figures beside it."""
    span = item.gradients.get(part)
    if span is None:
        return []
    line = Line(span_text(span), 10, color=theme.faint)
    note = Shape(f"{item.id}#", shape.x, y, line.width, 12, [line], "text", classes="norm")
    note.tooltip = norm_text(part, span)
    return [note]


def _shape(item: Item, slot: Slot, template: Template, theme: Theme) -> Shape:
    text = slot.text + (subscript(item.place.step) if slot.state else "")
    x, y = slot.x - template.center[0], slot.y - template.center[1]
    shape = Shape(item.id, x, y, slot.width, slot.height, [Line(text, slot.size)], slot.form)
    shape.tooltip = item_tooltip(item)
    if slot.state:
        shape.classes, shape.fill = f"state-{slot.text}", theme.state_fill(slot.text)
        shape.stroke, shape.pen = theme.state(slot.text), 1.8
    else:
        shape.classes, shape.fill = "gate", getattr(theme, slot.fill)
    return shape


def _out_of_glyph(glyph: Shape, shape: Shape, part: str, theme: Theme) -> Wire:
    """From a state's last operation to the state itself."""
    if abs(glyph.y - shape.y) < 1:
        corners = [glyph.outline(1, 0), shape.outline(-1, 0)]
    else:
        corners = [glyph.outline(0, -1), (glyph.x, shape.y), shape.outline(-1, 0)]
    wire = Wire.along(glyph.id, shape.id, corners, theme.state(part), 2.2)
    wire.road, wire.classes = shape.id, f"edge-{part}"
    wire.tooltip = f"{glyph.lines[0].text} gives {part}"
    return wire


def _inside(tail: Shape, head: Shape, affine: bool, wide: bool) -> list[Point]:
    """The way of an edge within the cell; many lines leave the `wide` top of one part."""
    over = abs(head.x - tail.x) < tail.width / 2 and head.y > tail.y
    if wide and over:
        return [(head.x, tail.y + tail.height / 2), head.outline(0, -1)]
    if abs(tail.y - head.y) < 1:
        return [tail.outline(1, 0), head.outline(-1, 0)]
    if affine and head.x > tail.x + tail.width / 2:
        return [tail.outline(1, 0), (head.x, tail.y), head.outline(0, -1)]
    if abs(tail.x - head.x) < 1:
        side = 1 if head.y > tail.y else -1
        return [tail.outline(0, side), head.outline(0, -side)]
    start = tail.outline(0, 1)
    if tail.form == "circle":
        start = tail.outline(head.x - tail.x, head.y - tail.y)
    return [start, head.outline(start[0] - head.x, start[1] - head.y)]


def _set_anchors(
    block: Block, shapes: dict[str, Shape], entered: dict[str, Shape], template: Template
) -> None:
    affine = shapes[template.affine]
    (left, y), (x, low) = affine.outline(-1, 0), affine.outline(0, -1)
    block.anchors = {"x:": (x, low), "w:": (left + 24, low), "w-": (left + 14, low)}
    block.anchors["m:"] = affine.outline(1, 0)[0] - 24, low
    block.anchors["up:"] = shapes[template.output].outline(0, 1)
    for name, (entry, leaving) in template.roads.items():
        block.anchors[name] = shapes[entry].outline(-1, 0)
        block.anchors[f"{name}+"] = shapes[leaving].outline(1, 0)
    for name, port in template.ports.items():
        kind, part = name.split()
        kind = "w:" if kind == "w" else kind
        x, y = entered[part].outline(*port.direction)
        block.anchors[f"{kind} {shapes[part].id}"] = x + port.aside, y
        if port.lane is not None:
            block.ways[f"{kind} {shapes[part].id}"] = [(x, port.lane - template.center[1])]
