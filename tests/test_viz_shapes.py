"""Models of other shapes come out recognisably: where things stand says what the model does."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.drawn import crossed
from tests.test_viz_golden import check
from tests.viz_models import Model, composed_loss
from tinygrad_seq import nn, viz


class ManyToOne(nn.Module):
    """Only the last hidden state is read."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = nn.LSTM(3, 4, num_layers=2, dropout=0.3, rng=rng)
        self.head = nn.Linear(4, 2, rng=rng)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


class Seq2Seq(nn.Module):
    """A decoder that starts from the encoder's last state."""

    def __init__(self, layers=1):
        super().__init__()
        rng = np.random.default_rng(0)
        self.encoder = nn.LSTM(5, 4, num_layers=layers, rng=rng)
        self.decoder = nn.LSTM(5, 4, num_layers=layers, rng=rng)
        self.head = nn.Linear(4, 5, rng=rng)

    def forward(self, source, target):
        _, state = self.encoder(source)
        return self.head(self.decoder(target, state)[0])


class Attention(nn.Module):
    """A decoder that reads the whole memory at every step."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.encoder, self.decoder = nn.RNN(5, 4, rng=rng), nn.RNN(5, 4, rng=rng)
        self.head = nn.Linear(8, 5, rng=rng)

    def forward(self, source, target):
        memory, state = self.encoder(source)
        y, _ = self.decoder(target, state)
        out = []
        for t in range(len(target)):
            with tgs.scope(path="attention", step=t):
                weights = tgs.softmax((memory * y[t]).sum(-1), axis=0).tag("attention")
                context = (tgs.expand_dims(weights, -1) * memory).sum(0).tag("context")
                both = tgs.concatenate([y[t], context], axis=-1)
            with tgs.scope(step=t):
                out.append(self.head(both).tag("logits"))
        return tgs.stack(out)


class Embedded(nn.Module):
    """An embedding of the whole sequence, and an initial state that is trained."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.emb, self.rnn = nn.Embedding(5, 3, rng=rng), nn.RNN(3, 4, rng=rng)
        self.h0 = nn.Parameter(np.zeros((1, 1, 4), np.float32))

    def forward(self, ids):
        return self.rnn(self.emb(ids), nn.RNNState(tgs.broadcast_to(self.h0, (1, 2, 4))))[0]


def place(drawing: viz.Drawing, name: str) -> tuple[float, float, float]:
    """Centre and width of a node, in points."""
    found = re.search(
        rf'^\s*"{re.escape(name)}" \[pos="([-\d.]+),([-\d.]+)", width=([\d.]+)', drawing.dot, re.M
    )
    assert found is not None, name
    x, y, width = map(float, found.groups())
    return x, y, width * 72


def ids(steps: int) -> np.ndarray:
    return np.arange(steps * 2).reshape(steps, 2) % 5


CASES = {
    "many-to-one": (ManyToOne, (np.ones((3, 2, 3), np.float32),)),
    "seq2seq": (Seq2Seq, (ids(3), ids(4))),
    "attention": (Attention, (ids(3), ids(4))),
    "embedded": (Embedded, (ids(3),)),
}


@pytest.mark.parametrize("name", CASES)
def test_shape_is_the_golden_one(name):
    kind, inputs = CASES[name]
    model = kind()  # norms differ from machine to machine; draw the structure alone
    with tgs.composed():
        out = model(*inputs)
    check(f"shape-{name}", viz.draw(out).dot)


def test_many_to_one_reads_the_last_step_only():
    drawing = viz.draw_model(ManyToOne(), np.ones((3, 2, 3), np.float32))
    assert place(drawing, "head")[0] == place(drawing, "rnn[1]@2")[0]
    dropout = place(drawing, "rnn.dropout[1]:before")
    assert dropout[2] > place(drawing, "rnn[0]@2")[0] - place(drawing, "rnn[0]@0")[0]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("level", ["module", "cell"])
def test_decoder_stands_to_the_right_of_the_encoder_at_the_same_height(layers, level):
    drawing = viz.draw_model(Seq2Seq(layers), ids(3), ids(4), level=level)
    part = "" if level == "module" else ":h"
    for layer in range(layers):
        last = place(drawing, f"encoder[{layer}]@2{part}")
        first = place(drawing, f"decoder[{layer}]@0{part}")
        assert first[0] > last[0]
        assert first[1] == last[1]
    assert "✂" not in drawing.dot
    assert "decoder: t = 0" in drawing.dot


def test_attention_reads_the_memory_from_the_right_of_the_encoder():
    drawing = viz.draw_model(Attention(), ids(3), ids(4))
    assert place(drawing, "attention@0")[0] == place(drawing, "decoder[0]@0")[0]
    assert place(drawing, "attention@0")[1] > place(drawing, "decoder[0]@0")[1]
    assert drawing.dot.count('"encoder[0]:before" -> "attention@') == 4


def test_trained_initial_state_is_named_where_zeros_would_stand():
    drawing = viz.draw_model(Embedded(), ids(3))
    assert "h₋₁ = h0" in drawing.dot
    assert place(drawing, "emb:before")[1] < place(drawing, "rnn[0]@0")[1]


class Bidirectional(nn.Module):
    """Two directions under one sum, by hand: the second runs from the last step to the first."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.there, self.back = nn.RNNCell(5, 4, rng=rng), nn.RNNCell(5, 4, rng=rng)

    def forward(self, ids):
        sides = []
        for cell, steps in ((self.there, range(3)), (self.back, reversed(range(3)))):
            h, found = None, {}
            for t in steps:
                with tgs.scope(layer=0, step=t):
                    h = found[t] = cell(ids[t], h)
            sides.append(tgs.stack([found[t] for t in range(3)]))
        return tgs.concatenate(sides, axis=-1).sum()


@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_two_directions_stand_above_one_another_below_what_joins_them(level):
    drawing = viz.draw_model(Bidirectional(), ids(3), level=level)
    assert overlaps(drawing) == []
    part = {"module": "", "cell": ":h", "op": ":h"}[level]
    there, back = (place(drawing, f"{name}[0]@1{part}") for name in ("there", "back"))
    assert there[1] < back[1]
    joined = re.search(r'^":sum[^"]*" \[pos="[-\d.]+,([-\d.]+)"', drawing.dot, re.M)
    assert joined is not None and float(joined.group(1)) > back[1]


def overlaps(drawing: viz.Drawing) -> list[tuple[str, str]]:
    """Pairs of shapes that share ink; swatches of the key touch, and a cell holds its stripes."""
    boxes = [
        (name, *map(float, numbers))
        for name, *numbers in re.findall(
            r'^\s*"([^"]+)" \[pos="([-\d.]+),([-\d.]+)", width=([\d.]+), height=([\d.]+)',
            drawing.dot,
            re.M,
        )
    ]
    found = []
    for i, (name, x, y, w, h) in enumerate(boxes):
        for other, u, v, w2, h2 in boxes[:i]:
            apart = abs(x - u) >= 36 * (w + w2) - 1 or abs(y - v) >= 36 * (h + h2) - 1
            inside = abs(x - u) <= 36 * (w2 - w) and abs(y - v) <= 36 * (h2 - h)
            stripe = inside and name in {f"{other}#h", f"{other}#c"}
            if not apart and not stripe and not name.startswith("key:"):
                found.append((name, other))
    return found


@pytest.mark.parametrize("view", ["unrolled", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("name", CASES)
def test_no_shapes_overlap_in_models_of_other_shapes(name, level, view):
    kind, inputs = CASES[name]
    assert overlaps(viz.draw_model(kind(), *inputs, level=level, view=view)) == []


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("weights", ["once", "labels"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_no_shapes_overlap_in_any_view(level, view, weights, traced):
    model = Model("LSTM", 2)
    trace = viz.Trace() if traced else None
    _, state = composed_loss(model, 2)
    loss, _ = composed_loss(model, 6, state.detach(), trace)
    options = {"view": view, "level": level, "weights": weights, "trace": trace}
    assert overlaps(viz.draw(loss, **options)) == []
    if level == "module" and view != "rolled":
        assert overlaps(viz.draw(loss, **options, direction="both")) == []


@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize(("kind", "loops"), [(nn.GRU, 2), (nn.LSTM, 3)])
def test_all_that_a_decoder_feeds_back_goes_round_on_a_loop_of_its_own(kind, loops, level):
    rng = np.random.default_rng(0)
    decoder = nn.Decoder(
        kind(4 + 3, 3, rng=rng), None, nn.DotAttention(), attend="feeding", rng=rng
    )
    model = nn.Seq2Seq(kind(4, 3, rng=rng), decoder, rng=rng)
    tokens = np.zeros((3, 2), int), np.zeros((4, 2), int)
    drawing = viz.draw_model(model, *tokens, view="rolled", depth=1, level=level)
    assert overlaps(drawing) == []
    delays = re.findall(r'^\s*"(delay:decoder@t[^"]*)" \[pos', drawing.dot, re.M)
    assert len(delays) == loops
    assert [through for *_, through in crossed(drawing) if through in delays] == []
    ways = re.findall(r'"delay:decoder@t[^"]*" -> "decoder@t" \[pos="([^"]*)"', drawing.dot)
    assert len(set(ways)) == loops
    names = re.findall(r'-> "delay:decoder@t[^"]*" \[[^\n]* lp="([^"]*)"', drawing.dot)
    assert len(set(names)) == loops
