"""Attention in drawings: the opacity of every line is a recorded weight, or there is no line."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from demos.lab.by_hand import translator as translator_by_hand
from tests.drawn import crossed, looked_through, wires
from tests.test_viz_golden import check
from tests.test_viz_shapes import overlaps, place
from tinygrad_seq import nn, viz
from tinygrad_seq.engine import node as nodes
from tinygrad_seq.errors import ConfigError, NonFiniteError, RenderError, ShapeError
from tinygrad_seq.viz import trace as tracing
from tinygrad_seq.viz.picture.style import _luminance

LINE = re.compile(
    r'^"([^"]+)" -> "([^"]+)" \[.*color="#[0-9a-f]{6}([0-9a-f]{2})".*'
    r'tooltip="attention of ([^"]+) to ([^"]+): ([\d.]+)(?: … [\d.]+)?".*edge-attention',
    re.M,
)
KNOWN = np.array(
    [[[0.70, 0.20, 0.10], [0.05, 0.05, 0.90]], [[0.25, 0.50, 0.25], [0.60, 0.30, 0.10]]]
)  # (N, T, S)


def lines(drawing: viz.Drawing) -> dict[tuple[str, str], tuple[float, float]]:
    """Opacity and figure of every line, by query and step of the memory."""
    return {
        (query, step): (int(alpha, 16) / 255, float(figure))
        for _, _, alpha, query, step, figure in LINE.findall(drawing.dot)
    }


def scripted(mask=None, turned=False) -> tgs.Tensor:
    """Dot attention whose weights are KNOWN: orthonormal memories and queries log p."""
    memory = []
    scale = tgs.tensor(1.0, requires_grad=True, dtype=np.float64)
    for s in range(3):
        with tgs.scope(path="encoder", layer=0, step=s):
            row = np.zeros((2, 3))
            row[:, s] = 1
            memory.append((scale * row).tag("h"))
    kept = tgs.stack(memory)
    kept = kept[::-1] if turned else kept
    attend, out = nn.DotAttention(), []
    for t in range(2):
        with tgs.scope(path="decoder", step=t):
            context, _ = attend(
                np.log(KNOWN[:, t]), kept, mask=None if mask is None else mask[:, t]
            )
            out.append(context.sum())
    return tgs.stack(out).sum()


def model(attention, kind="GRU", both=False, layers=1):
    rng = np.random.default_rng(0)
    wide = 8 if both else 4
    layer = getattr(nn, kind)
    encoder = layer(5, 4, layers, bidirectional=both, rng=rng)
    decoder = nn.Decoder(layer(6, 4, layers, rng=rng), None, attention(wide, rng), wide, rng=rng)
    made = nn.Seq2Seq(encoder, decoder, rng=rng)
    for parameter in made.parameters():
        parameter.data = rng.standard_normal(parameter.shape).astype(np.float32)
    return made


def additive(wide, rng):
    return nn.AdditiveAttention(4, wide, 3, rng=rng)


def multiplicative(wide, rng):
    return nn.MultiplicativeAttention(4, wide, rng=rng)


def ids(steps):
    return np.arange(steps * 2).reshape(steps, 2) % 5


@pytest.mark.parametrize("sample", [0, 1])
@pytest.mark.parametrize("level", ["module", "cell"])
def test_known_weights_are_the_opacities(sample, level):
    found = lines(viz.draw(scripted(), sample=sample, level=level))
    assert len(found) == 6
    for t in range(2):
        for s in range(3):
            opacity, figure = found[f"t = {t}", f"t = {s}"]
            assert opacity == pytest.approx(KNOWN[sample, t, s], abs=0.5 / 255)
            assert figure == pytest.approx(KNOWN[sample, t, s], abs=5e-4)


def test_masked_steps_get_no_line():
    mask = np.ones((2, 2, 3), bool)
    mask[0, 0, 2] = mask[1, :, 0] = False
    left = np.where(mask, KNOWN, 0)
    left /= left.sum(axis=-1, keepdims=True)
    for sample in range(2):
        found = lines(viz.draw(scripted(mask), sample=sample))
        assert len(found) == np.count_nonzero(mask[sample])
        for (query, step), (_, figure) in found.items():
            t, s = int(query[-1]), int(step[-1])
            assert figure == pytest.approx(left[sample, t, s], abs=5e-4)


def test_a_memory_in_another_order_gets_no_lines_rather_than_wrong_ones():
    drawing = viz.draw(scripted(turned=True))
    assert lines(drawing) == {}
    assert "attention weight" not in drawing.dot


@pytest.mark.parametrize("attention", [additive, multiplicative])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("composed", [False, True])
def test_lines_of_a_real_model_are_the_weights_that_it_returned(attention, both, composed):
    translator = model(attention, both=both)
    with tgs.composed() if composed else tgs.enable_grad():
        decoded = translator(ids(3), ids(4), lengths=[3, 2])
    for sample in range(2):
        found = lines(viz.draw(decoded.logits, sample=sample))
        weights = decoded.weights.numpy()[sample]
        top = next((top for top in (0.1, 0.2, 0.5) if weights.max() <= top), 1.0)
        expected = {
            (f"t = {t}", f"t = {s}"): weights[t, s] for t, s in np.argwhere(weights).tolist()
        }
        assert found.keys() == expected.keys()
        for pair, (opacity, figure) in found.items():
            assert opacity == pytest.approx(expected[pair] / top, abs=0.6 / 255)
            assert figure == pytest.approx(expected[pair], abs=6e-4)


class Own(nn.Module):
    """Causal attention of a sequence to itself."""

    def __init__(self, dropout=0.0):
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = nn.RNN(5, 4, rng=rng)
        self.attend = nn.MultiheadAttention(4, 2, dropout, rng=rng)
        for parameter in self.parameters():
            parameter.data = rng.standard_normal(parameter.shape).astype(np.float32)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.attend(y, y, y, causal=True)


@pytest.mark.parametrize("head", [None, 0, 1])
def test_heads_are_averaged_or_picked_and_the_key_says_which(head):
    with tgs.composed():
        y, weights = Own()(ids(3))
    drawing = viz.draw(y, sample=1, head=head)
    rows = weights.numpy()[1]
    expected = rows.mean(axis=0) if head is None else rows[head]
    found = lines(drawing)
    assert len(found) == 6  # the lower triangle
    for (query, step), (_, figure) in found.items():
        assert figure == pytest.approx(expected[int(query[-1]), int(step[-1])], abs=6e-4)
    said = "mean of 2 heads" if head is None else f"head {head}"
    assert f"attention weight (row 1 of 2, {said}):" in drawing.dot


def test_weights_before_dropout_are_drawn():
    layer = Own(dropout=0.5)
    with tgs.composed():
        y, weights = layer(ids(3))
    rows = weights.numpy()[0].mean(axis=0)
    found = lines(viz.draw(y))
    assert layer.training and len(found) == 6
    for (query, step), (_, figure) in found.items():
        assert figure == pytest.approx(rows[int(query[-1]), int(step[-1])], abs=6e-4)


def test_weights_outlive_backward_and_a_trace_keeps_some_of_them(monkeypatch):
    translator = model(additive)
    for traced in (True, False):
        trace = viz.Trace()
        with tgs.composed(), tgs.observe(trace):
            decoded = translator(ids(3), ids(4))
            loss = tgs.cross_entropy(decoded.logits, ids(4))
            before = lines(viz.draw(loss))
            loss.backward()
        after = viz.draw(loss, trace=trace if traced else None)
        assert len(before) == 12
        assert lines(after) == before
        assert '"encoder[0]:before" -> "decoder.attention@' in after.dot
    monkeypatch.setattr(nodes, "MOST_SHOWN", 0)
    monkeypatch.setattr(tracing, "MOST_WEIGHTS", 7)  # room for one step's (2, 1, 3)
    trace = viz.Trace()
    with tgs.composed(), tgs.observe(trace):
        loss = tgs.cross_entropy(translator(ids(3), ids(4)).logits, ids(4))
        loss.backward()
    assert len(trace.weights) == 1
    assert {query for query, _ in lines(viz.draw(loss, trace=trace))} == {"t = 0"}


def test_weights_of_hidden_steps_are_summed_and_of_hidden_queries_a_range():
    translator = model(multiplicative)
    with tgs.composed():
        decoded = translator(ids(7), ids(6))
    drawing = viz.draw(decoded.logits, view="elided")
    weights = decoded.weights.numpy()[0]
    sums = weights[:, 2:6].sum(axis=1)
    found = lines(drawing)
    assert found["t = 0", "hidden steps together"][1] == pytest.approx(sums[0], abs=6e-4)
    assert found["t = 5", "hidden steps together"][1] == pytest.approx(sums[5], abs=6e-4)
    low, high = sums[2:5].min(), sums[2:5].max()
    assert f"attention of hidden steps to hidden steps together: {low:.3f} … {high:.3f}" in (
        drawing.dot
    )
    rolled = viz.draw(decoded.logits, view="rolled")
    assert lines(rolled) == {}


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("made", ["additive", "multiplicative", "by hand"])
def test_no_line_runs_behind_the_weights_of_what_reads(made, level, direction):
    if made == "by hand":
        out, names = translator_by_hand(3, 4)
    else:
        reader = model(additive if made == "additive" else multiplicative)
        with tgs.composed():
            out, names = reader(ids(3), ids(4)).logits, None
    drawing = viz.draw(out, level=level, direction=direction, names=names)
    assert wires(drawing, attention=True) and looked_through(drawing) == set()
    assert crossed(drawing) == set()


def test_reading_steps_of_a_decoder_stand_above_what_they_read():
    translator = model(additive, layers=2)
    drawing = viz.draw_model(translator, ids(3), ids(4))
    assert overlaps(drawing) == []
    top = place(drawing, "decoder.attention:before")[1]
    assert all(place(drawing, f"decoder.attention@{t}")[1] > top + 100 for t in range(4))


@pytest.mark.parametrize("option", [{"sample": 2}, {"sample": -1}, {"head": 2}])
def test_unknown_rows_and_heads_are_refused(option):
    with tgs.composed():
        y, _ = Own()(ids(3))
    (name,) = option
    with pytest.raises(ConfigError, match=f"draw: {name}(.|\n)*expected: 0 <= {name} < 2"):
        viz.draw(y, **option)


def test_drawing_of_known_weights_is_the_golden_one():
    check("attention-known", viz.draw(scripted()).dot)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_matrix_has_every_weight_in_its_place(theme):
    names = ['<"x">', "\\N", "猫"]
    drawing = viz.draw_alignment(KNOWN, names, ["a", "b"], sample=1, theme=theme)
    assert overlaps(drawing) == []
    left, low = place(drawing, "cell:0:0")[0], place(drawing, "cell:1:0")[1]
    fills = []
    for t in range(2):
        for s in range(3):
            x, y, _ = place(drawing, f"cell:{t}:{s}")
            assert (x > left) == (s > 0) and (y > low) == (t == 0)
            (cell,) = [line for line in drawing.dot.splitlines() if f'"cell:{t}:{s}" [' in line]
            assert f'label="{KNOWN[1, t, s]:.2f}"' in cell
            fills.append((KNOWN[1, t, s], re.search(r'fillcolor="(#\w+)"', cell)[1]))
    by_weight = [_luminance(fill) for _, fill in sorted(fills)]
    assert by_weight == sorted(by_weight, reverse=theme == "light")
    assert drawing.svg().count("猫") >= 1


def test_matrix_leaves_tiny_weights_blank_but_tells_them():
    (cell,) = re.findall(
        r'^"cell:0:1" .*$', viz.draw_alignment(np.array([[0.996, 0.004]])).dot, re.M
    )
    assert 'label=""' in cell and 'tooltip="0 to 1: 0.0040"' in cell
    dot = viz.draw_alignment(np.array([[10.0, 100.0, -0.001]])).dot  # no weights, but true
    assert 'label="10.00"' in dot and 'label="100.00"' in dot and 'label="-"' not in dot


def test_matrix_of_heads_padding_and_zeros():
    weights = np.stack([KNOWN, KNOWN[:, ::-1]], axis=1)  # (N, heads, T, S)
    weights[0, :, :, 2] = 0
    mean = viz.draw_alignment(weights, "ab").dot
    assert 'label="0.38"' in mean and "cell:0:2" not in mean  # (0.70 + 0.05) / 2
    assert 'label="0.70"' in viz.draw_alignment(weights, head=0).dot
    (blank,) = [
        line for line in viz.draw_alignment(weights).dot.splitlines() if '"cell:0:2"' in line
    ]
    assert 'label=""' in blank
    assert 'label="0.05"' in viz.draw_alignment(tgs.tensor(KNOWN[0])).dot


@pytest.mark.parametrize(
    ("weights", "options", "error", "said"),
    [
        (np.ones(3), {}, ShapeError, "weights"),
        (KNOWN, {"source": "abcd"}, ShapeError, "source(.|\n)*at most 3 names"),
        (KNOWN, {"target": "abc"}, ShapeError, "target(.|\n)*at most 2 names"),
        (KNOWN, {"sample": 2}, ConfigError, "0 <= sample < 2"),
        (KNOWN[None], {"head": 2}, ConfigError, "0 <= head < 2"),
        (KNOWN, {"head": 0}, ConfigError, "head, of weights without(.|\n)*leave head= out"),
        (KNOWN, {"theme": "pink"}, ConfigError, "draw_alignment: theme"),
        (np.ones((100, 100)), {}, RenderError, "4,096"),
        (np.array([[1.0, 0.0], [0.0, np.nan]]), {}, NonFiniteError, "nan of row 1, column 1"),
    ],
)
def test_matrices_that_cannot_be_drawn_are_explained(weights, options, error, said):
    with pytest.raises(error, match=said):
        viz.draw_alignment(weights, **options)
