"""Elementwise arithmetic. Operands broadcast; the backward walk undoes that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import array_of, converted, dtype_of
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.ops.domains import DISTINCT, NONZERO, POSITIVE, REAL, Draw, binary, unary
from tinygrad_seq.ops.registry import (
    Pointwise,
    PointwiseFloat,
    constant,
    record,
    register,
    values_of,
)

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "absolute",
    "add",
    "astype",
    "clip",
    "cos",
    "divide",
    "exp",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
    "remainder",
    "sin",
    "sqrt",
    "square",
    "subtract",
    "where",
]


def _apart(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Two broadcastable operands whose entries never meet."""
    a, b = draw.broadcastable(2)
    size = int(np.prod(a, dtype=int)), int(np.prod(b, dtype=int))
    values = draw.array((size[0] + size[1],), DISTINCT)
    return (values[: size[0]].reshape(a), values[size[0] :].reshape(b)), {}


def _where_sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    a, b, c = draw.broadcastable(3)
    condition = draw.array(c, REAL) > 0
    return (draw.array(a), draw.array(b)), {"condition": condition}


def _remainder_sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Quotients at least 0.1 away from a whole number."""
    b = draw.array(draw.shape(), NONZERO)
    part = 0.1 + 0.4 * (draw.array(b.shape, POSITIVE) - 0.5)
    return (np.asarray(b * (part + draw.integer(-2, 2))), b), {}


def _clip_sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    low, high = draw.choice([(-0.125, 0.125), (None, 0.125), (-0.125, None)])
    return (draw.array(draw.shape(), NONZERO),), {"low": low, "high": high}


def _win(g: Any, winner: Any, other: Any) -> Any:
    """The cotangent where `winner` wins, half of it at a tie, 0 where it loses, NaN at a NaN."""
    w, o = constant(winner), constant(other)
    lost = w < o
    share = np.where(lost | (w > o), 1.0, np.where(w == o, 0.5, np.nan)).astype(g.dtype)
    return np.where(lost, 0.0, g * share)


def _inside(g: Any, x: Any, low: Any, high: Any) -> Any:
    """The cotangent where clipping changes nothing (bounds included, as PyTorch has it)."""
    values = constant(x)
    kept = values >= (-np.inf if low is None else low)
    kept &= values <= (np.inf if high is None else high)
    unknown = np.isnan(values) | any(bound != bound for bound in (low, high))  # NaN
    return np.where(kept, g, np.where(unknown, np.nan, 0.0).astype(g.dtype))


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


ADD = register(Pointwise("add", np.add, "a b", [lambda g: g, lambda g: g], sample=binary()))
SUBTRACT = register(
    Pointwise("subtract", np.subtract, "a b", [lambda g: g, lambda g: -g], sample=binary())
)
MULTIPLY = register(
    Pointwise(
        "multiply",
        np.multiply,
        "a b",
        [lambda g, b: g * b, lambda g, a: g * a],
        sample=binary(),
        product=True,
    )
)
DIVIDE = register(
    PointwiseFloat(
        "divide",
        np.true_divide,
        "a b",
        [lambda g, b: g / b, lambda g, b, out: -g * out / b],
        sample=binary(REAL, NONZERO),
    )
)
REMAINDER = register(
    Pointwise(
        "remainder",
        np.remainder,
        "a b",
        [lambda g: g, lambda g, a, b: -g * np.floor(a / b)],
        sample=_remainder_sample,
        analytic=False,
        kink="the slope to the right of a jump",
    )
)
POWER = register(
    Pointwise(
        "power",
        np.power,
        "a b",
        [_power_rule, _exponent_rule],
        sample=binary(POSITIVE, REAL),
        kink="0 to both at 0 ** 0, 0 to b at a = 0",
    )
)
NEGATIVE = register(Pointwise("negative", np.negative, "x", [lambda g: -g], sample=unary()))
SQUARE = register(Pointwise("square", np.square, "x", [lambda g, x: g * (2 * x)], sample=unary()))
SQRT = register(
    PointwiseFloat("sqrt", np.sqrt, "x", [lambda g, out: g / (2 * out)], sample=unary(POSITIVE))
)
EXP = register(PointwiseFloat("exp", np.exp, "x", [lambda g, out: g * out], sample=unary()))
LOG = register(PointwiseFloat("log", np.log, "x", [lambda g, x: g / x], sample=unary(POSITIVE)))
LOG1P = register(
    PointwiseFloat("log1p", np.log1p, "x", [lambda g, x: g / (1 + x)], sample=unary(POSITIVE))
)
SIN = register(PointwiseFloat("sin", np.sin, "x", [lambda g, x: g * np.cos(x)], sample=unary()))
COS = register(PointwiseFloat("cos", np.cos, "x", [lambda g, x: -g * np.sin(x)], sample=unary()))
ABSOLUTE = register(
    Pointwise(
        "absolute",
        np.abs,
        "x",
        [lambda g, x: np.where(constant(x) == 0, 0.0, g * np.sign(x))],
        sample=unary(NONZERO),
        analytic=False,
        kink="0 at 0",
    )
)
MAXIMUM = register(
    Pointwise(
        "maximum",
        np.maximum,
        "a b",
        [lambda g, a, b: _win(g, a, b), lambda g, a, b: _win(g, b, a)],
        sample=_apart,
        analytic=False,
        kink="halves at a tie",
    )
)
MINIMUM = register(
    Pointwise(
        "minimum",
        np.minimum,
        "a b",
        [lambda g, a, b: _win(g, b, a), lambda g, a, b: _win(g, a, b)],
        sample=_apart,
        analytic=False,
        kink="halves at a tie",
    )
)
WHERE = register(
    Pointwise(
        "where",
        lambda a, b, condition: np.where(condition, a, b),
        "a b",
        [
            lambda g, condition: np.where(condition, g, 0.0),
            lambda g, condition: np.where(condition, 0.0, g),
        ],
        sample=_where_sample,
        unread=lambda index, condition: condition if index else ~condition,
    )
)
CLIP = register(
    Pointwise(
        "clip",
        lambda x, low, high: np.clip(x, low, high),
        "x",
        [_inside],
        sample=_clip_sample,
        analytic=False,
        kink="1 at a bound",
    )
)


# Not in the registry, whose operations all keep the dtype: this one is there to change it. The
# backward walk itself brings a cotangent back to the dtype of x.
ASTYPE = Op(
    "astype",
    lambda x, dtype: converted("astype", x, dtype),
    "x",
    [lambda g: g],
    analytic=False,
    pointwise=True,
)


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a + b."""
    return record(ADD, (a, b), {})


def subtract(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a - b."""
    return record(SUBTRACT, (a, b), {})


def multiply(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise (Hadamard) product."""
    return record(MULTIPLY, (a, b), {})


def divide(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a / b."""
    return record(DIVIDE, (a, b), {})


def remainder(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a - b * floor(a / b), of the sign of b; where it jumps, the slope beside."""
    return record(REMAINDER, (a, b), {})


def power(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise a ** b. A tracked exponent needs a positive base."""
    return record(POWER, (a, b), {})


def astype(x: TensorLike, dtype: Any) -> Tensor:
    """Convert to another floating dtype; the gradient comes back in the dtype of x."""
    return record(ASTYPE, (x,), {"dtype": dtype_of("astype", dtype)})


def negative(x: TensorLike) -> Tensor:
    """Elementwise -x."""
    return record(NEGATIVE, (x,), {})


def square(x: TensorLike) -> Tensor:
    """Elementwise x**2."""
    return record(SQUARE, (x,), {})


def sqrt(x: TensorLike) -> Tensor:
    """Elementwise square root; its gradient at 0 is infinite."""
    return record(SQRT, (x,), {})


def exp(x: TensorLike) -> Tensor:
    """Elementwise e**x."""
    return record(EXP, (x,), {})


def log(x: TensorLike) -> Tensor:
    """Elementwise natural logarithm."""
    return record(LOG, (x,), {})


def log1p(x: TensorLike) -> Tensor:
    """Elementwise log(1 + x), accurate near 0."""
    return record(LOG1P, (x,), {})


def sin(x: TensorLike) -> Tensor:
    """Elementwise sine, x in radians."""
    return record(SIN, (x,), {})


def cos(x: TensorLike) -> Tensor:
    """Elementwise cosine, x in radians."""
    return record(COS, (x,), {})


def absolute(x: TensorLike) -> Tensor:
    """Elementwise absolute value; the gradient at 0 is 0."""
    return record(ABSOLUTE, (x,), {})


def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise larger operand; a tie shares the gradient equally."""
    return record(MAXIMUM, (a, b), {})


def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """Elementwise smaller operand; a tie shares the gradient equally."""
    return record(MINIMUM, (a, b), {})


def where(condition: Array, a: TensorLike, b: TensorLike) -> Tensor:
    """Take from `a` where `condition` (a constant) holds, from `b` elsewhere.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> tgs.where(np.array([True, False]), tgs.tensor([1.0, 2.0]), 0.0).numpy()
    array([1., 0.], dtype=float32)
    """
    held = np.array(array_of("where: condition", condition), dtype=bool)
    return record(WHERE, (a, b), {"condition": held})


def clip(x: TensorLike, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
    """Limit x to [low, high]; the gradient is 1 inside (bounds included) and 0 outside.

    A bound that is an array or a tensor takes part in broadcasting, and gets gradients where it
    holds; a tie shares them, as in :func:`maximum`.
    """
    bounds = {}
    for name, bound in (("low", low), ("high", high)):
        number = bound is None or array_of("clip: bound", values_of(bound)).ndim == 0
        if not number or (isinstance(bound, Variable) and bound.requires_grad):
            floor = x if low is None else maximum(x, low)
            return cast("Tensor", floor if high is None else minimum(floor, high))
        bounds[name] = None if bound is None else np.asarray(values_of(bound)).item()
    return record(CLIP, (x,), bounds)
