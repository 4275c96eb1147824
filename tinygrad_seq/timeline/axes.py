"""Loops on one time axis: those whose steps meet in pairs, one for one, in reverse or held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Aligned", "align"]

Pairs = Mapping[tuple[int, int], "set[tuple[int, int]]"]


class Aligned(NamedTuple):
    """How the steps of a loop lie on a time axis."""

    axis: int
    sign: int = 1
    offset: int = 0
    places: tuple[int, ...] = ()
    """Of a slower loop, whose states are held for several steps of the others."""

    def step(self, own: int) -> int:
        """Where a step of the loop is on the axis."""
        return self.places[own] if self.places else self.sign * own + self.offset

    def on(self, own: int) -> tuple[int, int]:
        """The axis, and where on it a step is."""
        return self.axis, self.step(own)


def align(pairs: Pairs, lengths: Sequence[int], reached: NDArray[np.bool_]) -> list[Aligned]:
    """The axis of every loop, beginning at 0.

    Parameters
    ----------
    pairs : mapping
        Of two loops the steps that meet. Where each meets one, always as far ahead or always as
        far from the other end, both are on one axis. An encoder that is read from everywhere, or
        only at its end, keeps its own. Where each step of a slower loop meets several in turn,
        it stands at the first that reads it, or the last that it reads.
    lengths : sequence of int
    reached : array
        Which loop leads to which.
    """
    found = [Aligned(number) for number in range(len(lengths))]
    for (one, two), met in pairs.items():
        turn = _turn(met)
        if turn is None or found[one].axis == found[two].axis:
            continue
        sign, offset = turn  # step of `two` = sign * step of `one` + offset
        base, moved = found[one], found[two]
        # On the axis of `one`: own step of `two` -> step of `one` -> axis.
        way = Aligned(base.axis, base.sign * sign, base.offset - base.sign * sign * offset)
        for number, other in enumerate(found):
            if other.axis == moved.axis:
                # its steps on the old axis -> own steps of `two` -> the new axis
                sign_back = way.sign * moved.sign
                offset_back = way.offset - sign_back * moved.offset
                found[number] = Aligned(
                    base.axis, sign_back * other.sign, sign_back * other.offset + offset_back
                )
    found = _from_zero(found, lengths)
    for (one, two), met in pairs.items():
        for slow, fast in ((one, two), (two, one)):
            if found[slow].axis != found[fast].axis and lengths[slow] < lengths[fast]:
                meeting = met if slow == one else {(b, a) for a, b in met}
                reads = bool(reached[fast, slow] and not reached[slow, fast])
                places = _held(meeting, lengths[slow], max if reads else min)
                _put_among(found, lengths, slow, fast, places)
    return found


def _held(
    met: set[tuple[int, int]], length: int, which: Callable[[Iterable[int]], int]
) -> list[int]:
    """Steps of a faster loop, one for each of a slower one; none if each does not meet its own."""
    by_step: dict[int, list[int]] = {}
    for slow, fast in sorted(met):
        by_step.setdefault(slow, []).append(fast)
    in_turn = [fast for several in by_step.values() for fast in several]
    if len(by_step) < length or length < 2 or any(a >= b for a, b in pairwise(in_turn)):
        return []
    return [which(several) for several in by_step.values()]


def _put_among(
    found: list[Aligned], lengths: Sequence[int], slow: int, fast: int, places: list[int]
) -> None:
    """Put a loop, and all on its axis, at steps of a faster one."""
    at = {found[slow].step(own): found[fast].step(place) for own, place in enumerate(places)}
    moved: dict[int, Aligned] = {}
    for number, other in enumerate(found):
        if other.axis == found[slow].axis:
            steps = [at.get(other.step(own)) for own in range(lengths[number])]
            known = tuple(step for step in steps if step is not None)
            if len(known) < len(steps):
                return
            moved[number] = Aligned(found[fast].axis, places=known)
    for number, aligned in moved.items():
        found[number] = aligned


def _turn(met: set[tuple[int, int]]) -> tuple[int, int] | None:
    """How the second steps follow from the first, if each is that of one: (sign, offset)."""
    one_for_one = len({a for a, _ in met}) == len({b for _, b in met}) == len(met)
    if len(met) < 2 or not one_for_one:
        return None
    for sign in (1, -1):
        offsets = {b - sign * a for a, b in met}
        if len(offsets) == 1:
            return sign, offsets.pop()
    return None


def _from_zero(found: list[Aligned], lengths: Sequence[int]) -> list[Aligned]:
    """Every axis from 0 on, and the way that most of its steps go."""
    done = list(found)
    for axis in {aligned.axis for aligned in found}:
        members = [number for number, aligned in enumerate(found) if aligned.axis == axis]
        ends = [found[n].step(own) for n in members for own in (0, lengths[n] - 1)]
        low, high = min(ends), max(ends)
        ahead = sum(found[n].sign * lengths[n] for n in members)
        for n in members:
            sign, offset = found[n].sign, found[n].offset
            done[n] = Aligned(axis, sign, offset - low)
            if ahead < 0:
                done[n] = Aligned(axis, -sign, high - offset)
    return done
