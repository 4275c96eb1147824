# mypy: disable-error-code="empty-body"
"""Reductions and running sums along axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import flag, number
from tinygrad_seq.errors import ConfigError, ShapeError, shown
from tinygrad_seq.kernels import numeric
from tinygrad_seq.ops import samples
from tinygrad_seq.ops.indexing import where
from tinygrad_seq.ops.math import absolute, divide, multiply, square, subtract
from tinygrad_seq.ops.rearrange import pad
from tinygrad_seq.ops.registry import (
    axes_of,
    axis_of,
    constant,
    direction,
    floats_of,
    for_numpy,
    kept,
    moving,
    operation,
    publish,
    record,
    reduction,
    shape_of,
)
from tinygrad_seq.ops.samples import DISTINCT, NONZERO
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


def _mean(x: Any, axis: Axis, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, keepdims=keepdims)
    if not x.size and total.size:
        raise ShapeError("mean: nothing to average", expected="an entry or more", got=x.shape)
    return total / (x.size // total.size if total.size else 1)


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
@reduction(np.sum, _sum_rule, moves=True)
def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over one, several or all axes."""


@for_numpy(np.mean)
@reduction(_mean, _mean_rule, floats=True, moves=True)
def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over one, several or all axes."""


@for_numpy(np.max, np.amax)
@reduction(np.max, _extreme_rule, DISTINCT, analytic=False, kink="shared at a tie")
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest entry; ties share the gradient equally."""


@for_numpy(np.min, np.amin)
@reduction(np.min, _extreme_rule, DISTINCT, analytic=False, kink="shared at a tie")
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest entry; ties share the gradient equally."""


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


def _norm_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """The direction of x; 0 at the origin, as PyTorch has it."""
    ndim = len(x.shape)
    return kept(g, axis, keepdims, ndim) * direction(x, kept(out, axis, keepdims, ndim))


@reduction(numeric.norm, _norm_rule, NONZERO, floats=True, kink="0 at the origin")
def norm(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Euclidean norm, the root of the sum of squares, over one, several or all axes.

    Large float32 entries (1e20) do not overflow. The gradient at the origin is 0. For norms of
    another order there is ``np.linalg.norm``.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> tgs.norm(tgs.tensor([3e20, 4e20])).item() == tgs.tensor(5e20).item()
    True
    """


@for_numpy(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """Euclidean and Frobenius norms by `tgs.norm`; of vectors also the other orders but 0."""
    ndim = len(shape_of(x)) if axis is None else len(axis) if isinstance(axis, tuple) else 1
    if ord is None or (isinstance(ord, str) and ord == "fro" and ndim == 2):
        return norm(x, axis=axis, keepdims=keepdims)
    if ndim != 1 or isinstance(ord, str) or number(infinite=True)("np.linalg.norm: ord", ord) == 0:
        raise ConfigError(
            "np.linalg.norm on a Tensor: ord",
            expected="None or 'fro' for matrices; None, 1, 2, inf, -inf or a number but 0 for "
            "vectors",
            got=shown(ord),
        )
    if ord == 2:
        return norm(x, axis=axis, keepdims=keepdims)
    size = absolute(*floats_of("np.linalg.norm", x))
    if ord == np.inf:
        return max(size, axis, keepdims)
    if ord == -np.inf:
        return min(size, axis, keepdims)
    if ord == 1:
        return sum(size, axis, keepdims)
    return _root_of_powers(size, float(ord), axis, keepdims)


def _root_of_powers(size: Any, order: float, axis: Any, keepdims: bool) -> Any:
    """``sum(size ** order) ** (1 / order)``, scaled so that powers neither overflow nor vanish.

    The scale is a constant: the norm does not depend on it. Where it is 0, so are the norm and
    all its derivatives, as at the origin of the Euclidean one.
    """
    values = constant(size)
    if order > 0:
        scale = values.max(axis=axis, keepdims=True, initial=0.0)
    else:
        scale = values.min(axis=axis, keepdims=True, initial=np.inf)
    origin = scale == 0
    scale = np.where(np.isfinite(scale) & ~origin, scale, 1.0).astype(values.dtype)
    parts = where(origin, 1.0, divide(size, scale)) ** order
    root = sum(parts, axis, keepdims) ** (1.0 / order)
    return where(origin.reshape(root.shape), 0.0, root * scale.reshape(root.shape))


@for_numpy(np.linalg.vector_norm)
def _vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    """Norm of vectors: the Euclidean one over any axes, the other orders over one."""
    if isinstance(ord, (int, float, np.number)) and ord == 2:
        return norm(x, axis=axis, keepdims=keepdims)
    if axis is None and not keepdims:
        x, axis = reshape(x, (-1,)), 0
    return _norm(x, ord, axis, keepdims)


@for_numpy(np.linalg.matrix_norm)
def _matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    """Frobenius norm of the last two axes."""
    return _norm(x, ord, (-2, -1), keepdims)


@for_numpy(np.var)
def var(
    x: TensorLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance, the mean squared distance from the mean, with n - ddof in the denominator.

    `correction` is another name of `ddof`. Both are 0 by default, as in NumPy; PyTorch's is 1.

    Raises
    ------
    ConfigError
        If `ddof` leaves nothing to divide by.
    """
    count = _freedom("var", shape_of(x), axis, ddof, correction)
    centred = subtract(x, mean(x, axis, keepdims=True))
    return sum(square(centred), axis, keepdims) / count


@for_numpy(np.std)
def std(
    x: TensorLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation: the square root of :func:`var`.

    Its gradient where all entries are equal is 0: the one direction-free choice among the
    subgradients there, what :func:`norm` does at the origin, and PyTorch's.

    Raises
    ------
    ConfigError
        If `ddof` leaves nothing to divide by.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> x = tgs.tensor([2.0, 2.0, 2.0], requires_grad=True)
    >>> tgs.std(x).backward()
    >>> x.grad
    array([0., 0., 0.], dtype=float32)
    """
    count = _freedom("std", shape_of(x), axis, ddof, correction)
    centred = subtract(x, mean(x, axis, keepdims=True))
    return norm(centred, axis=axis, keepdims=keepdims) / math.sqrt(count)


def _freedom(
    name: str, shape: tuple[int, ...], axis: Axis, ddof: float, correction: float | None
) -> float:
    """How many entries each result is made of, less `ddof`."""
    ddof = number()(f"{name}: ddof", ddof)
    if correction is not None:
        correction = number()(f"{name}: correction", correction)
        if ddof:
            raise ConfigError(
                f"{name}: ddof and correction are two names of one thing",
                expected="one of them",
                got=f"ddof={ddof}, correction={correction}",
                hint="leave ddof out",
            )
        ddof = correction
    entries = math.prod(shape[a] for a in axes_of(axis, len(shape), name))
    if entries - ddof <= 0:
        raise ConfigError(
            f"{name}: nothing is left to divide by",
            expected="more entries along the axes than ddof",
            got=f"{entries} entries, ddof={ddof}",
            hint="ddof=0",
        )
    return float(entries - ddof)


publish(globals())
