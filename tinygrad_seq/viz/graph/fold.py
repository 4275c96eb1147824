"""From recorded nodes to a graph of items: which nodes share an item decides view and level.

Everything here is one quotient: :class:`~tinygrad_seq.viz.graph.grouping.Keys` gives every
recorded node its item, :func:`build` counts nodes and edges into items. Views map time steps
(unrolled: themselves, elided: a bar, rolled: one ``t``), levels map nodes within a step (module,
cell, op), depth maps modules to the one that they are inside of. Nodes are visited once, from the
newest to the oldest: what uses a node is known when its turn comes.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tinygrad_seq.timeline.entries import hands_on
from tinygrad_seq.timeline.roles import LOGITS, LOSS, STATES, WEIGHTS, is_state
from tinygrad_seq.viz.graph.attention import Reader
from tinygrad_seq.viz.graph.cells import carries_in, slot_of, starts_from, state_of
from tinygrad_seq.viz.graph.grouping import Key, Keys, User, item_id
from tinygrad_seq.viz.graph.implied import Starts, add_context, enter
from tinygrad_seq.viz.graph.items import (
    BAR,
    DEPTH,
    INPUT,
    WEIGHT,
    AttentionNote,
    Graph,
    Item,
    Span,
    reaches,
    widen,
)
from tinygrad_seq.viz.graph.survey import Survey
from tinygrad_seq.viz.graph.views import LEVELS, VIEWS, in_order

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Enters, Node
    from tinygrad_seq.engine.op import Op
    from tinygrad_seq.viz.trace import Trace

__all__ = ["build"]


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
    graph = Graph(VIEWS[view], LEVELS[level], depth)
    if survey.steps:
        graph.start, graph.length = survey.steps[0], survey.steps[-1] - survey.steps[0] + 1
    keys = Keys(graph, survey)
    for row, steps in survey.rows.items():
        known = graph.ends.get(keys.row(row), ())
        graph.ends[keys.row(row)] = min([*known, *steps]), max([*known, *steps])
    folding = _Folding(graph, keys, trace)
    folding.group(roots, survey.nodes)
    folding.count_edges(survey.nodes)
    if not (graph.view.folds or graph.level.plain):  # lines from step to step need columns
        folding.align(survey.nodes, Reader(trace, keys.shown, sample, head))
    graph.steps = in_order(item.place.step for item in graph.items.values())
    folding.tell()
    told = {
        (item.place.row, enters.state or INPUT)
        for node, item in folding.told
        for enters in node.enters.values()
    }
    add_context(graph, folding.starts, told | {(row, INPUT) for row, _ in told})
    return graph


class _Folding:
    """Gives nodes to items, then counts edges; both from the newest node to the oldest."""

    def __init__(self, graph: Graph, keys: Keys, trace: Trace | None) -> None:
        self.graph, self.keys, self.trace = graph, keys, trace
        self.item_of: dict[Node, Item] = {}
        """Of every node that is drawn: others only pass on what was stacked."""
        self.starts: Starts = {}
        self.told: list[tuple[Node, Item]] = []
        """Nodes of which is told what enters them."""

    def group(self, roots: list[Node], nodes: list[Node]) -> None:
        """Give each node to its item, and put items in the order they were first recorded in."""
        users: defaultdict[Node, set[User]] = defaultdict(set)
        feeding: set[Node] = set()  # nodes that something with a time step comes after
        items: dict[Key, Item] = {}
        tops = dict.fromkeys(top for root in roots if (top := self.keys.origin(root)) is not None)
        for node in reversed(nodes):
            used, feeds = users.pop(node, set()), node in feeding
            feeding.discard(node)
            if not used and node not in tops:
                self.graph.plumbing += 1
                continue
            single = next(iter(used)) if len(used) == 1 and node not in tops else None
            heads = {key for key, _ in used}
            key = self.keys.key(node, single, self._feeds_steps(node, heads, feeds))
            if key not in items:
                items[key] = Item(item_id(key), "", *key)
            self.item_of[node] = items[key]
            self._count(node, items[key], node in tops or bool(heads - {key}))
            for origin in map(self.keys.origin, node.parents):
                if origin is not None:
                    users[origin].add((key, node.scope.step))
                    if feeds or node.scope.step is not None:
                        feeding.add(origin)
        for node in nodes:
            if node in self.item_of:
                item = self.item_of[node]
                self.graph.items.setdefault(item.id, item)
                if getattr(node, "enters", None):
                    self.told.append((node, item))
        for item in items.values():
            item.kind = _kind(item, self.graph)
        known = [item.cell.states for item in items.values() if item.cell is not None]
        for states in [*known, STATES]:
            for track, name in enumerate(states):
                self.graph.tracks.setdefault(name, track)
        self.graph.roots = list(dict.fromkeys(self.item_of[top].id for top in tops))

    def _feeds_steps(self, node: Node, heads: set[Key], feeds_any: bool) -> bool:
        """Whether a node comes before steps: any, or those of the closed module it is part of."""
        path = self.keys.place(node, node.scope.step is not None).path
        if not reaches(path, self.keys.depth) or node.op is None:
            return feeds_any
        own = [(place, part) for place, part in heads if place.path == path]
        return any(place.step is not None or part == "before" for place, part in own)

    def _count(self, node: Node, item: Item, leads_out: bool) -> None:
        """Count a node into its item, with what else is noted of it."""
        _count_node(item, node, leads_out, self.trace)
        item.nested = item.nested or self.keys.hides(node)
        step, place = node.scope.step, item.place
        if step is None:
            return
        if place.step == BAR:
            item.hide(step)
        inner = node.scope.path[len(place.path) :]
        if inner and place.step is not None:
            item.inner.add(inner.removeprefix("."))
        if self.trace is not None and (is_state(node) or node.role in {LOGITS, LOSS}):
            norms = [found.get(node.seq) for found in (self.trace.values, self.trace.gradients)]
            layer = "" if node.scope.layer is None else f" {node.scope.layer}"
            series = self.graph.series.setdefault((node.scope.path + layer, node.role or ""), {})
            series[step] = norms[0], norms[1]
        if None in node.parents and carries_in(node) and place.step != BAR:
            slot = slot_of(node)
            if slot is not None:
                self.starts[place, slot] = _start_of(node)

    def count_edges(self, nodes: list[Node]) -> None:
        """Count every recorded edge: between items, or inside one of them."""
        graph, shares = self.graph, self.trace.contributions if self.trace is not None else {}
        for node in reversed(nodes):
            head = self.item_of.get(node)
            for parent in node.parents:
                if parent is None:
                    continue
                origin = self.keys.origin(parent)
                if head is None or origin is None:  # the latter was stacked as a constant
                    graph.inside += 1
                    continue
                tail, (kind, delay) = (
                    self.item_of[origin],
                    _edge_type(node, parent, origin, self.keys),
                )
                if tail is head and (delay == 0 or tail.kind == "bar"):
                    graph.inside += 1
                    continue
                if kind == DEPTH and tail.kind in {"weight", "input"}:
                    kind = WEIGHT if tail.kind == "weight" else INPUT
                edge = graph.edge(tail.id, head.id, kind, delay)
                share = shares.get((node.seq, origin.seq)) if origin.op is None else None
                if share is not None:
                    edge.contribute(Span.of(share))
        place = {name: index for index, name in enumerate(graph.items)}
        graph.edges = dict(
            sorted(graph.edges.items(), key=lambda e: (place[e[0][1]], place[e[0][0]], e[0][2:]))
        )

    def tell(self) -> None:
        """Add what is told of constants: inputs, and states from before."""
        if self.graph.level.plain:
            return
        joined = self._recorded_elsewhere() if self.graph.view.folds else set()
        for node, item in self.told:
            for index, enters in node.enters.items():
                joint = index > len(node.parents) or (item.id, node.op, index) in joined
                if joint and self.graph.view.folds and not enters.state:
                    continue  # [x; h] in one constant: other steps show where x enters
                if index >= len(node.parents) or node.parents[index] is None:
                    origin = None if enters.origin is None else self.item_of.get(enters.origin)
                    enter(self.graph, item, enters, origin)

    def _recorded_elsewhere(self) -> set[tuple[str, Op | None, int]]:
        """Operands of items of one node a step that are results at some steps, constants at one."""
        several: set[tuple[str, Op | None, Any]] = set()
        seen: set[tuple[str, Op | None, Any]] = set()
        results: set[tuple[str, Op | None, int]] = set()
        for node, item in self.item_of.items():
            step = (item.id, node.op, node.scope.step)
            (several if step in seen else seen).add(step)
            results |= {
                (item.id, node.op, k) for k, parent in enumerate(node.parents) if parent is not None
            }
        shared = {(name, op) for name, op, _ in several}
        return {(name, op, k) for name, op, k in results if (name, op) not in shared}

    def align(self, nodes: list[Node], reader: Reader) -> None:
        """Note along the edges from a memory what was looked up in it."""
        for node in reversed(nodes):
            found = reader.read(node) if node in self.item_of else None
            if found is None or found.memory not in self.item_of:
                continue
            head = self.item_of[node]
            looked = [(found.memory, found.weights)]
            if self.item_of[found.memory] is head:  # part of the look-up: its steps go there
                looked = [(part, found.at(step)) for part, step in found.parts]
            for memory, weights in looked:
                tail = self.item_of.get(memory)
                edge = self.graph.edges.get((tail.id, head.id, DEPTH, 0)) if tail else None
                if edge is not None:
                    for steps, weight in weights.items():
                        widen(edge.alignment, steps, weight)
                    self.graph.attention = AttentionNote(
                        reader.sample, found.batch, found.heads, reader.head
                    )


def _start_of(node: Node) -> str:
    """What is known of the constant that a node takes."""
    index = node.parents.index(None)
    if index in getattr(node, "detached", {}):
        return "cut"
    constant = node.constant(index)
    return "" if constant is None else "zero" if constant.zero else "constant"


def _count_node(item: Item, node: Node, leads_out: bool, trace: Trace | None) -> None:
    """Add a node to its item; the newest that leads out of it gives the item its shape."""
    item.count += 1
    item.constants += node.parents.count(None)
    item.zero = item.zero or any(known and known.zero for known in getattr(node, "constants", ()))
    item.computes = item.computes or not (node.op is None or hands_on(node))
    operation = node.op.name if node.op is not None else "leaf"
    item.ops[operation] = item.ops.get(operation, 0) + 1
    if hasattr(node, "figure"):
        item.figures.setdefault(operation, set()).add((node.figure, node.parents.index(None)))
    item.cell = item.cell or node.scope.cell
    tells = is_state(node) or (leads_out and not item.roles)
    if item.shape is None or (tells and item.states[0] not in item.roles):
        item.shape, item.dtype = node.shape, str(node.dtype)
    if node.role == WEIGHTS and len(node.shape) == 4:  # (N, heads, T, S)
        item.heads = node.shape[1]
    if node.op is None:
        item.names = [(node.name, node.shape)]
    if trace is not None and (node.role or (leads_out and not item.roles)):
        for spans, norms in ((item.values, trace.values), (item.gradients, trace.gradients)):
            if node.seq in norms:
                widen(spans, node.role or "", Span.of(norms[node.seq]))
        item.source = item.source or trace.sources.get(node.seq, "")
    if node.role:
        item.roles.add(node.role)


def _kind(item: Item, graph: Graph) -> str:
    if item.part.startswith("weight:"):
        return "weight"
    if item.part == INPUT:
        return "input"
    if item.place.step == BAR:
        return "bar"
    open_ = not graph.closes(item.place)
    if open_ and graph.level.plain:
        return "op"
    if item.place.step is None:
        return "module"
    if open_ and item.part not in {LOGITS, LOSS}:
        return "op"
    if item.roles & {*item.states}:
        return "cell"
    if LOSS in item.roles:
        return "loss"
    return "output" if LOGITS in item.roles else "module"


def _told(node: Node, origin: Node) -> Enters | None:
    """What an operand is told to enter as, from outside its loop."""
    enters: dict[int, Enters] = getattr(node, "enters", {})
    told = [enters[i] for i, p in enumerate(node.parents) if p is origin and i in enters]
    return told[0] if told else None


def _edge_type(node: Node, parent: Node, origin: Node, keys: Keys) -> tuple[str, int]:
    """Kind and delay of the edge from `origin`, of which `parent` is all or a part, to `node`."""
    here, there = node.scope.step, origin.scope.step
    told = None if keys.plain else _told(node, origin)
    if told is not None and told.state:
        return told.state, 0 if here is None or there is None else here - there
    if told is not None:
        return DEPTH, 0
    if here is None or origin.op is None or here == there:
        return DEPTH, 0
    if there is None and keys.only_part(parent):  # an entry of a sequence: no first state
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
    return (slot_of(node) if starts else None) or DEPTH, delay
