"""What a recurrent kernel is: the steps of one kind of cell, forward and backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = ["Kernel"]

Array = NDArray[Any]


class Kernel(NamedTuple):
    """The steps of one kind of cell, on rows that lie row below row.

    ``at`` is the range of rows at which the steps begin, in running order: step k of n rows is
    ``z[:, k : k + n]`` for k in `at`, and the step before it begins at ``k - at.step``. Blocks
    come first, one for each gate: z (B, M, H).
    """

    extras: int
    """How many (M, H) arrays it keeps besides activations and hidden states."""
    forward: Callable[..., None]
    """``(z, y, extras, states, recur, *others, at)``.

    ``x W_xh + b`` in z becomes activations; fills y and extras (M, H), moves the states (n, H) to
    the last step, in place. ``recur(h, out)`` is h W_hh by blocks, a
    :class:`~tinygrad_seq.kernels.products.Product`.
    """
    backward: Callable[..., None]
    """``(dz, dy, z, y, extras, starts, dstates, back, *others, at)``.

    Fills dz (B, M, H), moves the cotangents of the states from the end to the start, in place;
    ``back(d, out)`` multiplies by ``W_hh.T``, block by block.
    """
    recurrent: Callable[..., tuple[Array, ...]] | None = None
    """``(before, dz, z, extras)``: gradients of W_hh and of the others.

    `before` (M, H) are the hidden states before each step; ``before.T @ dz`` if not given.
    """
    in_place: bool = False
    """Whether the activations are the hidden states, and need no memory of their own."""
    halved: int = 0
    """How many blocks come in halved, with W_hh: ``sigma(u) = (1 + tanh(u / 2)) / 2``."""
