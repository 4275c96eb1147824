"""Which modules share a time axis, and at which column of it each of their steps stands.

An encoder and its decoder count their steps separately. Rows (a module and layer each) that hang
on one another within a time step share an axis; a view shortens each axis by its own length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from tinygrad_seq.viz.graph.views import Axis, View

if TYPE_CHECKING:
    from tinygrad_seq.viz.graph.items import Row
    from tinygrad_seq.viz.graph.survey import Survey

__all__ = ["axes_of"]


def axes_of(view: View, survey: Survey, row_of: Callable[[Row], Row]) -> dict[Row, Axis]:
    """The time axis of every row that time steps are drawn in; of any other row that of all steps.

    ``row_of`` maps a row to the one that it is drawn in: that of the closed module around it, for
    instance.
    """
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
    axes = {row: view.axis(sorted(found)) for row, found in known.items()}
    whole = view.axis(survey.steps)
    return defaultdict(
        lambda: whole, {row_of(row): axes[leader(row_of(row))] for row in survey.rows}
    )
