"""The walk over recorded nodes: each once, newest first, told of its users before its turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq.engine.mode import Scope
from tinygrad_seq.engine.node import Node
from tinygrad_seq.ops.elementwise import ADD
from tinygrad_seq.viz.graph.pending import Pending, Picks, Use
from tinygrad_seq.viz.graph.tally import Tally
from tinygrad_seq.viz.graph.walk import Survey, recorded_nodes, walk


@st.composite
def graphs(draw):
    """Nodes with few or many parents, in any order, repeated, with constants between them."""
    nodes: list[Node] = []
    for index in range(draw(st.integers(1, 25))):
        old = st.sampled_from([None, *nodes])
        parents = draw(st.one_of(st.lists(old, max_size=3), st.lists(old, min_size=9, max_size=14)))
        if nodes and draw(st.booleans()):
            parents += nodes if draw(st.booleans()) else nodes[::-1]
        step = draw(st.one_of(st.none(), st.integers(-2, 9)))
        op = ADD if any(parents) else None
        scope = Scope(step=step)
        nodes.append(Node(op, tuple(parents), {}, (), np.dtype("f4"), scope))
        assert index < len(nodes)
    return draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3))


def reachable(roots):
    found, stack = set(roots), list(roots)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=lambda node: -node.seq)


@given(graphs())
def test_every_node_once_newest_first_and_users_before_what_they_use(roots):
    visited: list[Node] = []
    edges: list[tuple[Node, int]] = []

    def visit(node):
        visited.append(node)
        return node.seq

    def reach(context, node, indices, parent):
        assert context == node.seq
        assert node in visited and parent not in visited
        assert indices and all(node.parents[index] is parent for index in indices)
        edges.extend((node, index) for index in indices)

    walk(roots, visit, reach)
    wanted = reachable(roots)
    assert visited == wanted
    assert recorded_nodes(roots) == wanted[::-1]
    recorded = {(n, i) for n in wanted for i, parent in enumerate(n.parents) if parent is not None}
    assert len(edges) == len(recorded)
    assert set(edges) == recorded


@given(graphs(), st.booleans())
def test_survey_is_what_a_list_of_all_nodes_would_tell(roots, every_step):
    survey = Survey(roots, every_step)
    nodes = reachable(roots)[::-1]
    steps = sorted({n.scope.step for n in nodes if n.op is not None} - {None})
    assert survey.nodes == len(nodes)
    assert survey.leaves == [node for node in nodes if node.op is None]
    assert not survey.fused
    if every_step:
        assert survey.steps == steps
    else:
        assert survey.steps[:2] == steps[:2]
        assert survey.steps[-1:] == steps[-1:]
        assert (len(survey.steps) > 4) == (len(steps) > 4)
        assert len(survey.steps) <= 6


def test_survey_finds_what_has_a_twin():
    model = Model()
    logits, _ = model(tokens(2))
    assert Survey([logits.node]).fused
    loss, _ = composed_loss(model, 2)
    assert not Survey([loss.node]).fused


def test_what_is_held_depends_on_the_model_and_not_on_its_length():
    """Counted, not timed: the most nodes that wait at any moment."""
    most = []
    for steps in (20, 200):
        loss, _ = composed_loss(Model("LSTM", 2), steps)
        open_nodes, largest = set(), 0

        def visit(node):
            open_nodes.discard(node.seq)  # noqa: B023  (used in this round alone)

        def reach(_, node, indices, parent):
            nonlocal largest
            open_nodes.add(parent.seq)  # noqa: B023
            largest = max(largest, len(open_nodes))  # noqa: B023

        walk([loss.node], visit, reach)
        most.append(largest)
    assert most[0] == most[1] < 40


def test_uses_of_entries_come_back_with_the_step_they_are_counted_from():
    def use(name: str, step: int | None = 0, relative: bool = True) -> Use:
        return Use(((name, None, None), ""), step, relative, True, (name, "h", 1))

    known: list[Use] = []
    picks = Picks(6, known, {})
    for index in range(6):
        picks.add(index, use("a"))
    picks.add(2, use("b", 7, False))
    assert len(known) == 2  # equal uses are one object, however long the stack
    assert picks.take(5) == [use("a")]
    assert picks.take(2) == [use("a"), use("b", 7, False)]

    pending = Pending()
    pending.add(use("a", 1), 3)
    assert pending.single == (use("a").key, 4) and pending.users == 1
    pending.add(use("a", 1), 3)
    assert pending.users == 1 and pending.edges == {("a", "h", 1): (2, None)}
    pending.add(use("a", 2), 3)  # the same item at another step is another user
    assert pending.single is None and pending.users == 2


@given(st.lists(st.tuples(st.integers(-3, 12), st.integers(1, 3)), max_size=40))
@example([(2, 1), (0, 1), (2, 1), (0, 1), (2, 1)])  # the run's own step has a count apart
def test_a_tally_is_a_count_by_step(visits):
    tally, counts = Tally(), Counter()
    for step, times in visits:
        for _ in range(times):
            assert tally.next(step) == counts[step]
            counts[step] += 1


@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("odd", [(), (40, 41, 7), (99, 0)])
def test_a_tally_of_steps_that_are_alike_stays_small(first, odd):
    """Whatever few steps differ: the last one, the first one, some in between."""
    tally, counts = Tally(), {}
    for step in reversed(range(100)):
        counts[step] = first + (step in odd)
        for number in range(counts[step]):
            assert tally.next(step) == number
    assert len(tally._apart) <= len(odd)
    assert [tally.next(step) for step in range(100)] == [counts[step] for step in range(100)]


def test_a_stack_read_forwards_backwards_and_twice_counts_every_edge():
    w = tgs.tensor(np.ones(2, np.float32), requires_grad=True)
    parts = []
    for t in range(12):
        with tgs.scope(path="a", step=t):
            parts.append(w * float(t))
    whole = tgs.stack(parts[::2] + parts[1::2] + parts[:1])
    nested = tgs.stack([whole[i] for i in range(13)])
    read = []
    for t in range(12):
        with tgs.scope(path="b", step=t):
            read.append(nested[t] * 2.0 + nested[-1])
    total = tgs.stack(read).sum() + whole.sum()
    from tinygrad_seq.viz.graph.fold import build

    for view in ("unrolled", "elided", "rolled"):
        graph = build([total.node], view=view)
        nodes = recorded_nodes([total.node])
        edges = sum(parent is not None for node in nodes for parent in node.parents)
        assert graph.recorded_edges == edges
        assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges
    unrolled = build([total.node])
    found = {
        (e.tail, e.head): e.count
        for e in unrolled.edges.values()
        if e.tail[0] == "a" and e.head[0] == "b"
    }
    order = [*range(0, 12, 2), *range(1, 12, 2), 0]
    wanted: dict[tuple[str, str], int] = {}
    for t in range(12):
        for tail in (order[t], 0):
            wanted[f"a@{tail}", f"b@{t}"] = wanted.get((f"a@{tail}", f"b@{t}"), 0) + 1
    assert found == wanted
