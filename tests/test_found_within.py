"""Time found where a step uses its weights several times: stages, layers that share, states that
swap places, loops within loops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.test_found_time import at, differences, leaf, told

H = 4
Step = Callable[[Any, Any], Any]


def midpoint(f: Step, z: Any, x: Any) -> Any:
    return z + 0.1 * f(z + 0.05 * f(z, x), x)


def heun(f: Step, z: Any, x: Any) -> Any:
    k = f(z, x)
    return z + 0.05 * (k + f(z + 0.1 * k, x))


def corrected(f: Step, z: Any, x: Any) -> Any:
    """Euler's method and its correction, with f(z) computed twice."""
    guess = z + 0.1 * f(z, x)
    return z + 0.05 * (f(z, x) + f(guess, x))


def rk4(f: Step, z: Any, x: Any) -> Any:
    one = f(z, x)
    two = f(z + 0.05 * one, x)
    three = f(z + 0.05 * two, x)
    four = f(z + 0.1 * three, x)
    return z + 0.1 / 6 * (one + 2 * two + 2 * three + four)


METHODS = [midpoint, heun, corrected, rk4]


@pytest.mark.parametrize("read", ["last", "each"])
@pytest.mark.parametrize("inputs", [False, True])
@pytest.mark.parametrize("start", ["constant", "trained"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_stages_are_of_one_step(
    method: Any, layers: int, start: str, inputs: bool, read: str
) -> None:
    def program(declared: bool) -> Any:
        w, b, v, u, d = leaf(H, 5), leaf(5), leaf(5, H), leaf(3, 5), leaf(H, 1)
        z = leaf(2, H) if start == "trained" else np.ones((2, H))
        losses = []

        def f(z: Any, x: Any) -> Any:
            a = z @ w + b + x @ u if inputs else z @ w + b
            return np.tanh(a) @ v if layers == 2 else np.tanh(a)[:, :H]

        for t in range(4):
            with at(t, declared):
                z = method(f, z, np.ones((2, 3)))
                if read == "each":
                    losses.append(((z @ d) ** 2).mean())
        return sum(losses) if losses else (z**2).mean()

    assert not differences(program(True), program(False))


def swapped(declared: bool, steps: int = 5) -> Any:
    """Each of two states is made of the other."""
    u, v, w, d = leaf(H, H), leaf(H, H), leaf(3, H), leaf(H, 2)
    a = b = np.zeros((2, H))
    losses = []
    for t in range(steps):
        with at(t, declared):
            a, b = np.tanh(np.ones((2, 3)) @ w + b @ u), np.tanh(a @ v)
            losses.append(((b @ d) ** 2).mean())
    return sum(losses)


def rotated(declared: bool, steps: int = 6) -> Any:
    u, v, w = leaf(H, H), leaf(H, H), leaf(H, H)
    a = b = c = np.ones((2, H))
    for t in range(steps):
        with at(t, declared):
            a, b, c = np.tanh(c @ u), np.tanh(a @ v), np.tanh(b @ w)
    return ((a + b + c) ** 2).mean()


def coupled(declared: bool, steps: int = 4) -> Any:
    """Two states that read each other's last value, and their own."""
    u, v, p, q = leaf(H, H), leaf(H, H), leaf(H, H), leaf(H, H)
    a, b = np.ones((2, H)), np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            a, b = np.tanh(a @ u + b @ p), np.tanh(b @ v + a @ q)
    return ((a + b) ** 2).mean()


def side_by_side(declared: bool, steps: int = 4) -> Any:
    """Two sequences in one loop, through a cell of two weights."""
    u, v, w = leaf(H, H), leaf(H, H), leaf(3, H)
    a = b = np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            a = np.tanh(np.tanh(a @ u + np.ones((2, 3)) @ w) @ v)
            b = np.tanh(np.tanh(b @ u + np.ones((2, 3)) @ w) @ v)
    return ((a - b) ** 2).mean()


def thinking(declared: bool, steps: int = 4) -> Any:
    """Three times around for every input."""
    w, u, d, h, losses = leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            z = np.ones((2, 3)) @ w
            for _ in range(3):
                h = np.tanh(z + h @ u)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def drifting(declared: bool, steps: int = 4) -> Any:
    """Between inputs the state goes on by itself, three times."""
    f, w, u, d, h, losses = leaf(H, H), leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
            for _ in range(3):
                h = h + 0.1 * np.tanh(h @ f)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def every_second(declared: bool, coupled: bool = False, steps: int = 6) -> Any:
    """A group of units with weights of its own that moves at every second step."""
    w, u, ws, us = leaf(3, H), leaf(H, H), leaf(3, H), leaf(H, H)
    c, back, d = leaf(H, H), leaf(H, H), leaf(2 * H, 2)
    fast = slow = np.zeros((2, H))
    losses = []
    for t in range(steps):
        with at(t, declared):
            x = np.ones((2, 3))
            if t % 2 == 0:
                slow = np.tanh((fast @ back if coupled else x @ ws) + slow @ us)
            fast = np.tanh(x @ w + fast @ u + slow @ c)
            losses.append(((np.concatenate([fast, slow], axis=1) @ d) ** 2).mean())
    return sum(losses)


def coupled_clocks(declared: bool) -> Any:
    return every_second(declared, coupled=True)


def three_clocks(declared: bool, steps: int = 8) -> Any:
    us, ws = [leaf(H, H) for _ in range(3)], [leaf(3, H) for _ in range(3)]
    cs, d = [leaf(H, H) for _ in range(2)], leaf(3 * H, 2)
    h, losses = [np.zeros((2, H))] * 3, []
    for t in range(steps):
        with at(t, declared):
            for k in (2, 1, 0):
                if t % 2**k == 0:
                    a = np.ones((2, 3)) @ ws[k] + h[k] @ us[k]
                    h[k] = np.tanh(a if k == 2 else a + h[k + 1] @ cs[k])
            losses.append(((np.concatenate(h, axis=1) @ d) ** 2).mean())
    return sum(losses)


def words_of_three(declared: bool, steps: int = 9) -> Any:
    """A state of letters goes on; one of words moves after every third of them."""
    w, u, v, s, d = leaf(3, H), leaf(H, H), leaf(H, H), leaf(H, H), leaf(H, 2)
    letter, word, losses = np.zeros((2, H)), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            letter = np.tanh(np.ones((2, 3)) @ w + letter @ u)
            if t % 3 == 2:
                word = np.tanh(letter @ v + word @ s)
                losses.append(((word @ d) ** 2).mean())
    return sum(losses)


def pyramid(declared: bool, steps: int = 6) -> Any:
    """An upper layer reads two states of the lower one at once."""
    w, u, v, s = leaf(3, H), leaf(H, H), leaf(2 * H, H), leaf(H, H)
    h, g, hs = np.zeros((2, H)), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
            hs.append(h)
    for t in range(1, steps, 2):
        with at(t, declared):
            g = np.tanh(np.concatenate([hs[t - 1], hs[t]], axis=1) @ v + g @ s)
    return (g**2).mean()


def between_inputs(declared: bool, steps: int = 4) -> Any:
    """Two midpoint steps between one input and the next."""
    f, w, u, d, h, losses = leaf(H, H), leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            for _ in range(2):
                h = midpoint(lambda z, _: np.tanh(z @ f), h, None)
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def gated_rounds(declared: bool, steps: int = 4) -> Any:
    """The input and the state gate one another, twice each (a Mogrifier)."""
    w, u, q, r, d = leaf(3, 2 * H), leaf(H, 2 * H), leaf(H, 3), leaf(3, H), leaf(H, 2)
    h, c, losses = np.zeros((2, H)), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            x = np.ones((2, 3))
            for k in range(4):
                if k % 2:
                    h = 2 * tgs.sigmoid(x @ r) * h
                else:
                    x = 2 * tgs.sigmoid(h @ q) * x
            f, g = np.split(x @ w + h @ u, 2, axis=1)
            c = tgs.sigmoid(f) * c + np.tanh(g)
            h = np.tanh(c)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def swapped_beside_a_cell(declared: bool, steps: int = 6) -> Any:
    """A sum that goes on ties together what two states would take turns at."""
    u, v, d = leaf(H, H), leaf(H, H), leaf(H, 2)
    h = c = s = np.ones((2, H))
    losses = []
    for t in range(steps):
        with at(t, declared):
            c, s = 0.5 * c + np.tanh(s @ u), np.tanh(h @ v)
            h = np.tanh(c)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


@pytest.mark.parametrize(
    "program",
    [
        between_inputs,
        gated_rounds,
        swapped_beside_a_cell,
        every_second,
        coupled_clocks,
        three_clocks,
        words_of_three,
        pyramid,
        swapped,
        rotated,
        coupled,
        side_by_side,
        thinking,
        drifting,
    ],
    ids=lambda program: program.__name__,
)
def test_time_found_with_several_uses_to_a_step(program: Any) -> None:
    assert not differences(program(True), program(False))
    for level in ("module", "cell", "op"):
        assert program(False).draw(level=level).dot


def test_units_that_move_at_times_share_the_columns() -> None:
    drawing = every_second(False, steps=8).draw(view="elided")
    assert drawing.title == "elided graph, module level, 8 time steps"


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("layers", [2, 3])
def test_layers_that_share_their_weights_have_a_row_each(layers: int, joined: bool) -> None:
    w, u, b, d = leaf(H, H), leaf(H, H), leaf(H), leaf(H, 2)
    wu = leaf(2 * H, H)
    states: list[Any] = [np.zeros((2, H))] * layers
    losses, steps = [], {}
    for t in range(4):
        x = np.ones((2, H))
        for k, h in enumerate(states):
            both = np.concatenate([x, h], axis=1)
            x = states[k] = np.tanh((both @ wu if joined else x @ w + h @ u) + b)
            steps[x.node.seq] = k, t
        losses.append(((x @ d) ** 2).mean())
    found = {node.seq: node for node in told(sum(losses))}
    rows = ["h", "h 2", "h 3"]
    assert all(
        (found[seq].scope.path, found[seq].scope.step) == (rows[k], t)
        for seq, (k, t) in steps.items()
    )


def test_a_weight_of_two_states_in_one_cell_makes_no_rows() -> None:
    """A Kalman filter: the same matrix moves the mean and its covariance."""
    a, q, h, r = leaf(3, 3), leaf(3), leaf(1, 3), leaf(1)
    m, p, loss = np.zeros((3, 1)), np.eye(3), 0
    for _ in range(4):
        m, p = a @ m, a @ p @ a.T + np.exp(q) * np.eye(3)
        s = h @ p @ h.T + np.exp(r)
        gain, e = p @ h.T / s, np.ones((1, 1)) - h @ m
        m, p = m + gain @ e, p - gain @ h @ p
        loss = loss + (np.log(s) + e**2 / s).sum()
    assert len({n.scope.path for n in told(loss) if n.role in {"h", "h2", "h3", "h4"}}) == 1


# -- what is read off two steps ------------------------------------------------------------------


def smooth_outputs(declared: bool, steps: int = 4) -> Any:
    """A loss that compares an output with the one before."""
    w, u, d, h, before, total = leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), None, 0
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
            y = h @ d
            loss = ((y - 1) ** 2).mean()
            if before is not None:
                loss = loss + 0.1 * ((y - before) ** 2).mean()
            before = y
        total = total + loss
    return total


def slow_states(declared: bool, steps: int = 4) -> Any:
    """States should move slowly: a penalty computed after the loop."""
    w, u, d, h, hs, losses = leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), [], []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
            losses.append(((h @ d) ** 2).mean())
            hs.append(h)
    for t in range(1, steps):
        with at(t, declared):
            losses.append(((hs[t] - hs[t - 1]) ** 2).mean())
    return sum(losses)


def latent(declared: bool, steps: int = 4) -> Any:
    """A prior that is read off the state before, and compared with what this step finds."""
    prior, post, w, u, d = leaf(H, 6), leaf(3 + H, 6), leaf(6, H), leaf(H, H), leaf(3 + H, 3)
    h, misses, distances = np.zeros((2, H)), [], []
    for t in range(steps):
        with at(t, declared):
            x = np.ones((2, 3))
            p, q = h @ prior, np.concatenate([x, h], axis=1) @ post
            z = q[:, :3] + np.exp(q[:, 3:]) * np.ones((2, 3))
            seen = np.concatenate([z, h], axis=1) @ d
            distances.append(((q[:, :3] - p[:, :3]) ** 2 / np.exp(p[:, 3:])).mean())
            misses.append(((seen - x) ** 2).mean())
            h = np.tanh(np.concatenate([x, z], axis=1) @ w + h @ u)
    return sum(misses) + sum(distances)


@pytest.mark.parametrize(
    "program", [smooth_outputs, slow_states, latent], ids=lambda program: program.__name__
)
def test_what_compares_two_steps_is_of_the_later_one(program: Any) -> None:
    assert not differences(program(True), program(False))
    rows = {n.scope.path for n in told(program(False)) if n.role == "loss"}
    assert rows == {""}


def forward_sums(declared: bool, steps: int = 4) -> Any:
    """The forward algorithm of a CRF: the first step has no transition."""
    w, a, s, xs = leaf(3, H), leaf(H, H), leaf(H), np.ones((steps, 2, 3))
    with at(0, declared):
        alpha = s + xs[0] @ w
    for t in range(1, steps):
        with at(t, declared):
            alpha = np.log(np.exp(alpha[:, :, None] + a[None]).sum(axis=1)) + xs[t] @ w
    return np.log(np.exp(alpha).sum(axis=1)).mean()


def test_a_first_step_without_a_state_is_a_step() -> None:
    assert not differences(forward_sums(True), forward_sums(False))
    assert len({n.role for n in told(forward_sums(False)) if n.scope.step is not None}) == 2


@pytest.mark.parametrize(("height", "width"), [(2, 4), (3, 3), (4, 3)])
def test_a_grid_is_drawn_as_one(height: int, width: int) -> None:
    """Every cell of a picture reads the one at its left and the one above: time goes down."""
    w, u, r = leaf(1, H), leaf(H, H), leaf(H, H)
    above: list[Any] = [np.zeros((1, H))] * width
    steps = {}
    for i in range(height):
        left = np.zeros((1, H))
        for j in range(width):
            left = above[j] = np.tanh(np.ones((1, 1)) @ w + left @ u + above[j] @ r)
            steps[left.node.seq] = i, j
    found = {n.seq: n.scope for n in told((left**2).mean())}
    rows = ["h", "h 2", "h 3", "h 4"]
    assert {seq: (found[seq].step, rows.index(found[seq].path)) for seq in steps} == steps
