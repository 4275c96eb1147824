"""A drawing tells of structure: the same before backward, after it, and when values change."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import MODELS, Model, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.engine import node as nodes
from tinygrad_seq.engine.node import Node, nodes_behind

VIEWS = ("unrolled", "elided", "rolled")
LEVELS = ("module", "cell", "op")
STEPS = 6


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return generator().standard_normal(shape).astype(np.float32)


def texts(loss) -> dict[tuple[str, str], str]:
    return {
        (view, level): viz.draw(loss, view=view, level=level).dot
        for view in VIEWS
        for level in LEVELS
    }


def shared(name):
    """A model that other tests of drawings use too, on tokens."""
    model, ids = Model(*MODELS[name]), tokens(STEPS)
    return tgs.cross_entropy(model(ids)[0], ids)


def layer(kind="LSTM", x=None, state=None, call=None, **options):
    made = getattr(nn, kind)(3, 4, rng=generator(), **options)
    y, last = made(floats(STEPS, 2, 3) if x is None else x, state, **(call or {}))
    return y.sum() + last.h.sum()


def windows():
    """Truncated: the second window starts from the detached state of the first."""
    model, ids = Model("LSTM", 2), tokens(STEPS)
    first, state = model(ids)
    with tgs.scope(start=STEPS):
        second, _ = model(ids, state.detach())
    return tgs.cross_entropy(first, ids) + tgs.cross_entropy(second, ids)


def anew():
    """A second run from zeros: no cut, since nothing was carried."""
    made = nn.GRU(3, 4, rng=generator())
    first, _ = made(floats(3, 2, 3))
    with tgs.scope(start=3):
        second, _ = made(floats(3, 2, 3), np.zeros((1, 2, 4), np.float32))
    return first.sum() + second.sum()


def translator(attention=True):
    rng = generator()
    look = nn.AdditiveAttention(4, 4, 3, rng=rng) if attention else None
    encoder = nn.GRU(5, 4, rng=rng)
    decoder = nn.Decoder(nn.GRU(6, 4, rng=rng), None, look, 4, rng=rng) if attention else None
    decoder = decoder or nn.Decoder(nn.GRU(6, 4, rng=rng), rng=rng)
    made = nn.Seq2Seq(encoder, decoder, rng=rng)
    return tgs.cross_entropy(made(tokens(4), tokens(5)).logits, tokens(5))


def itself():
    """Causal attention of a sequence to itself, in heads."""
    rnn, look = nn.RNN(5, 4, rng=generator()), nn.MultiheadAttention(4, 2, rng=generator())
    y, _ = rnn(tokens(4))
    return look(y, y, y, causal=True)[0].sum()


def frozen():
    """Only W_hh is trained; all other operands of the layer are constants."""
    made = nn.LSTM(3, 4, rng=generator())
    made.weight_xh_l0.requires_grad = made.bias_l0.requires_grad = False
    return made(floats(STEPS, 2, 3))[0].sum()


def by_hand():
    """Cells called in a loop, from a state that the user made."""
    cell, h = nn.GRUCell(3, 4, rng=generator()), np.zeros((2, 4), np.float32)
    for t, x in enumerate(floats(3, 2, 3)):
        with tgs.scope(path="cell", layer=0, step=t):
            h = cell(x, h)
    return h.sum()


def rerun():
    """A part that is run again in backward: what was in it is not known afterwards."""
    w = tgs.tensor(floats(2, 2), requires_grad=True)

    def steps(h):
        for _ in range(3):
            h = tgs.tanh(h @ w)
        return h

    return tgs.checkpoint(steps, floats(1, 2)).sum()


def carried(kind, fields):
    state = getattr(nn, f"{kind}State")(*[floats(1, 2, 4)] * fields)
    return layer(kind, state=state)


RUNS = {
    **{name: (lambda name=name: shared(name)) for name in MODELS},
    **{kind: (lambda kind=kind: layer(kind)) for kind in ("RNN", "GRU", "LSTM")},
    "before": lambda: layer("GRU", reset_after=False),
    "relu": lambda: layer("RNN", nonlinearity="relu"),
    "carried": lambda: carried("LSTM", 2),
    "carried-gru": lambda: carried("GRU", 1),
    "both-ways": lambda: layer(bidirectional=True, num_layers=2),
    "lengths": lambda: layer(call={"lengths": [STEPS, 2]}),
    "reset": lambda: layer("GRU", call={"reset": np.eye(STEPS, 2, dtype=bool)}),
    "trained-start": lambda: layer(trainable_state=True),
    "projected": lambda: layer(proj_size=2),
    "normalised": lambda: layer("GRU", layer_norm=True),
    "tracked-input": lambda: layer(x=tgs.tensor(floats(STEPS, 2, 3), requires_grad=True)),
    "kept-states": lambda: layer(checkpoint=2),
    "windows": windows,
    "anew": anew,
    "attention": translator,
    "decoder": lambda: translator(attention=False),
    "heads": itself,
    "frozen": frozen,
    "by-hand": by_hand,
    "rerun": rerun,
}


def recorded(run: str, composed: bool):
    with tgs.composed() if composed else tgs.enable_grad():
        return RUNS[run]()


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("run", RUNS)
def test_a_drawing_is_the_same_before_and_after_backward(run, composed):
    loss = recorded(run, composed)
    before = texts(loss)
    loss.backward(retain_graph=True)
    assert texts(loss) == before
    loss.backward()
    assert texts(loss) == before


@pytest.mark.parametrize("composed", [False, True])
def test_a_drawing_is_the_same_when_the_buffers_of_a_run_are_written_over(composed):
    x, h0 = floats(STEPS, 2, 3), np.zeros((1, 2, 4), np.float32)
    with tgs.composed() if composed else tgs.enable_grad():
        y, _ = nn.RNN(3, 4, rng=generator())(x, h0)
    before = texts(y.sum())
    assert "starts at zero" in before["unrolled", "module"]
    x[:], h0[:] = 0, 1
    assert texts(y.sum()) == before


@pytest.mark.parametrize("composed", [False, True])
def test_a_drawing_is_the_same_when_its_model_is_gone(composed):
    model, ids = Model("LSTM", 2), tokens(STEPS)
    own = tgs.tensor(2.0, requires_grad=True)
    own.name = "temperature"
    with tgs.composed() if composed else tgs.enable_grad():
        loss = tgs.cross_entropy(model(ids)[0] * own, ids)
    before = texts(loss)
    for name in ("weight_xh_l1", "weight_hh_l1", "bias_l1", "temperature"):
        assert name in before["unrolled", "module"]
    gone = weakref.ref(model)
    del model, own
    gc.collect()
    assert gone() is None
    assert texts(loss) == before


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize(("state", "word"), [(0.0, "starts at zero"), (0.5, "carried in")])
def test_what_a_run_starts_from_is_said(state, word, composed):
    h0 = np.full((1, 2, 4), state, np.float32)
    with tgs.composed() if composed else tgs.enable_grad():
        loss = layer("RNN", state=nn.RNNState(tgs.tensor(h0)))
    loss.backward()
    assert word in viz.draw(loss).dot


def test_a_drawing_that_reads_saved_values_would_be_found_out(monkeypatch):
    """Planted: what is noted of constants, and weights that are shown, go with the rest."""
    free = Node.free

    def forgetful(node):
        free(node)
        node.kept = None
        if hasattr(node, "constants"):
            node.constants = tuple(
                None if note is None else note._replace(zero=False) for note in node.constants
            )

    monkeypatch.setattr(Node, "free", forgetful)
    for run in ("lstm", "attention"):
        loss = recorded(run, False)
        before = texts(loss)
        loss.backward()
        assert texts(loss) != before


def test_only_what_attention_looked_at_outlives_backward():
    loss = recorded("attention", False)
    loss.backward()
    done = [node for node in nodes_behind([loss.node]) if node.op is not None]
    assert {node.role for node in done if node.shown is not None} == {"weights"}
    assert {node.role for node in done if hasattr(node, "kept")} == {"weights"}
    assert all(node.inputs is node.out is node.residuals is None for node in done)


def test_weights_too_many_to_keep_are_drawn_from_a_trace_alone(monkeypatch):
    monkeypatch.setattr(nodes, "MOST_SHOWN", 7)  # a step's are (2, 1, 4)
    trace = viz.Trace()
    with tgs.observe(trace):
        loss = recorded("attention", True)
    for _ in range(2):
        assert "edge-attention" not in viz.draw(loss).dot
        assert "edge-attention" in viz.draw(loss, trace=trace).dot
        if not loss.node.freed:
            loss.backward()
