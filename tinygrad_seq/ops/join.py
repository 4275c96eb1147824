"""Operations that join tensors, and cut them into parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import count, integers_of, sequence_of
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.ops.registry import (
    axis_of,
    for_numpy,
    moving,
    publish,
    record,
    record_several,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import Draw, Sampled
from tinygrad_seq.ops.shape import at_least_1d, at_least_2d, at_least_3d, reshape, squeeze

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


def _concatenate_sample(draw: Draw) -> Sampled:
    shape = draw.shape(1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    parts = []
    for _ in range(draw.integer(1, 3)):
        sizes = list(shape)
        sizes[axis] = draw.integer(1, 3)
        parts.append(draw.array(tuple(sizes)))
    return tuple(parts), {"axis": axis, "points": _points(parts, axis)}


def _points(parts: Sequence[Any], axis: int) -> tuple[int, ...]:
    """Where one part ends and the next begins."""
    sizes = []
    for part in parts:
        shape = shape_of(part)
        sizes.append(shape[axis_of(axis, len(shape), "concatenate")])
    return tuple(int(end) for end in np.cumsum(sizes)[:-1])


CONCATENATE = moving(
    "concatenate",
    lambda *xs, axis, points: np.concatenate(xs, axis),
    "*xs",
    joint=lambda g, axis, points: np.split(g, points, axis),
    sample=_concatenate_sample,
    axes=Axes.JOINED,
)


@for_numpy(np.concatenate)
def concatenate(xs: Iterable[TensorLike], axis: int | None = 0) -> Tensor:
    """Join along an existing axis; of the flattened parts without one."""
    parts = _some(xs, "concatenate")
    if axis is None:
        parts, axis = [reshape(x, (-1,)) for x in parts], 0
    return record(CONCATENATE, tuple(parts), {"axis": axis, "points": _points(parts, axis)})


@for_numpy(np.append)
def _append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """Joined at the end of an axis, by `np.concatenate`."""
    return concatenate([arr, values], axis)


@for_numpy(np.hstack)
def _hstack(tup: Sequence[Any]) -> Any:
    """Joined along the second axis (of vectors, the only one)."""
    parts = [at_least_1d(part) for part in tup]
    return concatenate(parts, 0 if parts and len(shape_of(parts[0])) == 1 else 1)


@for_numpy(np.vstack)
def _vstack(tup: Sequence[Any]) -> Any:
    """Joined along the first axis, vectors as rows."""
    return concatenate([at_least_2d(part) for part in tup])


@for_numpy(np.dstack)
def _dstack(tup: Sequence[Any]) -> Any:
    """Joined along the third axis."""
    return concatenate([at_least_3d(part) for part in tup], 2)


@for_numpy(np.column_stack)
def _column_stack(tup: Sequence[Any]) -> Any:
    """Joined along the second axis, vectors as columns."""
    return concatenate([reshape(p, (-1, 1)) if len(shape_of(p)) < 2 else p for p in tup], 1)


def _stack_sample(draw: Draw) -> Sampled:
    shape = draw.shape()
    axis = draw.integer(-len(shape) - 1, len(shape))
    return tuple(draw.array(shape) for _ in range(draw.integer(1, 3))), {"axis": axis}


def _unstack(g: Any, axis: int) -> list[Any]:
    before = (slice(None),) * (axis % g.ndim)
    return [g[(*before, k)] for k in range(g.shape[axis])]


STACK = moving(
    "stack",
    lambda *xs, axis: np.stack(xs, axis),
    "*xs",
    joint=_unstack,
    sample=_stack_sample,
    axes=Axes.STACKED,
)


@for_numpy(np.stack)
def stack(xs: Iterable[TensorLike], axis: int = 0) -> Tensor:
    """Join along a new axis."""
    return record(STACK, tuple(_some(xs, "stack")), {"axis": axis})


def _some(xs: Any, name: str) -> list[Any]:
    parts = sequence_of(f"{name}: parts", xs, "tensors")
    if not parts:
        raise ConfigError(f"{name}: nothing to join", expected="at least one tensor", got="none")
    return parts


def _split_sample(draw: Draw) -> Sampled:
    shape = draw.shape(1)
    axis = draw.integer(-len(shape), len(shape) - 1)
    count = draw.integer(1, 3)
    sizes = list(shape)
    sizes[axis] *= count
    return (draw.array(tuple(sizes)),), {"sections": count, "axis": axis}


def _split(x: Any, sections: int | tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """``numpy.split`` as a tuple of views; equal parts the short way, ten times faster."""
    size = x.shape[axis]
    if not isinstance(sections, int) or sections < 1 or size % sections:
        return tuple(np.split(x, sections, axis))
    part = size // sections
    before = (slice(None),) * (axis % x.ndim)
    return tuple([x[(*before, slice(k, k + part))] for k in range(0, size, part)])


SPLIT = moving(
    "split",
    _split,
    "x",
    [lambda g, axis: np.concatenate(g, axis)],
    sample=_split_sample,
    outputs=-1,
    view=True,
    axes=Axes.CUT,
)


@for_numpy(np.split)
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


@for_numpy(np.array_split)
def _array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Parts along an axis, of nearly equal sizes."""
    size = shape_of(ary)[axis_of(axis, len(shape_of(ary)), "array_split")]
    if np.ndim(indices_or_sections) == 0 and indices_or_sections < 1:
        raise ConfigError(
            "array_split: sections", expected="a positive number", got=indices_or_sections
        )
    places = np.array_split(np.arange(size), indices_or_sections)
    cuts = np.cumsum([len(part) for part in places])[:-1]
    return split(ary, [int(cut) for cut in cuts], axis)


@for_numpy(np.hsplit)
def _hsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the second axis (of a vector, its only one)."""
    return split(ary, indices_or_sections, 0 if len(shape_of(ary)) == 1 else 1)


@for_numpy(np.vsplit)
def _vsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the first axis."""
    return split(ary, indices_or_sections, 0)


@for_numpy(np.dsplit)
def _dsplit(ary: Any, indices_or_sections: Any) -> Any:
    """Parts along the third axis."""
    return split(ary, indices_or_sections, 2)


@for_numpy("unstack")  # NumPy 2.1
def _each(x: Any, axis: int = 0) -> Any:
    """The slices along an axis, without that axis."""
    place = axis_of(axis, len(shape_of(x)), "unstack")
    return tuple(squeeze(part, place) for part in split(x, shape_of(x)[place], place))


publish(globals())
