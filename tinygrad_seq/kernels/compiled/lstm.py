"""The loops of the LSTM, as in :mod:`tinygrad_seq.kernels.lstm`."""

from __future__ import annotations

import numpy as np

from tinygrad_seq.kernels.compiled.parts import (
    compiled,
    multiply,
    multiply_rows,
    rows,
    squash,
    tanh,
)

__all__ = ["lstm_back", "lstm_steps"]


@compiled
def _lstm_step(z, y, c, tanh_c, r, before, k):
    n = len(before)
    i, f, o, g = rows(z[0], k, n), rows(z[1], k, n), rows(z[2], k, n), rows(z[3], k, n)
    squash(i, r[0].ravel())
    squash(f, r[1].ravel())
    squash(o, r[2].ravel())
    add, old, new = r[3].ravel(), before.ravel(), rows(c, k, n)
    for j in range(g.size):
        g[j] = tanh(g[j] + add[j])
    for j in range(g.size):
        new[j] = f[j] * old[j] + i[j] * g[j]
    out, squashed = rows(y, k, n), rows(tanh_c, k, n)
    for j in range(g.size):
        squashed[j] = tanh(new[j])
    for j in range(g.size):
        out[j] = o[j] * squashed[j]


@compiled
def lstm_steps(z, y, extras, states, others, recur, at):
    """h_t and c_t, gates in z."""
    h, c = states
    r = np.empty((4, *h.shape), z.dtype)
    hidden, cell = h, c
    for t in range(at[2]):
        k = at[0] + t * at[1]
        multiply(hidden, recur, r)
        _lstm_step(z, y, extras[0], extras[1], r, cell, k)
        hidden, cell = y[k : k + len(h)], extras[0][k : k + len(h)]
    h[:] = hidden
    c[:] = cell


@compiled
def _lstm_slope(dz, dy, z, tanh_c, before, r, dh, dc, k):
    """The cotangents of one step; r (4, n, H) adds up to what comes back to h."""
    n, one = len(dh), z.dtype.type(1)
    i, f, o, g = rows(z[0], k, n), rows(z[1], k, n), rows(z[2], k, n), rows(z[3], k, n)
    di, df, do, dg = rows(dz[0], k, n), rows(dz[1], k, n), rows(dz[2], k, n), rows(dz[3], k, n)
    above, squashed, old = rows(dy, k, n), rows(tanh_c, k, n), before.ravel()
    r0, r1, r2, r3 = r[0].ravel(), r[1].ravel(), r[2].ravel(), r[3].ravel()
    total, carried = dh.ravel(), dc.ravel()
    for j in range(n * dh.shape[1]):
        total[j] = r0[j] + r1[j] + r2[j] + r3[j] + above[j]
    for j in range(n * dh.shape[1]):
        do[j] = total[j] * squashed[j] * o[j] * (one - o[j])
        carried[j] += total[j] * o[j] * (one - squashed[j] * squashed[j])
    for j in range(n * dh.shape[1]):
        di[j] = carried[j] * g[j] * i[j] * (one - i[j])
        dg[j] = carried[j] * i[j] * (one - g[j] * g[j])
    for j in range(n * dh.shape[1]):
        df[j] = carried[j] * old[j] * f[j] * (one - f[j])
        carried[j] *= f[j]


@compiled
def _sum_blocks(r, out):
    out[:] = r[0]
    for b in range(1, len(r)):
        out += r[b]


@compiled
def lstm_back(dz, dy, z, y, extras, starts, dstates, others, back, at):
    """Their cotangents, from the last step to the first."""
    dh, dc = dstates
    n = len(dh)
    r = np.zeros((4, *dh.shape), z.dtype)
    r[0] = dh
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[1] if t == 0 else extras[0][k - at[1] : k - at[1] + n]
        _lstm_slope(dz, dy, z, extras[1], before, r, dh, dc, k)
        multiply_rows(dz, k, back, r)
    _sum_blocks(r, dh)
