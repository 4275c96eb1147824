"""The GRU over a whole sequence, forward and backward, in its two variants.

Gates in the order reset r, update z, candidate n (PyTorch's)::

    [r z] = sigma(x_t W_xh + h_{t-1} W_hh + b)
    n = tanh(x_t W_xn + b_n + r * (h_{t-1} W_hn + b_hn))      reset after the product
    n = tanh(x_t W_xn + b_n + (r * h_{t-1}) W_hn)             reset before it
    h_t = (1 - z) * n + z * h_{t-1}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.sequence import Kernel

__all__ = ["RESET_AFTER", "RESET_BEFORE"]

Array = NDArray[Any]
Product = Callable[[Array], Array]


def _parts(array: Array, hidden: int) -> tuple[Array, Array, Array]:
    """The r, z and n columns of an axis of length 3H."""
    return (
        array[..., :hidden],
        array[..., hidden : 2 * hidden],
        array[..., 2 * hidden :],
    )


def _squash(logistic: Array) -> None:
    """The logistic function in place: (1 + tanh(x / 2)) / 2."""
    logistic *= 0.5
    np.tanh(logistic, out=logistic)
    logistic *= 0.5
    logistic += 0.5


def _blend(h: Array, n: Array, update: Array, out: Array) -> None:
    """``(1 - z) * n + z * h`` as ``n + z * (h - n)``; `out` is none of the operands."""
    np.subtract(h, n, out=out)
    out *= update
    out += n


def gru_after_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: tuple[Array],
    weight_hh: Array,
    bias: Array,
    bias_hn: Array,
) -> tuple[Array]:
    """Run all steps: ``z (T, N, 3H)`` becomes the gates; extras hold h W_hn + b_hn."""
    hidden = y.shape[-1]
    logistic, (r, update, n) = z[..., : 2 * hidden], _parts(z, hidden)
    recurrent = np.empty(z.shape[1:], z.dtype)
    recurrent_rz, recurrent_n = recurrent[:, : 2 * hidden], recurrent[:, 2 * hidden :]
    inner = extras[0]
    fresh = np.empty(y.shape[1:], z.dtype)
    (h,) = states
    for t in range(len(y)):
        np.dot(h, weight_hh, out=recurrent)
        logistic[t] += recurrent_rz
        _squash(logistic[t])
        np.add(recurrent_n, bias_hn, out=inner[t])
        np.multiply(r[t], inner[t], out=fresh)
        n[t] += fresh
        np.tanh(n[t], out=n[t])
        _blend(h, n[t], update[t], y[t])
        h = y[t]
    return (h,)


def gru_before_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: tuple[Array],
    weight_hh: Array,
    bias: Array,
) -> tuple[Array]:
    """Run all steps: ``z (T, N, 3H)`` becomes the gates; extras hold r * h."""
    hidden = y.shape[-1]
    logistic, (r, update, n) = z[..., : 2 * hidden], _parts(z, hidden)
    weight_rz = np.ascontiguousarray(weight_hh[:, : 2 * hidden])
    weight_n = np.ascontiguousarray(weight_hh[:, 2 * hidden :])
    into_rz = np.empty((y.shape[1], 2 * hidden), z.dtype)
    into_n = np.empty(y.shape[1:], z.dtype)
    inner = extras[0]
    (h,) = states
    for t in range(len(y)):
        np.dot(h, weight_rz, out=into_rz)
        logistic[t] += into_rz
        _squash(logistic[t])
        np.multiply(r[t], h, out=inner[t])
        np.dot(inner[t], weight_n, out=into_n)
        n[t] += into_n
        np.tanh(n[t], out=n[t])
        _blend(h, n[t], update[t], y[t])
        h = y[t]
    return (h,)


def _gate_slopes(dz: Array, dh: Array, before: Array, z: Array, scratch: Array) -> None:
    """Cotangents of the sums behind n and z, one step; those of r are left to be filled."""
    hidden = dh.shape[-1]
    r, update, n = _parts(z, hidden)
    dr, du, dn = _parts(dz, hidden)
    np.subtract(1.0, z[:, : 2 * hidden], out=dz[:, : 2 * hidden])  # sigma' = sigma (1 - sigma)
    np.multiply(dh, du, out=dn)
    np.multiply(n, n, out=scratch)
    np.subtract(1.0, scratch, out=scratch)  # tanh' = 1 - tanh^2
    dn *= scratch
    du *= update
    np.subtract(before, n, out=scratch)
    scratch *= dh
    du *= scratch
    dr *= r


def gru_after_back(
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
    bias_hn: Array,
) -> None:
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    hidden = y.shape[-1]
    r, update, _ = _parts(z, hidden)
    dr, _, dn = _parts(dz, hidden)
    (dh,) = dstates
    scratch, carried = np.empty_like(dh), np.empty_like(dh)
    recurrent = np.empty_like(dz[0])
    for t in range(len(y) - 1, -1, -1):
        dh += dy[t]
        _gate_slopes(dz[t], dh, y[t - 1] if t else starts[0], z[t], scratch)
        np.multiply(dn[t], extras[0][t], out=scratch)
        dr[t] *= scratch
        np.copyto(recurrent, dz[t])
        recurrent[:, 2 * hidden :] *= r[t]
        np.multiply(dh, update[t], out=carried)
        np.dot(recurrent, back, out=dh)
        dh += carried


def gru_before_back(
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
) -> None:
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    hidden = y.shape[-1]
    r, update, _ = _parts(z, hidden)
    dr, _, dn = _parts(dz, hidden)
    back_rz, back_n = back[: 2 * hidden], back[2 * hidden :]
    (dh,) = dstates
    scratch, carried, dinner = (np.empty_like(dh) for _ in range(3))
    for t in range(len(y) - 1, -1, -1):
        dh += dy[t]
        before = y[t - 1] if t else starts[0]
        _gate_slopes(dz[t], dh, before, z[t], scratch)
        np.dot(np.ascontiguousarray(dn[t]), back_n, out=dinner)
        np.multiply(dinner, before, out=scratch)
        dr[t] *= scratch
        np.multiply(dh, update[t], out=carried)
        dinner *= r[t]
        carried += dinner
        np.dot(dz[t, :, : 2 * hidden], back_rz, out=dh)
        dh += carried


def _after_gradients(
    product: Product, dz: Array, z: Array, extras: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Of W_hh and b_hn: inside the candidate the cotangent passes through r."""
    hidden = dz.shape[-1] // 3
    inner = dz.copy()
    inner[..., 2 * hidden :] *= z[..., :hidden]
    dbias: Array = inner[..., 2 * hidden :].reshape(-1, hidden).sum(axis=0)
    return product(inner), dbias


def _before_gradients(
    product: Product, dz: Array, z: Array, extras: tuple[Array, ...]
) -> tuple[Array]:
    """Of W_hh: the candidate's columns multiply r * h, the others h."""
    hidden = dz.shape[-1] // 3
    dn = dz[..., 2 * hidden :].reshape(-1, hidden)
    right = extras[0].reshape(-1, hidden).T @ dn
    return (np.concatenate([product(dz[..., : 2 * hidden]), right], axis=1),)


RESET_AFTER = Kernel(1, gru_after_steps, gru_after_back, _after_gradients)
"""Keeps h W_hn + b_hn."""
RESET_BEFORE = Kernel(1, gru_before_steps, gru_before_back, _before_gradients)
"""Keeps r * h."""
