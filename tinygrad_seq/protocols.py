"""NumPy's own functions on Tensors (NEP 13 and NEP 18).

What is an operation is registered beside it, and :mod:`tinygrad_seq.ops.numpy_rest` says what
happens to the rest; here it is done. Whatever has no gradient is refused on a tensor that requires
one, never evaluated silently.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_seq.engine.faults import REFUSALS, refusal
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, GraphError, NotDifferentiableError
from tinygrad_seq.ops.numpy_rest import CONSTANT_ONLY, REFUSED, SHAPE, WRITES, name_of
from tinygrad_seq.ops.registry import DIFFERENTIABLE


def call_ufunc(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Run a ufunc that met a Tensor."""
    if method == "__call__" and not kwargs and ufunc in DIFFERENTIABLE:
        return DIFFERENTIABLE[ufunc](*inputs)
    name = name_of(ufunc) + ("" if method == "__call__" else f".{method}")
    return _on_values(getattr(ufunc, method), ufunc, name, inputs, kwargs)


def call_function(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one of NumPy's other functions that met a Tensor."""
    ours = DIFFERENTIABLE.get(func)
    name = name_of(func)
    if ours is None:
        return _on_values(func, func, name, args, kwargs)
    if not args:  # NumPy's name for its first argument is not always ours
        first = next(k for k, part in kwargs.items() if next(_tensors(part), None) is not None)
        args, kwargs = (kwargs[first],), {k: v for k, v in kwargs.items() if k != first}
    kwargs = {k: v for k, v in kwargs.items() if not (v is None and k in ("out", "dtype"))}
    try:
        return ours(*args, **kwargs)
    except TypeError:
        _check_arguments(ours, name, args, kwargs)
        raise


def _check_arguments(ours: Any, name: str, args: Any, kwargs: dict[str, Any]) -> None:
    """Refuse arguments of NumPy's that our function does not have, rather than ignore them."""
    signature = inspect.signature(ours)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(
            f"{name} on a Tensor: {error}",
            expected=f"arguments {signature}",
            hint="leave the other arguments out",
        ) from None


def _on_values(run: Any, table_key: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Evaluate on the values, if no gradient can be lost by that."""
    writes = table_key in WRITES or name.endswith(".at")
    first = args[0] if args else kwargs.get("dst", kwargs.get("a"))
    target = kwargs.get("out", first if writes else None)
    if any(isinstance(t, Variable) for t in (target if isinstance(target, tuple) else (target,))):
        raise GraphError(
            f"{name} would write into a Tensor behind the graph's back",
            hint="write into t.writable(), or build a new tensor",
        )
    arguments: list[tuple[Any, Any]] = [*enumerate(args), *kwargs.items()]
    if CONSTANT_ONLY.get(table_key) == SHAPE:  # of the first: np.full_like(x, t) reads t
        arguments = [each for each in arguments if each[0] not in (0, "a", "arr", "prototype")]
    place, tracked = _first_tracked(arguments)
    reads = table_key not in CONSTANT_ONLY or CONSTANT_ONLY[table_key] == SHAPE
    if tracked is not None and (reads or "out" in kwargs):
        what = "for a tensor that requires gradients"
        expected = "a differentiable function, or a constant"
        hint = REFUSED.get(
            table_key,
            "use t.detach() if no gradient is meant to flow, or write the function with operations "
            "of tinygrad_seq",
        )
        if table_key in DIFFERENTIABLE and name == name_of(table_key):
            given = ", ".join(f"{key}=" for key in kwargs)
            what, expected = f"with {given}", f"{name} without: the result is a new Tensor"
            hint = f"leave {given} out, or use t.detach() if no gradient is meant to flow"
        raise NotDifferentiableError(
            f"{name} has no gradient rule {what}",
            expected=expected,
            got=f"argument {place}, which comes from {tracked._node}",
            hint=hint,
        )
    args, kwargs = _values(args), _values(kwargs)
    try:
        return run(*args, **kwargs)
    except (*REFUSALS, ZeroDivisionError) as error:  # the last of Python's numbers as objects
        raise refusal(name, [a for a in args if isinstance(a, np.ndarray)], error) from error


def _first_tracked(arguments: list[tuple[Any, Any]]) -> tuple[Any, Variable | None]:
    """The first argument that holds a tensor that requires gradients, and that tensor."""
    for place, argument in arguments:
        for found in _tensors(argument):
            if found._node is not None:
                return place, found
    return None, None


def _tensors(value: Any, inside: tuple[int, ...] = ()) -> Iterator[Variable]:
    """The tensors in nested arguments."""
    if isinstance(value, Variable):
        yield value
    elif isinstance(value, (list, tuple)) and not _too_deep(value, inside):
        for part in value:
            yield from _tensors(part, (*inside, id(value)))


def _too_deep(nest: Any, inside: tuple[int, ...]) -> bool:
    """Whether a nest lies in itself, or deeper than an array has axes: NumPy will refuse it."""
    return id(nest) in inside or len(inside) > 64


def _values(value: Any, inside: tuple[int, ...] = ()) -> Any:
    """The same nested arguments with every Tensor replaced by its array."""
    if isinstance(value, Variable):
        return value._array
    if not isinstance(value, (dict, list, tuple)) or _too_deep(value, inside):
        return value
    within = (*inside, id(value))
    if isinstance(value, dict):
        return {key: _values(part, within) for key, part in value.items()}
    parts = [_values(part, within) for part in value]
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
