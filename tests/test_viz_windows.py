"""Windows of one sequence through layers, drawn one after the other; functions as models."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.timeline.steps import time_steps
from tinygrad_seq.viz.graph.fold import build

WINDOW = 3


def windows(detach=True, joined=False, composed=True, starts=(0, WINDOW), kind="LSTM"):
    """The loss of windows through one model, under one sum or one loss."""
    model, state, outputs, losses = Model(kind), None, [], []
    x = tokens(2 * WINDOW + 1)
    mode = tgs.composed() if composed else tgs.enable_grad()
    with mode:
        for number, start in enumerate(starts):
            at = slice(number * WINDOW, (number + 1) * WINDOW)
            with tgs.scope(start=start):
                y, state = model.rnn(x[at], state)
            outputs.append(y)
            if not joined:
                losses.append(tgs.cross_entropy(model.head(y), x[1:][at]))
            state = state.detach() if detach else state
        if joined:
            return model, tgs.cross_entropy(model.head(tgs.concatenate(outputs)), x[1:])
        return model, sum(losses)


def carried(graph):
    """(kind, head step, cut) of what crosses between the windows."""
    return {
        (edge.kind, graph.items[edge.head].place.step, edge.cut)
        for edge in graph.edges.values()
        if edge.delay == 1 and graph.items[edge.head].place.step == WINDOW
    }


@pytest.mark.parametrize("composed", [True, False])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_windows_are_drawn_one_after_the_other(kind, detach, composed):
    model, loss = windows(detach, composed=composed, kind=kind)
    drawing = viz.draw(loss)
    assert model and drawing.dot.count('subgraph "cluster_t') == 2 * WINDOW
    states = 2 if kind == "LSTM" else 1
    assert drawing.dot.count('label="✂') == (states + 1) * detach  # and once in the key
    if composed:
        states = {"h", "c"} if kind == "LSTM" else {"h"}
        assert carried(build([loss.node])) == {(s, WINDOW, detach) for s in states}


def test_readout_and_loss_of_joined_windows_are_step_by_step():
    model, loss = windows(joined=True)
    for level in ("module", "cell"):
        graph = build([loss.node], level=level)
        steps = [i.place.step for i in graph.items.values() if "loss" in i.roles]
        assert model and steps == list(range(2 * WINDOW))
        assert not any("getitem" in i.ops for i in graph.items.values() if i.place.step is None)
    whole, _ = Model("LSTM"), None
    y, _ = whole.rnn(tokens(2 * WINDOW + 1)[:-1])
    expected = tgs.cross_entropy(whole.head(y), tokens(2 * WINDOW + 1)[1:])
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_window_keeps_its_numbers_and_counts_its_own_steps():
    model, loss = windows(starts=(7, 7 + WINDOW))
    assert model
    trace = viz.Trace()
    drawing = viz.draw(loss, trace=trace)
    assert drawing.title.endswith(f" {2 * WINDOW} time steps")
    assert 'label="h₆' in drawing.dot and 'label="h₋₁' not in drawing.dot
    assert "every t of 6" in viz.draw(loss, view="rolled").dot


def test_a_page_of_a_later_window_holds_its_norms(tmp_path):
    model, trace = Model("RNN"), viz.Trace()
    with tgs.composed(), tgs.observe(trace), tgs.scope(start=5):
        logits, _ = model(tokens(3))
        tgs.cross_entropy(logits, tokens(3)).backward()
        loss = tgs.cross_entropy(logits, tokens(3))
    data = viz.draw(loss, trace=trace)._data
    assert data["start"] == 5 and data["length"] == 3
    values = [row["values"] for row in data["series"] if row["role"] == "h"]
    assert values and all(None not in row and len(row) == 3 for row in values)
    assert data["panels"]["p:t7"] == (7, 7)


def test_a_new_run_from_zeros_is_not_a_cut():
    model, losses = Model("RNN"), []
    with tgs.composed():
        for start in (0, WINDOW):
            with tgs.scope(start=start):
                losses.append(tgs.cross_entropy(model(tokens(3))[0], tokens(3)))
        loss = sum(losses)
    assert not carried(build([loss.node])) and "✂" not in viz.draw(loss).dot


def test_time_steps_follow_cuts_and_joins():
    w = tgs.tensor(np.ones((3, 4), np.float32), requires_grad=True)

    def stacked(start, axis=0):
        parts = []
        for t in range(start, start + 4):
            with tgs.scope(step=t):
                parts.append(w * float(t))
        return tgs.stack(parts, axis)

    y, later = stacked(0), stacked(4)
    assert time_steps(y[1:]) == (0, [1, 2, 3])
    assert time_steps(np.swapaxes(y[::2], 0, 1)[:, 1:]) == (1, [2])
    assert time_steps(np.swapaxes(y, 0, 1)[1:, :2]) == (1, [0, 1])
    assert time_steps(tgs.concatenate([y[2:], later[:1]])) == (0, [2, 3, 4])
    assert time_steps(tgs.concatenate([y, y], axis=1)) == (0, [0, 1, 2, 3])
    assert time_steps(tgs.concatenate([y, later], axis=1)) is None  # side by side, but at odds
    offset = tgs.tensor(np.ones((1, 1, 4), np.float32), requires_grad=True)
    assert time_steps(offset + y) == time_steps(y + offset) == (0, [0, 1, 2, 3])
    assert time_steps(tgs.concatenate([y, np.ones((1, 3, 4), np.float32)])) is None
    assert time_steps(tgs.stack([np.zeros((3, 4), np.float32), y[0], w])) is None


@pytest.mark.parametrize(("reduction", "word"), [("mean", "mean"), ("sum", "sum")])
def test_the_loss_says_whether_it_is_a_mean(reduction, word):
    model, x = Model("RNN"), tokens(4)
    with tgs.composed():
        loss = tgs.cross_entropy(model(x)[0], x, reduction=reduction)
    assert f'label="L = {word} over t"' in viz.draw(loss).dot
    total = sum(part.shape == () for part in loss.node.parents[0].parents)
    assert total == 4


@pytest.mark.parametrize("steps", [3, 6])
def test_a_sum_over_as_many_steps_is_a_mean(steps):
    (u,), h, losses = [tgs.tensor(np.eye(4), requires_grad=True)], np.ones((2, 4)), []
    for _ in range(steps):
        h = np.tanh(h @ u)
        losses.append((h**2).mean())
    total = sum(losses)
    said = [
        re.search('"L = ([^"]*)"', viz.draw(loss, view=view).dot)[1]
        for view in ("unrolled", "elided", "rolled")
        for loss in (total / steps, total * (1 / steps), total / 2)
    ]
    assert said == ["mean over t", "mean over t", "sum over t, scaled"] * 3


def test_each_loss_of_a_mean_is_that_of_its_step():
    model, x, trace = Model("RNN"), tokens(4), viz.Trace()
    logits, _ = model(x)
    with tgs.composed(), tgs.observe(trace):
        loss = tgs.cross_entropy(model(x)[0], x)
    parts = loss.node.parents[0].parents
    for t, part in enumerate(parts):
        alone = tgs.cross_entropy(logits[t], x[t]).item()
        assert trace.values[part.seq] == pytest.approx(alone, rel=1e-5)


def test_functions_and_keywords_are_drawn_like_modules():
    rng = np.random.default_rng(0)
    gru, drop = nn.GRU(5, 3, rng=rng), nn.Dropout(0.5, rng=rng)
    x, lengths = tokens(4), np.array([4, 2])

    def loss(out):
        return out[0].sum()

    before = rng.bit_generator.state
    ways = (gru, {"lengths": lengths}), (lambda x: gru(x, lengths=lengths), None)
    named, wrapped = (viz.draw_model(f, x, keywords=kw, loss=loss) for f, kw in ways)
    sources = re.compile(r"test_viz_windows\.py:\d+")
    assert sources.sub("", named.dot) == sources.sub("", wrapped.dot) and "|∂L/∂h|" in named.dot
    assert named.dot != viz.draw_model(gru, x, loss=loss).dot
    viz.draw_model(lambda x: drop(gru(x)[0]), x, loss=lambda y: y.sum())
    viz.draw_model(gru.forward, x)
    assert rng.bit_generator.state == before  # a function's modules are as before, too
    assert all(parameter.grad is None for parameter in gru.parameters())


def test_the_key_explains_only_figures_that_are_shown():
    model, trace = Model("RNN"), viz.Trace()
    with tgs.composed(), tgs.observe(trace):
        loss = tgs.cross_entropy(model(tokens(3))[0], tokens(3))
        loss.backward()
    both = {"direction": "both", "trace": trace}
    said = "what a step adds"
    assert said in viz.draw(loss, **both).dot
    assert said not in viz.draw(loss, weights="hidden", **both).dot
    assert said not in viz.draw(loss, direction="both").dot


def test_the_update_gate_has_one_name_everywhere():
    gru = nn.GRU(5, 3, rng=np.random.default_rng(0))
    with tgs.composed():
        y, _ = gru(tokens(2))
    items = build([y.node], level="cell").items.values()
    assert {"z", "a"} <= {i.part for i in items}
    assert {"z", "r", "n", "a"} <= {role for i in items for role in i.roles}
    assert not any(i.part in {"u", "1-u"} for i in items)


@pytest.mark.parametrize("lengths", [(3, 9), (4, 7), (6, 4), (1, 12)])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
def test_windows_of_different_lengths_one_on_the_state_of_the_other(lengths, level, view) -> None:
    lstm = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    _, state = lstm(np.ones((lengths[0], 1, 3), np.float32))
    y, _ = lstm(np.ones((lengths[1], 1, 3), np.float32), state)
    assert viz.draw(y.sum(), view=view, level=level).dot.startswith("digraph")
