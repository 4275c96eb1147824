"""The vanilla RNN over a whole sequence, forward and backward.

The notes' ``h_t = tanh(W_hh h_{t-1} + W_xh x_t)`` with a bias, rows on the left; or with
``relu`` in place of ``tanh``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.sequence import Kernel

__all__ = ["KERNELS"]

Array = NDArray[Any]


def rnn_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: tuple[Array],
    weight_hh: Array,
    bias: Array,
    *,
    relu: bool,
) -> tuple[Array]:
    """Run all steps: squashes ``z (T, N, H)`` into y, which may be the same memory."""
    recurrent = np.empty(z.shape[1:], z.dtype)
    (h,) = states
    for t in range(len(z)):
        np.dot(h, weight_hh, out=recurrent)
        recurrent += z[t]
        h = y[t]
        if relu:
            np.maximum(recurrent, 0, out=h)
        else:
            np.tanh(recurrent, out=h)
    return (h,)


def rnn_back(
    dz: Array,
    dy: Array,
    z: Array,
    y: Array,
    extras: Sequence[Array],
    starts: tuple[Array],
    dstates: Sequence[Array],
    back: Array,
    weight_hh: Array,
    bias: Array,
    *,
    relu: bool,
) -> None:
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    (dh,) = dstates
    for t in range(len(y) - 1, -1, -1):
        dh += dy[t]
        if relu:
            np.multiply(dh, y[t] > 0, out=dz[t])
        else:
            np.multiply(y[t], y[t], out=dz[t])
            np.subtract(1.0, dz[t], out=dz[t])
            dz[t] *= dh
        np.dot(dz[t], back, out=dh)


def _kernel(relu: bool) -> Kernel:
    steps, back = partial(rnn_steps, relu=relu), partial(rnn_back, relu=relu)
    return Kernel(0, steps, back, in_place=True)


KERNELS = {"tanh": _kernel(relu=False), "relu": _kernel(relu=True)}
