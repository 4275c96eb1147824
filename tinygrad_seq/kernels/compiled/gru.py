"""The loops of the GRU, in its two variants, as in :mod:`tinygrad_seq.kernels.gru`."""

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

__all__ = ["after_back", "after_steps", "before_back", "before_steps"]


@compiled
def _blend(z, y, before, k):
    n = len(before)
    update, fresh, old, new = rows(z[1], k, n), rows(z[2], k, n), before.ravel(), rows(y, k, n)
    for j in range(new.size):
        new[j] = fresh[j] + update[j] * (old[j] - fresh[j])


@compiled
def _after_step(z, y, inner, r, bias, before, k):
    n, hidden = before.shape
    squash(rows(z[0], k, n), r[0].ravel())
    squash(rows(z[1], k, n), r[1].ravel())
    for row in range(n):
        reset, fresh, add, kept = z[0, k + row], z[2, k + row], r[2, row], inner[k + row]
        for j in range(hidden):
            kept[j] = add[j] + bias[j]
        for j in range(hidden):
            fresh[j] = tanh(fresh[j] + reset[j] * kept[j])
    _blend(z, y, before, k)


@compiled
def after_steps(z, y, extras, states, others, recur, at):
    """h_t of the GRU whose reset gate acts after the product."""
    (h,), (bias,), (inner,) = states, others, extras
    r = np.empty((3, *h.shape), z.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        multiply(before, recur, r)
        _after_step(z, y, inner, r, bias, before, k)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _blend_slopes(dz, dy, z, before, dh, k):
    """Cotangents of the sums behind z and n; of dh, with what comes from above, what h keeps."""
    n, one = len(dh), z.dtype.type(1)
    update, fresh, old = rows(z[1], k, n), rows(z[2], k, n), before.ravel()
    du, dn, above, total = rows(dz[1], k, n), rows(dz[2], k, n), rows(dy, k, n), dh.ravel()
    for j in range(total.size):
        total[j] += above[j]
    for j in range(total.size):
        rest = one - update[j]
        dn[j] = total[j] * rest * (one - fresh[j] * fresh[j])
        du[j] = total[j] * (old[j] - fresh[j]) * update[j] * rest
    for j in range(total.size):
        total[j] *= update[j]


@compiled
def _after_slope(dz, dy, z, inner, before, through, dh, k):
    n, one = len(dh), z.dtype.type(1)
    _blend_slopes(dz, dy, z, before, dh, k)
    reset, kept, dr, dn = (
        rows(z[0], k, n),
        rows(inner, k, n),
        rows(dz[0], k, n),
        rows(dz[2], k, n),
    )
    for j in range(dn.size):
        dr[j] = dn[j] * kept[j] * reset[j] * (one - reset[j])
    into = through[2].ravel()
    for j in range(dn.size):
        into[j] = dn[j] * reset[j]
    through[:2] = dz[:2, k : k + n]


@compiled
def after_back(dz, dy, z, y, extras, starts, dstates, others, back, at):
    """Its cotangents, from the last step to the first."""
    (dh,), (inner,) = dstates, extras
    n = len(dh)
    through, r = np.empty((3, *dh.shape), z.dtype), np.empty((3, *dh.shape), z.dtype)
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[0] if t == 0 else y[k - at[1] : k - at[1] + n]
        _after_slope(dz, dy, z, inner, before, through, dh, k)
        multiply(through, back, r)
        dh += r[0] + r[1] + r[2]


@compiled
def _before_gates(z, inner, r, before, k):
    n = len(before)
    reset, old, kept = rows(z[0], k, n), before.ravel(), rows(inner, k, n)
    squash(reset, r[0].ravel())
    squash(rows(z[1], k, n), r[1].ravel())
    for j in range(kept.size):
        kept[j] = reset[j] * old[j]


@compiled
def _before_new(z, y, add, before, k):
    fresh, more = rows(z[2], k, len(before)), add.ravel()
    for j in range(fresh.size):
        fresh[j] = tanh(fresh[j] + more[j])
    _blend(z, y, before, k)


@compiled
def before_steps(z, y, extras, states, others, recur, at):
    """h_t of the GRU whose reset gate acts before the product."""
    (h,), (inner,) = states, extras
    r = np.empty((2, *h.shape), z.dtype)
    before = h
    for t in range(at[2]):
        k = at[0] + t * at[1]
        multiply(before, recur[:2], r)
        _before_gates(z, inner, r, before, k)
        multiply(inner[k : k + len(h)], recur[2:], r[:1])
        _before_new(z, y, r[0], before, k)
        before = y[k : k + len(h)]
    h[:] = before


@compiled
def _before_reset(dz, z, before, dinner, dh, k):
    """The reset gate's cotangent, and what comes to h past it."""
    one, total = z.dtype.type(1), dh.ravel()
    reset, dr = rows(z[0], k, len(dh)), rows(dz[0], k, len(dh))
    old, into = before.ravel(), dinner.ravel()
    for j in range(dr.size):
        dr[j] = into[j] * old[j] * reset[j] * (one - reset[j])
        total[j] += into[j] * reset[j]


@compiled
def before_back(dz, dy, z, y, extras, starts, dstates, others, back, at):
    """Its cotangents, from the last step to the first."""
    (dh,) = dstates
    n = len(dh)
    r = np.empty((2, *dh.shape), z.dtype)
    for t in range(at[2] - 1, -1, -1):
        k = at[0] + t * at[1]
        before = starts[0] if t == 0 else y[k - at[1] : k - at[1] + n]
        _blend_slopes(dz, dy, z, before, dh, k)
        multiply_rows(dz[2:], k, back[2:], r[:1])
        _before_reset(dz, z, before, r[0], dh, k)
        multiply_rows(dz[:2], k, back[:2], r)
        dh += r[0] + r[1]
