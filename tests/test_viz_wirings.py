"""The wirings of the notes, from the real modules: where things stand says what the model does."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.drawn import covered, crossed
from tests.test_viz_golden import check
from tests.test_viz_shapes import overlaps, place
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.viz.graph.fold import build


def ids(steps):
    return np.arange(steps * 2).reshape(steps, 2) % 5


def many_to_one(rng):
    model = nn.ManyToOne(nn.GRU(5, 4, bidirectional=True, rng=rng), 3, rng=rng)
    return model, model(ids(3))


def one_to_many(rng, layers=1):
    decoder = nn.Decoder(nn.LSTM(5, 4, layers, rng=rng), rng=rng)
    model = nn.OneToMany(6, decoder, rng=rng)
    return model, model(np.ones((2, 6), np.float32), ids(4)).logits


def one_to_many_deep(rng):
    return one_to_many(rng, 2)


def many_to_many(rng):
    layer = nn.LSTM(5, 4, 2, bidirectional=True, rng=rng)
    model = nn.ManyToMany(layer, 3, rng=rng)
    return model, model(ids(3))[0]


def seq2seq(rng, kind=nn.LSTM, both=False, layers=1):
    decoder = nn.Decoder(kind(6, 4, layers, rng=rng), rng=rng)
    encoder = kind(5, 4, layers, bidirectional=both, rng=rng)
    model = nn.Seq2Seq(encoder, decoder, rng=rng)
    return model, model(ids(3), ids(4)).logits


def seq2seq_both(rng):
    return seq2seq(rng, nn.GRU, both=True)


def seq2seq_both_deep(rng):
    return seq2seq(rng, nn.LSTM, both=True, layers=2)


WIRINGS = (
    many_to_one,
    one_to_many,
    one_to_many_deep,
    many_to_many,
    seq2seq,
    seq2seq_both,
    seq2seq_both_deep,
)


def drawn(make, composed=True, **options) -> viz.Drawing:
    with tgs.composed() if composed else tgs.enable_grad():
        model, out = make(np.random.default_rng(0))
    drawing = viz.draw(out, **options)
    assert model.training  # and alive until here: leaves know their names
    return drawing


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("make", WIRINGS)
def test_no_wire_runs_through_a_box_and_no_name_lies_on_one(make, level, direction):
    drawing = drawn(make, level=level, direction=direction)
    assert crossed(drawing) == set() and covered(drawing) == set()


@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("make", WIRINGS)
def test_no_shapes_overlap_and_every_node_is_counted(make, level, view):
    assert overlaps(drawn(make, level=level, view=view)) == []
    with tgs.composed():
        model, out = make(np.random.default_rng(0))
    assert model.training
    graph = build([out.node], level=level, view=view)
    nodes = nodes_behind([out.node])
    assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
    edges = sum(parent is not None for node in nodes for parent in node.parents)
    assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges


@pytest.mark.parametrize("make", WIRINGS)
def test_a_fused_run_is_drawn_too(make):
    assert overlaps(drawn(make, composed=False)) == []


@pytest.mark.parametrize("make", [one_to_many, seq2seq_both])
def test_wiring_is_the_golden_one(make):
    check(f"wiring-{make.__name__}", drawn(make).dot)


@pytest.mark.parametrize("level", ["module", "cell"])
def test_a_vector_that_starts_a_decoder_stands_before_its_first_step(level):
    drawing = drawn(one_to_many, level=level)
    start = place(drawing, "start:before")
    first = place(drawing, "decoder.recurrent[0]@0" + (":f*c" if level == "cell" else ""))
    assert start[0] < first[0]
    for state in "hc":
        head = {"h": ":a", "c": ":f*c"}[state] if level == "cell" else ""
        assert re.search(
            rf'"start:before" -> "decoder.recurrent\[0\]@0{re.escape(head)}" .*edge-{state}"',
            drawing.dot,
        )
    assert "✂" not in drawing.dot and "₋₁" not in drawing.dot
    assert drawing.dot.count('label="x₀"') == 1  # the token still comes in from below


@pytest.mark.parametrize("make", [seq2seq_both, seq2seq_both_deep])
def test_a_bridge_stands_between_encoder_and_decoder(make):
    drawing = drawn(make)
    last, bridge = place(drawing, "encoder[0]@2"), place(drawing, "bridge:before")
    first = place(drawing, "decoder.recurrent[0]@0")
    assert last[0] < bridge[0] < first[0]
    assert last[1] == bridge[1] == first[1]
    for tail in ("encoder[0]@2", "encoder.reverse[0]@0"):
        assert f'"{tail}" -> "bridge:before"' in drawing.dot
    assert "decoder: t = 0" in drawing.dot


def test_each_direction_of_a_classifier_is_read_where_it_ends():
    drawing = drawn(many_to_one)
    tails = set(re.findall(r'"([^"]+)" -> "head"', drawing.dot))
    assert tails - {t for t in tails if t.startswith("weights:")} == {
        "recurrent[0]@2",
        "recurrent.reverse[0]@0",
    }


def test_bars_of_axes_of_different_length_count_their_own_steps():
    rng = np.random.default_rng(0)
    decoder = nn.Decoder(nn.GRU(6, 4, rng=rng), rng=rng)
    model = nn.Seq2Seq(nn.GRU(5, 4, rng=rng), decoder, rng=rng)
    with tgs.composed():
        out = model(ids(9), ids(6)).logits
    text = viz.draw(out, view="elided").dot
    assert "encoder: t = 2 … 7" in text and "decoder: t = 2 … 4" in text
    said = re.findall(r"([\d,]+) steps, [\d,]+ nodes", text)
    assert sorted(said) == ["3", "6"]
