"""Tasks with long lags, generated without end: adding, copy memory, temporal order.

A task is a small record; ``task.batch(n, rng)`` draws sequences, and ``task.trivial_loss`` is the
loss of the best predictor that remembers nothing. A result means something by its margin below
that figure. Grammars are in `grammars.py`, pairs of strings in
`translation.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.checks import count, generator_of, instance_of, require_room, size
from tinygrad_seq.errors import DataError

__all__ = [
    "IGNORE",
    "Adding",
    "CopyMemory",
    "TaskBatch",
    "TemporalOrder",
    "counted",
    "drawing",
    "tokens_of",
]

IGNORE = -100
"""Target of a step that asks for nothing; the default `ignore_index` of the cross-entropy."""


class TaskBatch(NamedTuple):
    """N sequences, time first.

    ``inputs`` is (T, N) tokens or (T, N, I) numbers. ``targets`` is (T, N) classes, ``IGNORE``
    where nothing is asked, or (N,) if one answer is read after the last step.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]


def counted(task: Any, low: int, *names: str) -> None:
    """Refuse sizes of a task that are no integers of at least `low`; keep them as Python's."""
    for name in names:
        checked = count(low, 2**31 - 1)(f"{type(task).__name__}: {name}", getattr(task, name))
        object.__setattr__(task, name, checked)


def drawing(task: Any, n: Any, rng: Any, length: int = 1) -> int:
    """The number of sequences to draw, all of some length; refuses what nothing is drawn with."""
    owner = type(task).__name__
    generator_of(f"{owner}: rng", rng)
    rows: int = size(f"{owner}: n", n)
    require_room(f"{owner}: {rows} sequences of {length} steps", rows, length)
    return rows


def tokens_of(string: Any, symbols: str) -> NDArray[np.int64]:
    """Positions of the characters of a string among the symbols of a task."""
    unknown = sorted(set(instance_of("encode: string", string, str)) - set(symbols))
    if unknown:
        raise DataError(
            "encode: a character that is no symbol of the task",
            expected=f"only {symbols!r}",
            got=repr("".join(unknown))[:100],
        )
    return np.array([symbols.index(symbol) for symbol in string], np.int64)


@dataclass(frozen=True)
class Adding:
    """Add the two marked numbers of a long sequence (Hochreiter and Schmidhuber 1997, exp. 4).

    In the form used since Le et al. (2015): each step is (number, mark) with the number uniform
    in [0, 1); one step in each half is marked 1, the others 0; the target is the sum of the two
    marked numbers, a mean squared error after the last step. (The original draws from [-1, 1],
    varies the length and scales the target.)

    Parameters
    ----------
    length : int
        T, at least 2.

    Examples
    --------
    >>> import numpy as np
    >>> task = Adding(100)
    >>> x, y = task.batch(4, np.random.default_rng(0))
    >>> x.shape, y.shape, x[..., 1].sum(axis=0)
    ((100, 4, 2), (4,), array([2., 2., 2., 2.], dtype=float32))
    """

    length: int
    input_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 1
    trivial_loss: ClassVar[float] = 1 / 6
    """Of always answering 1: the variance of the sum of two uniform numbers."""

    def __post_init__(self) -> None:
        counted(self, 2, "length")

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` sequences: inputs (T, n, 2) and targets (n,), float32."""
        n = drawing(self, n, rng, self.length)
        inputs = np.zeros((self.length, n, 2), np.float32)
        inputs[..., 0] = rng.random((self.length, n), np.float32)
        half, rows = self.length // 2, np.arange(n)
        for low, high in ((0, half), (half, self.length)):
            inputs[rng.integers(low, high, n), rows, 1] = 1.0
        return TaskBatch(inputs, (inputs[..., 0] * inputs[..., 1]).sum(axis=0))


@dataclass(frozen=True)
class CopyMemory:
    """Repeat a few symbols after a long pause, in the form of Arjovsky et al. (2016).

    `width` symbols out of `symbols`, `lag` - 1 blanks, a delimiter, `width` blanks; the target is
    blank for ``lag + width`` steps, and then the symbols in order. Blank is 0, symbols are 1 to
    `symbols`, the delimiter comes after them.

    Parameters
    ----------
    lag : int
        Steps between the last symbol and the first answer; T = lag + 2 * width.
    symbols, width : int
        8 and 10 in the published form.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = CopyMemory(3, symbols=2, width=2).batch(1, np.random.default_rng(1))
    >>> x[:, 0].tolist(), y[:, 0].tolist()
    ([1, 2, 0, 0, 3, 0, 0], [0, 0, 0, 0, 0, 1, 2])
    """

    lag: int
    symbols: int = 8
    width: int = 10

    def __post_init__(self) -> None:
        counted(self, 1, "lag", "symbols", "width")

    @property
    def length(self) -> int:
        """T."""
        return self.lag + 2 * self.width

    @property
    def input_size(self) -> int:
        """Symbols, blank and delimiter."""
        return self.symbols + 2

    @property
    def output_size(self) -> int:
        """Symbols and blank."""
        return self.symbols + 1

    @property
    def trivial_loss(self) -> float:
        """Mean nats per step when it is known where answers are due, but not which."""
        return self.width * math.log(self.symbols) / self.length

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` sequences: tokens and classes, both (T, n)."""
        n = drawing(self, n, rng, self.length)
        inputs = np.zeros((self.length, n), np.int64)
        inputs[: self.width] = rng.integers(1, self.symbols + 1, (self.width, n))
        inputs[self.width + self.lag - 1] = self.symbols + 1
        targets = np.zeros_like(inputs)
        targets[-self.width :] = inputs[: self.width]
        return TaskBatch(inputs, targets)


@dataclass(frozen=True)
class TemporalOrder:
    """Tell in which order X and Y came, far back (Hochreiter and Schmidhuber 1997, exp. 6).

    Among distractors a, b, c, d, `marks` steps are X or Y at random; the class is which they were,
    in order. The first step is E, the last is B. The marks lie 10 to 20 percent and 50 to 60
    percent into the sequence (for three: also 33 to 43 percent, and the last 66 to 76), which at
    T = 100 is the published set-up, but for its random length of 100 to 110.

    Parameters
    ----------
    length : int
        T, at least 20.
    marks : {2, 3}
        4 or 8 classes.

    Examples
    --------
    >>> import numpy as np
    >>> task = TemporalOrder(20)
    >>> x, y = task.batch(2, np.random.default_rng(0))
    >>> "".join(task.SYMBOLS[token] for token in x[:, 0]), int(y[0])
    ('EcXaaccdccYcbcddaaaB', 1)
    """

    length: int
    marks: int = 2
    SYMBOLS: ClassVar[str] = "EBabcdXY"
    input_size: ClassVar[int] = len(SYMBOLS)

    def __post_init__(self) -> None:
        counted(self, 20, "length")
        count(2, 3)("TemporalOrder: marks", self.marks)

    @property
    def output_size(self) -> int:
        """Orders that are possible."""
        return 4 if self.marks == 2 else 8

    @property
    def trivial_loss(self) -> float:
        """Nats when every order is equally likely."""
        return self.marks * math.log(2)

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` sequences: tokens (T, n) and classes (n,)."""
        n = drawing(self, n, rng, self.length)
        inputs = rng.integers(2, 6, (self.length, n))
        inputs[0], inputs[-1] = 0, 1
        starts = (0.1, 0.5) if self.marks == 2 else (0.1, 0.33, 0.66)
        rows, targets = np.arange(n), np.zeros(n, np.int64)
        for start in starts:
            low = round(start * self.length)
            places = rng.integers(low, low + max(1, self.length // 10), n)
            which = rng.integers(0, 2, n)
            inputs[places, rows] = 6 + which
            targets = 2 * targets + which
        return TaskBatch(inputs, targets)
