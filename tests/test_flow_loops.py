"""Gradient flow of loops written by hand: the numbers of one step, of its products, of layers."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.support.loops import CELLS, H, N, Program, Weights, run
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


ONE_BACK = [cell for cell in CELLS if cell != "two_back"]


@pytest.mark.parametrize("reads", ["each", "last", "mean"])
@pytest.mark.parametrize("cell", ONE_BACK)
def test_every_number_of_a_loop_by_hand(cell: str, reads: str) -> None:
    found, made, again = measured(Program((cell,), T, "rows", "zeros", reads, 0, False))
    (track,) = found.tracks.values()
    parts = CELLS[cell][1]
    exact = np.stack([step_jacobians(cell, made, t) for t in range(1, T)])
    jacobians = track.jacobians()
    np.testing.assert_allclose(jacobians, exact, rtol=0, atol=1e-14)
    assert not np.allclose(jacobians, exact[::-1], atol=1e-6)  # planted: time turned round
    assert not np.allclose(jacobians, exact.swapaxes(2, 3), atol=1e-6)  # and rows for columns
    states = np.stack([joined(made.states[0, t]) for t in range(T)])
    np.testing.assert_array_equal(track.h, states[..., :H])
    d_h = [tgs.grad(again.loss, again.states[0, t][0], retain_graph=True) for t in range(T)]
    np.testing.assert_allclose(track.dh, [g.numpy() for g in d_h], rtol=1e-12, atol=1e-15)
    assert (track.c is None) == (parts == 1)
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


# -- programs of other shapes --------------------------------------------------------------------


def leaf(*shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed + sum(shape)).standard_normal(shape) * 0.4
    return tgs.tensor(values, requires_grad=True)


def test_fast_weights_are_flattened_by_sequence() -> None:
    """A matrix as the state: S_t = S_{t-1} * f + v k^T, one for every sequence."""
    wk, wv, f = leaf(3, 5), leaf(3, 4, seed=1), leaf(5)
    q, x = leaf(5, seed=2), np.random.default_rng(0).normal(size=(6, 2, 3))

    def run_it() -> Any:
        s, total = np.zeros((2, 4, 5)), 0.0
        for x_t in x:
            k, v = np.tanh(x_t @ wk), np.tanh(x_t @ wv)
            read = s @ q
            s = s * tgs.sigmoid(f) + (v - read)[:, :, None] * k[:, None, :]
            total = total + (s**2).sum()
        return total

    (track,) = flow.gradient_flow(run_it).tracks.values()
    assert track.h.shape == (6, 2, 20)
    keep = 1 / (1 + np.exp(-f.numpy()))
    for t in range(1, 6):
        for n in range(2):
            k = np.tanh(x[t, n] @ wk.numpy())
            one = np.diag(keep) - np.outer(k, q.numpy())  # of every row of S
            exact = np.kron(np.eye(4), one)
            np.testing.assert_allclose(track.jacobians()[t - 1, n], exact, rtol=0, atol=1e-14)


class Net(nn.Module):
    """A module of a user's own, called in a loop."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.inner = nn.Linear(3, H, rng=rng, dtype=np.float64)
        self.again = nn.Linear(H, H, bias=False, rng=rng, dtype=np.float64)

    def forward(self, x: Any, h: Any) -> Any:
        return np.tanh(self.inner(x) + self.again(h))


def test_a_module_called_in_a_loop() -> None:
    net, x = Net(), np.random.default_rng(0).normal(size=(5, 2, 3))

    def run_it() -> Any:
        h = np.zeros((2, H))
        for x_t in x:
            h = net(x_t, h)
        return (h**2).sum()

    (track,) = flow.gradient_flow(run_it).tracks.values()
    assert list(track.weights) == ["again.weight"]
    weight = net.again.weight.numpy()
    exact = (1 - track.h[1:, :, :, None] ** 2) * weight.T
    np.testing.assert_allclose(track.jacobians(), exact, rtol=0, atol=1e-14)


def test_two_bare_cells_in_one_loop_are_two_tracks() -> None:
    rng = np.random.default_rng(0)
    low, high = (nn.LSTMCell(n, H, rng=rng, dtype=np.float64) for n in (3, H))
    stack = nn.LSTM(3, H, num_layers=2, dtype=np.float64)
    for k, cell in enumerate((low, high)):
        for name in ("weight_xh", "weight_hh", "bias"):
            getattr(stack, f"{name}_l{k}").data = getattr(cell, name).numpy()
    x = rng.normal(size=(6, 2, 3))

    def run_it() -> Any:
        one = two = None
        for x_t in x:
            one = low(x_t, one)
            two = high(one[0], two)
        return (two[0] ** 2).sum()

    own = flow.gradient_flow(run_it)
    ours = flow.gradient_flow(lambda: (stack(x)[0][-1] ** 2).sum())
    assert list(own.tracks) == ["h", "h (2)"]
    for mine, name in zip(own.tracks.values(), ("l0", "l1"), strict=True):
        for field in FIELDS:
            np.testing.assert_allclose(
                getattr(mine, field), getattr(ours[name], field), rtol=1e-12, atol=1e-15
            )
        assert list(mine.spectra(next(iter(mine.weights)))) == [*"ifog"]


def test_encoder_and_decoder_and_both_directions() -> None:
    we, ue, ud, wb, ub = leaf(3, H), leaf(H, H), leaf(H, H, seed=1), leaf(3, H, seed=2), leaf(H, H)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))

    def run_it() -> Any:
        h = b = np.zeros((2, H))
        for x_t in x:
            h = np.tanh(x_t @ we + h @ ue)
        for x_t in x[::-1]:
            b = np.tanh(x_t @ wb + b @ ub)
        total, d = 0.0, h + b
        for _ in range(5):
            d = np.tanh(d @ ud)
            total = total + (d**2).sum()
        return total

    tracks = list(flow.gradient_flow(run_it).tracks.values())
    assert [(t.steps, len(t.weights)) for t in tracks] == [(4, 1), (4, 1), (5, 1)]
    for track in tracks:
        (weight,) = track.weights.values()
        exact = (1 - track.h[1:, :, :, None] ** 2) * weight.T
        np.testing.assert_allclose(track.jacobians(), exact, rtol=0, atol=1e-14)


class Stacked(nn.Cell):
    """Cells in a cell, the states of both its own."""

    def __init__(self, size: int, rng: Any) -> None:
        super().__init__(size, {"h": H, "c": H, "k": H})
        self.low = nn.GRUCell(size, H, rng=rng, dtype=np.float64)
        self.high = nn.LSTMCell(H, H, rng=rng, dtype=np.float64)

    def forward(self, x: Any, state: Any) -> Any:
        h, c, k = state
        k = self.low(x, k)
        h, c = self.high(k + 0.1 * h, (h, c))
        return h, c, k


class Around(nn.Cell):
    """A cell around another one, whose state is made of what that gives out."""

    def __init__(self, size: int, rng: Any) -> None:
        super().__init__(size, H)
        self.inner = nn.GRUCell(size, H, rng=rng, dtype=np.float64)
        self.mix = nn.Parameter(rng.normal(size=(H, H)) * 0.5)

    def forward(self, x: Any, h: Any) -> Any:
        return np.tanh(self.inner(x, h) @ self.mix)


class OneTensor(nn.Cell):
    """An LSTM whose state is one tensor."""

    def __init__(self, size: int, rng: Any) -> None:
        super().__init__(size, 2 * H)
        self.inner = nn.LSTMCell(size, H, rng=rng, dtype=np.float64)

    def forward(self, x: Any, z: Any) -> Any:
        return np.concatenate(self.inner(x, tuple(np.split(z, 2, axis=-1))), axis=-1)


class Swapped(nn.Cell):
    """Each state is made of the other one."""

    def __init__(self, size: int, rng: Any) -> None:
        super().__init__(size, {"a": H, "b": H})
        self.w, self.v = (nn.Parameter(rng.normal(size=(n, H)) * 0.5) for n in (H, size))

    def forward(self, x: Any, state: Any) -> Any:
        a, b = state
        return np.tanh(b @ self.w + x @ self.v), np.tanh(a + x @ self.v)


@pytest.mark.parametrize("by_layer", [True, False], ids=["layer", "own loop"])
@pytest.mark.parametrize("kind", [Stacked, Around, OneTensor, Swapped])
def test_cells_in_cells_and_other_states(kind: Any, by_layer: bool) -> None:
    rng = np.random.default_rng(0)
    cell, x = kind(3, rng), rng.normal(size=(5, 2, 3))
    layer, seen = nn.Recurrent(cell), []

    def run_it() -> Any:
        if by_layer:
            y, state = layer(x)
            return (y**2).sum() + sum(part.sum() for part in state)
        state = None
        seen.clear()
        for t, x_t in enumerate(x):
            with tgs.scope(step=t) if kind is Swapped else nullcontext():
                state = cell(x_t, state)  # of states that swap only every other step is found
            parts = state if isinstance(state, tuple) else (state,)
            seen.append(np.concatenate([np.asarray(p.data) for p in parts], axis=-1))
        return sum((part**2).sum() for part in parts)

    (track,) = flow.gradient_flow(run_it).tracks.values()
    sizes = list(cell.states.values())
    assert track.jacobians().shape == (4, 2, sum(sizes), sum(sizes))
    for name, whole in track.weight_gradients.items():
        parts = [track.contribution(t, name) for t in range(5)]
        np.testing.assert_allclose(sum(parts), whole, rtol=0, atol=1e-12)
    if by_layer:
        return
    ends = np.cumsum(sizes)[:-1].tolist()

    def step(whole: Any) -> Any:
        parts = tgs.split(whole, tuple(ends), axis=-1) if ends else whole
        after = cell(x_t, tuple(parts) if ends else parts)
        return tgs.concatenate(list(after), axis=-1) if ends else after

    for t in range(1, 5):
        for n in range(2):
            x_t = x[t, n : n + 1]
            exact = tgs.jacobian(step, seen[t - 1][n : n + 1]).numpy()[0, :, 0]
            np.testing.assert_allclose(track.jacobians()[t - 1, n], exact, rtol=0, atol=1e-13)


def test_a_diagonal_recurrence_has_scales_and_no_radii() -> None:
    u, w = leaf(H), leaf(3, H)
    x = np.random.default_rng(0).normal(size=(5, 2, 3))

    def run_it() -> Any:
        h = np.zeros((2, H))
        for x_t in x:
            h = np.tanh(x_t @ w + u * h)
        return (h**2).sum()

    (track,) = flow.gradient_flow(run_it).tracks.values()
    assert not track.weights
    (name,) = track.scales
    assert "radius" not in str(flow.gradient_flow(run_it))
    total = sum(track.contribution(t) for t in range(5))
    np.testing.assert_allclose(total, track.weight_gradients[name], rtol=0, atol=1e-14)
    exact = [np.diag(d) for d in ((1 - track.h[1:] ** 2) * u.numpy()).reshape(-1, H)]
    np.testing.assert_allclose(track.jacobians().reshape(-1, H, H), exact, rtol=0, atol=1e-15)


def test_a_vector_of_one_sequence_and_windows_that_are_cut() -> None:
    u, w = leaf(H, H), leaf(H, 3)
    x = np.random.default_rng(0).normal(size=(6, 3))

    def run_it(cut: int) -> Any:
        h = np.zeros(H)
        for t, x_t in enumerate(x):
            h = h.detach() if t == cut and t else h
            h = np.tanh(w @ x_t + u @ h)
        return (h**2).sum()

    (track,) = flow.gradient_flow(lambda: run_it(0)).tracks.values()
    exact = (1 - track.h[1:, :, :, None] ** 2) * u.numpy()
    np.testing.assert_allclose(track.jacobians(), exact, rtol=0, atol=1e-14)
    one, two = flow.gradient_flow(lambda: run_it(4)).tracks.values()
    assert (one.steps, two.steps) == (4, 2)
    assert not one.dh.any()
    np.testing.assert_array_equal(two.dh, track.dh[4:])
