"""Forward-mode gradients through time: the oracle that never goes back."""

from __future__ import annotations

import ast
import inspect

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.cells import CELLS as ANY_CELL
from tests.cells import SIZE, layer_of
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.kernels import sequence
from tinygrad_seq.testing import rtrl, rtrl_layer
from tinygrad_seq.testing.rtrl_layer import MAX_UNITS

KINDS = {
    "rnn": lambda i, h, n, **o: nn.RNN(i, h, n, **o),
    "rnn relu": lambda i, h, n, **o: nn.RNN(i, h, n, "relu", **o),
    "lstm": lambda i, h, n, **o: nn.LSTM(i, h, n, **o),
    "gru": lambda i, h, n, **o: nn.GRU(i, h, n, **o),
    "gru reset before": lambda i, h, n, **o: nn.GRU(i, h, n, reset_after=False, **o),
}
STEPS, ROWS, INPUTS = 7, 2, 3


def problem(kind: str, hidden: int, layers: int):
    """A layer with every parameter drawn anew, inputs, cotangents and a state."""
    rng = np.random.default_rng(hidden)
    layer = KINDS[kind](INPUTS, hidden, layers, rng=rng, dtype=np.float64)
    for parameter in layer.parameters():
        parameter.data = rng.uniform(-1, 1, parameter.shape)
    x = rng.standard_normal((STEPS, ROWS, INPUTS))
    c = rng.standard_normal((STEPS, ROWS, hidden))
    start = [rng.uniform(-1, 1, (layers, ROWS, hidden)) for _ in layer.state_type._fields]
    return layer, x, c, start


def backward(layer, x, c, start, k: int | None = None) -> dict[str, np.ndarray]:
    """By backpropagation through time, cut every k steps."""
    state = layer.state_type(*start)
    for t in range(0, STEPS, k or STEPS):
        y, state = layer(x[t : t + (k or STEPS)], state)
        (y * c[t : t + (k or STEPS)]).sum().backward()
        state = state.detach()
    found = {name: p.grad for name, p in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.grad = None
    return found


def distance(found, exact) -> float:
    """Largest error of a tensor relative to its largest entry; of the worst tensor."""
    assert found.keys() == exact.keys()
    return max(float(np.max(np.abs(found[n] - g)) / np.max(np.abs(g))) for n, g in exact.items())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("hidden", [1, 3, MAX_UNITS])
@pytest.mark.parametrize("kind", KINDS)
def test_full_backpropagation_equals_it_and_truncated_does_not(kind, hidden, layers) -> None:
    layer, x, c, start = problem(kind, hidden if layers == 1 else min(hidden, 3), layers)
    exact = rtrl_layer(layer, x, c, start)
    assert distance(backward(layer, x, c, start), exact) < 1e-12
    with tgs.composed():
        assert distance(backward(layer, x, c, start), exact) < 1e-12
    for k in (1, 2, 5):
        assert distance(backward(layer, x, c, start, k), exact) > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_a_state_of_zeros(kind: str) -> None:
    layer, _, c, _ = problem(kind, 3, 1)
    tokens = np.random.default_rng(0).integers(0, INPUTS, (STEPS, ROWS))
    exact = rtrl_layer(layer, tokens, c)
    (layer(tokens)[0] * c).sum().backward()
    assert distance({name: p.grad for name, p in layer.named_parameters()}, exact) < 1e-12


CELLS = [
    lambda **o: nn.RNNCell(INPUTS, 3, **o),
    lambda **o: nn.RNNCell(INPUTS, 3, nonlinearity="relu", **o),
    lambda **o: nn.LSTMCell(INPUTS, 3, **o),
    lambda **o: nn.GRUCell(INPUTS, 3, **o),
    lambda **o: nn.GRUCell(INPUTS, 3, reset_after=False, **o),
]


@pytest.mark.parametrize("make", CELLS)
def test_cells_step_by_step(make) -> None:
    rng = np.random.default_rng(0)
    cell = make(rng=rng, dtype=np.float64)
    x, c = rng.standard_normal((STEPS, ROWS, INPUTS)), rng.standard_normal((STEPS, ROWS, 3))
    exact = rtrl_layer(cell, x, c)
    state, loss = None, tgs.tensor(np.zeros(()))
    for x_t, c_t in zip(x, c, strict=True):
        state = cell(x_t, state)
        loss = loss + ((state[0] if isinstance(state, tuple) else state) * c_t).sum()
    loss.backward()
    assert distance({name: p.grad for name, p in cell.named_parameters()}, exact) < 1e-12


def by_backward(layer, x, c, start) -> dict[str, np.ndarray]:
    y, _ = layer(x, start)
    return {
        name: g.numpy()
        for (name, _), g in zip(
            layer.named_parameters(),
            tgs.grad((y * c).sum(), list(layer.parameters())),
            strict=True,
        )
    }


@pytest.mark.parametrize("cell", ANY_CELL.values(), ids=ANY_CELL)
@settings(max_examples=8)
@example(seed=40160, steps=6, layers=2, ids=True)  # a rectifier close to its kink
@given(
    seed=st.integers(0, 2**16), steps=st.integers(2, 6), layers=st.integers(1, 2), ids=st.booleans()
)
def test_a_layer_of_any_cell(cell, seed: int, steps: int, layers: int, ids: bool) -> None:
    layer = layer_of(cell, seed, num_layers=layers)
    rng = np.random.default_rng(seed)
    x = rng.integers(0, SIZE, (steps, ROWS)) if ids else rng.uniform(-1, 1, (steps, ROWS, SIZE))
    c = rng.standard_normal((steps, ROWS, layer.output_size))
    sizes = layer.state_sizes.values()
    start = layer.state_type(*[rng.uniform(-1, 1, (layers, ROWS, size)) for size in sizes])
    assert distance(by_backward(layer, x, c, start), rtrl_layer(layer, x, c, start)) < 1e-9


@pytest.mark.parametrize(
    "options", [{"proj_size": 2}, {"layer_norm": True}, {"bias": False}, {"recurrent_dropout": 0.5}]
)
def test_layers_with_options_are_their_own_steps(options) -> None:
    rng = np.random.default_rng(0)
    layer = nn.LSTM(2, 3, 2, rng=rng, dtype=np.float64, **options).eval()
    size = layer.state_sizes["h"]
    x, c = rng.standard_normal((4, ROWS, 2)), rng.standard_normal((4, ROWS, size))
    assert distance(by_backward(layer, x, c, None), rtrl_layer(layer, x, c)) < 1e-11


class Bent(nn.Cell):
    """A step that no complex number can be put through: of ``abs``, or with a mask of its own."""

    def __init__(self, mask: bool, wrong: bool = False) -> None:
        super().__init__(2, 2)
        self.weight = nn.Parameter(np.array([[0.5, -0.3], [0.2, 0.7]]))
        self.mask, self.wrong = np.array([[1.0, 0.5]]) if mask else None, wrong

    def forward(self, x, h):
        y = h @ self.weight
        y = y * self.mask if self.mask is not None else abs(y)
        if self.wrong:
            y = y - 0.1 * (h.detach() if isinstance(h, tgs.Tensor) else h)
        return tgs.tanh(y + x)


@pytest.mark.parametrize("mask", [True, False])
def test_a_cell_of_real_numbers_only_goes_by_differences(mask: bool) -> None:
    rng = np.random.default_rng(1)
    x, c = rng.standard_normal((4, ROWS, 2)), rng.standard_normal((4, ROWS, 2))
    for wrong, holds in ((False, True), (True, False)):
        layer = nn.Recurrent(Bent(mask, wrong))
        far = distance(by_backward(layer, x, c, None), rtrl_layer(layer, x, c))
        assert (far < 1e-9) == holds  # a planted detach cuts the way back, not the way forward


def test_a_cell_that_does_not_return_its_states_is_explained() -> None:
    class Short(nn.Cell):
        def __init__(self) -> None:
            super().__init__(2, 2)
            self.weight = nn.Parameter(np.ones(2))

        def forward(self, x, h):
            return h[:, :1]

    with pytest.raises(ShapeError, match=r"Short.forward: what it returned"):
        rtrl_layer(Short(), np.zeros((2, 1, 2)), np.zeros((2, 1, 2)))


def test_a_planted_mistake_in_a_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, c, start = problem("gru", 3, 1)
    exact = rtrl_layer(layer, x, c, start)
    real = sequence._states_before
    monkeypatch.setattr(sequence, "_states_before", lambda *a: 1.0001 * real(*a))
    assert distance(backward(layer, x, c, start), exact) > 1e-5


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    tree = ast.parse(inspect.getsource(inspect.getmodule(rtrl)))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in imported if name.startswith("tinygrad_seq")}
    types = {"tinygrad_seq.engine.node", "tinygrad_seq.errors", "tinygrad_seq.nn"}
    assert ours == types | {"tinygrad_seq.checks"}  # and the refusal of what cannot be computed


@pytest.mark.parametrize(("steps", "slope"), [(1, 0.9), (2, 0.36), (3, 0.108)])
def test_the_scalar_recurrence(steps: int, slope: float) -> None:
    """x_t = w x_{t-1}: d x_T / d w = T w^(T-1) x_0."""
    found = rtrl(
        lambda p, x, s: p["w"] * s + 0 * x,
        lambda p, s, last: last * s[0],
        {"w": np.array(0.2)},
        np.zeros(steps),
        [0.0] * (steps - 1) + [1.0],
        np.array([0.9]),
    )
    assert found.gradients["w"] == pytest.approx(slope, rel=1e-14)
    assert found.value == pytest.approx(0.9 * 0.2**steps)
    assert found.state == pytest.approx([0.9 * 0.2**steps])


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(2, 3, bidirectional=True, dtype=np.float64),
        nn.RNN(2, 3, trainable_state=True, dtype=np.float64),
        nn.Linear(2, 3, dtype=np.float64),
        nn.GRU(2, MAX_UNITS + 1, dtype=np.float64),
        nn.GRU(2, 3),
    ],
)
def test_what_it_does_not_know_is_refused(layer: nn.Module) -> None:
    with pytest.raises(ConfigError, match="rtrl_layer: layer"):
        rtrl_layer(layer, np.zeros((2, 1, 2)), np.zeros((2, 1, 3)))


def test_cotangents_must_fit() -> None:
    layer, x, c, _ = problem("lstm", 3, 1)
    with pytest.raises(ShapeError, match=r"cotangents[\s\S]*\(7, 2, 3\)"):
        rtrl_layer(layer, x, c[:, :, :2])
