"""General truncation: exact where it must be, cut where it says, against forward-mode RTRL."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from demos.lab import compare_truncations, truncated_bptt
from tinygrad_seq import charlm, nn, optim, train
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.testing import layer_step, rtrl

F64 = np.float64

# -- the scalar trap: x_{t+1} = w x_t ----------------------------------------------------------


def scalar_gradients(steps, k1, k2, cut=None):
    """d(sum of the new outputs)/dw at every backward."""
    w = tgs.tensor(np.array(0.2), requires_grad=True)

    def model(inputs, x):
        outputs = []
        for _ in inputs:
            x = w * x
            outputs.append(x)
        return tgs.stack(outputs), x

    windows = [(np.zeros(n), np.zeros(n)) for n in (cut or [steps])]
    start = tgs.tensor(np.array(0.9))
    found = []
    for _ in truncated_bptt(model, windows, k1, k2, state=start, loss=lambda y, _: y.sum()):
        found.append(float(w.grad))
        w.grad = None
    return found


@pytest.mark.parametrize(
    ("k1", "k2", "expected"),
    [
        (1, 1, [0.9, 0.18, 0.036]),
        (1, 2, [0.9, 0.36, 0.072]),
        (1, 3, [0.9, 0.36, 0.108]),
        (1, 9, [0.9, 0.36, 0.108]),
        (3, 3, [0.9 + 0.36 + 0.108]),
        (2, 2, [0.9 + 0.36, 0.072]),  # one step is left over, and goes back k2 steps all the same
        (2, 3, [0.9 + 0.36, 0.108]),
        (2, 5, [0.9 + 0.36, 0.108]),
    ],
)
def test_the_scalar_trap(k1, k2, expected):
    for cut in ([3], [1, 2], [2, 1], [1, 1, 1]):
        found = scalar_gradients(3, k1, k2, cut)
        np.testing.assert_allclose(found, expected, rtol=1e-15)
        assert not any(np.isclose(value, 0.288) for value in found)  # stale gradients added up


# -- laws, with the weights held fixed ---------------------------------------------------------


class Model(nn.Module):
    """A recurrent layer and a readout over tokens."""

    def __init__(self, kind="lstm", hidden=4, layers=1, seed=0, vocab=3):
        super().__init__()
        rng = np.random.default_rng(seed)
        make = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[kind]
        self.rnn = make(vocab, hidden, num_layers=layers, rng=rng, dtype=F64)
        self.head = nn.Linear(hidden, vocab, rng=rng, dtype=F64)

    def forward(self, tokens, state=None):
        y, state = self.rnn(tokens, state)
        return self.head(y), state


def summed(outputs, targets):
    return tgs.cross_entropy(outputs, targets, reduction="sum")


def sequence(steps, batch=2, seed=0, vocab=3):
    tokens = np.random.default_rng(seed).integers(0, vocab, (steps + 1, batch))
    return tokens[:-1], tokens[1:]


def collected(model):
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = None
    return found


def total(model, windows, k1, k2, **options):
    for _ in truncated_bptt(model, windows, k1, k2, loss=summed, **options):
        pass
    return collected(model)


def full(model, inputs, targets):
    summed(model(inputs)[0], targets).backward()
    return collected(model)


def worst(found, reference):
    """Largest difference, each tensor relative to its own largest entry."""
    errors = []
    for name, exact in reference.items():
        difference, size = np.abs(found[name] - exact).max(), np.abs(exact).max()
        errors.append(difference / size if size else difference)
    return max(errors)


def pieces(array, lengths):
    ends = np.cumsum(lengths)
    return [array[end - n : end] for n, end in zip(lengths, ends, strict=True)]


def cuts(steps, draw):
    """A way of cutting `steps` into windows."""
    lengths = []
    while sum(lengths) < steps:
        lengths.append(draw(st.integers(1, steps - sum(lengths))))
    return lengths


@given(
    kind=st.sampled_from(["rnn", "lstm"]),
    layers=st.integers(1, 2),
    steps=st.integers(1, 12),
    k1=st.integers(1, 12),
    data=st.data(),
)
def test_k2_beyond_the_sequence_is_full_backpropagation(kind, layers, steps, k1, data):
    model = Model(kind, layers=layers)
    inputs, targets = sequence(steps)
    k2 = max(k1, steps) + data.draw(st.integers(0, 3))
    lengths = cuts(steps, data.draw)
    windows = zip(pieces(inputs, lengths), pieces(targets, lengths), strict=True)
    found = total(model, windows, k1, k2)
    reference = full(model, inputs, targets)
    assert worst(found, reference) < 1e-12


def stopped(model, inputs, targets, k1, k2):
    """The oracle: for each update, a stop-gradient k2 steps back, everything written out."""
    steps = len(inputs)
    for start in range(0, steps, k1):
        end = min(start + k1, steps)
        back = max(0, end - k2)
        state = None
        if back:
            with tgs.no_grad():
                _, state = model(inputs[:back])
        outputs, _ = model(inputs[back:end], state)
        summed(outputs[start - back :], targets[start:end]).backward()
    return collected(model)


@given(
    kind=st.sampled_from(["rnn", "lstm"]),
    steps=st.integers(1, 12),
    k1=st.integers(1, 6),
    more=st.integers(0, 8),
    data=st.data(),
)
@example(kind="lstm", steps=7, k1=3, more=1, data=None)
def test_equals_a_stop_gradient_k2_steps_back(kind, steps, k1, more, data):
    model = Model(kind)
    inputs, targets = sequence(steps)
    lengths = [steps] if data is None else cuts(steps, data.draw)
    windows = zip(pieces(inputs, lengths), pieces(targets, lengths), strict=True)
    found = total(model, windows, k1, k1 + more)
    assert worst(found, stopped(model, inputs, targets, k1, k1 + more)) < 1e-12
    if steps > k1 + more + 2:  # the check can fail: one step more of history is another gradient
        assert worst(found, stopped(model, inputs, targets, k1, k1 + more + 1)) > 1e-9


@given(steps=st.integers(1, 11), k1=st.integers(1, 5), more=st.integers(0, 4))
def test_every_loss_is_counted_once(steps, k1, more):
    model = Model()
    inputs, targets = sequence(steps)
    found = list(truncated_bptt(model, [(inputs, targets)], k1, k1 + more, loss=summed))
    assert sum(each.loss for each in found) == pytest.approx(
        summed(model(inputs)[0], targets).item(), rel=1e-12
    )
    assert [each.end for each in found] == [*range(k1, steps, k1), steps]
    assert sum(each.steps for each in found) == steps
    assert [each.back for each in found] == [min(each.end, k1 + more) for each in found]
    exact = model(inputs)[1]
    for mine, theirs in zip(found[-1].state, exact, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-12)
        assert not mine.requires_grad


def test_training_with_k1_equal_k2_is_the_ordinary_form():
    """Updates between backwards: parameters as `train.tbptt` leaves them, bit for bit."""
    inputs, targets = sequence(16)
    ours, theirs = Model(layers=2), Model(layers=2)
    reports = train.tbptt(
        theirs, [(inputs, targets)], optim.SGD(theirs.parameters(), lr=0.1), k=4, loss=summed
    )
    list(reports)
    optimizer = optim.SGD(ours.parameters(), lr=0.1)
    for _ in truncated_bptt(ours, [(inputs, targets)], 4, 4, loss=summed):
        optimizer.step()
        optimizer.zero_grad()
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], value, err_msg=name)


def test_the_older_window_is_run_with_the_present_weights():
    inputs, targets = sequence(6)
    model = Model()
    losses = []
    for done in truncated_bptt(model, [(inputs, targets)], 2, 6, loss=summed):
        losses.append(done.loss)
        collected(model)
        for parameter in model.parameters():
            parameter.writable()[:] += 0.1
    fresh = Model()  # each loss is that of a run from the start with the weights of its time
    for index, loss in enumerate(losses):
        end = 2 * index + 2
        exact = summed(fresh(inputs[:end])[0][end - 2 :], targets[end - 2 : end]).item()
        assert loss == pytest.approx(exact, rel=1e-12)
        for parameter in fresh.parameters():
            parameter.writable()[:] += 0.1


@pytest.mark.parametrize("k2", [3, 5, 20])
def test_reset_rows_start_anew_wherever_the_backward_begins(k2):
    model = Model()
    parts = [sequence(4, seed=seed) for seed in range(3)]
    reset = np.array([True, False])
    found = total(model, [parts[0], (*parts[1], reset), (*parts[2], ~reset)], 3, k2)
    # Row by row: a reset cuts a row's sequence in two.
    rows = [
        [np.concatenate([p[i][:, r] for p in group]) for i in range(2)]
        for r, groups in ((0, [parts[:1], parts[1:]]), (1, [parts[:2], parts[2:]]))
        for group in groups
    ]
    if k2 == 20:
        for inputs, targets in rows:
            summed(model(inputs[:, None])[0], targets[:, None]).backward()
        assert worst(found, collected(model)) < 1e-12
    values = [d.loss for d in truncated_bptt(model, [parts[0], (*parts[1], reset)], 4, 4)]
    untouched = [d.loss for d in truncated_bptt(model, parts[:2], 4, 4)]
    assert values[0] == untouched[0]
    assert values[1] != untouched[1]


# -- forward mode: real-time recurrent learning ------------------------------------------------


def carried_forward(model, inputs, targets):
    """Gradients of the summed cross-entropy of one sequence, without going back."""
    weights = {name: parameter.numpy() for name, parameter in model.named_parameters()}
    size = model.rnn.hidden_size

    def loss(w, state, target):
        logits = state[:size] @ w["head.weight"] + w["head.bias"]
        return np.log(np.sum(np.exp(logits))) - logits[target]

    start = np.zeros(size * len(model.rnn.state_type._fields))
    step = layer_step(model.rnn, "rnn.")
    return rtrl(step, loss, weights, inputs[:, 0], targets[:, 0], start)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("hidden", [1, 4, 8])
def test_rtrl_agrees_with_full_backpropagation_and_not_with_truncation(kind, hidden):
    model = Model(kind, hidden)
    inputs, targets = sequence(12, batch=1)
    found = carried_forward(model, inputs, targets)
    exact = found.gradients
    assert found.value == pytest.approx(summed(model(inputs)[0], targets).item(), rel=1e-13)
    assert worst(full(model, inputs, targets), exact) < 1e-12
    windows = [(inputs, targets)]
    assert worst(total(model, windows, 3, 12), exact) < 1e-12
    for k1, k2 in ((1, 1), (3, 3), (3, 5)):
        found = total(model, windows, k1, k2)
        recurrent = {n: g for n, g in found.items() if n.startswith("rnn.")}
        for name, gradient in recurrent.items():  # no recurrent weight is right by chance
            assert worst({name: gradient}, {name: exact[name]}) > 1e-5, name
        head = {name: g for name, g in exact.items() if name.startswith("head.")}
        assert worst(found, head) < 1e-12


def test_nothing_runs_before_it_is_asked_for():
    def windows():
        raise AssertionError("read too early")
        yield

    truncated_bptt(Model(), windows(), 2, 4)


# -- comparison and refusals -------------------------------------------------------------------


def test_the_comparison_finds_the_error_shrink_with_k2():
    model = Model(hidden=8)
    inputs, targets = sequence(48)
    kept = model.head.bias.grad = np.full(3, 7.0)
    pairs = [(4, 4), (4, 12), (4, 24), (4, 48), (48, 48)]
    found = compare_truncations(model, inputs, targets, pairs)
    assert [(c.k1, c.k2) for c in found] == pairs
    errors = [c.error for c in found]
    assert errors[0] > errors[1] > errors[2] > 1e-12 > errors[3] >= errors[4] == 0.0
    assert found[0].cosine < 1.0
    assert found[4].cosine == pytest.approx(1.0)
    assert all(c.peak_bytes > 0 and c.seconds > 0 for c in found)
    assert found[0].peak_bytes < found[4].peak_bytes
    np.testing.assert_array_equal(model.head.bias.grad, kept)
    assert model.rnn.bias_l0.grad is None
    exact = stopped(model, inputs, targets, 4, 12)
    exact["head.bias"] = found[1].gradients["head.bias"]  # it had a gradient to start from
    assert worst(found[1].gradients, exact) < 1e-12


@pytest.mark.parametrize(
    ("k1", "k2", "complaint"),
    [(0, 3, "k1"), (True, 3, "k1"), (2, 2.5, "k2"), (3, 2, "leave losses out")],
)
def test_impossible_truncations_are_refused_at_the_call(k1, k2, complaint):
    with pytest.raises(ConfigError, match=complaint):
        truncated_bptt(Model(), [], k1, k2)


@pytest.mark.parametrize(
    "window", [np.zeros((3, 2)), (np.zeros((3, 2)), np.zeros((2, 2))), (np.zeros((0, 2)),) * 2]
)
def test_windows_that_do_not_fit_are_refused(window):
    with pytest.raises(ShapeError, match="window"):
        next(truncated_bptt(Model(), [window], 2, 2))


def test_an_empty_stream_is_no_update():
    assert list(truncated_bptt(Model(), [], 2, 4)) == []


def test_truncations_are_not_compared_where_masks_differ():
    model = charlm.CharLM(5, 4, 2, dropout=0.5, rng=np.random.default_rng(0), dtype=np.float64)
    tokens = np.random.default_rng(1).integers(0, 5, (9, 2))
    before = [rng.bit_generator.state for rng in model.generators().values()]
    with pytest.raises(ConfigError, match=r"model\.eval\(\)"):
        compare_truncations(model, tokens[:-1], tokens[1:], [(4, 8)])
    assert [rng.bit_generator.state for rng in model.generators().values()] == before
    assert all(parameter.grad is None for parameter in model.parameters())
    (found,) = compare_truncations(model.eval(), tokens[:-1], tokens[1:], [(4, 8)])
    assert found.error < 1e-12
