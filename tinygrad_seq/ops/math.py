# mypy: disable-error-code="empty-body"
"""Mathematics on the entries of tensors: each operation is one declaration. Operands broadcast.

A declaration gives the values, one gradient rule per operand and the domain that tests draw from.
That a ufunc of NumPy's is recorded on Tensors follows from it, as do the tests, the row in the
table of operations and the public name. Broadcasting is undone by the backward walk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.kernels.gates import sigmoid as sigmoid_kernel
from tinygrad_seq.ops.registry import (
    OPS,
    binary,
    constant,
    floats_of,
    for_numpy,
    publish,
    run,
    unary,
)
from tinygrad_seq.ops.samples import DISTINCT, NONZERO, POSITIVE, REAL, Draw, Sampled

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

LN2, LN10 = float(np.log(2)), float(np.log(10))

# -- arithmetic ------------------------------------------------------------------------------------


@binary(np.add, lambda g: g, lambda g: g)
def add(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a + b."""


@binary(np.subtract, lambda g: g, lambda g: -g)
def subtract(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a - b."""


@binary(np.multiply, lambda g, b: g * b, lambda g, a: g * a, product=True)
def multiply(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise (Hadamard) product."""


@binary(
    np.true_divide,
    lambda g, b: g / b,
    lambda g, b, out: -g * out / b,
    (REAL, NONZERO),
    floats=True,
)
def divide(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a / b."""


def _remainder_sample(draw: Draw) -> Sampled:
    """Quotients at least 0.1 away from a whole number."""
    b = draw.array(draw.shape(), NONZERO)
    part = 0.1 + 0.4 * (draw.array(b.shape, POSITIVE) - 0.5)
    return (np.asarray(b * (part + draw.integer(-2, 2))), b), {}


@binary(
    np.remainder,
    lambda g: g,
    lambda g, a, b: -g * np.floor(a / b),
    _remainder_sample,
    analytic=False,
    kink="the slope to the right of a jump",
)
def remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a - b * floor(a / b), of the sign of b; where it jumps, the slope beside."""


def _power_rule(g: Any, a: Any, b: Any) -> Any:
    """The rule b a**(b - 1), and 0 where a = b = 0, where the formula says 0 times infinity."""
    if isinstance(b, (int, float)):
        return g * (b * a ** (b - 1 if b else 0))
    return g * (b * a ** np.where((constant(a) == 0) & (constant(b) == 0), 0, b - 1))


def _exponent_rule(g: Any, a: Any, out: Any) -> Any:
    """a**b log(a), and 0 at a = 0, where a**b stays 0."""
    if isinstance(a, (int, float)):
        return g * (out * float(np.log(float(a or 1))))
    return g * (out * np.log(np.where(constant(a) == 0, 1, a)))


@binary(
    np.power,
    _power_rule,
    _exponent_rule,
    (POSITIVE, REAL),
    kink="0 to both at 0 ** 0, 0 to b at a = 0",
)
def power(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a ** b. A tracked exponent needs a positive base."""


@for_numpy(np.float_power)
def _float_power(x1: Any, x2: Any) -> Any:
    """`tgs.power`; of integers alone in float64."""
    return power(*floats_of("np.float_power", x1, x2))


@unary(np.negative, lambda g: -g, floats=False)
def negative(x: TensorLike) -> Tensor:
    """Elementwise -x."""


@unary(np.square, lambda g, x: g * (2 * x), floats=False)
def square(x: TensorLike) -> Tensor:
    """Elementwise x**2."""


@unary(np.reciprocal, lambda g, out: -g * (out * out), NONZERO)
def reciprocal(x: TensorLike) -> Tensor:
    """Elementwise 1 / x."""


@unary(
    np.absolute,
    lambda g, x: np.where(constant(x) == 0, 0.0, g * np.sign(x)),
    NONZERO,
    floats=False,
    analytic=False,
    kink="0 at 0",
)
def absolute(x: TensorLike) -> Tensor:
    """Elementwise absolute value; the gradient at 0 is 0."""


@for_numpy(np.fabs)
def _fabs(x: Any) -> Any:
    """`tgs.absolute`; of integers in float64."""
    return absolute(*floats_of("np.fabs", x))


# -- roots, exponentials and logarithms ------------------------------------------------------------


@unary(np.sqrt, lambda g, out: g / (2 * out), POSITIVE)
def sqrt(x: TensorLike) -> Tensor:
    """Elementwise square root; its gradient at 0 is infinite."""


@unary(np.cbrt, lambda g, out: g / (3 * out * out), NONZERO, analytic=False)
def cbrt(x: TensorLike) -> Tensor:
    """Elementwise cube root, of either sign; its gradient at 0 is infinite."""


@unary(np.exp, lambda g, out: g * out)
def exp(x: TensorLike) -> Tensor:
    """Elementwise e**x."""


@unary(np.exp2, lambda g, out: g * (out * LN2))
def exp2(x: TensorLike) -> Tensor:
    """Elementwise 2**x."""


@unary(np.expm1, lambda g, x: g * np.exp(x))
def expm1(x: TensorLike) -> Tensor:
    """Elementwise e**x - 1, accurate near 0."""


@unary(np.log, lambda g, x: g / x, POSITIVE)
def log(x: TensorLike) -> Tensor:
    """Elementwise natural logarithm."""


@unary(np.log2, lambda g, x: g / (x * LN2), POSITIVE)
def log2(x: TensorLike) -> Tensor:
    """Elementwise logarithm to base 2: bits for nats."""


@unary(np.log10, lambda g, x: g / (x * LN10), POSITIVE)
def log10(x: TensorLike) -> Tensor:
    """Elementwise logarithm to base 10."""


@unary(np.log1p, lambda g, x: g / (1 + x), POSITIVE)
def log1p(x: TensorLike) -> Tensor:
    """Elementwise log(1 + x), accurate near 0."""


def _share(g: Any, a: Any, b: Any, scale: float = 1.0) -> Any:
    """The cotangent times e**a / (e**a + e**b), of their difference: each may be large.

    It is 0 where both are -inf, of which neither has a part in the sum, and halved at inf.
    """
    infinite = (constant(a) == constant(b)) & np.isinf(constant(a))
    if infinite.any():
        g = np.where(infinite & (constant(a) < 0), 0.0, g)
        a, b = np.where(infinite, 0.0, a), np.where(infinite, 0.0, b)
    return g * run(OPS["sigmoid"], (a - b) * scale)


# NumPy has the next two for real numbers only, as arctan2 and hypot: they are not analytic.


@binary(
    np.logaddexp,
    lambda g, a, b: _share(g, a, b),
    lambda g, a, b: _share(g, b, a),
    floats=True,
    analytic=False,
)
def logaddexp(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log(e**a + e**b), without overflow."""


@binary(
    np.logaddexp2,
    lambda g, a, b: _share(g, a, b, LN2),
    lambda g, a, b: _share(g, b, a, LN2),
    floats=True,
    analytic=False,
)
def logaddexp2(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise log2(2**a + 2**b), without overflow."""


# -- nonlinearities of neural networks -------------------------------------------------------------


@unary(np.tanh, lambda g, out: g * (1 - out * out))
def tanh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic tangent."""


@unary(sigmoid_kernel, lambda g, out: g * (out * (1 - out)))
def sigmoid(x: TensorLike) -> Tensor:
    """Elementwise logistic function 1 / (1 + e**-x), without overflow."""


@unary(
    lambda x: np.maximum(x, 0),
    # Where out is not positive it is 0, or NaN: so is the gradient.
    lambda g, out: np.where(constant(out) > 0, g, constant(out)),
    NONZERO,
    floats=False,
    analytic=False,
    kink="0 at 0",
)
def relu(x: TensorLike) -> Tensor:
    """Elementwise max(x, 0); the gradient at 0 is 0."""


# -- choosing and limiting -------------------------------------------------------------------------


def _apart(draw: Draw) -> Sampled:
    """Two broadcastable operands whose entries never meet."""
    a, b = draw.broadcastable(2)
    size = int(np.prod(a, dtype=int)), int(np.prod(b, dtype=int))
    values = draw.array((size[0] + size[1],), DISTINCT)
    return (values[: size[0]].reshape(a), values[size[0] :].reshape(b)), {}


def _win(g: Any, winner: Any, other: Any) -> Any:
    """The cotangent where `winner` wins, half of it at a tie, 0 where it loses, NaN at a NaN."""
    w, o = constant(winner), constant(other)
    lost = w < o
    share = np.where(lost | (w > o), 1.0, np.where(w == o, 0.5, np.nan)).astype(g.dtype)
    return np.where(lost, 0.0, g * share)


@binary(
    np.maximum,
    lambda g, a, b: _win(g, a, b),
    lambda g, a, b: _win(g, b, a),
    _apart,
    analytic=False,
    kink="halves at a tie",
)
def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise larger operand; a tie shares the gradient equally."""


@binary(
    np.minimum,
    lambda g, a, b: _win(g, b, a),
    lambda g, a, b: _win(g, a, b),
    _apart,
    analytic=False,
    kink="halves at a tie",
)
def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise smaller operand; a tie shares the gradient equally."""


publish(globals())
