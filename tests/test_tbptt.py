"""Truncated backpropagation through time: what is cut, what is carried, what it costs."""

from __future__ import annotations

import gc
import importlib
import itertools
import math
import sys
import tracemalloc
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import charlm, data, nn, optim, train
from tinygrad_seq.engine.node import Node

# -- the scalar trap: x_{t+1} = w x_t ------------------------------------------------------------


class Scalar:
    """The recurrence with outputs x_1 .. x_T; what a window holds is only counted."""

    def __init__(self):
        self.w = tgs.tensor(np.array(0.2), requires_grad=True)

    def __call__(self, inputs, x):
        outputs = []
        for _ in range(len(inputs)):
            x = self.w * x
            outputs.append(x)
        return tgs.stack(outputs), x


def last_output(outputs, _):
    return outputs[-1]


def scalar_gradients(steps, **options):
    """d loss / d w of every update, where the loss of a piece is its last output."""
    model = Scalar()
    windows = [(np.zeros(steps), np.zeros(steps))]
    start = tgs.tensor(np.array(0.9))
    updates = train.tbptt(
        model, windows, optim.SGD([model.w], lr=0.0), loss=last_output, state=start, **options
    )
    return [float(model.w.grad) for _ in updates]


def test_scalar_recurrence_in_full():
    found = [scalar_gradients(steps, k=100)[0] for steps in (1, 2, 3)]
    np.testing.assert_allclose(found, [0.9, 0.36, 0.108], rtol=1e-15)
    assert not np.isclose(found[-1], 0.288)  # what adding up stale gradients gives


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, [0.9, 0.18, 0.036]),
        (2, [0.36, 0.036]),  # x_3 = w x_2 with x_2 = 0.036 held fixed
        (3, [0.108]),
    ],
)
def test_scalar_recurrence_truncated(k, expected):
    np.testing.assert_allclose(scalar_gradients(3, k=k), expected, rtol=1e-15)


# -- recurrent models ------------------------------------------------------------------------------


def char_model(seed=0, *, vocab=5, hidden=6, kind="lstm", layers=2, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return charlm.CharLM(vocab, hidden, layers, model=kind, rng=rng, dtype=dtype)


def random_windows(count, steps, rows, *, vocab=5, seed=1):
    rng = np.random.default_rng(seed)
    return [tuple(rng.integers(0, vocab, (2, steps, rows))) for _ in range(count)]


def assert_same_parameters(one, other):
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def by_hand(model, windows, optimizer, k, clip_norm):
    """The oracle: chunk and detach, written out."""
    losses, state = [], None
    for tokens, targets in windows:
        for t in range(0, len(tokens), k):
            optimizer.zero_grad()
            logits, state = model(tokens[t : t + k], state)
            loss = tgs.cross_entropy(logits, targets[t : t + k])
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), clip_norm)
            optimizer.step()
            state = state.detach()
            losses.append(loss.item())
    return losses, state


@given(
    kind=st.sampled_from(["rnn", "lstm", "gru"]),
    layers=st.integers(1, 3),
    steps=st.integers(1, 9),
    rows=st.integers(1, 3),
    k=st.integers(1, 10),
    count=st.integers(1, 3),
)
@example(kind="lstm", layers=3, steps=7, rows=2, k=3, count=3)
def test_equals_chunk_and_detach(kind, layers, steps, rows, k, count):
    windows = random_windows(count, steps, rows)
    ours, theirs = (char_model(kind=kind, layers=layers) for _ in range(2))
    expected, last = by_hand(theirs, windows, optim.Adam(theirs.parameters(), lr=0.05), k, 0.5)
    updates = train.tbptt(
        ours, iter(windows), optim.Adam(ours.parameters(), lr=0.05), k=k, clip_norm=0.5
    )
    reports = list(updates)
    assert [report.loss for report in reports] == expected
    assert_same_parameters(ours.state_dict(), theirs.state_dict())
    for mine, reference in zip(updates.state, last, strict=True):
        np.testing.assert_array_equal(mine.numpy(), reference.numpy())
        assert not mine.requires_grad
    assert [report.step for report in reports] == list(range(1, len(expected) + 1))
    assert sum(report.tokens for report in reports) == count * steps * rows


@given(steps=st.integers(1, 8), beyond=st.integers(0, 5))
def test_k_beyond_the_window_is_full_bptt(steps, beyond):
    ((tokens, targets),) = random_windows(1, steps, 2)
    model, reference = char_model(), char_model()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    next(train.tbptt(model, [(tokens, targets)], optimizer, k=steps + beyond))
    logits, _ = reference(tokens)
    tgs.cross_entropy(logits, targets).backward()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad, theirs.grad, rtol=1e-12, atol=1e-15)


def losses_of(windows, **options):
    model = char_model()
    updates = train.tbptt(model, windows, optim.SGD(model.parameters(), lr=0.0), **options)
    return [report.loss for report in updates]


def test_the_state_is_carried():
    """Nothing is learnt here (lr 0): window 2 can only know of window 1 through the state."""
    first, second, other = random_windows(3, 4, 2)
    assert losses_of([first, second])[1] != losses_of([other, second])[1]
    everywhere = np.ones(2, bool)
    with_reset = (*second, everywhere)
    assert losses_of([first, with_reset])[1] == losses_of([other, with_reset])[1]
    assert losses_of([first, with_reset])[1] == losses_of([second])[0]


def test_only_the_rows_that_end_are_reset():
    first, second = random_windows(2, 4, 2)
    reset = np.array([True, False])
    both = losses_of([first, (*second, reset)])[1]
    begun, carried = (
        losses_of([tuple(part[:, row : row + 1] for part in window) for window in windows])[-1]
        for row, windows in ((0, [second]), (1, [first, second]))
    )
    assert both == pytest.approx((begun + carried) / 2, rel=1e-12)


def test_a_long_window_resets_once_at_its_start():
    first, second = random_windows(2, 4, 2)
    reset = np.array([True, True])
    longer = (*second, reset)
    pieces = losses_of([first, longer], k=2)[2:]
    assert pieces == losses_of([second], k=2)


class Echo(nn.Module):
    """Float inputs (T, N, F), so that a gradient with respect to an input can be asked for."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(3, 4, rng=np.random.default_rng(0), dtype=np.float64)

    def forward(self, x, state):
        return self.rnn(x, state)


def test_no_gradient_crosses_the_cut():
    rng = np.random.default_rng(0)
    first = tgs.tensor(rng.normal(size=(4, 2, 3)), requires_grad=True)
    second = tgs.tensor(rng.normal(size=(4, 2, 3)), requires_grad=True)
    model = Echo()
    windows = [(first, np.zeros((4, 2, 4))), (second, np.zeros((4, 2, 4)))]
    updates = train.tbptt(
        model, windows, optim.SGD(model.parameters(), lr=0.0), k=4, loss=tgs.mse_loss
    )
    next(updates)
    first.grad = None
    next(updates)
    assert np.abs(second.grad).max() > 0
    assert first.grad is None  # nothing arrived, which is 0 exactly


def test_the_state_may_be_any_nest():
    cell = nn.RNNCell(1, 3, rng=np.random.default_rng(0))

    def model(x, state):
        h = state["layers"][0] if state else None
        for step in x:
            h = cell(step, h)
        return h, {"layers": [h, None], "count": (state or {"count": 0})["count"] + len(x)}

    x = np.random.default_rng(1).normal(size=(9, 2, 1)).astype(np.float32)
    updates = train.tbptt(
        model,
        [(x, np.zeros((9, 2, 3), np.float32))],
        optim.SGD(cell.parameters(), lr=0.1),
        loss=lambda h, targets: tgs.mse_loss(h, targets[-1]),
        k=3,
    )
    assert len(list(updates)) == 3
    assert updates.state["count"] == 9
    assert not updates.state["layers"][0].requires_grad


# -- what an update reports ------------------------------------------------------------------------


def test_the_report_tells_loss_norms_rate_and_speed():
    model = char_model()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    schedule = optim.StepLR(optimizer, step_size=1, gamma=0.5)
    windows = random_windows(2, 4, 3)
    reports = list(
        train.tbptt(model, windows, optimizer, clip_norm=1e-3, schedule=schedule, step=40)
    )
    assert [report.step for report in reports] == [41, 42]
    assert [report.lr for report in reports] == [0.5, 0.25]
    for report in reports:
        assert report.bits_per_character == pytest.approx(report.loss / math.log(2))
        assert report.grad_norm > report.grad_norm_after == pytest.approx(1e-3, rel=1e-6)
        assert report.clip_factor == pytest.approx(report.grad_norm_after / report.grad_norm)
        assert report.tokens == 12
        assert report.tokens_per_second > 0
        assert not report.skipped
        with pytest.raises(AttributeError):
            report.loss = 0.0  # frozen


def test_gradients_stay_to_be_looked_at_and_norms_are_theirs():
    model = char_model()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    updates = train.tbptt(model, random_windows(3, 4, 2), optimizer, clip_value=0.01)
    for report in updates:
        entries = np.concatenate([p.grad.ravel() for p in model.parameters()])
        assert np.linalg.norm(entries) == pytest.approx(report.grad_norm_after, rel=1e-9)
        assert np.abs(entries).max() <= 0.01 < report.grad_norm


def test_windows_are_read_one_at_a_time():
    read = []

    def windows():
        for window in random_windows(3, 4, 2):
            read.append(None)
            yield window

    model = char_model()
    updates = train.tbptt(model, windows(), optim.SGD(model.parameters(), lr=0.1), k=2)
    assert not read
    for expected in (1, 1, 2, 2, 3, 3):
        next(updates)
        assert len(read) == expected


class Leaky:
    """h <- tanh(w x + h / 2): the least that has a parameter and carries a state."""

    def __init__(self):
        self.w = tgs.tensor([0.5], requires_grad=True)

    def __call__(self, x, h):
        for step in x:
            h = tgs.tanh(self.w * step + (0.0 if h is None else h * 0.5))
        return h, h


class Held(NamedTuple):
    """What is alive after some update."""

    nodes: int
    blocks: int  # of Python's own memory: every object of any kind has one
    traced: int  # bytes, NumPy's data included, allocated since tracing began


def held_after(windows, at, traced_from):
    """Train the least model, and look at what it holds after the updates `at`.

    Tracing takes four times as long as the updates themselves, so it begins late.
    """
    model = Leaky()
    x = np.ones((1, 1), np.float32)
    updates = train.tbptt(
        model,
        itertools.repeat((x, x), windows),
        optim.SGD([model.w], lr=1e-3),
        loss=lambda h, _: h.sum(),
    )
    found = []
    gc.collect()
    gc.disable()  # nothing may wait for the collector: there are no cycles to collect
    try:
        for report in updates:
            if report.step == traced_from:
                tracemalloc.start(1)
            if report.step in at:
                nodes = sum(type(each) is Node for each in gc.get_objects())
                blocks, traced = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
                found.append(Held(nodes, blocks, traced))
    finally:
        tracemalloc.stop()
        gc.enable()
    return found


def growth(found):
    """Bytes by which memory grew from each look to the next, at least.

    What is kept of every window shows in all of them; what the process does once, in one.
    """
    return min(b.traced - a.traced for a, b in itertools.pairwise(found))


def test_memory_stays_flat_over_ten_thousand_windows():
    early, *late = held_after(10_000, at=(500, 8_500, 9_000, 9_500, 10_000), traced_from=8_400)
    assert all(early.nodes == each.nodes for each in late)
    assert late[0].blocks - early.blocks < 100  # 8,000 windows: not one object each, by far
    assert growth(late) < 500  # one byte per window


def test_the_memory_check_notices_what_is_kept(monkeypatch):
    """A planted mistake: a detach that holds on to what it was given."""
    kept = []
    real = nn.state.detach
    module = importlib.import_module("tinygrad_seq.train.tbptt")
    monkeypatch.setattr(module, "detach", lambda state: kept.append(state) or real(state))
    early, last = held_after(1_000, at=(500, 1_000), traced_from=400)
    assert last.nodes - early.nodes >= 500
    assert last.blocks - early.blocks >= 500
    assert last.traced - early.traced > 10_000


def test_the_memory_check_notices_an_array_that_grows(monkeypatch):
    """Another: no new objects, but a byte more of memory at every window, and a little over."""
    grown = bytearray()
    real = nn.state.detach
    module = importlib.import_module("tinygrad_seq.train.tbptt")
    monkeypatch.setattr(module, "detach", lambda state: grown.extend(b"xx") or real(state))
    early, *rest = held_after(2_500, at=(1_000, 1_500, 2_000, 2_500), traced_from=900)
    assert all(early.nodes == each.nodes for each in rest)
    assert growth([early, *rest]) > 500


def test_a_carried_state_learns_what_a_reset_one_cannot():
    """0 0 1 0 1 1 over and over, four symbols at a time: a window begins with 0 (0 follows), with
    1 (0 follows) or with 1 (1 follows). Which 1 it is can only be known from before the window;
    without that, one symbol in four costs ln 2 in two windows of three."""
    ids = np.tile([0, 0, 1, 0, 1, 1], 1200)
    finals = []
    for reset in (None, np.ones(8, bool)):
        model = char_model(vocab=2, hidden=12, layers=1, dtype=np.float32)
        windows = data.Streams(ids, 8).windows(4, drop_last=True)
        updates = train.tbptt(
            model,
            ((tokens, targets, reset) for tokens, targets in windows),
            optim.Adam(model.parameters(), lr=0.02),
            k=4,
            clip_norm=1.0,
        )
        finals.append(np.mean([report.loss for report in updates][-20:]))
    assert finals[0] < 0.05
    assert finals[1] == pytest.approx(2 / 3 * math.log(2) / 4, abs=0.01)
