"""The same kernels compiled by Numba (extra ``fast``): all steps without the interpreter.

Loops over contiguous rows, which LLVM vectorises, and products through SciPy's BLAS. What is not
a number stays so: of the liberties that ``fastmath`` takes, those that assume otherwise are left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import overload
from numpy.typing import NDArray

__all__ = ["KERNELS"]

Array = NDArray[Any]
Steps = tuple[Callable[..., None], Callable[..., None]]

_LIBERTIES = {"nsz", "arcp", "contract", "afn", "reassoc"}
compiled = njit(
    nogil=True, cache=True, error_model="numpy", boundscheck=False, fastmath=_LIBERTIES
)

# A rational approximation of tanh on [-c, c], beyond which it is 1 in single precision, right to
# 6e-8: numerator in odd, denominator in even powers, highest first.
_END = np.float32(7.90531110763549805)
_ODD = tuple(
    np.float32(p)
    for p in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
_EVEN = tuple(
    np.float32(q)
    for q in (
        1.19825839466702e-06,
        1.18534705686654e-04,
        2.26843463243900e-03,
        4.89352518554385e-03,
    )
)


def _tanh(x: Any) -> Any:
    """Hyperbolic tangent of one number, by its type."""


@overload(_tanh, inline="always")
def _tanh_by_type(x: Any) -> Any:
    if x == types.float32:

        def single(x: Any) -> Any:
            x = _END if x > _END else x
            x = -_END if x < -_END else x
            s = x * x
            p = _ODD[0] * s + _ODD[1]
            p = p * s + _ODD[2]
            p = p * s + _ODD[3]
            p = p * s + _ODD[4]
            p = p * s + _ODD[5]
            p = p * s + _ODD[6]
            q = _EVEN[0] * s + _EVEN[1]
            q = q * s + _EVEN[2]
            q = q * s + _EVEN[3]
            return x * p / q

        return single
    return lambda x: math.tanh(x)


@compiled
def _products(left: Any, blocks: Any, out: Any) -> None:
    """``left @ blocks[b]`` into ``out[b]``, for all blocks b."""
    for b in range(len(blocks)):
        np.dot(left, blocks[b], out[b])


@compiled
def _squash(a: Any, r: Any, half: Any) -> None:
    """``sigma`` of the sum of two rows, both halved, into the first."""
    for j in range(a.size):
        a[j] = half * _tanh(a[j] + r[j]) + half


@compiled
def lstm_forward(
    z: Any, y: Any, c: Any, tanh_c: Any, h0: Any, c0: Any, weight: Any, start: int, step: int, steps: int
) -> None:
    n, hidden = h0.shape
    half = z.dtype.type(0.5)
    r = np.empty((4, n, hidden), z.dtype)
    h, before = h0, c0
    for t in range(steps):
        k = start + t * step
        _products(h, weight, r)
        i, f = z[0, k : k + n].ravel(), z[1, k : k + n].ravel()
        o, g = z[2, k : k + n].ravel(), z[3, k : k + n].ravel()
        _squash(i, r[0].ravel(), half)
        _squash(f, r[1].ravel(), half)
        _squash(o, r[2].ravel(), half)
        h, cell = y[k : k + n], c[k : k + n]
        rg, old, new = r[3].ravel(), before.ravel(), cell.ravel()
        for j in range(g.size):
            g[j] = _tanh(g[j] + rg[j])
        for j in range(g.size):
            new[j] = f[j] * old[j] + i[j] * g[j]
        out, squashed = h.ravel(), tanh_c[k : k + n].ravel()
        for j in range(g.size):
            squashed[j] = _tanh(new[j])
        for j in range(g.size):
            out[j] = o[j] * squashed[j]
        before = cell
    h0[:] = h
    c0[:] = before


@compiled
def lstm_backward(
    dz: Any, dy: Any, z: Any, c: Any, tanh_c: Any, c0: Any, dh: Any, dc: Any, back: Any,
    start: int, step: int, steps: int,
) -> None:
    n, hidden = dh.shape
    one = z.dtype.type(1)
    r = np.zeros((4, n, hidden), z.dtype)
    r[0] = dh
    r0, r1, r2, r3 = r[0].ravel(), r[1].ravel(), r[2].ravel(), r[3].ravel()
    carried = dc.ravel()
    total = dh.ravel()
    for t in range(steps - 1, -1, -1):
        k = start + t * step
        i, f = z[0, k : k + n].ravel(), z[1, k : k + n].ravel()
        o, g = z[2, k : k + n].ravel(), z[3, k : k + n].ravel()
        di, df = dz[0, k : k + n].ravel(), dz[1, k : k + n].ravel()
        do, dg = dz[2, k : k + n].ravel(), dz[3, k : k + n].ravel()
        above, squashed = dy[k : k + n].ravel(), tanh_c[k : k + n].ravel()
        before = (c0 if t == 0 else c[k - step : k - step + n]).ravel()
        for j in range(total.size):
            total[j] = r0[j] + r1[j] + r2[j] + r3[j] + above[j]
        for j in range(total.size):
            a = total[j]
            do[j] = a * squashed[j] * o[j] * (one - o[j])
            carried[j] += a * o[j] * (one - squashed[j] * squashed[j])
        for j in range(total.size):
            e = carried[j]
            di[j] = e * g[j] * i[j] * (one - i[j])
            dg[j] = e * i[j] * (one - g[j] * g[j])
        for j in range(total.size):
            e = carried[j]
            df[j] = e * before[j] * f[j] * (one - f[j])
            carried[j] = e * f[j]
        for b in range(4):
            np.dot(dz[b, k : k + n], back[b], r[b])
    for j in range(total.size):
        total[j] = r0[j] + r1[j] + r2[j] + r3[j]
