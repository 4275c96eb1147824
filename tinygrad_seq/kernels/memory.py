"""Large arrays from memory that was used before.

Memory fresh from the system costs a page fault every 4 KiB: a fifth of a training step. What
kernels fill therefore lies in buffers that are used again as soon as no array looks into them;
the count of references says so, of views and of whatever else holds on to an array.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from tracemalloc import is_tracing
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["empty"]

_SMALL = 1 << 16
"""Bytes below which the allocator, which keeps what is freed, is quicker."""
_IDLE = 64
"""Requests after which a buffer that served none goes back to the system."""


def _references(buffers: Sequence[Any], k: int) -> int:
    return sys.getrefcount(buffers[k])


_FREE = _references([np.empty(1, np.uint8)], 0)
"""References to a buffer that nothing but its list holds."""


class _Pool:
    """Buffers, each with the request that it served last."""

    def __init__(self) -> None:
        self.buffers: list[NDArray[np.uint8]] = []
        self.served: list[int] = []
        self.requests = 0
        self.lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes that nothing looks into, of the smallest free buffer that is no waste."""
        with self.lock:
            self.requests += 1
            lengths = [len(buffer) for buffer in self.buffers]
            fitting = [k for k, length in enumerate(lengths) if size <= length <= 2 * size]
            free = [k for k in fitting if _references(self.buffers, k) == _FREE]
            if not free:
                self._drop_idle()
                free = [len(self.buffers)]
                self.buffers.append(np.empty(size, np.uint8))
                self.served.append(0)
                lengths = [size] * len(self.buffers)
            best = min(free, key=lengths.__getitem__)
            self.served[best] = self.requests
            return self.buffers[best][:size]

    def _drop_idle(self) -> None:
        oldest = self.requests - _IDLE
        busy = [
            self.served[k] > oldest or _references(self.buffers, k) > _FREE
            for k in range(len(self.buffers))
        ]
        self.buffers = [buffer for buffer, kept in zip(self.buffers, busy, strict=True) if kept]
        self.served = [request for request, kept in zip(self.served, busy, strict=True) if kept]


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
