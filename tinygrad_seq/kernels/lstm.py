"""The LSTM over a whole sequence, forward and backward.

The notes' equations, gates in the order of :mod:`tinygrad_seq.kernels.gates`::

    [i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

One product covers the inputs of all steps; each step then works in place on rows that are hot in
cache. Weight gradients are single products over the whole sequence after the backward sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.gates import gate
from tinygrad_seq.kernels.sequence import Kernel

__all__ = ["KERNEL"]

Array = NDArray[Any]


def lstm_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: tuple[Array, Array],
    weight_hh: Array,
    bias: Array,
) -> tuple[Array, Array]:
    """Run all steps: ``z (T, N, 4H)`` becomes the gates; fills y and extras (c, tanh c)."""
    steps, batch, hidden = y.shape
    i, f, o, g = (z[..., gate(name, hidden)] for name in "ifog")
    logistic = z[..., : 3 * hidden]
    c, tanh_c = extras
    recurrent = np.empty((batch, 4 * hidden), z.dtype)
    fresh = np.empty((batch, hidden), z.dtype)
    h, cell = states
    for t in range(steps):
        gates, s = z[t], logistic[t]
        np.dot(h, weight_hh, out=recurrent)
        gates += recurrent
        s *= 0.5  # sigma(z) = (1 + tanh(z / 2)) / 2: one tanh serves all four gates
        np.tanh(gates, out=gates)
        s *= 0.5
        s += 0.5
        h, previous, cell = y[t], cell, c[t]
        np.multiply(i[t], g[t], out=fresh)
        np.multiply(f[t], previous, out=cell)
        cell += fresh
        np.tanh(cell, out=tanh_c[t])
        np.multiply(o[t], tanh_c[t], out=h)
    return h, cell


def lstm_back(
    dz: Array,
    dy: Array,
    z: Array,
    y: Array,
    extras: Sequence[Array],
    starts: tuple[Array, Array],
    dstates: Sequence[Array],
    back: Array,
    weight_hh: Array,
    bias: Array,
) -> None:
    """The sweep back: fills `dz`; carries the cotangents of h and c to the start in place."""
    hidden = y.shape[-1]
    c, tanh_c = extras
    c0 = starts[1]
    i, f, o, g = (z[..., gate(name, hidden)] for name in "ifog")
    di, df, do, dg = (dz[..., gate(name, hidden)] for name in "ifog")
    dlogistic, logistic = dz[..., : 3 * hidden], z[..., : 3 * hidden]
    dh, dc = dstates
    scratch = np.empty_like(dh)
    for t in range(len(y) - 1, -1, -1):
        dh += dy[t]
        np.subtract(1.0, logistic[t], out=dlogistic[t])  # sigma' = sigma (1 - sigma)
        dlogistic[t] *= logistic[t]
        np.multiply(g[t], g[t], out=dg[t])  # tanh' = 1 - tanh^2
        np.subtract(1.0, dg[t], out=dg[t])
        np.multiply(dh, tanh_c[t], out=scratch)
        do[t] *= scratch
        np.multiply(tanh_c[t], tanh_c[t], out=scratch)
        np.subtract(1.0, scratch, out=scratch)
        scratch *= o[t]
        scratch *= dh
        dc += scratch
        np.multiply(dc, g[t], out=scratch)
        di[t] *= scratch
        np.multiply(dc, c[t - 1] if t else c0, out=scratch)
        df[t] *= scratch
        np.multiply(dc, i[t], out=scratch)
        dg[t] *= scratch
        dc *= f[t]
        np.dot(dz[t], back, out=dh)


KERNEL = Kernel(2, lstm_steps, lstm_back)
"""Keeps c and tanh c."""
