"""Attention as operations: the softmax that leaves entries out, and scaled dot products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import truths_of
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.ops.domains import Draw
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.nonlinear import softmax
from tinygrad_seq.ops.registry import (
    FloatOp,
    floats_of,
    record,
    register,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.shape import swapaxes

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["masked_softmax", "scaled_dot_product_attention"]


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


def _masked_sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.array(draw.shape(1))
    picks = [draw.choice([True, True, False]) for _ in range(x.size)]
    mask = np.array(picks, bool).reshape(x.shape)
    return (x,), {"mask": mask, "axis": draw.integer(-x.ndim, x.ndim - 1)}


MASKED_SOFTMAX = register(
    FloatOp(
        "masked_softmax",
        _masked_softmax,
        "x",
        [_masked_softmax_rule],
        sample=_masked_sample,
        unread=lambda index, mask, axis: ~mask,
    )
)


def masked_softmax(x: TensorLike, mask: Any, axis: int = -1) -> Tensor:
    """Softmax over the entries where `mask` holds; the others get exactly 0, and no gradient.

    Where nothing holds along the axis, the result is 0 and so is the gradient: no NaN. Values
    that are left out are never read, so they may be infinite or NaN.

    Parameters
    ----------
    x : Tensor
        Scores.
    mask : booleans of the shape of x
        True for what takes part.
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
    weights = softmax(scores) if mask is None else masked_softmax(scores, mask)
    return matmul(weights, value), weights.tag("weights")
