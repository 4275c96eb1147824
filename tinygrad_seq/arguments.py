"""Calls with arguments that a function does not take: an error that says which it does."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from tinygrad_seq.elsewhere import KEYWORDS
from tinygrad_seq.errors import ArgumentError, shown

F = TypeVar("F", bound=Callable[..., Any])
_PACKAGE = __name__.partition(".")[0]
_NUMPYS = {"dim": "axis", "keepdim": "keepdims", "unbiased": "ddof"}
"""PyTorch's names of options, and NumPy's, which are the ones taken here."""


def taking(function: F) -> F:
    """The function; arguments that it does not take are an ArgumentError."""

    @functools.wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TypeError as error:
            refuse_misfit(error, function, args, options)
            raise

    return cast(F, called)


def operations_taking(room: dict[str, Any]) -> None:
    """Have all functions with options that a module hands on answer so.

    They call one another in their own rooms, and there pay nothing for it.
    """
    for name in room["__all__"]:
        function = room[name]
        named = "axis" in function.__code__.co_varnames[: function.__code__.co_argcount]
        if named or function.__defaults__ or function.__kwdefaults__:
            room[name] = taking(function)
            room[name].__module__ = room["__name__"]  # where pickle finds it


def our_inits_taking(kind: type) -> None:
    """Have a class of this package answer so when it is made; others keep Python's errors."""
    init = vars(kind).get("__init__")
    if init is not None and is_ours(kind.__module__):
        kind.__init__ = taking(init)  # type: ignore[misc]


def refuse_misfit(
    error: TypeError,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> None:
    """An ArgumentError for a call that Python refused; nothing if the error came from within.

    To be asked where the call stands: there, an error of the call has no frame below.
    """
    trace = error.__traceback__
    if trace is not None and trace.tb_next is None:
        raise _misfit(function, args, options) from None


def _misfit(
    function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]
) -> ArgumentError:
    name, taken = function.__name__, dict(inspect.signature(function).parameters)
    owner = getattr(function, "__self__", None)
    if owner is None and next(iter(taken), "") == "self":  # a method as its class holds it
        owner, args = args[0], args[1:]
        del taken["self"]
    if owner is not None:
        kind = type(owner).__name__
        name = kind if name in ("__init__", "forward") else f"{kind}.{name}"
    by_place = [key for key, each in taken.items() if each.kind is each.POSITIONAL_OR_KEYWORD]
    named = [key for key, each in taken.items() if each.kind is not each.VAR_POSITIONAL]
    needed = [key for key in by_place if taken[key].default is inspect.Parameter.empty]
    call = [key if key in needed else f"{key}=..." for key in named]
    for theirs, ours in _NUMPYS.items():
        if theirs in options and ours in named:
            return ArgumentError(
                f"{name}: {theirs}",
                expected=f"{ours}=, NumPy's name for it",
                got=f"{theirs}={shown(options[theirs])}",
                hint=f"{name}(..., {ours}=...)",
            )
    unknown = [key for key in options if key not in named]
    if unknown:
        wrong, near = unknown[0], difflib.get_close_matches(unknown[0], named, 1)
        return ArgumentError(
            f"{name}: no argument {wrong!r}",
            expected=_listed(named),
            got=f"{wrong}={shown(options[wrong])}",
            hint=KEYWORDS.get(wrong) or (f"{near[0]}=" if near else f"{name}({', '.join(call)})"),
        )
    if len(args) > len(by_place):
        others = ", and the others by name" if len(named) > len(by_place) else ""
        return ArgumentError(
            f"{name}: too many arguments by position",
            expected=_listed(by_place) + others,
            got=f"{shown(args[len(by_place)])} in one place more",
            hint=f"{name}({', '.join(call)})",
        )
    missing = [key for key in needed if key not in options and key not in by_place[: len(args)]]
    twice = [key for key in by_place[: len(args)] if key in options]
    return ArgumentError(
        f"{name}: " + (f"{_listed(missing)} missing" if missing else f"{_listed(twice)} twice"),
        expected=_listed(named),
        hint=f"{name}({', '.join(call)})",
    )


def warn_caller(message: str) -> None:
    """A UserWarning that points to the line which called into this package."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)


def is_ours(module: str) -> bool:
    """Whether a module is of this package."""
    return module.partition(".")[0] == _PACKAGE


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no arguments"
