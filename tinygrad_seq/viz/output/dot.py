"""DOT text of a picture: no Graphviz is needed to write it.

Positions are final, so the text asks for the layout ``nop2``: Graphviz paints and changes nothing.
Every user string passes through :func:`quoted` or :func:`_html`.
"""

from __future__ import annotations

from tinygrad_seq.viz.picture.look import Look
from tinygrad_seq.viz.picture.shapes import TITLE, Line, Panel, Picture, Shape, Wire
from tinygrad_seq.viz.picture.style import FONT, Theme

__all__ = ["dot_text", "quoted"]

MOST_INCHES = 10_000.0

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


def _label(lines: list[Line], theme: Theme, ink: str = "") -> str:
    """Label attributes: a plain string for one line, HTML-like text for several."""
    ink = ink or theme.ink
    if len(lines) != 1 or (lines[0].bold and theme.font != FONT):  # whose bold has what name?
        return f"label={_html(lines, ink)}" if lines else 'label=""'
    (line,) = lines
    font = FONT.replace(",", " Bold,", 1)
    return (
        f'label={quoted(line.text)}, fontsize={_num(line.size)}, fontcolor="{line.color or ink}"'
        + (f', fontname="{font}"' if line.bold else "")
    )


def _num(*values: float) -> str:
    """Numbers with commas between."""
    texts = (f"{value:.2f}".rstrip("0").rstrip(".") for value in values)
    return ",".join("0" if text in {"-0", ""} else text for text in texts)


def _told(kind: str, tooltip: str, classes: str) -> list[str]:
    parts = [f"id={quoted(kind)}, tooltip={tip(tooltip)}"]
    return [*parts, f"class={quoted(classes)}"] if classes else parts


def _shape(shape: Shape, theme: Theme, free: bool = False) -> str:
    parts = [] if free else [f'pos="{_num(shape.x, shape.y)}"']
    parts.append(f"width={_num(shape.width / 72)}, height={_num(shape.height / 72)}")
    parts.append(_label(shape.lines, theme))
    if shape.form == "text":
        parts.append('shape=plaintext, style=""')
    else:
        form = "circle" if shape.form == "circle" else "box"
        style = "rounded,filled" if shape.form == "box" else "filled"
        style += ",dashed" if shape.dashed else ""
        parts.append(f'shape={form}, style="{style}", penwidth={_num(shape.pen)}')
        parts.append(f'fillcolor="{shape.fill or theme.box}", color="{shape.stroke or theme.line}"')
    parts += _told(f"n:{shape.id}", shape.tooltip or shape.id, shape.classes)
    return f"{name(shape.id)} [{', '.join(parts)}];"


def _wire(wire: Wire, index: int, theme: Theme, free: bool = False) -> str:
    points = [_num(*point) for point in wire.points]
    if wire.tip is not None:
        points.insert(0, f"e,{_num(*wire.tip)}")
    parts = [] if free else [f'pos="{" ".join(points)}"']
    parts.append(f'color="{wire.color}", penwidth={_num(wire.pen)}, arrowsize={_num(wire.arrow)}')
    if wire.tip is None and not free:
        parts.append("dir=none")
    if wire.dashed:
        parts.append('style="dashed"')
    if wire.label is not None:
        parts.append(_label([wire.label], theme, wire.color))
        if wire.label_at is not None:
            parts.append(f'lp="{_num(*wire.label_at)}"')
    parts += _told(f"e:{index}", wire.tooltip, wire.classes)
    return f"{name(wire.tail)} -> {name(wire.head)} [{', '.join(parts)}];"


def _panel(panel: Panel, picture: dict[str, Shape], theme: Theme) -> list[str]:
    box = _num(panel.left, panel.bottom, panel.right, panel.top)
    style = "rounded,filled,dashed" if panel.dashed else "rounded,filled"
    at = panel.label_at or ((panel.left + panel.right) / 2 + panel.aside, panel.bottom + 13)
    lines = [
        f"subgraph {name('cluster_' + panel.id)} {{",
        f'  graph [bb="{box}", lp="{_num(*at)}",',
        f'    label={quoted(panel.label)}, fontsize=12, fontname="{theme.font}",',
        f'    fontcolor="{theme.faint}", style="{style}", fillcolor="{theme.panel}",',
        f'    color="{theme.panel_line}", id={quoted("p:" + panel.id)},',
        f"    tooltip={tip(panel.label)}];",
    ]
    lines += [f"  {_shape(picture[member], theme)}" for member in panel.members]
    return [*lines, "}"]


def dot_text(picture: Picture, theme: Theme, look: Look | None = None) -> str:
    """The picture as DOT, byte for byte the same for the same picture."""
    look = look or Look()
    shapes = {shape.id: shape for shape in picture.shapes}
    inside = {member for panel in picture.panels for member in panel.members}
    free, title = picture.free, _free_title(picture, theme, look)
    lines = [
        "digraph {",
        f'graph [{_layout(picture, look)}, bgcolor="{theme.background}", outputorder=nodesfirst,',
        f'  pad=0.2, charset="UTF-8", tooltip={tip(picture.title)}{title}];',
        f'node [fontname="{theme.font}", fixedsize=true, margin=0];',
        f'edge [fontname="{theme.font}"];',
    ]
    for panel in picture.panels:
        lines += _panel(panel, shapes, theme)
    lines += [_shape(shape, theme, free) for shape in picture.shapes if shape.id not in inside]
    lines += [_wire(wire, index, theme, free) for index, wire in enumerate(picture.wires)]
    return "\n".join([*lines, "}"]) + "\n"


def _layout(picture: Picture, look: Look) -> str:
    """Who lays it out, and how large it is painted."""
    size = (
        "" if look.width is None else f', size="{_num(look.width)},{_num(MOST_INCHES)}!", margin=0'
    )
    if not picture.free:
        return f'layout=nop2, bb="{_num(*picture.bounds())}"{size}'
    rankdir = "BT" if look.rankdir == "LR" else "LR"  # time or not: from inputs to results
    return f"rankdir={rankdir}, nodesep=0.3, ranksep=0.45{size}"


def _free_title(picture: Picture, theme: Theme, look: Look) -> str:
    """The title of what Graphviz lays out; else it is a shape like all others."""
    if not (picture.free and look.title):
        return ""
    label = _label([Line(look.title, TITLE)], theme)
    return f', {label}, labelloc=t, fontname="{theme.font}"'
