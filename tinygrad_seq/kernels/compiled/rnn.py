"""The loops of the vanilla RNN, as in :mod:`tinygrad_seq.kernels.rnn`."""

from __future__ import annotations

import numpy as np

from tinygrad_seq.kernels.compiled.parts import compiled, multiply, multiply_rows, rows, tanh

__all__ = ["rnn_back", "rnn_steps"]


@compiled
def _rnn_step(y, r, k, relu):
    new, add = rows(y, k, r.shape[1]), r.ravel()
    if relu:
        for j in range(new.size):
            u = new[j] + add[j]
            new[j] = u if not u < 0 else y.dtype.type(0)
    else:
        for j in range(new.size):
            new[j] = tanh(new[j] + add[j])


@compiled
def rnn_steps(z, y, extras, states, others, recur, at):
    """h_t, which is in z too."""
    (h,), (relu,) = states, others
    r = np.empty((1, *h.shape), y.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        multiply(before, recur, r)
        _rnn_step(y, r, k, relu)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _rnn_slope(dz, dy, y, dh, k, relu):
    n = len(dh)
    new, d, above, total = rows(y, k, n), rows(dz[0], k, n), rows(dy, k, n), dh.ravel()
    one, none = y.dtype.type(1), y.dtype.type(0)
    if relu:
        for j in range(d.size):
            d[j] = total[j] + above[j] if new[j] > none else new[j]
    else:
        for j in range(d.size):
            d[j] = (total[j] + above[j]) * (one - new[j] * new[j])


@compiled
def rnn_back(dz, dy, z, y, extras, starts, dstates, others, back, at):
    """Its cotangents, from the last step to the first."""
    (dh,), (relu,) = dstates, others
    r = np.empty((1, *dh.shape), y.dtype)
    r[0] = dh
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        _rnn_slope(dz, dy, y, r[0], k, relu)
        multiply_rows(dz, k, back, r)
    dh[:] = r[0]
