"""What cells and layers read, checked: one step of tokens or floats, or a sequence of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, size
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.errors import DtypeError, ShapeError
from tinygrad_seq.nn.state import array_in
from tinygrad_seq.ops.registry import check_indices
from tinygrad_seq.ops.sequence import sequence_options
from tinygrad_seq.tensor import Tensor

__all__ = ["checked_input", "every_of", "run_options", "time_major"]


def checked_input(owner: str, x: Any, size: int, dtype: Any) -> Any:
    """Tokens as checked integers, or floats of the layer's dtype whose last axis fits."""
    refuse_several(owner, x)
    values = array_in(f"{owner}: input", x)
    if values.dtype.kind in "iu":
        return check_indices(values, size, f"{owner}: token")
    if values.dtype != dtype:
        raise DtypeError(
            f"{owner}: input",
            expected=f"{dtype} like the parameters, or integer tokens",
            got=values.dtype,
            hint=f"x.astype(np.{dtype})"
            + (f", or layer.astype(np.{values.dtype})" if values.dtype.kind == "f" else ""),
        )
    if values.ndim == 0 or values.shape[-1] != size:
        raise ShapeError(
            f"{owner}: the last axis of the input is not input_size",
            expected=f"(..., {size})",
            got=values.shape,
            hint="features come last: (T, N, I), or (N, T, I) with batch_first=True",
        )
    return x


def time_major(
    owner: str,
    x: Any,
    lengths: Any,
    size: int,
    dtype_of: Callable[[Any], Any],
    *,
    batch_first: bool,
) -> tuple[Any, Any, bool]:
    """The input as (T, N, ...), its lengths as (N,), and whether it had no batch axis."""
    if not isinstance(x, Tensor):
        refuse_several(owner, x)
        x = array_of(f"{owner}: input", x)
    rank = x.ndim + (1 if x.dtype.kind in "iu" else 0)
    if rank not in (2, 3) or 0 in x.shape:
        # The last axis is looked at first: a wrong size is the commoner mistake.
        checked_input(owner, x, size, dtype_of(x))
        raise ShapeError(
            f"{owner}: input",
            expected="(T, N, I) or (T, I) floats, (T, N) or (T,) tokens, T and N >= 1",
            got=x.shape,
        )
    if rank == 2:
        lengths = None if lengths is None else np.reshape(lengths, (-1,))
        return np.expand_dims(x, 1), lengths, True
    return (np.swapaxes(x, 0, 1) if batch_first else x), lengths, False


def every_of(what: str, value: Any) -> int | bool:
    """Rule for `checkpoint`: a number of steps, or a switch."""
    return value if isinstance(value, bool) else size(what, value)


def run_options(
    owner: str, steps: int, batch: int, lengths: Any, reset: Any, checkpoint: int | bool
) -> dict[str, Any]:
    """How a batch of sequences is run, checked; only what differs from the plain run."""
    every: int | None = int(checkpoint) or None
    if checkpoint is True:
        every = int(np.ceil(np.sqrt(steps)))
    if lengths is None and reset is None and every is None:
        return {}
    options = sequence_options(owner, steps, batch, lengths, reset, False, every)
    if "every" in options:
        options["checkpoint"] = options.pop("every")
    return options
