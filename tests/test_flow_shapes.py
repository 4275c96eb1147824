"""Gradient flow of programs of other shapes: modules, cells in cells, matrices, windows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import flow, nn

H = 4
FIELDS = ("h", "c", "dh", "dc", "decay", "cell_decay", "ratios")


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


def test_two_cells_that_read_each_other_are_one_recurrence() -> None:
    rng = np.random.default_rng(0)
    low, high = (nn.LSTMCell(n, H, rng=rng, dtype=np.float64) for n in (3 + H, H))
    x, seen = rng.normal(size=(5, 2, 3)), []

    def step(x_t: Any, one: Any, two: Any) -> Any:
        one = low(np.concatenate([x_t, two[0]], axis=1), one)
        return one, high(one[0], two)

    def run_it() -> Any:
        one, two = None, (np.zeros((2, H)), np.zeros((2, H)))
        seen.clear()
        for x_t in x:
            one, two = step(x_t, one, two)
            seen.append([part.numpy() for part in (one[0], two[0], one[1], two[1])])
        return (two[0] ** 2).sum()

    (track,) = flow.gradient_flow(run_it).tracks.values()
    assert track.states == ("h", "h2", "c", "c2")
    np.testing.assert_array_equal(track.c, [states[2] for states in seen])
    for t in range(1, 5):

        def whole(state: Any, x_t: Any = x[t]) -> Any:
            h, h2, c, c2 = tgs.split(state, 4, axis=-1)
            one, two = step(x_t, (h, c), (h2, c2))
            return tgs.concatenate([one[0], two[0], one[1], two[1]], axis=-1)

        exact = tgs.jacobian(whole, np.concatenate(seen[t - 1], axis=-1)).numpy()
        for n in range(2):
            np.testing.assert_allclose(
                track.jacobians()[t - 1, n], exact[n, :, n], rtol=0, atol=1e-13
            )


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
