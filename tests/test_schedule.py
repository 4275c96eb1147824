"""Schedules against naive loops, in sequence, and resumed."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import optim
from tinygrad_seq.errors import ConfigError, NonFiniteError, StateDictError


def optimizer_of(*rates: float) -> optim.SGD:
    groups = [{"params": [tgs.tensor([1.0], requires_grad=True)], "lr": lr} for lr in rates]
    return optim.SGD(groups)


def rates(schedule: optim.LRScheduler, steps: int, metrics: Any = None) -> list[float]:
    """The first group's rate at t = 0, 1, ..., steps."""
    found = schedule.get_last_lr()[:1]
    for t in range(steps):
        schedule.step(None if metrics is None else metrics[t])
        found += schedule.get_last_lr()[:1]
    return found


factors = st.floats(0.0, 1.5)
starts = st.floats(1e-6, 10.0)


@given(lr=starts, every=st.integers(1, 5), gamma=factors)
def test_step_multiplies_every_so_often(lr, every, gamma):
    expected = [lr]
    for t in range(1, 21):
        expected.append(expected[-1] * gamma if t % every == 0 else expected[-1])
    assert rates(optim.StepLR(optimizer_of(lr), every, gamma), 20) == pytest.approx(expected)


@given(lr=starts, gamma=factors, after=st.integers(0, 8))
def test_exponential_multiplies_every_step_after_the_given_one(lr, gamma, after):
    expected = [lr]
    for t in range(1, 21):
        expected.append(expected[-1] * gamma if t > after else expected[-1])
    got = rates(optim.ExponentialLR(optimizer_of(lr), gamma, after=after), 20)
    assert got == pytest.approx(expected)


def test_the_decay_of_char_rnn():
    """Its training loop, epoch by epoch: decay 0.97 once ten epochs are done."""
    batches, decay, decay_after = 7, 0.97, 10
    lr, by_epoch = 2e-3, []
    for i in range(1, 50 * batches + 1):
        if (i - 1) % batches == 0:
            by_epoch.append(lr)
        epoch = i / batches
        if i % batches == 0 and decay < 1 and epoch >= decay_after:
            lr = lr * decay
    schedule = optim.ExponentialLR(optimizer_of(2e-3), gamma=decay, after=decay_after - 1)
    assert rates(schedule, 49) == pytest.approx(by_epoch)


@given(lr=starts, t_max=st.integers(1, 12), share=st.floats(0.0, 1.0))
def test_cosine_falls_to_its_minimum_and_rises_again(lr, t_max, share):
    low = lr * share
    got = rates(optim.CosineAnnealingLR(optimizer_of(lr), t_max, eta_min=low), 2 * t_max)
    assert (got[0], got[t_max], got[-1]) == (lr, low, lr)
    assert all(b <= a * (1 + 1e-14) for a, b in itertools.pairwise(got[: t_max + 1]))
    assert got == pytest.approx(got[::-1])
    for t, rate in enumerate(got):
        assert rate == pytest.approx(low + (lr - low) * math.cos(math.pi * t / t_max / 2) ** 2)


@given(lr=starts, start=st.floats(0.01, 1.0), end=st.floats(0.0, 1.0), n=st.integers(1, 9))
def test_linear_is_a_line_and_then_level(lr, start, end, n):
    got = rates(optim.LinearLR(optimizer_of(lr), start, end, n), n + 4)
    assert got[: n + 1] == pytest.approx(np.linspace(lr * start, lr * end, n + 1).tolist())
    assert got[n:] == [lr * end] * 5


def test_every_group_keeps_its_own_base():
    optimizer = optimizer_of(1.0, 0.5)
    schedule = optim.StepLR(optimizer, 1, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 0.25]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]


def test_a_schedule_of_ones_own_needs_one_method():
    class SquareRoot(optim.LRScheduler):
        def lr_at(self, base_lr, t):
            return base_lr / math.sqrt(1 + t)

    expected = [6.0, 6 / math.sqrt(2), 6 / math.sqrt(3), 3.0]
    assert rates(SquareRoot(optimizer_of(6.0), {}), 3) == expected


# ---------------------------------------------------------------- plateau


def plateau_by_hand(lr, metrics, *, low, factor, patience, rel, threshold, cooldown, min_lr):
    """The rule as a loop over the whole history."""
    found, best, bad, wait = [lr], None, 0, 0
    for metric in metrics:
        value = metric if low else -metric
        if best is None:
            better = True
        else:
            better = value < best - (threshold * abs(best) if rel else threshold)
        best = value if better else best
        bad = 0 if better or wait > 0 else bad + 1
        wait = max(0, wait - 1)
        if bad > patience:
            reduced = max(lr * factor, min_lr)
            lr = reduced if lr - reduced > 1e-8 else lr
            bad, wait = 0, cooldown
        found.append(lr)
    return found


@given(
    lr=st.floats(0.01, 1.0),
    metrics=st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=25),
    low=st.booleans(),
    factor=st.floats(0.0, 0.9),
    patience=st.integers(0, 3),
    rel=st.booleans(),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    cooldown=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 1e-3]),
)
def test_plateau_follows_the_rule(lr, metrics, low, rel, **settings):
    expected = plateau_by_hand(lr, metrics, low=low, rel=rel, **settings)
    settings.update(mode="min" if low else "max", threshold_mode="rel" if rel else "abs")
    schedule = optim.ReduceLROnPlateau(optimizer_of(lr), **settings)
    assert rates(schedule, len(metrics), metrics) == pytest.approx(expected)


def test_plateau_waits_for_its_patience():
    schedule = optim.ReduceLROnPlateau(optimizer_of(1.0), factor=0.5, patience=2)
    got = rates(schedule, 8, [3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0])
    assert got == [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]


def test_plateau_improves_on_an_infinite_start():
    schedule = optim.ReduceLROnPlateau(optimizer_of(1.0), factor=0.5, patience=0)
    assert rates(schedule, 3, [math.inf, 5.0, 5.0]) == [1.0, 1.0, 1.0, 0.5]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_knows_worse_from_better_of_negative_metrics(mode):
    sign = 1 if mode == "min" else -1
    schedule = optim.ReduceLROnPlateau(
        optimizer_of(0.1), mode, factor=0.5, threshold=0.1, patience=0
    )
    got = rates(schedule, 5, [sign * metric for metric in (-1.0, -0.95, -0.9, -1.05, -1.2)])
    assert got == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.0125, 0.0125])
    assert schedule.best == sign * -1.2


@pytest.mark.parametrize("metric", [tgs.tensor(0.5), np.float32(0.5), np.array([0.5]), 1])
def test_plateau_takes_one_number_in_any_form(metric):
    schedule = optim.ReduceLROnPlateau(optimizer_of(1.0))
    schedule.step(metric)
    assert schedule.best == float(metric if np.ndim(metric) == 0 else metric[0])
    assert type(schedule.best) is float


@pytest.mark.parametrize(
    "metric", ["low", [1.0], np.ones(2), True, 1j, {}, pytest.param(10**400, id="huge")]
)
def test_plateau_refuses_what_is_no_number(metric):
    schedule = optim.ReduceLROnPlateau(optimizer_of(1.0))
    before = schedule.state_dict()
    with pytest.raises(ConfigError, match="metric"):
        schedule.step(metric)
    assert schedule.state_dict() == before


def test_plateau_needs_a_number():
    schedule = optim.ReduceLROnPlateau(optimizer_of(1.0))
    before = schedule.state_dict()
    with pytest.raises(ConfigError, match=r"schedule\.step\(loss\)"):
        schedule.step()
    with pytest.raises(NonFiniteError, match="diverged"):
        schedule.step(math.nan)
    assert schedule.state_dict() == before


# ---------------------------------------------------------------- one after another


def test_warm_up_then_cosine():
    optimizer = optimizer_of(1.0, 10.0)
    parts = [
        optim.LinearLR(optimizer, start_factor=0.25, total_iters=3),
        optim.CosineAnnealingLR(optimizer, T_max=4, eta_min=0.1),
    ]
    schedule = optim.SequentialLR(optimizer, parts, milestones=[3])
    cosine = [0.1 + 0.9 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)]
    assert rates(schedule, 7) == pytest.approx([0.25, 0.5, 0.75, *cosine])
    assert schedule.get_last_lr()[1] == pytest.approx(0.1)


def test_three_parts_each_from_their_own_zero():
    optimizer = optimizer_of(8.0)
    parts = [optim.StepLR(optimizer, 1, 0.5) for _ in range(3)]
    schedule = optim.SequentialLR(optimizer, parts, milestones=[2, 3])
    assert rates(schedule, 5) == [8.0, 4.0, 8.0, 8.0, 4.0, 2.0]


def test_warm_up_then_plateau():
    optimizer = optimizer_of(1.0)
    parts = [
        optim.LinearLR(optimizer, start_factor=0.5, total_iters=2),
        optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
    ]
    schedule = optim.SequentialLR(optimizer, parts, milestones=[2])
    assert rates(schedule, 5, [9, 9, 3, 3, 2]) == [0.5, 0.75, 1.0, 1.0, 0.5, 0.5]


def test_a_sequence_in_a_sequence():
    optimizer = optimizer_of(1.0)
    inner = optim.SequentialLR(
        optimizer, [optim.StepLR(optimizer, 1, 0.5), optim.StepLR(optimizer, 1, 0.1)], [2]
    )
    outer = optim.SequentialLR(optimizer, [optim.LinearLR(optimizer, 0.5, 1.0, 1), inner], [1])
    assert rates(outer, 4) == pytest.approx([0.5, 1.0, 0.5, 1.0, 0.1])


# ---------------------------------------------------------------- resume

MAKERS: dict[str, Any] = {
    "step": lambda o: optim.StepLR(o, 2, 0.3),
    "exponential": lambda o: optim.ExponentialLR(o, 0.9, after=3),
    "cosine": lambda o: optim.CosineAnnealingLR(o, 7, eta_min=0.01),
    "linear": lambda o: optim.LinearLR(o, total_iters=6),
    "plateau": lambda o: optim.ReduceLROnPlateau(o, factor=0.3, patience=1, cooldown=1),
    "sequence": lambda o: optim.SequentialLR(
        o,
        [
            optim.LinearLR(o, total_iters=3),
            optim.CosineAnnealingLR(o, 4),
            optim.ReduceLROnPlateau(o, factor=0.5, patience=0),
        ],
        [3, 6],
    ),
}
METRICS = [5.0, 4.0, 4.5, 4.0, 4.0, 3.0, 3.5, 3.2, 3.3, 3.3, 3.3, 3.3]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("order", ["optimizer first", "schedule first", "made after loading"])
def test_a_resumed_schedule_continues_to_the_bit(name, order):
    for cut in range(len(METRICS)):
        optimizer = optimizer_of(0.3, 0.7)
        schedule = MAKERS[name](optimizer)
        rates(schedule, cut, METRICS)
        saved = json.loads(
            json.dumps([optimizer.state_dict(), schedule.state_dict()], allow_nan=False)
        )
        again = optimizer_of(0.9, 0.9)  # the saved rates win
        if order == "made after loading":
            again.load_state_dict(saved[0])
            resumed = MAKERS[name](again)
            resumed.load_state_dict(saved[1])
        else:
            resumed = MAKERS[name](again)
            loads = [(again, saved[0]), (resumed, saved[1])]
            for owner, state in loads if order == "optimizer first" else loads[::-1]:
                owner.load_state_dict(state)
        assert again.state_dict() == optimizer.state_dict()
        for metric in METRICS[cut:]:
            schedule.step(metric)
            resumed.step(metric)
            assert resumed.get_last_lr() == schedule.get_last_lr()
        assert resumed.state_dict() == schedule.state_dict()


def test_settings_come_back_with_the_state():
    saved = MAKERS["cosine"](optimizer_of(1.0)).state_dict()
    other = optim.CosineAnnealingLR(optimizer_of(1.0), T_max=99)
    other.load_state_dict(saved)
    assert other.settings == {"T_max": 7, "eta_min": 0.01}
    assert repr(other) == "CosineAnnealingLR(last_epoch=0, T_max=7, eta_min=0.01)"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("step", {"schedule": "CosineAnnealingLR"}),
        ("step", {"base_lrs": [1.0]}),
        ("step", {"last_lr": [1.0, -1.0]}),
        ("step", {"last_epoch": -1}),
        ("step", {"settings": {"step_size": 0, "gamma": 0.1}}),
        ("step", {"settings": {}}),
        ("step", {"settings": None}),
        ("step", {"last_epoch": None}),
        ("plateau", {"best": "low"}),
        ("plateau", {"num_bad_epochs": None}),
        ("sequence", {"milestones": [1, 2]}),
        ("sequence", {"schedulers": []}),
        ("sequence", {"schedulers": [1, 2, 3]}),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name, change):
    optimizer = optimizer_of(0.3, 0.7)
    schedule = MAKERS[name](optimizer)
    rates(schedule, 4, METRICS)
    before, lrs = schedule.state_dict(), schedule.get_last_lr()
    with pytest.raises(StateDictError):
        schedule.load_state_dict({**schedule.state_dict(), **change})
    for entry in before:
        with pytest.raises(StateDictError):
            schedule.load_state_dict({k: v for k, v in before.items() if k != entry})
    assert schedule.state_dict() == before
    assert schedule.get_last_lr() == lrs


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "make",
    [
        lambda o: optim.StepLR(o, 0),
        lambda o: optim.StepLR(o, 2.0),
        lambda o: optim.StepLR(o, 2, gamma=-1.0),
        lambda o: optim.ExponentialLR(o, math.nan),
        lambda o: optim.ExponentialLR(o, 0.9, after=-1),
        lambda o: optim.CosineAnnealingLR(o, 0),
        lambda o: optim.CosineAnnealingLR(o, 5, eta_min=-0.1),
        lambda o: optim.LinearLR(o, start_factor=0.0),
        lambda o: optim.LinearLR(o, end_factor=1.5),
        lambda o: optim.LinearLR(o, total_iters=0),
        lambda o: optim.ReduceLROnPlateau(o, mode="least"),
        lambda o: optim.ReduceLROnPlateau(o, factor=1.0),
        lambda o: optim.ReduceLROnPlateau(o, patience=-1),
        lambda o: optim.ReduceLROnPlateau(o, threshold_mode="ratio"),
        lambda o: optim.StepLR(optim, 1),
        lambda o: optim.SequentialLR(o, [], []),
        lambda o: optim.SequentialLR(o, None, []),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 2, ["a"]),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 2, 3),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1), 3], [3]),
        lambda o: optim.SequentialLR(o, [optim.StepLR(optimizer_of(1.0), 1)], []),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1) for _ in range(3)], [4, 4]),
        lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1) for _ in range(2)], [0]),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ConfigError):
        make(optimizer_of(1.0))


def test_a_group_added_later_is_refused_not_ignored():
    optimizer = optimizer_of(1.0)
    schedule = optim.StepLR(optimizer, 1)
    optimizer.add_param_group({"params": [tgs.tensor([1.0], requires_grad=True)]})
    with pytest.raises(ConfigError, match="after the last add_param_group"):
        schedule.step()
    assert schedule.last_epoch == 0
