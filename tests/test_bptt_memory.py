"""Less memory, the same gradients: the planner against its programme, BPTT against backward()."""

from __future__ import annotations

import gc
import tracemalloc
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from demos.lab import truncated_bptt
from tinygrad_seq import charlm, nn
from tinygrad_seq.engine.node import Node
from tinygrad_seq.errors import ConfigError, GraphError
from tinygrad_seq.train.bptt import bptt, first_run, forward_steps

KNOWN = {5: 7284, 10: 4636, 20: 3747, 32: 3405, 50: 2948, 1000: 1999}


def programme(steps: int, slots: int) -> np.ndarray:
    """D(t, m) by the recurrence itself."""
    table = np.zeros((steps + 1, slots + 1), int)
    table[:, 1] = np.arange(steps + 1) * np.arange(1, steps + 2) // 2
    for m in range(2, slots + 1):
        table[1, m] = 1
        for t in range(2, steps + 1):
            y = np.arange(1, t)
            table[t, m] = (y + table[t - y, m - 1] + table[y, m]).min()
    return table


def test_the_planner_solves_the_dynamic_programme():
    for slots, count in KNOWN.items():
        assert forward_steps(1000, slots) == count
    table = programme(90, 12)
    for t in range(1, 91):
        for m in range(1, 13):
            assert forward_steps(t, m) == table[t, m]
            if t > 1 and m > 1:
                y = first_run(t, m)
                assert y + table[t - y, m - 1] + table[y, m] == table[t, m]


def test_the_schedule_runs_as_many_steps_as_planned_and_keeps_to_its_slots():
    """Each state is one array of known size: what lives at a time is counted."""
    size = 50_000
    for steps, slots in [(1000, 5), (1000, 32), (60, 1), (7, 7), (3, 9), (1, 1)]:
        w = tgs.tensor(np.ones(1), requires_grad=True)
        state = tgs.tensor(np.zeros(8))
        found = bptt(lambda t, h, w=w: (h * w + 1, (h * w).sum()), state, steps, [w], slots=slots)
        assert found.forwards == forward_steps(steps, slots)
    w = tgs.tensor(np.ones(1), requires_grad=True)
    big = tgs.tensor(np.zeros(size))
    tracemalloc.start()
    bptt(lambda t, h: (h * w, (h * w).sum()), big, 300, [w], slots=8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (8 + 12) * size * 8  # the slots, and what one recorded step needs


@settings(max_examples=max(settings.default.max_examples // 4, 1))
@given(
    st.sampled_from(["rnn", "lstm", "gru"]),
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(0, 2**16),
)
def test_the_gradient_is_exact(kind, steps, slots, seed):
    rng = np.random.default_rng(seed)
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 4, rng=rng, dtype=np.float64)
    xs, weights = rng.standard_normal((steps, 2, 2, 3)), rng.standard_normal((steps, 2, 2, 4))
    starts = [rng.standard_normal((1, 2, 4)) for _ in layer.state_type._fields]

    def step(t, state):
        y, state = layer(xs[t], state)
        return state, (y * weights[t]).sum() if t % 3 != 1 or t == steps - 1 else None

    leaves = [tgs.tensor(part, requires_grad=True) for part in starts]
    state, total = layer.state_type(*leaves), 0.0
    for t in range(steps):
        state, loss = step(t, state)
        total = total if loss is None else total + loss
    total.backward()
    expected = [p.grad for p in layer.parameters()]
    layer.zero_grad()
    first = layer.state_type(*(tgs.tensor(part) for part in starts))
    found = bptt(step, first, steps, layer.parameters(), slots=slots)
    assert found.loss == pytest.approx(total.item(), rel=1e-12)
    for a, b in zip(layer.parameters(), expected, strict=True):
        np.testing.assert_allclose(a.grad, b, rtol=1e-11, atol=1e-13)
    for a, leaf in zip(found.state_gradient, leaves, strict=True):
        np.testing.assert_array_equal(a, leaf.grad)  # the same products: the same bits
    for a, b in zip(found.state, state, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def peak_of(run) -> int:
    run()
    tracemalloc.start()
    run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_checkpointed_layer_keeps_a_tenth(kind):
    """Inputs and outputs apart, which are the caller's: T = 1,000."""
    steps, batch, hidden = 1000, 4, 24
    layer = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](8, hidden, rng=np.random.default_rng(0))
    tokens = np.random.default_rng(1).integers(0, 8, (steps, batch))

    def saved():
        """What the recorded graph holds between forward and backward."""
        y, state = layer(tokens)
        node = y.node.parents[0]
        arrays = []

        def walk(value):
            if isinstance(value, np.ndarray):
                arrays.append(value if value.base is None else value.base)
            elif isinstance(value, (tuple, list)):
                for part in value:
                    walk(part)

        walk(node.residuals.runs)
        own = {id(a): a.nbytes for a in arrays}
        del state
        return sum(own.values())

    def step():
        y, _ = layer(tokens)
        y[-1].sum().backward()
        layer.zero_grad()

    whole, whole_peak = saved(), peak_of(step)
    assert whole >= (7 if kind == "lstm" else 5) * steps * batch * hidden * 4
    layer.checkpoint = True
    assert saved() <= 0.04 * whole
    assert peak_of(step) <= 0.55 * whole_peak  # y and its cotangent are in both


@pytest.mark.parametrize(("kind", "hidden_states"), [("rnn", 1), ("lstm", 5), ("gru", 4)])
def test_a_pass_that_records_nothing_keeps_nothing(kind, hidden_states):
    """At its peak: the pre-activations, in place of which a plain network puts y, and y."""
    steps, batch, hidden = 1000, 4, 24
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](8, hidden)
    tokens = np.random.default_rng(1).integers(0, 8, (steps, batch))
    with tgs.no_grad():
        peak = peak_of(lambda: layer(tokens))
    assert peak <= (hidden_states + 0.5) * steps * batch * hidden * 4


def test_bad_budgets_are_explained():
    w = tgs.tensor(1.0, requires_grad=True)
    for steps, slots in ((0, 3), (3, 0)):
        with pytest.raises(ConfigError, match="an integer >= 1"):
            bptt(lambda t, x: (x, x), w, steps, [w], slots=slots)
    with pytest.raises(ConfigError, match="no step has a loss"):
        bptt(lambda t, x: (x * w, None), w, 3, [w])
    assert w.grad is None
    with pytest.raises(ConfigError, match="checkpoint"):
        nn.LSTM(3, 4, checkpoint=0)
    with pytest.raises(ConfigError, match="nothing to split"):
        first_run(5, 1)


# -- truncation over an iterator, with bounded memory --------------------------------------------


def look_while_running(late, kept=None):
    """Nodes, containers of all kinds, and the peak of bytes over 20 updates, early and `late`.

    Bytes are traced in these two stretches only, since that slows everything down.
    """
    model = charlm.CharLM(3, hidden=8, layers=1, rng=np.random.default_rng(0), dtype=np.float64)
    drawn = 0

    def stream(count):
        nonlocal drawn
        for seed in range(count):
            drawn += 5
            tokens = np.random.default_rng(seed).integers(0, 3, (6, 2))
            yield tokens[:-1], tokens[1:]

    def loss(outputs, targets):
        if kept is not None:
            kept.append(outputs)
        return tgs.cross_entropy(outputs, targets, reduction="sum")

    stretches = (20, late)
    nodes, containers, peaks = [], [], []
    try:
        for index, done in enumerate(truncated_bptt(model, stream(160), 3, 7, loss=loss)):
            assert drawn <= done.end + 2 * 3 + 5  # it reads no further ahead than it must
            if index in stretches:
                gc.collect()
                alive = gc.get_objects()
                nodes.append(sum(isinstance(each, Node) for each in alive))
                containers.append(len(alive))
                del alive
                tracemalloc.start()
            if index - 20 in stretches:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
            if index == late + 20:
                break
    finally:
        tracemalloc.stop()
    return nodes, containers, peaks


def test_memory_does_not_grow_with_the_stream():
    nodes, containers, peaks = look_while_running(late=120)
    assert nodes[0] == nodes[1]
    assert containers[1] - containers[0] < 20  # 100 updates
    assert max(peaks) < 1.2 * min(peaks) + 10_000
    assert max(peaks) < 250_000


def test_the_memory_check_notices_outputs_that_are_kept():
    """A planted mistake: a loss that holds on to the graphs it was given."""
    nodes, containers, peaks = look_while_running(late=50, kept=[])
    assert nodes[1] - nodes[0] > 200
    assert containers[1] - containers[0] > 200
    assert max(peaks) > 300_000


# -- random numbers -------------------------------------------------------------------------------


def dropping(kind: str, seed: int = 0):
    """A model that draws masks between layers, within them, and before its loss."""
    rng = np.random.default_rng(seed)
    options = {"num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.3, "rng": rng}
    layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind](3, 4, dtype=np.float64, **options)
    return layer, nn.Dropout(0.5, rng=rng if seed % 2 else np.random.default_rng(9))


@settings(max_examples=max(settings.default.max_examples // 4, 1))
@given(
    st.sampled_from(["rnn", "lstm", "gru"]),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(0, 2**16),
)
def test_with_dropout_loss_and_gradient_are_those_of_one_graph(kind, steps, slots, seed):
    xs = np.random.default_rng(seed).standard_normal((steps, 2, 2, 3))

    def parts():
        layer, drop = dropping(kind, seed)

        def step(t, state):
            y, state = layer(xs[t], state)
            return state, (drop(y) ** 2).sum() if t != 1 else None

        return layer, drop, step

    layer, drop, step = parts()
    fields = layer.state_type._fields
    zeros = layer.state_type(*[tgs.tensor(np.zeros((2, 2, 4))) for _ in fields])
    found = bptt(step, zeros, steps, layer.parameters(), slots=slots)
    again, other, step = parts()
    state, total = zeros, tgs.tensor(0.0, dtype=np.float64)
    for t in range(steps):
        state, loss = step(t, state)
        total = total if loss is None else total + loss
    total.backward()
    assert found.loss == pytest.approx(total.item(), rel=1e-13)
    for mine, expected in zip(layer.parameters(), again.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad, expected.grad, rtol=1e-10, atol=1e-12)
    for mine, expected in zip(found.state, state, strict=True):
        np.testing.assert_array_equal(mine.data, expected.data)
    for mine, expected in zip((layer, drop), (again, other), strict=True):  # where one run ends
        for a, b in zip(mine.generators().values(), expected.generators().values(), strict=True):
            assert a.bit_generator.state == b.bit_generator.state


class OutOfReach:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)


OUT_OF_REACH = OutOfReach()


def test_random_numbers_that_are_not_found_are_noticed_or_named():
    w, first = tgs.tensor(0.5, requires_grad=True), tgs.tensor(np.float32(1.0))

    def step(t, state):
        state = state * w * float(OUT_OF_REACH.rng.random())
        return state, state * 1.0

    with pytest.raises(GraphError, match=r"(?s)bptt: step .*generators=\[rng\]"):
        bptt(step, first, 4, [w], slots=2)
    assert w.grad is None
    bptt(step, first, 4, [w], slots=2, generators=[OUT_OF_REACH.rng])
    assert np.isfinite(w.grad)


def test_an_error_on_the_way_puts_the_generators_back():
    layer, _ = dropping("gru")
    first = nn.GRUState(tgs.tensor(np.zeros((2, 2, 4))))
    before = [rng.bit_generator.state for rng in layer.generators().values()]

    def step(t, state):
        y, state = layer(np.ones((1, 2, 3)), state)
        if t == 2:
            raise ZeroDivisionError
        return state, y.sum()

    with pytest.raises(ZeroDivisionError):
        bptt(step, first, 4, layer.parameters())
    assert [rng.bit_generator.state for rng in layer.generators().values()] == before


def test_a_loss_that_draws_numbers_nobody_finds_is_refused() -> None:
    """A state that comes back the same does not mean that the loss does."""
    parts = types.SimpleNamespace(drop=nn.Dropout(0.5, rng=np.random.default_rng(0)))
    w = tgs.tensor(np.full(6, 0.5), requires_grad=True)

    def step(t, h):
        h = tgs.tanh(h * w)
        return h, parts.drop(h).sum()

    with pytest.raises(GraphError, match=r"another loss[\s\S]*generators=\[rng\]"):
        bptt(step, tgs.tensor(np.ones(6)), 8, [w])
    assert w.grad is None
    found = bptt(step, tgs.tensor(np.ones(6)), 8, [w], generators=[parts.drop.rng])
    assert np.isfinite(found.loss) and np.isfinite(w.grad).all()
