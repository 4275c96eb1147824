"""Colours, fonts and words of the drawings: one place, two themes.

State h is blue and state c orange. The colours of lines were searched for the largest least
difference between any two, as people with and without the common kinds of colour blindness see
them, at a contrast of 4.5 to the background (and the pictures name every line besides). Heat is a
single hue whose lightness falls steadily, so it reads in grey too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_seq.viz.graph.items import Graph, Span
from tinygrad_seq.viz.picture.look import Look
from tinygrad_seq.viz.picture.shapes import Shape

__all__ = ["FONT", "THEMES", "HeatScale", "Style", "Theme", "number", "shape_text", "subscript"]

FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours by what they mean, and the font."""

    name: str
    background: str
    ink: str
    faint: str
    panel: str
    panel_line: str
    box: str
    line: str
    h: str
    h_fill: str
    c: str
    c_fill: str
    weight: str
    weight_fill: str
    output_fill: str
    loss_fill: str
    gate_fill: str
    squash_fill: str
    gradient: str
    attention: str
    heat: tuple[str, ...]
    alignment: tuple[str, ...]

    font: str = FONT
    """Families, the one to take first, as fontconfig and CSS list them."""
    tracks: Mapping[str, int] = field(default_factory=dict)
    """Which of its cell's each state is, by name: the first two have colours of their own."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Colours that a reader gave states, by name: ``"m"`` of its lines, ``"m_fill"``."""

    def state(self, kind: str) -> str:
        """Of the lines of a state; of any other line where it is no state with a colour."""
        known = {0: self.h, 1: self.c}.get(self.tracks.get(kind, -1), self.line)
        return self.named.get(kind, known)

    def state_fill(self, kind: str) -> str:
        """Of what holds a state."""
        known = {0: self.h_fill, 1: self.c_fill}
        return self.named.get(
            f"{kind}_fill", known.get(self.tracks.get(kind, -1), self.output_fill)
        )


_COLORS: dict[str, tuple[Any, Any]] = {  # light, dark
    "background": ("#ffffff", "#14181d"),
    "ink": ("#1b1f24", "#f0f3f6"),
    "faint": ("#5d6670", "#a3adb8"),
    "panel": ("#f6f7f9", "#1c2229"),
    "panel_line": ("#d4d9df", "#3a434d"),
    "box": ("#ffffff", "#262d35"),
    "line": ("#474f59", "#dcecf2"),
    "h": ("#0051ca", "#61a3ea"),
    "h_fill": ("#dbe9f7", "#1d3d5c"),
    "c": ("#b45511", "#e96a2c"),
    "c_fill": ("#fde3d3", "#5c2c16"),
    "weight": ("#523600", "#f4e322"),
    "weight_fill": ("#fdf3d6", "#40351a"),
    "output_fill": ("#e3eefb", "#22364d"),
    "loss_fill": ("#eceff2", "#333b44"),
    "gate_fill": ("#dff1e8", "#1f4034"),
    "squash_fill": ("#e6e9fa", "#2e3357"),
    "gradient": ("#741580", "#bf738a"),
    "attention": ("#03804e", "#59f092"),
    "heat": (
        ("#fff7ec", "#fee2b6", "#fdc38a", "#f99a5b", "#e8663f", "#c5301f", "#8a0f12"),
        ("#2a2320", "#46302a", "#6b3a2c", "#97472c", "#c65a2c", "#ef7d3a", "#ffb070"),
    ),
    "alignment": (
        ("#ffffff", "#d5eddf", "#97d2b1", "#4caa7b", "#03804e", "#00482b"),
        ("#14181d", "#173a2b", "#1d6447", "#2b9367", "#45c483", "#59f092"),
    ),
}
THEMES = {
    name: Theme(name, **{meaning: pair[index] for meaning, pair in _COLORS.items()})
    for index, name in enumerate(("light", "dark"))
}


def see_through(color: str, opacity: float) -> str:
    """A colour with an opacity from 0 to 1."""
    return f"{color}{round(255 * min(max(opacity, 0.0), 1.0)):02x}"


def opacity_top(graph: Graph) -> float:
    """The attention weight that is drawn fully opaque: 1, or less where all weights are small."""
    weights = [weight.mean for edge in graph.edges.values() for weight in edge.alignment.values()]
    largest = max(weights, default=1.0)
    return next((top for top in (0.1, 0.2, 0.5) if largest <= top), 1.0)


_SUBSCRIPTS = str.maketrans("0123456789-+t", "₀₁₂₃₄₅₆₇₈₉₋₊ₜ")


def subscript(step: object) -> str:
    """A time step as subscript characters."""
    return str(step).translate(_SUBSCRIPTS)


def number(value: float) -> str:
    """A norm in at most six characters or so: three significant digits, at most four decimals."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if 0.001 <= abs(value) < 1000:
        decimals = 2 - math.floor(math.log10(abs(value)))
        return f"{value:.{min(max(decimals, 0), 4)}f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def shape_text(shape: object) -> str:
    """A shape as ``2 × 4``; nothing for a scalar."""
    if not isinstance(shape, tuple) or not shape:
        return ""
    if isinstance(shape[0], tuple):
        shape = shape[0]
    return " × ".join(str(size) for size in shape)


@dataclass(frozen=True)
class HeatScale:
    """Colour of a value from `low` to `high`: of a norm on a logarithmic scale, unless told."""

    low: float
    high: float
    colors: tuple[str, ...]
    log: bool = True

    def position(self, value: float) -> float:
        """Where a value lies on the scale, 0 to 1."""
        if not self.log:
            return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        if not value > 0 or not math.isfinite(value):
            return 0.0 if value == 0 else 1.0
        if self.high <= self.low:
            return 0.5
        if value <= self.low:  # their ratio may be 0
            return 0.0
        place = math.log(value / self.low) / math.log(self.high / self.low)
        return min(max(place, 0.0), 1.0)

    def color(self, value: float) -> str:
        """Fill for a norm."""
        place = self.position(value) * (len(self.colors) - 1)
        index = min(int(place), len(self.colors) - 2)
        return _mix(self.colors[index], self.colors[index + 1], place - index)

    def text(self, value: float) -> str:
        """Black or white, whichever is legible on :meth:`color`: one always is."""
        return max("#000000", "#ffffff", key=lambda ink: _contrast(self.color(value), ink))


def heat_scale(graph: Graph, theme: Theme) -> HeatScale | None:
    """The colour scale of all gradient norms that are shown as colour."""
    spans = [
        item.gradients[role]
        for item in graph.items.values()
        for role in item.states
        if role in item.gradients
    ]
    positive = [norm for span in spans for norm in (span.low, span.high) if 0 < norm < math.inf]
    if not positive or all(span.count > 1 for span in spans):
        return None
    low, high = min(positive), max(positive)
    if high < 10 * low:  # at least one decade: what hardly differs shall not look different
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = middle / math.sqrt(10), min(middle * math.sqrt(10), sys.float_info.max)
    low = max(low, high * 1e-300)  # no ratio overflows
    return HeatScale(low, high, theme.heat)


@dataclass(frozen=True)
class Style:
    """How a graph is drawn.

    Attributes
    ----------
    heat : HeatScale, optional
        Of gradient norms.
    weights : {"once", "labels", "hidden"}
        Shared weights as one box each, as pale labels at every use, or not at all.
    both : bool
        Draw the gradient beside every wire that one comes back along.
    """

    theme: Theme
    heat: HeatScale | None
    weights: str
    both: bool
    look: Look = field(default_factory=Look)

    def paint(self, shape: Shape, span: Span | None) -> None:
        """Colour a shape by a gradient norm, if there is one and not a range of several."""
        if self.heat is not None and span is not None and span.count == 1:
            shape.fill = self.heat.color(span.high)
            for line in shape.lines:
                line.color = self.heat.text(span.high)


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _mix(first: str, second: str, share: float) -> str:
    mixed = [
        round(a + (b - a) * share) for a, b in zip(_channels(first), _channels(second), strict=True)
    ]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    linear = [
        c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in _channels(color))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    """Contrast ratio as WCAG 2 defines it: 1 to 21, 4.5 for small text."""
    bright, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)
