"""Colours of a reader's own: a theme by its name, or with some of its colours replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from tinygrad_seq.checks import choice, instance_of
from tinygrad_seq.errors import ConfigError, advising, shown
from tinygrad_seq.viz.picture.style import FONT, THEMES, Theme

__all__ = ["theme_for", "theme_of"]

_OF_STATES = {"h", "h_fill", "c", "c_fill"}
_SCALES = ("heat", "alignment")
_NO_COLORS = {"name", "font", "tracks", "named"}
_MEANINGS = [each.name for each in fields(Theme) if each.name not in _NO_COLORS]
_COLOR = re.compile("#[0-9a-fA-F]{6}")


def theme_of(given: Any, caller: str = "draw", font: Any = None) -> Theme:
    """The theme of a name, or of a mapping from meanings to colours, in a font of one's own.

    Names that are no meanings may be those of states, which only a graph knows: see
    :func:`theme_for`.
    """
    theme = _colored(given, f"{caller}: theme")
    return theme if font is None else replace(theme, font=_family(f"{caller}: font", font))


def _colored(given: Any, what: str) -> Theme:
    if isinstance(given, Theme):
        return given
    if not isinstance(given, Mapping):
        with advising("or a mapping, {'name': 'dark', 'weight': '#c0ffee'}"):
            return THEMES[choice(*THEMES)(what, given)]
    base = THEMES[choice(*THEMES)(f"{what}: 'name'", given.get("name", "light"))]
    colors: dict[str, Any] = {}
    named: dict[str, str] = {}
    for meaning, color in given.items():
        if meaning in _MEANINGS and meaning not in _OF_STATES:
            check = _scale if meaning in _SCALES else _color
            colors[meaning] = check(f"{what}: {meaning!r}", color)
        elif meaning != "name":
            named[meaning] = _color(f"{what}: {shown(meaning)}", color)
    return replace(base, **colors, named=named)


def theme_for(theme: Theme, tracks: Mapping[str, int], caller: str = "draw") -> Theme:
    """A theme for a graph with these states; an error if it names what is none of them."""
    states = [name for state in tracks for name in (state, f"{state}_fill")]
    unknown = [name for name in theme.named if name not in {*states, *_OF_STATES}]
    if unknown:
        known = sorted({*_MEANINGS, *states})
        raise ConfigError(
            f"{caller}: theme: {shown(unknown[0])} is no meaning of a colour",
            expected=f"'name', {', '.join(known)}",
            got=", ".join(map(shown, unknown)),
        )
    return replace(theme, tracks=tracks)


def _color(what: str, color: Any) -> str:
    if not isinstance(color, str) or not _COLOR.fullmatch(color):
        raise ConfigError(what, expected="a colour as '#rrggbb'", got=shown(color))
    return color


def _scale(what: str, colors: Any) -> tuple[str, ...]:
    if isinstance(colors, str) or not isinstance(colors, Sequence) or len(colors) < 2:
        raise ConfigError(what, expected="two colours or more, low to high", got=shown(colors))
    return tuple(_color(f"{what}[{index}]", color) for index, color in enumerate(colors))


def _family(what: str, font: Any) -> str:
    """A family before those that take its place where it is not installed."""
    name = instance_of(what, font, str).strip()
    if not name or not all(letter.isalnum() or letter in " ,-_." for letter in name):
        raise ConfigError(what, expected="the name of a font family", got=shown(font))
    return f"{name},{FONT}"
