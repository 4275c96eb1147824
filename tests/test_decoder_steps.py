"""Decoders whose attention goes into the next step, against loops over rows, steps and numbers."""

from __future__ import annotations

import inspect
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.test_viz_attention import lines
from tests.test_viz_shapes import overlaps
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.nn import decoder as room

FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))
V, H, M, LAYERS = 4, 3, 2, 2
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
ATTENTIONS = {
    "additive": lambda **made: nn.AdditiveAttention(H, M, 3, **made),
    "multiplicative": lambda **made: nn.MultiplicativeAttention(H, M, **made),
}


def build(rng, attend, kind="lstm", attention="additive", dtype=np.float64):
    made = {"rng": rng, "dtype": dtype}
    layer = KINDS[kind](V + nn.Decoder.fed_size_of(attend, H, M), H, LAYERS, **made)
    found = ATTENTIONS[attention](**made)
    decoder = nn.Decoder(layer, None, found, M, attend=attend, rng=rng)
    for parameter in decoder.parameters():
        parameter.data = rng.standard_normal(parameter.shape).astype(dtype)
    return decoder


# -- the oracle: one row, one step, one number of the memory at a time -----------------------------


def sigma(z):
    return 1 / (1 + np.exp(-z))


def cell(kind, layer, k, x, h, c):
    """One step of one layer for one row."""
    weight_xh, weight_hh, bias = (w.numpy() for w in layer.layer_weights(k))
    a, b = x @ weight_xh + bias, h @ weight_hh
    if kind == "rnn":
        return np.tanh(a + b), c
    if kind == "lstm":
        i, f, o, g = np.split(a + b, 4)
        c = sigma(f) * c + sigma(i) * np.tanh(g)
        return sigma(o) * np.tanh(c), c
    r, z = sigma((a + b)[: 2 * H].reshape(2, H))
    n = np.tanh(a[2 * H :] + r * (b[2 * H :] + getattr(layer, f"bias_hn_l{k}").numpy()))
    return (1 - z) * n + z * h, c


def score(attention, q, m):
    if isinstance(attention, nn.MultiplicativeAttention):
        return q @ (m @ attention.weight.numpy())
    inner = q @ attention.query.weight.numpy() + m @ attention.memory.weight.numpy()
    return attention.v.numpy() @ np.tanh(inner + attention.memory.bias.numpy())


def looked_up(attention, q, memory):
    """Of one row's valid memory (S, M)."""
    scores = np.array([score(attention, q, m) for m in memory])
    weights = np.exp(scores - scores.max(initial=-np.inf))
    weights = weights / weights.sum() if len(memory) else weights
    return sum((w * m for w, m in zip(weights, memory, strict=True)), np.zeros(M)), weights


def by_hand(kind, decoder, tokens, state, memory, lengths):
    """Logits (T, N, V) and weights (N, T, S)."""
    logits = np.zeros((*tokens.shape, V))
    weights = np.zeros((tokens.shape[1], len(tokens), len(memory)))
    for n in range(tokens.shape[1]):
        hs = [state[0][k, n] for k in range(LAYERS)]
        cs = [state[-1][k, n] for k in range(LAYERS)]
        rows, v = memory[: lengths[n], n], np.zeros(H)
        for t in range(len(tokens)):
            x = np.zeros(V)
            x[tokens[t, n]] = 1
            if decoder.attend == "before":
                context, w = looked_up(decoder.attention, hs[-1], rows)
                below = np.concatenate([x, context])
            else:
                below = np.concatenate([x, v])
            for k in range(LAYERS):
                hs[k], cs[k] = cell(kind, decoder.recurrent, k, below, hs[k], cs[k])
                below = hs[k]
            if decoder.attend == "feeding":
                context, w = looked_up(decoder.attention, hs[-1], rows)
            join, head = decoder.combine, decoder.head
            v = np.concatenate([context, hs[-1]]) @ join.weight.numpy() + join.bias.numpy()
            v = np.tanh(v)
            logits[t, n] = v @ head.weight.numpy() + head.bias.numpy()
            weights[n, t, : lengths[n]] = w
    return logits, weights


def problem(seed, attend, kind="lstm", attention="additive"):
    rng = np.random.default_rng(seed)
    decoder = build(rng, attend, kind, attention)
    tokens = rng.integers(0, V, (4, 3))
    parts = [rng.standard_normal((LAYERS, 3, H)) for _ in decoder.recurrent.state_type._fields]
    state = decoder.recurrent.state_type(*map(tgs.tensor, parts))
    return decoder, tokens, state, rng.standard_normal((5, 3, M)), np.array([5, 2, 0])


def compare(kind, decoder, tokens, state, memory, lengths):
    found = decoder(tokens, state, memory=memory, lengths=lengths)
    parts = [part.numpy() for part in state]
    logits, weights = by_hand(kind, decoder, tokens, parts, memory, lengths)
    np.testing.assert_allclose(found.logits.numpy(), logits, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.weights.numpy(), weights, rtol=1e-9, atol=1e-11)


ATTEND = st.sampled_from(["feeding", "before"])


@FEWER
@given(st.integers(0, 2**16), ATTEND, st.sampled_from([*KINDS]), st.sampled_from([*ATTENTIONS]))
def test_against_a_naive_loop(seed, attend, kind, attention):
    compare(kind, *problem(seed, attend, kind, attention))


PLANTED = [
    ("feeding", "fed = self.combine(context, h)", "fed = self.combine(h, context)"),
    ("feeding", "[x[t], fed if", "[fed if"),
    ("feeding", "[x[t], fed if", "[x[t], 0 * fed if"),
    ("feeding", "[x[t], fed if", "[x[0], fed if"),
    ("feeding", "vectors.append(fed)", "vectors.append(h)"),
    ("feeding", "y, state = layer(read, state)", "y, state = layer(read, None)"),
    ("before", "if h is None else h)", "if h is None else 0 * h)"),
    ("before", "look(layer.top(state, rows)", "look(layer.top(None, rows)"),
    ("before", "h = y[0]", "h = layer.top(None, rows)"),
    ("before", "y, state = layer(read, state)", "y, state = layer(read, None)"),
    ("before", "else seen[0]]", "else fed[:, :2]]"),
    ("before", "if seen is None else seen\n", "if seen is None else look(h)\n"),
    ("before", "found.append(weights)", "found.insert(0, weights)"),
]


@pytest.mark.parametrize(("attend", "old", "new"), PLANTED)
def test_planted_mistakes_are_caught(attend, old, new, monkeypatch):
    text = textwrap.dedent(inspect.getsource(nn.Decoder._step_by_step))
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times: update this"
    space = dict(vars(room))
    exec(text.replace(old, new), space)
    given_ = problem(0, attend)
    compare("lstm", *given_)
    monkeypatch.setattr(nn.Decoder, "_step_by_step", space["_step_by_step"])
    with pytest.raises((AssertionError, ShapeError)):
        compare("lstm", *given_)


@FEWER
@given(st.integers(0, 2**16), ATTEND, st.sampled_from([*KINDS]))
def test_padding_and_other_rows_change_nothing(seed, attend, kind):
    decoder, tokens, state, memory, lengths = problem(seed, attend, kind)
    source = tgs.tensor(memory, requires_grad=True)
    whole = decoder(tokens, state, memory=source, lengths=lengths)
    padding = np.arange(5)[:, None] >= lengths
    noise = np.where(padding[..., None], 1e3, memory)
    garbage = decoder(tokens, state, memory=noise, lengths=lengths)
    np.testing.assert_array_equal(garbage.logits.numpy(), whole.logits.numpy())
    assert not whole.weights.numpy()[padding.T[:, None].repeat(4, 1)].any()
    tgs.cross_entropy(whole.logits, tokens).backward()
    assert not source.grad[padding].any() and source.grad[~padding].any()
    for n, length in enumerate(lengths[:2]):
        rows = slice(n, n + 1)
        alone = decoder(
            tokens[:, rows], nn.select_rows(state, [n]), memory=memory[:length, rows]
        ).logits.numpy()
        np.testing.assert_allclose(alone, whole.logits.numpy()[:, rows], rtol=1e-9, atol=1e-11)


@FEWER
@given(st.integers(0, 2**16), ATTEND, st.integers(1, 3))
def test_windows_that_carry_the_state_are_one_run(seed, attend, cut):
    decoder, tokens, state, memory, lengths = problem(seed, attend)
    given_ = {"memory": memory, "lengths": lengths, "keys": decoder.attention.prepare(memory)}
    whole = decoder(tokens, state, **given_)
    first = decoder(tokens[:cut], state, **given_)
    assert isinstance(first.state, nn.FedState) == (attend == "feeding")
    carried = first.state.detach()
    second = decoder(tokens[cut:], carried, **given_)
    both = np.concatenate([first.logits.numpy(), second.logits.numpy()])
    np.testing.assert_allclose(both, whole.logits.numpy(), rtol=1e-12)
    if attend == "feeding":
        assert not carried.fed.requires_grad and first.state.fed.requires_grad
        np.testing.assert_array_equal(
            nn.select_rows(carried, [2, 0]).fed, carried.fed.numpy()[::-2]
        )


@pytest.mark.parametrize("attend", ["feeding", "before"])
def test_floats_read_like_the_one_hot_rows_that_tokens_stand_for(attend):
    decoder, tokens, state, memory, _ = problem(1, attend)
    rows = tgs.one_hot(tokens, V, np.float64)
    found = decoder(rows, state, memory=memory)
    np.testing.assert_array_equal(
        found.logits.numpy(), decoder(tokens, state, memory=memory).logits.numpy()
    )


@pytest.mark.parametrize("attend", ["feeding", "before"])
def test_parameters_come_back_from_a_state_dict(attend):
    decoder, tokens, state, memory, _ = problem(2, attend)
    other = build(np.random.default_rng(3), attend)
    other.load_state_dict(decoder.state_dict())
    for start in (state, None):
        np.testing.assert_array_equal(
            other(tokens, start, memory=memory).logits.numpy(),
            decoder(tokens, start, memory=memory).logits.numpy(),
        )


def test_a_trained_start_is_looked_up_with():
    """Before the first step the query is the initial state: its gradient has that way too."""
    rng = np.random.default_rng(0)
    layer = nn.GRU(V + M, H, trainable_state=True, rng=rng, dtype=np.float64)
    attention = nn.MultiplicativeAttention(H, M, rng=rng, dtype=np.float64)
    decoder = nn.Decoder(layer, None, attention, M, attend="before", rng=rng)
    layer.initial_h.data = rng.standard_normal((1, H))
    memory = rng.standard_normal((5, 2, M))
    decoded = decoder(np.zeros((1, 2), int), memory=memory)
    _, expected = attention(np.tile(layer.initial_h.numpy(), (2, 1)), memory)
    np.testing.assert_allclose(decoded.weights.numpy()[:, 0], expected.numpy(), rtol=1e-12)
    decoded.weights[0, 0, 0].backward()
    assert layer.initial_h.grad.any()


@pytest.mark.parametrize("attend", ["feeding", "before"])
@pytest.mark.parametrize("composed", [False, True])
def test_drawings_show_every_step_and_its_weights(attend, composed):
    tokens = problem(4, attend)[1]
    rng = np.random.default_rng(4)
    model = nn.Seq2Seq(nn.GRU(2, H, LAYERS, rng=rng, dtype=np.float64), wide(attend, rng), rng=rng)
    with tgs.composed() if composed else tgs.enable_grad():
        decoded = model(rng.standard_normal((3, 3, 2)), tokens)
    drawing = viz.draw(decoded.logits)
    assert overlaps(drawing) == []
    weights = decoded.weights.numpy()[0]
    found = lines(drawing)
    assert len(found) == 12
    for (query, step), (_, figure) in found.items():
        assert figure == pytest.approx(weights[int(query[-1]), int(step[-1])], abs=6e-4)
    reads = {f'"decoder.read@{t}" [' in drawing.dot for t in range(1, 4)}
    assert reads == {True}
    back = '"decoder.combine@1" -> "decoder.read@2"' in drawing.dot
    forward = '"decoder.attention@2" -> "decoder.read@2"' in drawing.dot
    assert (back, forward) == (attend == "feeding", attend == "before")


@pytest.mark.parametrize(("attend", "label"), [("feeding", "state z⁻¹"), ("before", "h z⁻¹")])
def test_rolled_drawings_say_that_what_goes_back_is_a_step_old(attend, label):
    rng = np.random.default_rng(5)
    model = nn.Seq2Seq(nn.GRU(V, H, LAYERS, rng=rng, dtype=np.float64), wide(attend, rng), rng=rng)
    drawing = viz.draw_model(model, np.zeros((3, 2), int), np.zeros((4, 2), int), view="rolled")
    assert f'"{label}"' in drawing.dot or label in drawing.svg()
    assert label not in viz.draw_model(model, np.zeros((3, 2), int), np.zeros((4, 2), int)).svg()


def wide(attend, rng):
    made = {"rng": rng, "dtype": np.float64}
    attention = nn.AdditiveAttention(H, H, 3, **made)
    return nn.Decoder(nn.GRU(V + H, H, LAYERS, **made), None, attention, H, attend=attend, rng=rng)


def test_wrong_settings_and_inputs_are_explained():
    rng = np.random.default_rng(0)
    attention = nn.AdditiveAttention(H, M, 3, rng=rng)
    for attend in ("during", ["before"], None, np.array(["after", "before"])):
        with pytest.raises(ConfigError, match=r"attend(.|\n)*after' or 'feeding' or 'before"):
            nn.Decoder(nn.GRU(V, H, rng=rng), None, attention, M, attend=attend, rng=rng)
    with pytest.raises(ConfigError, match="without an attention"):
        nn.Decoder(nn.GRU(V, H, rng=rng), attend="before", rng=rng)
    with pytest.raises(ConfigError, match=r"number of tokens \+ 3"):
        nn.Decoder(nn.GRU(3, H, rng=rng), None, attention, M, attend="feeding", rng=rng)
    for dropped in ({"recurrent_dropout": 0.1}, {"dropout": 0.1, "variational": True}):
        layer = nn.GRU(V + M, H, 2, rng=rng, **dropped)
        with pytest.raises(ConfigError, match="same at all steps"):
            nn.Decoder(layer, None, attention, M, attend="before", rng=rng)
    decoder = build(rng, "before", dtype=np.float32)
    memory = np.ones((5, 2, M), np.float32)
    for tokens, error, said in (
        (np.zeros(4, int), ShapeError, r"\(T, N\) tokens"),
        (np.zeros((0, 2), int), ShapeError, "T and N >= 1"),
        (np.full((3, 2), V), IndexRangeError, r"= 4 tokens \+ 2 fed\): token"),
        (np.zeros((3, 2, V)), DtypeError, "float32"),
        (np.zeros((3, 2, V + M), np.float32), ShapeError, r"\(\.\.\., 4\)"),
        (np.zeros((3, 4), int), ShapeError, "4 rows"),
    ):
        with pytest.raises(error, match=said):
            decoder(tokens, memory=memory)
    fed = nn.FedState(None, tgs.tensor(np.zeros((2, H), np.float32)))
    with pytest.raises(ConfigError, match="a FedState"):
        decoder(np.zeros((3, 2), int), fed, memory=memory)
    with pytest.raises(ShapeError, match="LSTM: state"):
        decoder(np.zeros((3, 2), int), nn.LSTMState(*np.zeros((2, LAYERS, 1, H))), memory=memory)


@pytest.mark.parametrize("attend", ["feeding", "before"])
def test_dropout_set_later_is_refused_in_training_only(attend):
    decoder, tokens, state, memory, _ = problem(6, attend)
    expected = decoder(tokens, state, memory=memory).logits.numpy()
    for owner, name, value in (
        (decoder.recurrent, "recurrent_dropout", 0.5),
        (decoder.recurrent, "dropout", nn.VariationalDropout(0.5)),
    ):
        before = getattr(owner, name)
        setattr(owner, name, value)
        with pytest.raises(ConfigError, match="same at all steps"):
            decoder(tokens, state, memory=memory)
        with nn.evaluating(decoder):
            found = decoder(tokens, state, memory=memory).logits.numpy()
        np.testing.assert_array_equal(found, expected)
        setattr(owner, name, before)


@pytest.mark.parametrize(
    ("attend", "size", "by_default"), [("after", 0, 0), ("feeding", 3, 3), ("before", 2, 3)]
)
def test_what_goes_into_a_step_beside_its_token_has_this_size(attend, size, by_default):
    assert nn.Decoder.fed_size_of(attend, 3, 2) == size
    assert nn.Decoder.fed_size_of(attend, 3) == by_default
    rng = np.random.default_rng(0)
    attention, layer = nn.MultiplicativeAttention(3, 2, rng=rng), nn.GRU(4 + size, 3, rng=rng)
    decoder = nn.Decoder(layer, None, attention, 2, attend=attend, rng=rng)
    decoded = decoder(np.zeros((2, 1), int), memory=np.ones((5, 1, 2), np.float32))
    assert decoded.logits.shape == (2, 1, 4)
    with pytest.raises(ConfigError, match="Decoder: attend"):
        nn.Decoder.fed_size_of(f"{attend} all", 3, 2)
