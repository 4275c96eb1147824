"""From recorded nodes to a graph of items: which nodes share an item decides view and level.

Everything here is a quotient: :class:`_Grouping` gives every recorded node the id of its item,
:func:`build` counts nodes and edges into items. Views map time steps (unrolled: themselves,
elided: a bar, rolled: one ``t``), levels map nodes within a step (module, cell, op).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.viz.context import add_context
from tinygrad_seq.viz.ir import BAR, DEPTH, FOLDED, WEIGHT, Graph, Item, Place, Span, Step
from tinygrad_seq.viz.trace import constant_norms

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.trace import Trace

__all__ = ["build", "recorded_nodes"]

STATES = ("h", "c")
_ABSORBING = {"z", "logits", "loss"}  # roles that stand for the untagged nodes leading up to them
_PASSING = {"stack", "reshape", "transpose", "getitem", "item", "split", "concatenate"}


def recorded_nodes(roots: Iterable[Node]) -> list[Node]:
    """Every node reachable from `roots`, oldest first, found without recursion."""
    found = set(roots)
    stack = list(found)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=lambda node: node.seq)


def build(
    nodes: list[Node],
    roots: list[Node],
    *,
    view: str = "unrolled",
    level: str = "module",
    trace: Trace | None = None,
    shown: Callable[[int], Step] | None = None,
) -> Graph:
    """Count recorded nodes and edges into the items and edges of one view.

    Parameters
    ----------
    nodes, roots : list of Node
        From :func:`recorded_nodes`, and where it started.
    view : {"unrolled", "elided", "rolled"}
        What becomes of the time steps.
    level : {"module", "cell", "op"}
        What becomes of the nodes within a step.
    trace : Trace, optional
        Norms of values and gradients, and source lines.
    shown : callable, optional
        Maps a time step to the one it is drawn at; by default it follows from `view`.
    """
    taken = {node.scope.step for node in nodes if node.op is not None}
    steps = sorted(step for step in taken if step is not None)
    length = steps[-1] + 1 if steps else 0
    shown = shown or _time_map(view, steps)
    grouping = _Grouping(nodes, roots, level, shown)
    graph = Graph(view, level, length=length, recorded=len(nodes), traced=trace is not None)
    graph.steps = list(dict.fromkeys(shown(step) for step in steps))
    _count_items(graph, nodes, grouping, trace)
    starts = _count_edges(graph, nodes, grouping, trace)
    graph.roots = list(dict.fromkeys(grouping.item[seq] for seq in grouping.roots))
    add_context(graph, starts)
    return graph


def _time_map(view: str, steps: list[int]) -> Callable[[int], Step]:
    if view == "rolled":
        return lambda step: FOLDED
    if view == "elided" and len(steps) > 4:
        kept = {*steps[:2], steps[-1]}
        return lambda step: step if step in kept else BAR
    return lambda step: step


class _Grouping:
    """The item id of every node that is drawn; nodes without one are plumbing."""

    def __init__(
        self, nodes: list[Node], roots: list[Node], level: str, shown: Callable[[int], Step]
    ) -> None:
        self.shown = shown
        self.item: dict[int, str] = {}
        self.kinds: dict[str, tuple[Place, str]] = {}
        self.exits: set[int] = set()
        self._users: dict[int, set[tuple[str, int | None]]] = {}
        self.level = level
        self.roots = [origin.seq for root in roots if (origin := self.origin(root)) is not None]
        self._roots = set(self.roots)
        self._late: set[int] = set()
        self._counters: dict[tuple[Any, ...], int] = {}
        self._leaves: dict[int, str] = {}
        self._name_leaves(nodes)
        if level == "op":
            for node in nodes:
                self._assign(node, self._op_key(node))
        else:
            self._mark_late(nodes)
            for node in reversed(nodes):
                if node.seq in self._roots or node.seq in self._users:
                    self._assign(node, self._coarse_key(node))

    # -- what every level shares ----------------------------------------------------------------

    def _name_leaves(self, nodes: list[Node]) -> None:
        used: set[str] = set()
        unnamed = 0
        for node in nodes:
            if node.op is not None:
                continue
            owner = node.owner() if node.owner is not None else None
            name = owner.name if owner is not None else ""
            if name:
                wanted, again = f"weight:{name}", 2
                while wanted in used:
                    wanted, again = f"weight:{name}~{again}", again + 1
                used.add(wanted)
                self._leaves[node.seq] = wanted
            else:
                self._leaves[node.seq] = f"leaf:{unnamed}"
                unnamed += 1

    def _assign(self, node: Node, key: tuple[Place, str]) -> None:
        place, part = key
        item = part if node.op is None else f"{place}:{part}" if part else str(place)
        self.item[node.seq] = item
        self.kinds.setdefault(item, key)
        users = self._users.get(node.seq, ())
        if node.seq in self._roots or any(user != item for user, _ in users):
            self.exits.add(node.seq)
        for parent in node.parents:
            origin = self.origin(parent)
            if origin is not None:
                known = self._users.setdefault(origin.seq, set())
                if len(known) < 2:
                    known.add((item, node.scope.step))

    def origin(self, parent: Node | None) -> Node | None:
        """Where an operand comes from: an entry picked from a stack is what was stacked."""
        while parent is not None and self.level != "op":
            picked = _picked(parent)
            if picked is parent:
                break
            parent = picked
        return parent

    def _numbered(self, place: Place, label: str, step: int | None) -> str:
        """A label with its number among equal ones at one place and real step."""
        key = (place.path, place.layer, step, label)
        count = self._counters.get(key, 0)
        self._counters[key] = count + 1
        return f"{label}.{count}"

    # -- op level: every node is an item --------------------------------------------------------

    def _op_key(self, node: Node) -> tuple[Place, str]:
        scope = node.scope
        if node.op is None:
            return Place(), self._leaves[node.seq]
        real = scope.step if scope.step is not None else _picked_step(node)
        step = None if real is None else self.shown(real)
        place = Place(scope.path, scope.layer, step)
        if step == BAR:
            return place, ""
        label = node.role or node.op.name
        number = self._numbered(place, label, real)
        return place, label if node.role and number.endswith(".0") else number

    # -- module and cell level ------------------------------------------------------------------

    def _mark_late(self, nodes: list[Node]) -> None:
        """Nodes outside time that come after some time step."""
        for node in nodes:
            if node.scope.step is None:
                for parent in node.parents:
                    if parent is not None and (
                        parent.scope.step is not None or parent.seq in self._late
                    ):
                        self._late.add(node.seq)
                        break

    def _coarse_key(self, node: Node) -> tuple[Place, str]:
        scope = node.scope
        if node.op is None:
            return Place(), self._leaves[node.seq]
        users = self._users.get(node.seq, set())
        single = next(iter(users)) if len(users) == 1 and node.seq not in self._roots else None
        if scope.step is None:
            return self._timeless_key(node, single)
        step = self.shown(scope.step)
        place = Place(scope.path, scope.layer, step)
        if self.level == "module" or step == BAR:
            return place, ""
        return place, self._part(node, place, single)

    def _timeless_key(self, node: Node, single: Any) -> tuple[Place, str]:
        assert node.op is not None
        late = node.seq in self._late
        if single is not None and single[1] is None:
            place, part = self.kinds[single[0]]
            unnamed = not node.scope.path and not place.path
            if place.step is None and (node.op.name in _PASSING or unnamed):
                return place, part
        place = Place(node.scope.path, node.scope.layer, None)
        if place.path or place.layer is not None:
            return place, "" if late else "before"
        return place, self._numbered(place, node.op.name, None)

    def _part(self, node: Node, place: Place, single: Any) -> str:
        """The part of a cell that a node belongs to."""
        assert node.op is not None
        if node.role:
            return node.role
        parent = node.parents[0] if node.parents else None
        if node.op.name == "split" and parent is not None and parent.role == "z":
            return "z"
        if single is not None and single[1] == node.scope.step:
            there, part = self.kinds[single[0]]
            if there == place and (part in _ABSORBING or node.op is ITEM):
                return part
        roles = [self._operand_role(operand) for operand in node.parents]
        if node.op.name == "multiply" and set(roles) & {"i", "f", "o", "g"}:
            # Named by what is multiplied; a constant beside the forget gate is the carried c.
            return "*".join(role or "c" for role in roles)
        return self._numbered(place, node.op.name, node.scope.step)

    @staticmethod
    def _operand_role(operand: Node | None) -> str:
        return (operand.role or "") if operand is not None else ""


def _picked(node: Node) -> Node | None:
    """What ``stack(parts)[t]`` picks: part t (None for a constant); otherwise the node itself."""
    if node.op is None or node.op.name != "getitem":
        return node
    (stack,) = node.parents
    index = node.params["index"]
    if isinstance(index, np.ndarray) and index.ndim == 0 and index.dtype.kind in "iu":
        index = int(index)
    whole = isinstance(index, int) and not isinstance(index, bool)
    if stack is None or stack.op is None or stack.op.name != "stack" or not whole:
        return node
    return stack.parents[index] if stack.params["axis"] == 0 else node


def _picked_step(node: Node) -> int | None:
    """The time step of what a node outside time picks from a stack over time."""
    picked = _picked(node)
    return None if picked is None or picked is node else picked.scope.step


def _count_items(graph: Graph, nodes: list[Node], grouping: _Grouping, trace: Trace | None) -> None:
    for node in nodes:
        name = grouping.item.get(node.seq)
        if name is None:
            graph.plumbing += 1
            continue
        item = graph.items.get(name)
        if item is None:
            place, part = grouping.kinds[name]
            item = graph.items[name] = Item(name, "", place, part)
        item.count += 1
        operation = node.op.name if node.op is not None else "leaf"
        item.ops[operation] = item.ops.get(operation, 0) + 1
        if node.role:
            item.roles.add(node.role)
        leads_out = node.seq in grouping.exits or node.role in STATES
        if item.shape is None or (leads_out and not (item.roles and node.role is None)):
            item.shape, item.dtype = node.shape, str(node.dtype)
        if node.op is None:
            owner = node.owner() if node.owner is not None else None
            item.names = [((owner.name if owner is not None else "") or "leaf", node.shape)]
        if trace is not None and (node.role or (leads_out and not item.roles)):
            _note_trace(item, node, trace)
    for item in graph.items.values():
        item.kind = _kind(item, graph.level)


def _note_trace(item: Item, node: Node, trace: Trace) -> None:
    role = node.role or ""
    for found, spans in ((trace.values, item.values), (trace.gradients, item.gradients)):
        summary = found.get(node.seq)
        if summary is not None:
            span = Span.of(summary.norm)
            if role in spans:
                spans[role].add(span)
            else:
                spans[role] = span
    item.source = trace.sources.get(node.seq, item.source)


def _kind(item: Item, level: str) -> str:
    if item.part.startswith("weight:"):
        return "weight"
    if item.part.startswith("leaf:"):
        return "leaf"
    if item.place.step == BAR:
        return "bar"
    if level == "op" or (level == "cell" and item.part not in {"logits", "loss"}):
        return "op" if item.place.step is not None or level == "op" else "module"
    if item.place.step is None:
        return "module"
    if item.roles & set(STATES):
        return "cell"
    if "loss" in item.roles:
        return "loss"
    return "output" if "logits" in item.roles else "module"


Starts = dict[tuple[str, "int | None", Step, str], "float | None"]
"""Norm of the constant that a cell carries in, by path, layer, step and kind; None if unknown."""


def _count_edges(
    graph: Graph, nodes: list[Node], grouping: _Grouping, trace: Trace | None
) -> Starts:
    starts: Starts = {}
    for node in nodes:
        head = grouping.item.get(node.seq)
        if head is None:
            graph.recorded_edges += sum(parent is not None for parent in node.parents)
            graph.inside += sum(parent is not None for parent in node.parents)
            continue
        for parent in node.parents:
            graph.recorded_edges += parent is not None
            origin = grouping.origin(parent)
            if origin is None:
                graph.inside += parent is not None
                continue
            _count_edge(graph, node, origin, grouping, head, trace)
        if None in node.parents and node.scope.step is not None:
            _note_start(starts, node, grouping, trace)
    return starts


def _count_edge(
    graph: Graph, node: Node, origin: Node, grouping: _Grouping, head: str, trace: Trace | None
) -> None:
    tail = grouping.item[origin.seq]
    here, there = node.scope.step, origin.scope.step
    delay = 0 if here is None or there is None or origin.op is None else here - there
    if tail == head and (delay == 0 or graph.items[tail].kind == "bar"):
        graph.inside += 1
        return
    edge = graph.edge(tail, head, _edge_kind(graph, node, origin, tail, delay), delay)
    if trace is not None and origin.op is None:
        share = trace.contributions.get((node.seq, origin.seq))
        if share is not None:
            if edge.contribution is None:
                edge.contribution = Span.of(share)
            else:
                edge.contribution.add(Span.of(share))


def _edge_kind(graph: Graph, node: Node, origin: Node, tail: str, delay: int) -> str:
    if graph.items[tail].kind == "weight":
        return WEIGHT
    if delay:
        return origin.role if origin.role in STATES else "state"
    carried = origin.scope.step is None and node.scope.step is not None and node.role is None
    if carried and node.op is not None and graph.items[tail].place.row == (node.scope.path, None):
        return _slot(node)  # an initial state that was computed or is trained
    return DEPTH


def _slot(node: Node) -> str:
    """Which state an operand of a cell's first operation is: c is multiplied, h is projected."""
    return "c" if node.op is not None and node.op.name == "multiply" else "h"


def _note_start(starts: Starts, node: Node, grouping: _Grouping, trace: Trace | None) -> None:
    """Whether the constant that a cell carries in is zero, where that is known."""
    op = node.op
    assert op is not None and node.scope.step is not None
    if node.role or op.name not in {"matmul", "multiply"}:
        return
    step = grouping.shown(node.scope.step)
    known = trace.constants.get(node.seq) if trace is not None else None
    norms = known if known is not None else constant_norms(node)
    found = [norm for norm in norms if norm is not None]
    key = (node.scope.path, node.scope.layer, step, _slot(node))
    if step != BAR and step != FOLDED:
        starts[key] = found[0] if found else None
    elif step == FOLDED:
        starts.setdefault(key, found[0] if found else None)
