"""Options that run from single operations: projections, normalised and dropped states."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, ShapeError

FEWER = settings(max_examples=max(settings.default.max_examples // 4, 1))


def normalised(norm, x):
    spread = np.sqrt(x.var(axis=-1, keepdims=True) + norm.eps)
    return (x - x.mean(axis=-1, keepdims=True)) / spread * norm.weight.numpy() + norm.bias.numpy()


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def naive(layer, x, mask=1.0):
    """One layer, one direction, gate by gate; `mask` multiplies h on its way into W_hh."""
    step = {nn.RNN: naive_rnn, nn.LSTM: naive_lstm, nn.GRU: naive_gru}[type(layer)]
    w_xh, w_hh, b = (w.numpy() for w in layer.layer_weights(0))
    state = [np.zeros((x.shape[1], w_hh.shape[0]))]
    if isinstance(layer, nn.LSTM):
        state.append(np.zeros((x.shape[1], layer.hidden_size)))
    out = []
    for x_t in x:
        state = step(layer, x_t @ w_xh, w_hh, b, mask, *state)
        out.append(state[0])
    return np.stack(out), *state


def norm_of(layer, name):
    """A normalisation of the layer, or nothing."""
    if not layer.layer_norm:
        return lambda values: values
    return lambda values: normalised(getattr(layer, f"{name}_l0"), values)


def naive_rnn(layer, inputs, w_hh, b, mask, h):
    z = norm_of(layer, "norm_x")(inputs) + norm_of(layer, "norm_h")((h * mask) @ w_hh) + b
    return [np.tanh(z) if layer.nonlinearity == "tanh" else np.maximum(z, 0)]


def naive_lstm(layer, inputs, w_hh, b, mask, h, c):
    z = norm_of(layer, "norm_x")(inputs) + norm_of(layer, "norm_h")((h * mask) @ w_hh) + b
    i, f, o, g = np.split(z, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm_of(layer, "norm_c")(c))
    return [h @ layer.weight_hr_l0.numpy() if layer.proj_size else h, c]


def naive_gru(layer, inputs, w_hh, b, mask, h):
    size = layer.hidden_size
    seen, wide = h * mask, 2 * size
    gates = norm_of(layer, "norm_x")(inputs[:, :wide])
    gates = gates + norm_of(layer, "norm_h")(seen @ w_hh[:, :wide]) + b[:wide]
    r, z = sigmoid(gates[:, :size]), sigmoid(gates[:, size:])
    if layer.reset_after:
        inner = norm_of(layer, "norm_hn")(seen @ w_hh[:, wide:]) + layer.bias_hn_l0.numpy()
        inner = r * inner
    else:
        inner = norm_of(layer, "norm_hn")((r * seen) @ w_hh[:, wide:])
    n = np.tanh(norm_of(layer, "norm_xn")(inputs[:, wide:]) + b[wide:] + inner)
    return [(1 - z) * n + z * h]


KINDS = {
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (nn.LSTM, {}),
    "projected": (nn.LSTM, {"proj_size": 3}),
    "gru": (nn.GRU, {}),
    "gru_before": (nn.GRU, {"reset_after": False}),
}
OPTIONS = [("projected", {})] + [(kind, {"layer_norm": True}) for kind in KINDS]
DROPPED = [(kind, {"recurrent_dropout": 0.4}) for kind in KINDS]
DROPPED += [("gru", {"recurrent_dropout": 0.4, "layer_norm": True})]


def build(rng, kind, options, **more):
    make, fixed = KINDS[kind]
    layer = make(3, 5, rng=rng, dtype=np.float64, **fixed, **options, **more)
    for parameter in layer.parameters():
        parameter.data = rng.standard_normal(parameter.shape)
    return layer


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
@FEWER
@given(seed=st.integers(0, 2**16), steps=st.integers(1, 4))
def test_against_a_naive_loop(kind, options, seed, steps):
    rng = np.random.default_rng(seed)
    layer = build(rng, kind, options)
    x = rng.standard_normal((steps, 2, 3))
    y, state = layer(x)
    expected, *last = naive(layer, x)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-12)
    for found, part in zip(state, last, strict=True):
        np.testing.assert_allclose(found.numpy()[0], part, rtol=1e-9, atol=1e-12)
    ids = rng.integers(0, 3, (steps, 2))
    from_ids, _ = layer(ids)
    np.testing.assert_allclose(from_ids.numpy(), layer(np.eye(3)[ids])[0].numpy(), rtol=1e-9)


@pytest.mark.parametrize(("kind", "options"), DROPPED, ids=str)
@FEWER
@given(seed=st.integers(0, 2**16), steps=st.integers(2, 4))
def test_dropped_states_against_a_naive_loop(kind, options, seed, steps):
    """One mask for all steps, on the way into W_hh only; in evaluation none."""
    rng = np.random.default_rng(seed)
    layer = build(rng, kind, options)
    x = rng.standard_normal((steps, 2, 3))
    before = rng.bit_generator.state
    width = layer.weight_hh_l0.shape[0]
    mask = (rng.random((2, width), np.float32) >= 0.4) / 0.6
    rng.bit_generator.state = before  # the layer draws from the same source
    np.testing.assert_allclose(layer(x)[0].numpy(), naive(layer, x, mask)[0], rtol=1e-9, atol=1e-12)
    expected = naive(layer.eval(), x)[0]
    np.testing.assert_allclose(layer(x)[0].numpy(), expected, rtol=1e-9, atol=1e-12)
    assert rng.bit_generator.state != before


def test_dropping_states_keeps_their_mean_and_differs_by_row_layer_and_direction():
    rng = np.random.default_rng(0)
    layer = nn.RNN(3, 400, 2, bidirectional=True, recurrent_dropout=0.25, rng=rng)
    masks = [
        layer.cell_at(k, reverse)._changes(3)["drop"](np.ones((3, 400), np.float32)).numpy()
        for k in (0, 1)
        for reverse in (False, True)
    ]
    for mask in masks:
        assert set(np.unique(mask.round(6))) == {np.float32(0.0), np.float32(1 / 0.75).round(6)}
        assert abs(mask.mean() - 1) < 0.1
        assert len(np.unique(mask, axis=0)) == 3
    assert len({mask.tobytes() for mask in masks}) == 4


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
@FEWER
@given(seed=st.integers(0, 2**16), lengths=st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_a_padded_batch_equals_each_row_alone(kind, options, seed, lengths):
    rng = np.random.default_rng(seed)
    layer = build(rng, kind, options, num_layers=2, bidirectional=True)
    values = rng.standard_normal((4, 3, 3))
    for n, length in enumerate(lengths):
        values[length:, n] = np.nan
    x = tgs.tensor(values, requires_grad=True)
    y, state = layer(x, lengths=lengths)
    weights = rng.standard_normal(y.shape)
    dx = tgs.grad((y * weights).sum(), x).numpy()
    for n, length in enumerate(lengths):
        assert not y.numpy()[length:, n].any() and not dx[length:, n].any()
        if length:
            alone = tgs.tensor(values[:length, n : n + 1], requires_grad=True)
            y1, state1 = layer(alone)
            np.testing.assert_allclose(y.numpy()[:length, n], y1.numpy()[:, 0], rtol=1e-9)
            for part, part1 in zip(state, state1, strict=True):
                np.testing.assert_allclose(part.numpy()[:, n], part1.numpy()[:, 0], rtol=1e-9)
            loss = (y1 * weights[:length, n : n + 1]).sum()
            found = tgs.grad(loss, alone).numpy()
            np.testing.assert_allclose(dx[:length, n], found[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("kind", "options"), OPTIONS, ids=str)
def test_every_gradient_by_central_differences(kind, options):
    rng = np.random.default_rng(0)
    layer = build(rng, kind, options)
    x, parameters = rng.standard_normal((4, 2, 3)), list(layer.parameters())
    weights = rng.standard_normal(layer(x)[0].shape)

    def loss():
        return (layer(x, lengths=[4, 2])[0] * weights).sum()

    for parameter, found in zip(parameters, tgs.grad(loss(), parameters), strict=True):
        direction, kept, values = rng.standard_normal(parameter.shape), parameter.numpy(), []
        for eps in (1e-5, -1e-5):
            parameter.data = kept + eps * direction
            values.append(loss().item())
        parameter.data = kept
        slope = (values[0] - values[1]) / 2e-5
        assert np.sum(found.numpy() * direction) == pytest.approx(slope, rel=1e-6, abs=1e-8)


def test_one_mask_over_time():
    drop = nn.VariationalDropout(0.5, rng=np.random.default_rng(0))
    x = tgs.tensor(np.ones((6, 40, 50), np.float32), requires_grad=True)
    y = drop(x).numpy()
    assert (y == y[:1]).all()
    assert set(np.unique(y)) == {0.0, 2.0}
    assert abs(y[0].mean() - 1) < 0.1 and y[0].std(axis=0).min() > 0  # rows have masks of their own
    np.testing.assert_array_equal(drop.eval()(x).numpy(), x.numpy())
    with pytest.raises(ShapeError, match="T, N, F"):
        drop.train()(np.ones(3, np.float32))


@pytest.mark.parametrize("layer", [nn.RNN, nn.LSTM, nn.GRU])
def test_layers_take_variational_dropout(layer):
    made = layer(3, 4, 2, dropout=0.5, variational=True, rng=np.random.default_rng(0))
    assert isinstance(made.dropout, nn.VariationalDropout)
    x = np.ones((3, 2, 3), np.float32)
    assert not np.array_equal(made(x)[0].numpy(), made(x)[0].numpy())
    made.eval()
    np.testing.assert_array_equal(made(x)[0].numpy(), made(x)[0].numpy())


def test_bad_options_are_explained():
    with pytest.raises(ConfigError, match="proj_size"):
        nn.LSTM(3, 4, proj_size=-1)
    with pytest.raises(ConfigError, match="RNN: recurrent_dropout"):
        nn.RNN(3, 4, recurrent_dropout=1.0)
    with pytest.raises(ShapeError, match="LayerNorm"):
        nn.LayerNorm(3)(np.ones((2, 4), np.float32))
    layer = nn.LSTM(3, 4, proj_size=2)
    with pytest.raises(ShapeError, match=r"\(1, 2, 2\) and \(1, 2, 4\)"):
        layer(np.zeros((5, 2), int), nn.LSTMState(*[tgs.tensor(np.zeros((1, 2, 4)))] * 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_length_0_returns_the_start_that_is_trained(kind):
    rng = np.random.default_rng(0)
    options = {"layer_norm": True, "trainable_state": True}
    layer = build(rng, kind, options, num_layers=2, bidirectional=True)
    y, state = layer(rng.standard_normal((3, 2, 3)), lengths=[0, 3])
    assert not y.numpy()[:, 0].any()
    starts = [getattr(layer, f"initial_{name}") for name in state._fields]
    for part, start in zip(state, starts, strict=True):
        np.testing.assert_array_equal(part.numpy()[:, 0], start.numpy())
    found = tgs.grad(sum(part[:, 0].sum() for part in state), starts)
    for gradient in found:
        np.testing.assert_array_equal(gradient.numpy(), 1.0)


@pytest.mark.parametrize("kind", ["tanh", "lstm", "projected", "gru"])
def test_the_stacked_weight_multiplies_state_over_input(kind):
    rng = np.random.default_rng(0)
    layer = build(rng, kind, {}, num_layers=2, bidirectional=True)
    for k, reverse in itertools.product((0, 1), (False, True)):
        w_xh, w_hh, _ = (w.numpy() for w in layer.layer_weights(k, reverse))
        h, x = rng.standard_normal(len(w_hh)), rng.standard_normal(len(w_xh))
        both = layer.stacked_weight(k, reverse) @ np.concatenate([h, x])
        np.testing.assert_allclose(both, h @ w_hh + x @ w_xh, rtol=1e-12)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_chrono_units_keep_their_state_for_up_to_the_longest_lag(kind):
    """With no other weight than the biases, a unit of time constant tau keeps 1 - 1 / tau."""
    rng = np.random.default_rng(0)
    layer = kind(3, 400, 2, bidirectional=True, rng=rng, dtype=np.float64)
    before = layer.bias_l1_reverse.numpy()
    nn.init.chrono_(layer, 50, rng)
    seen = []
    for k in range(2):
        for suffix in ("", "_reverse"):
            for name in ("weight_xh", "weight_hh"):
                parameter = getattr(layer, f"{name}_l{k}{suffix}")
                parameter.data = np.zeros(parameter.shape)
            seen.append(getattr(layer, f"bias_l{k}{suffix}").numpy())
    ones = tgs.tensor(np.ones((4, 1, 400)))
    _, state = layer(np.zeros((3, 1, 3)), layer.state_type(*[ones] * len(layer.state_type._fields)))
    kept = state[-1].numpy() ** (1 / 3)  # of c, or of h: after three steps
    constants = 1 / (1 - kept)
    assert constants.min() >= 2 - 1e-9
    assert constants.max() <= 50 + 1e-9
    assert abs(constants.mean() - 26) < 2  # uniform in 2 .. 50
    assert len({tuple(bias) for bias in seen}) == 4
    changed = seen[-1] != before
    assert changed.sum() == (800 if kind is nn.LSTM else 400)  # f and i, or z
    if kind is nn.LSTM:
        np.testing.assert_allclose(seen[-1][:400], -seen[-1][400:800])  # i and f


def test_chrono_refuses_what_has_no_gates():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match=r"nn\.LSTM and nn\.GRU do"):
        nn.init.chrono_(nn.RNN(2, 3, rng=rng), 50, rng)
    with pytest.raises(ConfigError, match=r"longest[\s\S]*\(2, inf\)"):
        nn.init.chrono_(nn.GRU(2, 3, rng=rng), 2, rng)
