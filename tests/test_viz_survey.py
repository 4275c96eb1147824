"""What is read off all recorded nodes before a drawing: each once, and every edge counted."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq.engine.node import Node, nodes_behind
from tinygrad_seq.engine.scope import Scope
from tinygrad_seq.ops import OPS
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.survey import Survey


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
        op = OPS["add"] if any(parents) else None
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
def test_survey_holds_every_node_once_and_its_steps(roots):
    survey = Survey(roots)
    nodes = reachable(roots)[::-1]
    assert survey.nodes == nodes_behind(roots) == nodes
    assert survey.leaves == [node for node in nodes if node.op is None]
    assert survey.steps == sorted({n.scope.step for n in nodes if n.op is not None} - {None})
    assert not survey.fused


def test_survey_finds_what_has_a_twin():
    model = Model()
    logits, _ = model(tokens(2))
    assert Survey([logits.node]).fused
    loss, _ = composed_loss(model, 2)
    assert not Survey([loss.node]).fused


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
    for view in ("unrolled", "elided", "rolled"):
        graph = build([total.node], view=view)
        nodes = nodes_behind([total.node])
        edges = sum(parent is not None for node in nodes for parent in node.parents)
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
