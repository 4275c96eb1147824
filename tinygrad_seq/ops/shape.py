"""Operations that move or join entries without changing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import choice, count, integers_of, sequence_of
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops.domains import Draw
from tinygrad_seq.ops.registry import (
    Moving,
    axis_of,
    record,
    record_several,
    register,
    shape_of,
    values_of,
)

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "flip",
    "moveaxis",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
]

Sampled = tuple[tuple[Any, ...], dict[str, Any]]


def _reshape_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape())
    return (x,), {"shape_to": draw.choice([(x.size,), (1, -1), x.shape[::-1]])}


def _transpose_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape())
    order = list(range(x.ndim))
    turn = draw.integer(0, max(x.ndim - 1, 0))
    return (x,), {"axes": tuple(order[turn:] + order[:turn])}


def _broadcast_sample(draw: Draw) -> Sampled:
    narrow, other = draw.broadcastable(2)
    return (draw.array(narrow),), {"shape_to": np.broadcast_shapes(narrow, other)}


def _flip_sample(draw: Draw) -> Sampled:
    x = draw.array(draw.shape(1))
    return (x,), {"axis": draw.integer(-x.ndim, x.ndim - 1)}


def _concatenate_sample(draw: Draw) -> Sampled:
    shape = draw.shape(1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    parts = []
    for _ in range(draw.integer(1, 3)):
        sizes = list(shape)
        sizes[axis] = draw.integer(1, 3)
        parts.append(draw.array(tuple(sizes)))
    return tuple(parts), {"axis": axis, "points": _points(parts, axis)}


def _stack_sample(draw: Draw) -> Sampled:
    shape = draw.shape()
    axis = draw.integer(-len(shape) - 1, len(shape))
    return tuple(draw.array(shape) for _ in range(draw.integer(1, 3))), {"axis": axis}


def _split_sample(draw: Draw) -> Sampled:
    shape = draw.shape(1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    count = draw.integer(1, 3)
    sizes = list(shape)
    sizes[axis] *= count
    return (draw.array(tuple(sizes)),), {"sections": count, "axis": axis}


def _points(parts: Sequence[Any], axis: int) -> tuple[int, ...]:
    """Where one part ends and the next begins."""
    sizes = []
    for part in parts:
        shape = shape_of(part)
        sizes.append(shape[axis_of(axis, len(shape), "concatenate")])
    return tuple(int(end) for end in np.cumsum(sizes)[:-1])


def _split(x: Any, sections: int | tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """``numpy.split`` as a tuple of views; equal parts the short way, ten times faster."""
    size = x.shape[axis]
    if not isinstance(sections, int) or sections < 1 or size % sections:
        return tuple(np.split(x, sections, axis))
    part = size // sections
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, slice(k, k + part))] for k in range(0, size, part)])


def _unstack(g: Any, axis: int) -> list[Any]:
    before = (slice(None),) * (axis % g.ndim)
    return [g[(*before, k)] for k in range(g.shape[axis])]


RESHAPE = register(
    Moving(
        "reshape",
        lambda x, shape_to: np.reshape(x, shape_to),
        "x",
        [lambda g, shape: np.reshape(g, shape)],
        sample=_reshape_sample,
        view=True,
        axes=Axes.RESHAPED,
    )
)
TRANSPOSE = register(
    Moving(
        "transpose",
        np.transpose,
        "x",
        [lambda g, axes: np.transpose(g, tuple(int(i) for i in np.argsort(axes)))],
        sample=_transpose_sample,
        view=True,
        axes=Axes.MOVED,
    )
)
BROADCAST_TO = register(
    Moving(
        "broadcast_to",
        lambda x, shape_to: np.broadcast_to(x, shape_to),
        "x",
        [lambda g: g],
        sample=_broadcast_sample,
        view=True,
    )
)
FLIP = register(
    Moving("flip", np.flip, "x", [lambda g, axis: np.flip(g, axis)], sample=_flip_sample, view=True)
)
CONCATENATE = register(
    Moving(
        "concatenate",
        lambda *xs, axis, points: np.concatenate(xs, axis),
        "*xs",
        joint=lambda g, axis, points: np.split(g, points, axis),
        sample=_concatenate_sample,
        axes=Axes.JOINED,
    )
)
STACK = register(
    Moving(
        "stack",
        lambda *xs, axis: np.stack(xs, axis),
        "*xs",
        joint=_unstack,
        sample=_stack_sample,
        axes=Axes.STACKED,
    )
)
SPLIT = register(
    Moving(
        "split",
        _split,
        "x",
        [lambda g, axis: np.concatenate(g, axis)],
        sample=_split_sample,
        outputs=-1,
        view=True,
        axes=Axes.CUT,
    )
)


def reshape(x: TensorLike, shape: int | Sequence[int], order: str = "C") -> Tensor:
    """Give a new shape to the same entries; one size may be -1.

    They are read and placed row by row, or with ``order="F"`` column by column.
    """
    if choice("C", "F")("reshape: order", order) == "F":
        sizes = integers_of("reshape: shape", values_of(shape)).reshape(-1).tolist()
        return transpose(reshape(transpose(x), tuple(sizes[::-1])))
    return record(RESHAPE, (x,), {"shape_to": shape})


def transpose(x: TensorLike, axes: int | Sequence[int] | None = None) -> Tensor:
    """Permute the axes; without `axes`, reverse them."""
    ndim = len(shape_of(x))
    several: Any = range(ndim)[::-1] if axes is None else axes
    if not isinstance(several, (tuple, list, range)):
        several = integers_of("transpose: axes", values_of(axes)).reshape(-1)
    order = tuple(axis_of(a, ndim, "transpose") for a in several)
    if sorted(order) != list(range(ndim)):
        raise ShapeError("transpose: axes", expected=f"each of 0..{ndim - 1} once", got=axes)
    return record(TRANSPOSE, (x,), {"axes": order})


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """Exchange two axes."""
    ndim = len(shape_of(x))
    order = list(range(ndim))
    i, j = (axis_of(axis, ndim, "swapaxes") for axis in (axis1, axis2))
    order[i], order[j] = order[j], order[i]
    return transpose(x, tuple(order))


def moveaxis(x: TensorLike, source: int, destination: int) -> Tensor:
    """Move one axis to another place."""
    ndim = len(shape_of(x))
    origin = axis_of(source, ndim, "moveaxis")
    order = [axis for axis in range(ndim) if axis != origin]
    order.insert(axis_of(destination, ndim, "moveaxis"), origin)
    return transpose(x, tuple(order))


def expand_dims(x: TensorLike, axis: int | tuple[int, ...]) -> Tensor:
    """Insert axes of size 1."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = len(shape_of(x)) + len(axes)
    places = {axis_of(a, ndim, "expand_dims") for a in axes}
    if len(places) != len(axes):
        raise ShapeError("expand_dims: axis", expected="each axis once", got=axis)
    rest = iter(shape_of(x))
    return reshape(x, tuple(1 if i in places else next(rest) for i in range(ndim)))


def squeeze(x: TensorLike, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """Remove axes of size 1 (all of them, or those named)."""
    shape = shape_of(x)
    if axis is None:
        axes = {i for i, size in enumerate(shape) if size == 1}
    else:
        given = axis if isinstance(axis, tuple) else (axis,)
        axes = {axis_of(a, len(shape), "squeeze") for a in given}
    if any(shape[a] != 1 for a in axes):
        raise ShapeError("squeeze: an axis to remove", expected="size 1", got=f"shape {shape}")
    return reshape(x, tuple(size for i, size in enumerate(shape) if i not in axes))


def broadcast_to(x: TensorLike, shape: tuple[int, ...]) -> Tensor:
    """Repeat along new axes and axes of size 1, as broadcasting does."""
    return record(BROADCAST_TO, (x,), {"shape_to": shape})


def flip(x: TensorLike, axis: int) -> Tensor:
    """Reverse the order along an axis."""
    return record(FLIP, (x,), {"axis": axis})


def concatenate(xs: Iterable[TensorLike], axis: int | None = 0) -> Tensor:
    """Join along an existing axis; of the flattened parts without one."""
    parts = _some(xs, "concatenate")
    if axis is None:
        parts, axis = [reshape(x, (-1,)) for x in parts], 0
    return record(CONCATENATE, tuple(parts), {"axis": axis, "points": _points(parts, axis)})


def stack(xs: Iterable[TensorLike], axis: int = 0) -> Tensor:
    """Join along a new axis."""
    return record(STACK, tuple(_some(xs, "stack")), {"axis": axis})


def split(x: TensorLike, sections: int | Sequence[int], axis: int = 0) -> tuple[Tensor, ...]:
    """Cut into equal parts (an integer) or at given positions, as ``numpy.split`` does.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> [part.shape for part in tgs.split(tgs.tensor(np.zeros((2, 12))), 4, axis=1)]
    [(2, 3), (2, 3), (2, 3), (2, 3)]
    """
    axis = axis_of(axis, len(shape_of(x)), "split")
    cut = sections if type(sections) is int and sections > 0 else _cuts(sections)
    return record_several(SPLIT, (x,), {"sections": cut, "axis": axis})


def _cuts(sections: Any) -> int | tuple[int, ...]:
    """Where to split: a number of parts, or positions."""
    sections = values_of(sections)
    if isinstance(sections, (list, tuple, np.ndarray)):
        places = integers_of("split: sections", sections)
        if places.ndim == 1:
            return tuple(int(place) for place in places)
        sections = places[()]
    return cast("int", count(1)("split: sections", sections))


def _some(xs: Any, name: str) -> list[Any]:
    parts = sequence_of(f"{name}: parts", xs, "tensors")
    if not parts:
        raise ConfigError(f"{name}: nothing to join", expected="at least one tensor", got="none")
    return parts
