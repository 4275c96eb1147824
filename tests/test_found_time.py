"""Time found in a graph is the time that was meant."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import tinygrad_seq as tgs
from tests.support.loops import CELLS, Program, programs, run
from tinygrad_seq.engine.node import Node, nodes_behind
from tinygrad_seq.timeline.retold import retold

H = 4


def told(result: Any, names: Any = None) -> list[Node]:
    """The nodes behind a result, with the time that was found."""
    return nodes_behind(retold([result.node], names))


def steps_of(nodes: list[Node]) -> list[int | None]:
    return [node.scope.step for node in nodes if node.op is not None]


def differences(meant: Any, found: Any) -> list[str]:
    """Operations whose found step is not the one that was meant."""
    one = [node for node in nodes_behind([meant.node]) if node.op is not None]
    two = [node for node in told(found) if node.op is not None]
    assert [node.name for node in one] == [node.name for node in two]
    return [
        f"{a.name} {k}: meant {a.scope.step}, found {b.scope.step}"
        for k, (a, b) in enumerate(zip(one, two, strict=True))
        if a.scope.step != b.scope.step
    ]


def _is_plain(program: Program) -> bool:
    """Whether nothing is made of the start for the first step that no other step makes again."""
    made_of_state = {"masked", "joined"} & {*program.cells}
    return not (made_of_state and program.cut == 1)


@given(programs.filter(_is_plain))
def test_time_found_is_time_declared(program: Program) -> None:
    assert not differences(run(program, True).loss, run(program, False).loss)


@given(programs)
def test_declared_time_stands(program: Program) -> None:
    loss = run(program, True).loss
    before = {node.seq: node.scope.step for node in nodes_behind([loss.node])}
    after = {node.seq: node.scope.step for node in told(loss)}
    assert all(after[seq] == step for seq, step in before.items() if step is not None)


@given(programs)
def test_the_recorded_graph_stays_as_it_is(program: Program) -> None:
    loss = run(program, False).loss
    before = [(n.seq, n.scope, n.role, n.parents) for n in nodes_behind([loss.node])]
    again = told(loss)
    assert [(n.seq, n.scope, n.role, n.parents) for n in nodes_behind([loss.node])] == before
    assert [node.seq for node in again] == [seq for seq, *_ in before]


@pytest.mark.parametrize("cell", CELLS)
def test_states_are_what_goes_from_step_to_step(cell: str) -> None:
    made = run(Program((cell,), 4, "rows", "zeros", "each", 0, False), False)
    now = {node.seq: node for node in told(made.loss)}
    for (_, t), states in made.states.items():
        for k, state in enumerate(states):
            if not isinstance(state, tgs.Tensor):
                continue  # the start, a step further back
            node = now[state.node.seq]
            assert node.scope.step == t - (cell == "two_back" and k)
            assert node.role in (node.scope.cell.states if node.scope.cell else ())


# -- programs of other shapes --------------------------------------------------------------------


def leaf(*shape: int) -> Any:
    rng = np.random.default_rng(sum(shape))
    return tgs.tensor(rng.standard_normal(shape) * 0.3, requires_grad=True)


def at(t: int, declared: bool) -> Any:
    return tgs.scope(step=t) if declared else nullcontext()


def columns(declared: bool, steps: int = 4) -> Any:
    """Column vectors, softmax and loss by hand."""
    wx, wh, wy, bh = leaf(H, 5), leaf(H, H), leaf(5, H), leaf(H, 1)
    h, losses = np.zeros((H, 1)), []
    for t in range(steps):
        with at(t, declared):
            x = np.eye(5)[:, [t % 5]]
            h = np.tanh(wx @ x + wh @ h + bh)
            y = wy @ h
            p = np.exp(y) / np.sum(np.exp(y))
            losses.append(-np.log(p[(t + 1) % 5, 0]))
    return sum(losses)


def unbatched(declared: bool, steps: int = 4) -> Any:
    """Vectors alone, diagonal recurrence."""
    u, w, v, h, losses = leaf(H), leaf(H, 3), leaf(H), np.zeros(H), []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(u * h + w @ np.ones(3))
            losses.append((v @ h) ** 2)
    return sum(losses)


def bidirectional(declared: bool, steps: int = 4) -> Any:
    """Two directions with weights of their own, read together."""
    w, u, b, v, d = leaf(3, H), leaf(H, H), leaf(3, H), leaf(H, H), leaf(2 * H, 2)
    xs = np.ones((steps, 2, 3))
    ahead, back, h = [], [], np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(xs[t] @ w + h @ u)
            ahead.append(h)
    h = np.zeros((2, H))
    for t in reversed(range(steps)):
        with at(t, declared):
            h = np.tanh(xs[t] @ b + h @ v)
            back.append(h)
    losses = []
    for t, (one, two) in enumerate(zip(ahead, back[::-1], strict=True)):
        with at(t, declared):
            losses.append(((np.concatenate([one, two], axis=1) @ d) ** 2).mean())
    return sum(losses)


def late(declared: bool, steps: int = 4) -> Any:
    """The recurrent weight is used from the second step on."""
    w, u, b, h = leaf(3, H), leaf(H, H), leaf(H), None
    for t in range(steps):
        with at(t, declared):
            z = np.ones((2, 3)) @ w
            if h is not None:
                z = z + h @ u
            h = np.tanh(z + b)
    return (h**2).mean()  # type: ignore[operator]


def without_a_start(declared: bool, steps: int = 4) -> Any:
    """The first step has no state to read."""
    w, u, d, h, losses = leaf(3, H), leaf(H, H), leaf(H, 2), None, []
    for t in range(steps):
        with at(t, declared):
            z = np.ones((2, 3)) @ w
            if h is not None:
                z = z + h @ u
            h = np.tanh(z)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def pairs_of_steps(declared: bool) -> Any:
    """Many sequences of two steps, a loss of each."""
    w, u, d, losses = leaf(3, H), leaf(H, H), leaf(H, 1), []
    for _ in range(4):
        h = np.zeros((1, H))
        for t in range(2):
            with at(t, declared):
                h = np.tanh(np.ones((1, 3)) @ w + h @ u)
        losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def vectors(declared: bool, steps: int = 4) -> Any:
    """Rows without a batch."""
    w, u, d, h, losses = leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros(H), []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones(3) @ w + h @ u)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def one_peephole_for_two_gates(declared: bool, steps: int = 4) -> Any:
    """A vector that looks at the old c for one gate, and at the new one for another."""
    w, u, p, h, c = leaf(3, H), leaf(H, H), leaf(H), np.zeros((2, H)), leaf(2, H)
    for t in range(steps):
        with at(t, declared):
            z = np.ones((2, 3)) @ w + h @ u
            f = tgs.sigmoid(z + c * p)
            c = f * c + (1 - f) * np.tanh(z)
            h = tgs.sigmoid(z + c * p) * np.tanh(c)
    return (h**2).mean()


def stages(declared: bool, steps: int = 4) -> Any:
    """Steps of Heun's method: a function is called twice in each."""
    w, u, z = leaf(H, 5), leaf(5, H), np.ones((2, H))
    for t in range(steps):
        with at(t, declared):
            one = np.tanh(z @ w) @ u
            two = np.tanh((z + 0.1 * one) @ w) @ u
            z = z + 0.05 * (one + two)
    return (z**2).mean()


def ragged(declared: bool) -> Any:
    """Sequences one by one, of different lengths."""
    w, u, d, losses = leaf(3, H), leaf(H, H), leaf(H, 1), []
    for length in (2, 4, 3):
        h = np.zeros((1, H))
        for t in range(length):
            with at(t, declared):
                h = np.tanh(np.ones((1, 3)) @ w + h @ u)
        with at(length - 1, declared):
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def shrinking(declared: bool) -> Any:
    """A batch that gets smaller as sequences end."""
    w, u, h, ends = leaf(3, H), leaf(H, H), np.zeros((3, H)), []
    for t, rows in enumerate((3, 3, 2, 1)):
        with at(t, declared):
            if len(h) > rows:
                h = h[:rows]
            h = np.tanh(np.ones((rows, 3)) @ w + h @ u)
            ends.append((h**2).sum())
    return sum(ends)


def two_steps_apart(declared: bool, steps: int = 5) -> Any:
    """States a step and two steps back, from a list."""
    u, v, w, hs = leaf(H, H), leaf(H, H), leaf(3, H), [np.zeros((2, H))] * 2
    for t in range(steps):
        with at(t, declared):
            hs.append(np.tanh(hs[-1] @ u + hs[-2] @ v + np.ones((2, 3)) @ w))
    return (hs[-1] ** 2).mean()


def made_anew(declared: bool, steps: int = 4) -> Any:
    """A weight that is normalised at every step again, and no other that is used after itself."""
    w, v, g, h = leaf(3, H), leaf(H, H), leaf(H), np.zeros((2, H))
    for t in range(steps):
        with at(t, declared):
            u = g * v / np.sqrt(np.sum(v**2, axis=0))
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
    return (h**2).mean()


def slow_half(declared: bool, steps: int = 6) -> Any:
    """Half of the units wait at every second step."""
    w, u, d, h, losses = leaf(3, H), leaf(H, H), leaf(H, 2), np.zeros((2, H)), []
    for t in range(steps):
        with at(t, declared):
            new = np.tanh(np.ones((2, 3)) @ w + h @ u)
            h = new if t % 2 == 0 else np.concatenate([new[:, :2], h[:, 2:]], axis=1)
            losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def read_at_times(declared: bool, steps: int = 6) -> Any:
    """Every second step is read."""
    u, d, h, losses = leaf(H, H), leaf(H, 2), np.ones((2, H)), []
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(h @ u)
            if t % 2 == 0:
                losses.append(((h @ d) ** 2).mean())
    return sum(losses)


def start_that_is_a_weight_too(declared: bool, steps: int = 3) -> Any:
    """A trained start with a penalty of its own."""
    w, u, start = leaf(3, H), leaf(H, H), leaf(2, H)
    h = start
    for t in range(steps):
        with at(t, declared):
            h = np.tanh(np.ones((2, 3)) @ w + h @ u)
    return (h**2).mean() + (start**2).sum()


PROGRAMS = [
    columns,
    unbatched,
    bidirectional,
    late,
    ragged,
    shrinking,
    two_steps_apart,
    made_anew,
    slow_half,
    read_at_times,
    start_that_is_a_weight_too,
    without_a_start,
    one_peephole_for_two_gates,
    stages,
    pairs_of_steps,
    vectors,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_time_found_in_programs_of_other_shapes(program: Any) -> None:
    assert not differences(program(True), program(False))
    for level in ("module", "cell", "op"):
        assert program(False).draw(level=level).dot


def test_an_encoder_and_a_decoder_with_attention_have_a_time_each() -> None:
    w, u, v, k, d = leaf(3, H), leaf(H, H), leaf(H, H), leaf(H, H), leaf(2 * H, 2)
    h, memory, losses, steps = np.zeros((2, H)), [], [], {}
    for t in range(3):
        h = np.tanh(np.ones((2, 3)) @ w + h @ u)
        memory.append(h)
        steps[h.node.seq] = t
    for t in range(4):
        h = np.tanh(h @ v)
        steps[h.node.seq] = t
        scores = tgs.stack([((h @ k) * m).sum(axis=1) for m in memory])
        weights = tgs.softmax(scores, axis=0)
        context = sum(weights[s][:, None] * m for s, m in enumerate(memory))
        y = np.concatenate([h, context], axis=1) @ d
        steps[y.node.seq] = t
        losses.append((y**2).mean())
    found = {node.seq: node for node in told(sum(losses))}
    assert {seq: found[seq].scope.step for seq in steps} == steps
    paths = {found[seq].scope.path for seq in steps}
    assert len(paths) == 3  # encoder, decoder, outputs


def siamese() -> Any:
    w, v = leaf(3, H), leaf(H, 2)
    one, two = (np.tanh(x @ w) @ v for x in np.ones((2, 5, 3)))
    return ((one - two) ** 2).mean()


def deep() -> Any:
    x = np.ones((5, H))
    for k in range(6):
        x = x + np.tanh(x @ tgs.tensor(np.eye(H) / (k + 1), requires_grad=True))
    return x.mean()


def autoencoder() -> Any:
    w = leaf(3, H)
    return ((np.tanh(np.ones((5, 3)) @ w) @ w.T) ** 2).mean()


@pytest.mark.parametrize("program", [siamese, deep, autoencoder], ids=lambda p: p.__name__)
def test_no_time_is_invented(program: Any) -> None:
    assert set(steps_of(told(program()))) == {None}


def test_a_tree_has_the_time_of_its_height() -> None:
    u, v = leaf(H, H), leaf(H, H)

    def node(height: int) -> Any:
        if height == 0:
            return np.ones((1, H))
        return np.tanh(node(height - 1) @ u + node(height - 2 if height > 1 else 0) @ v)

    root = node(4)
    assert max(step for step in steps_of(told(root)) if step is not None) == 3
    assert {n.seq: n.scope.step for n in told(root)}[root.node.seq] == 3
