"""The key under a drawing: the colour scale of gradient norms, and the signs used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tinygrad_seq.viz.graph.items import AttentionNote, Graph
from tinygrad_seq.viz.picture.shapes import TITLE, Line, Picture, Shape
from tinygrad_seq.viz.picture.style import (
    FONT,
    HeatScale,
    Style,
    Theme,
    number,
    opacity_top,
    see_through,
)
from tinygrad_seq.viz.picture.words import weight_lines

__all__ = ["ClipLike", "add_legend", "add_title"]

SWATCHES = 13
WIDTH = 14.0
LEAST = 420.0  # width before a new line is begun, where the drawing itself is narrower
CLIP_BAR = 90.0  # length of the norm before clipping


class ClipLike(Protocol):
    """What clipping by norm reports."""

    @property
    def norm(self) -> float:
        """Global norm before."""

    @property
    def factor(self) -> float:
        """What every gradient was multiplied by."""


def add_title(picture: Picture, title: str) -> None:
    """Write a title over the middle of everything."""
    left, _, right, top = picture.bounds()
    line = Line(title, TITLE)
    shape = Shape("title", (left + right) / 2, 0, line.width, line.height, [line], "text")
    shape.y, shape.tooltip, shape.classes = top + 12 + line.height / 2, title, "title"
    picture.shapes.append(shape)


def add_legend(
    picture: Picture,
    graph: Graph,
    style: Style,
    clip: ClipLike | None,
    weight_names: Mapping[str, str],
) -> None:
    """Add the key below everything else: groups of shapes, in new lines where they are too wide."""
    theme, groups = style.theme, []
    if style.heat is not None:
        groups.append(_heat_bar(style.heat))
    if graph.attention is not None:
        groups.append(_attention_bar(graph, graph.attention, theme))
    for item, name in weight_names.items():
        owner, *parameters, _ = weight_lines(graph.items[item], theme)
        said = ", ".join(line.text.partition("  ")[0] for line in parameters)
        text = owner.text if said == name else f"{owner.text} ({said})"
        groups.append([_text(f"{name}: {text}", theme.faint)])
    groups += [[_text(text, color)] for text, color in _signs(graph, style, picture)]
    if clip is not None:
        groups.append(_clip_bars(clip, theme))
    left, bottom, right, _ = picture.bounds()
    left = min((panel.left for panel in picture.panels), default=left)
    x, y, right = left, bottom - 26, max(right, left + LEAST)
    count = 0
    for group in groups:
        for shape in group if theme.font != FONT else ():  # it may be a typewriter's
            shape.width = max(shape.width, *(line.width for line in shape.lines), 0)
        if x > left and x + sum(shape.x + shape.width for shape in group) > right:
            x, y = left, y - 24
        for shape in group:  # their own x is the space before each
            x += shape.x + shape.width
            shape.id, shape.classes = f"key:{count}", "key"
            shape.x, shape.y = x - shape.width / 2, y
            count += 1
        picture.shapes += group
        x += 24


def _signs(graph: Graph, style: Style, picture: Picture) -> list[tuple[str, str]]:
    """The signs that a drawing uses, in words."""
    theme, notes = style.theme, []
    if style.both:
        notes.append(("← gradient", theme.gradient))
    if any(wire.label is not None and wire.label.text.startswith("+") for wire in picture.wires):
        notes.append(("+ norm of what a step adds to dL/dW", theme.gradient))
    if any(edge.cut for edge in graph.edges.values()) or any(
        item.kind == "carried" and item.note == "unknown" for item in graph.items.values()
    ):
        notes.append(("✂ value carried on, gradient stops", theme.ink))
    if graph.view.folds:
        ahead = any(edge.delay == -1 for edge in graph.edges.values())
        text = "z⁻¹ from the step before" + (", z⁺¹ from the step after" if ahead else "")
        notes.append((text, theme.ink))
    return notes


def _text(text: str, color: str = "", space: float = 0.0) -> Shape:
    line = Line(text, 10, color=color)
    width = 0.9 * line.width  # sentences: less wide than names and figures
    return Shape("", space, 0, width, 16, [line], "text", tooltip=text)


def _bar(width: float, color: str, tooltip: str, space: float = 2.0) -> Shape:
    bar = Shape("", space, 0, width, 14, [], "square", fill=color, stroke=color, pen=0.4)
    bar.tooltip = tooltip
    return bar


def _scale(text: str, swatches: list[Shape], low: str, high: str) -> list[Shape]:
    """A colour scale between the figures at its ends."""
    swatches[0].x = 4.0
    return [_text(text), _text(low, "", 4), *swatches, _text(high, "", 4)]


def _heat_bar(heat: HeatScale) -> list[Shape]:
    """Swatches from the smallest norm to the largest."""
    ratio = heat.high / heat.low
    values = [heat.low * ratio ** (index / (SWATCHES - 1)) for index in range(SWATCHES)]
    swatches = [_bar(WIDTH + 0.4, heat.color(value), number(value), -0.4) for value in values]
    return _scale("gradient norm, log scale:", swatches, number(heat.low), number(heat.high))


def _attention_bar(graph: Graph, note: AttentionNote, theme: Theme) -> list[Shape]:
    """Opacities from no weight to the largest drawn, and whose weights they are."""
    whose = [f"row {note.sample} of {note.batch}"] if note.batch > 1 else []
    if note.heads > 1:
        whose.append(f"mean of {note.heads} heads" if note.head is None else f"head {note.head}")
    text = "attention weight" + (f" ({', '.join(whose)}):" if whose else ":")
    top, swatches = opacity_top(graph), []
    for index in range(SWATCHES):
        share = index / (SWATCHES - 1)
        swatch = _bar(WIDTH, see_through(theme.attention, share), f"{share * top:.3g}", 0.0)
        swatch.stroke, swatch.pen = "", 0.0
        swatches.append(swatch)
    return _scale(text, swatches, "0", f"{top:g}")


def _clip_bars(clip: ClipLike, theme: Theme) -> list[Shape]:
    """The norm before and after clipping, as figures and as bars in one scale, and the factor."""
    before, after = number(clip.norm), number(clip.norm * clip.factor)
    if not clip.factor < 1:
        return [_text(f"not clipped: |g| = {before}", theme.ink)]
    return [
        _text(f"clipped: |g| before {before}"),
        _bar(CLIP_BAR, theme.gradient, f"before: {before}"),
        _text(f"× {number(clip.factor)} = after {after}", "", 6),
        _bar(max(CLIP_BAR * clip.factor, 1.0), theme.gradient, f"after: {after}"),
    ]
