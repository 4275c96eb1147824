"""Products of vectors, matrices and tensors by their many names, composed from operations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import count
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError, shown
from tinygrad_seq.ops.indexing import getitem
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.math import multiply
from tinygrad_seq.ops.rearrange import pad
from tinygrad_seq.ops.reduce import sum as sum_along
from tinygrad_seq.ops.registry import axis_of, constant, for_numpy, publish, shape_of
from tinygrad_seq.ops.shape import expand_dims, flip, reshape, squeeze, transpose

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


@for_numpy(np.outer, np.linalg.outer)
def outer(a: TensorLike, b: TensorLike) -> Tensor:
    """Products of every entry of `a` with every entry of `b`, both flattened."""
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


@for_numpy(np.tensordot, np.linalg.tensordot)
def tensordot(a: TensorLike, b: TensorLike, axes: Any = 2) -> Tensor:
    """Sum of products over pairs of axes: the last `axes` with the first, or as listed.

    Raises
    ------
    ShapeError
        If paired axes differ in size.
    """
    shape_a, shape_b = shape_of(a), shape_of(b)
    left, right = _paired_axes(axes, len(shape_a))
    left = [axis_of(p, len(shape_a), "tensordot") for p in left]
    right = [axis_of(p, len(shape_b), "tensordot") for p in right]
    if [shape_a[p] for p in left] != [shape_b[p] for p in right]:
        raise ShapeError(
            "tensordot: axes to sum over differ",
            expected="pairs of axes of equal size",
            got=f"{[shape_a[p] for p in left]} with {[shape_b[p] for p in right]}",
        )
    rows = [p for p in range(len(shape_a)) if p not in left]
    columns = [p for p in range(len(shape_b)) if p not in right]
    count = int(np.prod([shape_a[p] for p in left], dtype=int))
    matrix_a = reshape(transpose(a, (*rows, *left)), (-1, count))
    matrix_b = reshape(transpose(b, (*right, *columns)), (count, -1))
    out = (*[shape_a[p] for p in rows], *[shape_b[p] for p in columns])
    return reshape(matmul(matrix_a, matrix_b), out)


def _paired_axes(axes: Any, ndim: int) -> tuple[list[Any], list[Any]]:
    """Which axes are summed over: of the first operand, which has `ndim`, and of the second."""
    if isinstance(axes, (np.ndarray, Variable)):
        axes = constant(axes).tolist()
    if not isinstance(axes, (tuple, list)):
        summed = count(0)("tensordot: axes", axes)
        if summed > ndim:
            raise ShapeError("tensordot: axes", expected=f"at most {ndim}", got=summed)
        return list(range(ndim - summed, ndim)), list(range(summed))
    if len(axes) != 2:
        raise ConfigError("tensordot: axes", expected="a number, or two lists", got=axes)
    left, right = ([p] if np.ndim(p) == 0 else list(p) for p in axes)
    return left, right


@for_numpy(np.dot)
def _dot(a: Any, b: Any) -> Any:
    """Last axis of `a` with the last but one of `b`; a number multiplies."""
    if () in (shape_of(a), shape_of(b)):
        return multiply(a, b)
    if len(shape_of(b)) > 2:  # where NumPy's dot and matmul differ
        return tensordot(a, b, (-1, -2))
    return matmul(a, b)


@for_numpy(np.inner)
def _inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axes."""
    return multiply(a, b) if () in (shape_of(a), shape_of(b)) else tensordot(a, b, (-1, -1))


@for_numpy(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    """Sum of products of the flattened operands."""
    return matmul(reshape(a, (-1,)), reshape(b, (-1,)))


@for_numpy(np.vecdot, np.linalg.vecdot)
def _vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    """Sum of products along one axis, broadcasting the others."""
    left, right = (shape_of(x)[axis_of(axis, len(shape_of(x)), "np.vecdot")] for x in (x1, x2))
    if left != right:  # this axis does not broadcast
        raise ShapeError("np.vecdot: lengths", expected="equal ones", got=f"{left} and {right}")
    return sum_along(multiply(x1, x2), axis)


@for_numpy("matvec")
def _matvec(x1: Any, x2: Any) -> Any:
    """Stacks of matrices times stacks of vectors."""
    return squeeze(matmul(x1, expand_dims(x2, -1)), -1)


@for_numpy("vecmat")
def _vecmat(x1: Any, x2: Any) -> Any:
    """Stacks of vectors times stacks of matrices."""
    return squeeze(matmul(expand_dims(x1, -2), x2), -2)


@for_numpy(np.linalg.multi_dot)
def _multi_dot(arrays: Sequence[Any]) -> Any:
    """Product of several matrices, from left to right."""
    return functools.reduce(matmul, arrays)


@for_numpy(np.kron)
def _kron(a: Any, b: Any) -> Any:
    """Kronecker product: a copy of `b` scaled by each entry of `a`."""
    left, right = shape_of(a), shape_of(b)
    ndim = max(len(left), len(right))
    left, right = ((1,) * (ndim - len(s)) + s for s in (left, right))
    pairs = multiply(
        reshape(a, tuple(n for size in left for n in (size, 1))),
        reshape(b, tuple(n for size in right for n in (1, size))),
    )
    return reshape(pairs, tuple(m * n for m, n in zip(left, right, strict=True)))


@for_numpy(np.correlate)
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
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
    wide = pad(a, ends[mode])
    starts = np.arange(len(wide) - width + 1)
    return matmul(getitem(wide, starts[:, None] + np.arange(width)), v)


@for_numpy(np.convolve)
def _convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Sums of products of one sequence with the other, reversed."""
    long, width = _vectors("np.convolve", a, v)
    if width > long:
        a, v, width = v, a, long
    if mode == "same":  # of an even kernel NumPy keeps the other of the two middles
        start = (width - 1) // 2
        whole = _convolve(a, v)
        return getitem(whole, slice(start, start + max(shape_of(a))))
    return _correlate(a, flip(v, 0), mode)


def _vectors(name: str, a: Any, v: Any) -> tuple[int, int]:
    left, right = shape_of(a), shape_of(v)
    if len(left) != 1 or len(right) != 1 or 0 in left + right:
        raise ShapeError(f"{name}: operands", expected="two filled vectors", got=f"{left}, {right}")
    return left[0], right[0]


publish(globals())
