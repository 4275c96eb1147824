"""The key under a drawing: the colour scale of gradient norms, and the signs used."""

from __future__ import annotations

from typing import Protocol

from tinygrad_seq.viz.ir import Graph
from tinygrad_seq.viz.picture import Line, Picture, Shape
from tinygrad_seq.viz.style import HeatScale, Theme, number

__all__ = ["ClipLike", "add_legend"]

SWATCHES = 13
WIDTH = 14.0


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
) -> None:
    """Add the key below everything else."""
    left, bottom, *_ = picture.bounds()
    left = min((panel.left for panel in picture.panels), default=left)
    y = bottom - 26
    x = left
    if heat is not None:
        x = _heat_bar(picture, heat, x, y)
    notes = []
    if both:
        notes.append(("← gradient", theme.gradient))
        notes.append(("+ what a step adds to |dL/dW|", theme.gradient))
    if any(edge.cut for edge in graph.edges.values()) or any(
        item.kind == "carried" and item.note == "unknown" for item in graph.items.values()
    ):
        notes.append(("✂ value carried on, gradient stops", theme.ink))
    if graph.view == "rolled":
        ahead = any(edge.delay == -1 for edge in graph.edges.values())
        text = "z⁻¹ from the step before" + (", z⁺¹ from the step after" if ahead else "")
        notes.append((text, theme.ink))
    if clip is not None:
        after = clip.norm * clip.factor
        text = f"clipped: |g| {number(clip.norm)} × {number(clip.factor)} = {number(after)}"
        notes.append(
            (text if clip.factor < 1 else f"not clipped: |g| {number(clip.norm)}", theme.ink)
        )
    for number_, (text, color) in enumerate(notes):
        line = Line(text, 10, color=color)
        x += line.width / 2
        picture.shapes.append(_text(f"key:{number_}", x, y, line))
        x += line.width / 2 + 18


def _text(name: str, x: float, y: float, line: Line) -> Shape:
    shape = Shape(name, x, y, line.width, 16, [line], "text")
    shape.tooltip, shape.classes = line.text, "key"
    return shape


def _heat_bar(picture: Picture, heat: HeatScale, x: float, y: float) -> float:
    """Swatches from the smallest norm to the largest; returns where they end."""
    title = Line("gradient norm, log scale:", 10)
    picture.shapes.append(_text("key:heat", x + title.width / 2, y, title))
    x += title.width + 4
    low = Line(number(heat.low), 10)
    picture.shapes.append(_text("key:low", x + low.width / 2, y, low))
    x += low.width + 6
    for index in range(SWATCHES):
        value = heat.low * (heat.high / heat.low) ** (index / (SWATCHES - 1))
        color = heat.color(value)
        swatch = Shape(f"key:heat{index}", x + WIDTH / 2, y, WIDTH + 0.4, 14, [], "square")
        swatch.fill = swatch.stroke = color
        swatch.pen, swatch.tooltip, swatch.classes = 0.4, number(value), "key"
        picture.shapes.append(swatch)
        x += WIDTH
    high = Line(number(heat.high), 10)
    picture.shapes.append(_text("key:high", x + 6 + high.width / 2, y, high))
    return x + high.width + 30
