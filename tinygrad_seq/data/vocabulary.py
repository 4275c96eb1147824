"""The vocabulary: which characters there are, and their numbers."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_seq.checks import array_of, choice, sequence_of, shown
from tinygrad_seq.errors import ConfigError, DataError, DtypeError, IndexRangeError, ShapeError

__all__ = ["UnknownPolicy", "Vocabulary"]

Ids: TypeAlias = npt.NDArray[np.int32]
UnknownPolicy: TypeAlias = Literal["error", "replace", "skip"]

_POLICIES = ("error", "replace", "skip")
_FORMAT = "tinygrad_seq.vocabulary"


class Vocabulary:
    r"""The symbols of a text, numbered in code-point order.

    Sorting makes the numbers a function of the set of symbols alone: they are the same in
    every process, whatever ``PYTHONHASHSEED``, so a checkpoint stays readable.

    Parameters
    ----------
    symbols : iterable of str
        Single characters (a str will do); order and repetitions do not matter.
    unknown : {"error", "replace", "skip"}, default "error"
        What :meth:`encode` does with a character that is not among the symbols: raise, put
        `replacement` in its place, or leave it out.
    replacement : str, optional
        The character that stands for unknown ones; required by ``unknown="replace"`` and
        given to nothing else. It becomes a symbol if it is not one yet.

    Attributes
    ----------
    symbols : str
        All symbols in order; ``symbols[i]`` has the id ``i``.

    Raises
    ------
    DataError
        There are no symbols, or one is not a single character.
    ConfigError
        `unknown` and `replacement` do not fit together.

    Examples
    --------
    >>> from tinygrad_seq.data import Vocabulary
    >>> vocabulary = Vocabulary.from_text("hello world")
    >>> vocabulary.symbols, len(vocabulary)
    (' dehlorw', 8)
    >>> vocabulary.encode("hold")
    array([3, 5, 4, 1], dtype=int32)
    >>> vocabulary.decode([3, 5, 4, 1])
    'hold'
    >>> Vocabulary("abc", unknown="replace", replacement="?").encode("abz")
    array([1, 2, 0], dtype=int32)
    """

    __slots__ = ("_codes", "_table", "replacement", "symbols", "unknown")

    def __init__(
        self,
        symbols: Iterable[str],
        *,
        unknown: UnknownPolicy = "error",
        replacement: str | None = None,
    ) -> None:
        _check_policy(unknown, replacement)
        spelt = isinstance(symbols, str)
        given = set(symbols) if spelt else sequence_of("Vocabulary: symbols", symbols, "characters")
        for symbol in given:
            if not isinstance(symbol, str) or len(symbol) != 1:
                raise DataError(
                    "Vocabulary: a symbol is one character",
                    expected="strings of length 1",
                    got=shown(symbol),
                    hint="for the symbols of a text, use Vocabulary.from_text(text)",
                )
        distinct = set(given)
        if not distinct:
            raise DataError(
                "Vocabulary: there are no symbols, the text is empty",
                expected="at least one character",
                hint="build it from a text that is not empty",
            )
        if replacement is not None:
            distinct.add(replacement)
        self.symbols = "".join(sorted(distinct))
        self.unknown: UnknownPolicy = unknown
        self.replacement = replacement
        self._codes = code_points(self.symbols)
        # Id by code point, -1 for strangers; the last entry stands for all beyond the table.
        self._table = np.full(int(self._codes[-1]) + 2, -1, dtype=np.int32)
        self._table[self._codes] = np.arange(len(self.symbols), dtype=np.int32)

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        unknown: UnknownPolicy = "error",
        replacement: str | None = None,
    ) -> Vocabulary:
        """Build the vocabulary of the characters that occur in `text`.

        Examples
        --------
        >>> Vocabulary.from_text("banana").symbols
        'abn'
        """
        _require_text("Vocabulary.from_text", text)
        return cls(text, unknown=unknown, replacement=replacement)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and len(symbol) == 1 and symbol in self.symbols

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        shown = self.symbols if len(self) <= 24 else f"{self.symbols[:12]}...{self.symbols[-8:]}"
        policy = f", unknown={self.unknown!r}"
        if self.replacement is not None:
            policy += f", replacement={self.replacement!r}"
        return f"Vocabulary({len(self)} symbols {shown!r}{policy})"

    def _identity(self) -> tuple[str, str, str | None]:
        return self.symbols, self.unknown, self.replacement

    def encode(self, text: str) -> Ids:
        """Turn a text into ids.

        Returns
        -------
        ndarray, shape (L,), int32
            One id per character; fewer where unknown ones are skipped. int32 holds every
            possible vocabulary (there are 1,114,112 code points) in half the memory of
            NumPy's default integer, and, unlike uint8, leaves room for arithmetic on ids.

        Raises
        ------
        DataError
            A character is not in the vocabulary and the policy is ``"error"``. The message
            names the first one, its code point and its position.

        Examples
        --------
        >>> Vocabulary("abc").encode("cab")
        array([2, 0, 1], dtype=int32)
        """
        _require_text("Vocabulary.encode", text)
        codes = code_points(text)
        ids: Ids = self._table[np.minimum(codes, len(self._table) - 1)]
        known = ids >= 0
        if known.all():
            return ids
        if self.unknown == "skip":
            return ids[known]
        if self.unknown == "replace":
            assert self.replacement is not None
            ids[~known] = self.symbols.index(self.replacement)
            return ids
        raise self._unknown_error(text, np.flatnonzero(~known))

    def _unknown_error(self, text: str, positions: npt.NDArray[np.intp]) -> DataError:
        first = int(positions[0])
        others = sorted({text[i] for i in positions[:1000]} - {text[first]})
        more = f"; also {', '.join(map(repr, others[:8]))}" if others else ""
        return DataError(
            f"Vocabulary.encode: the character {_describe(text[first])} at position {first} "
            f"is not in the vocabulary",
            expected=f"only the {len(self)} symbols {self.symbols[:40]!r}"
            + ("..." if len(self) > 40 else ""),
            got=f"{len(positions)} unknown of {len(text)} characters{more}",
            hint="build the vocabulary from a text that has them, or give it a policy: "
            'unknown="skip", or unknown="replace" with replacement="?"',
        )

    def decode(self, ids: npt.ArrayLike) -> str:
        """Turn ids back into text: ``decode(encode(text)) == text`` for known characters.

        Parameters
        ----------
        ids : array_like of int, shape (L,) or ()
            Ids from 0 to ``len(vocabulary) - 1``.

        Raises
        ------
        DtypeError, ShapeError, IndexRangeError
            The ids are no integers, have more than one axis, or are out of range.

        Examples
        --------
        >>> Vocabulary("abc").decode([2, 0, 1])
        'cab'
        """
        array = np.atleast_1d(array_of("Vocabulary.decode: ids", ids))
        if array.size == 0:
            return ""
        array = flat_ids("Vocabulary.decode: ids", array)
        low, high = array.min(), array.max()
        if low < 0 or high >= len(self):
            raise IndexRangeError(
                "Vocabulary.decode: an id is out of range",
                expected=f"0 to {len(self) - 1}",
                got=int(low if low < 0 else high),
                hint="decode with the vocabulary that the ids come from",
            )
        return _from_code_points(self._codes[array])

    def to_json(self) -> str:
        """Write the vocabulary as JSON text, for a checkpoint.

        Examples
        --------
        >>> vocabulary = Vocabulary("abc", unknown="skip")
        >>> Vocabulary.from_json(vocabulary.to_json()) == vocabulary
        True
        """
        record = {"format": _FORMAT, "version": 1, "symbols": self.symbols}
        return json.dumps({**record, "unknown": self.unknown, "replacement": self.replacement})

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """Read back what :meth:`to_json` wrote.

        Raises
        ------
        DataError
            The text is not JSON, or not the JSON of a vocabulary.

        Examples
        --------
        >>> Vocabulary.from_json(Vocabulary("ab").to_json()).symbols
        'ab'
        """
        try:
            record = json.loads(text)
            if not isinstance(record, dict) or record.get("format") != _FORMAT:
                raise ValueError(shown(text))
            if record.get("version") != 1:
                raise ValueError(f"version {record.get('version')!r}, this program reads 1")
            symbols = record.get("symbols")
            if not isinstance(symbols, str) or sorted(set(symbols)) != list(symbols):
                raise ValueError("symbols that are not sorted and distinct")
            policy, replacement = record.get("unknown", "error"), record.get("replacement")
            return cls(symbols, unknown=policy, replacement=replacement)
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(
                "Vocabulary.from_json: this is not a vocabulary",
                expected="the text that Vocabulary.to_json wrote",
                got=str(error),
                hint="check that the file belongs to the checkpoint and is complete",
            ) from error


def _check_policy(unknown: str, replacement: str | None) -> None:
    choice(*_POLICIES)("Vocabulary: the policy for unknown characters", unknown)
    one = isinstance(replacement, str) and len(replacement) == 1
    if not (one if unknown == "replace" else replacement is None):
        raise ConfigError(
            f'Vocabulary: the replacement with unknown="{unknown}"',
            expected="a single character" if unknown == "replace" else "none",
            got=shown(replacement),
            hint='unknown="replace" with replacement="?" or "\\ufffd", or neither of them',
        )


def _require_text(what: str, text: Any) -> None:
    if not isinstance(text, str):
        raise DataError(
            f"{what}: a text is a str",
            expected="str",
            got=type(text).__name__,
            hint="bytes are decoded first, files are read with read_text",
        )


def _describe(symbol: str) -> str:
    name = unicodedata.name(symbol, "")
    return f"{symbol!r} (U+{ord(symbol):04X}{' ' + name if name else ''})"


def flat_ids(what: str, ids: Any) -> npt.NDArray[Any]:
    """An array of integers with one axis; an empty one may be of any dtype."""
    array = array_of(what, ids)
    if array.ndim != 1:
        raise ShapeError(
            f"{what} have one axis",
            expected="(L,)",
            got=array.shape,
            hint="give one text at a time, for example ids[:, n] of (T, N)",
        )
    if array.size and array.dtype.kind not in "iu":
        raise DtypeError(
            f"{what} are integers",
            expected="an integer dtype",
            got=array.dtype,
            hint="encode the text first: Vocabulary.from_text(text).encode(text); "
            "of scores or probabilities, take the argmax",
        )
    return array


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code point of every character, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _from_code_points(codes: npt.NDArray[np.uint32]) -> str:
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")
