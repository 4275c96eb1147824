"""Normalised exponentials along an axis, also masked, and the attention that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import truths_of
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.kernels import numeric
from tinygrad_seq.ops import samples
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.registry import (
    constant,
    floating,
    floats_of,
    publish,
    record,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.shape import reshape, swapaxes

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


def _softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - numeric.largest(x, axis))
    e /= np.sum(e, axis=axis, keepdims=True)
    return e


SOFTMAX = floating(
    "softmax",
    _softmax,
    "x",
    [lambda g, out, axis: out * (g - np.sum(g * out, axis=axis, keepdims=True))],
    sample=samples.along_axis,
)


def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Normalised exponentials e**x_k / sum_j e**x_j along an axis, shifted by the largest entry."""
    return record(SOFTMAX, (x,), {"axis": axis})


LOG_SOFTMAX = floating(
    "log_softmax",
    numeric.log_softmax,
    "x",
    [lambda g, out, axis: g - np.exp(out) * np.sum(g, axis=axis, keepdims=True)],
    sample=samples.along_axis,
)


def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """Logarithm of :func:`softmax`, computed without taking the logarithm of a small number."""
    return record(LOG_SOFTMAX, (x,), {"axis": axis})


def _logsumexp(x: Any, axis: int) -> Any:
    top = numeric.largest(x, axis)
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
    e = np.exp(x - numeric.largest(values, axis))
    total = np.sum(e, axis=axis, keepdims=True)
    return np.expand_dims(g, axis) * (e / np.where(constant(total) == 0, 1, total))


LOGSUMEXP = floating("logsumexp", _logsumexp, "x", [_logsumexp_rule], sample=samples.along_axis)


def logsumexp(x: TensorLike, axis: int | None = -1) -> Tensor:
    """Logarithm of the sum of exponentials along an axis (of all for None), without overflow."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return record(LOGSUMEXP, (x,), {"axis": axis})


def _masked_softmax(x: Any, mask: Any, axis: int) -> Any:
    top = np.max(np.where(mask, x.real, -np.inf), axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(x.real.dtype)
    e = np.where(mask, np.exp(np.where(mask, x - top, 0)), 0).astype(x.dtype)
    total = np.sum(e, axis=axis, keepdims=True)
    e /= np.where(total == 0, 1, total)
    return e


def _masked_softmax_rule(g: Any, out: Any, mask: Any, axis: int) -> Any:
    g = np.where(mask, g, 0.0)  # what was left out may hold anything, also in its cotangent
    return out * (g - np.sum(g * out, axis=axis, keepdims=True))


def _masked_sample(draw: samples.Draw) -> samples.Sampled:
    x = draw.array(draw.shape(1))
    picks = [draw.choice([True, True, False]) for _ in range(x.size)]
    mask = np.array(picks, bool).reshape(x.shape)
    return (x,), {"mask": mask, "axis": draw.integer(-x.ndim, x.ndim - 1)}


MASKED_SOFTMAX = floating(
    "masked_softmax",
    _masked_softmax,
    "x",
    [_masked_softmax_rule],
    sample=_masked_sample,
    unread=lambda index, mask, axis: ~mask,
)


def masked_softmax(x: TensorLike, mask: Any, axis: int = -1) -> Tensor:
    """Softmax over the entries where `mask` holds; the others get exactly 0, and no gradient.

    Where nothing holds along the axis, the result is 0 and so is the gradient: no NaN. Values
    that are left out are never read, so they may be infinite or NaN.

    Parameters
    ----------
    x : Tensor
        Scores.
    mask : booleans of the shape of x, or None
        True for what takes part; None for all, which is :func:`softmax`.
    axis : int
        Along which the weights sum to 1 (or to 0).

    Raises
    ------
    ShapeError
        If the shapes differ. Broadcasting is not done here: a (N, S) mask that silently
        stretched over queries would hide the wrong entries. Use ``np.broadcast_to``.
    DtypeError
        If the mask is not boolean.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> scores = tgs.tensor([[0.0, 0.0, 9.0], [1.0, 2.0, 3.0]])
    >>> tgs.masked_softmax(scores, np.array([[True, True, False], [False] * 3])).numpy()
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], dtype=float32)
    """
    if mask is None:
        return softmax(x, axis)
    array = truths_of("masked_softmax: mask", values_of(mask))
    if array.shape != shape_of(x):
        raise ShapeError(
            "masked_softmax: mask",
            expected=f"the shape of the scores, {shape_of(x)}",
            got=array.shape,
            hint="stretch it on purpose: np.broadcast_to(mask[:, None], scores.shape)",
        )
    return record(MASKED_SOFTMAX, (x,), {"mask": array.copy(), "axis": axis})


def scaled_dot_product_attention(
    query: TensorLike, key: TensorLike, value: TensorLike, mask: Any = None
) -> tuple[Tensor, Tensor]:
    """``softmax(Q K^T / sqrt(D)) V`` and the weights (Vaswani et al., 2017).

    Parameters
    ----------
    query : (..., T, D)
    key : (..., S, D)
    value : (..., S, E)
    mask : (..., T, S) booleans, optional
        True for what may be attended to.

    Returns
    -------
    context : Tensor (..., T, E)
    weights : Tensor (..., T, S)

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> q, k = np.ones((2, 5, 8), np.float32), np.ones((2, 7, 8), np.float32)
    >>> context, weights = tgs.scaled_dot_product_attention(q, k, k)
    >>> context.shape, weights.shape
    ((2, 5, 8), (2, 5, 7))
    """
    query, key, value = floats_of("scaled_dot_product_attention", query, key, value)
    scores = matmul(query, swapaxes(key, -1, -2)) * float(1 / np.sqrt(shape_of(query)[-1]))
    weights = masked_softmax(scores, mask)
    return matmul(weights, value), weights.tag("weights")


publish(globals())
