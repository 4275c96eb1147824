"""Time axes: which modules share one, and at which step of a drawing each of their steps stands.

An encoder and its decoder count their steps separately. Rows (a module and layer each) that hang
on one another within a time step share an axis; an elided view shortens each axis by its own
length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from tinygrad_seq.viz.graph.items import BAR, FOLDED, Row, Step

if TYPE_CHECKING:
    from tinygrad_seq.viz.graph.survey import Survey

__all__ = ["Axes", "Axis", "in_order"]

_SHORT = 4
"""So few steps are shown whole."""


class Axis(NamedTuple):
    """The steps that an axis keeps; with a bar, those between its second and last are hidden."""

    kept: tuple[int, ...]
    bar: bool

    @classmethod
    def of(cls, steps: set[int]) -> Axis:
        """Elide an axis, given its steps, if it is long enough."""
        ordered = sorted(steps)
        if len(ordered) <= _SHORT:
            return cls(tuple(ordered), False)
        return cls((*ordered[:2], ordered[-1]), True)

    @property
    def columns(self) -> list[Step]:
        """Its steps as they are drawn, from left to right."""
        return in_order([*self.kept, BAR] if self.bar else self.kept)

    def shown(self, step: int) -> Step:
        """Where a step is drawn."""
        return BAR if self.bar and step not in self.kept else step

    def clashes(self, other: Axis) -> bool:
        """Whether the bar of one would stand in the wrong place among the steps of the other.

        The same columns serve both if they hide the same, or if one hides nothing and all its
        steps are shown by the other or come after it.
        """
        if self.bar and other.bar:
            return self.kept != other.kept
        return any(
            one.bar and any(step < one.kept[-1] for step in {*two.kept} - {*one.kept})
            for one, two in ((self, other), (other, self))
        )


class Axes:
    """Where every time step of every row is drawn.

    Parameters
    ----------
    view : {"unrolled", "elided", "rolled"}
    survey : Survey
        Its rows and their steps, and which of them feed one another.
    row_of : callable
        The row that a row is drawn in: that of the closed module around it, for instance.
    """

    def __init__(
        self,
        view: str,
        survey: Survey,
        row_of: Callable[[Row], Row],
    ) -> None:
        self.view = view
        self._rows: dict[Row, Axis] = {}
        if view != "elided":
            return
        self._longest = Axis.of(set(survey.steps))
        group: dict[Row, Row] = {}

        def leader(row: Row) -> Row:
            while group.setdefault(row, row) != row:
                row = group[row]
            return row

        for one, two in survey.joins:
            group[leader(row_of(one))] = leader(row_of(two))
        known: dict[Row, set[int]] = {}
        for row, steps in survey.rows.items():
            known.setdefault(leader(row_of(row)), set()).update(steps)
        axes = {row: Axis.of(found) for row, found in known.items()}
        self._rows = {row_of(row): axes[leader(row_of(row))] for row in survey.rows}

    def shown(self, step: int, row: Row) -> Step:
        """The step that a step of a row is drawn at."""
        if self.view == "rolled":
            return FOLDED
        axis = self.of(row)
        return step if axis is None else axis.shown(step)

    def of(self, row: Row) -> Axis | None:
        """The axis of a row, in a view that elides."""
        return self._rows.get(row, self._longest) if self.view == "elided" else None


def in_order(steps: Iterable[Step]) -> list[Step]:
    """Columns from left to right; a bar stands after the first two."""
    found = set(steps)
    numbers = sorted(step for step in found if isinstance(step, int))
    others = [step for step in (BAR, FOLDED) if step in found]
    return [*numbers[:2], *others, *numbers[2:]]
