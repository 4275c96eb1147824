"""Numbers for equal operations of a time step, in memory that does not grow with the steps."""

from __future__ import annotations

__all__ = ["Tally"]

_NEAR = 3  # steps that a run may skip, if they are remembered apart


class Tally:
    """How often something was counted at every time step.

    Steps come nearly in order and are nearly alike: those with equal counts are kept as one run
    of steps, the others apart.

    Examples
    --------
    >>> from tinygrad_seq.viz.graph.tally import Tally
    >>> tally = Tally()
    >>> [tally.next(step) for step in (2, 2, 1, 1, 2, 0)]
    [0, 1, 0, 1, 2, 0]
    """

    __slots__ = ("_apart", "_count", "_high", "_low", "_step", "_usual")

    def __init__(self) -> None:
        self._step: int | None = None
        self._count = 0
        self._low, self._high, self._usual = 0, -1, 0  # no run yet
        self._apart: dict[int, int] = {}

    def next(self, step: int | None) -> int:
        """The number of one more at a step: 0 for the first. None is outside time."""
        if step != self._step:
            self._keep()
            self._step, self._count = step, self._recall(step)
        self._count += 1
        return self._count - 1

    def _recall(self, step: int | None) -> int:
        if step is None:
            return 0
        inside = self._usual if self._low <= step <= self._high else 0
        return self._apart.get(step, inside)

    def _keep(self) -> None:
        step, count = self._step, self._count
        if step is None or not count:
            return
        if self._low == self._high and count != self._usual and step != self._low:
            self._apart.setdefault(self._low, self._usual)  # a run of one was none
            self._low, self._high = 0, -1
        if self._low > self._high:
            self._low = self._high = step
            self._usual = count
        elif count == self._usual and self._reaches(step):
            self._low, self._high = min(self._low, step), max(self._high, step)
        else:
            self._apart[step] = count
            return
        self._apart.pop(step, None)

    def _reaches(self, step: int) -> bool:
        """Whether the run can be made to reach a step without claiming one in between."""
        below, above = range(step + 1, self._low), range(self._high + 1, step)
        between = below or above
        return len(between) <= _NEAR and all(other in self._apart for other in between)
