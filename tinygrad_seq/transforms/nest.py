"""Nests: tensors inside lists, tuples, named tuples and dicts, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

__all__ = ["leaves", "map_nest", "rebuild"]


def map_nest(fn: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest with `fn` applied to everything that is not a container.

    Examples
    --------
    >>> map_nest(lambda x: 2 * x, {"a": [1, 2], "b": (3,)})
    {'a': [2, 4], 'b': (6,)}
    """
    if isinstance(nest, Mapping):
        return {key: map_nest(fn, part) for key, part in nest.items()}
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(map_nest(fn, part) for part in nest))
    if isinstance(nest, (list, tuple)):
        return type(nest)(map_nest(fn, part) for part in nest)
    return fn(nest)


def leaves(nest: Any) -> list[Any]:
    """Everything in a nest that is not a container, in order."""
    found: list[Any] = []
    map_nest(found.append, nest)
    return found


def rebuild(nest: Any, values: Iterable[Any]) -> Any:
    """A nest like `nest` with `values`, in order, in place of its leaves."""
    rest: Iterator[Any] = iter(values)
    return map_nest(lambda _: next(rest), nest)
