"""Simple properties of a text, character by character, and the units that follow them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_seq.celltext.read import Key, label
from tinygrad_seq.checks import array_of, function_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, NonFiniteError, ShapeError

__all__ = ["PROPERTIES", "Correlation", "correlate", "text_properties"]

Text = Sequence[str]

_OPEN, _CLOSE = "([{", ")]}"


def _tracked(step: Callable[[Any, str, str], Any], text: Text) -> Array:
    """What is known after every character: ``step(known, character, the one before)``."""
    found, known, before = np.zeros(len(text)), 0, ""
    for t, symbol in enumerate(text):
        known = found[t] = step(known, symbol, before)
        before = symbol
    return found


def _in_quotes(inside: Any, symbol: str, before: str) -> bool:
    """1 after an opening double quote until the closing one; forgotten at an empty line."""
    if symbol == '"':
        return not inside
    if symbol in "\u201c\u201d":
        return symbol == "\u201c"
    return bool(inside) and not symbol == before == "\n"


def _depth(depth: Any, symbol: str, before: str) -> Any:
    """Open brackets ( [ { that are not closed yet; forgotten at an empty line."""
    if symbol in _OPEN:
        return depth + 1
    if symbol in _CLOSE:
        return max(0, depth - 1)
    return 0 if symbol == before == "\n" else depth


def _indentation(text: Text) -> Array:
    """Blanks that the line began with, kept until it ends."""
    found, width, leading = np.zeros(len(text)), 0, True
    for t, symbol in enumerate(text):
        leading = symbol == "\n" or (leading and symbol in " \t")
        width = 0 if symbol == "\n" else width + leading
        found[t] = width
    return found


def _in_line(since: Any, symbol: str, before: str) -> Any:
    """Characters since the line began; 0 for a line break."""
    return 0 if symbol == "\n" else since + 1


def _in_word(since: Any, symbol: str, before: str) -> Any:
    """Letters since the word began, the first being 1; 0 between words."""
    return since + 1 if symbol.isalpha() else 0


def _each(holds: Callable[[str], bool], text: Text) -> Array:
    return np.array([holds(symbol) for symbol in text], np.float64)


PROPERTIES: dict[str, Callable[[Text], Array]] = {
    "inside quotes": partial(_tracked, _in_quotes),
    "position in the line": partial(_tracked, _in_line),
    "bracket depth": partial(_tracked, _depth),
    "indentation": _indentation,
    "position in the word": partial(_tracked, _in_word),
    "start of a word": lambda text: np.asarray(_tracked(_in_word, text) == 1, np.float64),
    "upper case": partial(_each, str.isupper),
    "digit": partial(_each, str.isdigit),
    "blank": partial(_each, str.isspace),
}
"""What a unit may keep track of, by name: functions of the characters of a text."""


def text_properties(
    text: Text, more: Mapping[str, npt.ArrayLike | Callable[[Text], npt.ArrayLike]] | None = None
) -> dict[str, Array]:
    """The value of every property after every character of a text.

    Parameters
    ----------
    text : sequence of str
        T characters.
    more : mapping, optional
        Properties of your own: T numbers, or a function of the text that returns them.

    Returns
    -------
    dict of ndarray (T,)

    Raises
    ------
    ShapeError
        If a property of your own has another length.
    NonFiniteError
        If one of its numbers is NaN or infinite.

    Examples
    --------
    >>> from tinygrad_seq.celltext.properties import text_properties
    >>> text_properties('f("a")')["inside quotes"]
    array([0., 0., 1., 1., 0., 0.])
    """
    found = {name: measure(text) for name, measure in PROPERTIES.items()}
    more = {} if more is None else more
    if not isinstance(more, Mapping) or not all(isinstance(name, str) for name in more):
        raise ConfigError(
            "properties",
            expected="a mapping by name: {'vowel': [0, 1, ...]}",
            got=f"a {type(more).__name__}",
        )
    for name, given in more.items():
        if callable(given):
            given = function_of(f"property {name!r}", given, text)(text)
        values = array_of(f"property {name!r}", given).astype(np.float64)
        if values.shape != (len(text),):
            raise ShapeError(
                f"property {name!r}",
                expected=f"one number per character, ({len(text)},)",
                got=values.shape,
            )
        if not np.isfinite(values).all():
            at = int(np.isfinite(values).argmin())
            raise NonFiniteError(
                f"property {name!r}", expected="finite numbers", got=f"{values[at]} at {at}"
            )
        found[name] = values
    return found


class Correlation(NamedTuple):
    """A unit whose activation goes with a property of the text."""

    layer: str
    quantity: str
    unit: int
    r: float
    """Pearson's correlation over the whole text."""
    first: float
    """Over its first half; NaN where the property or the unit is constant there."""
    second: float
    """Over its second half."""

    def __str__(self) -> str:
        return f"{self.layer} {label(self.quantity)} {self.unit}"


def correlate(
    values: Mapping[Key, Array], target: npt.ArrayLike, top: int = 5
) -> list[Correlation]:
    """The units that correlate most with a property, strongest first.

    A unit is listed once, with the quantity that follows the property best. The halves of the
    text tell a finding from an accident: among a thousand units, some correlate with
    anything on a short text, but hardly on both halves and with the same sign.

    Parameters
    ----------
    values : mapping
        By layer and quantity, arrays (T, H).
    target : (T,)
    top : int

    Returns
    -------
    list of Correlation
        Empty for a property that is constant.
    """
    aim = np.asarray(target, np.float64)
    half = len(aim) // 2
    spans = slice(None), slice(half), slice(half, None)
    best: dict[tuple[str, int], Correlation] = {}
    for (layer, role), block in values.items():
        parts = [_pearson(block[span], aim[span]) for span in spans]
        for unit, (r, first, second) in enumerate(zip(*parts, strict=True)):
            known = best.get((layer, unit))
            if np.isfinite(r) and (known is None or abs(r) > abs(known.r)):
                found = Correlation(layer, role, unit, float(r), float(first), float(second))
                best[layer, unit] = found
    return sorted(best.values(), key=lambda found: -abs(found.r))[:top]


def _pearson(block: Array, aim: Array) -> Array:
    """Correlation of every column (T, H) with `aim` (T,): (H,), NaN where either is constant."""
    if len(aim) < 2:
        return np.full(block.shape[1], np.nan)
    x = block.astype(np.float64)
    x -= x.mean(axis=0)
    y = aim - aim.mean()
    sizes = np.sqrt(np.einsum("th,th->h", x, x) * (y @ y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sizes > 0, np.clip(y @ x / sizes, -1.0, 1.0), np.nan)
