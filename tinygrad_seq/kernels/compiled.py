"""The same kernels compiled by Numba (extra ``fast``): all steps without the interpreter.

Steps run over contiguous rows, which LLVM vectorises. The loop over them is compiled too where a
step's products are small, with SciPy's BLAS in it; else it is run as Python, with NumPy's BLAS,
which is newer. NaN stays NaN: of what ``fastmath`` allows, what denies it is left out.
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

from tinygrad_seq.kernels import gru, lstm, rnn
from tinygrad_seq.kernels.products import Product
from tinygrad_seq.kernels.sequence import Kernel

__all__ = ["COMPILED"]

Array = NDArray[Any]

_SETTINGS = {
    "error_model": "numpy",
    "fastmath": {"nsz", "arcp", "contract", "afn", "reassoc"},
}
compiled = njit(nogil=True, cache=True, **_SETTINGS)

# tanh on [-c, c], beyond which it is 1 in single precision, as a quotient right to 6e-8: odd powers
# of x above, even ones below, highest first.
_END = np.float32(7.90531110763549805)
_A, _B, _C, _D = map(np.float32, (-2.76076847e-16, 2.00018790e-13, -8.60467152e-11, 5.12229710e-8))
_E, _F, _G = map(np.float32, (1.48572236e-5, 6.37261929e-4, 4.89352456e-3))
_P, _Q, _R, _S = map(np.float32, (1.19825839e-6, 1.18534706e-4, 2.26843463e-3, 4.89352519e-3))


def _tanh(x: Any) -> Any:
    """Hyperbolic tangent of one number."""


@overload(_tanh, jit_options=_SETTINGS)
def _tanh_of(x: Any) -> Any:
    def double(x: Any) -> Any:
        return math.tanh(x)

    def single(x: Any) -> Any:
        low = _END if x > _END else x
        u = -_END if low < -_END else low
        s = u * u
        top = (((((_A * s + _B) * s + _C) * s + _D) * s + _E) * s + _F) * s + _G
        return u * top / (((_P * s + _Q) * s + _R) * s + _S)

    return single if x == types.float32 else double


@compiled
def _rows(array: Any, k: int, n: int) -> Any:
    """The entries of n rows, one after the other."""
    return array[k : k + n].ravel()


@compiled
def _squash(a: Any, r: Any) -> None:
    """sigma of the sum of two rows that come in halved, into the first."""
    half = a.dtype.type(0.5)
    for j in range(a.size):
        a[j] = half * _tanh(a[j] + r[j]) + half


def _multiply(left: Any, product: Any, out: Any) -> None:
    """``left @ W_b`` of rows (n, K) or (B, n, K) into ``out[b]``: compiled, W is an array."""
    product(left, out)


@overload(_multiply, jit_options=_SETTINGS)
def _multiply_arrays(left: Any, product: Any, out: Any) -> Any:
    def same(left: Any, product: Any, out: Any) -> None:
        for b in range(len(product)):
            np.dot(left, product[b], out[b])

    def each(left: Any, product: Any, out: Any) -> None:
        for b in range(len(product)):
            np.dot(left[b], product[b], out[b])

    return same if left.ndim == 2 else each


def _multiply_rows(dz: Any, k: int, product: Any, out: Any) -> None:
    """The same of the rows of dz (B, M, H) from k on."""
    product(dz[:, k : k + out.shape[1]], out)


@overload(_multiply_rows, jit_options=_SETTINGS)
def _multiply_rows_of_arrays(dz: Any, k: int, product: Any, out: Any) -> Any:
    def compiled(dz: Any, k: int, product: Any, out: Any) -> None:
        for b in range(len(product)):
            np.dot(dz[b, k : k + out.shape[1]], product[b], out[b])

    return compiled


# -- RNN -------------------------------------------------------------------------------------------


@compiled
def _rnn_step(y: Any, r: Any, k: int, relu: bool) -> None:
    new, add = _rows(y, k, r.shape[1]), r.ravel()
    if relu:
        for j in range(new.size):
            u = new[j] + add[j]
            new[j] = u if not u < 0 else y.dtype.type(0)
    else:
        for j in range(new.size):
            new[j] = _tanh(new[j] + add[j])


@compiled
def _rnn_steps(z: Any, y: Any, extras: Any, states: Any, others: Any, recur: Any, at: Any) -> None:
    (h,), (relu,) = states, others
    r = np.empty((1, *h.shape), y.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        _multiply(before, recur, r)
        _rnn_step(y, r, k, relu)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _rnn_slope(dz: Any, dy: Any, y: Any, dh: Any, k: int, relu: bool) -> None:
    n = len(dh)
    new, d, above, total = _rows(y, k, n), _rows(dz[0], k, n), _rows(dy, k, n), dh.ravel()
    one, none = y.dtype.type(1), y.dtype.type(0)
    if relu:
        for j in range(d.size):
            d[j] = total[j] + above[j] if new[j] > none else none * (total[j] + above[j])
    else:
        for j in range(d.size):
            d[j] = (total[j] + above[j]) * (one - new[j] * new[j])


@compiled
def _rnn_back(
    dz: Any, dy: Any, z: Any, y: Any, extras: Any, starts: Any, dstates: Any, others: Any, back: Any, at: Any
) -> None:
    (dh,), (relu,) = dstates, others
    r = np.empty((1, *dh.shape), y.dtype)
    r[0] = dh
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        _rnn_slope(dz, dy, y, r[0], k, relu)
        _multiply_rows(dz, k, back, r)
    dh[:] = r[0]


# -- LSTM ------------------------------------------------------------------------------------------


@compiled
def _lstm_step(z: Any, y: Any, c: Any, tanh_c: Any, r: Any, before: Any, k: int) -> None:
    n = len(before)
    i, f, o, g = _rows(z[0], k, n), _rows(z[1], k, n), _rows(z[2], k, n), _rows(z[3], k, n)
    _squash(i, r[0].ravel())
    _squash(f, r[1].ravel())
    _squash(o, r[2].ravel())
    add, old, new = r[3].ravel(), before.ravel(), _rows(c, k, n)
    for j in range(g.size):
        g[j] = _tanh(g[j] + add[j])
    for j in range(g.size):
        new[j] = f[j] * old[j] + i[j] * g[j]
    out, squashed = _rows(y, k, n), _rows(tanh_c, k, n)
    for j in range(g.size):
        squashed[j] = _tanh(new[j])
    for j in range(g.size):
        out[j] = o[j] * squashed[j]


@compiled
def _lstm_steps(z: Any, y: Any, extras: Any, states: Any, others: Any, recur: Any, at: Any) -> None:
    h, c = states
    r = np.empty((4, *h.shape), z.dtype)
    hidden, cell = h, c
    for t in range(at[2]):
        k = at[0] + t * at[1]
        _multiply(hidden, recur, r)
        _lstm_step(z, y, extras[0], extras[1], r, cell, k)
        hidden, cell = y[k : k + len(h)], extras[0][k : k + len(h)]
    h[:] = hidden
    c[:] = cell


@compiled
def _lstm_slope(
    dz: Any, dy: Any, z: Any, tanh_c: Any, before: Any, r: Any, dh: Any, dc: Any, k: int
) -> None:
    """The cotangents of one step; r (4, n, H) adds up to what comes back to h."""
    n, one = len(dh), z.dtype.type(1)
    i, f, o, g = _rows(z[0], k, n), _rows(z[1], k, n), _rows(z[2], k, n), _rows(z[3], k, n)
    di, df, do, dg = _rows(dz[0], k, n), _rows(dz[1], k, n), _rows(dz[2], k, n), _rows(dz[3], k, n)
    above, squashed, old = _rows(dy, k, n), _rows(tanh_c, k, n), before.ravel()
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
def _sum_blocks(r: Any, out: Any) -> None:
    out[:] = r[0]
    for b in range(1, len(r)):
        out += r[b]


@compiled
def _lstm_back(
    dz: Any, dy: Any, z: Any, y: Any, extras: Any, starts: Any, dstates: Any, others: Any, back: Any, at: Any
) -> None:
    dh, dc = dstates
    n = len(dh)
    r = np.zeros((4, *dh.shape), z.dtype)
    r[0] = dh
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[1] if t == 0 else extras[0][k - at[1] : k - at[1] + n]
        _lstm_slope(dz, dy, z, extras[1], before, r, dh, dc, k)
        _multiply_rows(dz, k, back, r)
    _sum_blocks(r, dh)


# -- GRU -------------------------------------------------------------------------------------------


@compiled
def _blend(z: Any, y: Any, before: Any, k: int) -> None:
    n = len(before)
    update, fresh, old, new = _rows(z[1], k, n), _rows(z[2], k, n), before.ravel(), _rows(y, k, n)
    for j in range(new.size):
        new[j] = fresh[j] + update[j] * (old[j] - fresh[j])


@compiled
def _after_step(z: Any, y: Any, inner: Any, r: Any, bias: Any, before: Any, k: int) -> None:
    n, hidden = before.shape
    _squash(_rows(z[0], k, n), r[0].ravel())
    _squash(_rows(z[1], k, n), r[1].ravel())
    for row in range(n):
        reset, fresh, add, kept = z[0, k + row], z[2, k + row], r[2, row], inner[k + row]
        for j in range(hidden):
            kept[j] = add[j] + bias[j]
        for j in range(hidden):
            fresh[j] = _tanh(fresh[j] + reset[j] * kept[j])
    _blend(z, y, before, k)


@compiled
def _after_steps(z: Any, y: Any, extras: Any, states: Any, others: Any, recur: Any, at: Any) -> None:
    (h,), (bias,), (inner,) = states, others, extras
    r = np.empty((3, *h.shape), z.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        _multiply(before, recur, r)
        _after_step(z, y, inner, r, bias, before, k)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _blend_slopes(dz: Any, dy: Any, z: Any, before: Any, dh: Any, k: int) -> None:
    """Cotangents of the sums behind z and n; of dh, with what comes from above, what h keeps."""
    n, one = len(dh), z.dtype.type(1)
    update, fresh, old = _rows(z[1], k, n), _rows(z[2], k, n), before.ravel()
    du, dn, above, total = _rows(dz[1], k, n), _rows(dz[2], k, n), _rows(dy, k, n), dh.ravel()
    for j in range(total.size):
        total[j] += above[j]
    for j in range(total.size):
        rest = one - update[j]
        dn[j] = total[j] * rest * (one - fresh[j] * fresh[j])
        du[j] = total[j] * (old[j] - fresh[j]) * update[j] * rest
    for j in range(total.size):
        total[j] *= update[j]


@compiled
def _after_slope(
    dz: Any, dy: Any, z: Any, inner: Any, before: Any, through: Any, dh: Any, k: int
) -> None:
    n, one = len(dh), z.dtype.type(1)
    _blend_slopes(dz, dy, z, before, dh, k)
    reset, kept, dr, dn = _rows(z[0], k, n), _rows(inner, k, n), _rows(dz[0], k, n), _rows(dz[2], k, n)
    for j in range(dn.size):
        dr[j] = dn[j] * kept[j] * reset[j] * (one - reset[j])
    into = through[2].ravel()
    for j in range(dn.size):
        into[j] = dn[j] * reset[j]
    through[:2] = dz[:2, k : k + n]


@compiled
def _after_back(
    dz: Any, dy: Any, z: Any, y: Any, extras: Any, starts: Any, dstates: Any, others: Any, back: Any, at: Any
) -> None:
    (dh,), (inner,) = dstates, extras
    n = len(dh)
    through, r = np.empty((3, *dh.shape), z.dtype), np.empty((3, *dh.shape), z.dtype)
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[0] if t == 0 else y[k - at[1] : k - at[1] + n]
        _after_slope(dz, dy, z, inner, before, through, dh, k)
        _multiply(through, back, r)
        dh += r[0] + r[1] + r[2]


@compiled
def _before_gates(z: Any, inner: Any, r: Any, before: Any, k: int) -> None:
    n = len(before)
    reset, old, kept = _rows(z[0], k, n), before.ravel(), _rows(inner, k, n)
    _squash(reset, r[0].ravel())
    _squash(_rows(z[1], k, n), r[1].ravel())
    for j in range(kept.size):
        kept[j] = reset[j] * old[j]


@compiled
def _before_new(z: Any, y: Any, add: Any, before: Any, k: int) -> None:
    fresh, more = _rows(z[2], k, len(before)), add.ravel()
    for j in range(fresh.size):
        fresh[j] = _tanh(fresh[j] + more[j])
    _blend(z, y, before, k)


@compiled
def _before_steps(z: Any, y: Any, extras: Any, states: Any, others: Any, recur: Any, at: Any) -> None:
    (h,), (inner,) = states, extras
    r = np.empty((2, *h.shape), z.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        _multiply(before, recur[:2], r)
        _before_gates(z, inner, r, before, k)
        _multiply(inner[k : k + len(h)], recur[2:], r[:1])
        _before_new(z, y, r[0], before, k)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _before_reset(dz: Any, z: Any, before: Any, dinner: Any, dh: Any, k: int) -> None:
    """The reset gate's cotangent, and what comes to h past it."""
    one, total = z.dtype.type(1), dh.ravel()
    reset, dr = _rows(z[0], k, len(dh)), _rows(dz[0], k, len(dh))
    old, into = before.ravel(), dinner.ravel()
    for j in range(dr.size):
        dr[j] = into[j] * old[j] * reset[j] * (one - reset[j])
        total[j] += into[j] * reset[j]


@compiled
def _before_back(
    dz: Any, dy: Any, z: Any, y: Any, extras: Any, starts: Any, dstates: Any, others: Any, back: Any, at: Any
) -> None:
    (dh,) = dstates
    n = len(dh)
    r = np.empty((2, *dh.shape), z.dtype)
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[0] if t == 0 else y[k - at[1] : k - at[1] + n]
        _blend_slopes(dz, dy, z, before, dh, k)
        _multiply_rows(dz[2:], k, back[2:], r[:1])
        _before_reset(dz, z, before, r[0], dh, k)
        _multiply_rows(dz[:2], k, back[:2], r)
        dh += r[0] + r[1]


# -- as kernels ------------------------------------------------------------------------------------


def _run(loop: Any, arrays: Sequence[Any], product: Product, at: range) -> None:
    """Run a loop over steps, compiled if its products are small."""
    steps = (at.start, at.step, len(at))
    if product.small:
        loop(*arrays, product.blocks, steps)
    else:
        loop.py_func(*arrays, product, steps)


def _forward(loop: Any, *options: Any) -> Callable[..., None]:
    def steps(
        z: Array, y: Array, extras: Any, states: Any, recur: Product, *others: Array, at: range
    ) -> None:
        arrays = (z, y, tuple(extras), tuple(states), (*others, *options))
        _run(loop, arrays, recur, at)

    return steps


def _backward(loop: Any, *options: Any) -> Callable[..., None]:
    def back(
        dz: Array, dy: Array, z: Array, y: Array, extras: Any, starts: Any, dstates: Any,
        product: Product, *others: Array, at: range,
    ) -> None:
        arrays = (dz, dy, z, y, tuple(extras), tuple(starts), tuple(dstates), (*others, *options))
        _run(loop, arrays, product, at)

    return back


def _compiled(kernel: Kernel, steps: Any, back: Any, *options: Any) -> Kernel:
    return kernel._replace(forward=_forward(steps, *options), backward=_backward(back, *options))


COMPILED = {
    rnn.KERNELS["tanh"]: _compiled(rnn.KERNELS["tanh"], _rnn_steps, _rnn_back, False),
    rnn.KERNELS["relu"]: _compiled(rnn.KERNELS["relu"], _rnn_steps, _rnn_back, True),
    lstm.KERNEL: _compiled(lstm.KERNEL, _lstm_steps, _lstm_back),
    gru.RESET_AFTER: _compiled(gru.RESET_AFTER, _after_steps, _after_back),
    gru.RESET_BEFORE: _compiled(gru.RESET_BEFORE, _before_steps, _before_back),
}
"""What runs in place of each kernel."""
