"""Cells gate by gate: every kind has its places, and what has none is still drawn as recorded."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.test_viz_golden import check
from tests.test_viz_shapes import overlaps, place
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import WEIGHT

KINDS = {
    "rnn-relu": lambda rng: nn.RNN(5, 4, nonlinearity="relu", rng=rng),
    "gru": lambda rng: nn.GRU(5, 4, num_layers=2, rng=rng),
    "gru-before": lambda rng: nn.GRU(5, 4, reset_after=False, rng=rng),
    "gru-both": lambda rng: nn.GRU(5, 4, bidirectional=True, rng=rng),
    "gru-norm": lambda rng: nn.GRU(5, 4, layer_norm=True, rng=rng),
    "gru-before-norm": lambda rng: nn.GRU(5, 4, layer_norm=True, reset_after=False, rng=rng),
    "rnn-norm": lambda rng: nn.RNN(5, 4, layer_norm=True, recurrent_dropout=0.5, rng=rng),
    "lstm-norm": lambda rng: nn.LSTM(5, 4, layer_norm=True, rng=rng),
    "lstm-projected": lambda rng: nn.LSTM(5, 4, proj_size=2, rng=rng),
    "lstm-norm-projected": lambda rng: nn.LSTM(
        5, 4, num_layers=2, layer_norm=True, proj_size=2, bidirectional=True, rng=rng
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def recorded(kind: str, steps: int = 3, **options) -> tgs.Tensor:
    layer = KINDS[kind](np.random.default_rng(0))
    with tgs.composed():
        y, _ = layer(np.arange(steps * 2).reshape(steps, 2) % 5, **options)
    return y.sum()


def words(drawing: viz.Drawing) -> list[str]:
    """Texts of one line on shapes, in the order of the DOT text."""
    return re.findall(r'^\s*"[^"]*" \[pos=.*?label="([^"]*)"', drawing.dot, re.M)


@kinds
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_every_recorded_node_and_edge_is_counted_once(kind, level, view):
    loss = recorded(kind, 6)
    nodes = nodes_behind([loss.node])
    graph = build([loss.node], level=level, view=view)
    assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
    edges = sum(parent is not None for node in nodes for parent in node.parents)
    assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges


@kinds
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
def test_every_edge_between_parts_is_a_wire(kind, view):
    loss = recorded(kind, 6)
    graph = build([loss.node], level="cell", view=view)
    drawing = viz.draw(loss, level="cell", view=view)
    assert overlaps(drawing) == []
    ends = {
        (a.removesuffix("·"), b.removesuffix("·"))
        for a, b in re.findall(r'^"([^"]+)" -> "([^"]+)" \[', drawing.dot, re.M)
    }
    for edge in graph.edges.values():
        weight, loop = edge.kind == WEIGHT, edge.delay and view == "rolled"
        starts = {a for a, b in ends if b == edge.head}
        if loop:
            assert f"delay:{edge.tail}:{edge.kind}:{edge.head}" in starts or edge.tail in starts
        elif not weight:
            assert edge.tail in starts, edge
        else:
            assert any(start.startswith("weights:") for start in starts), edge


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gru", ["z  σ", "r  σ", "n  tanh", "1 −", "W h,  W x + b"]),
        ("gru-before", ["z  σ", "r  σ", "n  tanh", "1 −", "W h,  W x + b", "W"]),
        ("gru-norm", ["z  σ", "r  σ", "n  tanh", "1 −", "norm W h,  W x + b"]),
        ("gru-before-norm", ["z  σ", "r  σ", "norm tanh", "norm W h,  W x + b", "W"]),
        ("rnn-norm", ["norm W [h; x] + b", "tanh"]),
        ("lstm-norm", ["f  σ", "i  σ", "o  σ", "g  tanh", "norm, tanh"]),
        ("lstm-projected", ["f  σ", "i  σ", "o  σ", "g  tanh", "tanh", "W"]),
        ("rnn-relu", ["relu", "W [h; x] + b"]),
    ],
)
def test_gates_are_drawn_by_name(kind, said):
    texts = words(viz.draw(recorded(kind), level="cell"))
    for text in said:
        assert texts.count(text) == 3 * (2 if kind == "gru" else 1), (text, texts)


@pytest.mark.parametrize("kind", ["gru", "gru-before"])
def test_state_of_a_gru_is_one_straight_road(kind):
    drawing = viz.draw(recorded(kind), level="cell")
    heights = {
        place(drawing, f"[0]@{t}:{part}")[1] for t in range(3) for part in ("h", "kept", "h·")
    }
    assert len(heights) == 1
    assert "h₋₁ = 0" in drawing.dot


@pytest.mark.parametrize("kind", ["gru", "gru-before"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_cell_of_a_gru_is_the_golden_one(kind, theme):
    check(f"{kind}-{theme}", viz.draw(recorded(kind, 2), level="cell", theme=theme).dot)


def test_reset_gate_acts_on_h_before_its_product_or_after():
    edges = {}
    for kind in ("gru", "gru-before"):
        loss = recorded(kind)
        graph = build([loss.node], level="cell")
        edges[kind] = {
            edge.head.rpartition(":")[2]
            for edge in graph.edges.values()
            if edge.tail == "[0]@0:h" and edge.delay == 1
        }
    assert edges == {"gru": {"kept", "a"}, "gru-before": {"kept", "reset", "a"}}


def test_normalisation_within_a_cell_is_part_of_it():
    loss = recorded("lstm-norm")
    for level in ("module", "cell", "op"):
        graph = build([loss.node], level=level)
        paths = {item.place.path for item in graph.items.values() if item.place.step is not None}
        assert paths == {""}
    z = build([loss.node], level="cell").items["[0]@1:a"]
    assert z.inner == {"norm_x_l0", "norm_h_l0"}
    assert z.ops["sqrt"] == 2


def test_cell_that_no_template_fits_is_drawn_node_by_node():
    reset = np.zeros((3, 2), bool)
    reset[2, 0] = True
    drawing = viz.draw(recorded("gru-before", reset=reset), level="cell")
    assert overlaps(drawing) == []
    assert '"[0]@0:n"' in drawing.dot and "n = " in drawing.dot  # t = 2 forgets h first


@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("kind", ["gru", "lstm-norm", "lstm-norm-projected", "rnn-relu"])
@pytest.mark.parametrize("option", ["lengths", "reset"])
def test_rows_that_end_or_start_anew_do_not_cut_the_others(option, kind, level):
    """What is blended in is the same state, going on: no gradient stops there."""
    given = {"lengths": [4, 2], "reset": np.arange(8).reshape(4, 2) == 5}[option]
    loss = recorded(kind, 4, **{option: given})
    graph = build([loss.node], level=level)
    assert not any(edge.cut for edge in graph.edges.values() if edge.delay)
    crossing = {edge.kind for edge in graph.edges.values() if edge.delay}
    assert crossing <= {"h", "c"}
    if level != "op":
        assert "✂" not in viz.draw(loss, level=level).dot
    if level == "cell" and option == "lengths":
        parts = {item.part.partition(".")[0] for item in graph.items.values() if item.place.step}
        assert "where" not in parts


def test_everything_along_a_state_is_followed_as_one():
    """What a page highlights together: all of a layer's c from the start to the last step."""
    layer = nn.LSTM(5, 4, num_layers=2, rng=np.random.default_rng(0))
    with tgs.composed():
        y, _ = layer(np.zeros((3, 2), int))
    text = viz.draw(y.sum(), level="cell").dot
    roads = []
    for k in range(2):
        parts = [f"[{k}]@{t}:{part}" for t in range(3) for part in ("f*c", "c·", "c")]
        shapes = [re.search(rf'^ *"{re.escape(name)}" \[.*', text, re.M)[0] for name in parts]
        wires = [
            re.search(rf'^"{re.escape(a)}" -> "{re.escape(b)}" .*', text, re.M)[0]
            for a, b in zip(parts, parts[1:])  # noqa: B905, RUF007
        ]
        found = [set(re.findall(r"road-\d+", line)) for line in (*shapes, *wires)]
        common = set.intersection(*found)
        assert len(common) == 1
        roads.append(common)
        beside = [
            line
            for line in text.splitlines()
            if line.strip().startswith((f'"[{k}]@1:h" [', f'"[{k}]@1:a" ['))
        ]
        assert len(beside) == 2 and not common & set(re.findall(r"road-\d+", "".join(beside)))
    assert roads[0] != roads[1]
    boxes = viz.draw(y.sum(), trace=traced_norms(y)).dot
    (stripe,) = re.findall(r'"\[0\]@1#c" \[.*', boxes)
    assert len(set(re.findall(r"road-\d+", stripe))) == 1


def traced_norms(y) -> viz.Trace:
    """Made-up norms of every node."""
    trace = viz.Trace()
    for node in nodes_behind([y.node]):
        trace.gradients[node.seq] = 1.0
    return trace
