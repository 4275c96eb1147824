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

from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.products import Product

__all__ = ["KERNELS"]

Array = NDArray[Any]


def rnn_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: Sequence[Array],
    recur: Product,
    *,
    at: range,
    relu: bool,
) -> None:
    """Run all steps: squashes z, which is y, in place."""
    (h,) = states
    recurrent = np.empty((1, *h.shape), z.dtype)
    before = h
    for k in at:
        new = y[k : k + len(h)]
        recur(before, recurrent)
        new += recurrent[0]
        if relu:
            np.maximum(new, 0, out=new)
        else:
            np.tanh(new, out=new)
        before = new
    h[...] = before


def rnn_back(
    dz: Array,
    dy: Array,
    z: Array,
    y: Array,
    extras: Sequence[Array],
    starts: Sequence[Array],
    dstates: Sequence[Array],
    back: Product,
    *,
    at: range,
    relu: bool,
) -> None:
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    (dh,) = dstates
    for k in reversed(at):
        rows = slice(k, k + len(dh))
        new, d = y[rows], dz[0, rows]
        dh += dy[rows]
        if relu:
            d[...] = new  # 0 where it is not positive, or NaN
            np.copyto(d, dh, where=new > 0)
        else:
            np.multiply(new, new, out=d)
            np.subtract(1.0, d, out=d)
            d *= dh
        back(d, dh[None])


def _kernel(relu: bool) -> Kernel:
    steps, back = partial(rnn_steps, relu=relu), partial(rnn_back, relu=relu)
    return Kernel(0, steps, back, in_place=True)


KERNELS = {"tanh": _kernel(relu=False), "relu": _kernel(relu=True)}
