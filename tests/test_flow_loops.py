"""Gradient flow of loops written by hand: the numbers of one step, of its products, of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tinygrad_seq as tgs
from tests.support.loops import CELLS, H, N, Program, Weights, programs, run
from tinygrad_seq import flow, nn

T = 4


def measured(program: Program) -> tuple[Any, Any, Any]:
    """The flow of a program, another run of it, and its gradients."""
    kept = []

    def once() -> Any:
        kept.append(run(program, declared=False))
        return kept[-1].loss

    found = flow.gradient_flow(once)
    once()
    return found, *kept


def joined(states: Any) -> Any:
    return np.concatenate([np.asarray(getattr(s, "data", s)) for s in states], axis=-1)


def step_jacobians(cell: str, made: Any, t: int) -> Any:
    """Of the step t of a program of one layer, by sequence: (N, S, S)."""
    step, count = CELLS[cell]
    x = Weights().rng.standard_normal((T, N, 3))[t]

    def weight(name: str, *shape: int) -> Any:
        return made.weights[name].data

    def inputs(name: str, size: int) -> Any:
        return x @ weight(name) if name else x

    def whole(state: Any) -> Any:
        parts = tgs.split(state, count, axis=-1) if count > 1 else (state,)
        return tgs.concatenate(list(step(weight, "0", inputs, parts)), axis=-1)  # type: ignore[arg-type]

    full = tgs.jacobian(whole, joined(made.states[0, t - 1])).numpy()
    for n in range(N):
        assert not np.delete(full[n], n, axis=1).any()
    return np.stack([full[n, :, n] for n in range(N)])


@pytest.mark.parametrize("reads", ["each", "last", "mean"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_number_of_a_loop_by_hand(cell: str, reads: str) -> None:
    found, made, again = measured(Program((cell,), T, "rows", "zeros", reads, 0, False))
    (track,) = found.tracks.values()
    parts = CELLS[cell][1]
    exact = np.stack([step_jacobians(cell, made, t) for t in range(1, T)])
    jacobians = track.jacobians()
    if cell == "two_back":  # what comes before the first step is a constant
        exact[0, :, :H, H:] = 0.0
    np.testing.assert_allclose(jacobians, exact, rtol=0, atol=1e-14)
    assert not np.allclose(jacobians, exact[::-1], atol=1e-6)  # planted: time turned round
    assert not np.allclose(jacobians, exact.swapaxes(2, 3), atol=1e-6)  # and rows for columns
    states = np.stack([joined(made.states[0, t]) for t in range(T)])
    np.testing.assert_array_equal(track.h, states[..., :H])
    d_h = [tgs.grad(again.loss, again.states[0, t][0], retain_graph=True) for t in range(T)]
    np.testing.assert_allclose(track.dh, [g.numpy() for g in d_h], rtol=1e-12, atol=1e-15)
    assert (track.c is None) == (parts == 1 or cell == "two_back")
    u = np.zeros((N, parts * H))
    u[:, :H] = track.dh[-1]  # at the last step nothing but the loss reads a state, which is h
    sizes = [np.linalg.norm(u)]
    for jacobian in exact[::-1]:
        u = np.einsum("ns,nsr->nr", u, jacobian)
        sizes.append(np.linalg.norm(u))
    np.testing.assert_allclose(track.decay, np.array(sizes) / sizes[0], rtol=1e-12)
    np.testing.assert_allclose(track.ratios[-1], sizes[1] / sizes[0], rtol=1e-12)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("inputs", ["rows", "tokens", "leaves", "at once"])
@pytest.mark.parametrize("cell", CELLS)
def test_contributions_of_a_loop_by_hand_add_up(cell: str, inputs: str, layers: int) -> None:
    found, made, again = measured(Program((cell,) * layers, T, inputs, "zeros", "each", 0, False))
    assert [(t.steps, t.h.shape) for t in found.tracks.values()] == [(T, (T, N, H))] * layers
    recurrent = {name for name in made.weights if name[1:2] in "UV" and name[:1].isdigit()}
    recurrent |= {name for name in made.weights if name[1:] == "WU"}
    for track in found.tracks.values():
        for name, whole in track.weight_gradients.items():
            parts = [track.contribution(t, name) for t in range(T)]
            np.testing.assert_allclose(sum(parts), whole, rtol=0, atol=1e-13)
            assert not np.allclose(sum(parts[:-1]), whole, rtol=0, atol=1e-6)  # planted
        assert all(np.ndim(weight) == 2 for weight in track.weights.values())
        assert all(np.ndim(scale) == 1 for scale in track.scales.values())
    again.loss.backward()
    exact = {name: w.grad for name, w in again.weights.items()}
    matrices = [t.weight_gradients[name] for t in found.tracks.values() for name in t.weights]
    assert len(matrices) == len(recurrent)
    for name in recurrent:
        alike = [g for g in matrices if g.shape == exact[name].shape]
        close = [np.allclose(g, exact[name], rtol=0, atol=1e-13) for g in alike]
        assert sum(close) == 1, name


@given(programs)
def test_windows_of_any_program_share_what_they_add(program: Program) -> None:
    found, *_ = measured(program)
    for name, whole in found.gradients.items():
        tracks = [track for track in found.tracks.values() if name in track.weight_gradients]
        parts = [track.contribution(t, name) for track in tracks for t in range(track.steps)]
        if parts:
            np.testing.assert_allclose(sum(parts), whole, rtol=0, atol=1e-12)
    for track in found.tracks.values():
        assert track.h.shape == (track.steps, N, H)
        assert np.isfinite(track.decay).all()


# -- the same numbers as layers ------------------------------------------------------------------


def layer_of(kind: Any) -> Any:
    return kind(3, H, rng=np.random.default_rng(0), dtype=np.float64)


def by_rows(layer: Any, x: Any, columns: bool = False) -> Any:
    """The states of a layer of ours, written by hand; of columns all products turned round."""
    w, u, b = layer.weight_xh_l0, layer.weight_hh_l0, layer.bias_l0
    count = u.shape[1] // H
    shape = (H, x.shape[1]) if columns else (*x.shape[1:-1], H)
    if columns:
        wt, ut, bt = w.T, u.T, b[:, None]
    h, c, hs = np.zeros(shape), np.zeros(shape), []
    for x_t in x:
        z = wt @ x_t.T + ut @ h + bt if columns else x_t @ w + h @ u + b
        if count == 1:
            h = np.tanh(z)
        else:
            i, f, o, g = np.split(z, 4, axis=0 if columns else -1)
            c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
            h = tgs.sigmoid(o) * np.tanh(c)
        hs.append(h)
    return tgs.stack(hs)


def gru_by_hand(layer: Any, x: Any) -> Any:
    w, u, b = layer.weight_xh_l0, layer.weight_hh_l0, layer.bias_l0
    h, hs = np.zeros((*x.shape[1:-1], H)), []
    for x_t in x:
        xr, xz, xn = np.split(x_t @ w + b, 3, axis=-1)
        r = tgs.sigmoid(xr + h @ u[:, :H])
        z = tgs.sigmoid(xz + h @ u[:, H : 2 * H])
        n = np.tanh(xn + (r * h) @ u[:, 2 * H :])
        h = (1 - z) * n + z * h
        hs.append(h)
    return tgs.stack(hs)


FIELDS = ("h", "c", "dh", "dc", "decay", "cell_decay", "ratios")


def assert_alike(one: Any, two: Any) -> None:
    for name in FIELDS:
        a, b = getattr(one, name), getattr(two, name)
        assert (a is None) == (b is None), name
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15, err_msg=name)
    np.testing.assert_allclose(one.jacobians(), two.jacobians(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(one.lyapunov(), two.lyapunov(), rtol=0, atol=1e-12)
    assert list(one.weights) == list(two.weights)
    for name in one.weights:
        np.testing.assert_allclose(one.weight_gradients[name], two.weight_gradients[name])
        np.testing.assert_allclose(one.contribution_norms(name), two.contribution_norms(name))
        for a, b in zip(one.spectra(name).values(), two.spectra(name).values(), strict=True):
            np.testing.assert_array_equal(a.singular_values, b.singular_values)


@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 1, 3), (6, 3)], ids=["N", "one", "none"])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_loop_by_hand_has_the_numbers_of_a_layer(kind: Any, shape: Any) -> None:
    options = {"reset_after": False} if kind is nn.GRU else {}
    layer = kind(3, H, rng=np.random.default_rng(0), dtype=np.float64, **options)
    x, a = np.random.default_rng(1).normal(size=(2, *shape[:-1], H))
    x = x[..., :3]
    by_hand = gru_by_hand if kind is nn.GRU else by_rows
    own = flow.gradient_flow(lambda: (by_hand(layer, x) * a).sum())
    ours = flow.gradient_flow(lambda: (layer(x)[0] * a).sum())
    assert list(own.tracks) == ["h"]
    assert_alike(own["h"], ours["l0"])
    assert own["h"].jacobians().shape[1] == (shape[1] if len(shape) == 3 else 1)


@pytest.mark.parametrize("batch", [1, 2, H])
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM])
def test_columns_have_the_numbers_of_rows(kind: Any, batch: int) -> None:
    layer = layer_of(kind)
    x, a = np.random.default_rng(1).normal(size=(2, 6, batch, H))
    x = x[..., :3]
    rows = flow.gradient_flow(lambda: (layer(x)[0] * a).sum())["l0"]
    columns = flow.gradient_flow(
        lambda: (by_rows(layer, x, columns=True) * a.swapaxes(1, 2)).sum()
    )["h"]
    assert columns.jacobians().shape == (5, batch, *[len(columns.states) * H] * 2)
    assert_alike(columns, rows)


def test_gates_have_no_names_but_those_that_are_given() -> None:
    """By hand the order of the pieces is i, f, g, o as often as another."""
    rng = np.random.default_rng(0)
    w, u = (tgs.tensor(rng.normal(size=s) * 0.3, requires_grad=True) for s in ((3, 16), (4, 16)))
    x, names = rng.normal(size=(5, 2, 3)), dict[str, Any]()

    def run_it() -> Any:
        s = c = np.zeros((2, H))
        for x_t in x:
            i, f, g, o = np.split(x_t @ w + s @ u, 4, axis=-1)
            c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
            s = tgs.sigmoid(o) * np.tanh(c)
        names.update({k: v for k, v in locals().items() if k != "names"})
        return (s**2).sum()

    (track,) = flow.gradient_flow(run_it).tracks.values()
    assert list(track.spectra()) == ["0", "1", "2", "3"]
    found = flow.gradient_flow(run_it, names=names)
    track = found["s"]
    assert track.states == ("s", "c")
    assert list(track.weights) == ["u"] and {*found.gradients} == {"w", "u"}
    spectra = track.spectra("u")
    assert list(spectra) == ["i", "f", "g", "o"]
    np.testing.assert_array_equal(
        spectra["g"].singular_values, np.linalg.svd(u.numpy()[:, 8:12], compute_uv=False)
    )
