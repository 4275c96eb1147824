"""What the optimisers and the clips are given to work on: tensors, and what messages call them."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor

__all__ = ["label", "some_tensors", "tensors"]


def tensors(owner: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The tensors of an iterable (or of a single tensor) in order, or an error that says why not.

    A generator is consumed here, once.
    """
    if isinstance(parameters, Tensor):
        return [parameters]
    hint = "pass model.parameters(), or a list of tensors"
    try:
        parts = iter(parameters)
    except TypeError:
        raise ConfigError(
            f"{owner}: the parameters are not iterable",
            expected="tensors",
            got=type(parameters).__name__,
            hint=hint,
        ) from None
    found = list(parts)
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
