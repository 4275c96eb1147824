# mypy: disable-error-code="empty-body"
"""Circular and hyperbolic functions, their inverses, angles: declared as in :mod:`.math`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.ops import samples
from tinygrad_seq.ops.math import multiply
from tinygrad_seq.ops.registry import (
    binary,
    direction,
    for_numpy,
    operation,
    publish,
    record,
    unary,
)
from tinygrad_seq.ops.samples import NONZERO, within

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

# -- angles ----------------------------------------------------------------------------------------


def _scaled_by(factor: float) -> Callable[[Any], Any]:
    def scale(x: Any) -> Any:
        return multiply(x, factor)

    scale.__doc__ = f"Multiplied by {factor:.4g}."
    return scale


for_numpy(np.degrees, np.rad2deg)(_scaled_by(180 / math.pi))
for_numpy(np.radians, np.deg2rad)(_scaled_by(math.pi / 180))


@unary(np.sin, lambda g, x: g * np.cos(x))
def sin(x: TensorLike) -> Tensor:
    """Elementwise sine, x in radians."""


@unary(np.cos, lambda g, x: -g * np.sin(x))
def cos(x: TensorLike) -> Tensor:
    """Elementwise cosine, x in radians."""


@unary(np.tan, lambda g, out: g * (1 + out * out), within(0.5))  # between two poles
def tan(x: TensorLike) -> Tensor:
    """Elementwise tangent, x in radians."""


@unary(np.arcsin, lambda g, x: g / np.sqrt((1 - x) * (1 + x)), within(0.45))
def arcsin(x: TensorLike) -> Tensor:
    """Elementwise inverse sine, in radians; its gradient at -1 and 1 is infinite."""


@unary(np.arccos, lambda g, x: -g / np.sqrt((1 - x) * (1 + x)), within(0.45))
def arccos(x: TensorLike) -> Tensor:
    """Elementwise inverse cosine, in radians; its gradient at -1 and 1 is infinite."""


@unary(np.arctan, lambda g, x: g / (1 + x * x))
def arctan(x: TensorLike) -> Tensor:
    """Elementwise inverse tangent, in radians."""


# NumPy has the angle and the length of a point for real numbers only: they are not analytic.


def _over_square(x: Any, size: Any) -> Any:
    """The quotient x / size**2: the square alone may leave the range of the dtype."""
    return x / size / size


ARCTAN2 = operation(
    "arctan2",
    np.arctan2,
    "y x",
    [
        lambda g, y, x: g * _over_square(x, np.hypot(x, y)),
        lambda g, y, x: -g * _over_square(y, np.hypot(x, y)),
    ],
    sample=samples.binary(NONZERO, NONZERO),
    floats=True,
    pointwise=True,
    analytic=False,
    kink="NaN at the origin",
)


@for_numpy(np.arctan2)
def arctan2(y: TensorLike, x: TensorLike) -> Tensor:
    """Elementwise angle of the point (x, y), in radians; it has no gradient at the origin (NaN)."""
    return record(ARCTAN2, (y, x), {})


@binary(
    np.hypot,
    lambda g, a, out: g * direction(a, out),
    lambda g, b, out: g * direction(b, out),
    (NONZERO, NONZERO),
    floats=True,
    analytic=False,
    kink="0 at the origin",
)
def hypot(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise ``sqrt(a**2 + b**2)`` without overflow; the gradient at the origin is 0."""


# -- hyperbolic functions --------------------------------------------------------------------------


@unary(np.sinh, lambda g, x: g * np.cosh(x))
def sinh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic sine."""


@unary(np.cosh, lambda g, x: g * np.sinh(x))
def cosh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic cosine."""


@unary(np.arcsinh, lambda g, x: g / np.hypot(x, 1))
def arcsinh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic sine: a logarithm that takes either sign."""


@unary(np.arccosh, lambda g, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)), within(0.5, 2.25))
def arccosh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic cosine of x >= 1; its gradient at 1 is infinite."""


@unary(np.arctanh, lambda g, x: g / ((1 - x) * (1 + x)), within(0.45))
def arctanh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic tangent of -1 < x < 1."""


publish(globals())
