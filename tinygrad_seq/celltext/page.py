"""A text coloured by what one unit of a model does: after Karpathy, Johnson and Fei-Fei (2015)."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt

from tinygrad_seq.celltext.properties import Correlation, correlate, text_properties
from tinygrad_seq.celltext.read import Key, asked_roles, connectivity, label, read
from tinygrad_seq.checks import choice, count, instance_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, DataError, NonFiniteError, ShapeError
from tinygrad_seq.files import target_of, write
from tinygrad_seq.kernels.numeric import log_softmax
from tinygrad_seq.viz.output.html import embedded, filled
from tinygrad_seq.viz.picture.style import THEMES

if TYPE_CHECKING:
    from tinygrad_seq.nn import Module

__all__ = ["CellText", "cell_text"]

MAX_BYTES = 48_000_000
_LEVELS = 63  # 0 .. 62: one character of this alphabet per value, and 0 in the middle of -1 .. 1
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_DECADES = 3  # of connectivity that are told apart
_BITS_PER_LEVEL = 0.25


_COLORS = {
    "paper": "background",
    "ink": "ink",
    "faint": "faint",
    "line": "panel_line",
    "panel": "panel",
    "low": "h",
    "high": "c",
    "gradient": "gradient",
}
"""Names of colours on the page, and in a theme."""


class _Symbols(Protocol):
    """A vocabulary, as far as it is needed."""

    @property
    def symbols(self) -> Any: ...
    def encode(self, text: str) -> Any: ...


@dataclass(frozen=True)
class CellText:
    """What a model does at every character of a text, and the page that shows it.

    T characters, H units in a layer, V symbols.

    Attributes
    ----------
    title : str
    symbols : tuple of str
        All V.
    ids : ndarray (T,)
        The text.
    values : dict
        By layer (``"rnn.l0"``) and quantity (``"h"``, ``"tanh_c"``, ``"i"``, ``"f"``, ``"o"``,
        ``"g"``; of a GRU ``"r"``, ``"z"``, ``"n"``; of a cell of your own its states and gates),
        the activations (T, H): entry t follows from the characters up to t.
    log_probabilities : ndarray (T, V)
        Of the character after each, natural logarithm.
    connectivity : ndarray (T, K) or None
        Entry (t, k): the norm of d log p(target_t) / d x_{t-k}; see :func:`cell_text`.
    properties : dict
        By name, numbers (T,).
    target : str
        Whose log probability was differentiated.
    gates : frozenset
        The keys of `values` that lie in [0, 1]; all others may have either sign.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import data, charlm, train, celltext, viz
    >>> vocabulary = data.Vocabulary.from_text('say "hello"')
    >>> model = charlm.CharLM(len(vocabulary), 8, 2, rng=np.random.default_rng(0))
    >>> seen = celltext.cell_text(model, 'say "hello"', vocabulary)
    >>> seen.values["rnn.l1", "f"].shape, seen.connectivity.shape
    ((11, 8), (11, 11))
    >>> best = seen.correlations("inside quotes")[0]
    >>> -1 <= best.r <= 1
    True
    """

    title: str
    symbols: tuple[str, ...]
    ids: Array
    values: dict[Key, Array]
    log_probabilities: Array
    connectivity: Array | None
    properties: dict[str, Array]
    target: str = "next"
    gates: frozenset[Key] = frozenset()

    def correlations(self, name: str, top: int = 5) -> list[Correlation]:
        """The units that correlate most with a property, strongest first."""
        choice(*self.properties)("correlations: property", name)
        top = count(0)("correlations: top", top)
        return correlate(self.values, self.properties[name], top)

    def telling(self) -> tuple[str, Correlation] | None:
        """The property that a unit follows most closely, and that unit; None if none follows any.

        Where the page opens.
        """
        best = [(name, found) for name in self.properties for found in self.correlations(name, 1)]
        return max(best, key=lambda pair: abs(pair[1].r), default=None)

    def address(self, name: str, found: Correlation) -> str:
        """The part after ``cells.html`` of the address that shows a unit and marks a property."""
        choice(*self.properties)("address: property", name)
        instance_of("address: unit", found, Correlation, hint="one that correlations() returns")
        shown = {
            "layer": instance_of("address: layer", found.layer, str),
            "quantity": instance_of("address: quantity", found.quantity, str),
            "unit": count(0)("address: unit", found.unit),
            "colour": "unit",
            "mark": list(self.properties).index(name),
        }
        return "#" + urlencode(shown, errors="replace")

    def html(self) -> str:
        """The page, one file that loads nothing from elsewhere.

        An activation takes one byte: 63 levels from -1 to 1 (or 0 to 1), so what the page shows
        is within 0.016 (0.008) of the value. ConfigError if they come to more than 48 MB.
        """
        from html import escape

        _check_size(sum(block.size for block in self.values.values()))
        data = _page_data(self)
        colors = {
            name: {part: getattr(theme, source) for part, source in _COLORS.items()}
            for name, theme in THEMES.items()
        }
        fields = {"title": escape(self.title), "data": embedded(data | {"colors": colors})}
        for name, palette in colors.items():
            fields[name] = " ".join(f"--{part}: {color};" for part, color in palette.items())
        return filled(Path(__file__).with_name("page.html"), fields)

    def save(self, path: str | Path) -> Path:
        """Write the page.

        ConfigError if the name does not end in .html or cannot be written, or if the page is too
        large (see :meth:`html`).
        """
        target = target_of("CellText.save", path, (".html", ".htm"))
        content = self.html().encode("utf-8", "replace")
        write(target, content, f"CellText.save: {str(target)!r}")
        return target

    def __repr__(self) -> str:
        return f"<CellText {self.title!r}, {len(self.ids):,} characters>"


def cell_text(
    model: Module,
    text: str,
    vocabulary: _Symbols,
    *,
    quantities: Iterable[str] | None = None,
    properties: Mapping[str, npt.ArrayLike | Callable[[Any], npt.ArrayLike]] | None = None,
    horizon: int = 64,
    target: str = "next",
    title: str = "",
) -> CellText:
    r"""Run a character model over a text, and keep what each of its units does.

    Parameters
    ----------
    model : Module
        ``model(tokens (T, N), state) -> (logits (T, N, V), state)``, reading from left to right.
        It is run in evaluation mode; its parameters, gradients and generators are left alone.
    text : str
        T >= 2 characters; a few thousand are comfortable to read.
    vocabulary : Vocabulary
        The one that the model was trained with.
    quantities : iterable of str, optional
        Which roles of nodes to keep. By default the states and gates that each cell declares:
        ``h, tanh_c, i, f, o, g`` of an LSTM (not the unbounded c), ``h, r, z, n`` of a GRU; these
        names too where states were tagged in a loop without an :class:`~tinygrad_seq.nn.Cell`.
        Whatever else was tagged can be asked for.
    properties : mapping, optional
        Properties of the text to look for besides those of
        :data:`~tinygrad_seq.celltext.properties.PROPERTIES`: by name, T numbers, or a function of
        the list of characters.
    horizon : int
        K, how many characters back the connectivity reaches; 0 leaves it out.
    target : {"next", "likeliest"}
        Whose log probability the connectivity differentiates: the character that does come
        next (after the last one, the likeliest), or always the likeliest.
    title : str
        Of the page.

    Returns
    -------
    CellText
        ``.save("cells.html")`` writes the page; ``.correlations(name)`` lists units.

    Raises
    ------
    DataError
        If the text has fewer than two characters, or one that the vocabulary lacks.
    ShapeError
        If the model's logits are not as many as the symbols, or a property has another length.
    ConfigError
        For an unknown option, or a model that reads backwards.
    GraphError
        If nothing in the model is a recurrent unit.
    NonFiniteError
        If the model's logits or a property are not finite.

    Notes
    -----
    Gates are those of the composed cells: their values, not a reconstruction. Connectivity
    (t, k) is ``|| d log p(target_t) / d x_{t-k} ||``, with x_s the one-hot row of character s, by
    backpropagation: exact, in the model's dtype. It answers how much the prediction would change
    if that input changed a little, not what would happen with another character there.
    """
    asked = None if quantities is None else asked_roles(quantities)
    choice("next", "likeliest")("cell_text: target", target)
    horizon = count(0)("cell_text: horizon", horizon)
    instance_of("cell_text: title", title, str)
    if not hasattr(vocabulary, "symbols") or not hasattr(vocabulary, "encode"):
        raise ConfigError(
            "cell_text: vocabulary",
            expected="the data.Vocabulary that the model was trained with",
            got=f"a {type(vocabulary).__name__}",
        )
    ids = np.asarray(vocabulary.encode(text))
    if len(ids) < 2:
        raise DataError("cell_text: text", expected="at least 2 characters", got=len(ids))
    symbols = tuple(vocabulary.symbols)
    measured = text_properties([symbols[i] for i in ids], properties)
    seen = read(model, ids, asked)
    if seen.logits.shape[1] != len(symbols):
        raise ShapeError(
            "cell_text: the model and the vocabulary do not belong together",
            expected=f"logits of {len(symbols)} symbols",
            got=seen.logits.shape[1],
        )
    if not np.isfinite(seen.logits).all():
        raise NonFiniteError(
            "cell_text: the model's logits are not finite",
            expected="a model that was trained without running away",
            got=f"NaN or infinity after {int(np.isfinite(seen.logits).all(axis=1).argmin())} steps",
            hint="train.tbptt stops at the first one, and says which update it was",
        )
    scores = log_softmax(seen.logits.astype(np.float64))
    likeliest = scores.argmax(axis=1)
    targets = likeliest if target == "likeliest" else np.append(ids[1:], likeliest[-1])
    reach = connectivity(model, ids, targets, seen, horizon) if horizon else None
    title = title or "cells"
    return CellText(title, symbols, ids, seen.values, scores, reach, measured, target, seen.gates)


# -- what goes into the page ----------------------------------------------------------------------


def legible(symbol: str) -> str:
    r"""A character as it can be seen: blanks, controls and lone accents get a sign.

    Examples
    --------
    >>> [legible(symbol) for symbol in " a\n\t\x00\u0301"]
    ['␣', 'a', '↵', '⇥', '␀', '◌́']
    """
    special = {" ": "␣", "\n": "↵", "\t": "⇥", "\x7f": "␡"}
    if symbol in special:
        return special[symbol]
    if ord(symbol) < 32:
        return chr(0x2400 + ord(symbol))
    category = unicodedata.category(symbol)
    if category in {"Mn", "Me"}:
        return f"◌{symbol}"
    return f"U+{ord(symbol):04X}" if category[0] in "CZ" else symbol


def check_page(model: Module, characters: int) -> None:
    """Refuse a text that is too long for a page (ConfigError) before all of it is read.

    One character tells how much all of them come to.
    """
    first = read(model, np.zeros(1, np.intp))
    _check_size(characters * sum(block.size for block in first.values.values()))


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ConfigError(
            "cell_text: a page too large to open",
            expected=f"at most {MAX_BYTES / 1e6:.0f} MB: characters x units x quantities",
            got=f"{size / 1e6:.0f} MB",
            hint="a shorter text, or fewer quantities=",
        )


def _page_data(seen: CellText) -> dict[str, Any]:
    blocks, cells, start = [], [], 0
    for (layer, role), block in seen.values.items():
        gate = (layer, role) in seen.gates
        top = max(1.0, float(np.abs(block).max()))  # a relu, a raw cell: whatever they come to
        shares = block / top if gate else (block / top + 1) / 2
        cells.append(_packed(shares.T))
        blocks.append(
            {
                "layer": layer,
                "role": role,
                "label": label(role),
                "gate": gate,
                "top": top,
                "units": block.shape[1],
                "start": start,
            }
        )
        start += block.size
    places = {key: index for index, key in enumerate(seen.values)}
    order = np.argsort(-seen.log_probabilities, axis=1, kind="stable")[:, :5]
    chances = np.exp(np.take_along_axis(seen.log_probabilities, order, axis=1))
    actual = seen.log_probabilities[np.arange(len(seen.ids) - 1), seen.ids[1:]]
    bits = np.append(-actual / np.log(2), 0.0)
    return {
        "glyphs": [legible(symbol) for symbol in seen.symbols],
        "line_break": seen.symbols.index("\n") if "\n" in seen.symbols else -1,
        "ids": seen.ids.tolist(),
        "levels": _LEVELS,
        "blocks": blocks,
        "values": "".join(cells),
        "guesses": order.ravel().tolist(),
        "per_character": order.shape[1],
        "chances": _packed(chances),
        "bits": _packed(bits / (_BITS_PER_LEVEL * (_LEVELS - 1))),
        "bits_per_level": _BITS_PER_LEVEL,
        "reach": None if seen.connectivity is None else _reach(seen),
        "properties": [_property(name, seen, places) for name in seen.properties],
        "opens": _opens(seen, places),
    }


def _opens(seen: CellText, places: dict[Key, int]) -> dict[str, int]:
    """What is shown where the address asks for nothing: a unit that tells something."""
    found = seen.telling()
    if found is None:
        return {"block": 0, "unit": 0, "mark": -1}
    name, unit = found
    block = places[unit.layer, unit.quantity]
    return {"block": block, "unit": unit.unit, "mark": list(seen.properties).index(name)}


def _packed(shares: Array) -> str:
    """Numbers of 0 .. 1 as one character each."""
    letters = np.frombuffer(_ALPHABET.encode(), np.uint8)
    with np.errstate(invalid="ignore"):
        levels = np.rint(np.clip(np.nan_to_num(shares), 0, 1) * (_LEVELS - 1)).astype(np.intp)
    return bytes(letters[levels].tobytes()).decode()


def _reach(seen: CellText) -> dict[str, Any]:
    """Shares of the largest in the row, on a logarithmic scale, and how far back half of it is."""
    connected = seen.connectivity
    assert connected is not None
    sizes = np.nan_to_num(connected)
    likeliest = "log p of the likeliest next character"
    next_one = "log p of the character that came next (at the end: of the likeliest)"
    largest = sizes.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = 1 + np.log10(sizes / largest) / _DECADES
    whole = sizes[connected.shape[1] - 1 :].sum(axis=0)  # positions with a full horizon behind
    running = np.cumsum(whole) / max(float(whole.sum()), np.finfo(float).tiny)
    return {
        "of": next_one if seen.target == "next" else likeliest,
        "horizon": connected.shape[1],
        "decades": _DECADES,
        "cells": _packed(np.where(np.isfinite(shares), shares, 0.0)),
        "largest": [float(f"{value:.3g}") for value in largest[:, 0]],
        "within": {f"{share:.0%}": int(np.searchsorted(running, share)) for share in (0.5, 0.9)},
    }


def _property(name: str, seen: CellText, places: dict[Key, int]) -> dict[str, Any]:
    values = seen.properties[name]
    top = float(np.abs(values).max()) or 1.0
    return {
        "name": name,
        "cells": _packed(values / top),
        "top": top,
        "units": [
            [places[found.layer, found.quantity], found.unit]
            + [round(r, 3) if np.isfinite(r) else None for r in found[3:]]
            for found in seen.correlations(name)
        ],
    }
