"""Hypothesis strategies: shapes, operands by domain, examples for any operation, sequences.

Values avoid kinks and poles by construction (no ``assume``), so hardly a draw is wasted and
failures shrink to short numbers. This module needs hypothesis; the others do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.engine.node import Array
from tinygrad_seq.engine.op import Op
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.ops import OPS
from tinygrad_seq.ops.samples import REAL
from tinygrad_seq.testing.draws import GRID, build_array, build_broadcastable

__all__ = [
    "HypothesisDraw",
    "arrays",
    "broadcastable",
    "examples",
    "sequences",
    "shapes",
]

T = TypeVar("T")

_ONE_BY_ONE = 24
"""Larger arrays come from a seed: their entries do not shrink, but they are quick to draw."""


class HypothesisDraw:
    """A :class:`~tinygrad_seq.ops.samples.Draw` on top of hypothesis' ``draw`` function."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""
        return int(self._draw(st.integers(low, high)))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options; failures shrink towards the first."""
        return options[self.integer(0, len(options) - 1)]

    def shape(self, min_dims: int = 0, max_dims: int = 3, max_side: int = 3) -> tuple[int, ...]:
        """A shape without empty axes."""
        return tuple(self._draw(shapes(min_dims, max_dims, max_side)))

    def broadcastable(self, count: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together."""
        return list(self._draw(broadcastable(count)))

    def array(self, shape: tuple[int, ...], values: str = REAL) -> Array:
        """A float64 array of one kind of values."""
        drawn: Array = self._draw(arrays(shape, values))
        return drawn


def shapes(
    min_dims: int = 0, max_dims: int = 3, max_side: int = 3
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes without empty axes.

    Examples
    --------
    >>> from hypothesis import find
    >>> find(shapes(2), lambda shape: True)
    (1, 1)
    """
    sides = st.integers(1, max_side)
    return st.lists(sides, min_size=min_dims, max_size=max_dims).map(tuple)


@st.composite
def broadcastable(
    draw: Callable[[st.SearchStrategy[Any]], Any], count: int = 2, max_dims: int = 3
) -> list[tuple[int, ...]]:
    """`count` shapes that broadcast together."""
    full = draw(shapes(0, max_dims))
    cuts = [draw(st.integers(0, len(full))) for _ in range(count)]
    flags = st.lists(st.booleans(), min_size=len(full), max_size=len(full))
    return build_broadcastable(full, cuts, [draw(flags) for _ in range(count)])


def arrays(shape: tuple[int, ...], values: str = REAL) -> st.SearchStrategy[Array]:
    """float64 arrays of one kind of values (see :mod:`tinygrad_seq.ops.samples`).

    Examples
    --------
    >>> from hypothesis import find
    >>> find(arrays((2,), "positive"), lambda a: a.sum() > 3)
    array([1.5  , 1.501])
    """
    size = int(np.prod(shape, dtype=int))
    if size > _ONE_BY_ONE:
        return st.integers(0, 2**32 - 1).map(
            lambda seed: build_array(
                np.random.default_rng(seed).integers(-GRID, GRID + 1, size).tolist(), shape, values
            )
        )
    picks = st.lists(st.integers(-GRID, GRID), min_size=size, max_size=size)
    return picks.map(lambda found: build_array(found, shape, values))


@st.composite
def examples(
    draw: Callable[[st.SearchStrategy[Any]], Any], op: Op | str
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands and parameters from the domain of an operation, given as a record or by name."""
    record = OPS[op] if isinstance(op, str) else op
    if record.sample is None:
        raise ConfigError(f"operation {record.name!r} has no domain", expected="sample=...")
    found: tuple[tuple[Any, ...], dict[str, Any]] = record.sample(HypothesisDraw(draw))
    return found


@st.composite
def sequences(
    draw: Callable[[st.SearchStrategy[Any]], Any], features: int = 2, max_steps: int = 5
) -> tuple[Array, Array]:
    """A padded batch ``x (T, N, F)`` and the length of every row, 0 and T included.

    The padding holds values like any other: what must not matter is drawn, not zeroed.
    """
    steps, batch = draw(st.integers(1, max_steps)), draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    return draw(arrays((steps, batch, features))), np.array(lengths, int)
