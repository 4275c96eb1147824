"""Losses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import array_of, choice, index_of
from tinygrad_seq.engine.mode import scope
from tinygrad_seq.errors import DtypeError, ShapeError
from tinygrad_seq.ops import reduce
from tinygrad_seq.ops.attention import log_softmax
from tinygrad_seq.ops.indexing import take_along_axis, where
from tinygrad_seq.ops.join import stack
from tinygrad_seq.ops.math import subtract
from tinygrad_seq.ops.registry import (
    check_indices,
    floating,
    floats_of,
    publish,
    record,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import Draw, Sampled
from tinygrad_seq.ops.shape import reshape, squeeze
from tinygrad_seq.timeline.steps import time_steps

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor, TensorLike

_REDUCTIONS = ("mean", "sum", "none")
_reduction = choice(*_REDUCTIONS)


def _weights(targets: Array, ignore_index: int, reduction: str, dtype: Any) -> Any:
    """What each position's loss counts for: 0 if ignored, 1 / count under ``"mean"``."""
    kept = (targets != ignore_index).astype(dtype)
    return kept / max(kept.sum(), 1) if reduction == "mean" else kept


def _cross_entropy(
    logits: Any, targets: Array, ignore_index: int, reduction: str, keep: bool = False
) -> tuple[Any, Any]:
    rows = logits.reshape(targets.size, logits.shape[-1])
    weights = _weights(targets, ignore_index, reduction, logits.real.dtype).reshape(-1)
    ignored = targets == ignore_index
    if ignored.any():  # whatever stands there, a NaN too, counts for nothing
        rows = np.where(ignored.reshape(-1, 1), 0, rows).astype(rows.dtype)
    picks = np.where(ignored, 0, targets).reshape(-1)
    top = rows.real.max(axis=1, keepdims=True)
    shifted = rows - top
    exponentials = np.exp(shifted)
    totals = exponentials.sum(axis=1)
    losses = (np.log(totals) - shifted[np.arange(len(picks)), picks]) * weights
    residuals = None
    if keep:  # d loss / d logits = softmax - onehot, weighted
        exponentials *= (weights / totals)[:, None]
        exponentials[np.arange(len(picks)), picks] -= weights
        residuals = exponentials.reshape(logits.shape)
    if reduction == "none":
        return losses.reshape(targets.shape), residuals
    return np.asarray(losses.sum()), residuals


def _cross_entropy_rule(g: Any, residuals: Any, reduction: str) -> tuple[Any]:
    return (residuals * (g[..., None] if reduction == "none" else g),)


def _cross_entropy_twin(
    logits: Tensor, targets: Array, ignore_index: int, reduction: str
) -> Tensor:
    """From single operations; sequences step by step, so that each L_t is a node.

    A mean is the mean over t of what L_t is then: that of step t, where no position is ignored.
    """
    found = time_steps(logits)
    weights = _weights(targets, ignore_index, reduction, logits.dtype)
    ignored = targets == ignore_index
    if ignored.any():
        logits = where(ignored[..., None], 0.0, logits)
    picks = np.where(ignored, 0, targets)
    if targets.ndim != 2 or found is None or reduction == "none" or not found[1]:
        return _weighted_nll(logits, picks, weights, reduction)
    steps, axis = [], found[0]
    if reduction == "mean":
        weights = weights * len(found[1])
    for t, step in enumerate(found[1]):
        at = t if axis == 0 else (slice(None), t)
        with scope(step=step):
            steps.append(_weighted_nll(logits[at], picks[at], weights[at], reduction))
            steps[-1].tag("loss")
    return reduce.mean(stack(steps)) if reduction == "mean" else reduce.sum(stack(steps))


def _weighted_nll(logits: Tensor, picks: Array, weights: Array, reduction: str) -> Tensor:
    picked = take_along_axis(log_softmax(logits, axis=-1), picks[..., None], axis=logits.ndim - 1)
    losses = -squeeze(picked, -1) * weights
    return losses if reduction == "none" else reduce.sum(losses)


def _cross_entropy_sample(draw: Draw) -> Sampled:
    shape, classes = draw.shape(0, 2), draw.integer(2, 4)
    count = int(np.prod(shape, dtype=int))
    targets = [draw.choice([-100, *range(classes)]) for _ in range(count)]
    return (draw.array((*shape, classes)),), {
        "targets": np.array(targets, int).reshape(shape),
        "ignore_index": -100,
        "reduction": draw.choice(_REDUCTIONS),
    }


CROSS_ENTROPY = floating(
    "cross_entropy",
    _cross_entropy,
    "logits",
    joint=_cross_entropy_rule,
    sample=_cross_entropy_sample,
    twin=_cross_entropy_twin,
    keep=True,
)


def cross_entropy(
    logits: TensorLike, targets: Any, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    r"""Softmax cross-entropy with integer targets, in nats.

    .. math:: L = \frac{1}{M} \sum_m \left( \log \sum_v e^{z_{mv}} - z_{m, y_m} \right)

    Parameters
    ----------
    logits : Tensor (..., V)
        Unnormalised log-probabilities, for instance (T, N, V).
    targets : integer array (...)
        Class of every position, ``0 .. V - 1`` or `ignore_index`.
    ignore_index : int
        Positions with this target count for nothing. If all are ignored the loss is 0.
    reduction : {"mean", "sum", "none"}
        Mean (over the positions that count), sum, or one loss per position.

    Raises
    ------
    ShapeError, DtypeError, IndexRangeError, ConfigError
        For targets of another shape, of a non-integer dtype or out of range, and for an
        unknown reduction.

    Notes
    -----
    Divide by log 2 for bits. Untrained logits of 65 classes cost about log 65 = 4.17 nats.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> round(tgs.cross_entropy(tgs.tensor(np.zeros((2, 65))), [3, 64]).item(), 4)
    4.1744
    """
    shape = shape_of(logits)
    array = array_of("cross_entropy: targets", values_of(targets)).copy()  # the graph keeps it
    if not shape or array.shape != shape[:-1]:
        raise ShapeError(
            "cross_entropy: targets do not match the logits",
            expected=f"targets of shape {shape[:-1]} for logits of shape {shape}",
            got=array.shape,
            hint="classes come last in the logits: (T, N, V) with targets (T, N)",
        )
    _reduction("cross_entropy: reduction", reduction)
    ignore_index = index_of("cross_entropy: ignore_index", ignore_index)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            "cross_entropy: targets",
            expected="an integer dtype",
            got=array.dtype,
            hint="targets are class numbers, not one-hot rows",
        )
    kept = array[array != ignore_index]
    check_indices(kept, shape[-1], "cross_entropy: targets")
    params = {"targets": array, "ignore_index": ignore_index, "reduction": reduction}
    return record(CROSS_ENTROPY, (logits,), params)


def mse_loss(prediction: TensorLike, target: TensorLike, reduction: str = "mean") -> Tensor:
    """Mean (or sum, or each) of the squared differences.

    Raises
    ------
    ShapeError
        If the shapes differ: broadcasting here is nearly always a mistake.
    """
    if shape_of(prediction) != shape_of(target):
        raise ShapeError(
            "mse_loss: shapes differ",
            expected=f"target of shape {shape_of(prediction)}",
            got=shape_of(target),
            hint="reshape one of them; broadcasting is not done here",
        )
    _reduction("mse_loss: reduction", reduction)
    distance = subtract(*floats_of("mse_loss", prediction, target))
    squares = distance * distance
    if reduction == "none":
        return reshape(squares, shape_of(prediction))
    return reduce.mean(squares) if reduction == "mean" else reduce.sum(squares)


publish(globals())
