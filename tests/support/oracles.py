"""A naive reverse-mode engine on scalars, independent of the real one: slow, short, obvious.

NumPy runs its array functions on arrays of Python objects by calling the objects' operators and
methods, so an object array of :class:`Scalar` goes through ``x @ w``, ``np.tanh(x)`` or
``np.concatenate`` with NumPy's own shapes, broadcasting and indexing, and only scalar calculus is
left to write down here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array

__all__ = ["Scalar", "naive_gradients", "scalars"]


Operator = Callable[["Scalar", Any], Any]


def _with_numbers(operator: Operator) -> Operator:
    """Leave arrays to NumPy, which calls back entry by entry."""

    def checked(self: Scalar, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            return NotImplemented
        return operator(self, other)

    return checked


class Scalar:
    """A number that remembers the numbers it came from, and its slope to each of them."""

    __slots__ = ("parents", "slopes", "value")

    def __init__(
        self, value: float, parents: tuple[Scalar, ...] = (), slopes: tuple[float, ...] = ()
    ) -> None:
        self.value = float(value)
        self.parents = parents
        self.slopes = slopes

    @_with_numbers
    def __add__(self, other: Any) -> Scalar:
        b = _scalar(other)
        return Scalar(self.value + b.value, (self, b), (1.0, 1.0))

    @_with_numbers
    def __mul__(self, other: Any) -> Scalar:
        b = _scalar(other)
        return Scalar(self.value * b.value, (self, b), (b.value, self.value))

    @_with_numbers
    def __truediv__(self, other: Any) -> Scalar:
        b = _scalar(other)
        return Scalar(
            self.value / b.value, (self, b), (1 / b.value, -self.value / b.value / b.value)
        )

    def __pow__(self, exponent: float) -> Scalar:
        return self._map(self.value**exponent, exponent * self.value ** (exponent - 1))

    def __neg__(self) -> Scalar:
        return self._map(-self.value, -1.0)

    @_with_numbers
    def __sub__(self, other: Any) -> Scalar:
        b = _scalar(other)
        return Scalar(self.value - b.value, (self, b), (1.0, -1.0))

    __radd__ = __add__
    __rmul__ = __mul__

    @_with_numbers
    def __rsub__(self, other: Any) -> Scalar:
        b = _scalar(other)
        return Scalar(b.value - self.value, (b, self), (1.0, -1.0))

    @_with_numbers
    def __rtruediv__(self, other: Any) -> Scalar:
        b = _scalar(other)
        slopes = (1 / self.value, -b.value / self.value / self.value)
        return Scalar(b.value / self.value, (b, self), slopes)

    def __abs__(self) -> Scalar:
        return self if self.value >= 0 else -self

    def __ge__(self, other: Any) -> bool:
        return self.value >= _scalar(other).value

    def __le__(self, other: Any) -> bool:
        return self.value <= _scalar(other).value

    def __gt__(self, other: Any) -> bool:
        return self.value > _scalar(other).value

    def __lt__(self, other: Any) -> bool:
        return self.value < _scalar(other).value

    # NumPy calls these by the names of its functions.

    def exp(self) -> Scalar:
        """The exponential."""
        e = math.exp(self.value)
        return self._map(e, e)

    def log(self) -> Scalar:
        """The natural logarithm."""
        return self._map(math.log(self.value), 1 / self.value)

    def sqrt(self) -> Scalar:
        """The square root."""
        root = math.sqrt(self.value)
        return self._map(root, 0.5 / root)

    def sin(self) -> Scalar:
        """The sine."""
        return self._map(math.sin(self.value), math.cos(self.value))

    def cos(self) -> Scalar:
        """The cosine."""
        return self._map(math.cos(self.value), -math.sin(self.value))

    def tanh(self) -> Scalar:
        """The hyperbolic tangent."""
        return self._map(math.tanh(self.value), 1 - math.tanh(self.value) ** 2)

    def hypot(self, other: Any) -> Scalar:
        """The root of the sum of two squares."""
        b = _scalar(other)
        size = math.hypot(self.value, b.value)
        return Scalar(size, (self, b), (self.value / size, b.value / size))

    def conjugate(self) -> Scalar:
        """Itself: it is real (the variance of NumPy asks)."""
        return self

    def _map(self, value: float, slope: float) -> Scalar:
        return Scalar(value, (self,), (slope,))


def _scalar(value: Any) -> Scalar:
    return value if isinstance(value, Scalar) else Scalar(value)


def scalars(array: Any) -> Array:
    """An object array of :class:`Scalar` with the values of a numeric array."""
    made = np.empty(np.shape(array), object)
    for index, value in np.ndenumerate(np.asarray(array)):
        made[index] = Scalar(value)
    return made


def naive_gradients(fn: Callable[..., Any], arrays: Sequence[Array]) -> tuple[float, list[Array]]:
    """Value and gradients of a scalar function of arrays, written with NumPy's functions.

    Parameters
    ----------
    fn : callable
        Of object arrays of :class:`Scalar`; returns one number.
    arrays : sequence of arrays

    Returns
    -------
    value : float
    gradients : list of arrays, shaped like `arrays`

    Examples
    --------
    >>> value, (slope,) = naive_gradients(lambda x: np.sum(np.tanh(x) * x), [np.array([0.0, 1.0])])
    >>> slope.round(4)
    array([0.    , 1.1816])
    """
    inputs = [scalars(array) for array in arrays]
    result = np.asarray(fn(*inputs), object)
    total = _scalar(result.item())
    adjoint = _adjoints(total)
    gradients = []
    for made in inputs:
        found = np.zeros(made.shape)
        for index, leaf in np.ndenumerate(made):
            found[index] = adjoint.get(id(leaf), 0.0)
        gradients.append(found)
    return total.value, gradients


def _adjoints(total: Scalar) -> dict[int, float]:
    """Slope of `total` to everything behind it, each taken once all its consumers have spoken."""
    waiting: dict[int, int] = {id(total): 0}
    stack = [total]
    while stack:
        for parent in stack.pop().parents:
            if id(parent) not in waiting:
                waiting[id(parent)] = 0
                stack.append(parent)
            waiting[id(parent)] += 1
    adjoint = dict.fromkeys(waiting, 0.0)
    adjoint[id(total)] = 1.0
    ready = [total]
    while ready:
        node = ready.pop()
        for parent, slope in zip(node.parents, node.slopes, strict=True):
            adjoint[id(parent)] += slope * adjoint[id(node)]
            waiting[id(parent)] -= 1
            if not waiting[id(parent)]:
                ready.append(parent)
    return adjoint
