"""Gradient flow of loops written by hand: the numbers of one step, of its products, of layers."""

from __future__ import annotations

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
