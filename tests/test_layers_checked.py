"""Every layer: first and second order to every parameter and input, twins, manners."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given

import tinygrad_seq as tgs
from tests.cells import FLAT, OURS, MGUCell
from tests.support.recurrent import RecurrentProblem, recurrent_problems
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.testing import GradientError, check_layer

T, N, I, H = 3, 2, 2, 3  # noqa: E741  (the size of an input)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (T, N, I))
ROW = RNG.uniform(-1, 1, (N, I))
IDS = RNG.integers(0, I, (T, N))
S = RNG.uniform(-1, 1, (1, N, H))
BOTH = {"num_layers": 2, "bidirectional": True}
LENGTHS = {"lengths": [3, 1]}


def options(**given: Any):
    """A call with options."""
    return lambda module, *inputs: module(*inputs, **given)


def attend(module: nn.Module, *inputs: Any) -> Any:
    return module(*inputs, **LENGTHS)


def decoder(kind: Any, attention: bool = False, memory: int = H, **o: Any) -> nn.Decoder:
    found = nn.AdditiveAttention(H, memory, 2, **o) if attention else None
    return nn.Decoder(kind(I, H, **o), 2, found, memory, rng=o["rng"])


def stepwise(attend: str, **o: Any) -> nn.Decoder:
    layer = nn.LSTM(I + nn.Decoder.fed_size_of(attend, H, I), H, **o)
    found = nn.AdditiveAttention(H, I, 2, **o)
    return nn.Decoder(layer, 2, found, I, attend=attend, rng=o["rng"])


def looking(module: nn.Module, x: Any, state: Any, memory: Any) -> Any:
    return module(x, state, memory=memory, lengths=[2, 1])


LAYERS: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "Linear": (lambda **o: nn.Linear(I, H, **o), (X,), None),
    "Linear without bias": (lambda **o: nn.Linear(I, H, False, **o), (ROW,), None),
    "Embedding": (lambda **o: nn.Embedding(I, H, **o), (IDS,), None),
    "Dropout": (lambda **o: nn.Dropout(0.5, rng=o["rng"]), (X,), None),
    "VariationalDropout": (lambda **o: nn.VariationalDropout(0.5, rng=o["rng"]), (X,), None),
    "LayerNorm": (lambda rng, dtype: nn.LayerNorm(I, dtype=dtype), (X,), None),
    "Sequential": (
        lambda **o: nn.Sequential([nn.Linear(I, H, **o), nn.Dropout(0.3, rng=o["rng"])]), (X,), None
    ),
    "RNNCell relu": (lambda **o: nn.RNNCell(I, H, nonlinearity="relu", **o), (ROW, S[0]), None),
    "GRUCell reset before": (lambda **o: nn.GRUCell(I, H, reset_after=False, **o), (ROW,), None),
    "RNN": (lambda **o: nn.RNN(I, H, **o, **BOTH), (X,), None),
    "RNN relu": (lambda **o: nn.RNN(I, H, nonlinearity="relu", **o), (X, nn.RNNState(S)), None),
    "RNN of tokens": (lambda **o: nn.RNN(I, H, **o), (IDS,), options(**LENGTHS)),
    "LSTM both": (lambda **o: nn.LSTM(I, 2, **o, **BOTH), (X,), options(**LENGTHS)),
    "LSTM projected": (lambda **o: nn.LSTM(I, H, proj_size=2, **o), (X,), None),
    "LSTM normalised": (lambda **o: nn.LSTM(I, H, layer_norm=True, **o), (X,), None),
    "LSTM recomputed": (
        lambda **o: nn.LSTM(I, 2, 2, checkpoint=2, dropout=0.4, **o), (X,), None
    ),
    "LSTM variational": (
        lambda **o: nn.LSTM(I, 2, 2, dropout=0.4, variational=True, **o), (X,), None
    ),
    "LSTM trainable state": (lambda **o: nn.LSTM(I, H, trainable_state=True, **o), (X,), None),
    "GRU": (lambda **o: nn.GRU(I, H, **o), (X, nn.GRUState(S)), options(reset=[True, False])),
    "GRU both": (lambda **o: nn.GRU(I, 2, **o, **BOTH), (X,), options(**LENGTHS)),
    "GRU reset before": (lambda **o: nn.GRU(I, H, reset_after=False, **o), (X,), None),
    "GRU batch first": (
        lambda **o: nn.GRU(I, H, batch_first=True, **o), (X.transpose(1, 0, 2),), None
    ),
    "DotAttention": (lambda **o: nn.DotAttention(scale=True), (X[:2], X), attend),
    "MultiplicativeAttention": (
        lambda **o: nn.MultiplicativeAttention(H, I, **o), (S, X), attend
    ),
    "AdditiveAttention": (lambda **o: nn.AdditiveAttention(H, I, 2, **o), (S[0], X), attend),
    "MultiheadAttention": (
        lambda **o: nn.MultiheadAttention(4, 2, kdim=I, vdim=I, dropout=0.2, **o),
        (RNG.uniform(-1, 1, (2, N, 4)), X, X[::-1]), options(causal=True),
    ),
    "Recurrent": (
        lambda **o: nn.Recurrent(lambda size: MGUCell(size, 2, **o), I, 2, bidirectional=True),
        (X,), options(**LENGTHS),
    ),
    "ManyToOne": (
        lambda **o: nn.ManyToOne(nn.GRU(I, 2, bidirectional=True, **o), 2, rng=o["rng"]), (X,),
        options(**LENGTHS),
    ),
    "ManyToMany": (lambda **o: nn.ManyToMany(nn.LSTM(I, 2, **o), 2, rng=o["rng"]), (X,), None),
    "Decoder": (lambda **o: decoder(nn.LSTM, **o), (X, nn.LSTMState(S, S)), None),
    "Decoder attention": (
        lambda **o: decoder(nn.GRU, True, I, **o), (X, nn.GRUState(S), X[:2]),
        looking,
    ),
    "Decoder feeding": (
        lambda **o: stepwise("feeding", **o), (X, nn.LSTMState(S, -S), X[:2]), looking,
    ),
    "Decoder before": (
        lambda **o: stepwise("before", **o), (X, nn.LSTMState(S, -S), X[:2]), looking,
    ),
    "OneToMany": (lambda **o: nn.OneToMany(I, decoder(nn.LSTM, **o), rng=o["rng"]), (ROW, X), None),
    "Seq2Seq": (
        lambda **o: nn.Seq2Seq(
            nn.GRU(I, H, bidirectional=True, **o), decoder(nn.GRU, True, 2 * H, **o), rng=o["rng"]
        ),
        (X, IDS), options(**LENGTHS),
    ),
}  # fmt: skip


for name, kind in OURS.items():
    parts = [sign * S[0] for sign, _ in zip((1, -1, 0.5, 2), kind(I, H).states, strict=False)]
    state = parts[0] if len(parts) == 1 else tuple(parts)
    LAYERS[f"{name} plain"] = (partial(kind, I, H), (ROW, state), None)
for name, kind in FLAT.items():
    parts = [sign * S for sign, _ in zip((1, -1, 0.5, 2), kind(I, H).state_sizes, strict=False)]
    LAYERS[f"{name} plain"] = (partial(kind, I, H), (X, kind(I, H).state_type(*parts)), None)


@pytest.mark.parametrize("name", LAYERS)
def test_first_and_second_order_to_everything(name: str) -> None:
    make, inputs, call = LAYERS[name]
    module = make(rng=np.random.default_rng(1), dtype=np.float64)
    first = check_layer(module, *inputs, call=call)
    assert first.checked >= module.num_parameters()
    assert first.worst < (1e-12 if first.method == "complex" else 1e-7)
    assert not first.kinks
    assert check_layer(module, *inputs, call=call, order=2).checked == first.checked + 1


@given(recurrent_problems())
@example(RecurrentProblem("relu", 3, 1, 1, 1, tokens=True))  # stood on the kink at the last step
def test_recurrent_problems_of_every_kind(problem: RecurrentProblem) -> None:
    check_layer(
        problem.layer, problem.x, problem.state, call=problem.call, check="directional", order=2
    )


def test_every_layer_is_checked() -> None:
    bases = {nn.Module, nn.ModuleList, nn.Attention, nn.Cell}
    layers = {
        name
        for name in nn.__all__
        if inspect.isclass(found := getattr(nn, name))
        and issubclass(found, nn.Module)
        and found not in bases
    }
    assert layers == {name.split()[0] for name in LAYERS}


# -- what it catches -------------------------------------------------------------------------------


class Scaled(nn.Module):
    """A layer to be broken in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(np.array([0.5, -1.0]))
        self.offset = nn.Parameter(np.array([0.1, 0.2]))

    def forward(self, x):
        return np.tanh(x * self.weight) + self.offset


def test_a_right_layer_passes_and_is_left_as_it_was() -> None:
    layer = Scaled()
    before = layer.state_dict()
    held = dict(layer.named_parameters())
    assert check_layer(layer, ROW, order=2).method == "complex"
    assert all(np.array_equal(before[name], value) for name, value in layer.state_dict().items())
    assert all(p is held[name] and p.grad is None for name, p in layer.named_parameters())
    assert layer.weight is held["weight"]


class Cut(Scaled):
    def forward(self, x):
        return np.tanh(x * self.weight.detach()) + self.offset * self.weight


def test_a_parameter_cut_off_is_named_with_both_numbers() -> None:
    with pytest.raises(GradientError) as caught:
        check_layer(Cut(), ROW)
    text = str(caught.value)
    assert text.startswith("gradcheck of Cut: ")
    assert "the gradient to weight is wrong at index (" in text
    assert "expected: " in text
    assert "(complex step)" in text
    assert "relative error" in text
    assert "weight float64[2] = [ 0.5, -1. ]" in text
    assert "offset float64[2]" in text


class Differs(Scaled):
    def forward(self, x):
        return x * self.weight * (2.0 if tgs.engine.mode.current_mode.get().composed else 1.0)


def test_a_twin_that_differs_is_named() -> None:
    with pytest.raises(GradientError, match=r"output 0 differs under composed\(\)"):
        check_layer(Differs(), ROW)


class Writes(Scaled):
    def forward(self, x):
        self.weight.writable()[...] += 1
        return x * self.weight


def test_a_layer_that_writes_to_its_parameters_is_caught() -> None:
    with pytest.raises(GradientError, match="weight was written to"):
        check_layer(Writes(), ROW)


def test_random_masks_are_the_same_in_every_call_and_generators_are_named() -> None:
    layer = nn.Sequential([Scaled(), nn.Dropout(0.5, rng=np.random.default_rng(0))])
    assert check_layer(layer, ROW, order=2)
    unseeded = Scaled()
    hidden = np.random.default_rng(0)
    with pytest.raises(GradientError, match="different values when called twice"):
        check_layer(unseeded, ROW, call=lambda m, x: m(x) * hidden.random())


def test_float32_layers_and_layers_without_tensors_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"check_layer: weight[\s\S]*astype"):
        check_layer(nn.Linear(2, 2), ROW)
    with pytest.raises(ConfigError, match="check_layer: Scaled returned no tensor"):
        check_layer(Scaled(), ROW, call=lambda m, x: None)


def test_shared_parameters_count_once() -> None:
    first = nn.Linear(2, 2, rng=np.random.default_rng(0), dtype=np.float64)
    tied = nn.Sequential([first, nn.Linear(2, 2, rng=np.random.default_rng(1), dtype=np.float64)])
    tied[1].weight = first.weight
    report = check_layer(tied, ROW)
    assert report.checked == ROW.size + 4 + 2 + 2
