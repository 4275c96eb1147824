"""Rearranging, padding and sorting: composed from other operations.

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
from tinygrad_seq.ops.indexing import getitem, take_along_axis, where
from tinygrad_seq.ops.registry import (
    OPS,
    array_at,
    axis_of,
    constant,
    for_numpy,
    publish,
    record,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.shape import moveaxis, reshape

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

Axis = int | tuple[int, ...] | None


def _rearranged(function: Callable[..., Any]) -> Callable[..., Tensor]:
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

    on_tensor.__doc__ = (
        "Entries moved, dropped or repeated; gradients go back to where they came from."
    )
    return on_tensor


@for_numpy(np.roll)
def roll(x: TensorLike, shift: int | tuple[int, ...], axis: Axis = None) -> Tensor:
    """Shift entries along axes (of the flattened tensor without `axis`), around the end."""
    return _rearranged(np.roll)(x, integers_of("roll: shift", values_of(shift)), axis)


@for_numpy(np.repeat)
def repeat(x: TensorLike, repeats: Any, axis: int | None = None) -> Tensor:
    """Repeat entries along an axis (of the flattened tensor without `axis`)."""
    return _rearranged(np.repeat)(x, integers_of("repeat: repeats", values_of(repeats)), axis)


@for_numpy(np.tile)
def tile(x: TensorLike, reps: int | Sequence[int]) -> Tensor:
    """Repeat the whole tensor along each axis."""
    return _rearranged(np.tile)(x, integers_of("tile: reps", values_of(reps)))


@for_numpy(np.diagonal)
def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """Entries on a diagonal of two axes, as a new last axis."""
    return _rearranged(np.diagonal)(x, offset, axis1, axis2)


@for_numpy(np.trace)
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


@for_numpy(np.tril)
def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The lower triangle of the last two axes; 0 above the k-th diagonal."""
    return where(_triangle(x, k), x, 0.0)


@for_numpy(np.triu)
def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The upper triangle of the last two axes; 0 below the k-th diagonal."""
    return where(_triangle(x, k, below=1), 0.0, x)


@for_numpy(np.pad)
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
        return _rearranged(np.pad)(x, pad_width, mode, **options)
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
    nearest = _rearranged(np.pad)(x, pad_width, "edge")  # anything will do where not inside
    filling = values.astype(nearest.dtype) if values.any() else 0.0
    return where(inside, nearest, filling)


@for_numpy(np.sort)
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


@for_numpy(np.diff)
def diff(x: TensorLike, n: int = 1, axis: int = -1) -> Tensor:
    """Differences of neighbours along an axis, n times."""
    times = count(0)("diff: n", n)
    axis = axis_of(axis, len(shape_of(x)), "diff")
    found: Any = moveaxis(x, axis, 0)
    for _ in range(min(times, len(found))):
        found = getitem(found, slice(1, None)) - getitem(found, slice(None, -1))
    return moveaxis(found, 0, axis)


@for_numpy(np.compress)
def _compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """Entries where a condition holds, along an axis."""
    return _rearranged(np.ndarray.compress)(a, constant(condition), axis)


@for_numpy(np.extract)
def _extract(condition: Any, arr: Any) -> Any:
    """Entries where a condition holds."""
    return _compress(constant(condition).reshape(-1), arr)


@for_numpy(np.lib.stride_tricks.sliding_window_view)
def _sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """Every stretch of entries, in new last axes (a copy)."""
    return _rearranged(np.lib.stride_tricks.sliding_window_view)(x, window_shape, axis)


for _moving in (np.delete, np.fliplr, np.flipud, np.rot90):
    for_numpy(_moving)(_rearranged(_moving))


@for_numpy(np.diag)
def _diag(v: Any, k: int = 0) -> Any:
    """A diagonal of a matrix, or a matrix with this diagonal."""
    ndim = len(shape_of(v))
    if ndim == 2:
        return diagonal(v, k)
    if ndim != 1:
        raise ShapeError("diag", expected="a vector or a matrix", got=shape_of(v))
    size = shape_of(v)[0]
    places = np.arange(size)
    index = (places + max(-k, 0), places + max(k, 0))
    return record(OPS["put_add"], (v,), {"index": index, "into": (size + abs(k),) * 2})


@for_numpy(np.diagflat)
def _diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with the flattened operand as its diagonal."""
    return _diag(reshape(v, (-1,)), k)


@for_numpy(np.linalg.diagonal)
def _matrix_diagonal(x: Any, offset: int = 0) -> Any:
    """A diagonal of the last two axes, as a new last axis."""
    return diagonal(x, offset, -2, -1)


@for_numpy(np.linalg.trace)
def _matrix_trace(x: Any, offset: int = 0) -> Any:
    """Sum over a diagonal of the last two axes."""
    return trace(x, offset, -2, -1)


publish(globals())
