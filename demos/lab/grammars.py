"""Languages to predict symbol by symbol: the embedded Reber grammar and Dyck languages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.checks import generator_of, instance_of, integers_of
from tinygrad_seq.errors import ConfigError, DataError, ShapeError

from .tasks import IGNORE, TaskBatch, counted, drawing, tokens_of

__all__ = ["Dyck", "EmbeddedReber"]

# From each state of the Reber grammar: symbol -> next state (None: the string is complete).
_REBER: tuple[dict[str, int | None], ...] = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": None},
)


@dataclass(frozen=True)
class EmbeddedReber:
    """The embedded Reber grammar: remember the second symbol until the last but one.

    A string is B, then T or P, then a string of the Reber grammar (Reber 1967), then the same T
    or P again, then E. The task is to predict the next symbol. The last T or P
    asks for memory over the whole inner string; everything else for the few symbols before.

    Examples
    --------
    >>> import numpy as np
    >>> task = EmbeddedReber()
    >>> task.string(np.random.default_rng(2))
    'BPBTSSSXXTTVVEPE'
    >>> x, y = task.batch(3, np.random.default_rng(0))
    >>> x.shape == y.shape, x.shape[1]
    (True, 3)
    """

    SYMBOLS: ClassVar[str] = "BTPSXVE"
    input_size: ClassVar[int] = len(SYMBOLS)
    output_size: ClassVar[int] = len(SYMBOLS)
    trivial_loss: ClassVar[float] = math.log(2)
    """Nats at the last T or P (:meth:`closing`) for a predictor that has forgotten the first."""

    def string(self, rng: np.random.Generator) -> str:
        """Draw one string; each choice is even."""
        generator_of("EmbeddedReber: rng", rng)
        wrapper = "TP"[int(rng.integers(2))]
        inner, state = "", 0
        following: int | None = 0
        while following is not None:
            state = following
            options = list(_REBER[state])
            symbol = options[int(rng.integers(len(options)))]
            inner, following = inner + symbol, _REBER[state][symbol]
        return f"B{wrapper}{inner}{wrapper}E"

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` strings: tokens and the token after each, (T, n), T for the longest.

        Shorter strings are followed by B, with targets that ask for nothing.
        """
        n = drawing(self, n, rng)
        return _next_symbol([self.encode(self.string(rng)) for _ in range(n)])

    def encode(self, string: str) -> NDArray[np.int64]:
        """Tokens of a string."""
        return tokens_of(string, self.SYMBOLS)

    def legal(self, string: str) -> list[str]:
        """The symbols that may follow each prefix of `string` (from 1 symbol to all but one).

        Raises
        ------
        DataError
            If the string is not of the language.

        Examples
        --------
        >>> EmbeddedReber().legal("BTBTXSETE")
        ['TP', 'B', 'TP', 'SX', 'XS', 'E', 'T', 'E']
        """
        string = instance_of("EmbeddedReber.legal: string", string, str)
        wrapper, inner = string[1:2], string[2:-2]
        if string[:1] != "B" or wrapper not in ("T", "P") or string[-2:] != wrapper + "E":
            raise DataError("EmbeddedReber.legal: no string of the language", got=repr(string))
        found, state = ["TP"], 0
        for k, symbol in enumerate(inner):
            options = _REBER[state]
            found.append("".join(options))
            following = options.get(symbol, -1)
            if following == -1 or (following is None) != (k == len(inner) - 1):
                raise DataError("EmbeddedReber.legal: no string of the language", got=repr(string))
            state = state if following is None else following
        return [*found, wrapper, "E"]

    def closing(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Where in `targets` (T, N) the last T or P is asked for: one step per string."""
        targets = integers_of("EmbeddedReber.closing: targets", targets)
        if targets.ndim != 2:
            raise ShapeError("EmbeddedReber.closing: targets", expected="(T, N)", got=targets.shape)
        ends = (targets != IGNORE).sum(axis=0) - 2
        found: NDArray[np.bool_] = np.equal.outer(np.arange(len(targets)), ends)
        return found


@dataclass(frozen=True)
class Dyck:
    """Well-nested brackets of several kinds, to be predicted symbol by symbol.

    Each step opens or closes at random, as far as depth and the length left allow; the kind of
    an opening bracket is random, the kind of a closing one is known from the stack alone. Tokens
    0 to kinds - 1 open, kinds to 2 * kinds - 1 close.

    Parameters
    ----------
    length : int
        T + 1, even: each of the T steps predicts the symbol after it.
    kinds : int
        k of Dyck-k.
    max_depth : int, optional
        Deepest nesting; no bound by default.

    Examples
    --------
    >>> import numpy as np
    >>> task = Dyck(10, kinds=2)
    >>> x, y = task.batch(1, np.random.default_rng(0))
    >>> "".join("([)]"[token] for token in [*x[:, 0], y[-1, 0]])
    '[[]]()()[]'
    """

    length: int
    kinds: int = 2
    max_depth: int | None = None

    def __post_init__(self) -> None:
        counted(self, 2, "length")
        counted(self, 1, "kinds")
        if self.max_depth is not None:
            counted(self, 1, "max_depth")
        if self.length % 2:
            raise ConfigError("Dyck: length", expected="an even number", got=self.length)

    @property
    def input_size(self) -> int:
        """Kinds of symbols."""
        return 2 * self.kinds

    @property
    def output_size(self) -> int:
        """Kinds of symbols."""
        return 2 * self.kinds

    @property
    def trivial_loss(self) -> float:
        """Nats at closing brackets, given that one closes, for a predictor that looks at nothing.

        Looking at the symbol before tells some kinds; only a stack tells all.
        """
        return math.log(self.kinds)

    def batch(self, n: int, rng: np.random.Generator) -> TaskBatch:
        """Draw `n` words: tokens and the token after each, both (length - 1, n)."""
        n = drawing(self, n, rng, self.length)
        return _next_symbol([self._word(rng) for _ in range(n)])

    def _word(self, rng: np.random.Generator) -> NDArray[np.int64]:
        stack: list[int] = []
        word = np.empty(self.length, np.int64)
        deepest = self.length if self.max_depth is None else self.max_depth
        for t in range(self.length):
            left = self.length - t
            opens = len(stack) < min(left, deepest) and (not stack or rng.integers(2) == 1)
            if opens:
                stack.append(int(rng.integers(self.kinds)))
                word[t] = stack[-1]
            else:
                word[t] = self.kinds + stack.pop()
        return word

    def closing(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Where in `targets` a bracket closes."""
        return np.asarray(integers_of("Dyck.closing: targets", targets) >= self.kinds)

    def depth(self, tokens: NDArray[Any]) -> NDArray[np.int64]:
        """Nesting after each token, along the first axis."""
        tokens = np.atleast_1d(integers_of("Dyck.depth: tokens", tokens))
        return np.cumsum(np.where(tokens < self.kinds, 1, -1), axis=0)


def _next_symbol(strings: list[NDArray[np.int64]]) -> TaskBatch:
    """Tokens (T, N) and the token after each; what lies beyond a string asks for nothing."""
    longest = max(len(string) for string in strings) - 1
    inputs = np.zeros((longest, len(strings)), np.int64)
    targets = np.full((longest, len(strings)), IGNORE, np.int64)
    for n, string in enumerate(strings):
        inputs[: len(string) - 1, n] = string[:-1]
        targets[: len(string) - 1, n] = string[1:]
    return TaskBatch(inputs, targets)
