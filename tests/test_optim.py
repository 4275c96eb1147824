"""Optimisers: parameter groups, in-place steps, what is refused and how."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import checks, optim
from tinygrad_seq.errors import ConfigError, GraphError

each_rule = pytest.mark.parametrize(
    "kind", [optim.SGD, optim.Adagrad, optim.RMSprop, optim.Adam, optim.AdamW]
)


def leaf(values: Any, dtype: Any = np.float64) -> tgs.Tensor:
    return tgs.tensor(np.array(values, dtype=dtype), requires_grad=True)


@each_rule
def test_a_step_writes_in_place_and_bumps_the_version_once(kind):
    param = leaf(np.ones(40_000, np.float32), np.float32)
    optimizer = kind([param])
    param.grad = np.ones(40_000, np.float32)
    optimizer.step()
    array, version = param.data, param.version
    slots = optimizer._states[id(param)].slots
    kept = {name: id(slot) for name, slot in slots.items()}
    optimizer.step()
    assert param.data is array
    assert param.version == version + 1
    assert {name: id(slot) for name, slot in slots.items()} == kept


def test_zero_grad_sets_none():
    params = [leaf([1.0]), leaf([2.0])]
    optimizer = optim.SGD([{"params": params[:1]}, {"params": params[1:]}])
    params[0].grad = np.ones(1)
    optimizer.zero_grad()
    assert [param.grad for param in params] == [None, None]


def test_groups_have_their_own_options_and_share_the_defaults():
    a, b, c = leaf([1.0]), leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD(
        [{"params": [a]}, {"params": iter([b]), "lr": 0.5}], lr=0.25, weight_decay=1.0
    )
    optimizer.add_param_group({"params": c, "weight_decay": 0.0})
    for param in (a, b, c):
        param.grad = np.array([2.0])
    optimizer.step()
    assert [p.item() for p in (a, b, c)] == [0.25, -0.5, 0.5]
    optimizer.param_groups[1]["lr"] = np.float64(0.0)
    optimizer.step()
    assert b.item() == -0.5
    assert "group 1: 1 tensors, 1 entries, lr=" in repr(optimizer)


def test_numpy_hyperparameters_do_not_widen_float32():
    param = leaf([1.0], np.float32)
    optimizer = optim.Adam([param], lr=np.float64(0.1), betas=(np.float64(0.9), np.float32(0.5)))
    assert type(optimizer.param_groups[0]["lr"]) is float
    param.grad = np.ones(1, np.float32)
    optimizer.step()
    assert param.dtype == np.float32
    assert all(x.dtype == np.float32 for x in optimizer._states[id(param)].slots.values())


def test_a_refused_step_changes_nothing():
    a, b = leaf([1.0]), leaf([1.0])
    optimizer = optim.Adam([{"params": [a]}, {"params": [b]}])
    a.grad = b.grad = np.ones(1)
    optimizer.param_groups[1]["lr"] = math.nan
    with pytest.raises(ConfigError, match="lr is out of range"):
        optimizer.step()
    assert (a.item(), a.version) == (1.0, 0)
    assert optimizer._states[id(a)].step == 0


def test_a_graph_that_saved_the_old_value_is_refused_after_a_step():
    w = leaf([2.0])
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optim.SGD([w], lr=0.1).step()
    with pytest.raises(GraphError):
        loss.backward()


@each_rule
def test_every_optimiser_fits_a_regression(kind):
    rng = np.random.default_rng(4)
    x = rng.standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5], np.float32) + 0.25
    w, b = tgs.tensor(np.zeros(3, np.float32), True), tgs.tensor(0.0, True)
    # Adagrad's rate only ever shrinks, so it starts high.
    optimizer = kind([w, b], lr=0.5 if kind is optim.Adagrad else 0.05)
    losses = []
    for _ in range(300):
        loss = ((tgs.matmul(tgs.tensor(x), w) + b - y) ** 2).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.01 * losses[0]


# ---------------------------------------------------------------- what is refused


def computed() -> tgs.Tensor:
    return leaf([1.0]) * 2


TWICE = leaf([1.0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.SGD([]), "empty"),
        (lambda: optim.SGD(iter(())), "call parameters"),
        (lambda: optim.SGD([{"params": []}]), "empty"),
        (lambda: optim.SGD(leaf([1.0])), "put it in a list"),
        (lambda: optim.SGD({"params": [leaf([1.0])]}), "put it in a list"),
        (lambda: optim.SGD(3), "not a tensor"),
        (lambda: optim.SGD([np.ones(2)]), "not a tensor"),
        (lambda: optim.SGD([("w", leaf([1.0]))]), r"model.parameters\(\)"),
        (lambda: optim.SGD([{"params": [leaf([1.0])]}, leaf([1.0])]), "not a tensor"),
        (lambda: optim.SGD([{"parameters": [leaf([1.0])]}]), "'params'"),
        (lambda: optim.SGD([computed()]), "result of an operation"),
        (lambda: optim.SGD([TWICE, TWICE]), "given twice"),
        (lambda: optim.SGD([{"params": [TWICE]}, {"params": [TWICE]}]), "given twice"),
        (lambda: optim.SGD([{"params": [leaf([1.0])], "learning_rate": 1.0}]), "learning_rate"),
        (lambda: optim.SGD([leaf([1.0])], lr=-0.1), "SGD: lr"),
        (lambda: optim.SGD([leaf([1.0])], lr=math.inf), "SGD: lr"),
        (lambda: optim.SGD([leaf([1.0])], lr="0.1"), "SGD: lr"),
        (lambda: optim.SGD([leaf([1.0])], lr=True), "SGD: lr"),
        (lambda: optim.SGD([leaf([1.0])], momentum=-1.0), "momentum"),
        (lambda: optim.SGD([leaf([1.0])], nesterov=True), "nesterov needs momentum"),
        (lambda: optim.SGD([leaf([1.0])], nesterov=1, momentum=0.5), "switch"),
        (
            lambda: optim.SGD([leaf([1.0])], nesterov=True, momentum=0.9, dampening=0.1),
            "no dampening",
        ),
        (lambda: optim.SGD([{"params": [leaf([1.0])], "lr": -1.0}]), "lr"),
        (lambda: optim.Adagrad([leaf([1.0])], eps=0.0), "eps"),
        (lambda: optim.Adagrad([leaf([1.0])], lr_decay=-1.0), "lr_decay"),
        (lambda: optim.RMSprop([leaf([1.0])], alpha=1.0), "alpha"),
        (lambda: optim.Adam([leaf([1.0])], betas=(0.9, 1.0)), r"betas\[1\]"),
        (lambda: optim.Adam([leaf([1.0])], betas=0.9), "not a pair"),
        (lambda: optim.Adam([leaf([1.0])], weight_decay=math.nan), "weight_decay"),
    ],
)
def test_bad_input_is_refused_with_a_cure(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_unknown_keyword_is_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        optim.Adam([leaf([1.0])], learning_rate=0.1)


def test_a_refused_group_is_not_added():
    param = leaf([1.0])
    optimizer = optim.SGD([param])
    with pytest.raises(ConfigError):
        optimizer.add_param_group({"params": [leaf([1.0]), param]})
    with pytest.raises(ConfigError):
        optimizer.add_param_group({"params": [leaf([1.0])], "lr": -1})
    assert len(optimizer.param_groups) == 1
    assert optimizer.state_dict()["steps"] == [0]


@pytest.mark.parametrize(
    ("make", "interval"),
    [
        (lambda p: optim.SGD(p, lr=-1), "[0, inf)"),
        (lambda p: optim.RMSprop(p, alpha=2), "[0, 1)"),
        (lambda p: optim.LinearLR(optim.SGD(p), end_factor=2), "[0, 1]"),
        (lambda p: optim.LinearLR(optim.SGD(p), start_factor=0), "(0, 1]"),
        (lambda p: optim.clip_grad_norm_(p, 0), "(0, inf]"),
    ],
)
def test_messages_tell_the_interval(make, interval):
    with pytest.raises(ConfigError, match=re.escape(f"expected: a number in {interval}")):
        make([leaf([1.0])])


def test_messages_name_the_parameter():
    param = computed()
    param.name = "rnn.weight_hh"
    with pytest.raises(ConfigError, match=r"'rnn\.weight_hh'"):
        optim.SGD([param])


class Sign(optim.Optimizer):
    """An optimiser of one's own, whose options stand in its signature."""

    def __init__(
        self,
        params: Any,
        lr: checks.NonNegative = 0.5,
        keep: Annotated[float, checks.number(0.0, 1.0)] = 0.0,
    ) -> None:
        super().__init__(params, locals())

    option_rules = checks.rules_of(__init__)

    def _update(self, block, options, step):
        block.param -= options["lr"] * (1.0 - options["keep"]) * np.sign(block.grad)


def test_options_are_declared_by_a_signature_alone():
    assert list(Sign.option_rules) == ["lr", "keep"]
    a, b = leaf([1.0, 2.0]), leaf([3.0])
    optimizer = Sign([{"params": [a]}, {"params": [b], "keep": 0.5}], lr=1)
    assert optimizer.defaults == {"lr": 1.0, "keep": 0.0}
    a.grad, b.grad = np.array([2.0, -3.0]), np.array([7.0])
    optimizer.step()
    assert (a.tolist(), b.tolist()) == ([0.0, 3.0], [2.5])
    assert optimizer.state_dict()["param_groups"][1] == {"params": [1], "lr": 1.0, "keep": 0.5}
    for options in ({"keep": 1.5}, {"lr": -1.0}):
        with pytest.raises(ConfigError, match=f"Sign: {next(iter(options))} is out of range"):
            Sign([leaf([1.0])], **options)
    with pytest.raises(ConfigError, match="unknown option 'kept'"):
        Sign([{"params": [leaf([1.0])], "kept": 0.5}])
