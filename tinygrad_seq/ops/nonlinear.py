"""The nonlinearities of neural networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.kernels.gates import sigmoid as sigmoid_kernel
from tinygrad_seq.ops.domains import NONZERO, Draw, unary
from tinygrad_seq.ops.registry import (
    FloatOp,
    Pointwise,
    PointwiseFloat,
    constant,
    record,
    register,
)
from tinygrad_seq.ops.shape import reshape

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["log_softmax", "logsumexp", "relu", "sigmoid", "softmax", "tanh"]


def _along_axis(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.array(draw.shape(1))
    return (x,), {"axis": draw.integer(-x.ndim, x.ndim - 1)}


def _largest(x: Any, axis: int) -> Any:
    """Largest entry along the axis, by real part (so that complex steps pass through)."""
    top: Any = np.max(x.real, axis=axis, keepdims=True)
    return np.where(np.isfinite(top), top, 0).astype(x.real.dtype)


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - _largest(x, axis))
    e /= np.sum(e, axis=axis, keepdims=True)
    return e


def _log_softmax(x: Any, axis: int) -> Any:
    shifted = x - _largest(x, axis)
    shifted -= np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return shifted


def _logsumexp(x: Any, axis: int) -> Any:
    top = _largest(x, axis)
    with np.errstate(divide="ignore"):  # of -inf alone it is -inf
        total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True))
    return np.squeeze(total + top, axis=axis)


def _logsumexp_rule(g: Any, x: Any, axis: int) -> Any:
    """The cotangent times softmax(x), from x: of large |x| and out the difference has no digits.

    It is 0 where all are -inf, of which none has a part in the sum, and infinite entries share.
    """
    values = constant(x)
    overflown = np.isposinf(np.max(values, axis=axis, keepdims=True))
    if overflown.any():
        x = np.where(overflown, np.where(values == np.inf, 0.0, -np.inf), x)
    e = np.exp(x - _largest(values, axis))
    total = np.sum(e, axis=axis, keepdims=True)
    return np.expand_dims(g, axis) * (e / np.where(constant(total) == 0, 1, total))


TANH = register(
    PointwiseFloat("tanh", np.tanh, "x", [lambda g, out: g * (1 - out * out)], sample=unary())
)
SIGMOID = register(
    PointwiseFloat(
        "sigmoid",
        sigmoid_kernel,
        "x",
        [lambda g, out: g * (out * (1 - out))],
        sample=unary(),
    )
)
RELU = register(
    Pointwise(
        "relu",
        lambda x: np.maximum(x, 0),
        "x",
        # Where out is not positive it is 0, or NaN: so is the gradient.
        [lambda g, out: np.where(constant(out) > 0, g, constant(out))],
        sample=unary(NONZERO),
        analytic=False,
    )
)
SOFTMAX = register(
    FloatOp(
        "softmax",
        _softmax,
        "x",
        [lambda g, out, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True))],
        sample=_along_axis,
    )
)
LOG_SOFTMAX = register(
    FloatOp(
        "log_softmax",
        _log_softmax,
        "x",
        [lambda g, out, axis: g - np.exp(out) * np.sum(g, axis=axis, keepdims=True)],
        sample=_along_axis,
    )
)
LOGSUMEXP = register(
    FloatOp(
        "logsumexp",
        _logsumexp,
        "x",
        [_logsumexp_rule],
        sample=_along_axis,
    )
)


def tanh(x: TensorLike) -> Tensor:
    """Elementwise hyperbolic tangent."""
    return record(TANH, (x,), {})


def sigmoid(x: TensorLike) -> Tensor:
    """Elementwise logistic function 1 / (1 + e**-x), without overflow."""
    return record(SIGMOID, (x,), {})


def relu(x: TensorLike) -> Tensor:
    """Elementwise max(x, 0); the gradient at 0 is 0."""
    return record(RELU, (x,), {})


def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Normalised exponentials e**x_k / sum_j e**x_j along an axis, shifted by the largest entry."""
    return record(SOFTMAX, (x,), {"axis": axis})


def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Logarithm of :func:`softmax`, computed without taking the logarithm of a small number."""
    return record(LOG_SOFTMAX, (x,), {"axis": axis})


def logsumexp(x: TensorLike, axis: int | None = -1) -> Tensor:
    """Logarithm of the sum of exponentials along an axis (of all for None), without overflow."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return record(LOGSUMEXP, (x,), {"axis": axis})
