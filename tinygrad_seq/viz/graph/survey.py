"""What must be known of a recorded graph before its items can be told."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.timeline.entries import picked
from tinygrad_seq.timeline.roles import LOGITS, LOSS, states_of

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.graph.items import Row
    from tinygrad_seq.viz.graph.views import Axis, View

__all__ = ["Survey"]


class Survey:
    """All recorded nodes, and what only all of them together tell.

    Attributes
    ----------
    nodes, leaves : list of Node
        Oldest first.
    steps : list of int
        The time steps that were recorded, in order.
    rows : dict of (path, layer) to set of int
        The time steps of every row.
    joins : set of ((path, layer), (path, layer))
        Rows of which the first reads the second within every time step, or the last one of it
        so far. What reads all steps of another row, or its end, has a time of its own.
    cells : set of (path, layer)
        Rows that have a main state.
    stateless : set of (path, layer)
        Modules that ran step by step and gave neither a state nor logits nor a loss: attention,
        for instance. Empty where nothing has a state, since then nobody knows.
    fused : bool
        Whether any node has a composed twin.
    """

    def __init__(self, roots: Iterable[Node]) -> None:
        self.nodes = nodes_behind(roots)
        self.leaves = [node for node in self.nodes if node.op is None]
        self.fused = any(node.op is not None and node.op.twin is not None for node in self.nodes)
        self.rows: dict[Row, set[int]] = {}
        self.joins: set[tuple[Row, Row]] = set()
        self.cells: set[Row] = set()
        telling: set[Row] = set()
        apart: set[tuple[Row, Row]] = set()
        earlier: set[tuple[Row, Row, int, int]] = set()
        """Of rows that read others: when, and which step of them."""
        for node in self.nodes:
            step = node.scope.step
            if node.op is None or step is None:
                continue
            row = node.scope.path, node.scope.layer
            self.rows.setdefault(row, set()).add(step)
            if node.role == states_of(node)[0]:
                self.cells.add(row)
            elif node.role in {LOGITS, LOSS}:
                telling.add(row)
            for origin in map(picked, node.parents):
                if origin is None or origin.op is None or origin.scope.step is None:
                    continue
                other = origin.scope.path, origin.scope.layer
                if row == other:
                    continue
                if origin.scope.step == step:
                    self.joins.add((row, other))
                elif origin.scope.step > step:
                    apart.add((row, other))
                elif (row, other) not in apart:
                    earlier.add((row, other, step, origin.scope.step))
        known = {row: sorted(steps) for row, steps in self.rows.items()}
        for row, other, step, read in earlier:  # what is held for several steps is there at all
            if known[other][bisect_right(known[other], step) - 1] != read:
                apart.add((row, other))
        self.joins = {pair for pair in self.joins if pair not in apart}
        told = self.rows.keys() - self.cells - telling
        self.stateless = {row for row in told if row[0]} if self.cells else set()
        self.steps = sorted(set().union(*self.rows.values()))

    def axes(self, view: View, row_of: Callable[[Row], Row]) -> dict[Row, Axis]:
        """The time axis of every row that time steps are drawn in; of any other row, of all steps.

        An encoder and its decoder count their steps separately: rows that hang on one another
        within a time step share an axis, and a view shortens each axis by its own length.
        ``row_of`` maps a row to the one that it is drawn in: that of the closed module around it,
        for instance.
        """
        group: dict[Row, Row] = {}

        def leader(row: Row) -> Row:
            while group.setdefault(row, row) != row:
                row = group[row]
            return row

        for one, two in self.joins:
            group[leader(row_of(one))] = leader(row_of(two))
        known: dict[Row, set[int]] = {}
        for row, steps in self.rows.items():
            known.setdefault(leader(row_of(row)), set()).update(steps)
        axes = {row: view.axis(sorted(found)) for row, found in known.items()}
        whole = view.axis(self.steps)
        return defaultdict(
            lambda: whole, {row_of(row): axes[leader(row_of(row))] for row in self.rows}
        )
