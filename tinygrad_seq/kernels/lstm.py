"""The LSTM over a whole sequence, forward and backward.

The notes' equations, gates in the order of :mod:`tinygrad_seq.kernels.gates`::

    [i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)
    c_t = f * c_{t-1} + i * g
    h_t = o * tanh(c_t)

One product covers the inputs of all steps; each step then works in place on rows that are hot in
cache. Weight gradients are single products over the whole sequence after the backward sweep.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.gates import gate
from tinygrad_seq.kernels.projection import project, projection_gradients, recurrent_gradient

__all__ = ["LSTMResiduals", "lstm_backward", "lstm_forward"]

Array = NDArray[Any]


class LSTMResiduals(NamedTuple):
    """What the backward sweep needs besides the inputs."""

    gates: Array
    """(T, N, 4H) gate activations i, f, o, g."""
    c: Array
    """(T, N, H) cell states."""
    tanh_c: Array
    """(T, N, H)."""
    y: Array
    """(T, N, H) hidden states."""


def lstm_forward(
    x: Array,
    h0: Array,
    c0: Array,
    weight_xh: Array,
    weight_hh: Array,
    bias: Array,
    keep: bool = True,
) -> tuple[tuple[Array, Array, Array], LSTMResiduals | None]:
    """Hidden states (T, N, H) and the last h and c; with `keep`, what backward needs.

    Parameters
    ----------
    x : (T, N, I) floats or (T, N) integer tokens
    h0, c0 : (N, H)
    weight_xh : (I, 4H)
    weight_hh : (H, 4H)
    bias : (4H,)
    """
    gates = project(x, weight_xh, bias)
    steps, batch, _ = gates.shape
    hidden = weight_hh.shape[0]
    i, f, o, g = (gates[..., gate(name, hidden)] for name in "ifog")
    logistic = gates[..., : 3 * hidden]
    y = np.empty((steps, batch, hidden), gates.dtype)
    kept = steps if keep else 1
    c = np.empty((kept, batch, hidden), gates.dtype)
    tanh_c = np.empty_like(c)
    recurrent = np.empty((batch, 4 * hidden), gates.dtype)
    fresh = np.empty((batch, hidden), gates.dtype)
    h, cell = h0, c0
    for t in range(steps):
        z, s = gates[t], logistic[t]
        np.dot(h, weight_hh, out=recurrent)
        z += recurrent
        s *= 0.5  # sigma(z) = (1 + tanh(z / 2)) / 2: one tanh serves all four gates
        np.tanh(z, out=z)
        s *= 0.5
        s += 0.5
        k = t if keep else 0
        h, previous, cell = y[t], cell, c[k]
        np.multiply(i[t], g[t], out=fresh)
        np.multiply(f[t], previous, out=cell)
        cell += fresh
        np.tanh(cell, out=tanh_c[k])
        np.multiply(o[t], tanh_c[k], out=h)
    residuals = LSTMResiduals(gates, c, tanh_c, y) if keep else None
    return (y, h.copy(), cell.copy()), residuals


def lstm_backward(
    cotangents: list[Array],
    x: Array,
    h0: Array,
    c0: Array,
    weight_xh: Array,
    weight_hh: Array,
    residuals: LSTMResiduals,
    need_x: bool,
) -> tuple[Array | None, ...]:
    """Gradients with respect to x, h0, c0, weight_xh, weight_hh and bias.

    `cotangents` are those of y (T, N, H), of the last h and of the last c (N, H).
    """
    gates, c, tanh_c, y = residuals
    steps, _, hidden = y.shape
    i, f, o, g = (gates[..., gate(name, hidden)] for name in "ifog")
    dz = np.empty_like(gates)
    di, df, do, dg = (dz[..., gate(name, hidden)] for name in "ifog")
    dlogistic, logistic = dz[..., : 3 * hidden], gates[..., : 3 * hidden]
    back = np.ascontiguousarray(weight_hh.T)
    dy, dh, dc = cotangents[0], cotangents[1].copy(), cotangents[2].copy()
    scratch = np.empty_like(dh)
    for t in range(steps - 1, -1, -1):
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
    dx, dweight_xh, dbias = projection_gradients(x, dz, weight_xh, need_x)
    return dx, dh, dc, dweight_xh, recurrent_gradient(h0, y, dz), dbias
