"""Recorded nodes from the newest to the oldest, with only the open ones held.

A node is newer than its parents, so a heap of what is known and not yet visited gives the order.
A node with many parents (a stack over time) hands them out one by one, each when all newer ones
have been visited. So what is held depends on the model and not on how many steps it ran.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tinygrad_seq.viz.graph.grouping import picked
from tinygrad_seq.viz.graph.time_axes import KNOWN_STEPS, Ends

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.graph.items import Row

__all__ = ["Survey", "recorded_nodes", "walk"]

WIDE = 8  # parents; beyond, they are handed out one by one

Visit = Callable[["Node"], Any]
Reach = Callable[[Any, "Node", list[int], "Node"], None]


def walk(roots: Iterable[Node], visit: Visit, reach: Reach | None = None) -> None:
    """Visit every node behind `roots` once, newest first.

    Parameters
    ----------
    roots : iterable of Node
    visit : callable
        ``visit(node)``; what it returns is handed to `reach`.
    reach : callable, optional
        ``reach(visited, node, indices, parent)`` for each parent of a visited node and its places
        among the operands: after the node itself, and before the parent is visited.
    """
    waiting: dict[int, Node] = {}
    heap: list[int] = []
    cursors: dict[int, list[_Cursor]] = {}

    def await_(node: Node) -> None:
        if node.seq not in waiting:
            waiting[node.seq] = node
            heapq.heappush(heap, -node.seq)

    def advance(cursor: _Cursor) -> None:
        visited, node, parents = cursor
        for parent, indices in parents:
            if reach is not None:
                reach(visited, node, indices, parent)
            await_(parent)
            cursors.setdefault(parent.seq, []).append(cursor)
            return

    for root in roots:
        await_(root)
    while heap:
        node = waiting.pop(-heapq.heappop(heap))
        for cursor in cursors.pop(node.seq, ()):
            advance(cursor)
        visited = visit(node)
        if len(node.parents) > WIDE:
            advance((visited, node, _newest_first(node.parents)))
            continue
        for index, parent in enumerate(node.parents):
            if parent is not None:
                if reach is not None:
                    reach(visited, node, [index], parent)
                await_(parent)


_Cursor = tuple[Any, "Node", Iterator[tuple["Node", list[int]]]]


def _newest_first(parents: tuple[Node | None, ...]) -> Iterator[tuple[Node, list[int]]]:
    """Different parents with all their places, without a copy where they lie in order."""
    count = len(parents)
    if _falling(parents):
        order: Iterable[int] = range(count)
    elif _falling(reversed(parents)):
        order = range(count - 1, -1, -1)
    else:
        known = [index for index in range(count) if parents[index] is not None]
        order = sorted(known, key=lambda index: -parents[index].seq)  # type: ignore[union-attr]
    same: list[int] = []
    last: Node | None = None
    for index in order:
        parent = parents[index]
        if last is not None and parent is not last:
            yield last, same
            same = []
        if parent is not None:
            same.append(index)
        last = parent
    if last is not None:
        yield last, same


def _falling(parents: Iterable[Node | None]) -> bool:
    return all(a is not None and b is not None and a.seq >= b.seq for a, b in pairwise(parents))


def recorded_nodes(roots: Iterable[Node]) -> list[Node]:
    """Every node reachable from `roots`, oldest first."""
    found: list[Node] = []
    walk(roots, found.append)
    return found[::-1]


class Survey:
    """What must be known of a graph before its items can be told.

    Attributes
    ----------
    nodes : int
        How many were recorded.
    leaves : list of Node
        Oldest first.
    steps : list of int
        The time steps that were recorded, in order: all of them, or the first few and the last.
    rows : dict of (path, layer) to Ends
        The first few and the last of the time steps of every row.
    joins : set of ((path, layer), (path, layer))
        Rows of which the first reads the second within a time step.
    cells : set of (path, layer)
        Rows that have a state h.
    stateless : set of (path, layer)
        Modules that ran step by step and gave neither a state nor logits nor a loss: attention,
        for instance. Empty where nothing has a state h, since then nobody knows.
    fused : bool
        Whether any node has a composed twin.
    """

    def __init__(self, roots: Iterable[Node], every_step: bool = True) -> None:
        self.nodes = 0
        self.leaves: list[Node] = []
        self.cells: set[Row] = set()
        self.rows: dict[Row, Ends] = {}
        self.joins: set[tuple[Row, Row]] = set()
        telling: set[Row] = set()
        self.fused = False
        self._every_step = every_step
        self._first: set[int] = set()
        self._bound: float = float("inf")
        last: int | None = None

        def visit(node: Node) -> None:
            nonlocal last
            self.nodes += 1
            if node.op is None:
                self.leaves.append(node)
                return
            self.fused = self.fused or node.op.twin is not None
            step = node.scope.step
            if step is not None:
                last = step if last is None or last < step else last
                row = node.scope.path, node.scope.layer
                self.rows.setdefault(row, Ends()).add(step)
                if node.role == "h":
                    self.cells.add(row)
                elif node.role in {"logits", "loss"}:
                    telling.add(row)
                if step < self._bound and step not in self._first:
                    self._take(step)

        walk(roots, visit, self._join)
        self.leaves.reverse()
        told = self.rows.keys() - self.cells - telling
        self.stateless = {row for row in told if row[0]} if self.cells else set()
        self.steps = sorted(self._first if last is None else self._first | {last})

    def _join(self, _: object, node: Node, indices: list[int], parent: Node) -> None:
        """Note whose steps hang on whose."""
        step = node.scope.step
        origin = picked(parent) if step is not None else None
        if origin is not None and origin.op is not None and origin.scope.step == step:
            row, other = ((n.scope.path, n.scope.layer) for n in (node, origin))
            if row != other:
                self.joins.add((row, other))

    def _take(self, step: int) -> None:
        self._first.add(step)
        if not self._every_step and len(self._first) >= KNOWN_STEPS:
            self._first = set(sorted(self._first)[:KNOWN_STEPS])
            self._bound = max(self._first)  # nothing above is news
