"""Pairs of strings: sums of decimal numbers, and dates from words to ISO 8601."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.checks import count, flag, generator_of, integers_of
from tinygrad_seq.errors import IndexRangeError

from .tasks import IGNORE, TaskBatch, counted, drawing, tokens_of

__all__ = ["AddNumbers", "Dates", "TaskPairs"]

Tokens = NDArray[np.int64]


class TaskPairs(NamedTuple):
    """N pairs for an encoder and a decoder, time first.

    ``sources`` is (S, N), row n ``lengths[n]`` tokens and then 0; ``targets`` is (T, N), all of one
    length.
    """

    sources: Tokens
    lengths: Tokens
    targets: Tokens


class _Pairs:
    """What both tasks share: symbols, and two ways of laying out a pair of strings."""

    SYMBOLS: ClassVar[str]

    def pair(self, rng: np.random.Generator) -> tuple[str, str]:
        """Draw a question, ending in ``=``, and its answer."""
        raise NotImplementedError

    @property
    def input_size(self) -> int:
        """Symbols; the first stands for nothing."""
        return len(self.SYMBOLS)

    @property
    def output_size(self) -> int:
        """Symbols; the first stands for nothing."""
        return len(self.SYMBOLS)

    def encode(self, string: str) -> Tokens:
        """Tokens of a string."""
        return tokens_of(string, self.SYMBOLS)

    def decode(self, tokens: Any) -> str:
        """The string of a sequence of tokens, padding left out."""
        ids = integers_of("decode: tokens", tokens).reshape(-1)
        if ids.size and not (ids.min() >= 0 and ids.max() < len(self.SYMBOLS)):
            raise IndexRangeError(
                "decode: a token out of range",
                expected=f"0 to {len(self.SYMBOLS) - 1}",
                got=f"{ids.min()} to {ids.max()}",
            )
        return "".join(self.SYMBOLS[token] for token in ids if token)

    def pairs(self, n: int, rng: np.random.Generator) -> TaskPairs:
        """Draw `n` pairs, for an encoder and a decoder."""
        n = drawing(self, n, rng)
        drawn = [self.pair(rng) for _ in range(n)]
        lengths = np.array([len(question) for question, _ in drawn])
        sources = np.zeros((lengths.max(), n), np.int64)
        for k, (question, _) in enumerate(drawn):
            sources[: len(question), k] = self.encode(question)
        return TaskPairs(sources, lengths, np.stack([self.encode(a) for _, a in drawn], axis=1))

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` pairs as one stream each, for a model that reads and then writes.

        Question and answer in a row, padded in front; targets ask for the answer only, each
        symbol after the one before it (teacher forcing).
        """
        n = drawing(self, n, rng)
        drawn = [self.pair(rng) for _ in range(n)]
        longest = max(len(question) + len(answer) for question, answer in drawn)
        tokens = np.zeros((longest, n), np.int64)
        targets = np.full((longest - 1, n), IGNORE, np.int64)
        for k, (question, answer) in enumerate(drawn):
            joined = self.encode(question + answer)
            tokens[-len(joined) :, k] = joined
            targets[-len(answer) :, k] = joined[-len(answer) :]
        return TaskBatch(tokens[:-1], targets)


@dataclass(frozen=True)
class AddNumbers(_Pairs):
    """Add two decimal numbers, digit by digit: ``037+925=`` to ``0962``.

    Parameters
    ----------
    digits : int
        Of each number, 1 to 6, with zeros in front; the sum has one more.
    reverse : bool
        Whether the answer starts with the units, so that each digit needs only the carry.

    Examples
    --------
    >>> import numpy as np
    >>> AddNumbers(3).pair(np.random.default_rng(0))
    ('850+636=', '1486')
    >>> round(AddNumbers(3).trivial_loss, 3)
    1.852
    """

    digits: int
    reverse: bool = False
    SYMBOLS: ClassVar[str] = " 0123456789+="

    def __post_init__(self) -> None:
        count(1, 6)("AddNumbers: digits", self.digits)
        counted(self, 1, "digits")
        flag("AddNumbers: reverse", self.reverse)

    @property
    def trivial_loss(self) -> float:
        """Nats per digit, for the best predictor that does not read the question.

        The entropy of the sum, over its number of digits: a lower bound on any order of writing,
        reached when each digit is predicted from those before.
        """
        total = 10**self.digits
        sums = np.arange(2 * total - 1)
        chance = np.minimum(sums + 1, 2 * total - 1 - sums) / total**2
        return float(-(chance * np.log(chance)).sum()) / (self.digits + 1)

    def pair(self, rng: np.random.Generator) -> tuple[str, str]:
        """Draw a question, ending in ``=``, and its answer."""
        generator_of("AddNumbers: rng", rng)
        a, b = rng.integers(0, 10**self.digits, 2).tolist()
        answer = f"{a + b:0{self.digits + 1}d}"
        question = f"{a:0{self.digits}d}+{b:0{self.digits}d}="
        return question, answer[::-1] if self.reverse else answer


_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"


def _ordinal(day: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{'th' if 10 <= day <= 20 else suffix}"


_FORMATS: tuple[Callable[[dt.date, str, str], str], ...] = (
    lambda d, month, _: f"{d.day} {month} {d.year}",
    lambda d, month, _: f"{month} {d.day}, {d.year}",
    lambda d, month, day: f"{day} {d.day} {month} {d.year}",
    lambda d, month, day: f"{day[:3]}, {month[:3]} {d.day}, {d.year}",
    lambda d, month, _: f"{_ordinal(d.day)} of {month}, {d.year}",
    lambda d, *_: f"{d.day:02d}.{d.month:02d}.{d.year}",
)


@dataclass(frozen=True)
class Dates(_Pairs):
    """Translate written dates: ``3rd_of_May,_1979=`` to ``1979-05-03``.

    Six ways of writing a date, each equally likely, over all days of the years given.

    Parameters
    ----------
    first, last : int
        Years, both included.

    Examples
    --------
    >>> import numpy as np
    >>> task, rng = Dates(), np.random.default_rng(5)
    >>> for _ in range(3):
    ...     print(*task.pair(rng))
    27th_of_February,_2034= 2034-02-27
    13th_of_July,_1904= 1904-07-13
    Sat,_Oct_9,_1993= 1993-10-09
    """

    first: int = 1900
    last: int = 2099
    SYMBOLS: ClassVar[str] = " " + "".join(
        sorted(set("0123456789-=,._stndrhof" + (_MONTHS + _DAYS).replace(" ", "")))
    )

    def __post_init__(self) -> None:
        counted(self, 1000, "first")
        counted(self, self.first, "last")
        count(self.first, 9998)("Dates: last", self.last)

    @property
    def trivial_loss(self) -> float:
        """Nats per symbol, for the best predictor that does not read the question."""
        return math.log(self._range[1]) / 10

    @property
    def _range(self) -> tuple[int, int]:
        """Ordinal of the first day, and number of days."""
        start = dt.date(self.first, 1, 1).toordinal()
        return start, dt.date(self.last + 1, 1, 1).toordinal() - start

    def pair(self, rng: np.random.Generator) -> tuple[str, str]:
        """Draw a question, ending in ``=``, and its answer. Spaces are written as ``_``."""
        generator_of("Dates: rng", rng)
        start, days = self._range
        date = dt.date.fromordinal(start + int(rng.integers(days)))
        written = _FORMATS[int(rng.integers(len(_FORMATS)))]
        question = written(date, _MONTHS.split()[date.month - 1], _DAYS.split()[date.weekday()])
        return f"{question}=".replace(" ", "_"), date.isoformat()
