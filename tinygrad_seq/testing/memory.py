"""Comparing what lies in memory: copies, overlaps, strides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array
from tinygrad_seq.engine.variable import Variable

__all__ = ["arrays_in", "copies", "overlap", "same", "strided"]


def strided(array: Array) -> Array:
    """The same numbers in memory with gaps, read backward along the first axis."""
    if array.ndim == 0:
        return array.copy()
    wide = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    view = wide[::-2]
    view[...] = array
    return view


def arrays_in(values: Sequence[Any]) -> Iterator[Array]:
    """Every array in nested tuples and lists."""
    for value in values:
        if isinstance(value, Variable):
            yield value._array
        elif isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from arrays_in(value)


def copies(arrays: Sequence[Any]) -> list[Any]:
    """Copies of the arrays; anything else as it is."""
    return [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]


def same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether no array has changed."""
    return all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc")
        for a, b in zip(before, after, strict=True)
        if isinstance(a, np.ndarray)
    )


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays share memory."""
    return (
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and bool(a.size and b.size)
        and np.shares_memory(a, b)
    )
