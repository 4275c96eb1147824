"""Operands from integers, built so that no value lies near a kink.

The kinds of values are those of :mod:`tinygrad_seq.ops.samples`; :class:`RandomDraw` is a source
of them that needs no hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np

from tinygrad_seq.checks import choice as one_of
from tinygrad_seq.checks import count, generator_of, index_of, require_room, sequence_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.ops.samples import DISTINCT, NONZERO, POSITIVE, REAL

__all__ = ["GRID", "RandomDraw", "build_array", "build_broadcastable"]

T = TypeVar("T")

GRID = 1000
"""Values lie on a grid of this many cells on each side of zero, so that they print short."""


def build_array(picks: Sequence[int], shape: tuple[int, ...], values: str) -> Array:
    """A float64 array of one kind of values, from integers between -GRID and GRID.

    Examples
    --------
    >>> build_array([-1000, 0, 1000], (3,), "nonzero")
    array([-2.  ,  0.25,  2.  ])
    """
    unit = np.array(picks, np.float64).reshape(shape) / GRID
    if values == REAL:
        return np.asarray(2.0 * unit)
    if values == POSITIVE:
        return np.asarray(1.5 + unit)
    if values == NONZERO:
        return np.asarray(np.where(unit < 0, -0.25, 0.25) + 1.75 * unit)
    if values == DISTINCT:  # ranks, so that no two entries are closer than 0.2
        ranks = np.argsort(np.argsort(unit.reshape(-1), kind="stable"), kind="stable")
        return (0.2 * (ranks - unit.size // 2 + 0.5)).reshape(shape)
    raise ConfigError("unknown kind of values", expected="a constant of ops.samples", got=values)


def build_broadcastable(
    full: Sequence[int], cuts: Sequence[int], ones: Sequence[Sequence[bool]]
) -> list[tuple[int, ...]]:
    """Shapes that broadcast to `full` at most: some leading axes cut, some sizes set to 1."""
    return [
        tuple(1 if one else size for size, one in zip(full, flags, strict=True))[cut:]
        for cut, flags in zip(cuts, ones, strict=True)
    ]


MOST_AXES = 32
at_most_a_thousand = count(0, 1000)


class RandomDraw:
    """A :class:`~tinygrad_seq.ops.samples.Draw` from a random generator.

    Examples
    --------
    >>> from tinygrad_seq.ops import OPS
    >>> arrays, params = OPS["softmax"].sample(RandomDraw(np.random.default_rng(0)))
    >>> sorted(params)
    ['axis']
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = generator_of("RandomDraw: rng", rng)

    def integer(self, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""
        low = index_of("RandomDraw.integer: low", low)
        high = index_of("RandomDraw.integer: high", high)
        if high < low:
            raise ConfigError("RandomDraw.integer: high", expected=f">= low = {low}", got=high)
        return int(self.rng.integers(low, high, endpoint=True))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""
        given = sequence_of("RandomDraw.choice: options", options, "options")
        if not given:
            raise ConfigError("RandomDraw.choice: options", expected="at least one", got="none")
        return cast("T", given[self.integer(0, len(given) - 1)])

    def shape(self, min_dims: int = 0, max_dims: int = 3, max_side: int = 3) -> tuple[int, ...]:
        """A shape without empty axes."""
        min_dims = count(0, MOST_AXES)("RandomDraw.shape: min_dims", min_dims)
        max_dims = count(min_dims, MOST_AXES)("RandomDraw.shape: max_dims", max_dims)
        max_side = count(1, 100)("RandomDraw.shape: max_side", max_side)
        return tuple(self.integer(1, max_side) for _ in range(self.integer(min_dims, max_dims)))

    def broadcastable(self, count: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together."""
        count = at_most_a_thousand("RandomDraw.broadcastable: count", count)
        full = self.shape()
        cuts = [self.integer(0, len(full)) for _ in range(count)]
        ones = [[self.choice([False, False, True]) for _ in full] for _ in range(count)]
        return build_broadcastable(full, cuts, ones)

    def array(self, shape: tuple[int, ...], values: str = REAL) -> Array:
        """A float64 array of one kind of values."""
        sides = sequence_of("RandomDraw.array: shape", shape, "sizes")
        shape = tuple(count(0)("RandomDraw.array: shape", side) for side in sides)
        if len(shape) > MOST_AXES:
            raise ConfigError("RandomDraw.array: shape", expected=f"at most {MOST_AXES} axes")
        require_room("RandomDraw.array", *shape)
        one_of(REAL, POSITIVE, NONZERO, DISTINCT)("RandomDraw.array: values", values)
        size = int(np.prod(shape, dtype=int))
        return build_array(self.rng.integers(-GRID, GRID + 1, size).tolist(), shape, values)
