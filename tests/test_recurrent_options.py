"""Options that run from single operations: projections, layer normalisation, one mask over time."""

from __future__ import annotations

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


def naive(layer, x):
    """One layer, one direction, gate by gate."""
    w_xh, w_hh, b = (w.numpy() for w in layer.layer_weights(0))
    size = layer.hidden_size
    h = np.zeros((x.shape[1], layer.proj_size or size))
    c = np.zeros((x.shape[1], size))
    out = []
    for x_t in x:
        inputs, recurrent = x_t @ w_xh, h @ w_hh
        if layer.layer_norm:
            inputs = normalised(layer.norm_x_l0, inputs)
            recurrent = normalised(layer.norm_h_l0, recurrent)
        i, f, o, g = np.split(inputs + recurrent + b, 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-part)) for part in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(normalised(layer.norm_c_l0, c) if layer.layer_norm else c)
        h = h @ layer.weight_hr_l0.numpy() if layer.proj_size else h
        out.append(h)
    return np.stack(out), h, c


def build(rng, **options):
    layer = nn.LSTM(3, 5, rng=rng, dtype=np.float64, **options)
    for parameter in layer.parameters():
        parameter.data = rng.standard_normal(parameter.shape)
    return layer


OPTIONS = [{"proj_size": 2}, {"layer_norm": True}, {"proj_size": 3, "layer_norm": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@FEWER
@given(seed=st.integers(0, 2**16), steps=st.integers(1, 4))
def test_against_a_naive_loop(options, seed, steps):
    rng = np.random.default_rng(seed)
    layer = build(rng, **options)
    x = rng.standard_normal((steps, 2, 3))
    y, state = layer(x)
    expected, h, c = naive(layer, x)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state.h.numpy()[0], h, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(state.c.numpy()[0], c, rtol=1e-10, atol=1e-12)
    ids = rng.integers(0, 3, (steps, 2))
    from_ids, _ = layer(ids)
    np.testing.assert_allclose(from_ids.numpy(), layer(np.eye(3)[ids])[0].numpy(), rtol=1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@FEWER
@given(seed=st.integers(0, 2**16), lengths=st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_a_padded_batch_equals_each_row_alone(options, seed, lengths):
    rng = np.random.default_rng(seed)
    layer = build(rng, num_layers=2, bidirectional=True, **options)
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
            np.testing.assert_allclose(state.c.numpy()[:, n], state1.c.numpy()[:, 0], rtol=1e-9)
            loss = (y1 * weights[:length, n : n + 1]).sum()
            found = tgs.grad(loss, alone).numpy()
            np.testing.assert_allclose(dx[:length, n], found[:, 0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_gradient_by_central_differences(options):
    rng = np.random.default_rng(0)
    layer = build(rng, **options)
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
    with pytest.raises(ConfigError, match="one or the other"):
        nn.LSTM(3, 4, proj_size=2, checkpoint=True)
    with pytest.raises(ShapeError, match="LayerNorm"):
        nn.LayerNorm(3)(np.ones((2, 4), np.float32))
    layer = nn.LSTM(3, 4, proj_size=2)
    with pytest.raises(ShapeError, match=r"\(1, 2, 2\) and \(1, 2, 4\)"):
        layer(np.zeros((5, 2), int), nn.LSTMState(*[tgs.tensor(np.zeros((1, 2, 4)))] * 2))
