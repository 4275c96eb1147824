"""Large arrays from memory that was used before.

Memory fresh from the system costs a page fault every 4 KiB: a fifth of a training step. What
kernels fill therefore lies in buffers that are used again as soon as no array looks into them;
the count of references says so, of views and of whatever else holds on to an array.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from tracemalloc import is_tracing
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["empty"]

_SMALL = 1 << 16
"""Bytes below which the allocator, which keeps what is freed, is quicker."""
_IDLE = 64
"""Requests after which a buffer that served none goes back to the system, when another is made."""
_LONG = 1024
"""The same in any case; more than a training step makes."""
_MOST = 256
"""Buffers to look through for each request; who holds on to more has the rest to himself."""


class _Buffer:
    """Bytes, and the number of the request that they served last."""

    def __init__(self, size: int) -> None:
        self.bytes = np.empty(size, np.uint8)
        self.served = 0

    def hold(self) -> tuple[NDArray[np.uint8], int]:
        """The bytes, and how many references there are to them while the caller has this one."""
        held = self.bytes
        return held, sys.getrefcount(held)


_FREE = _Buffer(1).hold()[1]
"""References to bytes into which nothing else looks."""


class _Pool:
    """Buffers, for all threads.

    There is no lock, on which a forked process or a signal handler could wait for ever: of those
    who hold a buffer at once, each sees the others' references, and none takes it.
    """

    def __init__(self) -> None:
        self.buffers: list[_Buffer] = []
        self.requests = 0

    def take(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes that nothing looks into, of the smallest free buffer that is no waste."""
        self.requests += 1
        if self.requests % _LONG == 0:
            self._drop_idle(_LONG)
        fitting = [buffer for buffer in self.buffers if size <= len(buffer.bytes) <= 2 * size]
        for buffer in sorted(fitting, key=lambda buffer: len(buffer.bytes)):
            held, references = buffer.hold()
            if references == _FREE:
                buffer.served = self.requests
                return held[:size]
        self._drop_idle(_IDLE)
        made = _Buffer(size)
        made.served = self.requests
        held = made.bytes[:size]
        self.buffers.append(made)  # when it is held already
        return held

    def _drop_idle(self, requests: int) -> None:
        oldest = self.requests - requests
        kept = [
            buffer for buffer in self.buffers if buffer.served > oldest or buffer.hold()[1] > _FREE
        ]
        self.buffers = sorted(kept, key=lambda buffer: buffer.served)[-_MOST:]


_POOL = _Pool()


def empty(shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """An array of whatever values, as ``np.empty`` makes one.

    Examples
    --------
    >>> first = empty((100, 200), np.float32)
    >>> place = first.ctypes.data
    >>> del first
    >>> empty((100, 200), np.float32).ctypes.data == place
    True
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALL or is_tracing():  # who traces memory is to see all of it
        return np.empty(shape, dtype)
    array: NDArray[Any] = _POOL.take(size).view(dtype).reshape(shape)
    return array
