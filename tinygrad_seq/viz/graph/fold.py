"""From recorded nodes to a graph of items: which nodes share an item decides view and level.

Everything here is one quotient: :class:`~tinygrad_seq.viz.graph.grouping.Keys` gives every
recorded node its item, :func:`build` counts nodes and edges into items. Views map time steps
(unrolled: themselves, elided: a bar, rolled: one ``t``), levels map nodes within a step (module,
cell, op), depth maps modules to the one that they are inside of. Nodes are visited once, from the
newest to the oldest: what uses a node is known when its turn comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinygrad_seq.timeline.roles import CELL, LOGITS, LOSS, STATE, STATES, WEIGHTS
from tinygrad_seq.viz.graph.attention import Aligned, Reader
from tinygrad_seq.viz.graph.cells import carries_in, slot_of, starts_from, state_of
from tinygrad_seq.viz.graph.grouping import Key, Keys, User, item_id
from tinygrad_seq.viz.graph.implied import add_context
from tinygrad_seq.viz.graph.items import (
    BAR,
    DEPTH,
    WEIGHT,
    AttentionNote,
    Graph,
    Item,
    Place,
    Span,
    Step,
    reaches,
)
from tinygrad_seq.viz.graph.survey import Survey
from tinygrad_seq.viz.graph.views import LEVELS, VIEWS, in_order

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.trace import Summary, Trace

__all__ = ["build"]

SERIES = {STATE, CELL, LOGITS, LOSS}


def build(
    roots: list[Node],
    *,
    view: str = "unrolled",
    level: str = "module",
    depth: int | None = None,
    trace: Trace | None = None,
    survey: Survey | None = None,
    sample: int = 0,
    head: int | None = None,
) -> Graph:
    """Count recorded nodes and edges into the items and edges of one view.

    Parameters
    ----------
    roots : list of Node
        What is drawn, with everything behind it.
    view : {"unrolled", "elided", "rolled"}
        What becomes of the time steps.
    level : {"module", "cell", "op"}
        What becomes of the nodes within a step.
    depth : int, optional
        Modules this many names deep are closed: whatever is in them is one item.
    trace : Trace, optional
        Norms of values and gradients, and source lines.
    survey : Survey, optional
        Of these roots, where one was made already.
    sample, head : int, optional
        Which sequence of the batch, and which head, attention weights are shown of.
    """
    survey = Survey(roots) if survey is None else survey
    steps = survey.steps
    keys = Keys(LEVELS[level], VIEWS[view], survey, depth)
    graph = Graph(VIEWS[view], LEVELS[level], keys.axes, depth, recorded=len(survey.nodes))
    if steps:
        graph.start, graph.length = steps[0], steps[-1] - steps[0] + 1
    graph.stateless = keys.stateless
    folding = _Folding(graph, keys, trace)
    if not (graph.view.folds or graph.level.plain):  # lines from step to step need columns
        folding.reader = Reader(trace, keys.shown, sample, head)
    folding.fold(roots, survey.nodes)
    graph.steps = in_order(item.place.step for item in graph.items.values())
    add_context(graph, folding.starts)
    return graph


@dataclass(slots=True)
class _Uses:
    """What is known of a node before its turn: who uses it."""

    edges: dict[tuple[str, str, int], tuple[int, Span | None]] = field(default_factory=dict)
    """Count and what it adds to a leaf's gradient, by the user's item, kind and delay."""
    users: set[User] = field(default_factory=set)
    feeds_steps: bool = False
    """Whether a user, or something after it, has a time step."""


class _Folding:
    """Visits nodes from the newest to the oldest and fills a graph."""

    def __init__(self, graph: Graph, keys: Keys, trace: Trace | None) -> None:
        self.graph, self.keys, self.trace = graph, keys, trace
        self.reader: Reader | None = None
        self.uses: dict[Node, _Uses] = {}
        self.starts: dict[tuple[str, int | None, Step, str], bool | None] = {}
        self._tops: dict[int, str] = {}
        self._oldest: dict[str, int] = {}
        self._look_ups: dict[int, list[tuple[str, Aligned]]] = {}
        self._names: dict[Key, str] = {}

    def fold(self, roots: list[Node], nodes: list[Node]) -> None:
        """Count everything, then put items in the order they were first recorded in."""
        drawn = [origin.seq for root in roots if (origin := self.keys.origin(root)) is not None]
        self._tops = dict.fromkeys(drawn, "")
        for node in reversed(nodes):
            self._visit(node)
        graph = self.graph
        for item in graph.items.values():
            item.kind = _kind(item, graph)  # now that all its roles are known
        graph.roots = list(dict.fromkeys(self._tops.values()))
        order = sorted(graph.items, key=self._oldest.__getitem__)
        graph.items = {name: graph.items[name] for name in order}
        place = {name: index for index, name in enumerate(order)}
        graph.edges = dict(
            sorted(graph.edges.items(), key=lambda e: (place[e[0][1]], place[e[0][0]], e[0][2:]))
        )

    def _visit(self, node: Node) -> None:
        """Count a node into its item, unless it only passes on what was stacked, and its edges."""
        graph, is_root = self.graph, node.seq in self._tops
        uses = self.uses.pop(node, None)
        if uses is None and not is_root:
            graph.plumbing += 1
            passing = sum(parent is not None for parent in node.parents)
            graph.recorded_edges += passing
            graph.inside += passing
            return
        uses = uses or _Uses()
        single = next(iter(uses.users)) if len(uses.users) == 1 and not is_root else None
        key = self.keys.key(node, single, self._feeds_steps(node, uses))
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = item_id(key)
            self.graph.items[name] = Item(name, "", key[0], key[1])
            self.graph.items[name].kind = _kind(self.graph.items[name], self.graph)
        if is_root:
            self._tops[node.seq] = name
        item = self.graph.items[name]
        self._oldest[name] = node.seq
        leads_out = is_root or any(head != name for head, _, _ in uses.edges)
        _count_node(item, node, leads_out, self.trace)
        item.nested = item.nested or self.keys.hides(node)
        if item.place.step == BAR and node.scope.step is not None:
            item.hide(node.scope.step)
        if node.op is not None and item.place.step is not None:
            inner = node.scope.path[len(key[0].path) :]
            if inner:
                item.inner.add(inner.removeprefix("."))
        if self.trace is not None and node.role in SERIES and node.scope.step is not None:
            self._note_series(node, self.trace)
        if None in node.parents and node.scope.step is not None:
            self._note_start(node, key[0])
        self._count_edges(item, uses)
        self._align(item, node)
        stepped = node.scope.step is not None or uses.feeds_steps
        for parent in node.parents:
            if parent is not None:
                self._use(node, self.keys.origin(parent), key, name, stepped)

    def _feeds_steps(self, node: Node, uses: _Uses) -> bool:
        """Whether a node comes before steps: any, or those of the closed module it is part of."""
        path = self.keys.place(node, node.scope.step is not None).path
        if not reaches(path, self.keys.depth) or node.op is None:
            return uses.feeds_steps
        heads = [self.graph.items[head] for head, _, _ in uses.edges]
        own = [head for head in heads if head.place.path == path]
        return any(head.place.step is not None or head.part == "before" for head in own)

    def _count_edges(self, item: Item, uses: _Uses) -> None:
        """Count the edges out of a node, now that its own item is known."""
        graph = self.graph
        for (head, kind, delay), (count, share) in uses.edges.items():
            graph.recorded_edges += count
            if item.id == head and (delay == 0 or item.kind == "bar"):
                graph.inside += count
                continue
            edge = graph.edge(
                item.id, head, WEIGHT if item.kind == "weight" else kind, delay, count
            )
            edge.contribution = share or edge.contribution

    def _align(self, item: Item, node: Node) -> None:
        """Note what a look-up attended to, and with the memory the look-ups that read it."""
        for head, look_up in self._look_ups.pop(node.seq, ()):
            if item.id == head:  # the memory is part of the look-up: its steps go there
                for part, step in look_up.parts:
                    here = look_up.at(step)
                    self._look_ups.setdefault(part.seq, []).append((head, here))
            edge = self.graph.edges.get((item.id, head, DEPTH, 0))
            if edge is None:
                continue
            for place, weight in look_up.weights.items():
                if place in edge.alignment:
                    edge.alignment[place].add(weight)
                else:
                    edge.alignment[place] = weight
            assert self.reader is not None
            note = AttentionNote(self.reader.sample, look_up.batch, look_up.heads, self.reader.head)
            self.graph.attention = note
        found = self.reader.read(node) if self.reader is not None else None
        if found is not None:
            self._look_ups.setdefault(found.memory.seq, []).append((item.id, found))

    def _use(self, node: Node, origin: Node | None, key: Key, name: str, stepped: bool) -> None:
        """Note with an operand of a node, which belongs to the item `name`, that it is used."""
        if origin is None:  # an entry that was stacked as a constant
            self.graph.recorded_edges += 1
            self.graph.inside += 1
            return
        uses = self.uses.setdefault(origin, _Uses())
        edge = (name, *_edge_type(node, origin, self.keys))
        count, span = uses.edges.get(edge, (0, None))
        share = self._share(node, origin)
        if span is not None and share is not None:
            span.add(share)
        uses.edges[edge] = count + 1, span or share
        uses.users.add((key, node.scope.step))
        uses.feeds_steps = uses.feeds_steps or stepped

    def _note_series(self, node: Node, trace: Trace) -> None:
        """Keep the norms of a state, of logits or of a loss over time."""
        scope = node.scope
        assert node.role is not None and scope.step is not None
        row = scope.path + ("" if scope.layer is None else f" {scope.layer}")
        value, gradient = trace.values.get(node.seq), trace.gradients.get(node.seq)
        steps = self.graph.series.setdefault((row, node.role), {})
        steps[scope.step] = (value and value.norm, gradient and gradient.norm)

    def _share(self, node: Node, origin: Node) -> Span | None:
        """What this use of a leaf adds to its gradient."""
        if self.trace is None or origin.op is not None:
            return None
        share = self.trace.contributions.get((node.seq, origin.seq))
        return None if share is None else Span.of(share)

    def _note_start(self, node: Node, place: Place) -> None:
        """Whether the constant that a cell carries in is zero, as was noted when it was used."""
        if carries_in(node) and place.step != BAR:
            known = [note for note in getattr(node, "constants", ()) if note is not None]
            self.starts[(*place, slot_of(node))] = known[0].zero if known else None


def _count_node(item: Item, node: Node, leads_out: bool, trace: Trace | None) -> None:
    """Add a node to its item; the newest that leads out of it gives the item its shape."""
    item.count += 1
    operation = node.op.name if node.op is not None else "leaf"
    item.ops[operation] = item.ops.get(operation, 0) + 1
    tells = node.role in STATES or (leads_out and not item.roles)
    if item.shape is None or (tells and STATE not in item.roles):
        item.shape, item.dtype = node.shape, str(node.dtype)
    if node.role == WEIGHTS and len(node.shape) == 4:  # (N, heads, T, S)
        item.heads = node.shape[1]
    if node.op is None:
        item.names = [(node.name, node.shape)]
    if trace is not None and (node.role or (leads_out and not item.roles)):
        _add_summary(item.values, node, trace.values)
        _add_summary(item.gradients, node, trace.gradients)
        item.source = item.source or trace.sources.get(node.seq, "")
    if node.role:
        item.roles.add(node.role)


def _add_summary(spans: dict[str, Span], node: Node, found: dict[int, Summary]) -> None:
    summary = found.get(node.seq)
    if summary is not None:
        span, role = Span.of(summary.norm), node.role or ""
        if role in spans:
            spans[role].add(span)
        else:
            spans[role] = span


def _kind(item: Item, graph: Graph) -> str:
    if item.part.startswith("weight:"):
        return "weight"
    if item.part.startswith("leaf:"):
        return "leaf"
    if item.place.step == BAR:
        return "bar"
    open_ = not graph.closes(item.place)
    if open_ and graph.level.plain:
        return "op"
    if item.place.step is None:
        return "module"
    if open_ and item.part not in {LOGITS, LOSS}:
        return "op"
    if item.roles & set(STATES):
        return "cell"
    if LOSS in item.roles:
        return "loss"
    return "output" if LOGITS in item.roles else "module"


def _edge_type(node: Node, origin: Node, keys: Keys) -> tuple[str, int]:
    """Kind and delay of the edge from `origin` to `node`."""
    here, there = node.scope.step, origin.scope.step
    if here is None or origin.op is None or here == there:
        return DEPTH, 0
    if there is not None:
        return state_of(origin) or "state", here - there
    picked_at = keys.timed(origin).scope.step
    delay = 0 if picked_at is None else here - picked_at
    scope = node.scope
    if (keys.home(scope.path, scope.layer), scope.layer) in keys.cells:
        starts = starts_from(node)
    else:  # a start that was computed or is trained comes from the layer itself
        own = origin.scope.path == scope.path and node.role is None
        starts = own and origin.scope.layer is None and scope.layer is not None
    return slot_of(node) if starts else DEPTH, delay
