"""Time found where inputs go on to later steps, and where steps are not all the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.test_found_time import H, at, differences, leaf, told


def input_before(declared: bool, steps: int = 4) -> Any:
    """A step reads what was made of its input, and of the one before."""
    w, v, u, d, losses = leaf(3, H), leaf(H, H), leaf(H, H), leaf(H, 2), []
    h = before = np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            e = np.tanh(np.ones((2, 3)) @ w)
            h, before = np.tanh(e + before @ v + h @ u), e
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def window(declared: bool, steps: int = 4) -> Any:
    """Embeddings are made first, and read two at a time."""
    e, c, u, d, made, losses = leaf(3, H), leaf(2 * H, H), leaf(H, H), leaf(H, 2), [], []
    for t in range(steps):
        with at(t, declared):
            made.append(np.ones((2, 3)) @ e)
    h = np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            before = made[t - 1] if t else np.zeros((2, H))
            h = np.tanh(np.concatenate([before, made[t]], axis=1) @ c + h @ u)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def summed_inputs(declared: bool, steps: int = 4) -> Any:
    """A running sum of what was made of inputs."""
    w, v, u, d = leaf(3, H), leaf(H, H), leaf(H, H), leaf(H, 2)
    h, total, losses = np.zeros((2, H)), None, []
    for t in range(steps):
        with at(t, declared):
            e = np.tanh(np.ones((2, 3)) @ w)
            total = e if total is None else total + e
            h = np.tanh(total @ v + h @ u)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def skipping_at_times(declared: bool, steps: int = 4) -> Any:
    """At every second step the state of two steps before is added: no stage, for it is read."""
    w, u, d, losses = leaf(3, H), leaf(H, H), leaf(H, 2), []
    h = before = np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            new = np.tanh(np.ones((2, 3)) @ w + h @ u)
            h, before = new + before if t % 2 else new, h
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


@pytest.mark.parametrize(
    "program",
    [input_before, window, summed_inputs, skipping_at_times],
    ids=lambda program: program.__name__,
)
def test_what_is_made_of_inputs_is_of_their_step(program: Any) -> None:
    assert not differences(program(True), program(False))
    for level in ("module", "cell", "op"):
        assert program(False).draw(level=level).dot


@pytest.mark.parametrize("steps", [2, 4])
def test_what_every_step_looks_at_is_made_before(steps: int) -> None:
    """A memory that no recurrence made."""
    w, u, k = leaf(3, H), leaf(H, H), leaf(H, H)
    memory = [np.tanh(np.full((2, 3), s) @ w) for s in range(1, 4)]
    h = np.ones((2, H))
    for _ in range(steps):
        read = sum(((h @ k) * m).sum(axis=1)[:, None] * m for m in memory)
        h = np.tanh(h @ u + read)
    found = {node.seq: node.scope.step for node in told((h**2).mean())}
    assert {found[m.node.seq] for m in memory} == {None}
