"""Rows on several threads, one BLAS thread each.

Two BLAS threads gain little on the product of one step, and while another process is busy they
wait for each other: a hundred times slower at worst. Rows of a batch do not need each other, so
each thread takes a share of them through all steps. Large products are shared out likewise: the
threads of BLAS go on spinning for a while after each, and would be in the way of ours.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_seq.kernels import memory
from tinygrad_seq.kernels.settings import config

__all__ = ["in_shards", "matmul", "shares_of"]


_SHARE = 3000
"""Entries of a state below which a thread of its own costs more than it saves."""


def shares_of(rows: int, hidden: int) -> int:
    """In how many shares to run (rows, hidden) states."""
    return max(min(config.threads, rows * hidden // _SHARE, rows), 1)


def in_shards(work: Callable[[int, int], None], rows: int, shares: int) -> None:
    """Call ``work(first, last)`` for shares of the rows, all at once.

    An error of one is raised when all have ended.
    """
    with _one_blas_thread():
        if shares == 1:
            work(0, rows)
            return
        left = [(rows * k // shares, rows * (k + 1) // shares) for k in reversed(range(shares))]

        def take_shares() -> None:
            while True:
                try:
                    share = left.pop()
                except IndexError:
                    return
                work(*share)

        waiting: list[Future[None]] = []
        with suppress(RuntimeError):  # no thread is to be had, as when the interpreter ends
            pool = _pool(os.getpid(), shares - 1)
            # Each in a copy of this context: NumPy keeps what to do at overflow there.
            waiting.extend(
                pool.submit(contextvars.copy_context().run, take_shares) for _ in range(shares - 1)
            )
        try:
            take_shares()
        finally:
            errors = [future.exception() for future in waiting if left or not future.cancel()]
        for error in errors:
            if error is not None:
                raise error


_TINY, _LARGE = 1 << 18, 1 << 23
"""Multiplications up to which BLAS takes one thread by itself, and from which ours pay."""


def matmul(a: Any, b: Any, out: Any = None) -> Any:
    """``np.matmul``, the rows or columns of a large one shared out on threads."""
    if type(a) is not np.ndarray or type(b) is not np.ndarray or a.ndim < 2 or b.ndim < 2:
        return np.matmul(a, b) if out is None else np.matmul(a, b, out=out)
    size = a.size * b.shape[-1] * (1 if b.ndim == 2 else b.size // (b.shape[-1] * b.shape[-2] or 1))
    if size <= _TINY or a.shape[-1] != b.shape[-2]:
        return np.matmul(a, b, out=out)
    if out is None:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        kind = np.result_type(a, b)
        out = memory.empty((*batch, a.shape[-2], b.shape[-1]), kind)
    by_rows = a.shape[-2] >= b.shape[-1]

    def part(low: int, high: int) -> None:
        if by_rows:
            np.matmul(a[..., low:high, :], b, out=out[..., low:high, :])
        else:
            np.matmul(a, b[..., low:high], out=out[..., low:high])

    longest = max(a.shape[-2], b.shape[-1])
    in_shards(part, longest, min(config.threads, longest // 8) if size >= _LARGE else 1)
    return out


@lru_cache(maxsize=4)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of this process: those of its parent are not there after a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tinygrad_seq")


class _Blas:
    """The number of BLAS threads, held at one while anyone needs it."""

    def __init__(self) -> None:
        self.before: list[tuple[Any, int]] = []
        self.start_anew()

    def start_anew(self) -> None:
        """With nobody who needs it, and a lock of this process."""
        self.lock = threading.RLock()  # a signal handler may run a layer of its own
        self.holders: set[object] = set()

    def enter(self, holder: object) -> None:
        with self.lock:
            if not self.before:  # else it is held, or was where this process was forked
                self.before = [
                    (each, each.get_num_threads()) for each in _libraries(len(sys.modules))
                ]
            self.holders.add(holder)
            for library, _ in self.before:
                library.set_num_threads(1)

    def leave(self, holder: object) -> None:
        with self.lock:
            self.holders.discard(holder)
            if not self.holders:
                for library, threads in self.before:
                    library.set_num_threads(threads)
                self.before = []


@lru_cache(maxsize=1)
def _libraries(modules: int) -> list[Any]:
    """Every BLAS that is loaded, looked for anew when more modules are: they may bring one."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers  # type: ignore[no-any-return]


_BLAS = _Blas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_BLAS.start_anew)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Hold BLAS at one thread; the last of those who do so at once gives its threads back."""
    holder = object()
    try:  # around entering too, where an interrupt may come
        _BLAS.enter(holder)
        yield
    finally:
        _BLAS.leave(holder)
