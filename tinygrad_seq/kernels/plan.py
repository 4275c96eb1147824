"""In what pieces a batch of sequences is run: lengths, resets, direction and recomputation.

A *segment* is a stretch of steps with one number of rows and no reset inside: what a recurrent
kernel sweeps at once. Ragged batches are packed: rows by descending length, so that the rows
still running at a step are the first ones, and padding is never read. A *group* is a range of
segments whose activations live together; with recomputation only one group's live at a time.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Group", "Plan", "Segment", "make_plan"]

Array = NDArray[Any]


class Segment(NamedTuple):
    """Steps of the first `rows` rows of the batch."""

    at: range
    """Where the rows of every step begin in the group's arrays, in running order."""
    rows: int
    fresh: Array | None = None
    """(rows, 1) booleans: whose state is zeroed before the first of these steps."""


class Group(NamedTuple):
    """Segments run together, and the rows of all steps that they cover."""

    segments: tuple[Segment, ...]
    span: slice


class Plan(NamedTuple):
    """How to run (T, N) steps; arrays of all steps lie row below row, (M, ...)."""

    steps: int
    batch: int
    running: int
    """Steps that some row runs: T, less what is padding for all."""
    groups: tuple[Group, ...]
    order: Array | None = None
    """(N,) rows by descending length; None if nothing is packed."""
    places: Array | None = None
    """(M,) places of the packed rows in the T * N places; None if nothing is packed."""
    recompute: bool = False
    """Keep the states between groups only; backward runs each group again."""

    def arrange(self, array: Array) -> Array:
        """The (M, ...) rows of a (T, N, ...) array: all of them, or packed."""
        rows = array.reshape(self.steps * self.batch, *array.shape[2:])
        return np.ascontiguousarray(rows if self.places is None else rows[self.places])

    def restore(self, rows: Array) -> Array:
        """Undo :meth:`arrange`; padded places become 0."""
        if self.places is not None:
            out = np.zeros((self.steps * self.batch, *rows.shape[1:]), rows.dtype)
            out[self.places] = rows
            rows = out
        return rows.reshape(self.steps, self.batch, *rows.shape[1:])

    def sorted(self, state: Array) -> Array:
        """A copy of (N, H) with rows in running order."""
        return np.array(state, order="C") if self.order is None else state[self.order]

    def unsorted(self, state: Array) -> Array:
        """Undo :meth:`sorted`."""
        if self.order is None:
            return state
        out = np.empty_like(state)
        out[self.order] = state
        return out


def make_plan(
    steps: int,
    batch: int,
    lengths: Array | None = None,
    reset: Array | None = None,
    reverse: bool = False,
    every: int | None = None,
) -> Plan:
    """Plan a run.

    Parameters
    ----------
    steps, batch : int
        T and N.
    lengths : (N,) integers in 0 .. T, optional
        Valid steps of every row.
    reset : (T, N) booleans, optional
        Rows that start anew at a step: forward, their state is zeroed before it; in reverse,
        before the step ahead of it. In padding it means nothing.
    reverse : bool
        Run from the last valid step to the first.
    every : int, optional
        Recompute: keep states every so many steps only.
    """
    if lengths is not None and lengths.min() == steps:
        lengths = None
    if reset is not None and not reset.any():
        reset = None
    if lengths is None and reset is None:
        return _plain(steps, batch, reverse, every)
    if lengths is None:
        order, places = None, None
        running = np.full(steps, batch)
        when = np.broadcast_to(np.arange(steps)[:, None], (steps, batch))
        when = when[::-1] if reverse else when
    else:
        order = np.argsort(-lengths, kind="stable")
        longest = lengths[order]
        running = (np.arange(steps)[:, None] < longest).sum(axis=1)
        clock = np.arange(steps)[:, None]
        when = longest - 1 - clock if reverse else np.broadcast_to(clock, (steps, batch))
        places = (when * batch + order)[clock < longest]
    fresh = None
    if reset is not None:
        fresh = _fresh(reset, when, order, lengths, reverse)
    back = reverse and places is None
    groups = tuple(_groups(running, fresh, every, back))
    count = int(np.count_nonzero(running))
    return Plan(steps, batch, count, groups, order, places, every is not None)


@lru_cache(maxsize=64)
def _plain(steps: int, batch: int, reverse: bool, every: int | None) -> Plan:
    groups = tuple(_groups(np.full(steps, batch), None, every, reverse))
    return Plan(steps, batch, steps if batch else 0, groups, recompute=every is not None)


def _fresh(
    reset: Array, when: Array, order: Array | None, lengths: Array | None, reverse: bool
) -> Array:
    """The reset mask in running order: (T, N), rows as they run."""
    steps, batch = reset.shape
    rows = np.arange(batch) if order is None else order
    if not reverse:
        return reset[:, rows]
    ends = np.full(batch, steps) if lengths is None else lengths[rows]
    after = when + 1  # a new start at t + 1 is where the run from the right loses its state
    inside = (after >= 1) & (after < ends)
    picked: Array = reset[np.where(inside, after, 0), rows] & inside
    return picked


def _groups(running: Array, fresh: Array | None, every: int | None, back: bool) -> list[Group]:
    """Cut where the number of rows changes, where rows start anew, and at group borders.

    Rows lie in running order, or where they run `back`, all of them, in that of time.
    """
    steps = int(np.count_nonzero(running))
    offsets = [0, *np.cumsum(running).tolist()]
    period = max(steps if every is None else every, 1)
    cuts = np.zeros(steps + 1, bool)
    if steps:
        cuts[::period] = True
        cuts[1:steps] |= running[1:steps] != running[: steps - 1]
        if fresh is not None:
            live = fresh[:steps] & (np.arange(fresh.shape[1]) < running[:steps, None])
            cuts[:steps] |= live.any(axis=1)
    cuts[steps] = True
    groups: list[Group] = []
    inside: list[Segment] = []
    for start, stop in pairwise(np.flatnonzero(cuts).tolist()):
        rows = int(running[start])
        new = None if fresh is None else fresh[start, :rows, None]
        new = new if new is not None and new.any() else None
        first = start - start % period
        end = min(first + period, steps)
        low, high = offsets[first], offsets[end]
        at = range(offsets[start] - low, offsets[stop] - low, rows)
        if back:
            low, high = offsets[steps] - high, offsets[steps] - low
            at = range(high - low - at.start - rows, high - low - at.stop - rows, -rows)
        inside.append(Segment(at, rows, new))
        if stop == end:
            groups.append(Group(tuple(inside), slice(low, high)))
            inside = []
    return groups
