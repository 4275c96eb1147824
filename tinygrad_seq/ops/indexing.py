"""Picking entries, and its adjoint: adding entries back where they were picked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import array_of, converted, count, dtype_of
from tinygrad_seq.engine.faults import REFUSALS, refusal, refuse_several
from tinygrad_seq.engine.op import Axes, Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, DtypeError, ShapeError
from tinygrad_seq.kernels.rows import add_rows
from tinygrad_seq.ops.math import maximum, minimum
from tinygrad_seq.ops.registry import (
    axis_of,
    check_indices,
    constant,
    for_numpy,
    moving,
    operation,
    publish,
    record,
    run,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import NONZERO, Draw, Sampled
from tinygrad_seq.ops.shape import moveaxis, reshape

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor, TensorLike


def _is_basic(index: Any) -> bool:
    """Whether an index picks every entry at most once, as slices and integers do."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None or part is Ellipsis or isinstance(part, (int, slice, np.integer))
        for part in parts
    )


def _put_add(g: Any, index: Any, into: tuple[int, ...]) -> Any:
    out = np.zeros(into, g.dtype)
    if _is_basic(index):
        out[index] = g
    else:
        np.add.at(out, index, g)
    return out


def _put_along(g: Any, indices: Any, axis: int, into: tuple[int, ...]) -> Any:
    out = np.zeros(into, g.dtype)
    grid = list(np.indices(indices.shape, sparse=True))
    grid[axis] = indices
    np.add.at(out, tuple(grid), g)
    return out


def _rows_back(g: Any, ids: Any, rows: int) -> Any:
    row = g.shape[ids.ndim :]
    flat = g.reshape(ids.size, int(np.prod(row, dtype=int)))
    return add_rows(ids.reshape(-1), flat, rows).reshape(rows, *row)


def _queued_rows(cotangents: list[Any], ids: list[Any], shape: list[Any]) -> Any:
    """All rows picked from a table in several look-ups, added back at once."""
    flat = np.concatenate([i.reshape(-1) for i in ids])
    width = shape[0][1]
    return add_rows(flat, np.concatenate([g.reshape(-1, width) for g in cotangents]), shape[0][0])


def _index(draw: Draw, shape: tuple[int, ...]) -> Any:
    """A basic, integer-array or boolean index for an array of this shape."""
    kind = draw.choice(["int", "slice", "array", "mask", "newaxis"])
    if kind == "int":
        return draw.integer(-shape[0], shape[0] - 1)
    if kind == "slice":
        return slice(draw.integer(0, 1), None, draw.choice([1, 2, -1]) or None)
    if kind == "array":
        return np.array([draw.integer(-shape[0], shape[0] - 1) for _ in range(4)])
    if kind == "mask":
        return np.array([draw.choice([True, False]) for _ in range(shape[0])])
    return (Ellipsis, None)


def _getitem_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape(1))
    return (x,), {"index": _index(draw, x.shape)}


def _put_add_sample(draw: Draw) -> Sampled:
    shape = draw.shape(1)
    index = _index(draw, shape)
    return (draw.array(np.zeros(shape)[index].shape),), {"index": index, "into": shape}


def _ids(draw: Draw, rows: int) -> Array:
    shape = draw.shape(0, 2)
    return np.array(
        [draw.integer(0, rows - 1) for _ in range(int(np.prod(shape, dtype=int)))], int
    ).reshape(shape)


def _take_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape(1))
    return (x,), {"ids": _ids(draw, x.shape[0])}


def _add_rows_sample(draw: Draw) -> Sampled:
    rows = draw.integer(1, 4)
    ids = _ids(draw, rows)
    return (draw.array(ids.shape + draw.shape(0, 1)),), {"ids": ids, "rows": rows}


def _along_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape(1))
    axis = draw.integer(0, x.ndim - 1)
    wide = (*x.shape[:axis], draw.integer(1, 3), *x.shape[axis + 1 :])
    top = x.shape[axis] - 1
    picks = [draw.integer(0, top) for _ in range(int(np.prod(wide, dtype=int)))]
    return (x,), {"indices": np.array(picks, int).reshape(wide), "axis": axis}


def _put_along_sample(draw: Draw) -> Sampled:
    (x,), params = _along_sample(draw)
    return (draw.array(params["indices"].shape),), {**params, "into": x.shape}


GETITEM: Op = moving(
    "getitem",
    lambda x, index: x[index],
    "x",
    [lambda g, shape, index: run(PUT_ADD, g, index=index, into=shape)],
    sample=_getitem_sample,
    view=True,
    axes=Axes.PICKED,
)
PUT_ADD: Op = moving("put_add", _put_add, "g", [lambda g, index: g[index]], sample=_put_add_sample)
TAKE: Op = moving(
    "take",
    lambda x, ids: np.asarray(x).take(ids, 0),
    "x",
    [lambda g, shape, ids: run(ADD_ROWS, g, ids=ids, rows=shape[0])],
    sample=_take_sample,
    defer=(0, _queued_rows),
)
ADD_ROWS: Op = moving(
    "add_rows",
    _rows_back,
    "g",
    [lambda g, ids: run(TAKE, g, ids=ids)],
    sample=_add_rows_sample,
)
TAKE_ALONG: Op = moving(
    "take_along_axis",
    np.take_along_axis,
    "x",
    [lambda g, shape, indices, axis: run(PUT_ALONG, g, indices=indices, axis=axis, into=shape)],
    sample=_along_sample,
)
PUT_ALONG: Op = moving(
    "put_along_axis",
    _put_along,
    "g",
    [lambda g, indices, axis: run(TAKE_ALONG, g, indices=indices, axis=axis)],
    sample=_put_along_sample,
)


def getitem(x: TensorLike, index: Any) -> Tensor:
    """``x[index]`` with NumPy's basic and advanced indexing by constants."""
    if isinstance(index, tuple):
        index = tuple(_plain(part) for part in index)
    else:
        index = _plain(index)
    return record(GETITEM, (x,), {"index": index})


def _plain(part: Any) -> Any:
    """One part of an index as an array or scalar; lists become arrays, Tensors their values."""
    if isinstance(part, (int, slice)) or part is None or part is Ellipsis:
        return part
    refuse_several("index", part)
    array = array_of("index", values_of(part)).copy()  # the graph keeps it until backward
    if array.dtype.kind not in "iub":
        if array.size:
            raise DtypeError("index", expected="integers or booleans", got=array.dtype)
        array = array.astype(int)
    return array


def take(x: TensorLike, ids: Any) -> Tensor:
    """Rows ``x[ids]`` along the first axis, for any shape of integer ids.

    Raises
    ------
    IndexRangeError
        If an id lies outside ``0 .. len(x) - 1``.
    """
    shape = shape_of(x)
    if not shape:
        raise ShapeError("take: x", expected="at least one axis", got="a scalar")
    ids = check_indices(ids, shape[0], "take")
    picked = record(TAKE, (x,), {"ids": ids})
    if picked.node is None:
        picked._ids = ids
    return picked


@for_numpy(np.take)
def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    """Entries at integer positions along an axis; positions count from the front only."""
    if axis is None:
        return take(reshape(a, (-1,)), indices)
    place = axis_of(axis, len(shape_of(a)), "take")
    if place == 0:
        return take(a, indices)
    picked = take(moveaxis(a, place, 0), indices)
    ids = np.ndim(constant(indices))
    return moveaxis(picked, tuple(range(ids)), tuple(range(place, place + ids)))


@for_numpy(np.take_along_axis)
def take_along_axis(x: TensorLike, indices: Any, axis: int = -1) -> Tensor:
    """Entries picked along an axis by an index array that has the shape of x but for that axis."""
    shape = shape_of(x)
    axis = axis_of(axis, len(shape), "take_along_axis")
    picks = check_indices(indices, shape[axis], "take_along_axis")
    if picks.ndim != len(shape) or picks.shape[:axis] + picks.shape[axis + 1 :] != (
        shape[:axis] + shape[axis + 1 :]
    ):
        raise ShapeError(
            "take_along_axis: indices",
            expected=f"shape {shape}, of any size along axis {axis}",
            got=picks.shape,
        )
    return record(TAKE_ALONG, (x,), {"indices": picks, "axis": axis})


def gather(x: TensorLike, axis: int, index: Any) -> Tensor:
    """PyTorch's name and argument order for :func:`take_along_axis`."""
    return take_along_axis(x, index, axis)


def one_hot(ids: Any, n: int, dtype: Any = np.float32) -> Tensor:
    """One-hot rows: a 1 at each id, 0 elsewhere (the notes' "One-hot encoding").

    Parameters
    ----------
    ids : integer array of any shape
    n : int
        Number of classes.

    Returns
    -------
    Tensor of shape ``ids.shape + (n,)``, constant.

    Raises
    ------
    IndexRangeError
        If an id lies outside ``0 .. n - 1``.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> tgs.one_hot([0, 2], 3).numpy()
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    width = count(0)("one_hot: n", n)
    places = check_indices(ids, width, "one_hot")
    try:
        rows = np.zeros((places.size, width), dtype_of("one_hot", dtype))
    except REFUSALS as error:  # more than memory holds
        raise refusal("one_hot", [places], error) from error
    rows[np.arange(places.size), places.reshape(-1)] = 1
    return record(GETITEM, (rows.reshape(*places.shape, width),), {"index": ...})


# -- by conditions and bounds, and in another dtype ------------------------------------------------


def _where_sample(draw: Draw) -> Sampled:
    a, b, c = draw.broadcastable(3)
    condition = draw.array(c) > 0
    return (draw.array(a), draw.array(b)), {"condition": condition}


WHERE = operation(
    "where",
    lambda a, b, condition: np.where(condition, a, b),
    "a b",
    [
        lambda g, condition: np.where(condition, g, 0.0),
        lambda g, condition: np.where(condition, 0.0, g),
    ],
    sample=_where_sample,
    pointwise=True,
    unread=lambda index, condition: condition if index else ~condition,
)


def where(condition: Array, a: TensorLike, b: TensorLike) -> Tensor:
    """Take from `a` where `condition` (a constant) holds, from `b` elsewhere.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> tgs.where(np.array([True, False]), tgs.tensor([1.0, 2.0]), 0.0).numpy()
    array([1., 0.], dtype=float32)
    """
    held = np.array(array_of("where: condition", condition), dtype=bool)
    return record(WHERE, (a, b), {"condition": held})


@for_numpy(np.where)
def _where(condition: Any, *branches: Any) -> Any:
    """One of two values by a constant condition; positions, if no values are given."""
    held = values_of(condition)
    return where(held, *branches) if branches else np.where(held)


@for_numpy(np.select)
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    """The first choice whose condition holds, by `np.where`."""
    if len(condlist) != len(choicelist):
        raise ConfigError(
            "np.select: choices",
            expected=f"one for each condition, {len(condlist)}",
            got=len(choicelist),
        )
    found = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = where(condition, choice, found)
    return found


def _clip_sample(draw: Draw) -> Sampled:
    low, high = draw.choice([(-0.125, 0.125), (None, 0.125), (-0.125, None)])
    return (draw.array(draw.shape(), NONZERO),), {"low": low, "high": high}


def _inside(g: Any, x: Any, low: Any, high: Any) -> Any:
    """The cotangent where clipping changes nothing (bounds included, as PyTorch has it)."""
    values = constant(x)
    kept = values >= (-np.inf if low is None else low)
    kept &= values <= (np.inf if high is None else high)
    unknown = np.isnan(values) | any(bound != bound for bound in (low, high))  # NaN
    return np.where(kept, g, np.where(unknown, np.nan, 0.0).astype(g.dtype))


CLIP = operation(
    "clip",
    lambda x, low, high: np.clip(x, low, high),
    "x",
    [_inside],
    sample=_clip_sample,
    pointwise=True,
    analytic=False,
    kink="1 at a bound",
)


def clip(x: TensorLike, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
    """Limit x to [low, high]; the gradient is 1 inside (bounds included) and 0 outside.

    A bound that is an array or a tensor takes part in broadcasting, and gets gradients where it
    holds; a tie shares them, as in :func:`maximum`.
    """
    bounds = {}
    for name, bound in (("low", low), ("high", high)):
        number = bound is None or array_of("clip: bound", values_of(bound)).ndim == 0
        if not number or (isinstance(bound, Variable) and bound.requires_grad):
            floor = x if low is None else maximum(x, low)
            return cast("Tensor", floor if high is None else minimum(floor, high))
        bounds[name] = None if bound is None else np.asarray(values_of(bound)).item()
    return record(CLIP, (x,), bounds)


@for_numpy(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    """`tgs.clip(x, low, high)`; the gradient is 1 inside the bounds, 0 outside."""
    return clip(a, bounds.get("min", a_min), bounds.get("max", a_max))


# Not in the registry, whose operations all keep the dtype: this one is there to change it. The
# backward walk itself brings a cotangent back to the dtype of x.
ASTYPE = Op(
    "astype",
    lambda x, dtype: converted("astype", x, dtype),
    "x",
    [lambda g: g],
    analytic=False,
    pointwise=True,
)


@for_numpy("astype")
def astype(x: TensorLike, dtype: Any) -> Tensor:
    """Convert to another floating dtype; the gradient comes back in the dtype of x."""
    return record(ASTYPE, (x,), {"dtype": dtype_of("astype", dtype)})


publish(globals())
