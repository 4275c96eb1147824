"""DOT text of a picture: no Graphviz is needed to write it.

Positions are final, so the text asks for the layout ``nop2``: Graphviz paints and changes nothing.
Every user string passes through :func:`quoted` or :func:`_html`.
"""

from __future__ import annotations

from tinygrad_seq.viz.picture.shapes import Line, Panel, Picture, Shape, Wire
from tinygrad_seq.viz.picture.style import FONT, Theme

__all__ = ["dot_text", "quoted"]

_CONTROL = dict.fromkeys(range(32), " ")


def quoted(text: str) -> str:
    r"""A DOT string that shows `text` literally in a label, a tooltip or an id.

    Graphviz reads backslash escapes (``\N``) and HTML entities in labels; both are disarmed.
    """
    plain = text.translate(_CONTROL).replace("\\", "\\\\").replace("&", "&amp;")
    return '"' + plain.replace('"', '\\"') + '"'


def tip(text: str) -> str:
    """The same for a tooltip, whose backslash escapes Graphviz reads twice."""
    return quoted(text.replace("\\", "\\\\"))


def name(text: str) -> str:
    """A DOT identifier; unlike labels, names know no entities."""
    return '"' + text.translate(_CONTROL).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """Text that HTML-like labels show literally."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _html(lines: list[Line], color: str) -> str:
    """Lines of several fonts: a table, so that their distance is ours and not the renderer's."""
    rows = []
    for line in lines:
        text = _escaped(line.text.translate(_CONTROL)).replace("\\", "\\\\") or " "
        text = f"<b>{text}</b>" if line.bold else text
        font = f'point-size="{_num(line.size)}" color="{line.color or color}"'
        height = _num(line.height)
        rows.append(f'<tr><td height="{height}"><font {font}>{text}</font></td></tr>')
    table = '<table border="0" cellborder="0" cellspacing="0" cellpadding="0">'
    return f"<{table}{''.join(rows)}</table>>"


def _label(lines: list[Line], ink: str) -> str:
    """Label attributes: a plain string for one line, HTML-like text for several."""
    if not lines:
        return 'label=""'
    first = lines[0]
    if len(lines) > 1:
        return f"label={_html(lines, ink)}"
    font = FONT.replace(",", " Bold,", 1) if first.bold else FONT
    return (
        f'label={quoted(first.text)}, fontsize={_num(first.size)}, fontcolor="{first.color or ink}"'
        + (f', fontname="{font}"' if first.bold else "")
    )


def _num(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _shape(shape: Shape, theme: Theme, free: bool = False) -> str:
    style = {"box": "rounded,filled", "square": "filled", "circle": "filled"}.get(shape.form, "")
    if shape.dashed:
        style += ",dashed"
    parts = [] if free else [f'pos="{_num(shape.x)},{_num(shape.y)}"']
    parts += [
        f"width={_num(shape.width / 72)}, height={_num(shape.height / 72)}",
        _label(shape.lines, theme.ink),
    ]
    if shape.form == "text":
        parts.append('shape=plaintext, style=""')
    else:
        form = "circle" if shape.form == "circle" else "box"
        parts.append(f'shape={form}, style="{style}", penwidth={_num(shape.pen)}')
        parts.append(f'fillcolor="{shape.fill or theme.box}", color="{shape.stroke or theme.line}"')
    parts.append(f"id={quoted('n:' + shape.id)}, tooltip={tip(shape.tooltip or shape.id)}")
    if shape.classes:
        parts.append(f"class={quoted(shape.classes)}")
    return f"{name(shape.id)} [{', '.join(parts)}];"


def _wire(wire: Wire, index: int, free: bool = False) -> str:
    points = " ".join(f"{_num(x)},{_num(y)}" for x, y in wire.points)
    parts = []
    if wire.tip is not None and not free:
        end = f"{_num(wire.tip[0])},{_num(wire.tip[1])}"
        points = f"e,{end} {points}"
    if not free:
        parts.append(f'pos="{points}"')
    parts.append(f'color="{wire.color}", penwidth={_num(wire.pen)}, arrowsize={_num(wire.arrow)}')
    if wire.tip is None and not free:
        parts.append("dir=none")
    if wire.dashed:
        parts.append('style="dashed"')
    if wire.label is not None:
        parts.append(_label([wire.label], wire.color))
        if wire.label_at is not None:
            parts.append(f'lp="{_num(wire.label_at[0])},{_num(wire.label_at[1])}"')
    parts.append(f"id={quoted(f'e:{index}')}, tooltip={tip(wire.tooltip)}")
    if wire.classes:
        parts.append(f"class={quoted(wire.classes)}")
    return f"{name(wire.tail)} -> {name(wire.head)} [{', '.join(parts)}];"


def _panel(panel: Panel, picture: dict[str, Shape], theme: Theme) -> list[str]:
    box = ",".join(_num(v) for v in (panel.left, panel.bottom, panel.right, panel.top))
    style = "rounded,filled,dashed" if panel.dashed else "rounded,filled"
    middle = (panel.left + panel.right) / 2 + panel.aside
    lines = [
        f"subgraph {name('cluster_' + panel.id)} {{",
        f'  graph [bb="{box}", lp="{_num(middle)},{_num(panel.bottom + 13)}",',
        f'    label={quoted(panel.label)}, fontsize=12, fontname="{FONT}",',
        f'    fontcolor="{theme.faint}", style="{style}", fillcolor="{theme.panel}",',
        f'    color="{theme.panel_line}", id={quoted("p:" + panel.id)},',
        f"    tooltip={tip(panel.label)}];",
    ]
    lines += [f"  {_shape(picture[member], theme)}" for member in panel.members]
    return [*lines, "}"]


def dot_text(picture: Picture, theme: Theme) -> str:
    """The picture as DOT, byte for byte the same for the same picture."""
    left, bottom, right, top = picture.bounds()
    box = ",".join(_num(v) for v in (left, bottom, right, top))
    shapes = {shape.id: shape for shape in picture.shapes}
    inside = {member for panel in picture.panels for member in panel.members}
    free = picture.free
    layout = "rankdir=BT, nodesep=0.3, ranksep=0.45" if free else f'layout=nop2, bb="{box}"'
    lines = [
        "digraph {",
        f'graph [{layout}, bgcolor="{theme.background}", outputorder=nodesfirst,',
        f'  pad=0.2, charset="UTF-8", tooltip={tip(picture.title)}];',
        f'node [fontname="{FONT}", fixedsize=true, margin=0];',
        f'edge [fontname="{FONT}"];',
    ]
    for panel in picture.panels:
        lines += _panel(panel, shapes, theme)
    lines += [_shape(shape, theme, free) for shape in picture.shapes if shape.id not in inside]
    lines += [_wire(wire, index, free) for index, wire in enumerate(picture.wires)]
    return "\n".join([*lines, "}"]) + "\n"
