"""NumPy's choices, products and reductions under its own arguments, composed from operations.

Nothing here has a gradient rule: each is written with the operations of its neighbours. The first
line of a docstring stands in the table of operations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import number
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError, shown
from tinygrad_seq.ops import arrange, elementwise, indexing, linalg, reduce, shape
from tinygrad_seq.ops.numpy_shapes import ravel
from tinygrad_seq.ops.registry import axis_of, constant, floats_of, shape_of

__all__ = [
    "average",
    "clip",
    "convolve",
    "correlate",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "dot",
    "fabs",
    "float_power",
    "inner",
    "kron",
    "matrix_norm",
    "matrix_trace",
    "matvec",
    "multi_dot",
    "norm",
    "ptp",
    "scaled_by",
    "select",
    "vdot",
    "vecdot",
    "vecdot_along",
    "vecmat",
    "vector_norm",
    "where",
]


def scaled_by(factor: float) -> Callable[[Any], Any]:
    """Multiplication by a constant."""

    def scale(x: Any) -> Any:
        return elementwise.multiply(x, factor)

    scale.__doc__ = f"Multiplied by {factor:.4g}."
    return scale


def float_power(x1: Any, x2: Any) -> Any:
    """`tgs.power`; of integers alone in float64."""
    return elementwise.power(*floats_of("np.float_power", x1, x2))


def fabs(x: Any) -> Any:
    """`tgs.absolute`; of integers in float64."""
    return elementwise.absolute(*floats_of("np.fabs", x))


# -- choosing and limiting -------------------------------------------------------------------------


def where(condition: Any, *branches: Any) -> Any:
    """One of two values by a constant condition; positions, if no values are given."""
    held = constant(condition) if isinstance(condition, Variable) else condition
    return elementwise.where(held, *branches) if branches else np.where(held)


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    """The first choice whose condition holds, by `np.where`."""
    if len(condlist) != len(choicelist):
        raise ConfigError(
            "np.select: choices",
            expected=f"one for each condition, {len(condlist)}",
            got=len(choicelist),
        )
    found = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = elementwise.where(condition, choice, found)
    return found


def clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    """`tgs.clip(x, low, high)`; the gradient is 1 inside the bounds, 0 outside."""
    return elementwise.clip(a, bounds.get("min", a_min), bounds.get("max", a_max))


# -- products --------------------------------------------------------------------------------------


def dot(a: Any, b: Any) -> Any:
    """Last axis of `a` with the last but one of `b`; a number multiplies."""
    if shape_of(a) == () or shape_of(b) == ():
        return elementwise.multiply(a, b)
    if len(shape_of(b)) > 2:  # where NumPy's dot and matmul differ
        return arrange.tensordot(a, b, (-1, -2))
    return linalg.matmul(a, b)


def inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axes."""
    if shape_of(a) == () or shape_of(b) == ():
        return elementwise.multiply(a, b)
    return arrange.tensordot(a, b, (-1, -1))


def vdot(a: Any, b: Any) -> Any:
    """Sum of products of the flattened operands."""
    return linalg.matmul(ravel(a), ravel(b))


def vecdot(x1: Any, x2: Any) -> Any:
    """Sum of products along the last axis, broadcasting the others."""
    return vecdot_along(x1, x2)


def vecdot_along(x1: Any, x2: Any, axis: int = -1) -> Any:
    """Sum of products along one axis, broadcasting the others."""
    left, right = (shape_of(x)[axis_of(axis, len(shape_of(x)), "np.vecdot")] for x in (x1, x2))
    if left != right:  # this axis does not broadcast
        raise ShapeError("np.vecdot: lengths", expected="equal ones", got=f"{left} and {right}")
    return reduce.sum(elementwise.multiply(x1, x2), axis)


def matvec(x1: Any, x2: Any) -> Any:
    """Stacks of matrices times stacks of vectors."""
    return shape.squeeze(linalg.matmul(x1, shape.expand_dims(x2, -1)), -1)


def vecmat(x1: Any, x2: Any) -> Any:
    """Stacks of vectors times stacks of matrices."""
    return shape.squeeze(linalg.matmul(shape.expand_dims(x1, -2), x2), -2)


def multi_dot(arrays: Sequence[Any]) -> Any:
    """Product of several matrices, from left to right."""
    return functools.reduce(linalg.matmul, arrays)


def kron(a: Any, b: Any) -> Any:
    """Kronecker product: a copy of `b` scaled by each entry of `a`."""
    left, right = shape_of(a), shape_of(b)
    ndim = max(len(left), len(right))
    left, right = ((1,) * (ndim - len(s)) + s for s in (left, right))
    pairs = elementwise.multiply(
        shape.reshape(a, tuple(n for size in left for n in (size, 1))),
        shape.reshape(b, tuple(n for size in right for n in (1, size))),
    )
    return shape.reshape(pairs, tuple(m * n for m, n in zip(left, right, strict=True)))


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Sums of products of `v` with every stretch of `a`."""
    long, width = _vectors("np.correlate", a, v)
    if long < width:
        raise ShapeError(
            "np.correlate: the second operand is longer than the first",
            expected="at most its length",
            got=f"{long} and {width}",
            hint="exchange the operands, and reverse the result",
        )
    ends = {"valid": (0, 0), "same": (width // 2, (width - 1) // 2), "full": (width - 1,) * 2}
    if mode not in ends:
        raise ConfigError("np.correlate: mode", expected=", ".join(ends), got=shown(mode))
    wide = arrange.pad(a, ends[mode])
    starts = np.arange(len(wide) - width + 1)
    return linalg.matmul(indexing.getitem(wide, starts[:, None] + np.arange(width)), v)


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of products of one sequence with the other, reversed."""
    long, width = _vectors("np.convolve", a, v)
    if width > long:
        a, v, width = v, a, long
    if mode == "same":  # of an even kernel NumPy keeps the other of the two middles
        start = (width - 1) // 2
        whole = convolve(a, v)
        return indexing.getitem(whole, slice(start, start + max(shape_of(a))))
    return correlate(a, shape.flip(v, 0), mode)


def _vectors(name: str, a: Any, v: Any) -> tuple[int, int]:
    left, right = shape_of(a), shape_of(v)
    if len(left) != 1 or len(right) != 1 or 0 in left + right:
        raise ShapeError(f"{name}: operands", expected="two filled vectors", got=f"{left}, {right}")
    return left[0], right[0]


# -- reductions and running sums -------------------------------------------------------------------


def cumsum(a: Any, axis: int | None = None) -> Any:
    """Running sum along an axis (of the flattened operand without one)."""
    return reduce.cumsum(ravel(a), 0) if axis is None else reduce.cumsum(a, axis)


def cumulative_sum(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    """Running sum along an axis, which may be left out for a vector."""
    return _running("np.cumulative_sum", reduce.cumsum, x, axis, include_initial, 0.0)


def cumulative_prod(x: Any, axis: int | None = None, include_initial: bool = False) -> Any:
    """Running product along an axis, which may be left out for a vector."""
    return _running("np.cumulative_prod", reduce.cumprod, x, axis, include_initial, 1.0)


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
    return arrange.pad(found, width, constant_values=start)


def average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    """Mean, or the mean weighted with `weights` (which get gradients too)."""
    if weights is None:
        return reduce.mean(a, axis)
    whole, given = shape_of(a), shape_of(weights)
    if isinstance(weights, (list, tuple)) or constant(weights).dtype.kind in "iub":
        own = constant(a).dtype  # counts, like numbers in a list, take it
        weights = constant(weights).astype(own if own.kind == "f" else np.float64)
    if given != whole:  # NumPy's rule: one weight for every entry along the axes
        named = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = [axis_of(each, len(whole), "average") for each in named]
        along = tuple(whole[each] for each in axes)
        if not axes or given != along:
            raise ShapeError(
                "np.average on a Tensor: weights",
                expected=f"shape {whole}" + (f", or {along} along axis {axis}" if axes else ""),
                got=given,
            )
        weights = shape.transpose(weights, tuple(int(i) for i in np.argsort(axes)))
        weights = shape.reshape(weights, tuple(n if i in axes else 1 for i, n in enumerate(whole)))
    return reduce.sum(elementwise.multiply(a, weights), axis) / reduce.sum(weights, axis)


def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Largest less smallest entry."""
    return reduce.max(a, axis, keepdims) - reduce.min(a, axis, keepdims)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """Euclidean and Frobenius norms by `tgs.norm`; of vectors also the other orders but 0."""
    ndim = len(shape_of(x)) if axis is None else len(axis) if isinstance(axis, tuple) else 1
    if ord is None or (isinstance(ord, str) and ord == "fro" and ndim == 2):
        return reduce.norm(x, axis=axis, keepdims=keepdims)
    if ndim != 1 or isinstance(ord, str) or number(infinite=True)("np.linalg.norm: ord", ord) == 0:
        raise ConfigError(
            "np.linalg.norm on a Tensor: ord",
            expected="None or 'fro' for matrices; None, 1, 2, inf, -inf or a number but 0 for "
            "vectors",
            got=shown(ord),
        )
    if ord == 2:
        return reduce.norm(x, axis=axis, keepdims=keepdims)
    size = elementwise.absolute(*floats_of("np.linalg.norm", x))
    if ord == np.inf:
        return reduce.max(size, axis, keepdims)
    if ord == -np.inf:
        return reduce.min(size, axis, keepdims)
    if ord == 1:
        return reduce.sum(size, axis, keepdims)
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
    parts = elementwise.where(origin, 1.0, elementwise.divide(size, scale)) ** order
    root = reduce.sum(parts, axis, keepdims) ** (1.0 / order)
    return elementwise.where(origin.reshape(root.shape), 0.0, root * scale.reshape(root.shape))


def vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    """Norm of vectors: the Euclidean one over any axes, the other orders over one."""
    if isinstance(ord, (int, float, np.number)) and ord == 2:
        return reduce.norm(x, axis=axis, keepdims=keepdims)
    if axis is None and not keepdims:
        x, axis = ravel(x), 0
    return norm(x, ord, axis, keepdims)


def matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    """Frobenius norm of the last two axes."""
    return norm(x, ord, (-2, -1), keepdims)


def matrix_trace(x: Any, offset: int = 0) -> Any:
    """Sum over a diagonal of the last two axes."""
    return arrange.trace(x, offset, -2, -1)
