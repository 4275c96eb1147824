"""More elementwise functions of NumPy: logarithms, exponentials, hyperbolic and circular ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_seq.engine.op import Op
from tinygrad_seq.ops.domains import NONZERO, POSITIVE, REAL, Sample, binary, unary
from tinygrad_seq.ops.registry import constant, record, register

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
    "exp2",
    "expm1",
    "hypot",
    "log2",
    "log10",
    "logaddexp",
    "reciprocal",
    "sinh",
    "tan",
]


def _within(scale: float, shift: float = 0.0) -> Sample:
    """One operand of any shape between ``shift - 2 * scale`` and ``shift + 2 * scale``."""
    return lambda draw: ((np.asarray(scale * draw.array(draw.shape(), REAL) + shift),), {})


LN2, LN10 = float(np.log(2)), float(np.log(10))

EXPM1 = register(Op("expm1", np.expm1, "x", [lambda g, out: g * (out + 1)], sample=unary()))
EXP2 = register(Op("exp2", np.exp2, "x", [lambda g, out: g * (out * LN2)], sample=unary()))
LOG2 = register(Op("log2", np.log2, "x", [lambda g, x: g / (x * LN2)], sample=unary(POSITIVE)))
LOG10 = register(Op("log10", np.log10, "x", [lambda g, x: g / (x * LN10)], sample=unary(POSITIVE)))
SINH = register(Op("sinh", np.sinh, "x", [lambda g, x: g * np.cosh(x)], sample=unary()))
COSH = register(Op("cosh", np.cosh, "x", [lambda g, x: g * np.sinh(x)], sample=unary()))
TAN = register(
    Op(
        "tan",
        np.tan,
        "x",
        [lambda g, out: g * (1 + out * out)],
        sample=_within(0.5),  # between two poles
    )
)
ARCTAN = register(Op("arctan", np.arctan, "x", [lambda g, x: g / (1 + x * x)], sample=unary()))
ARCSIN = register(
    Op("arcsin", np.arcsin, "x", [lambda g, x: g / np.sqrt(1 - x * x)], sample=_within(0.45))
)
ARCCOS = register(
    Op("arccos", np.arccos, "x", [lambda g, x: -g / np.sqrt(1 - x * x)], sample=_within(0.45))
)
ARCSINH = register(
    Op("arcsinh", np.arcsinh, "x", [lambda g, x: g / np.sqrt(1 + x * x)], sample=unary())
)
ARCCOSH = register(
    Op("arccosh", np.arccosh, "x", [lambda g, out: g / np.sinh(out)], sample=_within(0.5, 2.25))
)
ARCTANH = register(
    Op("arctanh", np.arctanh, "x", [lambda g, x: g / (1 - x * x)], sample=_within(0.45))
)
ARCTAN2 = register(
    Op(
        "arctan2",
        np.arctan2,
        "y x",
        [
            lambda g, y, x: g * (x / (x * x + y * y)),
            lambda g, y, x: -g * (y / (x * x + y * y)),
        ],
        sample=binary(NONZERO, NONZERO),
        analytic=False,  # NumPy has it for real numbers only
    )
)
HYPOT = register(
    Op(
        "hypot",
        np.hypot,
        "a b",
        [
            lambda g, a, out: g * (a / np.where(constant(out) == 0, 1, out)),
            lambda g, b, out: g * (b / np.where(constant(out) == 0, 1, out)),
        ],
        sample=binary(NONZERO, NONZERO),
        analytic=False,  # NumPy has it for real numbers only
    )
)
RECIPROCAL = register(
    Op(
        "reciprocal",
        np.reciprocal,
        "x",
        [lambda g, out: -g * (out * out)],
        sample=unary(NONZERO),
    )
)
LOGADDEXP = register(
    Op(
        "logaddexp",
        np.logaddexp,
        "a b",
        [lambda g, a, out: g * np.exp(a - out), lambda g, b, out: g * np.exp(b - out)],
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


def logaddexp(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log(e**a + e**b), without overflow."""
    return record(LOGADDEXP, (a, b), {})
