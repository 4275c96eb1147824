"""What a reader writes at the time steps: which label goes to which column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from tinygrad_seq.errors import ConfigError, shown
from tinygrad_seq.timeline.roles import LOGITS, LOSS
from tinygrad_seq.viz.graph.items import BEGIN, Graph, Item
from tinygrad_seq.viz.layout.columns import Column, RowKey, Spot
from tinygrad_seq.viz.picture.look import Labels
from tinygrad_seq.viz.picture.shapes import Line
from tinygrad_seq.viz.picture.style import Style

__all__ = ["LABEL", "Axes", "StepLabels", "label_line", "loop_name", "output_rank"]

LABEL = 16.0  # height of a label
BESIDE = 8.0  # between a line that goes up and a label
ASIDE = 7.0  # more where the gradient comes back beside that line


@dataclass
class Axes:
    """The time axes of a grid: their rows, from bottom to top, their columns and what is there."""

    graph: Graph
    members: dict[Spot, list[Item]]
    rows: list[RowKey]
    segment: dict[RowKey, int]
    columns: list[Column]

    def steps(self, column: Column) -> tuple[int, int]:
        """First and last time step that a column stands for."""
        axis, step = column
        if isinstance(step, int):
            return step, step
        hidden = [
            hidden
            for (row, shown), items in self.members.items()
            if shown == step and self.segment[row] == axis
            for item in items
            for hidden in (item.first, item.last)
            if hidden is not None
        ]
        start, last = self.graph.start, self.graph.start + self.graph.length - 1
        return min(hidden, default=start), max(hidden, default=last)

    def name(self, number: int) -> str:
        """Whose time it is, where there are several."""
        numbers = set(self.segment.values())
        if len(numbers) == 1:
            return ""
        names = {
            n: next((r[0] for r in self.rows if self.segment[r] == n and not r[2]), "")
            for n in numbers
        }
        tops = [name.partition(".")[0] for name in names.values()]
        short = names[number].partition(".")[0]
        return short if tops.count(short) == 1 else names[number]


class StepLabels:
    """Labels by column, of columns that stand for one time step.

    Attributes
    ----------
    inputs, outputs : dict of Column to str
    aside : float
        From a line that goes up from an output to the label beside it.
    """

    def __init__(self, axes: Axes, style: Style) -> None:
        self.aside = BESIDE + (ASIDE if style.both else 0.0)
        giving = [
            axes.segment[row]
            for (row, step), items in axes.members.items()
            if step is not None and any(map(output_rank, items))
        ]
        first, last = axes.columns[0][0], axes.columns[-1][0]
        self.inputs = _by_column(axes, "inputs", style.look.inputs, first)
        self.outputs = _by_column(axes, "outputs", style.look.outputs, max(giving, default=last))

    def width(self, column: Column) -> float:
        """Of a column that has room for its labels; that of an output may stand beside a line."""
        below, above = (
            label_line(given.get(column, "")).width for given in (self.inputs, self.outputs)
        )
        return max(below, 2 * (above + self.aside) - 3 * BESIDE)


def label_line(text: str) -> Line:
    """A label as it is written."""
    return Line(text, 12)


def loop_name(state: str) -> Line:
    """A state's name as it is written beside its loop."""
    return Line(state, 12).within(130.0)


def output_rank(item: Item) -> int:
    """How fit an item is for an output's label to stand over it."""
    return 2 if LOGITS in item.roles else 1 if LOSS in item.roles else 0


def _by_column(axes: Axes, what: str, given: Labels, axis: int) -> dict[Column, str]:
    """The labels of columns; a sequence without a name is for one axis."""
    if not given or axes.graph.view.folds:
        return {}
    found: dict[Column, str] = {}
    known = {axes.name(number): number for number, _ in axes.columns}
    for name, labels in given.items() if isinstance(given, Mapping) else [(axes.name(axis), given)]:
        if name not in known:
            raise ConfigError(
                f"draw: {what}: no time axis of this name",
                expected=" or ".join(map(repr, known)) if len(known) > 1 else "one sequence",
                got=shown(name),
            )
        found |= _on_axis(axes, f"draw: {what}", name, known[name], labels)
    return found


def _on_axis(
    axes: Axes, what: str, name: str, axis: int, labels: tuple[str, ...]
) -> dict[Column, str]:
    columns = [column for column in axes.columns if column[0] == axis and column[1] != BEGIN]
    ends = [axes.steps(column) for column in columns]
    shown_steps = sorted(step for _, step in columns if isinstance(step, int))
    apart = min((b - a for a, b in pairwise(shown_steps)), default=1)  # perhaps counted by twos
    steps = range(min(first for first, _ in ends), max(last for _, last in ends) + 1, apart)
    if len(labels) != len(steps):
        raise ConfigError(
            what,
            expected=f"{len(steps):,} label{'' if len(steps) == 1 else 's'}, one for each time step"
            + (f" of {name!r}" if name else ""),
            got=f"{len(labels):,}",
        )
    told = dict(zip(steps, labels, strict=True))
    return {column: told[step] for column in columns if isinstance(step := column[1], int)}
