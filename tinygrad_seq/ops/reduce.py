"""Reductions and running sums along axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import flag, number
from tinygrad_seq.engine.op import Op
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops.domains import DISTINCT, NONZERO, REAL, Draw, reduction
from tinygrad_seq.ops.elementwise import square, subtract
from tinygrad_seq.ops.registry import FloatOp, Moving, axis_of, constant, record, register, shape_of
from tinygrad_seq.ops.shape import reshape, transpose
from tinygrad_seq.ops.transcendental import direction

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["cumprod", "cumsum", "max", "mean", "min", "norm", "prod", "std", "sum", "var"]

Axis = int | tuple[int, ...] | None


def _keep(g: Any, axis: Axis, keepdims: bool, ndim: int) -> Any:
    """The cotangent of a reduction with its reduced axes put back, of size 1."""
    if keepdims:
        return g
    if axis is None:
        return np.reshape(g, (1,) * ndim)
    axes = axis if isinstance(axis, tuple) else (axis,)
    return np.expand_dims(g, tuple(a % ndim for a in axes)) if ndim else g


def _sum_rule(g: Any, shape: Any, axis: Axis, keepdims: bool) -> Any:
    return np.broadcast_to(_keep(g, axis, keepdims, len(shape)), shape)


def _mean_rule(g: Any, shape: Any, axis: Axis, keepdims: bool) -> Any:
    count = np.prod(shape, dtype=int) / np.maximum(np.prod(g.shape, dtype=int), 1)
    return np.broadcast_to(_keep(g / float(count), axis, keepdims, len(shape)), shape)


def _extreme_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """Entries that tie for the extreme share the cotangent equally."""
    values = constant(x)
    ndim = values.ndim
    hit = (values == _keep(constant(out), axis, keepdims, ndim)).astype(g.dtype)
    hit /= np.sum(hit, axis=axis, keepdims=True)
    return np.where(hit == 0, 0.0, _keep(g, axis, keepdims, ndim) * hit)


def _cumsum_rule(g: Any, axis: int) -> Any:
    return np.flip(np.cumsum(np.flip(g, axis), axis=axis), axis)


def _cumsum_sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    x = draw.array(draw.shape(1), REAL)
    return (x,), {"axis": draw.integer(-x.ndim, x.ndim - 1)}


SUM = register(Moving("sum", np.sum, "x", [_sum_rule], sample=reduction()))


def _mean(x: Any, axis: Axis, keepdims: bool) -> Any:
    total = np.sum(x, axis=axis, keepdims=keepdims)
    if not x.size and total.size:
        raise ShapeError("mean: nothing to average", expected="an entry or more", got=x.shape)
    return total / (x.size // total.size if total.size else 1)


MEAN = register(FloatOp("mean", _mean, "x", [_mean_rule], sample=reduction(), moves=True))
MAX = register(
    Op(
        "max",
        np.max,
        "x",
        [_extreme_rule],
        sample=reduction(DISTINCT),
        analytic=False,
        kink="shared at a tie",
    )
)
MIN = register(
    Op(
        "min",
        np.min,
        "x",
        [_extreme_rule],
        sample=reduction(DISTINCT),
        analytic=False,
        kink="shared at a tie",
    )
)
CUMSUM = register(Moving("cumsum", np.cumsum, "x", [_cumsum_rule], sample=_cumsum_sample))


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


CUMPROD = register(Op("cumprod", np.cumprod, "x", [_cumprod_rule], sample=_cumsum_sample))
PROD = register(
    Op(
        "prod",
        lambda x: np.prod(x, axis=0),
        "x",
        [_prod_rule],
        sample=lambda draw: ((draw.array(draw.shape(1)),), {}),
    )
)


def _norm(x: Any, axis: Axis, keepdims: bool) -> Any:
    """Root of the sum of squares, scaled so that squares neither overflow nor vanish."""
    top = np.max(np.abs(x.real), axis=axis, keepdims=True, initial=0.0)
    top = np.where(np.isfinite(top) & (top != 0), top, 1).astype(top.dtype)
    scaled = x / top
    root = np.sqrt(np.sum(scaled * scaled, axis=axis, keepdims=keepdims))
    return root * top.reshape(root.shape)


def _norm_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """The direction of x; 0 at the origin, as PyTorch has it."""
    ndim = len(x.shape)
    return _keep(g, axis, keepdims, ndim) * direction(x, _keep(out, axis, keepdims, ndim))


NORM = register(
    FloatOp("norm", _norm, "x", [_norm_rule], sample=reduction(NONZERO), kink="0 at the origin")
)


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Sum over one, several or all axes."""
    return record(SUM, (x,), {"axis": axis, "keepdims": keepdims})


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over one, several or all axes."""
    return record(MEAN, (x,), {"axis": axis, "keepdims": keepdims})


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Largest entry; ties share the gradient equally."""
    return record(MAX, (x,), {"axis": axis, "keepdims": keepdims})


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Smallest entry; ties share the gradient equally."""
    return record(MIN, (x,), {"axis": axis, "keepdims": keepdims})


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
    ndim = len(shape)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    entries = math.prod(shape[axis_of(a, ndim, name)] for a in axes)
    if entries - ddof <= 0:
        raise ConfigError(
            f"{name}: nothing is left to divide by",
            expected="more entries along the axes than ddof",
            got=f"{entries} entries, ddof={ddof}",
            hint="ddof=0",
        )
    return float(entries - ddof)


def cumsum(x: TensorLike, axis: int) -> Tensor:
    """Running sum along an axis."""
    return record(CUMSUM, (x,), {"axis": axis})


def prod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Product over one, several or all axes; its gradient is right at zeros too."""
    shape = shape_of(x)
    ndim, keep = len(shape), flag("prod: keepdims", keepdims)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = sorted({axis_of(a, ndim, "prod") for a in axes})
    if len(gone) != len(axes):
        raise ShapeError("prod: axis", expected="each axis once", got=axis)
    rest = [a for a in range(ndim) if a not in gone]
    factors: Any = transpose(x, (*gone, *rest))
    factors = reshape(factors, (math.prod(shape[a] for a in gone), *[shape[a] for a in rest]))
    kept = tuple(1 if a in gone else shape[a] for a in range(ndim))
    return reshape(record(PROD, (factors,), {}), kept if keep else tuple(shape[a] for a in rest))


def cumprod(x: TensorLike, axis: int | None = None) -> Tensor:
    """Running product along an axis (of the flattened tensor without one), right at zeros too."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    return record(CUMPROD, (x,), {"axis": axis_of(axis, len(shape_of(x)), "cumprod")})


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
    return record(NORM, (x,), {"axis": axis, "keepdims": keepdims})
