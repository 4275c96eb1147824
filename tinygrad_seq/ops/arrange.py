"""Rearranging, padding, sorting and multiplying up: composed from other operations.

What only moves entries is done once on their positions, by NumPy itself, and then taken: so
every such function has NumPy's own meaning, and the gradient of ``getitem``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import array_of, choice, count, index_of, integers_of
from tinygrad_seq.engine.faults import REFUSALS, refusal
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError, shown
from tinygrad_seq.ops.elementwise import where
from tinygrad_seq.ops.indexing import getitem, take_along_axis
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.registry import array_at, axis_of, constant, shape_of, values_of
from tinygrad_seq.ops.shape import moveaxis, reshape, transpose

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "diagonal",
    "diff",
    "outer",
    "pad",
    "rearranged",
    "repeat",
    "roll",
    "sort",
    "tensordot",
    "tile",
    "trace",
    "tril",
    "triu",
]

Axis = int | tuple[int, ...] | None


def rearranged(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """A differentiable version of a NumPy function that only moves, drops or repeats entries."""

    def on_tensor(x: TensorLike, *args: Any, **kwargs: Any) -> Tensor:
        shape = shape_of(x)
        positions = np.arange(int(np.prod(shape, dtype=int))).reshape(shape)
        given = [np.asarray(arg) if isinstance(arg, Variable) else arg for arg in args]
        try:
            places = function(positions, *given, **kwargs)
        except (*REFUSALS, RuntimeError) as error:  # the last of too many dimensions
            raise refusal(function.__name__, [positions], error) from error
        return getitem(reshape(x, (-1,)), places)

    on_tensor.__name__ = function.__name__
    return on_tensor


def _counts(what: str, given: Any) -> Any:
    """Integers, one or several: NumPy would read text, and cut off fractions."""
    return integers_of(what, np.asarray(given) if isinstance(given, Variable) else given)


def roll(x: TensorLike, shift: int | tuple[int, ...], axis: Axis = None) -> Tensor:
    """Shift entries along axes (of the flattened tensor without `axis`), around the end."""
    return rearranged(np.roll)(x, _counts("roll: shift", shift), axis)


def repeat(x: TensorLike, repeats: Any, axis: int | None = None) -> Tensor:
    """Repeat entries along an axis (of the flattened tensor without `axis`)."""
    return rearranged(np.repeat)(x, _counts("repeat: repeats", repeats), axis)


def tile(x: TensorLike, reps: int | Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis."""
    return rearranged(np.tile)(x, _counts("tile: reps", reps))


def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Entries on a diagonal of two axes, as a new last axis."""
    return rearranged(np.diagonal)(x, offset, axis1, axis2)


def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Sum over a diagonal of two axes."""
    return diagonal(x, offset, axis1, axis2).sum(-1)


def _triangle(x: TensorLike, k: int, below: int = 0) -> Any:
    """True on and below a diagonal of the last two axes (a vector is a row of them)."""
    shape = shape_of(x)
    if not shape:
        raise ShapeError("tril and triu", expected="at least one axis", got="a scalar")
    rows, columns = shape[max(len(shape) - 2, 0)], shape[-1]
    diagonal = min(max(index_of("tril and triu: k", k) - below, -rows), columns)
    return np.tri(rows, columns, diagonal, bool)


def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The lower triangle of the last two axes; 0 above the k-th diagonal."""
    return where(_triangle(x, k), x, 0.0)


def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The upper triangle of the last two axes; 0 below the k-th diagonal."""
    return where(_triangle(x, k, below=1), 0.0, x)


def pad(x: TensorLike, pad_width: Any, mode: str = "constant", **options: Any) -> Tensor:
    """Widen the axes at both ends, as :func:`numpy.pad` does.

    Parameters
    ----------
    pad_width : int or nested sequence of int
        ``(before, after)`` for each axis, one pair for all, or one number.
    mode : str
        ``"constant"`` (with ``constant_values``, 0 by default), or any mode of NumPy that copies
        entries: ``"edge"``, ``"reflect"``, ``"symmetric"``, ``"wrap"``.

    Raises
    ------
    ConfigError
        For modes that compute new values (``"mean"``, ``"linear_ramp"``, ...).

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> tgs.pad(tgs.tensor([1.0, 2.0]), (1, 2)).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """
    pad_width = integers_of("pad: pad_width", values_of(pad_width))
    if isinstance(mode, str) and mode in ("edge", "reflect", "symmetric", "wrap"):
        choice("even")("pad: reflect_type", options.pop("reflect_type", "even"))  # odd ones compute
        return rearranged(np.pad)(x, pad_width, mode, **options)
    if not isinstance(mode, str) or mode != "constant":
        raise ConfigError(
            "pad: mode",
            expected="constant, edge, reflect, symmetric or wrap",
            got=shown(mode),
            hint="compute the new entries and join them with tgs.concatenate",
        )
    shape = shape_of(x)
    try:
        if "constant_values" in options:
            options["constant_values"] = array_of("pad: values", options["constant_values"])
        inside = np.pad(np.ones(shape, bool), pad_width)
        values = np.pad(np.zeros(shape), pad_width, **options)
    except REFUSALS as error:
        raise refusal("pad", [x], error) from error
    if 0 in shape:
        return reshape(values.astype(constant(x).dtype), values.shape)
    nearest = rearranged(np.pad)(x, pad_width, "edge")  # anything will do where not inside
    filling = values.astype(nearest.dtype) if values.any() else 0.0
    return where(inside, nearest, filling)


def sort(x: TensorLike, axis: int | None = -1, kind: str | None = None) -> Tensor:
    """Entries in ascending order along an axis (of the flattened tensor for None).

    The gradient goes back to where each entry came from; equal entries keep their order, so every
    `kind` of NumPy's gives the same.
    """
    if kind is not None:
        choice("quicksort", "mergesort", "heapsort", "stable")("sort: kind", kind)
    if axis is None:
        x, axis = reshape(x, (-1,)), -1
    axis = axis_of(axis, len(shape_of(x)), "sort")
    order = np.argsort(array_at("sort: x", x), axis=axis, kind="stable")
    return take_along_axis(x, order, axis)


def diff(x: TensorLike, n: int = 1, axis: int = -1) -> Tensor:
    """Differences of neighbours along an axis, n times."""
    times = count(0)("diff: n", n)
    axis = axis_of(axis, len(shape_of(x)), "diff")
    found: Any = moveaxis(x, axis, 0)
    for _ in range(min(times, len(found))):
        found = getitem(found, slice(1, None)) - getitem(found, slice(None, -1))
    return moveaxis(found, 0, axis)


def outer(a: TensorLike, b: TensorLike) -> Tensor:
    """Products of every entry of `a` with every entry of `b`, both flattened."""
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


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
        axes = np.asarray(axes).tolist()
    if not isinstance(axes, (tuple, list)):
        summed = count(0)("tensordot: axes", axes)
        if summed > ndim:
            raise ShapeError("tensordot: axes", expected=f"at most {ndim}", got=summed)
        return list(range(ndim - summed, ndim)), list(range(summed))
    if len(axes) != 2:
        raise ConfigError("tensordot: axes", expected="a number, or two lists", got=axes)
    left, right = ([p] if np.ndim(p) == 0 else list(p) for p in axes)
    return left, right
