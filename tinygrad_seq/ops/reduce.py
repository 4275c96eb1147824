"""Reductions and running sums along axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import flag
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops import samples
from tinygrad_seq.ops.math import multiply
from tinygrad_seq.ops.rearrange import pad
from tinygrad_seq.ops.registry import (
    axes_of,
    axis_of,
    constant,
    floating,
    for_numpy,
    kept,
    moving,
    operation,
    publish,
    record,
    shape_of,
)
from tinygrad_seq.ops.samples import DISTINCT, reduction
from tinygrad_seq.ops.shape import reshape, transpose

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

Axis = int | tuple[int, ...] | None


def _sum_rule(g: Any, shape: Any, axis: Axis, keepdims: bool) -> Any:
    return np.broadcast_to(kept(g, axis, keepdims, len(shape)), shape)


def _mean_rule(g: Any, shape: Any, axis: Axis, keepdims: bool) -> Any:
    count = np.prod(shape, dtype=int) / np.maximum(np.prod(g.shape, dtype=int), 1)
    return np.broadcast_to(kept(g / float(count), axis, keepdims, len(shape)), shape)


def _extreme_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """Entries that tie for the extreme share the cotangent equally."""
    values = constant(x)
    ndim = values.ndim
    hit = (values == kept(constant(out), axis, keepdims, ndim)).astype(g.dtype)
    hit /= np.sum(hit, axis=axis, keepdims=True)
    return np.where(hit == 0, 0.0, kept(g, axis, keepdims, ndim) * hit)


def _cumsum_rule(g: Any, axis: int) -> Any:
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


SUM = moving("sum", np.sum, "x", [_sum_rule], sample=reduction())


def _mean(x: Any, axis: Axis, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, keepdims=keepdims)
    if not x.size and total.size:
        raise ShapeError("mean: nothing to average", expected="an entry or more", got=x.shape)
    return total / (x.size // total.size if total.size else 1)


MEAN = floating("mean", _mean, "x", [_mean_rule], sample=reduction(), moves=True)
MAX = operation(
    "max",
    np.max,
    "x",
    [_extreme_rule],
    sample=reduction(DISTINCT),
    analytic=False,
    kink="shared at a tie",
)
MIN = operation(
    "min",
    np.min,
    "x",
    [_extreme_rule],
    sample=reduction(DISTINCT),
    analytic=False,
    kink="shared at a tie",
)
CUMSUM = moving("cumsum", np.cumsum, "x", [_cumsum_rule], sample=samples.along_axis)


def _cumprod_rule(g: Any, x: Any, out: Any, axis: int) -> Any:
    """What came before, times d_k = g_k + x_{k+1} d_{k+1}: no division by an entry."""
    if not g.shape[axis]:
        return g
    g, x, out = (np.moveaxis(each, axis, 0) for each in (g, x, out))
    after = [g[-1]]
    for k in range(len(g) - 2, -1, -1):
        after.append(g[k] + x[k + 1] * after[-1])
    before = np.concatenate([np.ones_like(out[:1]), out[:-1]])
    return np.moveaxis(before * np.stack(after[::-1]), 0, axis)


def _prod_rule(g: Any, x: Any, out: Any) -> Any:
    """Products of all other entries along the first axis, right at zeros too.

    Where a part of them underflows and another overflows, the result by the entry.
    """
    one = np.ones_like(x[:1])
    before = np.concatenate([one, np.cumprod(x, 0)[:-1]])
    after = np.concatenate([np.flip(np.cumprod(np.flip(x, 0), 0), 0)[1:], one])
    low, high = np.abs(constant(before)), np.abs(constant(after))
    lost = ((low == 0) & np.isinf(high)) | ((high == 0) & np.isinf(low))
    if lost.any():
        before = np.where(lost, out, before)
        after = np.where(lost, 1 / np.where(lost, x, 1), after)
    return g * (before * after)


CUMPROD = operation("cumprod", np.cumprod, "x", [_cumprod_rule], sample=samples.along_axis)
PROD = operation(
    "prod",
    lambda x: np.prod(x, axis=0),
    "x",
    [_prod_rule],
    sample=lambda draw: ((draw.array(draw.shape(1)),), {}),
)


@for_numpy(np.sum)
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over one, several or all axes."""
    return record(SUM, (x,), {"axis": axis, "keepdims": keepdims})


@for_numpy(np.mean)
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over one, several or all axes."""
    return record(MEAN, (x,), {"axis": axis, "keepdims": keepdims})


@for_numpy(np.max, np.amax)
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest entry; ties share the gradient equally."""
    return record(MAX, (x,), {"axis": axis, "keepdims": keepdims})


@for_numpy(np.min, np.amin)
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest entry; ties share the gradient equally."""
    return record(MIN, (x,), {"axis": axis, "keepdims": keepdims})


@for_numpy(np.cumsum)
def cumsum(x: TensorLike, axis: int | None = None) -> Tensor:
    """Running sum along an axis (of the flattened tensor without one)."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return record(CUMSUM, (x,), {"axis": axis})


@for_numpy(np.prod)
def prod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Product over one, several or all axes; its gradient is right at zeros too."""
    shape = shape_of(x)
    ndim, keep = len(shape), flag("prod: keepdims", keepdims)
    gone = sorted(axes_of(axis, ndim, "prod"))
    rest = [a for a in range(ndim) if a not in gone]
    factors: Any = transpose(x, (*gone, *rest))
    factors = reshape(factors, (math.prod(shape[a] for a in gone), *[shape[a] for a in rest]))
    kept = tuple(1 if a in gone else shape[a] for a in range(ndim))
    return reshape(record(PROD, (factors,), {}), kept if keep else tuple(shape[a] for a in rest))


@for_numpy(np.cumprod)
def cumprod(x: TensorLike, axis: int | None = None) -> Tensor:
    """Running product along an axis (of the flattened tensor without one), right at zeros too."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return record(CUMPROD, (x,), {"axis": axis_of(axis, len(shape_of(x)), "cumprod")})


@for_numpy("cumulative_sum")
def _cumulative_sum(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    """Running sum along an axis, which may be left out for a vector."""
    return _running("np.cumulative_sum", cumsum, x, axis, include_initial, 0.0)


@for_numpy("cumulative_prod")
def _cumulative_prod(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    """Running product along an axis, which may be left out for a vector."""
    return _running("np.cumulative_prod", cumprod, x, axis, include_initial, 1.0)


def _running(name: str, run: Any, x: Any, axis: Any, initial: bool, start: float) -> Any:
    ndim = len(shape_of(x))
    if axis is None and ndim != 1:
        raise ConfigError(f"{name}: axis", expected="one axis", got=f"None for {ndim} axes")
    place = axis_of(0 if axis is None else axis, ndim, name)
    found = run(x, place)
    if not initial:
        return found
    width = [(0, 0)] * ndim
    width[place] = (1, 0)
    return pad(found, width, constant_values=start)


@for_numpy(np.average)
def _average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    """Mean, or the mean weighted with `weights` (which get gradients too)."""
    if weights is None:
        return mean(a, axis)
    whole, given = shape_of(a), shape_of(weights)
    if isinstance(weights, (list, tuple)) or constant(weights).dtype.kind in "iub":
        own = constant(a).dtype  # counts, like numbers in a list, take it
        weights = constant(weights).astype(own if own.kind == "f" else np.float64)
    if given != whole:  # NumPy's rule: one weight for every entry along the axes
        axes = () if axis is None else axes_of(axis, len(whole), "average")
        along = tuple(whole[each] for each in axes)
        if not axes or given != along:
            raise ShapeError(
                "np.average on a Tensor: weights",
                expected=f"shape {whole}" + (f", or {along} along axis {axis}" if axes else ""),
                got=given,
            )
        weights = transpose(weights, tuple(int(i) for i in np.argsort(axes)))
        weights = reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(whole)))
    return sum(multiply(a, weights), axis) / sum(weights, axis)


@for_numpy(np.ptp)
def _ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest less smallest entry."""
    return max(a, axis, keepdims) - min(a, axis, keepdims)


publish(globals())
