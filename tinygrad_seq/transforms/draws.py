"""Random numbers that a function draws, found and drawn once more: for what runs it again."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import numpy as np

from tinygrad_seq.checks import sequence_of
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor

__all__ = ["Draws", "undrawn"]


class Draws:
    """The generators given, and those within reach of `things`: where they are, and back to it."""

    def __init__(self, generators: Iterable[np.random.Generator], things: Any) -> None:
        one = isinstance(generators, np.random.Generator)
        given = [generators] if one else sequence_of("generators", generators, "generators")
        for generator in given:
            if not isinstance(generator, np.random.Generator):
                raise ConfigError(
                    "generators: what random numbers come from",
                    expected="numpy.random.Generator",
                    got=type(generator).__name__,
                    hint="rng = np.random.default_rng(0)",
                )
        self.sources = list({id(g): g for g in [*given, *_generators(things)]}.values())

    def now(self) -> list[Any]:
        """Where each generator is."""
        return [generator.bit_generator.state for generator in self.sources]

    def set(self, states: list[Any]) -> None:
        """Put each generator back to where it was."""
        for generator, state in zip(self.sources, states, strict=True):
            generator.bit_generator.state = state


@contextmanager
def undrawn(owner: str, things: Any) -> Iterator[None]:
    """ConfigError if random numbers are drawn in the block; the generators are put back."""
    draws = Draws((), things)
    began = draws.now()
    try:
        yield
        if repr(draws.now()) != repr(began):  # nests of numbers and small arrays
            raise ConfigError(
                f"{owner}: the model draws random numbers",
                expected="runs that differ in nothing else",
                got="another dropout mask in each",
                hint="model.eval()",
            )
    finally:
        draws.set(began)


def _generators(things: Any) -> list[np.random.Generator]:
    """Random generators within reach: in modules, arguments, closures and global names used."""
    found: list[np.random.Generator] = []
    stack, seen = [things], set()
    while stack:
        thing = stack.pop()
        if (
            id(thing) in seen
            or thing is None
            or isinstance(thing, (str, bytes, np.ndarray, Tensor))
        ):
            continue
        seen.add(id(thing))
        if isinstance(thing, np.random.Generator):
            found.append(thing)
        elif isinstance(thing, dict):
            stack.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            stack.extend(thing)
        elif isinstance(thing, functools.partial):
            stack.extend([thing.func, thing.args, thing.keywords])
        elif callable(thing) and not isinstance(thing, type):
            owner = getattr(thing, "__self__", None)
            if not isinstance(owner, type(np)):  # of a method; functions in C have a module there
                stack.extend([owner, getattr(owner, "__dict__", None)])
            stack.extend(_used(thing))
            if hasattr(thing, "named_parameters"):
                stack.append(vars(thing))
    return found


def _used(function: Any) -> Iterator[Any]:
    """What a function finds in its closure, its defaults and the global names of its file."""
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        return
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue
    yield function.__defaults__
    yield function.__kwdefaults__
    names = function.__globals__
    for name in _names(function.__code__) & names.keys():
        value = names[name]
        # Functions of other files are not followed: that would be through whole libraries.
        if getattr(value, "__globals__", names) is names:
            yield value


def _names(code: CodeType) -> set[str]:
    """Global names that a function may read, itself or in a function that it makes."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
    return found
