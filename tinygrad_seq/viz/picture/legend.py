"""The key under a drawing: the colour scale of gradient norms, and the signs used."""

from __future__ import annotations

from typing import Protocol

from tinygrad_seq.viz.graph.items import AttentionNote, Graph
from tinygrad_seq.viz.layout.weight_boxes import weight_lines
from tinygrad_seq.viz.picture.shapes import Line, Picture, Shape
from tinygrad_seq.viz.picture.style import HeatScale, Theme, number, opacity_top, see_through

__all__ = ["ClipLike", "add_legend"]

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


def add_legend(
    picture: Picture,
    graph: Graph,
    theme: Theme,
    heat: HeatScale | None,
    both: bool,
    clip: ClipLike | None = None,
    weight_names: dict[str, str] | None = None,
) -> None:
    """Add the key below everything else."""
    left, bottom, right, _ = picture.bounds()
    left = min((panel.left for panel in picture.panels), default=left)
    key = _Key(picture, left, max(right, left + LEAST), bottom - 26)
    if heat is not None:
        key.add(_heat_bar(heat))
    if graph.attention is not None:
        key.add(_attention_bar(graph, graph.attention, theme))
    for item, name in (weight_names or {}).items():
        owner, *parameters, _ = weight_lines(graph.items[item], theme, False)
        said = ", ".join(line.text.partition("  ")[0] for line in parameters)
        key.add([_text(f"{name}: {owner.text} ({said})", theme.faint)])
    for text, color in _signs(graph, theme, both, picture):
        key.add([_text(text, color)])
    if clip is not None:
        key.add(_clip_bars(clip, theme))


def _signs(graph: Graph, theme: Theme, both: bool, picture: Picture) -> list[tuple[str, str]]:
    """The signs that a drawing uses, in words."""
    notes = []
    if both:
        notes.append(("← gradient", theme.gradient))
    labels = [wire.label.text for wire in picture.wires if wire.label is not None]
    if any(label.startswith("+") for label in labels):
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


class _Key:
    """Places groups of shapes from left to right, and in a new line where the next is too wide."""

    def __init__(self, picture: Picture, left: float, right: float, y: float) -> None:
        self.picture, self.left, self.right = picture, left, right
        self.x, self.y = left, y
        self.count = 0

    def add(self, group: list[Shape]) -> None:
        """Add shapes that belong together; their own x is the space before each."""
        width = sum(shape.x + shape.width for shape in group)
        if self.x > self.left and self.x + width > self.right:
            self.x, self.y = self.left, self.y - 24
        for shape in group:
            shape.id = f"key:{self.count}"
            self.count += 1
            self.x += shape.x + shape.width
            shape.x, shape.y = self.x - shape.width / 2, self.y
            shape.classes = "key"
            self.picture.shapes.append(shape)
        self.x += 24


def _text(text: str, color: str = "", space: float = 0.0) -> Shape:
    line = Line(text, 10, color=color)
    width = 0.9 * line.width  # sentences: less wide than names and figures
    return Shape("", space, 0, width, 16, [line], "text", tooltip=text)


def _bar(width: float, color: str, tooltip: str, space: float = 0.0) -> Shape:
    bar = Shape("", space, 0, width, 14, [], "square", fill=color, stroke=color, pen=0.4)
    bar.tooltip = tooltip
    return bar


def _heat_bar(heat: HeatScale) -> list[Shape]:
    """Swatches from the smallest norm to the largest."""
    shapes = [_text("gradient norm, log scale:"), _text(number(heat.low), "", 4)]
    for index in range(SWATCHES):
        value = heat.low * (heat.high / heat.low) ** (index / (SWATCHES - 1))
        swatch = _bar(WIDTH + 0.4, heat.color(value), number(value), 0.0 if index else 4.0)
        swatch.x -= 0.4 if index else 0.0
        shapes.append(swatch)
    return [*shapes, _text(number(heat.high), "", 4)]


def _attention_bar(graph: Graph, note: AttentionNote, theme: Theme) -> list[Shape]:
    """Opacities from no weight to the largest drawn, and whose weights they are."""
    whose = [f"row {note.sample} of {note.batch}"] if note.batch > 1 else []
    if note.heads > 1:
        whose.append(f"mean of {note.heads} heads" if note.head is None else f"head {note.head}")
    text = "attention weight" + (f" ({', '.join(whose)}):" if whose else ":")
    top = opacity_top(graph)
    shapes = [_text(text), _text("0", "", 4)]
    for index in range(SWATCHES):
        share = index / (SWATCHES - 1)
        swatch = _bar(WIDTH, "", f"{share * top:.3g}", 0.0 if index else 4.0)
        swatch.fill = see_through(theme.attention, share)
        swatch.pen = 0.0
        shapes.append(swatch)
    return [*shapes, _text(f"{top:g}", "", 4)]


def _clip_bars(clip: ClipLike, theme: Theme) -> list[Shape]:
    """The norm before and after clipping, as figures and as bars in one scale, and the factor."""
    after = clip.norm * clip.factor
    if not clip.factor < 1:
        return [_text(f"not clipped: |g| = {number(clip.norm)}", theme.ink)]
    shapes = [
        _text(f"clipped: |g| before {number(clip.norm)}"),
        _bar(CLIP_BAR, theme.gradient, f"before: {number(clip.norm)}", 2),
        _text(f"× {number(clip.factor)} = after {number(after)}", "", 6),
        _bar(max(CLIP_BAR * clip.factor, 1.0), theme.gradient, f"after: {number(after)}", 2),
    ]
    return shapes
