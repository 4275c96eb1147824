"""Numerical derivatives of scalar functions: the references that gradient rules are held to.

The complex step f'(x) = Im f(x + ih) / h subtracts nothing, so h = 1e-20 gives the derivative to
the last digit wherever f is analytic. Elsewhere central differences are extrapolated over a ladder
of steps, and a kink is told from a wrong rule by the gap between the two one-sided slopes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.engine.node import Array

__all__ = [
    "Kink",
    "central_derivative",
    "central_gradient",
    "central_slopes",
    "complex_gradient",
    "find_kink",
    "perturbed",
]

COMPLEX_STEP = 1e-20
LADDER = (2e-3, 2e-4, 2e-5, 2e-6, 5e-7, 2e-2)
"""Steps tried in turn until the extrapolation agrees with itself."""

Loss = Callable[[Sequence[Any]], Any]
"""A scalar function of a list of arrays."""


class Kink(NamedTuple):
    """Where the two one-sided slopes of a function differ, so that it has no derivative."""

    input: int | None
    """Position of the input; None along a direction through all of them."""
    place: tuple[int, ...]
    left: float
    right: float
    name: str = ""

    def __str__(self) -> str:
        where = f"{self.name or f'input {self.input}'}, index {self.place}"
        if self.input is None:
            where = self.name
        return f"kink at {where}: slopes {self.left:.6g} | {self.right:.6g}"

    def allows(self, value: float, tolerance: float) -> bool:
        """Whether a value lies between the one-sided slopes, as a subgradient must."""
        low, high = sorted((self.left, self.right))
        return bool(np.isfinite(value)) and low - tolerance <= value <= high + tolerance


def complex_gradient(loss: Loss, arrays: Sequence[Any], which: int) -> Array:
    """Gradient of an analytic `loss` to ``arrays[which]``, entry by entry, by complex steps.

    Parameters
    ----------
    loss : callable
        Of a list of arrays; every floating array is handed over as complex.
    arrays : sequence
        Floating arrays, and others (integers), which are passed on as they are.
    which : int
        Position of the array to differentiate to.

    Examples
    --------
    >>> complex_gradient(lambda xs: np.sum(np.exp(xs[0])), [np.array([0.0, 1.0])], 0)
    array([1.        , 2.71828183])
    """
    values = [_complex(array) for array in arrays]
    point = values[which]
    gradient = np.zeros(point.shape)
    for index in np.ndindex(point.shape):
        values[which] = np.array(point)
        values[which][index] += COMPLEX_STEP * 1j
        gradient[index] = np.imag(loss(values)) / COMPLEX_STEP
    return gradient


def _complex(array: Any) -> Any:
    if isinstance(array, np.ndarray) and array.dtype.kind == "f":
        return array.astype(np.complex128)
    return array


def perturbed(
    loss: Loss, arrays: Sequence[Any], which: int, index: tuple[int, ...]
) -> Callable[[float], float]:
    """The function eps -> loss with eps added to one entry of one array."""

    def at(eps: float) -> float:
        values = list(arrays)
        values[which] = np.array(values[which])
        values[which][index] += eps
        return float(np.real(loss(values)))

    return at


def central_derivative(at: Callable[[float], float]) -> float:
    """Derivative of `at` at 0 from central differences, extrapolated, with step control.

    Examples
    --------
    >>> abs(central_derivative(lambda e: float(np.sin(1 + e))) - 0.5403023058681398) < 1e-11
    True
    """
    return float(central_slopes(at, 2e-6))


def central_slopes(at: Callable[[float], Any], enough: float) -> Array:
    """The derivative at 0 of every entry of an array that depends on a number.

    Two steps h and h/2 are combined to cancel the h**2 term (Richardson); of a ladder of steps
    each entry takes the one whose two differences agree best: a long step is exact but for
    rounding, a short one stays clear of kinks. No more are tried when all agree to `enough`. NaN
    if none gives a finite number.
    """
    best, smallest = np.asarray(np.nan), np.asarray(np.inf)
    for h in LADDER:
        wide = (at(h) - at(-h)) / (2 * h)
        narrow = (at(h / 2) - at(-h / 2)) / h
        value = (4 * narrow - wide) / 3
        doubt = np.abs(narrow - wide)
        best, smallest = np.where(doubt < smallest, value, best), np.fmin(doubt, smallest)
        if np.all(smallest <= enough * np.maximum(np.abs(best), 1e-3)):
            break
    return best


def central_gradient(loss: Loss, arrays: Sequence[Any], which: int) -> Array:
    """Gradient of `loss` to ``arrays[which]``, entry by entry, by central differences."""
    gradient = np.zeros(np.shape(arrays[which]))
    for index in np.ndindex(gradient.shape):
        gradient[index] = central_derivative(perturbed(loss, arrays, which, index))
    return gradient


def find_kink(at: Callable[[float], float]) -> tuple[float, float] | None:
    """One-sided slopes of `at` at 0 if they differ in the limit (a kink or a jump), else None.

    For a smooth function the gap between the slopes shrinks with the step; at a kink it stays,
    and at a jump it grows. From a value amid a jump no slope is wrong: -inf and inf.

    Examples
    --------
    >>> find_kink(abs)
    (-1.0, 1.0)
    >>> find_kink(lambda e: e * e) is None
    True
    """
    centre = at(0.0)
    coarse, fine = 1e-3, 1e-6

    def slopes(h: float) -> tuple[float, float]:
        return (centre - at(-h)) / h, (at(h) - centre) / h

    (left, right), (left_c, right_c) = slopes(fine), slopes(coarse)
    gap, gap_c = abs(right - left), abs(right_c - left_c)
    noise = 1e-8 * max(abs(centre), 1.0)
    size = max(abs(left), abs(right), noise)
    if min(abs(left), abs(right)) > 100 * max(abs(left_c), abs(right_c), noise):
        return -np.inf, np.inf
    if gap <= max(1e-5 * size, noise) or gap < 0.1 * gap_c:
        return None
    return float(f"{left:.9g}"), float(f"{right:.9g}")
