"""Encoder and decoder, and making sequences: against enumeration, loops and single rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ConfigError, IndexRangeError

START, END = 0, 1
FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))


def build(kind, attention, both, attend, rng, vocab=4, hidden=5):
    made = {"rng": rng, "dtype": np.float64}
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
    wide = 2 * hidden if both else hidden
    score = {
        None: lambda: None,
        "additive": lambda: nn.AdditiveAttention(hidden, wide, 3, **made),
        "multiplicative": lambda: nn.MultiplicativeAttention(hidden, wide, **made),
    }[attention]()
    inner = layer(vocab + nn.Decoder.fed_size_of(attend, hidden, wide), hidden, 2, **made)
    decoder = nn.Decoder(inner, None, score, wide, attend=attend, rng=rng)
    model = nn.Seq2Seq(layer(3, hidden, 2, bidirectional=both, **made), decoder, rng=rng)
    for parameter in model.parameters():  # far from symmetric: choices are clear
        parameter.data = 1.2 * rng.standard_normal(parameter.shape)
    return model


@st.composite
def models(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kind = draw(st.sampled_from(["rnn", "lstm", "gru"]))
    attention = draw(st.sampled_from([None, "additive", "multiplicative"]))
    attend = draw(st.sampled_from(["after", "feeding", "before"])) if attention else "after"
    model = build(kind, attention, draw(st.booleans()), attend, rng)
    source = rng.integers(0, 3, (4, 2))
    return model, source, rng.integers(1, 5, 2), rng


def log_probability(model, source, lengths, tokens):
    """Of target tokens (T, 1) by teacher forcing."""
    inputs = np.concatenate([[[START]], tokens[:-1]])
    with tgs.no_grad():
        logits = model(source, inputs, lengths=lengths).logits
        scores = tgs.log_softmax(logits).numpy()
    return sum(scores[t, 0, tokens[t, 0]] for t in range(len(tokens)))


@FEWER
@given(models())
def test_padded_sources_equal_each_row_alone(drawn):
    model, source, lengths, rng = drawn
    inputs = rng.integers(0, 4, (3, 2))
    whole = model(source, inputs, lengths=lengths)
    for n, length in enumerate(lengths):
        alone = model(source[:length, n : n + 1], inputs[:, n : n + 1])
        np.testing.assert_allclose(
            whole.logits.numpy()[:, n], alone.logits.numpy()[:, 0], rtol=1e-9, atol=1e-11
        )
        if whole.weights is not None:
            weights = whole.weights.numpy()[n]
            assert not weights[:, length:].any()
            np.testing.assert_allclose(weights[:, :length], alone.weights.numpy()[0], atol=1e-12)


@FEWER
@given(models())
def test_greedy_generation_follows_the_likeliest_token(drawn):
    model, source, lengths, _ = drawn
    made = model.generate(source, START, lengths=lengths, end=END, max_steps=5)
    for n in range(2):
        row, kept = slice(n, n + 1), lengths[n : n + 1]
        inputs = [START]
        for t in range(made.lengths[n]):
            given_ = np.array(inputs)[:, None]
            logits = model(source[:, row], given_, lengths=kept).logits.numpy()
            assert made.tokens[t, n] == logits[-1, 0].argmax()
            inputs.append(int(made.tokens[t, n]))
        assert (END in inputs[1:]) == (inputs[-1] == END)
        tokens = made.tokens[: made.lengths[n], row]
        expected = log_probability(model, source[:, row], kept, tokens)
        assert made.log_probability[n] == pytest.approx(expected, rel=1e-9, abs=1e-10)


@FEWER
@given(models(), st.sampled_from([0.0, 1.0]))
def test_a_wide_beam_finds_the_best_of_all_sequences(drawn, penalty):
    model, source, lengths, _ = drawn
    steps = 3
    made = model.beam_search(
        source, START, end=END, width=64, lengths=lengths, max_steps=steps, length_penalty=penalty
    )
    whole = [
        body + ending
        for size in range(steps + 1)
        for body in itertools.product([0, 2, 3], repeat=size)
        for ending in ([()] if size == steps else [(END,)])
    ]
    for n in range(2):
        row, kept = slice(n, n + 1), lengths[n : n + 1]
        scores = [
            log_probability(model, source[:, row], kept, np.array(s)[:, None]) / len(s) ** penalty
            for s in whole
        ]
        best = whole[int(np.argmax(scores))]
        assert tuple(made.tokens[: made.lengths[n], n]) == best
        score = made.log_probability[n] / made.lengths[n] ** penalty
        assert score == pytest.approx(max(scores), rel=1e-9)


@FEWER
@given(models())
def test_a_beam_of_one_is_greedy_and_wider_is_no_worse(drawn):
    model, source, lengths, _ = drawn
    greedy = model.generate(source, START, lengths=lengths, end=END, max_steps=6)
    one = model.beam_search(source, START, end=END, width=1, lengths=lengths, max_steps=6)
    np.testing.assert_array_equal(one.tokens, greedy.tokens)
    np.testing.assert_allclose(one.log_probability, greedy.log_probability, rtol=1e-9)


def test_draws_follow_the_softmax_at_a_temperature():
    logits = np.array([0.0, 1.0, 2.0])
    rng = np.random.default_rng(0)
    for temperature in (0.5, 2.0):
        made = nn.generate(
            lambda tokens, state: (tgs.tensor(np.tile(logits, (len(tokens), 1))), state),
            None,
            20_000,
            START,
            max_steps=1,
            temperature=temperature,
            rng=rng,
        )
        found = np.bincount(made.tokens[0], minlength=3) / 20_000
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        np.testing.assert_allclose(found, expected, atol=0.015)  # four standard deviations


@pytest.mark.parametrize("attend", [None, "after", "feeding", "before"])
def test_reversing_short_sequences_is_learnt(attend):
    """Seeded; from log 5 nats per token to almost every sequence right."""
    rng = np.random.default_rng(3)
    made = {"rng": rng}
    attention = nn.AdditiveAttention(24, 24, 16, **made) if attend else None
    when = attend or "after"
    layer = nn.GRU(5 + nn.Decoder.fed_size_of(when, 24), 24, **made)
    decoder = nn.Decoder(layer, None, attention, attend=when, **made)
    model = nn.Seq2Seq(nn.GRU(5, 24, **made), decoder, **made)
    optimizer = optim.Adam(model.parameters(), lr=0.02)

    def batch(count):
        lengths = rng.integers(1, 4, count)
        source, target = np.full((3, count), 4), np.full((4, count), -100)
        for n, length in enumerate(lengths):
            source[:length, n] = rng.integers(2, 5, length)
            target[:length, n] = source[:length, n][::-1]
            target[length, n] = END
        inputs = np.concatenate([np.full((1, count), START), np.maximum(target[:-1], 0)])
        return source, lengths, inputs, target

    for _ in range(150):
        source, lengths, inputs, target = batch(32)
        loss = tgs.cross_entropy(model(source, inputs, lengths=lengths).logits, target)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    source, lengths, _, target = batch(100)
    made = model.generate(source, START, lengths=lengths, end=END, max_steps=4)
    right = [
        list(made.tokens[: made.lengths[n], n]) == [t for t in target[:, n] if t >= 0]
        for n in range(100)
    ]
    assert np.mean(right) > 0.9
    beam = model.beam_search(source, START, end=END, width=3, lengths=lengths, max_steps=4)
    assert (beam.log_probability >= made.log_probability - 1e-3).mean() > 0.95


def test_bad_wirings_are_explained():
    rng = np.random.default_rng(0)
    lstm, gru = nn.LSTM(5, 4, rng=rng), nn.GRU(5, 4, rng=rng)
    with pytest.raises(ConfigError, match="different states"):
        nn.Seq2Seq(gru, nn.Decoder(lstm, rng=rng))
    with pytest.raises(ConfigError, match="one direction"):
        nn.Decoder(nn.GRU(5, 4, bidirectional=True, rng=rng))
    decoder = nn.Decoder(gru, None, nn.DotAttention(), rng=rng)
    with pytest.raises(ConfigError, match="without a memory"):
        decoder(np.zeros((2, 1), int))
    model = nn.Seq2Seq(nn.GRU(5, 4, rng=rng), decoder)
    source = np.zeros((3, 2), int)
    with pytest.raises(IndexRangeError, match="0 <= length <= 3"):
        model.generate(source, START, lengths=[4, 1])
    with pytest.raises(ConfigError, match="source of randomness"):
        model.generate(source, START, temperature=1.0)
    with pytest.raises(ConfigError, match="temperature"):
        model.generate(source, START, temperature=-1.0)
    with pytest.raises(ConfigError, match=r"max_steps[\s\S]*positive integer"):
        model.beam_search(source, START, end=END, width=1, max_steps=0)


def flat(state):
    """The tensors of a state, whatever nests in it."""
    return [state] if isinstance(state, tgs.Tensor) else [x for part in state for x in flat(part)]


@FEWER
@given(models())
def test_composed_gives_the_same_step_by_step(problem):
    model, source, lengths, _ = problem
    target = np.array([[0, 0], [1, 2], [3, 1]])
    whole = model(source, target, lengths=lengths)
    with tgs.composed():
        stepwise = model(source, target, lengths=lengths)
    np.testing.assert_allclose(stepwise.logits.numpy(), whole.logits.numpy(), rtol=1e-10)
    for a, b in zip(flat(whole.state), flat(stepwise.state), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)
    if whole.weights is not None:
        np.testing.assert_allclose(stepwise.weights.numpy(), whole.weights.numpy(), rtol=1e-10)


def test_readouts_fit_a_projected_state():
    """With proj_size, h is shorter than hidden_size, and the readouts read h."""
    rng = np.random.default_rng(0)
    x = np.zeros((3, 2), int)

    def layer(**options):
        return nn.LSTM(5, 8, proj_size=3, rng=rng, **options)

    tagger = nn.ManyToMany(layer(bidirectional=True), 4, rng=rng)
    assert tagger(x)[0].shape == (3, 2, 4) and tagger.head.weight.shape == (6, 4)
    assert nn.ManyToOne(layer(num_layers=2), 4, rng=rng)(x).shape == (2, 4)
    decoder = nn.Decoder(layer(), None, nn.DotAttention(), 3, rng=rng)
    memory = tgs.tensor(np.zeros((6, 2, 3), np.float32))
    assert decoder(x, memory=memory).logits.shape == (3, 2, 5)
