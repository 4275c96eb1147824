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
    """Steps ``start .. stop - 1``, in running order, of the first `rows` rows."""

    start: int
    stop: int
    rows: int
    offset: int
    """Packed rows before this segment."""
    fresh: Array | None = None
    """(rows, 1) booleans: whose state is zeroed before the first of these steps."""


class Group(NamedTuple):
    """Segments run together, and what they cover of an array in running order."""

    segments: tuple[Segment, ...]
    span: slice


class Plan(NamedTuple):
    """How to run (T, N) steps."""

    steps: int
    batch: int
    groups: tuple[Group, ...]
    reverse: bool = False
    order: Array | None = None
    """(N,) rows by descending length; None if nothing is packed."""
    places: Array | None = None
    """(M,) places of the packed rows in the T * N places; None if nothing is packed."""
    recompute: bool = False
    """Keep the states between groups only; backward runs each group again."""

    @property
    def running(self) -> int:
        """Steps that some row runs: T, less what is padding for all."""
        return self.groups[-1].segments[-1].stop if self.groups else 0

    def arrange(self, array: Array) -> Array:
        """A (T, N, ...) array in running order: as it is, reversed, or packed to (M, ...)."""
        if self.places is not None:
            return array.reshape(-1, *array.shape[2:])[self.places]
        return array[::-1] if self.reverse else array

    def restore(self, array: Array) -> Array:
        """Undo :meth:`arrange`; padded places become 0."""
        if self.places is None:
            return array[::-1] if self.reverse else array
        out = np.zeros((self.steps * self.batch, *array.shape[1:]), array.dtype)
        out[self.places] = array
        return out.reshape(self.steps, self.batch, *array.shape[1:])

    def cut(self, array: Array, segment: Segment, group: Group) -> Array:
        """The (steps, rows, F) view of one segment in a group's part of an array."""
        first = group.span.start
        if self.places is None:
            return array[segment.start - first : segment.stop - first]
        steps, low = segment.stop - segment.start, segment.offset - first
        return array[low : low + steps * segment.rows].reshape(steps, segment.rows, -1)


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
    groups = tuple(_groups(running, fresh, every, places is not None))
    return Plan(steps, batch, groups, reverse, order, places, every is not None)


@lru_cache(maxsize=64)
def _plain(steps: int, batch: int, reverse: bool, every: int | None) -> Plan:
    groups = tuple(_groups(np.full(steps, batch), None, every, False))
    return Plan(steps, batch, groups, reverse, recompute=every is not None)


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


def _groups(running: Array, fresh: Array | None, every: int | None, packed: bool) -> list[Group]:
    """Cut where the number of rows changes, where rows start anew, and at group borders."""
    steps = int(np.count_nonzero(running))
    offsets = np.concatenate([[0], np.cumsum(running)])
    period = steps if every is None else every
    cuts = np.zeros(steps + 1, bool)
    if steps:
        cuts[:: max(period, 1)] = True
        cuts[1:steps] |= running[1:steps] != running[: steps - 1]
        if fresh is not None:
            live = fresh[:steps] & (np.arange(fresh.shape[1]) < running[:steps, None])
            cuts[:steps] |= live.any(axis=1)
    cuts[steps] = True
    marks = [int(t) for t in np.flatnonzero(cuts)]
    segments = []
    for start, stop in pairwise(marks):
        rows = int(running[start])
        new = None if fresh is None else fresh[start, :rows, None]
        new = new if new is not None and new.any() else None
        segments.append(Segment(start, stop, rows, int(offsets[start]), new))
    groups = []
    for first in range(0, steps, max(period, 1)):
        last = min(first + period, steps)
        inside = tuple(s for s in segments if first <= s.start < last)
        ends = (int(offsets[first]), int(offsets[last])) if packed else (first, last)
        groups.append(Group(inside, slice(*ends)))
    return groups
