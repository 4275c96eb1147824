"""What trainers through time are given: windows of a sequence, a model, a loss."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.checks import array_of, shown
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.tensor import Tensor

__all__ = ["checked_window", "require_loss", "require_pair", "require_windows"]


def require_windows(owner: str, windows: Any) -> None:
    """Refuse what cannot be iterated over, and name the method that makes windows of it."""
    try:
        iter(windows)
    except (TypeError, ShapeError):  # no iterable; a number as an array or a tensor
        raise ConfigError(
            f"{owner}: windows",
            expected="an iterable of (inputs, targets)",
            got=type(windows).__name__,
            hint="pass its .windows(k)" if hasattr(windows, "windows") else "[(inputs, targets)]",
        ) from None


def require_pair(owner: str, result: Any) -> tuple[Any, Any]:
    """What a model has returned, refused unless it is outputs and a state."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise ConfigError(
            f"{owner}: the model does not return a pair",
            expected="model(inputs, state) -> (outputs, state)",
            got=type(result).__name__,
            hint="return the new state beside the outputs; None is a state too",
        )
    return result


def require_loss(owner: str, loss: Any) -> Tensor:
    """What a loss function has returned, refused unless there is something to differentiate."""
    if not isinstance(loss, Tensor) or loss.size != 1 or not loss.requires_grad:
        found = f"shape {loss.shape}, no gradient" if isinstance(loss, Tensor) else shown(loss)
        raise ConfigError(
            f"{owner}: the loss",
            expected="a scalar Tensor that depends on what is trained",
            got=found,
            hint="loss(outputs, targets), as tgs.cross_entropy is",
        )
    return loss


def checked_window(owner: str, window: Any) -> tuple[Any, Any, Any]:
    """Inputs and targets of a window as arrays or Tensors, and the rows it resets or None."""
    if not isinstance(window, (tuple, list)) or len(window) not in (2, 3):
        count = f" of {len(window)}" if isinstance(window, (tuple, list)) else ""
        raise ShapeError(
            f"{owner}: a window is a pair or a triple",
            expected="(inputs, targets) or (inputs, targets, reset)",
            got=f"{type(window).__name__}{count}",
        )
    inputs, targets = (
        part if isinstance(part, Tensor) else array_of(f"{owner}: a window", part)
        for part in window[:2]
    )
    return inputs, targets, window[2] if len(window) == 3 else None
