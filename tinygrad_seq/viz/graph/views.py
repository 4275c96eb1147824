"""What a reader may ask for: views say what becomes of time steps, levels what of a step's nodes.

Users name them by strings. Everything else asks the objects here, so that another view is a line
in :data:`VIEWS`, and the answers it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Union

__all__ = [
    "BAR",
    "BEGIN",
    "FOLDED",
    "LEVELS",
    "VIEWS",
    "Axis",
    "Level",
    "Step",
    "View",
    "in_order",
]

BAR = "bar"
"""The time step of everything that an elided view hides."""
FOLDED = "t"
"""The one time step of a rolled view."""
BEGIN = "begin"
"""The column of what computes the state that a time axis starts from."""
Step = Union[int, str, None]  # noqa: UP007  (evaluated at run time on 3.10)

_FIRST = 2
"""So many steps stand before a bar, and one after it."""


class Axis(NamedTuple):
    """The steps that have a column each, and the column of all others, if there are others."""

    kept: tuple[int, ...]
    rest: Step = None

    @property
    def columns(self) -> list[Step]:
        """Its steps as they are drawn, from left to right."""
        return in_order(self.kept if self.rest is None else [*self.kept, self.rest])

    def shown(self, step: int) -> Step:
        """Where a step is drawn."""
        return step if self.rest is None or step in self.kept else self.rest

    def clashes(self, other: Axis) -> bool:
        """Whether the bar of one would stand in the wrong place among the steps of the other.

        The same columns serve both if they hide the same, or if one hides nothing and all its
        steps are shown by the other or come after it.
        """
        if self.rest is not None and other.rest is not None:
            return self.kept != other.kept
        return any(
            one.rest is not None and any(s < one.kept[-1] for s in {*two.kept} - {*one.kept})
            for one, two in ((self, other), (other, self))
        )


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Columns from left to right; a bar stands where the steps are that it hides."""
    found = set(steps)
    numbers = sorted(step for step in found if isinstance(step, int))
    others = [step for step in (BAR, FOLDED) if step in found]
    gaps = [after - step for step, after in pairwise(numbers)]
    wide = [gap > min(gaps) for gap in gaps]  # steps may be counted by twos
    if not any(wide):
        wide = [gap > 1 for gap in gaps]
    at = wide.index(True) + 1 if any(wide) else len(numbers)
    return [*numbers[:at], *others, *numbers[at:]]


@dataclass(frozen=True)
class View:
    """What becomes of the time steps.

    Attributes
    ----------
    axis : callable
        Maps all steps of a time axis, in order, to the columns that they are drawn in.
    folds : bool
        Whether a step and the one before share a column, so that states come round again.
    """

    name: str
    axis: Callable[[list[int]], Axis]
    folds: bool = False


@dataclass(frozen=True)
class Level:
    """What becomes of the nodes within a time step.

    Attributes
    ----------
    closed : bool
        Whether all nodes of a module, or of one layer of it, are one item.
    plain : bool
        Whether every recorded node is drawn as it is, and nothing else.
    """

    name: str
    closed: bool = False
    plain: bool = False


def _elided(steps: list[int]) -> Axis:
    if len(steps) <= _FIRST + 2:  # a bar would hide one step
        return Axis(tuple(steps))
    return Axis((*steps[:_FIRST], steps[-1]), BAR)


VIEWS = {
    view.name: view
    for view in (
        View("unrolled", lambda steps: Axis(tuple(steps))),
        View("elided", _elided),
        View("rolled", lambda _: Axis((), FOLDED), folds=True),
    )
}
"""Those with most columns first."""
LEVELS = {
    level.name: level
    for level in (Level("module", closed=True), Level("cell"), Level("op", plain=True))
}
