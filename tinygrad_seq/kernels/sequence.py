"""Running a recurrent kernel over a batch of sequences, forward and backward.

What RNN, LSTM and GRU share: one product for the inputs of all steps, the sweep over the
segments of a :class:`~tinygrad_seq.kernels.plan.Plan`, weight gradients as single products after
the backward sweep, and recomputation in place of storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from tinygrad_seq.kernels.plan import Group, Plan
from tinygrad_seq.kernels.projection import project, projection_gradients, recurrent_gradient

__all__ = ["Kernel", "Residuals", "Run", "run_backward", "run_forward"]

_LONG = 8  # from so many steps on, a product quicker by a third pays for a transposed copy

Array = NDArray[Any]
States = tuple[Array, ...]


class Kernel(NamedTuple):
    """The steps of one kind of cell."""

    extras: int
    """How many (T, N, H) arrays it keeps besides activations and hidden states."""
    forward: Callable[..., States]
    """``(z, y, extras, states, *weights) -> last states``: z (T, N, F) becomes activations."""
    backward: Callable[..., None]
    """``(dz, dy, z, y, extras, starts, dstates, back, *weights)``: fills dz, updates dstates."""
    recurrent: Callable[..., tuple[Array, ...]] | None = None
    """Gradients of W_hh and what follows the bias, if not ``h_{t-1}.T @ dz_t`` alone."""
    in_place: bool = False
    """Whether the activations are the hidden states, and need no memory of their own."""


class Run(NamedTuple):
    """What one group keeps for its backward sweep, in running order."""

    z: Array
    """Activations."""
    y: Array
    """Hidden states."""
    extras: tuple[Array, ...]
    starts: list[States]
    """The states at the start of every segment."""


class Residuals(NamedTuple):
    """What the backward sweep needs besides the operands."""

    plan: Plan
    runs: list[Run | States]
    """Per group: everything, or the states to run it again from."""


def run_forward(
    kernel: Kernel,
    x: Array,
    initial: Sequence[Array],
    weights: Sequence[Array],
    plan: Plan,
    keep: bool,
) -> tuple[tuple[Array, ...], Residuals | None]:
    """Hidden states (T, N, H) and the last valid states; with `keep`, what backward needs.

    `weights` are W_xh (I, F), W_hh (H, F), b (F,) and whatever else the kernel takes.
    """
    x = plan.arrange(x)
    states = tuple(initial) if plan.order is None else tuple([s[plan.order] for s in initial])
    lasts = [np.array(state, order="C") for state in states]
    single = len(plan.groups) == 1
    y: Array | None = None
    if not single:
        y = np.empty((*_leading(x), len(weights[1])), weights[1].dtype)
    runs: list[Run | States] = []
    for group in plan.groups:
        place = None if y is None else y[group.span]
        store = keep and not plan.recompute
        run = _run_group(kernel, x[group.span], place, states, weights, plan, group, lasts, store)
        if keep:
            runs.append(states if plan.recompute else run)
        if single:
            y = run.y
        else:
            states = tuple([last.copy() for last in lasts])
    assert y is not None
    if plan.order is not None:
        lasts = [_put_rows(last, plan.order) for last in lasts]
    return (plan.restore(y), *lasts), Residuals(plan, runs) if keep else None


def _leading(x: Array) -> tuple[int, ...]:
    return x.shape if x.dtype.kind in "iu" else x.shape[:-1]


def _put_rows(rows: Array, order: Array) -> Array:
    out = np.empty_like(rows)
    out[order] = rows
    return out


def _run_group(
    kernel: Kernel,
    x: Array,
    y: Array | None,
    states: States,
    weights: Sequence[Array],
    plan: Plan,
    group: Group,
    lasts: list[Array] | None,
    store: bool,
) -> Run:
    """Sweep the segments of one group, into `y` if given; set `lasts` where rows end."""
    z = project(x, weights[0], weights[2])
    if y is None:
        y = z if kernel.in_place else np.empty((*z.shape[:-1], len(weights[1])), z.dtype)
    extras = tuple([np.empty_like(y) for _ in range(kernel.extras)]) if store else ()
    starts: list[States] = []
    for segment in group.segments:
        if segment.rows < len(states[0]):
            states = tuple([state[: segment.rows] for state in states])
        if segment.fresh is not None:
            states = tuple([np.where(segment.fresh, 0, state) for state in states])
        starts.append(states)
        out = plan.cut(y, segment, group)
        if store:
            places = tuple([plan.cut(extra, segment, group) for extra in extras])
        else:
            places = tuple([_one_step(out) for _ in range(kernel.extras)])
        states = kernel.forward(plan.cut(z, segment, group), out, places, states, *weights[1:])
        if lasts is not None:
            for last, state in zip(lasts, states, strict=True):
                last[: segment.rows] = state
    return Run(z, y, extras, starts)


def _one_step(like: Array) -> Array:
    """Memory of one step that stands for all of them: each overwrites the one before."""
    step = np.empty(like.shape[1:], like.dtype)
    return as_strided(step, like.shape, (0, *step.strides))


def run_backward(
    kernel: Kernel,
    cotangents: Sequence[Array],
    x: Array,
    weights: Sequence[Array],
    residuals: Residuals,
    need_x: bool,
) -> tuple[Array | None, ...]:
    """Gradients with respect to x, the initial states and the weights.

    `cotangents` are those of y (T, N, H) and of the last states (N, H).
    """
    plan, runs = residuals
    x, dy = plan.arrange(x), plan.arrange(cotangents[0])
    order = plan.order
    dstates = [np.array(c, order="C") if order is None else c[order] for c in cotangents[1:]]
    back = weights[1].T
    if plan.running >= _LONG:  # not T: more padding must not change a bit
        back = np.ascontiguousarray(back)
    need_x = need_x and x.dtype.kind not in "iu"
    single = len(plan.groups) == 1
    dx = np.zeros_like(x) if need_x and not single else None
    totals: list[Array] | None = None
    for group, kept in zip(reversed(plan.groups), reversed(runs), strict=True):
        piece = x[group.span]
        if isinstance(kept, Run):
            run = kept
        else:
            run = _run_group(kernel, piece, None, kept, weights, plan, group, None, True)
        dz = _sweep_back(kernel, dy[group.span], run, dstates, back, weights, plan, group)
        if single:
            del back  # warm memory for the weight gradients
        part, dweight, dbias = projection_gradients(piece, dz, weights[0], need_x)
        recurrent = _recurrent_gradients(kernel, run, dz, plan, group)
        found = [dweight, recurrent[0], dbias, *recurrent[1:]]
        if single:
            dx = part
        elif dx is not None:
            dx[group.span] = part
        totals = found if totals is None else [a + b for a, b in zip(totals, found, strict=True)]
        del run
    if totals is None:  # every row is empty
        totals = [np.zeros_like(weight) for weight in weights]
    if order is not None:
        dstates = [_put_rows(d, order) for d in dstates]
    return None if dx is None else plan.restore(dx), *dstates, *totals


def _sweep_back(
    kernel: Kernel,
    dy: Array,
    run: Run,
    dstates: list[Array],
    back: Array,
    weights: Sequence[Array],
    plan: Plan,
    group: Group,
) -> Array:
    """The backward sweep of one group: dz, with `dstates` carried to its start in place."""
    dz = np.empty_like(run.z)
    arrays = (dz, dy, run.z, run.y, *run.extras)
    for segment, start in zip(reversed(group.segments), reversed(run.starts), strict=True):
        dz_, dy_, z, y, *extras = (plan.cut(array, segment, group) for array in arrays)
        carried = [d[: segment.rows] for d in dstates]
        kernel.backward(dz_, dy_, z, y, extras, start, carried, back, *weights[1:])
        if segment.fresh is not None:
            for d in carried:
                np.copyto(d, 0, where=segment.fresh)
    return dz


def _recurrent_gradients(
    kernel: Kernel, run: Run, dz: Array, plan: Plan, group: Group
) -> tuple[Array, ...]:
    """Gradients of W_hh, and of what follows the bias, from one product each."""
    if plan.places is None and len(group.segments) == 1:

        def product(part: Array) -> Array:
            return recurrent_gradient(run.starts[0][0], run.y, part)

    else:
        before = np.empty_like(run.y)
        for segment, start in zip(group.segments, run.starts, strict=True):
            place = plan.cut(before, segment, group)
            place[0] = start[0]
            place[1:] = plan.cut(run.y, segment, group)[:-1]
        rows = before.reshape(-1, before.shape[-1])

        def product(part: Array) -> Array:
            total: Array = rows.T @ part.reshape(len(rows), -1)
            return total

    if kernel.recurrent is None:
        return (product(dz),)
    return kernel.recurrent(product, dz, run.z, run.extras)
