"""The vanilla RNN over a whole sequence, forward and backward.

The notes' ``h_t = tanh(W_hh h_{t-1} + W_xh x_t)`` with a bias, rows on the left; or with
``relu`` in place of ``tanh``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.projection import project, projection_gradients, recurrent_gradient

__all__ = ["rnn_backward", "rnn_forward"]

Array = NDArray[Any]


def rnn_forward(
    x: Array, h0: Array, weight_xh: Array, weight_hh: Array, bias: Array, relu: bool
) -> tuple[Array, Array]:
    """Hidden states (T, N, H) and the last one (N, H).

    Parameters
    ----------
    x : (T, N, I) floats or (T, N) integer tokens
    h0 : (N, H)
    weight_xh : (I, H)
    weight_hh : (H, H)
    bias : (H,)
    """
    y = project(x, weight_xh, bias)
    recurrent = np.empty(y.shape[1:], y.dtype)
    h = h0
    for z in y:
        np.dot(h, weight_hh, out=recurrent)
        z += recurrent
        if relu:
            np.maximum(z, 0, out=z)
        else:
            np.tanh(z, out=z)
        h = z
    return y, h.copy()


def rnn_backward(
    cotangents: list[Array],
    x: Array,
    h0: Array,
    weight_xh: Array,
    weight_hh: Array,
    y: Array,
    relu: bool,
    need_x: bool,
) -> tuple[Array | None, ...]:
    """Gradients with respect to x, h0, weight_xh, weight_hh and bias."""
    dz = np.empty_like(y)
    back = np.ascontiguousarray(weight_hh.T)
    dy, dh = cotangents[0], cotangents[1].copy()
    for t in range(len(y) - 1, -1, -1):
        dh += dy[t]
        if relu:
            np.multiply(dh, y[t] > 0, out=dz[t])
        else:
            np.multiply(y[t], y[t], out=dz[t])
            np.subtract(1.0, dz[t], out=dz[t])
            dz[t] *= dh
        np.dot(dz[t], back, out=dh)
    dx, dweight_xh, dbias = projection_gradients(x, dz, weight_xh, need_x)
    return dx, dh, dweight_xh, recurrent_gradient(h0, y, dz), dbias
