"""Operations that give the same entries another shape, or their axes another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import choice, integers_of
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.ops import samples
from tinygrad_seq.ops.math import multiply
from tinygrad_seq.ops.registry import (
    axes_of,
    axis_of,
    for_numpy,
    listed,
    moving,
    publish,
    record,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import Draw, Sampled

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


@for_numpy(np.positive, np.real, np.conjugate)
def _same(x: Any) -> Any:
    """The operand itself."""
    return x


@for_numpy(np.copy)
def _copy(a: Any) -> Any:
    """A copy that stays in the graph."""
    if isinstance(a, Variable) and a._node is None:
        return a._wrap(np.copy(a._array), None)
    return multiply(a, 1)  # not + 0, which would make -0.0 positive


def _reshape_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape())
    return (x,), {"shape_to": draw.choice([(x.size,), (1, -1), x.shape[::-1]])}


RESHAPE = moving(
    "reshape",
    lambda x, shape_to: np.reshape(x, shape_to),
    "x",
    [lambda g, shape: np.reshape(g, shape)],
    sample=_reshape_sample,
    view=True,
    axes=Axes.RESHAPED,
)


@for_numpy(np.reshape)
def reshape(x: TensorLike, shape: int | Sequence[int], order: str = "C") -> Tensor:
    """Give a new shape to the same entries; one size may be -1.

    They are read and placed row by row, or with ``order="F"`` column by column.
    """
    if choice("C", "F")("reshape: order", order) == "F":
        sizes = integers_of("reshape: shape", values_of(shape)).reshape(-1).tolist()
        return transpose(reshape(transpose(x), tuple(sizes[::-1])))
    return record(RESHAPE, (x,), {"shape_to": shape})


@for_numpy(np.ravel)
def _ravel(a: Any, order: str = "C") -> Any:
    """All entries in one axis."""
    return reshape(a, (-1,), order)


@for_numpy(np.expand_dims)
def expand_dims(x: TensorLike, axis: int | tuple[int, ...]) -> Tensor:
    """Insert axes of size 1."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = len(shape_of(x)) + len(axes)
    places = axes_of(axes, ndim, "expand_dims")
    rest = iter(shape_of(x))
    return reshape(x, tuple(1 if i in places else next(rest) for i in range(ndim)))


@for_numpy(np.squeeze)
def squeeze(x: TensorLike, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1 (all of them, or those named)."""
    shape = shape_of(x)
    if axis is None:
        axes = tuple(i for i, size in enumerate(shape) if size == 1)
    else:
        axes = axes_of(axis, len(shape), "squeeze")
    if any(shape[a] != 1 for a in axes):
        raise ShapeError("squeeze: an axis to remove", expected="size 1", got=f"shape {shape}")
    return reshape(x, tuple(size for i, size in enumerate(shape) if i not in axes))


def _at_least(widened: Callable[[Any], Any]) -> Callable[..., Any]:
    """Of a tensor with fewer axes: axes of size 1 put where NumPy puts them."""

    def widen(*arys: Any) -> Any:
        """Axes of size 1 put in front of what has too few."""
        found = []
        for x in arys:
            shape = widened(np.empty(shape_of(x))).shape
            found.append(x if shape == shape_of(x) else reshape(x, shape))
        return found[0] if len(found) == 1 else tuple(found)

    return for_numpy(widened)(widen)


at_least_1d = _at_least(np.atleast_1d)
at_least_2d = _at_least(np.atleast_2d)
at_least_3d = _at_least(np.atleast_3d)


def _transpose_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape())
    order = list(range(x.ndim))
    turn = draw.integer(0, max(x.ndim - 1, 0))
    return (x,), {"axes": tuple(order[turn:] + order[:turn])}


TRANSPOSE = moving(
    "transpose",
    np.transpose,
    "x",
    [lambda g, axes: np.transpose(g, tuple(int(i) for i in np.argsort(axes)))],
    sample=_transpose_sample,
    view=True,
    axes=Axes.MOVED,
)


@for_numpy(np.transpose)
def transpose(x: TensorLike, axes: int | Sequence[int] | None = None) -> Tensor:
    """Permute the axes; without `axes`, reverse them."""
    ndim = len(shape_of(x))
    several = range(ndim)[::-1] if axes is None else listed(axes)
    order = tuple(axis_of(a, ndim, "transpose") for a in several)
    if sorted(order) != list(range(ndim)):
        raise ShapeError("transpose: axes", expected=f"each of 0..{ndim - 1} once", got=axes)
    return record(TRANSPOSE, (x,), {"axes": order})


@for_numpy(np.swapaxes)
def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes."""
    ndim = len(shape_of(x))
    order = list(range(ndim))
    i, j = (axis_of(axis, ndim, "swapaxes") for axis in (axis1, axis2))
    order[i], order[j] = order[j], order[i]
    return transpose(x, tuple(order))


@for_numpy(np.matrix_transpose, np.linalg.matrix_transpose)
def _matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    return swapaxes(x, -1, -2)


@for_numpy(np.moveaxis)
def moveaxis(
    x: TensorLike, source: int | Sequence[int], destination: int | Sequence[int]
) -> Tensor:
    """Move one axis or several to other places."""
    ndim = len(shape_of(x))
    origins, places = (
        [axis_of(axis, ndim, "moveaxis") for axis in listed(each)] for each in (source, destination)
    )
    if not len(origins) == len(places) == len(set(origins)) == len(set(places)):
        raise ShapeError(
            "moveaxis: axes",
            expected="as many places as axes, each once",
            got=f"{source} to {destination}",
        )
    order = [axis for axis in range(ndim) if axis not in origins]
    for place, origin in sorted(zip(places, origins, strict=True)):
        order.insert(place, origin)
    return transpose(x, tuple(order))


FLIP = moving(
    "flip", np.flip, "x", [lambda g, axis: np.flip(g, axis)], sample=samples.along_axis, view=True
)


@for_numpy(np.flip)
def flip(x: TensorLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """Reverse the order along one axis, several or all."""
    axes = axes_of(axis, len(shape_of(x)), "flip")
    found: Any = x
    for each in axes:
        found = record(FLIP, (found,), {"axis": each})
    return cast("Tensor", found if axes else _copy(x))


def _broadcast_sample(draw: Draw) -> Sampled:
    narrow, other = draw.broadcastable(2)
    return (draw.array(narrow),), {"shape_to": np.broadcast_shapes(narrow, other)}


BROADCAST_TO = moving(
    "broadcast_to",
    lambda x, shape_to: np.broadcast_to(x, shape_to),
    "x",
    [lambda g: g],
    sample=_broadcast_sample,
    view=True,
)


@for_numpy(np.broadcast_to)
def broadcast_to(x: TensorLike, shape: tuple[int, ...]) -> Tensor:
    """Repeat along new axes and axes of size 1, as broadcasting does."""
    return record(BROADCAST_TO, (x,), {"shape_to": shape})


@for_numpy(np.broadcast_arrays)
def _broadcast_arrays(*args: Any) -> Any:
    """Every operand at the common shape."""
    size = np.broadcast_shapes(*(shape_of(x) for x in args))
    return tuple(broadcast_to(x, size) for x in args)


@for_numpy(np.meshgrid)
def _meshgrid(*xi: Any, indexing: str = "xy") -> Any:
    """Coordinate grids of vectors."""
    choice("xy", "ij")("np.meshgrid: indexing", indexing)
    ndim = len(xi)
    places = list(range(ndim))
    if indexing == "xy" and ndim > 1:
        places[:2] = [1, 0]
    grids = [
        reshape(x, tuple(-1 if k == place else 1 for k in range(ndim)))
        for x, place in zip(xi, places, strict=True)
    ]
    return _broadcast_arrays(*grids)


publish(globals())
