"""What optimisers, clips and schedules are given: options, states, tensors and their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_seq.checks import Rule, instance_of
from tinygrad_seq.errors import ConfigError, StateDictError
from tinygrad_seq.tensor import Tensor

__all__ = ["checked", "label", "listed", "require_same", "tensors"]


def listed(values: Any) -> list[Any]:
    """What an iterable holds, a generator too; anything else as the only one of a list."""
    try:
        parts = iter(values)
    except TypeError:
        return [values]
    return list(parts)


def tensors(
    owner: str, parameters: Tensor | Iterable[Tensor], empty: str | None = None
) -> list[Tensor]:
    """The tensors of an iterable (or of a single tensor) in order, or an error that says why not.

    A generator is consumed here, once. `empty` says what is wrong where there are none, unless
    that is all right.
    """
    found = [parameters] if isinstance(parameters, Tensor) else listed(parameters)
    hint = "pass model.parameters(), or a list of tensors"
    for position, item in enumerate(found):
        instance_of(
            f"{owner}: item {position} of the parameters is not a tensor", item, Tensor, hint=hint
        )
    if empty is not None and not found:
        raise ConfigError(
            f"{owner}: {empty}",
            expected="at least one tensor",
            got="none",
            hint="a generator gives its parameters only once: call parameters() again",
        )
    return found


def checked(owner: str, rules: Mapping[str, Rule], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that rules are for, each through its rule."""
    return {name: rule(f"{owner}: {name}", values[name]) for name, rule in rules.items()}


def require_same(what: str, expected: object, got: object, hint: str | None = None) -> None:
    """Refuse a saved state that is that of something else."""
    if type(expected) is not type(got) or expected != got:
        raise StateDictError(f"{what} does not match", expected=expected, got=got, hint=hint)


def label(tensor: Tensor, position: int) -> str:
    """How messages call a parameter: by its dotted name, else by its position."""
    return f"parameter {tensor.name!r}" if tensor.name else f"parameter {position}"
