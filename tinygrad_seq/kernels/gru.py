"""The GRU over a whole sequence, forward and backward, in its two variants.

Gates in the order reset r, update z, candidate n (PyTorch's)::

    [r z] = sigma(x_t W_xh + h_{t-1} W_hh + b)
    n = tanh(x_t W_xn + b_n + r * (h_{t-1} W_hn + b_hn))      reset after the product
    n = tanh(x_t W_xn + b_n + (r * h_{t-1}) W_hn)             reset before it
    h_t = (1 - z) * n + z * h_{t-1}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.products import Product
from tinygrad_seq.kernels.projection import product_gradient

__all__ = ["RESET_AFTER", "RESET_BEFORE"]

Array = NDArray[Any]


def _squash(logistic: Array) -> None:
    """The logistic function in place, of what comes in halved."""
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
    states: Sequence[Array],
    recur: Product,
    bias_hn: Array,
    *,
    at: range,
) -> None:
    """Run all steps: z (3, M, H) becomes the gates; extras hold h W_hn + b_hn."""
    (h,) = states
    recurrent, fresh = np.empty((3, *h.shape), z.dtype), np.empty_like(h)
    before = h
    for k in at:
        rows = slice(k, k + len(h))
        r, update, n = z[:, rows]
        inner = extras[0][rows]
        recur(before, recurrent)
        logistic = z[:2, rows]
        logistic += recurrent[:2]
        _squash(logistic)
        np.add(recurrent[2], bias_hn, out=inner)
        np.multiply(r, inner, out=fresh)
        n += fresh
        np.tanh(n, out=n)
        _blend(before, n, update, y[rows])
        before = y[rows]
    h[...] = before


def gru_before_steps(
    z: Array,
    y: Array,
    extras: Sequence[Array],
    states: Sequence[Array],
    recur: Product,
    *,
    at: range,
) -> None:
    """Run all steps: z (3, M, H) becomes the gates; extras hold r * h."""
    (h,) = states
    recur_rz, recur_n = recur[:2], recur[2:]
    into_rz, into_n = np.empty((2, *h.shape), z.dtype), np.empty_like(h)
    before = h
    for k in at:
        rows = slice(k, k + len(h))
        r, update, n = z[:, rows]
        inner = extras[0][rows]
        recur_rz(before, into_rz)
        logistic = z[:2, rows]
        logistic += into_rz
        _squash(logistic)
        np.multiply(r, before, out=inner)
        recur_n(inner, into_n[None])
        n += into_n
        np.tanh(n, out=n)
        _blend(before, n, update, y[rows])
        before = y[rows]
    h[...] = before


def _gate_slopes(slopes: Array, dh: Array, before: Array, gates: Array, scratch: Array) -> None:
    """Cotangents of the sums behind n and z, one step; those of r are left to be filled."""
    r, update, n = gates
    dr, du, dn = slopes
    np.subtract(1.0, gates[:2], out=slopes[:2])  # sigma' = sigma (1 - sigma)
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
    starts: Sequence[Array],
    dstates: Sequence[Array],
    back: Product,
    bias_hn: Array,
    *,
    at: range,
) -> None:
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    (dh,) = dstates
    scratch, kept = np.empty_like(dh), np.empty_like(dh)
    through, carried = np.empty((3, *dh.shape), z.dtype), np.empty((3, *dh.shape), z.dtype)
    for k in reversed(at):
        rows = slice(k, k + len(dh))
        gates, slopes = z[:, rows], dz[:, rows]
        r, update, _ = gates
        dr, _, dn = slopes
        before = starts[0] if k == at.start else y[k - at.step : k - at.step + len(dh)]
        dh += dy[rows]
        _gate_slopes(slopes, dh, before, gates, scratch)
        np.multiply(dn, extras[0][rows], out=scratch)
        dr *= scratch
        np.copyto(through[:2], slopes[:2])
        np.multiply(dn, r, out=through[2])
        np.multiply(dh, update, out=kept)
        back(through, carried)
        np.add.reduce(carried, axis=0, out=dh)
        dh += kept


def gru_before_back(
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
    """The sweep back: fills `dz`; carries the cotangent of h to the start in place."""
    (dh,) = dstates
    scratch, kept, dinner = (np.empty_like(dh) for _ in range(3))
    carried = np.empty((2, *dh.shape), z.dtype)
    back_rz, back_n = back[:2], back[2:]
    for k in reversed(at):
        rows = slice(k, k + len(dh))
        gates, slopes = z[:, rows], dz[:, rows]
        r, update, _ = gates
        dr, _, dn = slopes
        before = starts[0] if k == at.start else y[k - at.step : k - at.step + len(dh)]
        dh += dy[rows]
        _gate_slopes(slopes, dh, before, gates, scratch)
        back_n(dn, dinner[None])
        np.multiply(dinner, before, out=scratch)
        dr *= scratch
        np.multiply(dh, update, out=kept)
        dinner *= r
        kept += dinner
        back_rz(slopes[:2], carried)
        np.add.reduce(carried, axis=0, out=dh)
        dh += kept


def _after_gradients(
    before: Array, dz: Array, z: Array, extras: tuple[Array, ...]
) -> tuple[Array, Array]:
    """Of W_hh and b_hn: inside the candidate the cotangent passes through r."""
    inner = dz[2] * z[0]
    return product_gradient(before, [dz[0], dz[1], inner]), inner.sum(axis=0)


def _before_gradients(
    before: Array, dz: Array, z: Array, extras: tuple[Array, ...]
) -> tuple[Array]:
    """Of W_hh: the candidate's columns multiply r * h, the others h."""
    right = product_gradient(extras[0], dz[2:])
    return (np.concatenate([product_gradient(before, dz[:2]), right], axis=1),)


RESET_AFTER = Kernel(1, gru_after_steps, gru_after_back, _after_gradients, halved=2)
"""Keeps h W_hn + b_hn."""
RESET_BEFORE = Kernel(1, gru_before_steps, gru_before_back, _before_gradients, halved=2)
"""Keeps r * h."""
