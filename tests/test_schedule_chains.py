"""Schedules of one optimiser that are stepped together: each changes what it finds."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import optim


def optimizer_of(lr: float) -> optim.SGD:
    return optim.SGD([tgs.tensor([1.0], requires_grad=True)], lr=lr)


def rate(optimizer: optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


# ---------------------------------------------------------------- PyTorch's recursions
# ``get_lr`` of PyTorch 2.13's schedulers, written out: what a step makes of the rate `lr` it
# finds, and what making the schedule (step 0) does.


def torch_step(lr, t, base, size, gamma):
    return lr * gamma if t and t % size == 0 else lr


def torch_exponential(lr, t, base, gamma):
    return lr * gamma if t else lr


def torch_linear(lr, t, base, start, end, total):
    if t == 0:
        return lr * start
    if t > total:
        return lr
    return lr * (1.0 + (end - start) / (total * start + (t - 1) * (end - start)))


def torch_cosine(lr, t, base, t_max, low):
    if t == 0:
        return lr
    if (t - 1 - t_max) % (2 * t_max) == 0:
        return lr + (base - low) * (1 - math.cos(math.pi / t_max)) / 2
    ratio = (1 + math.cos(math.pi * t / t_max)) / (1 + math.cos(math.pi * (t - 1) / t_max))
    return ratio * (lr - low) + low


KINDS = {
    "step": (
        lambda o, size, gamma: optim.StepLR(o, size, gamma),
        torch_step,
        st.tuples(st.integers(1, 4), st.floats(0.1, 1.2)),
    ),
    "exponential": (
        lambda o, gamma: optim.ExponentialLR(o, gamma),
        torch_exponential,
        st.tuples(st.floats(0.1, 1.2)),
    ),
    "linear": (
        lambda o, *settings: optim.LinearLR(o, *settings),
        torch_linear,
        st.tuples(st.floats(0.05, 1.0), st.floats(0.05, 1.0), st.integers(1, 6)),
    ),
    "cosine": (
        lambda o, t_max, low: optim.CosineAnnealingLR(o, t_max, low),
        torch_cosine,
        st.tuples(st.integers(2, 6), st.sampled_from([0.0, 0.05])),
    ),
}


@given(st.data(), st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=3))
def test_chains_follow_the_recursions_of_pytorch(data, kinds):
    settings = [data.draw(KINDS[kind][2]) for kind in kinds]
    optimizer, expected = optimizer_of(0.8), 0.8
    schedules = []
    for kind, chosen in zip(kinds, settings, strict=True):
        schedules.append(KINDS[kind][0](optimizer, *chosen))
        expected = KINDS[kind][1](expected, 0, 0.8, *chosen)
        assert rate(optimizer) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for t in range(1, 12):
        for kind, chosen, schedule in zip(kinds, settings, schedules, strict=True):
            schedule.step()
            expected = KINDS[kind][1](expected, t, 0.8, *chosen)
            assert rate(optimizer) == pytest.approx(expected, rel=1e-7, abs=1e-12)


def test_known_chains():
    """Worked by hand from PyTorch's recursions."""
    optimizer = optimizer_of(1.0)
    decay = optim.ExponentialLR(optimizer, 0.5)
    warm_up = optim.LinearLR(optimizer, 0.1, total_iters=2)
    found = [rate(optimizer)]
    for _ in range(3):
        decay.step()
        warm_up.step()
        found.append(rate(optimizer))
    assert found == pytest.approx([0.1, 0.275, 0.25, 0.125], rel=1e-14)
    optimizer = optimizer_of(2.0)
    pair = optim.StepLR(optimizer, 2, 0.1), optim.StepLR(optimizer, 3, 0.5)
    found = []
    for _ in range(6):
        for schedule in pair:
            schedule.step()
        found.append(rate(optimizer))
    assert found == pytest.approx([2.0, 0.2, 0.1, 0.01, 0.01, 0.0005], rel=1e-14)


@given(
    st.floats(1e-3, 10), st.floats(0.1, 1.1), st.integers(0, 9), st.floats(0.05, 1), st.booleans()
)
def test_products_of_factors_do_not_depend_on_who_steps_first(lr, gamma, steps, start, swap):
    optimizer = optimizer_of(lr)
    schedules = [optim.ExponentialLR(optimizer, gamma), optim.LinearLR(optimizer, start)]
    for _ in range(steps):
        for schedule in schedules[:: -1 if swap else 1]:
            schedule.step()
    line = start + (1 - start) * min(steps, 5) / 5
    assert rate(optimizer) == pytest.approx(lr * gamma**steps * line, rel=1e-12)


def test_a_rate_set_by_hand_is_kept_in_proportion():
    optimizer = optimizer_of(1.0)
    schedule = optim.ExponentialLR(optimizer, 0.5)
    schedule.step()
    optimizer.param_groups[0]["lr"] = 3.0
    schedule.step()
    assert rate(optimizer) == 1.5


def test_a_plateau_joins_any_schedule():
    optimizer = optimizer_of(1.0)
    line = optim.LinearLR(optimizer, 1.0, 0.5, total_iters=5)
    plateau = optim.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    for loss in (2.0, 1.0, 1.0, 0.5, 0.4):
        line.step()
        plateau.step(loss)
    assert rate(optimizer) == pytest.approx(0.05)


def test_a_sequence_chains_too_also_over_its_milestones():
    def both(chained: bool):
        optimizer = optimizer_of(1.0)
        parts = [optim.LinearLR(optimizer, 0.25, total_iters=3), optim.StepLR(optimizer, 2, 0.5)]
        schedules = [optim.SequentialLR(optimizer, parts, [3])]
        if chained:
            schedules.append(optim.ExponentialLR(optimizer, 0.9))
        for _ in range(8):
            for schedule in schedules:
                schedule.step()
            yield rate(optimizer)

    for t, (alone, chained) in enumerate(zip(both(False), both(True), strict=True), 1):
        assert chained == pytest.approx(alone * 0.9**t, rel=1e-12)


def test_rates_of_zero_do_not_break_a_chain():
    optimizer = optimizer_of(1.0)
    wave = optim.CosineAnnealingLR(optimizer, 2)
    decay = optim.ExponentialLR(optimizer, 0.5)
    found = []
    for _ in range(4):
        wave.step()
        decay.step()
        found.append(rate(optimizer))
    # From 0 the wave adds what it rises by, as PyTorch's does: 0.5, then doubles (1 -> 0.5 -> 1).
    assert found == pytest.approx([0.25, 0.0, 0.25, 0.25])
    optimizer = optimizer_of(1.0)
    for schedule in (optim.ExponentialLR(optimizer, 0.0), optim.LinearLR(optimizer, 0.5, 0.0)):
        for _ in range(7):
            schedule.step()
    assert rate(optimizer) == 0.0


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_resumed_chain_continues_to_the_bit(first):
    def make(optimizer):
        return [
            optim.ExponentialLR(optimizer, 0.9),
            optim.CosineAnnealingLR(optimizer, 5, 0.01),
            optim.SequentialLR(
                optimizer,
                [optim.LinearLR(optimizer, total_iters=3), optim.StepLR(optimizer, 2)],
                [3],
            ),
        ]

    def walk(schedules, steps):
        for _ in range(steps):
            for schedule in schedules:
                schedule.step()

    for cut in range(6):
        optimizer = optimizer_of(0.3)
        schedules = make(optimizer)
        walk(schedules, cut)
        states = [schedule.state_dict() for schedule in schedules]
        saved = json.loads(json.dumps([optimizer.state_dict(), states]))
        again = optimizer_of(7.0)
        resumed = make(again)
        again.load_state_dict(saved[0])
        order = [*range(first, 3), *range(first)]
        for k in order:
            resumed[k].load_state_dict(saved[1][k])
        assert rate(again) == rate(optimizer)
        walk(schedules, 6)
        walk(resumed, 6)
        assert rate(again) == rate(optimizer)
