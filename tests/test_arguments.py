"""Calls that a class or function of ours does not take: an error that says what it does."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import public
from tests.test_bad_input import message
from tinygrad_seq import elsewhere, nn, optim
from tinygrad_seq.errors import ArgumentError, ConfigError, DtypeError, TinygradSeqError


def weights() -> list[tgs.Tensor]:
    return [tgs.tensor([1.0, 2.0], requires_grad=True)]


def optimizer() -> optim.Optimizer:
    return optim.SGD(weights())


CLASSES = [
    kind
    for room in (nn, optim, tgs.train)
    for kind in (getattr(room, name) for name in room.__all__)
    if isinstance(kind, type) and issubclass(kind, (nn.Module, optim.Optimizer, optim.LRScheduler))
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_names_what_it_takes(kind) -> None:
    taken = [name for name in inspect.signature(kind).parameters if name != "modules"]
    for call, got in (
        (lambda: kind(no_such_option=3), "no_such_option=3"),
        (lambda: kind(*[None] * 40), "in one place more"),
    ):
        if kind is nn.Sequential and got != "no_such_option=3":
            continue  # takes any number
        text = message(ArgumentError, call)
        assert text.startswith(f"{kind.__name__}: ") and got in text
        assert all(name in text for name in taken)
    needed = [n for n, p in inspect.signature(kind).parameters.items() if p.default is p.empty]
    if needed and kind is not nn.Sequential:
        assert message(ArgumentError, kind).startswith(f"{kind.__name__}: {', '.join(needed)} miss")


def test_a_name_nearly_right_is_corrected_and_one_of_pytorch_explained() -> None:
    text = message(ArgumentError, lambda: nn.LSTM(3, hiden_size=4))
    assert text.splitlines()[0] == "LSTM: no argument 'hiden_size'" and "try: hidden_size=" in text
    assert "bidirectional" in text
    assert "one device" in message(ArgumentError, lambda: nn.Linear(3, 4, device="cpu"))
    assert "negate the loss" in message(ArgumentError, lambda: optim.Adam(weights(), maximize=True))
    assert "lengths=" in message(ArgumentError, lambda: nn.Embedding(3, 4, padding_idx=0))
    text = message(ArgumentError, lambda: nn.Linear(3, 4, in_features=3))
    assert "Linear: in_features twice" in text
    assert not set(elsewhere.KEYWORDS) & {
        name
        for kind in (nn.LSTM, nn.GRU, optim.Adam)
        for name in inspect.signature(kind).parameters
    }


# What PyTorch takes after the sizes, in its order, is another thing here: never taken in silence.
BY_PLACE = {
    "LSTM": lambda: nn.LSTM(3, 4, 1, False, True),  # bias, batch_first
    "GRU": lambda: nn.GRU(3, 4, 2, True),
    "RNN": lambda: nn.RNN(3, 4, 1, "tanh", True),
    "LSTMCell": lambda: nn.LSTMCell(3, 4, True),  # bias
    "GRUCell": lambda: nn.GRUCell(3, 4, True),
    "RNNCell": lambda: nn.RNNCell(3, 4, True, "relu"),
    "Embedding": lambda: nn.Embedding(3, 4, 0),  # padding_idx
    "Dropout": lambda: nn.Dropout(0.5, True),  # inplace
    "Linear": lambda: nn.Linear(3, 4, True, "cpu"),  # device
    "LayerNorm": lambda: nn.LayerNorm(3, 1e-5, True),  # elementwise_affine
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2, 0.0, True, False),  # add_bias_kv
    "ExponentialLR": lambda: optim.ExponentialLR(optimizer(), 0.9, -1),  # last_epoch
    "StepLR": lambda: optim.StepLR(optimizer(), 3, 0.9, -1),
    "CosineAnnealingLR": lambda: optim.CosineAnnealingLR(optimizer(), 3, 0.1, -1),
    "LinearLR": lambda: optim.LinearLR(optimizer(), 0.5, 1.0, 5, -1),
    "SGD": lambda: optim.SGD(weights(), 0.1, 0.9, 0.0, 0.0, False, True),
}


@pytest.mark.parametrize("name", BY_PLACE)
def test_places_that_mean_something_else_in_pytorch_are_refused(name) -> None:
    text = message(ArgumentError, BY_PLACE[name])
    assert text.startswith(f"{name}: too many arguments by position")
    if name == "LSTM":
        assert "expected: input_size, hidden_size, num_layers, and the others by name" in text
        assert "batch_first=" in text and "got: False" in text


# Positional parameters of PyTorch 2.13, as inspect.signature gives them.
PYTORCH = {
    nn.Linear: ["in_features", "out_features", "bias", "device", "dtype"],
    nn.Embedding: ["num_embeddings", "embedding_dim", "padding_idx"],
    nn.Dropout: ["p", "inplace"],
    nn.LayerNorm: ["size", "eps", "elementwise_affine", "bias"],  # normalized_shape there
    nn.MultiheadAttention: ["embed_dim", "num_heads", "dropout", "bias", "add_bias_kv"],
    nn.RNN: ["input_size", "hidden_size", "num_layers", "nonlinearity", "bias"],
    nn.LSTM: ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"],
    nn.GRU: ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"],
    nn.RNNCell: ["input_size", "hidden_size", "bias", "nonlinearity"],
    nn.LSTMCell: ["input_size", "hidden_size", "bias"],
    nn.GRUCell: ["input_size", "hidden_size", "bias"],
    optim.SGD: ["params", "lr", "momentum", "dampening", "weight_decay", "nesterov"],
    optim.Adam: ["params", "lr", "betas", "eps", "weight_decay", "amsgrad"],
    optim.AdamW: ["params", "lr", "betas", "eps", "weight_decay", "amsgrad"],
    optim.RMSprop: ["params", "lr", "alpha", "eps", "weight_decay", "momentum", "centered"],
    optim.Adagrad: [
        "params", "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps",
    ],
    optim.StepLR: ["optimizer", "step_size", "gamma", "last_epoch"],
    optim.ExponentialLR: ["optimizer", "gamma", "last_epoch"],
    optim.CosineAnnealingLR: ["optimizer", "T_max", "eta_min", "last_epoch"],
    optim.LinearLR: ["optimizer", "start_factor", "end_factor", "total_iters", "last_epoch"],
    optim.SequentialLR: ["optimizer", "schedulers", "milestones", "last_epoch"],
    optim.ReduceLROnPlateau: [
        "optimizer", "mode", "factor", "patience", "threshold", "threshold_mode", "cooldown",
        "min_lr", "eps",
    ],
}  # fmt: skip


def places(kind: type) -> list[str]:
    taken = inspect.signature(kind).parameters.values()
    return [each.name for each in taken if each.kind is each.POSITIONAL_OR_KEYWORD]


@pytest.mark.parametrize("kind", PYTORCH, ids=lambda kind: kind.__name__)
def test_what_is_taken_by_place_is_taken_in_pytorchs_order(kind) -> None:
    ours = places(kind)
    assert ours == PYTORCH[kind][: len(ours)]


def test_every_class_of_pytorch_is_compared() -> None:
    own = {"Module", "ModuleList", "Sequential", "Decoder", "Seq2Seq", "VariationalDropout"}
    own |= {"AdditiveAttention", "Attention", "DotAttention", "MultiplicativeAttention"}
    own |= {"ManyToMany", "ManyToOne", "OneToMany", "CharLM", "Optimizer", "LRScheduler"}
    own |= set(public(nn.Cell, nn.Recurrent))  # PyTorch has six of these, all of them above
    left = {kind.__name__ for kind in CLASSES} - own - {kind.__name__ for kind in PYTORCH}
    assert not left - {"TaskModel", "Learner"}, left


METHODS: dict[str, Any] = {
    "zero_grad": lambda: nn.Linear(2, 3).zero_grad(set_to_none=True),
    "SGD.zero_grad": lambda: optimizer().zero_grad(set_to_none=True),
    "step": lambda: optimizer().step(lambda: 1.0),
    "strict": lambda: nn.Linear(2, 3).load_state_dict({}, strict=False),
    "recurse": lambda: nn.Linear(2, 3).parameters(recurse=False),
    "train": lambda: nn.Linear(2, 3).train(True, True),
    "schedule": lambda: optim.StepLR(optimizer(), 2).step(epoch=3),
    "clip": lambda: optim.clip_grad_norm_(weights(), 1.0, error_if_nonfinite=True),
    "forward": lambda: nn.Linear(2, 3)(np.ones((1, 2), np.float32), bias=True),
    "forward by place": lambda: nn.LSTM(2, 3)(np.ones((1, 1, 2), np.float32), None, [1]),
    "mask": lambda: nn.MultiheadAttention(4, 2)(*[np.ones((1, 1, 4))] * 3, key_padding_mask=1),
    "too few": lambda: nn.Linear(2, 3)(),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_and_calls_of_layers_answer_too(name) -> None:
    message(ArgumentError, METHODS[name])


def test_errors_from_within_come_through_as_they_are() -> None:
    class Odd(nn.Module):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

        def forward(self, x):
            return x + len(3)

    with pytest.raises(TypeError, match="has no len"):
        Odd(3)(1)
    for call in (lambda: Odd(), lambda: Odd(3)(1, 2), lambda: Odd(siez=3)):
        with pytest.raises(TypeError) as raised:  # a stranger's class keeps Python's words
            call()
        assert not isinstance(raised.value, TinygradSeqError)
    with pytest.raises(DtypeError) as cause:
        nn.Linear(2, 3).astype("text")
    assert isinstance(cause.value.__cause__, TypeError)  # kept

    class Wider(nn.Linear):
        pass

    assert message(ArgumentError, lambda: Wider(2, 3, sizes=1)).startswith("Wider: no argument")
    assert inspect.signature(nn.LSTM).parameters["proj_size"].default == 0
    assert str(inspect.signature(nn.Linear(2, 3).train)) == "(mode: 'bool' = True) -> 'Module'"


# -- dropout that never acts ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"dropout": 0.5, "bidirectional": True},
        {"dropout": 0.5, "variational": True},
        {"variational": True},
        {"num_layers": 2, "variational": True},
    ],
)
def test_dropout_that_never_acts_is_said_where_it_is_asked_for(kind, options) -> None:
    with pytest.warns(UserWarning, match=rf"{kind.__name__}: .* never acts") as caught:
        kind(3, 4, **options)
    assert len(caught) == 1 and caught[0].filename == __file__


def test_dropout_that_acts_is_not_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in (nn.RNN, nn.LSTM, nn.GRU):
            kind(3, 4, num_layers=2, dropout=0.5)
            kind(3, 4, num_layers=2, dropout=0.5, variational=True)
            kind(3, 4, recurrent_dropout=0.5)
            kind(3, 4, dropout=0.0)
        tgs.charlm.CharLM(5, 4, 1, dropout=0.5)  # before the readout
    with pytest.raises(ConfigError, match="0 <= p < 1"):
        nn.LSTM(3, 4, dropout=1.5)
