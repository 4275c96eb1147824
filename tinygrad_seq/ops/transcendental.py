"""More elementwise functions of NumPy: logarithms, exponentials, hyperbolic and circular ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.ops.domains import NONZERO, POSITIVE, REAL, Sample, binary, unary
from tinygrad_seq.ops.nonlinear import SIGMOID
from tinygrad_seq.ops.registry import PointwiseFloat, constant, record, register, run

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cosh",
    "direction",
    "exp2",
    "expm1",
    "hypot",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "reciprocal",
    "sinh",
    "tan",
]


def _within(scale: float, shift: float = 0.0) -> Sample:
    """One operand of any shape between ``shift - 2 * scale`` and ``shift + 2 * scale``."""
    return lambda draw: ((np.asarray(scale * draw.array(draw.shape(), REAL) + shift),), {})


def direction(x: Any, size: Any) -> Any:
    """The unit vector x / size, and 0 at the origin, there with all its derivatives."""
    origin = constant(size) == 0
    return np.where(origin, 0.0, x) / np.where(origin, 1.0, size)


def _over_square(x: Any, size: Any) -> Any:
    """The quotient x / size**2: the square alone may leave the range of the dtype."""
    return x / size / size


def _share(g: Any, a: Any, b: Any, scale: float = 1.0) -> Any:
    """The cotangent times e**a / (e**a + e**b), of their difference: each may be large.

    It is 0 where both are -inf, of which neither has a part in the sum, and halved at inf.
    """
    infinite = (constant(a) == constant(b)) & np.isinf(constant(a))
    if infinite.any():
        g = np.where(infinite & (constant(a) < 0), 0.0, g)
        a, b = np.where(infinite, 0.0, a), np.where(infinite, 0.0, b)
    return g * run(SIGMOID, (a - b) * scale)


LN2, LN10 = float(np.log(2)), float(np.log(10))

EXPM1 = register(
    PointwiseFloat("expm1", np.expm1, "x", [lambda g, x: g * np.exp(x)], sample=unary())
)
EXP2 = register(
    PointwiseFloat("exp2", np.exp2, "x", [lambda g, out: g * (out * LN2)], sample=unary())
)
LOG2 = register(
    PointwiseFloat("log2", np.log2, "x", [lambda g, x: g / (x * LN2)], sample=unary(POSITIVE))
)
LOG10 = register(
    PointwiseFloat("log10", np.log10, "x", [lambda g, x: g / (x * LN10)], sample=unary(POSITIVE))
)
SINH = register(PointwiseFloat("sinh", np.sinh, "x", [lambda g, x: g * np.cosh(x)], sample=unary()))
COSH = register(PointwiseFloat("cosh", np.cosh, "x", [lambda g, x: g * np.sinh(x)], sample=unary()))
TAN = register(
    PointwiseFloat(
        "tan",
        np.tan,
        "x",
        [lambda g, out: g * (1 + out * out)],
        sample=_within(0.5),  # between two poles
    )
)
ARCTAN = register(
    PointwiseFloat("arctan", np.arctan, "x", [lambda g, x: g / (1 + x * x)], sample=unary())
)
ARCSIN = register(
    PointwiseFloat(
        "arcsin",
        np.arcsin,
        "x",
        [lambda g, x: g / np.sqrt((1 - x) * (1 + x))],
        sample=_within(0.45),
    )
)
ARCCOS = register(
    PointwiseFloat(
        "arccos",
        np.arccos,
        "x",
        [lambda g, x: -g / np.sqrt((1 - x) * (1 + x))],
        sample=_within(0.45),
    )
)
ARCSINH = register(
    PointwiseFloat("arcsinh", np.arcsinh, "x", [lambda g, x: g / np.hypot(x, 1)], sample=unary())
)
ARCCOSH = register(
    PointwiseFloat(
        "arccosh",
        np.arccosh,
        "x",
        [lambda g, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1))],
        sample=_within(0.5, 2.25),
    )
)
ARCTANH = register(
    PointwiseFloat(
        "arctanh",
        np.arctanh,
        "x",
        [lambda g, x: g / ((1 - x) * (1 + x))],
        sample=_within(0.45),
    )
)
ARCTAN2 = register(
    PointwiseFloat(
        "arctan2",
        np.arctan2,
        "y x",
        [
            lambda g, y, x: g * _over_square(x, np.hypot(x, y)),
            lambda g, y, x: -g * _over_square(y, np.hypot(x, y)),
        ],
        sample=binary(NONZERO, NONZERO),
        analytic=False,  # NumPy has it for real numbers only
    )
)
HYPOT = register(
    PointwiseFloat(
        "hypot",
        np.hypot,
        "a b",
        [
            lambda g, a, out: g * direction(a, out),
            lambda g, b, out: g * direction(b, out),
        ],
        sample=binary(NONZERO, NONZERO),
        analytic=False,  # NumPy has it for real numbers only
    )
)
RECIPROCAL = register(
    PointwiseFloat(
        "reciprocal",
        np.reciprocal,
        "x",
        [lambda g, out: -g * (out * out)],
        sample=unary(NONZERO),
    )
)
LOGADDEXP = register(
    PointwiseFloat(
        "logaddexp",
        np.logaddexp,
        "a b",
        [lambda g, a, b: _share(g, a, b), lambda g, a, b: _share(g, b, a)],
        sample=binary(),
        analytic=False,  # NumPy has it for real numbers only
    )
)
LOGADDEXP2 = register(
    PointwiseFloat(
        "logaddexp2",
        np.logaddexp2,
        "a b",
        [lambda g, a, b: _share(g, a, b, LN2), lambda g, a, b: _share(g, b, a, LN2)],
        sample=binary(),
        analytic=False,  # NumPy has it for real numbers only
    )
)


def expm1(x: TensorLike) -> Tensor:
    """Elementwise e**x - 1, accurate near 0."""
    return record(EXPM1, (x,), {})


def exp2(x: TensorLike) -> Tensor:
    """Elementwise 2**x."""
    return record(EXP2, (x,), {})


def log2(x: TensorLike) -> Tensor:
    """Elementwise logarithm to base 2: bits for nats."""
    return record(LOG2, (x,), {})


def log10(x: TensorLike) -> Tensor:
    """Elementwise logarithm to base 10."""
    return record(LOG10, (x,), {})


def sinh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic sine."""
    return record(SINH, (x,), {})


def cosh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic cosine."""
    return record(COSH, (x,), {})


def tan(x: TensorLike) -> Tensor:
    """Elementwise tangent, x in radians."""
    return record(TAN, (x,), {})


def arctan(x: TensorLike) -> Tensor:
    """Elementwise inverse tangent, in radians."""
    return record(ARCTAN, (x,), {})


def arcsin(x: TensorLike) -> Tensor:
    """Elementwise inverse sine, in radians; its gradient at -1 and 1 is infinite."""
    return record(ARCSIN, (x,), {})


def arccos(x: TensorLike) -> Tensor:
    """Elementwise inverse cosine, in radians; its gradient at -1 and 1 is infinite."""
    return record(ARCCOS, (x,), {})


def arcsinh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic sine: a logarithm that takes either sign."""
    return record(ARCSINH, (x,), {})


def arccosh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic cosine of x >= 1; its gradient at 1 is infinite."""
    return record(ARCCOSH, (x,), {})


def arctanh(x: TensorLike) -> Tensor:
    """Elementwise inverse hyperbolic tangent of -1 < x < 1."""
    return record(ARCTANH, (x,), {})


def arctan2(y: TensorLike, x: TensorLike) -> Tensor:
    """Elementwise angle of the point (x, y), in radians; it has no gradient at the origin (NaN)."""
    return record(ARCTAN2, (y, x), {})


def hypot(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise ``sqrt(a**2 + b**2)`` without overflow; the gradient at the origin is 0."""
    return record(HYPOT, (a, b), {})


def reciprocal(x: TensorLike) -> Tensor:
    """Elementwise 1 / x."""
    return record(RECIPROCAL, (x,), {})


def logaddexp2(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log2(2**a + 2**b), without overflow."""
    return record(LOGADDEXP2, (a, b), {})


def logaddexp(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log(e**a + e**b), without overflow."""
    return record(LOGADDEXP, (a, b), {})
