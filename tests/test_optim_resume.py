"""Saving and resuming an optimiser: by JSON and safetensors, to the bit, or not at all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

import tinygrad_seq as tgs
from tinygrad_seq import optim
from tinygrad_seq.errors import StateDictError

KINDS: list[tuple[type[optim.Optimizer], dict[str, Any]]] = [
    (optim.SGD, {"lr": 0.1}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (optim.Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.2}),
    (optim.RMSprop, {"momentum": 0.5, "centered": True}),
    (optim.Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (optim.AdamW, {"betas": (0.8, 0.95)}),
]


def through_files(state: dict[str, Any]) -> dict[str, Any]:
    """The state dict as it comes back from a safetensors file and a JSON file."""
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in state.items() if key not in arrays}
    return {**json.loads(json.dumps(rest, allow_nan=False)), **load(save(arrays))}


def make(kind: type[optim.Optimizer], options: dict[str, Any], values: list[np.ndarray]) -> Any:
    params = [tgs.tensor(value, requires_grad=True) for value in values]
    groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.01}]
    return params, kind(groups, **options)


def walk(params: Any, optimizer: optim.Optimizer, first: int, last: int) -> None:
    """Steps `first` to `last` of a fixed run, in which some parameters miss some gradients."""
    for t in range(first, last):
        rng = np.random.default_rng(t)
        for number, param in enumerate(params):
            grad = rng.standard_normal(param.shape).astype(param.dtype)
            param.grad = None if (t + number) % 4 == 0 else grad
        optimizer.step()


def start() -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [
        rng.standard_normal((3, 4)).astype(np.float32),
        np.asfortranarray(rng.standard_normal((4, 2))),
        np.float32(0.5).reshape(()),
    ]


@given(chosen=st.sampled_from(KINDS), cut=st.integers(0, 9))
def test_a_resumed_run_continues_to_the_bit(chosen, cut):
    kind, options = chosen
    params, optimizer = make(kind, options, start())
    walk(params, optimizer, 0, cut)
    saved = through_files(optimizer.state_dict())
    values = [param.numpy() for param in params]
    walk(params, optimizer, cut, 10)

    # Built with other options: the saved ones win.
    again, resumed = make(kind, {**options, "lr": 7.0}, values)
    resumed.load_state_dict(saved)
    walk(again, resumed, cut, 10)
    for a, b in zip(params, again, strict=True):
        assert a.data.tobytes() == b.data.tobytes()
    first, second = optimizer.state_dict(), resumed.state_dict()
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert np.array_equal(value, second[key]) if "state." in key else value == second[key]


def test_forgetting_the_state_shows():
    """The planted mistake: a resume that drops the moments must not pass the test above."""
    params, optimizer = make(optim.Adam, {}, start())
    walk(params, optimizer, 0, 5)
    values = [param.numpy() for param in params]
    again, fresh = make(optim.Adam, {}, values)
    walk(params, optimizer, 5, 6)
    walk(again, fresh, 5, 6)
    assert any(not np.array_equal(a.data, b.data) for a, b in zip(params, again, strict=True))


def test_a_state_dict_is_a_snapshot():
    params, optimizer = make(optim.Adam, {}, start())
    walk(params, optimizer, 0, 3)
    state = optimizer.state_dict()
    before = {key: np.copy(value) for key, value in state.items() if "state." in key}
    walk(params, optimizer, 3, 6)
    assert all(np.array_equal(state[key], value) for key, value in before.items())
    optimizer.load_state_dict(state)
    walk(params, optimizer, 6, 8)
    assert all(np.array_equal(state[key], value) for key, value in before.items())


def test_an_option_switched_on_between_steps_survives():
    params, optimizer = make(optim.SGD, {"lr": 0.1}, start())
    walk(params, optimizer, 0, 3)
    for group in optimizer.param_groups:
        group["momentum"] = 0.9
    saved = through_files(optimizer.state_dict())
    again, resumed = make(optim.SGD, {"lr": 0.1}, [param.numpy() for param in params])
    resumed.load_state_dict(saved)
    walk(params, optimizer, 3, 6)
    walk(again, resumed, 3, 6)
    assert all(np.array_equal(a.data, b.data) for a, b in zip(params, again, strict=True))


def edited(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**state, **changes}.items() if value is not None}


SLOT = "state.0.exp_avg"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: edited(s, optimizer="SGD"), "kind of optimiser"),
        (lambda s: edited(s, optimizer=None), "no optimizer"),
        (lambda s: edited(s, steps=[1]), "number of parameters"),
        (lambda s: edited(s, steps=[-1, 1, 1]), "step count"),
        (lambda s: edited(s, steps=[1.5, 1, 1]), "step count"),
        (lambda s: edited(s, param_groups=s["param_groups"][:1]), "number of parameter groups"),
        (lambda s: edited(s, param_groups=s["param_groups"][::-1]), "parameters of a group"),
        (lambda s: edited(s, param_groups=[3, 4]), "parameters of a group"),
        (
            lambda s: edited(s, param_groups=[{**g, "lr": -1.0} for g in s["param_groups"]]),
            "lr is out of range",
        ),
        (
            lambda s: edited(s, param_groups=[{"params": g["params"]} for g in s["param_groups"]]),
            "is missing",
        ),
        (lambda s: edited(s, **{SLOT: None}), "arrays under state.0"),
        (lambda s: edited(s, **{SLOT: np.zeros((4, 3), np.float32)}), "shape of state.0.exp_avg"),
        (lambda s: edited(s, **{SLOT: np.zeros((3, 4))}), "dtype of state.0.exp_avg"),
        (lambda s: edited(s, **{"state.0.velocity": np.zeros((3, 4), np.float32)}), "arrays under"),
        (lambda s: edited(s, **{"state.9.exp_avg": np.zeros(1)}), "entry is unknown"),
        (lambda s: edited(s, scheduler=1), "entry is unknown"),
        (lambda s: None, "no optimizer"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, words):
    params, optimizer = make(optim.Adam, {}, start())
    walk(params, optimizer, 0, 3)
    before = optimizer.state_dict()
    with pytest.raises(StateDictError, match=words):
        optimizer.load_state_dict(change(optimizer.state_dict()))
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert np.array_equal(value, after[key]) if "state." in key else value == after[key]
