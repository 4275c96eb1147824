"""Compiled steps as kernels: all of them without the interpreter.

They go over contiguous rows, which LLVM vectorises. The loop over them is compiled too where a
step's products are small, with SciPy's BLAS in it; else it is run as Python, with NumPy's BLAS,
which is newer. NaN stays NaN: of what ``fastmath`` allows, what denies it is left out.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401 - what Numba would load while BLAS is held
from numpy.typing import NDArray

from tinygrad_seq.kernels.compiled.gru import after_back, after_steps, before_back, before_steps
from tinygrad_seq.kernels.compiled.lstm import lstm_back, lstm_steps
from tinygrad_seq.kernels.compiled.rnn import rnn_back, rnn_steps
from tinygrad_seq.kernels.gru import RESET_AFTER, RESET_BEFORE
from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.lstm import KERNEL as LSTM
from tinygrad_seq.kernels.products import Product
from tinygrad_seq.kernels.rnn import KERNELS as RNN

__all__ = ["COMPILED"]

Array = NDArray[Any]


_PATIENCE = 1.0
"""Seconds of compiling after which a word is said; what is kept on disk is loaded in less."""
_READY: set[Any] = set()
"""Which loops have run, on which kind of number and in which way."""


def _run(loop: Any, arrays: Sequence[Any], product: Product, at: range) -> None:
    """Run a loop over steps, compiled if its products are small."""
    steps = (at.start, at.step, len(at))
    call = loop if product.small else loop.py_func
    operand = product.blocks if product.small else product
    kind = (call, arrays[0].dtype)
    if kind in _READY:
        call(*arrays, operand, steps)
        return
    _READY.add(kind)
    word = threading.Timer(_PATIENCE, _say, [loop])
    word.daemon = True
    word.start()
    try:
        call(*arrays, operand, steps)
    finally:
        word.cancel()


def _say(loop: Any) -> None:
    kept = "once, and keeps it on disk"
    if loop.stats.cache_path is None:
        kept = "each time: NUMBA_CACHE_DIR names no folder to keep it in, nor is there another"
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one
        sys.stderr.write(f"tinygrad_seq: Numba compiles {loop.__name__} {kept}\n")


def _forward(loop: Any, _: Any, *options: Any) -> Callable[..., None]:
    def steps(
        z: Array, y: Array, extras: Any, states: Any, recur: Product, *others: Array, at: range
    ) -> None:
        arrays = (z, y, tuple(extras), tuple(states), (*_plain(others), *options))
        _run(loop, arrays, recur, at)

    return steps


def _backward(_: Any, loop: Any, *options: Any) -> Callable[..., None]:
    def back(
        dz: Array,
        dy: Array,
        z: Array,
        y: Array,
        extras: Any,
        starts: Any,
        dstates: Any,
        product: Product,
        *others: Array,
        at: range,
    ) -> None:
        rest = (*_plain(others), *options)
        arrays = (dz, dy, z, y, tuple(extras), tuple(starts), tuple(dstates), rest)
        _run(loop, arrays, product, at)

    return back


def _plain(others: Sequence[Array]) -> list[Array]:
    """Of one type: for arrays that are read-only or strided, Numba would compile anew."""
    return [np.require(other, requirements=["C", "W"]) for other in others]


def _table(*entries: tuple[Any, ...]) -> dict[Kernel, Kernel]:
    return {
        kernel: kernel._replace(forward=_forward(*loops), backward=_backward(*loops))
        for kernel, *loops in entries
    }


COMPILED = _table(
    (RNN["tanh"], rnn_steps, rnn_back, False),
    (RNN["relu"], rnn_steps, rnn_back, True),
    (LSTM, lstm_steps, lstm_back),
    (RESET_AFTER, after_steps, after_back),
    (RESET_BEFORE, before_steps, before_back),
)
"""What runs in place of each kernel."""
