"""The LSTM over a whole sequence, forward and backward.

The notes' equations, gates in the order of :mod:`tinygrad_seq.kernels.gates`::

    [i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

Each step works in place on rows that are hot in cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.products import Product

__all__ = ["KERNEL"]

Array = NDArray[Any]


def lstm_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: Sequence[Array],
    recur: Product,
    *,
    at: range,
) -> None:
    """Run all steps: z (4, M, H) becomes the gates; fills y and extras (c, tanh c)."""
    h, c = states
    gates, fresh = np.empty((4, *h.shape), z.dtype), np.empty_like(h)
    (i, f, o, g), logistic, half = gates, gates[:3], np.array(0.5, z.dtype)
    hidden, cell = h, c
    for k in at:
        rows = slice(k, k + len(h))
        kept, new, tanh_c = z[:, rows], extras[0][rows], extras[1][rows]
        recur(hidden, gates)
        np.add(gates, kept, out=gates)
        np.tanh(gates, out=gates)
        np.multiply(logistic, half, out=logistic)
        np.add(logistic, half, out=logistic)
        kept[...] = gates
        np.multiply(i, g, out=fresh)
        np.multiply(f, cell, out=new)
        np.add(new, fresh, out=new)
        np.tanh(new, out=tanh_c)
        hidden, cell = y[rows], new
        np.multiply(o, tanh_c, out=hidden)
    h[...], c[...] = hidden, cell


def lstm_back(
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
) -> None:
    """The sweep back: fills `dz`; carries the cotangents of h and c to the start in place."""
    dh, dc = dstates
    gates, slopes, carried = (np.empty((4, *dh.shape), z.dtype) for _ in range(3))
    (i, f, o, g), (di, df, do, dg) = gates, slopes
    logistic, dlogistic, one = gates[:3], slopes[:3], np.array(1, z.dtype)
    into_c, scratch = np.empty_like(dh), np.empty_like(dh)
    for k in reversed(at):
        rows = slice(k, k + len(dh))
        tanh_c = extras[1][rows]
        before = starts[1] if k == at.start else extras[0][k - at.step : k - at.step + len(dh)]
        gates[...] = z[:, rows]
        np.add(dh, dy[rows], out=dh)
        np.multiply(tanh_c, tanh_c, out=scratch)
        np.subtract(one, scratch, out=scratch)
        np.multiply(dh, o, out=into_c)
        np.multiply(into_c, scratch, out=into_c)
        np.add(dc, into_c, out=dc)
        np.subtract(one, logistic, out=dlogistic)  # sigma' = sigma (1 - sigma)
        np.multiply(dlogistic, logistic, out=dlogistic)
        np.multiply(g, g, out=dg)  # tanh' = 1 - tanh^2
        np.subtract(one, dg, out=dg)
        for slope, factor in ((di, g), (df, before), (do, tanh_c), (dg, i)):
            np.multiply(slope, factor, out=slope)
            np.multiply(slope, dh if slope is do else dc, out=slope)
        dz[:, rows] = slopes
        np.multiply(dc, f, out=dc)
        back(slopes, carried)
        np.add.reduce(carried, axis=0, out=dh)


KERNEL = Kernel(2, lstm_steps, lstm_back, halved=3)
"""Keeps c and tanh c."""
