"""What compiled loops are made of: how they are compiled, tanh, rows, products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import overload

__all__ = ["compiled", "multiply", "multiply_rows", "rows", "squash", "tanh"]

_SETTINGS: Any = {
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}


def compiled(function: Any) -> Any:
    """Compile a loop when it is first run, and keep it on disk where there is a folder for that.

    It is kept by the time and length of its file: after a change here, remove what is kept.
    """
    try:
        return njit(nogil=True, cache=True, **_SETTINGS)(function)
    except RuntimeError:  # neither beside its file nor in the user's cache may it be written
        return njit(nogil=True, **_SETTINGS)(function)


# tanh on [-c, c] as a quotient, odd powers of x above, even ones below, highest first; beyond it 1.
# Right to 3e-7.
_END, _ONE = np.float32(7.90531110763549805), np.float32(1)
_A, _B, _C, _D = map(np.float32, (-2.76076847e-16, 2.00018790e-13, -8.60467152e-11, 5.12229710e-8))
_E, _F, _G = map(np.float32, (1.48572236e-5, 6.37261929e-4, 4.89352456e-3))
_P, _Q, _R, _S = map(np.float32, (1.19825839e-6, 1.18534706e-4, 2.26843463e-3, 4.89352519e-3))


def tanh(x):
    """Hyperbolic tangent of one number."""


@overload(tanh, jit_options=_SETTINGS)
def _tanh_of(x):
    def double(x):
        return math.tanh(x)

    def single(x):
        low = _END if x > _END else x
        u = -_END if low < -_END else low
        s = u * u
        top = (((((_A * s + _B) * s + _C) * s + _D) * s + _E) * s + _F) * s + _G
        inside = u * top / (((_P * s + _Q) * s + _R) * s + _S)
        below = -_ONE if x < -_END else inside
        return _ONE if x > _END else below

    return single if x == types.float32 else double


@compiled
def rows(array, k, n):
    """The entries of n rows, one after the other."""
    return array[k : k + n].ravel()


@compiled
def squash(a, r):
    """Sigma of the sum of two rows that come in halved, into the first."""
    half = a.dtype.type(0.5)
    for j in range(a.size):
        a[j] = half * tanh(a[j] + r[j]) + half


def multiply(left, product, out):
    """``left @ W_b`` of rows (n, K) or (B, n, K) into ``out[b]``: compiled, W is an array."""
    product(left, out)


@overload(multiply, jit_options=_SETTINGS)
def _multiply_arrays(left, product, out):
    def same(left, product, out):
        for b in range(len(product)):
            np.dot(left, product[b], out[b])

    def each(left, product, out):
        for b in range(len(product)):
            np.dot(left[b], product[b], out[b])

    return same if left.ndim == 2 else each


def multiply_rows(dz, k, product, out):
    """The same of the rows of dz (B, M, H) from k on."""
    product(dz[:, k : k + out.shape[1]], out)


@overload(multiply_rows, jit_options=_SETTINGS)
def _multiply_rows_of_arrays(dz, k, product, out):
    def compiled(dz, k, product, out):
        for b in range(len(product)):
            np.dot(dz[b, k : k + out.shape[1]], product[b], out[b])

    return compiled
