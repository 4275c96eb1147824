"""`depth`: modules that are closed are one item a time step, and every count stays true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.test_viz_laws import modulo_t
from tests.test_viz_shapes import overlaps
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import INPUT, WEIGHT


class Tagger(nn.Module):
    """An encoder with an embedding inside, and a readout of two layers: paths up to two deep."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.encoder = Encoder(rng)
        self.readout = nn.Sequential([nn.Linear(3, 4, rng=rng), nn.Linear(4, 5, rng=rng)])

    def forward(self, ids):
        return self.readout(self.encoder(ids))


class Encoder(nn.Module):
    def __init__(self, rng):
        super().__init__()
        self.table = nn.Embedding(5, 3, rng=rng)
        self.rnn = nn.LSTM(3, 3, num_layers=2, rng=rng)

    def forward(self, ids):
        y, _ = self.rnn(self.table(ids))
        return y * 0.5


TAGGER = Tagger()  # a parameter's name lives as long as the parameter


def tagger_loss(steps: int):
    with tgs.composed():
        return tgs.cross_entropy(TAGGER(tokens(steps)), tokens(steps))


depths = st.sampled_from([None, 0, 1, 2, 3])
levels = st.sampled_from(["module", "cell", "op"])
views = st.sampled_from(["unrolled", "elided", "rolled"])


def closed_path(path: str, depth: int | None) -> str:
    """The module that a path is drawn in."""
    return path if depth is None else ".".join(path.split(".")[:depth])


@given(levels, views, depths, st.integers(2, 6))
def test_every_recorded_node_and_edge_is_counted_once(level, view, depth, steps):
    loss = tagger_loss(steps)
    graph = build([loss.node], level=level, view=view, depth=depth)
    nodes = nodes_behind([loss.node])
    assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
    edges = sum(parent is not None for node in nodes for parent in node.parents)
    assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges


@given(depths, st.integers(2, 6))
def test_edges_between_modules_are_the_recorded_ones(depth, steps):
    """At op level nothing is passed over: an independent count by module path must agree."""
    loss = tagger_loss(steps)
    graph = build([loss.node], level="op", depth=depth)
    recorded: Counter[tuple[str, str]] = Counter()
    nodes_in: Counter[str] = Counter()

    def module(node):
        return "a leaf" if node.is_leaf else closed_path(node.scope.path, depth)

    for node in nodes_behind([loss.node]):
        nodes_in[module(node)] += 1
        for parent in node.parents:
            if parent is not None:
                recorded[module(parent), module(node)] += 1
    found: Counter[tuple[str, str]] = Counter()
    counted: Counter[str] = Counter()

    def where(name):
        item = graph.items[name]
        return "a leaf" if item.kind == "weight" else item.place.path

    for item in graph.items.values():
        counted[where(item.id)] += item.count
    for edge in graph.edges.values():
        found[where(edge.tail), where(edge.head)] += edge.count
    assert counted == nodes_in
    for ends, count in recorded.items():
        if ends[0] != ends[1]:
            assert found[ends] == count
        else:
            assert found[ends] <= count  # the others are inside of items


@given(levels, st.sampled_from([1, 2]), st.integers(2, 6))
def test_rolled_is_unrolled_modulo_t_with_closed_modules_too(level, depth, steps):
    loss = tagger_loss(steps)
    unrolled = build([loss.node], level=level, depth=depth)
    rolled = build([loss.node], level=level, depth=depth, view="rolled")
    folded: Counter[tuple[str, str, str, int]] = Counter()
    for edge in unrolled.edges.values():
        ends = modulo_t(edge.tail, steps), modulo_t(edge.head, steps)
        folded[(*ends, edge.kind, edge.delay)] += edge.count
    assert +folded == {key: edge.count for key, edge in rolled.edges.items() if edge.count}
    counts: Counter[str] = Counter()
    for item in unrolled.items.values():
        counts[modulo_t(item.id, steps)] += item.count
    assert +counts == {item.id: item.count for item in rolled.items.values() if item.count}


@given(levels, views, st.integers(2, 6))
def test_a_depth_below_everything_changes_nothing(level, view, steps):
    loss = tagger_loss(steps)
    assert (
        viz.draw(loss, level=level, view=view, depth=9).dot
        == viz.draw(loss, level=level, view=view).dot
    )


@given(views)
def test_depth_one_closes_the_layers_of_a_plain_model(view):
    """What is left open is the loss: the boxes are those of the module level."""
    loss, _ = composed_loss(Model("LSTM", 2), 6)
    whole = build([loss.node], view=view)
    closed = build([loss.node], view=view, level="cell", depth=1)
    for name, item in whole.items.items():
        if item.place.path:
            assert closed.items[name].count == item.count
            assert closed.items[name].kind == item.kind
    boxes = {name for name, item in whole.items.items() if item.place.path or item.kind == "weight"}

    def between(graph):
        return {
            key: (edge.count, edge.cut)
            for key, edge in graph.edges.items()
            if edge.tail in boxes and edge.head in boxes and edge.kind != INPUT
        }

    assert between(closed) == between(whole)


def test_depth_opens_one_module_inside_another():
    loss = tagger_loss(3)
    names = {
        depth: set(build([loss.node], level="cell", depth=depth).items) for depth in (0, 1, 2, 3)
    }
    weights = {f"weight:{name}" for name, _ in TAGGER.named_parameters()}
    steps = {f"@{t}" for t in range(3)}
    assert names[0] - weights == {*steps, ":before", ":after", "carried::h", "carried::c"}
    assert {"encoder@1", "readout@1"} <= names[1]
    assert not any(name.startswith("encoder.rnn") for name in names[1])
    assert {"encoder.rnn[0]@1", "encoder.rnn[1]@1", "readout.0@1"} <= names[2]
    assert {"encoder.rnn[0]@1:f", "encoder.rnn[1]@1:c"} <= names[3]


def test_a_closed_module_is_named_by_itself_and_not_by_what_is_in_it():
    text = viz.draw(tagger_loss(3), depth=1).dot
    assert ">encoder<" in text and "LSTM" not in text
    assert ">model<" in viz.draw(tagger_loss(3), depth=0).dot
    assert ">LSTM 1<" in viz.draw(tagger_loss(3), depth=2).dot


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
def test_closed_modules_render_without_overlaps(view, level, depth):
    drawing = viz.draw_model(Tagger(), tokens(6), view=view, level=level, depth=depth)
    assert overlaps(drawing) == []


def test_a_closed_model_still_uses_each_parameter_at_every_step():
    graph = build([tagger_loss(4).node], depth=0)
    uses: Counter[str] = Counter()
    for edge in graph.edges.values():
        if edge.kind == WEIGHT:
            uses[edge.tail] += edge.count
    assert uses.pop("weight:encoder.table.weight") == 1
    assert len(uses) == 6 + 4 and set(uses.values()) == {4}


@pytest.mark.parametrize("depth", [-1, 1.5, True, "2"])
def test_depth_must_be_a_number_of_names(depth):
    loss, _ = composed_loss(Model(), 2)
    with pytest.raises(ConfigError, match="draw: depth"):
        viz.draw(loss, depth=depth)
