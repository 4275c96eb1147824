"""More elementwise functions of NumPy: logarithms, exponentials, hyperbolic and circular ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_seq.engine.op import Op
from tinygrad_seq.ops.domains import NONZERO, POSITIVE, REAL, binary, unary
from tinygrad_seq.ops.registry import record, register

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "arctan",
    "cosh",
    "exp2",
    "expm1",
    "log2",
    "log10",
    "logaddexp",
    "reciprocal",
    "sinh",
    "tan",
]

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
        # Between -2 and 2 lie two poles: draw from half of that.
        sample=lambda draw: ((np.asarray(0.5 * draw.array(draw.shape(), REAL)),), {}),
    )
)
ARCTAN = register(Op("arctan", np.arctan, "x", [lambda g, x: g / (1 + x * x)], sample=unary()))
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


def reciprocal(x: TensorLike) -> Tensor:
    """Elementwise 1 / x."""
    return record(RECIPROCAL, (x,), {})


def logaddexp(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log(e**a + e**b), without overflow."""
    return record(LOGADDEXP, (a, b), {})
