"""Where time runs is read off the recorded graph, so batch-first models get their columns too."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.ops.registry import OPS
from tinygrad_seq.timeline.entries import leaf_behind, pick, picked, piece, stacked_steps
from tinygrad_seq.timeline.steps import time_steps
from tinygrad_seq.viz.graph.fold import build

T, N, V = 4, 3, 5


class Reader(nn.Module):
    """Two recurrent modules, dropout and a readout, in either order of axes."""

    def __init__(self, batch_first: bool, kind: str = "LSTM"):
        super().__init__()
        rng = np.random.default_rng(0)
        layer = getattr(nn, kind)
        self.first = layer(V, 4, batch_first=batch_first, rng=rng)
        self.second = layer(4, 4, num_layers=2, batch_first=batch_first, rng=rng)
        self.drop = nn.Dropout(0.5, rng=rng)
        self.head = nn.Linear(4, V, rng=rng)

    def forward(self, ids):
        y, _ = self.second(self.first(ids)[0])
        return self.head(self.drop(y) * 2.0)


def run(batch_first: bool, kind: str = "LSTM"):
    model = Reader(batch_first, kind)
    model.drop.eval()
    ids = np.random.default_rng(1).integers(0, V, (T + 1, N))
    x, targets = ids[:-1], ids[1:]
    if batch_first:
        x, targets = x.T, targets.T
    with tgs.composed():
        logits = model(x)
        loss = tgs.cross_entropy(logits, targets, ignore_index=1)
    return model, logits, loss


@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_batch_first_model_is_drawn_like_a_time_major_one(kind, view, level):
    graphs = []
    for batch_first in (False, True):
        model, _, loss = run(batch_first, kind)
        graphs.append(build([loss.node], view=view, level=level))
        assert model
    first, second = graphs
    assert first.length == second.length == T
    assert set(first.items) == set(second.items)
    for name, item in first.items.items():
        other = second.items[name]
        assert (item.kind, item.roles) == (other.kind, other.roles)
        if item.place.step is not None:  # whole sequences differ in the order of their axes
            assert item.shape == other.shape
    assert {k: e.count for k, e in first.edges.items()} == {
        k: e.count for k, e in second.edges.items()
    }


def test_values_and_gradients_are_those_of_the_fused_run():
    for batch_first in (False, True):
        model, logits, loss = run(batch_first)
        ids = np.random.default_rng(1).integers(0, V, (T + 1, N))
        x, targets = (ids[:-1].T, ids[1:].T) if batch_first else (ids[:-1], ids[1:])
        fused = model(x)
        assert (targets == 1).any()
        plain = tgs.cross_entropy(fused, targets, ignore_index=1)
        np.testing.assert_allclose(logits.numpy(), fused.numpy(), rtol=1e-5, atol=1e-6)
        assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
        parameters = list(model.parameters())
        for one, other in zip(tgs.grad(loss, parameters), tgs.grad(plain, parameters), strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


def stacked(axis: int = 0) -> tgs.Tensor:
    w = tgs.tensor(np.ones((N, 4), np.float32), requires_grad=True)
    parts = []
    for t in range(T):
        with tgs.scope(step=t):
            parts.append(w * float(t))
    return tgs.stack(parts, axis)


def time_axis(x) -> int | None:
    found = time_steps(x)
    return None if found is None else found[0]


def test_time_axis_follows_what_keeps_the_axes():
    y = stacked()
    assert time_axis(y) == 0
    assert time_axis(np.swapaxes(y, 0, 1)) == time_axis(stacked(1)) == 1
    assert time_axis(tgs.tanh(np.swapaxes(y, 0, 1) * 2.0) + 1.0) == 1
    assert time_axis(tgs.softmax(y, axis=-1)[1:]) == 0
    assert time_axis(tgs.concatenate([y, y], axis=-1)) == 0
    square = y[:2, :2]  # where lengths do not tell the axes apart
    assert time_axis(np.einsum("tnh->nth", square)) == 1
    assert time_axis(np.einsum("ho,tnh->tno", np.ones((4, 2), np.float32), y)) == 0
    assert time_axis(np.einsum("tnh,snh->nts", square, square)) == 1
    assert time_axis(np.einsum("tnh,snh->st", square, square)) is None
    assert time_axis(y.transpose((1, 2, 0))) is None  # last: not one of the first two
    assert time_axis(y.sum(0)) is None
    assert time_axis(y[0]) is None
    assert time_axis(tgs.flip(y, 0)) is time_axis(tgs.take(y, [1, 0, 3, 2])) is None  # out of order
    assert time_axis(np.ones((T, N, 4))) is None
    assert time_axis(tgs.tensor(np.ones((T, N, 4)), requires_grad=True)) is None
    one = tgs.tensor(np.ones((N, 4), np.float32), requires_grad=True)
    assert time_axis(tgs.stack([one, one])) is None  # a stack, but not of time steps


def test_without_recorded_time_nothing_is_cut_into_steps():
    """The first axis of a constant may be anything: T columns would be a guess."""
    head = nn.Linear(4, V, rng=np.random.default_rng(0))
    with tgs.composed():
        logits = head(np.ones((N, T, 4), np.float32))
        loss = tgs.cross_entropy(logits, np.zeros((N, T), int))
    assert build([loss.node]).steps == []
    assert logits.node.name == "linear"


def test_pick_sees_through_transposes_that_keep_the_part():
    y = stacked()
    for entry, at in (
        (y[2], 2),
        (y[-1], T - 1),
        (y[np.int64(1)], 1),
        (y[np.array(2)], 2),
        (np.swapaxes(y, 0, 1)[:, 1], 1),
        (stacked(1)[:, 3], 3),
        (y.transpose((1, 2, 0))[:, :, 0], 0),
        (np.swapaxes(np.swapaxes(y, 0, 1), 0, 1)[2], 2),
    ):
        stack, index = pick(entry.node)
        assert stack.op.name == "stack" and index == at
    for other in (
        np.swapaxes(y, 0, 1)[1],
        y[1:2],
        y[:, 1],
        y.transpose((0, 2, 1))[1],
        y * 2.0,
        y[1, 0],
    ):
        assert pick(other.node) is None


def test_a_batch_first_drawing_names_its_states_and_losses():
    model, _, loss = run(True)
    text = viz.draw(loss).dot
    assert model and text.count('subgraph "cluster_t') == T
    for name in ("first[0]@3", "second[1]@0", "head@2"):
        assert f'"{name}"' in text


def test_the_parts_of_a_memory_are_found_through_any_function_of_their_entries():
    memory = tgs.exp(stacked()).swapaxes(0, 1)
    steps = [part.scope.step for part in stacked_steps(memory.node, T)]
    assert steps == list(range(T))
    assert stacked_steps(tgs.softmax(stacked(), axis=0).node, T) == []  # mixes the steps
    assert stacked_steps(memory[:, ::-1].node, T) == []
    assert stacked_steps(memory.node, T - 1) == []


def test_a_weight_is_found_behind_its_parts_and_views():
    w = tgs.tensor(np.ones((2, 4), np.float32), requires_grad=True)
    left, right = tgs.split(w, 2, axis=1)
    assert leaf_behind(right.T[0].reshape(2, 1).node) is w.node
    assert piece(left.node) is picked(right.node) is w.node
    assert leaf_behind((w * 2.0).node) is None
    assert piece(tgs.split(w * 2.0, 2, axis=1)[0].node) is None


def test_what_time_is_read_by_is_declared_by_operations_alone():
    """Lost where a record is rewritten, and then no picture of ours need change at once."""
    told = {name: op.axes for name, op in OPS.items() if not op.pointwise}
    assert {name: how.name for name, how in told.items() if how is not Axes.OTHER} == {
        "concatenate": "JOINED",
        "einsum": "LETTERED",
        "getitem": "PICKED",
        "linear": "KEPT",
        "matmul": "KEPT",
        "reshape": "RESHAPED",
        "split": "CUT",
        "stack": "STACKED",
        "transpose": "MOVED",
    }
    assert {n for n, op in OPS.items() if op.product} == {"linear", "matmul", "multiply"}
