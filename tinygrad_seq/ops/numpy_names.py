"""NumPy's functions by what becomes of them on Tensors: three tables and the reasons.

*Differentiable* functions become operations, *constant-only* functions are evaluated on the values
and give plain arrays (their gradient is zero or has no meaning), and the rest is refused on a
tensor that requires gradients; for those that one might look for, :data:`REFUSED` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops import arrange, elementwise, indexing, linalg, reduce, shape, transcendental
from tinygrad_seq.ops.arrange import rearranged
from tinygrad_seq.ops.nonlinear import tanh
from tinygrad_seq.ops.registry import axis_of, constant, record, shape_of

__all__ = ["CONSTANT_ONLY", "DIFFERENTIABLE", "REFUSED", "name_of"]


def name_of(function: Any) -> str:
    """``np.tanh``, ``np.linalg.norm``: as one writes it."""
    module = getattr(function, "__module__", None) or "numpy"
    for inside in ("linalg", "fft"):
        if module.startswith(f"numpy.{inside}"):
            return f"np.{inside}.{function.__name__}"
    return f"np.{function.__name__}"


def _where(condition: Any, *branches: Any) -> Any:
    held = condition._data if isinstance(condition, Variable) else condition
    return elementwise.where(held, *branches) if branches else np.where(held)


def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    found = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = elementwise.where(condition, choice, found)
    return found


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return indexing.take(shape.reshape(a, (-1,)), indices)
    if axis == 0:
        return indexing.take(a, indices)
    picked = indexing.take(shape.moveaxis(a, axis, 0), indices)
    ids = np.ndim(constant(indices))
    axis = axis % np.ndim(constant(a))
    order = [*range(ids, ids + axis), *range(ids), *range(ids + axis, picked.ndim)]
    return shape.transpose(picked, tuple(order))


def _cumsum(a: Any, axis: int | None = None) -> Any:
    flat = shape.reshape(a, (-1,)) if axis is None else a
    return reduce.cumsum(flat, 0 if axis is None else axis)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    return elementwise.clip(a, bounds.get("min", a_min), bounds.get("max", a_max))


def _flip(m: Any, axis: Any = None) -> Any:
    if isinstance(axis, int):
        return shape.flip(m, axis)
    for each in range(len(shape_of(m))) if axis is None else axis:
        m = shape.flip(m, each)
    return m


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    matrix = len(shape_of(x)) == 2 if axis is None else isinstance(axis, tuple)
    if ord is None or (ord == "fro" and matrix) or (ord == 2 and not matrix):
        return reduce.norm(x, axis, keepdims)
    if matrix or isinstance(ord, str) or (axis is None and len(shape_of(x)) != 1):
        raise ConfigError(
            "np.linalg.norm on a Tensor: ord",
            expected="None or 'fro' for matrices; None, 1, 2, inf, -inf or a number for vectors",
            got=repr(ord),
        )
    size = elementwise.absolute(x)
    if ord == np.inf:
        return reduce.max(size, axis, keepdims)
    if ord == -np.inf:
        return reduce.min(size, axis, keepdims)
    if ord == 1:
        return reduce.sum(size, axis, keepdims)
    return reduce.sum(size**ord, axis, keepdims) ** (1.0 / ord)


def _average(a: Any, axis: Any = None, weights: Any = None) -> Any:
    if weights is None:
        return reduce.mean(a, axis)
    whole, given = shape_of(a), shape_of(weights)
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
    total = reduce.sum(elementwise.multiply(weights, 1.0), axis)
    return reduce.sum(elementwise.multiply(a, weights), axis) / total


def _ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return reduce.max(a, axis, keepdims) - reduce.min(a, axis, keepdims)


def _inner(a: Any, b: Any) -> Any:
    return arrange.tensordot(a, b, (-1, -1)) if shape_of(a) and shape_of(b) else a * b


def _vdot(a: Any, b: Any) -> Any:
    return reduce.sum(shape.reshape(a, (-1,)) * shape.reshape(b, (-1,)))


def _ravel(a: Any) -> Any:
    return shape.reshape(a, (-1,))


def _array_split(ary: Any, sections: Any, axis: int = 0) -> Any:
    places = np.array_split(np.arange(shape_of(ary)[axis]), sections)
    cuts = np.cumsum([len(part) for part in places])[:-1]
    return shape.split(ary, [int(cut) for cut in cuts], axis)


def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    parts = [_ravel(arr), _ravel(values)] if axis is None else [arr, values]
    return shape.concatenate(parts, axis or 0)


def _at_least(ndim: int) -> Callable[[Any], Any]:
    def widen(x: Any) -> Any:
        missing = ndim - len(shape_of(x))
        return shape.reshape(x, (1,) * missing + shape_of(x)) if missing > 0 else x

    return widen


def _hstack(tup: Sequence[Any]) -> Any:
    parts = [_at_least(1)(part) for part in tup]
    return shape.concatenate(parts, 0 if len(shape_of(parts[0])) == 1 else 1)


def _column_stack(tup: Sequence[Any]) -> Any:
    columns = [shape.reshape(p, (-1, 1)) if len(shape_of(p)) < 2 else p for p in tup]
    return shape.concatenate(columns, 1)


def _diag(v: Any, k: int = 0) -> Any:
    if len(shape_of(v)) == 2:
        return arrange.diagonal(v, k)
    size = shape_of(v)[0]
    places = np.arange(size)
    index = (places + max(-k, 0), places + max(k, 0))
    return record(indexing.PUT_ADD, (v,), {"index": index, "into": (size + abs(k),) * 2})


def _same(x: Any) -> Any:
    return x


DIFFERENTIABLE: dict[Any, Callable[..., Any]] = {
    # elementwise
    np.add: elementwise.add,
    np.subtract: elementwise.subtract,
    np.multiply: elementwise.multiply,
    np.true_divide: elementwise.divide,
    np.power: elementwise.power,
    np.float_power: elementwise.power,
    np.negative: elementwise.negative,
    np.positive: _same,
    np.square: elementwise.square,
    np.sqrt: elementwise.sqrt,
    np.exp: elementwise.exp,
    np.log: elementwise.log,
    np.log1p: elementwise.log1p,
    np.sin: elementwise.sin,
    np.cos: elementwise.cos,
    np.tanh: tanh,
    np.absolute: elementwise.absolute,
    np.fabs: elementwise.absolute,
    np.maximum: elementwise.maximum,
    np.minimum: elementwise.minimum,
    np.expm1: transcendental.expm1,
    np.exp2: transcendental.exp2,
    np.log2: transcendental.log2,
    np.log10: transcendental.log10,
    np.sinh: transcendental.sinh,
    np.cosh: transcendental.cosh,
    np.tan: transcendental.tan,
    np.arctan: transcendental.arctan,
    np.reciprocal: transcendental.reciprocal,
    np.logaddexp: transcendental.logaddexp,
    np.real: _same,
    np.conjugate: _same,
    np.where: _where,
    np.select: _select,
    np.clip: _clip,
    np.copy: lambda a: elementwise.add(a, 0),
    # products
    np.matmul: linalg.matmul,
    np.dot: linalg.matmul,
    np.einsum: linalg.einsum,
    np.outer: arrange.outer,
    np.inner: _inner,
    np.vdot: _vdot,
    np.tensordot: arrange.tensordot,
    # reductions and running ones
    np.sum: reduce.sum,
    np.mean: reduce.mean,
    np.average: _average,
    np.max: reduce.max,
    np.min: reduce.min,
    np.amax: reduce.max,
    np.amin: reduce.min,
    np.ptp: _ptp,
    np.var: reduce.var,
    np.std: reduce.std,
    np.prod: arrange.prod,
    np.cumsum: _cumsum,
    np.cumprod: arrange.cumprod,
    np.diff: arrange.diff,
    np.trace: arrange.trace,
    np.linalg.norm: _norm,
    # shapes and joining
    np.reshape: shape.reshape,
    np.ravel: _ravel,
    np.transpose: shape.transpose,
    np.swapaxes: shape.swapaxes,
    np.moveaxis: shape.moveaxis,
    np.expand_dims: shape.expand_dims,
    np.squeeze: shape.squeeze,
    np.broadcast_to: shape.broadcast_to,
    np.atleast_1d: _at_least(1),
    np.atleast_2d: _at_least(2),
    np.concatenate: shape.concatenate,
    np.stack: shape.stack,
    np.hstack: _hstack,
    np.vstack: lambda tup: shape.concatenate([_at_least(2)(part) for part in tup]),
    np.column_stack: _column_stack,
    np.append: _append,
    np.split: shape.split,
    np.array_split: _array_split,
    # picking and moving entries
    np.take: _take,
    np.take_along_axis: indexing.take_along_axis,
    np.compress: lambda condition, a, axis=None: rearranged(
        lambda places: np.compress(condition, places, axis)
    )(a),
    np.delete: rearranged(np.delete),
    np.diagonal: arrange.diagonal,
    np.diag: _diag,
    np.flip: _flip,
    np.fliplr: rearranged(np.fliplr),
    np.flipud: rearranged(np.flipud),
    np.rot90: rearranged(np.rot90),
    np.roll: arrange.roll,
    np.repeat: arrange.repeat,
    np.tile: arrange.tile,
    np.pad: arrange.pad,
    np.sort: arrange.sort,
    np.tril: arrange.tril,
    np.triu: arrange.triu,
}
"""NumPy functions that are recorded as operations."""

CONSTANT_ONLY: frozenset[Any] = frozenset(
    {
        np.less, np.less_equal, np.greater, np.greater_equal, np.equal, np.not_equal,
        np.sign, np.floor, np.ceil, np.rint, np.trunc, np.round, np.fix, np.signbit,
        np.isfinite, np.isnan, np.isinf, np.isclose, np.allclose, np.array_equal,
        np.logical_and, np.logical_or, np.logical_not, np.logical_xor, np.any, np.all,
        np.argmax, np.argmin, np.argsort, np.argwhere, np.nonzero, np.flatnonzero,
        np.count_nonzero, np.searchsorted, np.digitize,
        np.zeros_like, np.ones_like, np.full_like, np.empty_like,
        np.shape, np.ndim, np.size, np.result_type, np.may_share_memory, np.shares_memory,
        np.array2string, np.array_repr, np.array_str,
    }
)  # fmt: skip
"""NumPy functions evaluated on the values: piecewise constant, or not about values at all."""

_MATRIX = "a decomposition: where a model needs one, give it a rule of your own with @tgs.op"
_JUMP = "it jumps at every multiple; subtract a constant multiple instead"
_NAN = "it passes over NaN, which is to be found: mask with np.where"
_SORT = "pick entries of np.sort instead"
_COUNT = "it counts values rather than computing with them: call it on t.detach()"
_COMPLEX = "its values are complex, and tensors are real: call it on t.detach()"
_WRITE = "it writes into its argument: see t.writable()"
_SLICE = "write it with slices and np.einsum"

REFUSED: dict[Any, str] = {
    **dict.fromkeys(
        [
            np.linalg.inv, np.linalg.pinv, np.linalg.solve, np.linalg.lstsq, np.linalg.det,
            np.linalg.slogdet, np.linalg.cholesky, np.linalg.qr, np.linalg.svd, np.linalg.eig,
            np.linalg.eigh, np.linalg.matrix_power, np.linalg.matrix_rank, np.linalg.cond,
        ],
        _MATRIX,
    ),
    **dict.fromkeys([np.floor_divide, np.remainder, np.fmod, np.divmod, np.modf], _JUMP),
    **dict.fromkeys(
        [np.nansum, np.nanmean, np.nanmax, np.nanmin, np.nanstd, np.nanvar, np.nan_to_num], _NAN
    ),
    **dict.fromkeys(
        [np.median, np.percentile, np.quantile, np.partition, np.argpartition], _SORT
    ),
    **dict.fromkeys([np.unique, np.histogram, np.bincount, np.isin], _COUNT),
    **dict.fromkeys([np.fft.fft, np.fft.ifft, np.fft.rfft, np.angle], _COMPLEX),
    **dict.fromkeys(
        [np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal], _WRITE
    ),
    **dict.fromkeys([np.convolve, np.correlate, np.cross, np.kron, np.gradient], _SLICE),
    **dict.fromkeys([np.block, np.insert], "write it with np.concatenate"),
    **dict.fromkeys([np.interp, np.piecewise, np.choose], "write it with np.where"),
    **dict.fromkeys(
        [np.arcsin, np.arccos, np.arctan2, np.arcsinh, np.arccosh, np.arctanh, np.hypot],
        "no rule is written down: compose it from np.arctan, np.log and np.sqrt",
    ),
}  # fmt: skip
"""NumPy functions one might look for that have no gradient here, and why."""
