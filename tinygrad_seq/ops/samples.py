"""Where property tests may draw an operation's operands from.

A domain is a function ``sample(draw) -> (arrays, params)``. ``draw`` is anything with the methods
of :class:`Draw`; the testing package provides one on top of hypothesis, so that failures shrink.
Values are kept away from kinks and poles by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from tinygrad_seq.engine.node import Array

T = TypeVar("T")
Sampled = tuple[tuple[Any, ...], dict[str, Any]]
Sample = Callable[["Draw"], Sampled]

REAL = "real"
"""Between -2 and 2."""
POSITIVE = "positive"
"""Between 0.5 and 2.5."""
NONZERO = "nonzero"
"""Of either sign, at least 0.25 away from zero, at most 2."""
DISTINCT = "distinct"
"""Of either sign, nonzero, no two entries closer than 0.1."""


class Draw(Protocol):
    """A source of shapes, arrays and choices."""

    def integer(self, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""

    def choice(self, options: Sequence[T]) -> T:
        """One of the options."""

    def shape(self, min_dims: int = 0, max_dims: int = 3, max_side: int = 3) -> tuple[int, ...]:
        """A shape without empty axes."""

    def broadcastable(self, count: int) -> list[tuple[int, ...]]:
        """Shapes that broadcast together."""

    def array(self, shape: tuple[int, ...], values: str = REAL) -> Array:
        """A float64 array of one of the kinds of values above."""


def unary(values: str = REAL) -> Sample:
    """One operand of any shape."""
    return lambda draw: ((draw.array(draw.shape(), values),), {})


def within(scale: float, shift: float = 0.0) -> Sample:
    """One operand of any shape between ``shift - 2 * scale`` and ``shift + 2 * scale``."""
    return lambda draw: ((np.asarray(scale * draw.array(draw.shape()) + shift),), {})


def along_axis(draw: Draw) -> Sampled:
    """One operand of any shape, and one of its axes."""
    x = draw.array(draw.shape(1))
    return (x,), {"axis": draw.integer(-x.ndim, x.ndim - 1)}


def binary(left: str = REAL, right: str = REAL) -> Sample:
    """Two operands whose shapes broadcast together."""

    def sample(draw: Draw) -> Sampled:
        a, b = draw.broadcastable(2)
        return (draw.array(a, left), draw.array(b, right)), {}

    return sample


def draw_axis(draw: Draw, ndim: int) -> int | tuple[int, ...] | None:
    """An axis argument: none, one axis (negative ones too), or two."""
    options: list[int | tuple[int, ...] | None] = [None, *range(-ndim, ndim)]
    if ndim >= 2:
        options += [(0, -1), (1, 0)]
    return draw.choice(options)


def reduction(values: str = REAL) -> Sample:
    """One operand with ``axis`` and ``keepdims``."""

    def sample(draw: Draw) -> Sampled:
        x = draw.array(draw.shape(1), values)
        return (x,), {"axis": draw_axis(draw, x.ndim), "keepdims": draw.choice([False, True])}

    return sample
