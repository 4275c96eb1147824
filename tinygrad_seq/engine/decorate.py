"""Blocks that change something for a while, as decorators of functions of every kind."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Generator
from typing import Any, TypeVar, cast

from tinygrad_seq.errors import ConfigError, shown

__all__ = ["Decorator"]

F = TypeVar("F", bound=Callable[..., Any])


class Decorator:
    """A context manager that may be entered many times, and decorates functions.

    The block holds while the body of the function runs. A generator, a coroutine or an
    asynchronous generator leaves it at every ``yield`` and ``await``, so that who waits there
    does not find himself in it, and enters it again when resumed.
    """

    __slots__ = ()

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        raise NotImplementedError

    def __call__(self, function: F) -> F:
        """The function, its body inside the block."""
        if isinstance(function, (type, staticmethod, classmethod)) or not callable(function):
            raise ConfigError(
                f"{type(self).__name__}: what is decorated",
                expected="a function",
                got=shown(function),
                hint="decorate the methods of a class; under @staticmethod, not over it",
            )
        return cast(F, _wrapped(self, function))


def _wrapped(block: Decorator, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the same kind (frameworks ask for it), which runs inside the block."""
    kind = inspect.unwrap(function)  # below other decorators
    if inspect.isgeneratorfunction(kind):

        def generator(*args: Any, **options: Any) -> Any:
            return (yield from _resumed(block, function(*args, **options)))

        return functools.wraps(function)(generator)
    if inspect.iscoroutinefunction(kind):

        async def coroutine(*args: Any, **options: Any) -> Any:
            return await _awaited(block, function(*args, **options))

        return functools.wraps(function)(coroutine)
    if inspect.isasyncgenfunction(kind):

        async def asynchronous(*args: Any, **options: Any) -> Any:
            inner = function(*args, **options)
            step: Any = inner.asend(None)
            while True:
                try:
                    value = await _awaited(block, step)
                except StopAsyncIteration:
                    return
                try:
                    step = inner.asend((yield value))
                except GeneratorExit:
                    await _awaited(block, inner.aclose())
                    raise
                except BaseException as error:
                    step = inner.athrow(error)

        return functools.wraps(function)(asynchronous)

    def plain(*args: Any, **options: Any) -> Any:
        with block:
            return function(*args, **options)

    return functools.wraps(function)(plain)


def _resumed(block: Decorator, inner: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """A generator that does what another does, inside the block whenever it runs."""
    step, given = inner.send, None
    while True:
        try:
            with block:
                value = step(given)
        except StopIteration as end:
            return end.value
        try:
            step, given = inner.send, (yield value)
        except GeneratorExit:
            with block:
                inner.close()
            raise
        except BaseException as error:
            step, given = inner.throw, error


@types.coroutine
def _awaited(block: Decorator, inner: Any) -> Generator[Any, Any, Any]:
    """The same of what is awaited."""
    return (yield from _resumed(block, inner.__await__()))
