"""Wires that climb side by side in one gap between two layers, as few tracks as they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["tracks"]

NEAR = 6.0


def tracks(runs: Mapping[str, Sequence[float]]) -> dict[str, int]:
    """The track of every wire, counted from the left, by name.

    Parameters
    ----------
    runs : mapping of str to sequence of float
        Heights at which a wire comes from the left, then those at which it goes on to the right.

    Examples
    --------
    >>> tracks(
    ...     {"falls": [90.0, 0.0], "ends where that starts": [30.0, 90.0], "over": [120.0, 200.0]}
    ... )
    {'over': 0, 'falls': 0, 'ends where that starts': 1}
    """
    waiting = sorted(runs, key=lambda name: _turns(*runs[name]))
    found: dict[str, int] = {}
    while waiting:
        ready = (
            name
            for name in waiting
            if not any(abs(end - runs[o][0]) < NEAR for end in runs[name][1:] for o in waiting)
        )
        name = next(ready, waiting[0])
        waiting.remove(name)
        low, high = min(runs[name]) - NEAR, max(runs[name]) + NEAR
        beside = [found[o] for o in found if min(runs[o]) < high and max(runs[o]) > low]
        found[name] = max(beside, default=-1) + 1
    return found


def _turns(start: float, *ends: float) -> tuple[bool, float]:
    """Of wires that rise the highest first, then of those that fall the lowest: few cross."""
    falls = sum(ends) < start * len(ends)
    return falls, start if falls else -start
