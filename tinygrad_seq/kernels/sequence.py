"""Running a recurrent kernel over a batch of sequences, forward and backward.

What RNN, LSTM and GRU share: products for the inputs of all steps, the sweep over the segments of
a :class:`~tinygrad_seq.kernels.plan.Plan`, rows of the batch on several threads, weight gradients
as single products after the backward sweep, and recomputation in place of storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels import memory
from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.plan import Group, Plan
from tinygrad_seq.kernels.products import Product
from tinygrad_seq.kernels.projection import (
    Projection,
    in_blocks,
    input_gradient,
    product_gradient,
    projection_gradients,
)
from tinygrad_seq.kernels.rows import table_of
from tinygrad_seq.kernels.settings import config
from tinygrad_seq.kernels.shards import in_shards, matmul, shares_of

__all__ = ["Residuals", "Run", "run_backward", "run_forward"]

Array = NDArray[Any]
States = tuple[Array, ...]


class Run(NamedTuple):
    """What one group keeps for its backward sweep."""

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
    ids: Array | None
    """As for :func:`run_forward`."""


class _Weights:
    """The weights W_xh (I, B * H), W_hh (H, B * H), b (B * H,) and others, as kernels take them."""

    def __init__(self, kernel: Kernel, x: Array, weights: Sequence[Array], few: bool) -> None:
        weight_xh, self.weight_hh, bias, *self.others = weights
        hidden, tokens = len(self.weight_hh), x.size if x.dtype.kind in "iu" else 0
        self.halved = kernel.halved
        self.project = Projection(weight_xh, bias, hidden, kernel.halved, tokens, few)
        self.blocks = None if few else in_blocks(self.weight_hh, hidden, kernel.halved)

    def recur(self, rows: int) -> Product:
        """``h W_hh``, of so many rows at a time."""
        if self.blocks is None:
            return Product.in_place(self.weight_hh, self.halved)
        return Product(self.blocks, rows)


def run_forward(
    kernel: Kernel,
    x: Array,
    initial: Sequence[Array],
    weights: Sequence[Array],
    plan: Plan,
    keep: bool,
    ids: Array | None = None,
) -> tuple[tuple[Array, ...], Residuals | None]:
    """Hidden states (T, N, H) and the last valid states; with `keep`, what backward needs.

    `ids` (T, N) say which rows of x are alike, where it was picked from a table of fewer rows:
    then those are multiplied, once each.
    """
    few = plan.running < _FEW
    kernel = _chosen(kernel, weights[1].dtype, few)
    x = plan.arrange(x)
    if ids is not None:  # padding, which the plan leaves out, must not change a bit
        ids = plan.arrange(ids)
        ids = ids if 2 * (int(ids.max(initial=0)) + 1) <= len(ids) else None
    if ids is not None:
        weights = (matmul(table_of(x, ids), weights[0]), *weights[1:])
        x = ids
    states = tuple([plan.sorted(state) for state in initial])
    y = memory.empty((len(x), len(weights[1])), weights[1].dtype)
    prepared = _Weights(kernel, x, weights, few)
    store = keep and not plan.recompute
    runs: list[Run | States] = []
    for group in plan.groups:
        begin = () if store or not keep else tuple([state.copy() for state in states])
        run = _run_group(kernel, x[group.span], y[group.span], states, prepared, group, store)
        if keep:
            runs.append(run if store else begin)
        del run  # its memory serves the next
    lasts = [plan.unsorted(state) for state in states]
    return (plan.restore(y), *lasts), Residuals(plan, runs, ids) if keep else None


_FEW = 8
"""Steps that would not pay for weights laid out anew."""


def _chosen(kernel: Kernel, dtype: np.dtype[Any], few: bool) -> Kernel:
    """The kernel that the settings ask for; complex numbers and few steps are left to NumPy."""
    if few or dtype.kind != "f" or config.kernels == "numpy":
        return kernel
    from tinygrad_seq.kernels.compiled.table import COMPILED

    return COMPILED.get(kernel, kernel)


def _run_group(
    kernel: Kernel,
    x: Array,
    y: Array,
    states: States,
    weights: _Weights,
    group: Group,
    store: bool,
) -> Run:
    """Sweep the segments of one group, into `y`; moves the states to where their rows end."""
    shape = (weights.weight_hh.shape[1] // y.shape[1], *y.shape)
    z = y[None] if kernel.in_place else memory.empty(shape, y.dtype)
    weights.project(x, z)
    extras = tuple([memory.empty(y.shape, y.dtype) for _ in range(kernel.extras)])
    starts = [
        tuple([np.empty_like(state[: segment.rows]) for state in states])
        for segment in (group.segments if store else ())
    ]

    def sweep(first: int, last: int) -> None:
        for number, segment in enumerate(group.segments):
            stop = min(last, segment.rows)
            if stop <= first:
                return
            now = [state[first:stop] for state in states]
            if segment.fresh is not None:
                for state in now:
                    np.copyto(state, 0, where=segment.fresh[first:stop])
            if store:
                for start, state in zip(starts[number], now, strict=True):
                    start[first:stop] = state
            at = _moved(segment.at, first)
            kernel.forward(z, y, extras, now, recur, *weights.others, at=at)

    shares = shares_of(len(states[0]), y.shape[-1])
    recur = weights.recur(-(-len(states[0]) // shares))
    in_shards(sweep, len(states[0]), shares)
    return Run(z, y, extras, starts)


def _moved(at: range, rows: int) -> range:
    return range(at.start + rows, at.stop + rows, at.step)


def run_backward(
    kernel: Kernel,
    cotangents: Sequence[Array],
    x: Array,
    weights: Sequence[Array],
    residuals: Residuals,
    need_x: bool,
) -> tuple[Any, ...]:
    """Gradients with respect to x, the initial states and the weights.

    `cotangents` are those of y (T, N, H) and of the last states (N, H). That of an x that was
    picked from a table may not be needed: then it is two functions, as for
    :class:`tinygrad_seq.engine.spread.Spread`.
    """
    plan, runs, ids = residuals
    few = plan.running < _FEW
    kernel = _chosen(kernel, weights[1].dtype, few)
    x, dy = plan.arrange(x), plan.arrange(cotangents[0])
    dy = np.require(dy, requirements="W")  # for a read-only array Numba would compile anew
    dstates = [plan.sorted(cotangent) for cotangent in cotangents[1:]]
    need_x = need_x and x.dtype.kind not in "iu"
    weight_xh, table = weights[0], None
    rows_of_weight = len(weight_xh)
    if ids is not None:
        table = table_of(x, ids)
        x, rows_of_weight = ids, len(table)
        if plan.recompute:
            weights = (matmul(table, weight_xh), *weights[1:])
    prepared = _Weights(kernel, x, weights, few) if plan.recompute else None
    single = len(plan.groups) == 1
    later = need_x and single and table is not None
    dx = np.zeros((len(x), len(weight_xh)), dy.dtype) if need_x and not single else None
    totals: list[Array] | None = None
    for group, kept in zip(reversed(plan.groups), reversed(runs), strict=True):
        piece = x[group.span]
        if isinstance(kept, Run):
            run = kept
        else:
            assert prepared is not None
            again, y = tuple([state.copy() for state in kept]), np.empty_like(dy[group.span])
            run = _run_group(kernel, piece, y, again, prepared, group, True)
        dz = _sweep_back(kernel, dy[group.span], run, dstates, weights, few, group)
        part = input_gradient(dz, weight_xh) if need_x and not later else None
        dweight, dbias = projection_gradients(piece, dz, rows_of_weight)
        before = _states_before(run, group)
        if kernel.recurrent is None:
            recurrent: tuple[Array, ...] = (product_gradient(before, dz),)
        else:
            recurrent = kernel.recurrent(before, dz, run.z, run.extras)
        found = [dweight, recurrent[0], dbias, *recurrent[1:]]
        if single:
            dx = part
        elif dx is not None:
            dx[group.span] = part
        totals = found if totals is None else [a + b for a, b in zip(totals, found, strict=True)]
        del run
    if totals is None:  # every row is empty
        totals = [np.zeros_like(weight) for weight in (weight_xh, *weights[1:])]
    by_row = totals[0]
    if table is not None and plan.groups:
        totals[0] = matmul(table.T, by_row)
    dstates = [plan.unsorted(cotangent) for cotangent in dstates]
    found_x: Any = None if dx is None else plan.restore(dx)
    if later:
        found_x = (
            lambda: plan.restore(input_gradient(dz, weight_xh)),
            lambda rows: _padded(matmul(by_row, weight_xh.T), rows),
        )
    return found_x, *dstates, *totals


def _padded(rows: Array, count: int) -> Array:
    """So many rows: those given, and rows of 0."""
    out = np.zeros((count, rows.shape[1]), rows.dtype)
    out[: len(rows)] = rows
    return out


def _sweep_back(
    kernel: Kernel,
    dy: Array,
    run: Run,
    dstates: list[Array],
    weights: Sequence[Array],
    few: bool,
    group: Group,
) -> Array:
    """The backward sweep of one group: dz, with `dstates` carried to its start in place."""
    _, weight_hh, _, *others = weights
    dz = memory.empty(run.z.shape, run.z.dtype)

    def sweep(first: int, last: int) -> None:
        for segment, start in zip(reversed(group.segments), reversed(run.starts), strict=True):
            stop = min(last, segment.rows)
            if stop <= first:
                continue
            carried = [d[first:stop] for d in dstates]
            begin = [state[first:stop] for state in start]
            at = _moved(segment.at, first)
            kernel.backward(dz, dy, run.z, run.y, run.extras, begin, carried, back, *others, at=at)
            if segment.fresh is not None:
                for d in carried:
                    np.copyto(d, 0, where=segment.fresh[first:stop])

    shares = shares_of(len(dstates[0]), dy.shape[-1])
    back = Product.in_place(weight_hh, back=True)
    if not few:
        back = Product(back.blocks.copy(), -(-len(dstates[0]) // shares))
    in_shards(sweep, len(dstates[0]), shares)
    return dz


def _states_before(run: Run, group: Group) -> Array:
    """The hidden states before every step, (M, H)."""
    before = memory.empty(run.y.shape, run.y.dtype)
    for segment, start in zip(group.segments, run.starts, strict=True):
        at, rows = segment.at, segment.rows
        before[at.start : at.start + rows] = start[0]
        low, high = min(at), max(at) + rows
        if at.step > 0:
            before[low + rows : high] = run.y[low : high - rows]
        else:
            before[low : high - rows] = run.y[low + rows : high]
    return before
