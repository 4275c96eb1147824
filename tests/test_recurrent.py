"""Recurrent layers against two independent oracles: the composed twin and a naive loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.kernels import both_kernels  # noqa: F401
from tests.support.recurrent import KINDS, make_layer
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.gates import GATE_ORDER, gate
from tinygrad_seq.nn.cells.lstm import LSTM_OP
from tinygrad_seq.testing import check_layer, gradcheck


def naive(layer, kind, x, parts):
    """One sequence of floats at a time, one step at a time, each gate from its own weights."""
    steps, batch, _ = x.shape
    out = np.zeros((steps, batch, layer.hidden_size))
    parts = [np.array(part) for part in parts]
    for n in range(batch):
        rows = [x[t, n] for t in range(steps)]
        for k in range(layer.num_layers):
            w_xh, w_hh, b = (w.numpy() for w in layer.layer_weights(k))
            h = parts[0][k, n]
            for t in range(steps):
                if kind == "lstm":
                    size = layer.hidden_size
                    pre = {}
                    for place, name in enumerate("ifog"):
                        cut = slice(place * size, (place + 1) * size)
                        pre[name] = rows[t] @ w_xh[:, cut] + h @ w_hh[:, cut] + b[cut]
                    i, f, o = (1 / (1 + np.exp(-pre[name])) for name in "ifo")
                    c = f * parts[1][k, n] + i * np.tanh(pre["g"])
                    h = o * np.tanh(c)
                    parts[1][k, n] = c
                elif kind.startswith("gru"):
                    h = naive_gru(layer, k, rows[t], h)
                else:
                    h = rows[t] @ w_xh + h @ w_hh + b
                    h = np.maximum(h, 0) if kind == "relu" else np.tanh(h)
                rows[t] = h
            parts[0][k, n] = h
        for t in range(steps):
            out[t, n] = rows[t]
    return out, parts


def naive_gru(layer, k, x, h):
    """One row, one step, each gate from its own weights."""
    size = layer.hidden_size
    w_xh, w_hh, b = (w.numpy() for w in layer.layer_weights(k))
    (xr, hr, br), (xz, hz, bz), (xn, hn, bn) = (
        (w_xh[:, cut], w_hh[:, cut], b[cut])
        for cut in (slice(j * size, (j + 1) * size) for j in range(3))
    )
    r = 1 / (1 + np.exp(-(x @ xr + h @ hr + br)))
    z = 1 / (1 + np.exp(-(x @ xz + h @ hz + bz)))
    if layer.reset_after:
        inner = r * (h @ hn + getattr(layer, f"bias_hn_l{k}").numpy())
    else:
        inner = (r * h) @ hn
    return (1 - z) * np.tanh(x @ xn + bn + inner) + z * h


@st.composite
def configurations(draw):
    kind = draw(st.sampled_from(KINDS))
    sizes = {name: draw(st.integers(1, 4)) for name in ("size", "hidden", "batch", "layers")}
    steps = draw(st.integers(2, 6))
    seed = draw(st.integers(0, 2**16))
    return kind, steps, sizes, seed, draw(st.booleans())


def prepare(configuration):
    kind, steps, sizes, seed, tokens = configuration
    rng = np.random.default_rng(seed)
    layer = make_layer(kind, sizes["size"], sizes["hidden"], sizes["layers"], rng)
    shape = (sizes["layers"], sizes["batch"], sizes["hidden"])
    parts = [
        tgs.tensor(rng.standard_normal(shape), requires_grad=True) for _ in layer.state_type._fields
    ]
    if tokens:
        x = rng.integers(0, sizes["size"], (steps, sizes["batch"]))
    else:
        values = rng.standard_normal((steps, sizes["batch"], sizes["size"]))
        x = tgs.tensor(values, requires_grad=True)
    return layer, x, parts, rng


def gradients(layer, x, parts, weights):
    """A loss that reads every output, and all its gradients."""
    y, state = layer(x, layer.state_type(*parts))
    loss = sum((part * w).sum() for part, w in zip([y, *state], weights, strict=True))
    wanted = [*layer.parameters(), *parts]
    if isinstance(x, tgs.Tensor) and x.requires_grad:
        wanted.append(x)
    return loss, tgs.grad(loss, wanted), (y, state)


@given(configurations())
def test_fused_equals_composed_equals_naive(configuration):
    layer, x, parts, rng = prepare(configuration)
    y, state = layer(x, layer.state_type(*parts))
    weights = [rng.standard_normal(part.shape) for part in [y, *state]]
    loss, fused, _ = gradients(layer, x, parts, weights)
    with tgs.composed():
        twin_loss, composed, (y2, state2) = gradients(layer, x, parts, weights)
    assert loss.item() == pytest.approx(twin_loss.item(), rel=1e-10, abs=1e-12)
    for a, b in zip(fused, composed, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(y.numpy(), y2.numpy(), rtol=1e-12, atol=1e-14)
    floats = x.numpy() if isinstance(x, tgs.Tensor) else np.eye(layer.input_size)[x]
    plain, lasts = naive(layer, configuration[0], floats, [p.numpy() for p in parts])
    np.testing.assert_allclose(y.numpy(), plain, rtol=1e-11, atol=1e-13)
    for part, last in zip(state, lasts, strict=True):
        np.testing.assert_allclose(part.numpy(), last, rtol=1e-11, atol=1e-13)
    for part, twin in zip(state, state2, strict=True):
        np.testing.assert_allclose(part.numpy(), twin.numpy(), rtol=1e-12, atol=1e-14)


@given(configurations())
def test_tokens_equal_their_one_hot_rows(configuration):
    kind, steps, sizes, seed, _ = configuration
    layer, ids, parts, rng = prepare((kind, steps, sizes, seed, True))
    rows = tgs.one_hot(ids, layer.input_size, dtype=np.float64)
    y, state = layer(ids, layer.state_type(*parts))
    weights = [rng.standard_normal(part.shape) for part in [y, *state]]
    _, from_ids, _ = gradients(layer, ids, parts, weights)
    _, from_rows, (y2, _) = gradients(layer, rows, parts, weights)
    np.testing.assert_allclose(y.numpy(), y2.numpy(), rtol=1e-12, atol=1e-14)
    for a, b in zip(from_ids, from_rows, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-11, atol=1e-13)


@given(configurations(), st.integers(1, 5))
def test_carrying_the_state_equals_one_long_run(configuration, cut):
    layer, x, parts, _ = prepare(configuration)
    cut = min(cut, len(x) - 1)
    whole, last = layer(x, layer.state_type(*parts))
    first, state = layer(x[:cut], layer.state_type(*parts))
    second, end = layer(x[cut:], state)
    joined = np.concatenate([first.numpy(), second.numpy()])
    np.testing.assert_allclose(joined, whole.numpy(), rtol=1e-12, atol=1e-14)
    for a, b in zip(last, end, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-14)


@given(configurations())
def test_detached_state_carries_values_and_no_gradient(configuration):
    layer, x, parts, _ = prepare(configuration)
    _, state = layer(x, layer.state_type(*parts))
    cut = state.detach()
    y, _ = layer(x, cut)
    for before, after in zip(state, cut, strict=True):
        np.testing.assert_array_equal(before.numpy(), after.numpy())
        assert not after.requires_grad
    reached = tgs.grad(y.sum(), parts, allow_unused=True)
    assert reached == tuple(None for _ in parts)  # exactly nothing crosses the cut


@given(configurations())
def test_second_order_of_the_fused_layer(configuration):
    layer, x, parts, _ = prepare(configuration)

    def penalty():
        y, _ = layer(x, layer.state_type(*parts))
        first = tgs.grad((y * y).sum(), list(layer.parameters()), create_graph=True)
        total = sum((g * g).sum() for g in first)
        return tgs.grad(total, list(layer.parameters()), allow_unused=True)

    fused = penalty()
    with tgs.composed():
        composed = penalty()
    for a, b in zip(fused, composed, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_and_unbatched(kind):
    rng = np.random.default_rng(0)
    layer = make_layer(kind, 3, 4, 2, rng)
    x = rng.standard_normal((5, 2, 3))
    y, state = layer(x)
    layer.batch_first = True
    y2, state2 = layer(x.swapaxes(0, 1))
    np.testing.assert_array_equal(y2.numpy(), y.numpy().swapaxes(0, 1))
    np.testing.assert_array_equal(state2.h.numpy(), state.h.numpy())
    y3, state3 = layer(x[:, 0])
    assert y3.shape == (5, 4) and state3.h.shape == (2, 4)
    np.testing.assert_allclose(y3.numpy(), y.numpy()[:, 0], rtol=1e-12)
    y4, _ = layer(x[:, 0], state3)
    y5, _ = layer(x[:, :1].swapaxes(0, 1), layer.state_type(*(p.reshape(2, 1, 4) for p in state3)))
    np.testing.assert_allclose(y4.numpy(), y5.numpy()[0], rtol=1e-12)


def test_cells_are_one_step_of_the_layers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3))
    for cell, layer in (
        (nn.RNNCell(3, 4, nonlinearity="relu", rng=rng, dtype=np.float64), nn.RNN(3, 4, 1, "relu")),
        (nn.LSTMCell(3, 4, rng=rng, dtype=np.float64), nn.LSTM(3, 4)),
        (nn.GRUCell(3, 4, rng=rng, dtype=np.float64), nn.GRU(3, 4)),
        (
            nn.GRUCell(3, 4, reset_after=False, rng=rng, dtype=np.float64),
            nn.GRU(3, 4, reset_after=False),
        ),
    ):
        layer.astype(np.float64)
        layer.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
        out = cell(x)
        h = out[0] if isinstance(out, tuple) else out
        y, state = layer(x[None])
        np.testing.assert_allclose(h.numpy(), y.numpy()[0], rtol=1e-12)
        if isinstance(out, tuple):
            np.testing.assert_allclose(out[1].numpy(), state.c.numpy()[0], rtol=1e-12)
            again = cell(np.array([0, 2]), out)  # tokens
            rows = cell(np.eye(3)[[0, 2]], out)
            np.testing.assert_allclose(again[0].numpy(), rows[0].numpy(), rtol=1e-12)


def test_initial_values():
    layer = nn.LSTM(20, 16, 2, rng=np.random.default_rng(0), dtype=np.float64)
    for k, size in ((0, 20), (1, 16)):
        w_xh, w_hh, b = (w.numpy() for w in layer.layer_weights(k))
        forget = gate("f", 16)
        np.testing.assert_array_equal(b[forget], 1)
        assert np.delete(b, np.arange(64)[forget]).max() == 0
        for name in GATE_ORDER:
            block = w_hh[:, gate(name, 16)]
            np.testing.assert_allclose(block @ block.T, np.eye(16), atol=1e-12)
        assert np.abs(w_xh).max() <= np.sqrt(6 / (size + 16))
    stacked = layer.stacked_weight(0)  # the notes' W [h; x]
    x, h = np.random.default_rng(1).standard_normal((2, 20))[:, :20]
    h = h[:16]
    w_xh, w_hh, _ = (w.numpy() for w in layer.layer_weights(0))
    np.testing.assert_allclose(stacked @ np.concatenate([h, x]), x @ w_xh + h @ w_hh)


def test_open_forget_gate_is_the_error_carousel():
    """With f = 1, W_hh = 0 and o's path cut, dc_T / dc_0 is exactly 1."""
    layer = nn.LSTM(1, 3, rng=np.random.default_rng(0), dtype=np.float64)
    layer.weight_hh_l0.data = np.zeros((3, 12))
    layer.weight_xh_l0.data = np.zeros((1, 12))
    bias = np.zeros(12)
    bias[gate("f", 3)] = 1000.0
    layer.bias_l0.data = bias
    c0 = tgs.tensor(np.ones((1, 2, 3)), requires_grad=True)
    _, state = layer(np.ones((50, 2, 1)), nn.LSTMState(c0 * 0, c0))
    np.testing.assert_array_equal(tgs.grad(state.c.sum(), c0).numpy(), np.ones((1, 2, 3)))


def test_trainable_initial_state():
    layer = make_layer("lstm", 3, 4, 2, np.random.default_rng(0), trainable_state=True)
    assert layer.initial_h.shape == layer.initial_c.shape == (2, 4)
    rng = np.random.default_rng(1)
    for part in (layer.initial_h, layer.initial_c):
        part.data = rng.standard_normal(part.shape)
    x = rng.standard_normal((5, 3, 3))
    y, _ = layer(x)
    rows = [np.repeat(p.numpy()[:, None], 3, axis=1) for p in (layer.initial_h, layer.initial_c)]
    given_y, _ = layer(x, nn.LSTMState(*(tgs.tensor(r, requires_grad=True) for r in rows)))
    np.testing.assert_array_equal(y.numpy(), given_y.numpy())
    starts = [tgs.tensor(r, requires_grad=True) for r in rows]
    by_hand = tgs.grad(layer(x, nn.LSTMState(*starts))[0].sum(), starts)
    trained = tgs.grad(y.sum(), [layer.initial_h, layer.initial_c])
    for a, b in zip(trained, by_hand, strict=True):  # one state for all rows of the batch
        np.testing.assert_allclose(a.numpy(), b.numpy().sum(axis=1), rtol=1e-12)


def test_dropout_sits_between_layers_only():
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match="never acts"):
        one = nn.LSTM(3, 4, 1, dropout=0.9, rng=rng)
    x = np.ones((3, 2, 3), np.float32)
    np.testing.assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())
    two = nn.LSTM(3, 4, 2, dropout=0.5, rng=rng)
    assert not np.array_equal(two(x)[0].numpy(), two(x)[0].numpy())
    two.eval()
    np.testing.assert_array_equal(two(x)[0].numpy(), two(x)[0].numpy())


def test_no_grad_keeps_nothing_and_gives_the_same_values():
    layer = nn.LSTM(3, 4, 2, rng=np.random.default_rng(0))
    x = np.ones((6, 2, 3), np.float32)
    y, state = layer(x)
    with tgs.no_grad():
        y2, state2 = layer(x)
    assert y2.node is None
    np.testing.assert_array_equal(y.numpy(), y2.numpy())
    np.testing.assert_array_equal(state.c.numpy(), state2.c.numpy())


BAD = [
    (lambda m: m(np.zeros((4, 2), int) + 5), IndexRangeError, "0 <= id < 3"),
    (lambda m: m(np.zeros((4, 2, 3))), DtypeError, "float32 like the parameters"),
    (lambda m: m(np.zeros((4, 2, 5), np.float32)), ShapeError, r"\(\.\.\., 3\)"),
    (lambda m: m(np.zeros((4, 2, 1, 3), np.float32)), ShapeError, r"\(T, N, I\)"),
    (lambda m: m(np.zeros((0, 2, 3), np.float32)), ShapeError, "T and N >= 1"),
    (
        lambda m: m(np.zeros((4, 2, 3), np.float32), m(np.zeros((4, 1), int))[1]),
        ShapeError,
        "one batch size",
    ),
    (
        lambda m: m(np.zeros((4, 2), int), nn.RNNState(tgs.tensor(np.zeros((1, 2, 4))))),
        ShapeError,
        "h and c of shape",
    ),
]


@pytest.mark.parametrize(("call", "error", "said"), BAD)
def test_bad_input_is_explained(call, error, said):
    layer = nn.LSTM(3, 4, rng=np.random.default_rng(0))
    with pytest.raises(error, match=said):
        call(layer)


def test_unknown_nonlinearity():
    with pytest.raises(ConfigError, match="'tanh' or 'relu'"):
        nn.RNN(3, 4, nonlinearity="sine")
    with pytest.raises(ConfigError, match="'tanh' or 'relu'"):
        nn.RNNCell(3, 4, nonlinearity="sine")


def test_state_walkers():
    h = tgs.tensor(np.ones((2, 3, 4), np.float32), requires_grad=True) * 1
    nest = {"a": [nn.LSTMState(h, h), None], "b": (h, 3)}
    cut = nn.detach(nest)
    assert isinstance(cut["a"][0], nn.LSTMState) and cut["b"][1] == 3 and cut["a"][1] is None
    assert not any(t.requires_grad for t in (*cut["a"][0], cut["b"][0]))
    fresh = nn.reset_rows(nest, [True, False, False])
    values = fresh["b"][0].numpy()
    assert not values[:, 0].any() and values[:, 1:].all()
    with pytest.raises(ShapeError, match="one boolean per row"):
        nn.reset_rows(h, [True, False])


def planted(name, wrong):
    """A mistake in one quantity of the backward kernel."""

    return pytest.param(wrong, id=name)


def swap(found, a, b):
    found[a], found[b] = found[b], found[a]
    return found


def scale(found, k, factor):
    found[k] = factor * found[k]
    return found


def roll(found, k):
    found[k] = np.roll(found[k], 1, axis=-1)
    return found


MISTAKES = [
    planted("swapped h and c", lambda f: swap(f, 1, 2)),
    planted("zero W_hh", lambda f: scale(f, 4, 0.0)),
    planted("bias counted twice", lambda f: scale(f, 5, 2.0)),
    planted("wrong sign of W_xh", lambda f: scale(f, 3, -1.0)),
    planted("shifted gate slices", lambda f: roll(f, 4)),
    planted("everything zero", lambda f: [None if p is None else 0 * p for p in f]),
]


@pytest.mark.parametrize("wrong", MISTAKES)
def test_planted_mistakes_are_caught(wrong, monkeypatch):
    right = LSTM_OP.joint.fn
    monkeypatch.setattr(LSTM_OP.joint, "fn", lambda *given: wrong(list(right(*given))))
    layer, x, parts, rng = prepare(
        ("lstm", 3, {"size": 3, "hidden": 3, "batch": 2, "layers": 1}, 0, False)
    )
    y, state = layer(x, layer.state_type(*parts))
    weights = [rng.standard_normal(part.shape) for part in [y, *state]]
    _, fused, _ = gradients(layer, x, parts, weights)
    with tgs.composed():
        _, composed, _ = gradients(layer, x, parts, weights)
    assert any(
        not np.allclose(a.numpy(), b.numpy(), rtol=1e-6)
        for a, b in zip(fused, composed, strict=True)
    )


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_loss_of_the_last_state_reaches_a_start_that_is_trained(kind):
    """The start is one row for all, in no order of memory that a product writes into."""
    layer = kind(2, 3, trainable_state=True, rng=np.random.default_rng(0), dtype=np.float64)
    check_layer(layer, np.random.default_rng(1).standard_normal((4, 3, 2)), order=2)
    h = layer(np.ones((4, 3, 2)))[1].h
    (h * h).sum().backward()
    assert layer.initial_h.grad.any()


@pytest.mark.parametrize("which", range(5))
def test_the_complex_step_may_be_taken_in_any_operand_alone(which):
    rng = np.random.default_rng(0)
    shapes = [(3, 2, 2), (2, 3), (2, 3), (3, 3), (3,)]
    values = [rng.standard_normal(shape) for shape in shapes]
    report = gradcheck(
        lambda x: tgs.rnn_sequence(*values[:which], x, *values[which + 1 :]), values[which]
    )
    assert report.method == "complex"
