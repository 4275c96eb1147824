"""A valid call of every public callable: what the tests with hostile values start from.

Functions of :data:`~tinygrad_seq.ops.OPS` are called with what their domain draws, methods without
parameters and those that have defaults for all are called as they are; everything else stands in
the tables of hostile_functions and hostile_methods.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from demos import lab
from tests.hostile import Call, call
from tests.hostile_functions import FUNCTIONS
from tests.hostile_methods import ABSTRACT, INSTANCES, METHODS, NO_METHODS, OPERATORS, UNARY
from tests.hostile_parts import Given, x
from tinygrad_seq import celltext, charlm, data, flow, nn, optim, testing, train, transforms, viz
from tinygrad_seq.charlm import commands
from tinygrad_seq.nn import init
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing import RandomDraw

ROOMS = {
    "nn": nn,
    "init": init,
    "optim": optim,
    "data": data,
    "train": train,
    "flow": flow,
    "viz": viz,
    "testing": testing,
    "transforms": transforms,
    "celltext": celltext,
    "charlm": charlm,
    "commands": commands,
    "lab": lab,
}


def public() -> Iterator[tuple[str, str, Any]]:
    """Room, name and value of every public callable."""
    for name in tgs.__all__:
        if callable(getattr(tgs, name)):
            yield "ops" if name in tgs.ops.__all__ else "tgs", name, getattr(tgs, name)
    for room, module in ROOMS.items():
        for name in module.__all__:
            if callable(getattr(module, name)) and name not in tgs.__all__:
                yield room, f"{room}.{name}", getattr(module, name)


def _of_domain(name: str) -> Given | None:
    """A call of an operation with what its domain draws, as tensors that require gradients."""
    record = OPS.get(name)
    if record is None or record.sample is None:
        return None
    arrays, params = record.sample(RandomDraw(np.random.default_rng(3)))
    operands = [
        tgs.tensor(a, requires_grad=True) if np.asarray(a).dtype.kind == "f" else a for a in arrays
    ]
    return tuple(operands), params


def _function(name: str, value: Any) -> Callable[[], Call] | None:
    if name in ABSTRACT:
        return lambda: call(lambda: None)
    if name in FUNCTIONS:
        return lambda: _called(value, FUNCTIONS[name]())
    if _of_domain(name) is not None:
        return lambda: _called(value, _of_domain(name))  # type: ignore[arg-type]
    return (lambda: call(value)) if _complete(value) else None


def _called(function: Callable[..., Any], given: Given) -> Call:
    return call(function, *given[0], **given[1])


def _complete(function: Callable[..., Any]) -> bool:
    """Whether it can be called without arguments."""
    try:
        inspect.signature(function).bind()
    except TypeError:
        return False
    return True


def _bound(cls: type, method: str) -> Callable[..., Any]:
    """A method as it is on an object, without making one."""
    plain = inspect.isfunction(inspect.getattr_static(cls, method))
    return partial(getattr(cls, method), None) if plain else getattr(cls, method)


def _methods(name: str, cls: type) -> Iterator[tuple[str, Callable[[], Call] | None]]:
    """Public methods of a class, each on a new instance; None where no call is known."""
    if name in ABSTRACT and name not in INSTANCES:
        return
    make = INSTANCES.get(name) or (lambda: _function(name, cls)().run())  # type: ignore[misc]
    for method in dir(cls):
        if (
            method.startswith("_")
            or (name, method) in NO_METHODS
            or not callable(getattr(cls, method, None))
        ):
            continue
        if inspect.isclass(getattr(cls, method)):
            continue
        definer = next(base for base in cls.__mro__ if method in vars(base))
        if not definer.__module__.startswith(("tinygrad_seq", "demos")):
            continue
        keys = [f"{base.__name__}.{method}" for base in cls.__mro__]
        given = next((METHODS[key] for key in keys if key in METHODS), None)
        if given is not None:
            yield (
                f"{name}.{method}",
                lambda m=method, given=given: _called(getattr(make(), m), given()),
            )
        elif _complete(_bound(cls, method)):
            yield f"{name}.{method}", lambda m=method: call(getattr(make(), m))
        else:
            yield f"{name}.{method}", None


def calls() -> dict[str, dict[str, Callable[[], Call] | None]]:
    """By room and name, how to make a valid call of everything public; None where none is known."""
    found: dict[str, dict[str, Callable[[], Call] | None]] = {}
    seen: set[Any] = set()
    for room, name, value in public():
        if isinstance(value, type(data.UnknownPolicy)):
            continue  # a type to annotate with
        found.setdefault(room, {})[name] = _function(name, value)
        if not inspect.isclass(value):
            continue
        for method, make in _methods(name, value):
            key = inspect.getattr_static(value, method.rpartition(".")[2])
            if key in seen:
                continue  # inherited: once is enough
            seen.add(key)
            found.setdefault("Tensor" if name == "Tensor" else room, {})[method] = make
    found["operators"] = {
        label: lambda f=f: call(lambda v: f(x() * 1.0, v), 0) for label, f in OPERATORS.items()
    }
    found["unary"] = {
        label: lambda f=f: call(lambda v: f(v if isinstance(v, tgs.Tensor) else x()), 0)
        for label, f in UNARY.items()
    }
    return found
