"""NumPy's functions on shapes under its own arguments, composed from operations.

The first line of a docstring stands in the table of operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError, shown
from tinygrad_seq.ops import arrange, elementwise, indexing, shape
from tinygrad_seq.ops.arrange import rearranged
from tinygrad_seq.ops.registry import axis_of, constant, record, shape_of

__all__ = [
    "append",
    "array_split",
    "at_least",
    "broadcast_arrays",
    "column_stack",
    "compress",
    "copy",
    "diag",
    "diagflat",
    "dsplit",
    "dstack",
    "extract",
    "flip",
    "hsplit",
    "hstack",
    "matrix_diagonal",
    "matrix_transpose",
    "meshgrid",
    "moveaxis",
    "moved",
    "ravel",
    "same",
    "sliding_window_view",
    "take",
    "unstack",
    "vsplit",
    "vstack",
]


def same(x: Any) -> Any:
    """The operand itself."""
    return x


def copy(a: Any) -> Any:
    """A copy that stays in the graph."""
    if isinstance(a, Variable) and a._node is None:
        return a._wrap(np.copy(a._array), None)
    return elementwise.multiply(a, 1)  # not + 0, which would make -0.0 positive


def moved(function: Callable[..., Any]) -> Callable[..., Any]:
    """A differentiable version of a NumPy function that only moves, drops or repeats entries."""
    made = rearranged(function)
    made.__doc__ = "Entries moved, dropped or repeated; gradients go back to where they came from."
    return made


# -- shapes and joining ----------------------------------------------------------------------------


def ravel(a: Any, order: str = "C") -> Any:
    """All entries in one axis."""
    return shape.reshape(a, (-1,), order)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """One axis or several moved to other places."""
    ndim = len(shape_of(a))
    origins = [axis_of(s, ndim, "moveaxis") for s in np.atleast_1d(source)]
    places = [axis_of(d, ndim, "moveaxis") for d in np.atleast_1d(destination)]
    if len(set(origins)) != len(origins) or len(set(places)) != len(origins):
        raise ShapeError(
            "moveaxis: axes",
            expected="as many places as axes, each once",
            got=f"{source} to {destination}",
        )
    order = [axis for axis in range(ndim) if axis not in origins]
    for place, origin in sorted(zip(places, origins, strict=True)):
        order.insert(place, origin)
    return shape.transpose(a, tuple(order))


def matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    return shape.swapaxes(x, -1, -2)


def flip(m: Any, axis: Any = None) -> Any:
    """The order reversed along one axis, several or all."""
    ndim = len(shape_of(m))
    axes = range(ndim) if axis is None else [axis_of(a, ndim, "flip") for a in np.atleast_1d(axis)]
    if len(set(axes)) != len(axes):
        raise ShapeError("flip: axis", expected="each axis once", got=axis)
    for each in axes:
        m = shape.flip(m, each)
    return m if len(axes) else copy(m)


def at_least(ndim: int) -> Callable[..., Any]:
    """Of a tensor with fewer axes: axes of size 1 put in front."""

    def widen(*arys: Any) -> Any:
        """Axes of size 1 put in front of what has too few."""
        found = [
            x if len(shape_of(x)) >= ndim else shape.reshape(x, _widened(shape_of(x), ndim))
            for x in arys
        ]
        return found[0] if len(found) == 1 else tuple(found)

    return widen


def _widened(size: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """NumPy gives a third axis to matrices at the end, and places vectors in the middle."""
    if ndim == 3 and len(size) in (1, 2):
        return (*((1,) * (2 - len(size))), *size, 1)
    return (1,) * (ndim - len(size)) + size


def broadcast_arrays(*args: Any) -> Any:
    """Every operand at the common shape."""
    size = np.broadcast_shapes(*(shape_of(x) for x in args))
    return tuple(shape.broadcast_to(x, size) for x in args)


def meshgrid(*xi: Any, indexing: str = "xy") -> Any:
    """Coordinate grids of vectors."""
    if indexing not in ("xy", "ij"):
        raise ConfigError("np.meshgrid: indexing", expected="'xy' or 'ij'", got=shown(indexing))
    ndim = len(xi)
    places = list(range(ndim))
    if indexing == "xy" and ndim > 1:
        places[:2] = [1, 0]
    grids = [
        shape.reshape(x, tuple(-1 if k == place else 1 for k in range(ndim)))
        for x, place in zip(xi, places, strict=True)
    ]
    return broadcast_arrays(*grids)


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Joined at the end of an axis, by `np.concatenate`."""
    parts = [ravel(arr), ravel(values)] if axis is None else [arr, values]
    return shape.concatenate(parts, axis or 0)


def hstack(tup: Sequence[Any]) -> Any:
    """Joined along the second axis (of vectors, the only one)."""
    parts = [at_least(1)(part) for part in tup]
    flat = bool(parts) and len(shape_of(parts[0])) == 1
    return shape.concatenate(parts, 0 if flat else 1)


def vstack(tup: Sequence[Any]) -> Any:
    """Joined along the first axis, vectors as rows."""
    return shape.concatenate([at_least(2)(part) for part in tup])


def dstack(tup: Sequence[Any]) -> Any:
    """Joined along the third axis."""
    return shape.concatenate([at_least(3)(part) for part in tup], 2)


def column_stack(tup: Sequence[Any]) -> Any:
    """Joined along the second axis, vectors as columns."""
    columns = [shape.reshape(p, (-1, 1)) if len(shape_of(p)) < 2 else p for p in tup]
    return shape.concatenate(columns, 1)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Parts along an axis, of nearly equal sizes."""
    size = shape_of(ary)[axis_of(axis, len(shape_of(ary)), "array_split")]
    if np.ndim(indices_or_sections) == 0 and indices_or_sections < 1:
        raise ConfigError(
            "array_split: sections", expected="a positive number", got=indices_or_sections
        )
    places = np.array_split(np.arange(size), indices_or_sections)
    cuts = np.cumsum([len(part) for part in places])[:-1]
    return shape.split(ary, [int(cut) for cut in cuts], axis)


def hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the second axis (of a vector, its only one)."""
    return shape.split(ary, indices_or_sections, 0 if len(shape_of(ary)) == 1 else 1)


def vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the first axis."""
    return shape.split(ary, indices_or_sections, 0)


def dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the third axis."""
    return shape.split(ary, indices_or_sections, 2)


def unstack(x: Any, axis: int = 0) -> Any:
    """The slices along an axis, without that axis."""
    place = axis_of(axis, len(shape_of(x)), "unstack")
    return tuple(shape.squeeze(part, place) for part in shape.split(x, shape_of(x)[place], place))


# -- picking entries -------------------------------------------------------------------------------


def take(a: Any, indices: Any, axis: int | None = None) -> Any:
    """Entries at integer positions along an axis; positions count from the front only."""
    if axis is None:
        return indexing.take(ravel(a), indices)
    place = axis_of(axis, len(shape_of(a)), "take")
    if place == 0:
        return indexing.take(a, indices)
    picked = indexing.take(shape.moveaxis(a, place, 0), indices)
    ids = np.ndim(constant(indices))
    order = [*range(ids, ids + place), *range(ids), *range(ids + place, picked.ndim)]
    return shape.transpose(picked, tuple(order))


def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """Entries where a condition holds, along an axis."""
    return rearranged(np.ndarray.compress)(a, constant(condition), axis)


def extract(condition: Any, arr: Any) -> Any:
    """Entries where a condition holds."""
    return compress(constant(condition).reshape(-1), arr)


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """Every stretch of entries, in new last axes (a copy)."""
    return rearranged(np.lib.stride_tricks.sliding_window_view)(x, window_shape, axis)


def diag(v: Any, k: int = 0) -> Any:
    """A diagonal of a matrix, or a matrix with this diagonal."""
    ndim = len(shape_of(v))
    if ndim == 2:
        return arrange.diagonal(v, k)
    if ndim != 1:
        raise ShapeError("diag", expected="a vector or a matrix", got=shape_of(v))
    size = shape_of(v)[0]
    places = np.arange(size)
    index = (places + max(-k, 0), places + max(k, 0))
    return record(indexing.PUT_ADD, (v,), {"index": index, "into": (size + abs(k),) * 2})


def matrix_diagonal(x: Any, offset: int = 0) -> Any:
    """A diagonal of the last two axes, as a new last axis."""
    return arrange.diagonal(x, offset, -2, -1)


def diagflat(v: Any, k: int = 0) -> Any:
    """A matrix with the flattened operand as its diagonal."""
    return diag(ravel(v), k)
