"""The wirings around one layer: every row as if alone, every step as the formula says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError

START, END = 0, 1
FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


def scattered(model, rng):
    """The model with weights far from zero and from each other."""
    for parameter in model.parameters():
        parameter.data = rng.standard_normal(parameter.shape)
    return model


@st.composite
def layers(draw):
    """A recurrent layer in float64, a padded batch for it, and the lengths of its rows."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    layer = KINDS[draw(st.sampled_from(sorted(KINDS)))](
        3,
        4,
        draw(st.integers(1, 2)),
        bidirectional=draw(st.booleans()),
        rng=rng,
        dtype=np.float64,
    )
    steps, rows = draw(st.integers(2, 5)), draw(st.integers(1, 3))
    return layer, rng.standard_normal((steps, rows, 3)), rng.integers(1, steps + 1, rows), rng


def total_of_rows(run, model, lengths):
    """Gradients of the parameters, summed over losses of single rows."""
    total = [np.zeros(parameter.shape) for parameter in model.parameters()]
    for n in range(len(lengths)):
        found = tgs.grad(run(slice(n, n + 1), lengths[n]), list(model.parameters()))
        total = [a + b.numpy() for a, b in zip(total, found, strict=True)]
    return total


@FEWER
@given(layers(), st.booleans())
def test_many_to_one_is_each_row_alone(drawn, bias):
    layer, x, lengths, rng = drawn
    model = scattered(nn.ManyToOne(layer, 5, bias, rng=rng), rng)
    classes = rng.integers(0, 5, len(lengths))
    padded = x.copy()
    for n, length in enumerate(lengths):
        padded[length:, n] = np.nan  # never read
    logits = model(padded, lengths=lengths)
    loss = tgs.cross_entropy(logits, classes, reduction="sum")

    for n, length in enumerate(lengths):
        y, _ = layer(x[:length, n : n + 1])
        last, size = y.numpy()[:, 0], layer.hidden_size
        read = last[-1] if layer.directions == 1 else np.append(last[-1, :size], last[0, size:])
        expected = read @ model.head.weight.numpy()
        expected = expected + model.head.bias.numpy() if bias else expected
        np.testing.assert_allclose(logits.numpy()[n], expected, **CLOSE)

    def alone(rows, length):
        return tgs.cross_entropy(model(x[:length, rows]), classes[rows], reduction="sum")

    found = tgs.grad(loss, list(model.parameters()))
    for a, b in zip(found, total_of_rows(alone, model, lengths), strict=True):
        np.testing.assert_allclose(a.numpy(), b, **CLOSE)


@FEWER
@given(layers(), st.booleans())
def test_many_to_many_is_each_row_alone(drawn, bias):
    layer, x, lengths, rng = drawn
    model = scattered(nn.ManyToMany(layer, 2, bias, rng=rng), rng)
    weights = rng.standard_normal((*x.shape[:2], 2))
    logits, state = model(x, lengths=lengths)
    outside = model.head.bias.numpy() if bias else np.zeros(2)
    for n, length in enumerate(lengths):
        y, last = layer(x[:length, n : n + 1])
        expected = y.numpy()[:, 0] @ model.head.weight.numpy() + outside  # y_t = W_hy h_t
        np.testing.assert_allclose(logits.numpy()[:length, n], expected, **CLOSE)
        np.testing.assert_array_equal(
            logits.numpy()[length:, n], np.tile(outside, (len(x) - length, 1))
        )
        np.testing.assert_allclose(state.h.numpy()[:, n], last.h.numpy()[:, 0], **CLOSE)

    valid = (np.arange(len(x))[:, None] < lengths)[..., None]  # padding is no part of the loss

    def alone(rows, length):
        return (model(x[:length, rows])[0] * weights[:length, rows]).sum()

    found = tgs.grad((logits * (weights * valid)).sum(), list(model.parameters()))
    for a, b in zip(found, total_of_rows(alone, model, lengths), strict=True):
        np.testing.assert_allclose(a.numpy(), b, **CLOSE)


@st.composite
def writers(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    layer = kind(4, 5, draw(st.integers(1, 2)), rng=rng, dtype=np.float64)
    model = scattered(nn.OneToMany(3, nn.Decoder(layer, rng=rng), rng=rng), rng)
    return model, rng.standard_normal((2, 3)), rng


def log_probability(model, vector, tokens):
    """Of tokens written from one vector, by teacher forcing."""
    given_ = np.array([START, *tokens[:-1]])[:, None]
    with tgs.no_grad():
        scores = tgs.log_softmax(model(vector[None], given_).logits).numpy()
    return float(scores[np.arange(len(tokens)), 0, list(tokens)].sum())


@FEWER
@given(writers())
def test_one_to_many_starts_from_the_vector(drawn):
    """Teacher forcing is the layer from tanh(v W + b), row by row; gradients reach the vector."""
    model, values, rng = drawn
    layer, ids = model.decoder.recurrent, rng.integers(0, 4, (3, 2))
    vector = tgs.tensor(values, requires_grad=True)
    logits = model(vector, ids).logits
    parts = len(layer.state_type._fields)
    flat = np.tanh(values @ model.start.weight.numpy() + model.start.bias.numpy())
    flat = flat.reshape(2, parts, layer.num_layers, 5).transpose(1, 2, 0, 3)
    y, _ = layer(ids, layer.state_type(*map(tgs.tensor, flat)))
    head = model.decoder.head
    expected = y.numpy() @ head.weight.numpy() + head.bias.numpy()
    np.testing.assert_allclose(logits.numpy(), expected, **CLOSE)

    slope = tgs.grad(logits[:, 0].sum(), vector, retain_graph=True).numpy()
    assert slope[0].any() and not slope[1].any()
    weights = rng.standard_normal(logits.shape)
    found = tgs.grad((logits * weights).sum(), vector).numpy()
    direction = rng.standard_normal(values.shape)
    with tgs.no_grad():
        ends = [(model(values + e * direction, ids).logits * weights).sum() for e in (1e-6, -1e-6)]
    measured = (ends[0].item() - ends[1].item()) / 2e-6
    assert np.sum(found * direction) == pytest.approx(measured, rel=1e-5, abs=1e-7)


@FEWER
@given(writers(), st.sampled_from([0.0, 1.0]))
def test_one_to_many_writes_greedily_and_a_wide_beam_finds_the_best_of_all(drawn, penalty):
    model, values, _ = drawn
    greedy = model.generate(values, START, end=END, max_steps=3)
    one = model.beam_search(values, START, end=END, width=1, max_steps=3)
    np.testing.assert_array_equal(one.tokens, greedy.tokens)
    best = model.beam_search(values, START, end=END, width=64, max_steps=3, length_penalty=penalty)
    whole = [
        body + ending
        for size in range(4)
        for body in itertools.product([0, 2, 3], repeat=size)
        for ending in ([()] if size == 3 else [(END,)])
    ]
    for n, vector in enumerate(values):
        tokens = greedy.tokens[: greedy.lengths[n], n]
        given_ = np.array([START, *tokens[:-1]])[:, None]
        likeliest = model(vector[None], given_).logits.numpy()[:, 0].argmax(axis=-1)
        np.testing.assert_array_equal(tokens, likeliest)
        scores = [log_probability(model, vector, s) / len(s) ** penalty for s in whole]
        assert tuple(best.tokens[: best.lengths[n], n]) == whole[int(np.argmax(scores))]
        found = best.log_probability[n] / best.lengths[n] ** penalty
        assert found == pytest.approx(max(scores), rel=1e-9)


def test_making_sequences_drops_nothing_and_keeps_the_mode():
    rng = np.random.default_rng(0)
    writer = nn.Decoder(nn.GRU(6, 8, 2, dropout=0.5, rng=rng), rng=rng)
    translator = nn.Seq2Seq(nn.GRU(4, 8, 2, dropout=0.5, rng=rng), writer, rng=rng)
    source = rng.integers(0, 4, (5, 3))
    describer = nn.OneToMany(4, writer, rng=rng)
    vector = rng.standard_normal((3, 4)).astype(np.float32)
    for model, given_ in ((translator, source), (describer, vector)):
        for write in (
            lambda m=model, g=given_: m.generate(g, start=0, max_steps=6),
            lambda m=model, g=given_: m.beam_search(g, start=0, end=1, width=3, max_steps=6),
        ):
            one, other = write(), write()
            np.testing.assert_array_equal(one.log_probability, other.log_probability)
            assert all(module.training for module in model.modules())


def test_bad_wirings_are_explained():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="time-major"):
        nn.ManyToOne(nn.GRU(5, 4, batch_first=True, rng=rng), 3)
    attends = nn.Decoder(nn.GRU(5, 4, rng=rng), None, nn.DotAttention(), rng=rng)
    with pytest.raises(ConfigError, match="no attention"):
        nn.OneToMany(3, attends, rng=rng)
    writer = nn.OneToMany(3, nn.Decoder(nn.GRU(5, 4, rng=rng), rng=rng), rng=rng)
    with pytest.raises(ConfigError, match="width"):
        writer.beam_search(np.zeros((2, 3), np.float32), START, end=END, width=0)
