"""Checks shared by the optimisers, the schedules and the clips: one line per option."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any, TypeAlias

from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor

Rule: TypeAlias = Callable[[str, Any], Any]
"""Takes an option's name and value; returns the value as plain Python, or raises."""


def number(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> Rule:
    """Rule for a real number in an interval; NumPy scalars become Python floats.

    A plain float matters: a ``np.float64`` hyperparameter would pull float32
    arithmetic up to float64.
    """
    closed_high = not open_high and (infinite or math.isfinite(high))
    brackets = ("(" if open_low else "[", "]" if closed_high else ")")
    expected = f"a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}"

    def check(name: str, value: Any) -> float:
        if isinstance(value, Real) and not isinstance(value, bool):
            result = float(value)
            above = result > low if open_low else result >= low
            below = result < high if open_high else result <= high
            if above and below and (infinite or math.isfinite(result)):
                return result
        raise ConfigError(f"{name} is out of range", expected=expected, got=repr(value))

    return check


def count(low: int) -> Rule:
    """Rule for an integer of at least `low`."""

    def check(name: str, value: Any) -> int:
        if isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= low:
            return int(value)
        raise ConfigError(
            f"{name} is out of range", expected=f"an integer >= {low}", got=repr(value)
        )

    return check


def choice(*allowed: str) -> Rule:
    """Rule for one of a few words."""

    def check(name: str, value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise ConfigError(
            f"{name} is unknown", expected=" or ".join(map(repr, allowed)), got=repr(value)
        )

    return check


def flag(name: str, value: Any) -> bool:
    """Rule for a switch."""
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{name} is not a switch", expected="True or False", got=repr(value))


def pair(rule: Rule) -> Rule:
    """Rule for two values under the same rule (a list, as JSON gives it, becomes a tuple)."""

    def check(name: str, value: Any) -> tuple[Any, Any]:
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return rule(f"{name}[0]", value[0]), rule(f"{name}[1]", value[1])
        raise ConfigError(f"{name} is not a pair", expected="two numbers", got=repr(value))

    return check


non_negative = number(0.0)
positive = number(0.0, open_low=True)
epsilon = number(1e-30)  # stays above 0 in float32, so that 0 / (0 + eps) is not NaN
below_one = number(0.0, 1.0, open_high=True)


def tensors(owner: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The tensors of an iterable (or of a single tensor) in order, or an error that says why not.

    A generator is consumed here, once.
    """
    if isinstance(parameters, Tensor):
        return [parameters]
    hint = "pass model.parameters(), or a list of tensors"
    if not isinstance(parameters, Iterable):
        raise ConfigError(
            f"{owner}: the parameters are not iterable",
            expected="tensors",
            got=type(parameters).__name__,
            hint=hint,
        )
    found = list(parameters)
    for position, item in enumerate(found):
        if not isinstance(item, Tensor):
            raise ConfigError(
                f"{owner}: item {position} of the parameters is not a tensor",
                expected="Tensor",
                got=type(item).__name__,
                hint=hint,
            )
    return found


def some_tensors(owner: str, parameters: Tensor | Iterable[Tensor], what: str) -> list[Tensor]:
    """The same, at least one."""
    found = tensors(owner, parameters)
    if not found:
        raise ConfigError(
            f"{owner}: {what}",
            expected="at least one tensor",
            got="none",
            hint="a generator gives its parameters only once: call parameters() again",
        )
    return found


def label(tensor: Tensor, position: int) -> str:
    """How messages call a parameter: by its dotted name, else by its position."""
    return f"parameter {tensor.name!r}" if tensor.name else f"parameter {position}"
