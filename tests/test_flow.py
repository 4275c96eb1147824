"""Gradient flow: exact decay, contributions that add up, Jacobians by complex step, the claim."""

from __future__ import annotations

import sys
from base64 import b64decode
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import flow, nn
from tinygrad_seq.errors import ConfigError, GraphError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.gates import gate
from tinygrad_seq.nn import init

F64 = np.float64


def orthogonal(seed, size):
    return init.orthogonal(np.random.default_rng(seed), size, dtype=F64)


def linear_loop(weight, x, read):
    """h_t = h_{t-1} W + x_t, spelt out; the states are tagged, nothing else is told."""

    def run():
        h = tgs.tensor(np.zeros(x.shape[1:]))
        outputs = []
        for x_t in x:
            h = (h @ weight + x_t).tag("h")
            outputs.append(h)
        return read(outputs)

    return run


# -- a linear recurrence: everything is known --------------------------------------------------


@given(
    seed=st.integers(0, 99),
    size=st.integers(1, 6),
    steps=st.integers(2, 30),
    factor=st.sampled_from([0.9, 0.5, 1.0, 1.2]),
)
def test_a_linear_recurrence_decays_exactly(seed, size, steps, factor):
    weight = tgs.tensor(factor * orthogonal(seed, size), requires_grad=True)
    x = np.random.default_rng(seed).normal(size=(steps, 2, size))
    found = flow.gradient_flow(linear_loop(weight, x, lambda hs: (hs[-1] ** 2).sum()))
    (track,) = found.tracks.values()
    lags = np.arange(steps)
    np.testing.assert_allclose(track.decay, factor**lags, rtol=1e-13)
    np.testing.assert_allclose(track.dh_norm, track.dh_norm[-1] * factor ** lags[::-1], rtol=1e-13)
    np.testing.assert_allclose(track.ratios, factor, rtol=1e-13)
    jacobians = track.jacobians()
    expected = np.broadcast_to(weight.numpy().T, jacobians.shape)
    np.testing.assert_allclose(jacobians, expected, rtol=0, atol=1e-15)
    every = np.broadcast_to((factor ** lags[1:])[:, None, None], (steps - 1, 2, size))
    np.testing.assert_allclose(flow.product_singular_values(jacobians), every, rtol=1e-12)
    np.testing.assert_allclose(flow.lyapunov_exponents(jacobians), np.log(factor), atol=1e-12)
    np.testing.assert_array_equal(track.lyapunov(), flow.lyapunov_exponents(jacobians))
    assert track.spectra()[""].radius == pytest.approx(factor, rel=1e-12)


def test_a_relu_layer_held_positive_is_linear():
    """nn.RNN with inputs chosen so that every pre-activation is positive."""
    size, steps = 5, 20
    rng = np.random.default_rng(3)
    rnn = nn.RNN(size, size, nonlinearity="relu", rng=rng, dtype=F64)
    weight = 0.9 * orthogonal(4, size)
    rnn.weight_hh_l0.data, rnn.weight_xh_l0.data = weight, np.eye(size)
    states = rng.uniform(0.5, 1.5, (steps, 2, size))
    before = np.concatenate([np.zeros((1, 2, size)), states[:-1]])
    x = states - before @ weight
    found = flow.gradient_flow(lambda: rnn(x)[0][-1].sum())["l0"]
    np.testing.assert_allclose(found.h, states, rtol=1e-12)
    np.testing.assert_allclose(found.decay, 0.9 ** np.arange(steps), rtol=1e-13)
    assert found.verdict == "is carried"
    assert found.horizon == pytest.approx(np.log(100) / -np.log(0.9), rel=1e-10)


# -- contributions -----------------------------------------------------------------------------


def layer(kind, layers, seed=0, hidden=4, size=3):
    rng = np.random.default_rng(seed)
    return kind(size, hidden, num_layers=layers, rng=rng, dtype=F64)


@given(
    kind=st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]),
    layers=st.integers(1, 3),
    steps=st.integers(2, 9),
    batch=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_contributions_sum_to_the_gradient(kind, layers, steps, batch, seed):
    model = layer(kind, layers, seed)
    x, a = np.random.default_rng(seed).normal(size=(2, steps, batch, 4))

    def run():
        return (model(x[..., :3])[0] * a).sum()

    found = flow.gradient_flow(run)
    assert all(parameter.grad is None for parameter in model.parameters())
    run().backward()  # the fused kernels
    for k in range(layers):
        track, name = found[f"l{k}"], f"weight_hh_l{k}"
        parts = [track.contribution(t) for t in range(steps)]
        exact = getattr(model, name).grad
        tolerance = 1e-13 * max(np.abs(part).max() for part in parts)
        np.testing.assert_allclose(sum(parts), exact, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(found.gradients[name], track.weight_gradients[name])
        np.testing.assert_allclose(
            track.contribution_norms(), [np.linalg.norm(p) for p in parts], rtol=1e-14
        )
        assert not parts[0].any()  # h_{-1} is zero
        off_by_one = sum(parts[2:], parts[0])  # a planted mistake: step 1 is left out
        assert not np.allclose(off_by_one, exact, rtol=0, atol=tolerance)


# -- Jacobians and per-step gradients, by complex step -----------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def step(model, x, state):
    """One step of a single-layer model for one sequence, in plain NumPy, complex-safe."""
    weight_xh, weight_hh, bias = (w.numpy() for w in model.layer_weights(0))
    size = model.hidden_size
    z = x @ weight_xh + state[:size] @ weight_hh + bias
    if isinstance(model, nn.RNN):
        return np.tanh(z)
    i, f, o = (sigmoid(z[gate(name, size)]) for name in "ifo")
    c = f * state[size:] + i * np.tanh(z[gate("g", size)])
    return np.concatenate([o * np.tanh(c), c])


def step_jacobian(model, x, state):
    columns = []
    for j in range(len(state)):
        moved = state.astype(complex)
        moved[j] += 1e-20j
        columns.append(np.imag(step(model, x, moved)) / 1e-20)
    return np.stack(columns, axis=1)


@given(
    kind=st.sampled_from([nn.RNN, nn.LSTM]),
    steps=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_jacobians_gradients_and_ratios_against_complex_steps(kind, steps, seed):
    model = layer(kind, 1, seed)
    x, a = np.random.default_rng(seed).normal(size=(2, steps, 2, 4))
    x = x[..., :3]
    track = flow.gradient_flow(lambda: (model(x)[0] * a).sum())["l0"]
    exact = track.jacobians()
    hidden, parts = model.hidden_size, 1 if kind is nn.RNN else 2
    u, carried = np.zeros((2, steps, 2, parts * hidden))
    for row in range(2):
        states = [np.zeros(parts * hidden)]
        for t in range(steps):
            states.append(step(model, x[t, row], states[-1]))
        np.testing.assert_allclose(track.h[:, row], np.array(states)[1:, :hidden], atol=1e-14)
        for t in range(steps - 1, -1, -1):
            u[t, row] = carried[t, row]
            u[t, row, :hidden] += a[t, row]
            if t:
                jacobian = step_jacobian(model, x[t, row], states[t])
                np.testing.assert_allclose(exact[t - 1, row], jacobian, rtol=0, atol=1e-14)
                carried[t - 1, row] = u[t, row] @ jacobian
    np.testing.assert_allclose(track.dh, u[..., :hidden], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        track.step_singular_values(),
        [[np.linalg.svd(j)[1] for j in step_jacobians] for step_jacobians in exact],
        atol=1e-13,
    )
    sizes = [np.linalg.norm(part) for part in u]
    ratios = [np.linalg.norm(carried[t - 1]) / sizes[t] for t in range(1, steps)]
    np.testing.assert_allclose(track.ratios, ratios, rtol=1e-11)
    if kind is nn.LSTM:
        weight_xh, weight_hh, bias = (w.numpy() for w in model.layer_weights(0))
        before = np.concatenate([np.zeros((1, 2, hidden)), track.h[:-1]])
        forget = sigmoid((x @ weight_xh + before @ weight_hh + bias)[..., gate("f", hidden)])
        carried_cells = [track.dc[-1]]
        for t in range(steps - 1, 0, -1):
            carried_cells.append(carried_cells[-1] * forget[t])
        left = [np.linalg.norm(part) / np.linalg.norm(track.dc[-1]) for part in carried_cells]
        np.testing.assert_allclose(track.cell_decay, left, rtol=1e-12)
        assert track.cell_rate == pytest.approx(left[-1] ** (1 / (steps - 1)))
        for t in range(1, steps):
            for row in range(2):
                cell_path = exact[t - 1, row, hidden:, hidden:]
                np.testing.assert_allclose(cell_path, np.diag(forget[t, row]), atol=1e-14)


# -- the notes' claim --------------------------------------------------------------------------


def tanh_layer(weight, scale, steps=40, seed=0):
    """A tanh RNN with the given W_hh, driven by noise of the given size."""
    size = len(weight)
    rnn = nn.RNN(size, size, rng=np.random.default_rng(seed), dtype=F64)
    rnn.weight_hh_l0.data = weight
    x = scale * np.random.default_rng(seed).normal(size=(steps, 1, size))
    return flow.gradient_flow(lambda: rnn(x)[0][-1].sum())["l0"]


@given(seed=st.integers(0, 50), largest=st.floats(0.3, 0.99), scale=st.sampled_from([0.01, 1, 5]))
def test_below_one_the_gradient_must_vanish(seed, largest, scale):
    weight = np.random.default_rng(seed).normal(size=(5, 5))
    weight *= largest / np.linalg.norm(weight, 2)
    track = tanh_layer(weight, scale, seed=seed)
    bound = largest ** np.arange(len(track.decay)) * (1 + 1e-12)
    assert (track.decay <= bound).all()
    products = flow.product_singular_values(track.jacobians())
    assert (products[:, 0, 0] <= bound[1:]).all()


def test_above_one_the_gradient_may_explode():
    weight = 1.3 * orthogonal(0, 8)
    free, saturated = tanh_layer(weight, 1e-9, steps=30), tanh_layer(weight, 5.0)
    assert free.verdict == "explodes"
    np.testing.assert_allclose(free.decay, 1.3 ** np.arange(30), rtol=1e-3)
    assert saturated.verdict == "vanishes"  # the same weight: tanh' is small


def test_sigma_max_above_one_with_a_small_radius_grows_before_it_decays():
    weight = np.array([[0.5, 4.0], [0.0, 0.5]])
    track = tanh_layer(weight, 1e-9, steps=60)
    spectrum = track.spectra()[""]
    assert spectrum.radius == 0.5
    assert spectrum.largest > 4
    assert track.decay.max() > 3
    assert track.verdict == "vanishes"


def test_the_cell_path_is_the_exception():
    """With f = 1 and W_hh = 0, dc_T/dc_0 is 1 exactly, however long the sequence."""
    lstm = nn.LSTM(3, 4, forget_bias=1e3, rng=np.random.default_rng(0), dtype=F64)
    lstm.weight_hh_l0.writable()[:] = 0.0
    x = np.random.default_rng(1).normal(size=(200, 1, 3))
    track = flow.gradient_flow(lambda: lstm(x)[1].c.sum())["l0"]
    cell_path = np.eye(4)
    for jacobian in track.jacobians()[:, 0, 4:, 4:]:
        cell_path = jacobian @ cell_path
    np.testing.assert_array_equal(cell_path, np.eye(4))
    np.testing.assert_array_equal(track.dc, 1.0)
    np.testing.assert_array_equal(track.decay, 1.0)
    np.testing.assert_array_equal(track.cell_decay, 1.0)
    assert track.verdict == "is carried"
    assert track.horizon == np.inf
    assert "along the cells alone: 1 of dL/dc is left after 199 steps" in str(
        flow.GradientFlow(0.0, {"l0": track}, {})
    )
    assert "neither growing nor shrinking" in str(flow.GradientFlow(0.0, {"l0": track}, {}))


def test_half_shut_forget_gates_halve_what_the_cells_carry():
    """f = 1/2 with W_hh = 0: exactly 2^-k; what goes by h does not count."""
    lstm = nn.LSTM(3, 4, forget_bias=0.0, rng=np.random.default_rng(0), dtype=F64)
    forget = gate("f", 4)
    lstm.weight_hh_l0.writable()[:, forget] = 0.0
    lstm.weight_xh_l0.writable()[:, forget] = 0.0
    lstm.weight_hh_l0.writable()[:] *= 20.0
    x = np.random.default_rng(1).normal(size=(60, 2, 3))
    track = flow.gradient_flow(lambda: lstm(x)[0].sum())["l0"]
    np.testing.assert_allclose(track.cell_decay, 0.5 ** np.arange(60), rtol=1e-12)
    assert not np.allclose(track.decay, track.cell_decay)
    model = layer(nn.RNN, 1)
    rnn = flow.gradient_flow(lambda: model(x)[0].sum())["l0"]
    assert rnn.cell_decay is None and rnn.cell_rate is None


def test_a_forget_bias_moves_the_horizon():
    x = np.random.default_rng(1).normal(size=(80, 2, 3))

    def horizon(bias):
        lstm = nn.LSTM(3, 8, forget_bias=bias, rng=np.random.default_rng(0), dtype=F64)
        return flow.gradient_flow(lambda: lstm(x)[0][-1].sum())["l0"].horizon

    found = [horizon(bias) for bias in (0.0, 1.0, 2.0, 5.0)]
    assert found == sorted(found)
    assert found[-1] > 5 * found[0]


# -- words, pictures, refusals -----------------------------------------------------------------


def test_the_report_says_over_what_horizon():
    weight = tgs.tensor(0.5 * orthogonal(0, 3), requires_grad=True)
    x = np.random.default_rng(0).normal(size=(20, 1, 3))
    found = flow.gradient_flow(linear_loop(weight, x, lambda hs: hs[-1].sum()))
    assert "h: the gradient vanishes" in str(found)
    assert "it falls below 1% after 7 steps" in str(found)  # 0.5 ** 7 = 0.0078
    assert "radius 0.5, sigma_max 0.5" in str(found)
    weight.data = 2.0 * orthogonal(0, 3)
    found = flow.gradient_flow(linear_loop(weight, x, lambda hs: hs[-1].sum()))
    assert "explodes" in str(found)
    assert "passes 100 times after 7 steps" in str(found)
    one = flow.gradient_flow(linear_loop(weight, x[:1], lambda hs: hs[-1].sum()))
    assert "one step only" in str(one)


def test_the_picture_has_its_panels():
    pytest.importorskip("matplotlib")
    lstm = layer(nn.LSTM, 2)
    x = np.random.default_rng(0).normal(size=(6, 1, 3))
    figure = flow.gradient_flow(lambda: lstm(x)[0].sum()).plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert len(figure.axes[0].lines) == 4  # dL/dh and dL/dc of two layers
    labels = [line.get_label() for line in figure.axes[1].lines]
    assert "l1: along the cells alone" in labels


def test_a_notebook_shows_a_table_and_plots(monkeypatch):
    pytest.importorskip("matplotlib")
    lstm = layer(nn.LSTM, 2)
    x = np.random.default_rng(0).normal(size=(6, 1, 3))
    found = flow.gradient_flow(lambda: lstm(x)[0].sum())
    for shown in (found, *found.tracks.values()):
        assert len(repr(shown)) < 120 and "\n" not in repr(shown)
    root = ET.fromstring(f"<div>{found._repr_html_()}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]
    assert [row[0] for row in rows] == ["layer", "l0", "l1"]
    assert rows[1][2] == found["l0"].verdict
    assert float(rows[1][3]) == pytest.approx(found["l0"].decay[-1], rel=1e-2)
    assert "weight_hh_l1: i: radius" in rows[2][7]
    (image,) = root.iter("img")
    kind, picture = image.get("src").split(",")
    assert kind == "data:image/png;base64" and b64decode(picture).startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if it were not installed
    assert found._repr_html_().endswith("</table>")


def test_refusals():
    rnn = layer(nn.RNN, 1)
    x = np.zeros((3, 1, 3))
    with pytest.raises(ShapeError, match="scalar"):
        flow.gradient_flow(lambda: rnn(x)[0])
    with pytest.raises(GraphError, match=r"tag\('h'\)"):
        flow.gradient_flow(lambda: (rnn.weight_hh_l0 * 2).sum())
    with pytest.raises(GraphError, match="without a graph"):
        flow.gradient_flow(lambda: rnn(x)[0].detach().sum())
    with pytest.raises(GraphError, match="make the model first"):
        flow.gradient_flow(lambda: layer(nn.RNN, 1)(x)[0].sum())
    with pytest.raises(ConfigError, match="names=locals"):
        flow.gradient_flow(lambda: rnn(x)[0].sum(), names=["rnn"])
    track = flow.gradient_flow(lambda: rnn(x)[0].sum())["l0"]
    with pytest.raises(IndexRangeError):
        track.contribution(3)
    with pytest.raises(ConfigError, match="weight_hh_l0"):
        track.contribution(0, "weight_xh_l0")
    for wrong in (np.zeros((0, 2, 2)), np.zeros((3, 2, 1)), np.zeros(3)):
        with pytest.raises(ShapeError):
            flow.lyapunov_exponents(wrong)
        with pytest.raises(ShapeError):
            flow.product_singular_values(wrong)


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, [""]), (nn.LSTM, "ifog"), (nn.GRU, "rzn")])
def test_spectra_are_named_by_gate(kind, gates):
    model = layer(kind, 1)
    x = np.random.default_rng(0).normal(size=(3, 1, 3))
    found = flow.gradient_flow(lambda: model(x)[0].sum())
    spectra = found["l0"].spectra()
    assert list(spectra) == list(gates)
    for spectrum, block in zip(
        spectra.values(), np.split(model.weight_hh_l0.numpy(), len(gates), axis=1), strict=True
    ):
        np.testing.assert_allclose(spectrum.singular_values, np.linalg.svd(block)[1])
    assert ", ".join(gates[:1]) + ("radius" if gates == [""] else ": radius") in str(found)


def test_products_neither_overflow_nor_underflow():
    tiny = flow.product_singular_values(np.full((300, 1, 1), 1e-1))
    assert tiny[-1, 0] == pytest.approx(1e-300, rel=1e-10)
    exponents = flow.lyapunov_exponents(np.full((5000, 1, 1), 1e3))
    assert exponents[0] == pytest.approx(np.log(1e3))
    dead = flow.lyapunov_exponents(np.zeros((3, 2, 2)))
    np.testing.assert_array_equal(dead, -np.inf)
