"""Nests: tensors inside lists, tuples, named tuples and dicts, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tinygrad_seq.errors import ConfigError

__all__ = ["leaves", "map_nest", "rebuild"]

DEEPEST = 100


def map_nest(fn: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest with `fn` applied to everything that is not a container.

    Examples
    --------
    >>> map_nest(lambda x: 2 * x, {"a": [1, 2], "b": (3,)})
    {'a': [2, 4], 'b': (6,)}
    """
    return _mapped(fn, nest, DEEPEST)


def _mapped(fn: Callable[[Any], Any], nest: Any, levels: int) -> Any:
    if not isinstance(nest, (Mapping, list, tuple)):
        return fn(nest)
    if not levels:
        raise ConfigError(
            "a nest of lists, tuples and dicts",
            expected=f"at most {DEEPEST} levels",
            got="more, or a list that holds itself",
        )
    if isinstance(nest, Mapping):
        return {key: _mapped(fn, part, levels - 1) for key, part in nest.items()}
    parts = (_mapped(fn, part, levels - 1) for part in nest)
    return type(nest)(*parts) if hasattr(nest, "_fields") else type(nest)(parts)


def leaves(nest: Any) -> list[Any]:
    """Everything in a nest that is not a container, in order."""
    found: list[Any] = []
    map_nest(found.append, nest)
    return found


def rebuild(nest: Any, values: Iterable[Any]) -> Any:
    """A nest like `nest` with `values`, in order, in place of its leaves."""
    rest: Iterator[Any] = iter(values)
    return map_nest(lambda _: next(rest), nest)
