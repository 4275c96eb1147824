"""The input half of a recurrent layer: one product for all time steps, and its gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.rows import add_rows

__all__ = ["project", "projection_gradients", "recurrent_gradient"]

Array = NDArray[Any]


def project(x: Array, weight: Array, bias: Array) -> Array:
    """``x W + b`` for a whole sequence, in fresh memory.

    Parameters
    ----------
    x : (..., I) floats, or (...) integer tokens, for instance (T, N, I) or (T, N)
        Tokens stand for one-hot rows: ``onehot(x) W`` is a look-up of rows, and
        ``take(W, x) + b == take(W + b, x)`` adds the bias to V rows instead of T * N.
    weight : (I, F)
    bias : (F,)

    Returns
    -------
    (..., F) array
    """
    if x.dtype.kind in "iu":
        if len(weight) <= x.size:
            return np.take(weight + bias, x, axis=0)
        picked = np.take(weight, x, axis=0)
        picked += bias
        return picked
    out: Array = x.reshape(-1, x.shape[-1]) @ weight
    out += bias
    return out.reshape(*x.shape[:-1], -1)


def projection_gradients(
    x: Array, dz: Array, weight: Array, need_x: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of :func:`project` with respect to ``x``, ``weight`` and ``bias``."""
    flat = dz.reshape(-1, dz.shape[-1])
    if x.dtype.kind in "iu":
        dweight = add_rows(x.reshape(-1), flat, weight.shape[0])
        return None, dweight, dweight.sum(axis=0)
    dweight = x.reshape(len(flat), -1).T @ flat
    # A product with ones: BLAS sums the rows faster than a reduction does.
    dbias = np.ones(len(flat), flat.dtype) @ flat
    return (flat @ weight.T).reshape(x.shape) if need_x else None, dweight, dbias


def recurrent_gradient(h0: Array, y: Array, dz: Array) -> Array:
    """Gradient with respect to W_hh: the sum over t of ``h_{t-1}.T @ dz_t``, as one product.

    ``h_{-1}`` is `h0`; ``y`` holds h_0 .. h_{T-1}.
    """
    steps, _, hidden = y.shape
    total: Array = h0.T @ dz[0]
    if steps > 1:
        total += y[:-1].reshape(-1, hidden).T @ dz[1:].reshape(-1, dz.shape[-1])
    return total
