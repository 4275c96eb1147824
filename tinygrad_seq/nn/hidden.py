"""Where parts of a model can hide or be lost: plain containers, and other values' places."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import types
import weakref
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, ItemsView, KeysView, ValuesView
from typing import Any

import numpy as np

from tinygrad_seq.errors import ArgumentError

__all__ = ["hidden_part", "is_container", "is_iterator", "lost_part", "size_of"]

_LISTS = (list, tuple, set, frozenset, deque, UserList, weakref.WeakSet)
_MAPS = (dict, UserDict, ChainMap, types.MappingProxyType)
_WEAK = (weakref.WeakValueDictionary, weakref.WeakKeyDictionary)
_PARTS: dict[Any, Callable[[Any], list[Any]]] = {
    (*_LISTS, KeysView, ValuesView, ItemsView): list,
    (*_MAPS, *_WEAK): lambda held: [*held.keys(), *held.values()],
    functools.partial: lambda held: [held.func, *held.args, *held.keywords.values()],
    types.MethodType: lambda held: [held.__self__],
    types.SimpleNamespace: lambda held: list(vars(held).values()),
}
_MADE: list[Any] = [[], (), set(), {}, {}.values(), {}.items(), deque()]
_ITERATORS: tuple[type, ...] = (
    *(type(iter(each)) for each in _MADE),
    *(types.GeneratorType, map, filter, zip, enumerate, reversed),
    *(itertools.chain, itertools.cycle, itertools.islice),
)
_PLAIN = frozenset([int, float, str, bytes, bool, type(None)])  # long lists are passed over fast


def hidden_part(value: Any, kinds: Any, is_known: Callable[[Any], bool]) -> Any:
    """A part of one of `kinds` within a value, at any depth, that is not known; else None."""
    if type(value) in _PLAIN:  # as most attributes are
        return None
    stack, seen = [value], dict[int, Any]()
    while stack:
        thing = stack.pop()
        if type(thing) in weakref.ProxyTypes:
            continue
        if isinstance(thing, kinds):
            if not is_known(thing):
                return thing
        elif (parts := _looking_into(thing)) and id(thing) not in seen:
            seen[id(thing)] = thing  # kept alive, so that its id stays its own
            stack.extend(part for part in parts(thing) if type(part) not in _PLAIN)
    return None


def is_container(value: Any) -> bool:
    """Whether parts of a model may be in it.

    Objects of other classes are not looked into: what they do with a model is their own affair.
    """
    return _looking_into(value) is not None


def _looking_into(value: Any) -> Callable[[Any], list[Any]] | None:
    if type(value) in _PLAIN:
        return None
    for kinds, parts in _PARTS.items():
        if isinstance(value, kinds):
            return parts
    if isinstance(value, np.ndarray):
        return (lambda held: list(held.flat)) if value.dtype.hasobject else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return lambda held: [getattr(held, name, None) for name in names]
    return None


def is_iterator(value: Any) -> bool:
    """Whether a value gives its parts once, and may make them only then."""
    return type(value) not in _PLAIN and isinstance(value, _ITERATORS)


def size_of(value: Any) -> int:
    """A number that tells, mostly, whether a container was filled since."""
    if isinstance(value, types.SimpleNamespace):
        return len(vars(value))
    return len(value) if hasattr(value, "__len__") else 0


def leads_to(module: Any, name: str | None, part: Any) -> bool:
    """Whether a dotted name is that of this part, seen from a module."""
    found = module
    for key in (name or "").split("."):
        found = getattr(found, "__dict__", {}).get(key)
    return found is part


def lost_part(owner: str, name: str, is_module: bool, value: Any) -> ArgumentError:
    """The error for a part of a model that something else would take the place of."""
    if is_module:
        what, hint = "a module", f"del model.{name} first, to put something else there"
    else:
        what = "a parameter"
        hint = (
            f"with tgs.no_grad(): model.{name} -= ... (a step by hand), or "
            f"model.{name}.data = array; model.{name} = nn.Parameter(array) for a new one"
        )
    return ArgumentError(
        f"{owner}: {name!r} is {what}, which would be lost",
        expected=f"{what}, or None to remove it",
        got=f"a {type(value).__name__}",
        hint=hint,
    )
