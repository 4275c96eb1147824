"""PyTorch's names of options, answered with NumPy's, which are the ones taken here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from tinygrad_seq.arguments import taking
from tinygrad_seq.errors import ArgumentError, shown

__all__ = ["answering", "answering_all"]

F = TypeVar("F", bound=Callable[..., Any])

_PYTORCH = {"dim": "axis", "keepdim": "keepdims", "unbiased": "ddof"}


def answering(operation: F) -> F:
    """The operation; PyTorch's name of an option it has is an ArgumentError that tells NumPy's."""
    taken = inspect.signature(operation).parameters
    any_name = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    answers = {theirs: ours for theirs, ours in _PYTORCH.items() if any_name or ours in taken}

    called = taking(operation)

    @functools.wraps(operation)
    def spelt(*args: Any, **options: Any) -> Any:
        if options:
            for theirs, ours in answers.items():
                if theirs in options:
                    raise ArgumentError(
                        f"{operation.__name__}: {theirs}",
                        expected=f"{ours}=, NumPy's name for it",
                        got=f"{theirs}={shown(options[theirs])}",
                        hint=f"{operation.__name__}(..., {ours}=...)",
                    )
        return called(*args, **options)

    return cast(F, spelt)


def answering_all(room: dict[str, Any], module: str) -> None:
    """Have all operations with options in a module's names answer so.

    The operations call one another in their own rooms, and there pay nothing for it.
    """
    for name, operation in list(room.items()):
        code = getattr(operation, "__code__", None)
        if code is None or name.startswith("_"):
            continue
        taken = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        options = "axis" in taken or operation.__defaults__ or operation.__kwdefaults__
        if options and not _PYTORCH.keys() & set(taken):
            room[name] = answering(operation)
            room[name].__module__ = module  # where pickle finds it
