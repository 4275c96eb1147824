"""Clipping in exact arithmetic: the bound holds, the direction is kept, twice is once."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq import optim


def with_grads(*grads: Any) -> list[tgs.Tensor]:
    """One parameter per gradient; None stands for a parameter without one."""
    params = []
    for grad in grads:
        array = np.zeros(1, np.float32) if grad is None else np.asarray(grad)
        param = tgs.tensor(np.zeros_like(array), requires_grad=True)
        param.grad = grad
        params.append(param)
    return params


def grads_of(params: list[tgs.Tensor]) -> list[np.ndarray]:
    return [param.grad.copy() for param in params if param.grad is not None]


def exact_square(grads: list[np.ndarray]) -> Fraction:
    """Sum of squares of all entries, without rounding."""
    return sum((Fraction(float(x)) ** 2 for grad in grads for x in grad.flat), Fraction(0))


def root(square: Fraction) -> Fraction:
    """Square root to a hundred bits, for numbers outside the range of floats too."""
    shift = 200 + 2 * max(0, square.denominator.bit_length() - square.numerator.bit_length())
    return Fraction(math.isqrt((square.numerator << shift) // square.denominator), 1) / (
        1 << (shift // 2)
    )


def broken_laws(clip: Any, grads: list[np.ndarray], bound: float) -> list[str]:
    """The laws of norm clipping that `clip` breaks on these gradients."""
    params = with_grads(*(grad.copy() for grad in grads))
    with np.errstate(all="ignore"):
        clip(params, bound)
    after = grads_of(params)
    before_square, after_square = exact_square(grads), Fraction(0)
    broken = []
    if not all(np.isfinite(grad).all() for grad in after):
        return ["finite"]
    after_square = exact_square(after)
    limit = Fraction(bound) ** 2
    untouched = all(a.tobytes() == b.tobytes() for a, b in zip(after, grads, strict=True))
    rounding = Fraction(1e-13)  # of the norm, where it equals the bound to all digits
    if after_square > limit * (1 + rounding if untouched else 1):
        broken.append("bound")
    if before_square <= limit * (1 - rounding):
        if not untouched:
            broken.append("untouched below the bound")
    elif bound > 1e-19:  # subnormal results are too coarse for what follows
        slack = 1 - (4e-7 if any(grad.dtype == np.float32 for grad in grads) else 2.5e-13)
        if after_square < limit * Fraction(slack) ** 2:
            broken.append("reaches the bound")
        scale = root(limit / before_square)
        for old, new in zip(grads, after, strict=True):
            expected = [float(Fraction(float(x)) * scale) for x in old.flat]
            finest = float(np.finfo(old.dtype).smallest_subnormal)
            if not np.allclose(new.ravel(), expected, rtol=1e-6, atol=2 * finest):
                broken.append("direction")
    with np.errstate(all="ignore"):
        clip(params, bound)
    if any(a.tobytes() != b.tobytes() for a, b in zip(grads_of(params), after, strict=True)):
        broken.append("idempotent")
    return broken


@pytest.mark.parametrize("size", [1e20, 1e38, 3e38, 1e-20, 1e-38, 1e-44])
def test_float32_gradients_of_any_size_keep_their_direction(size):
    grad = np.array([3.0, -4.0], np.float32) * np.float32(size / 4)
    bound = 5.0 if size > 1 else size / 10
    if bound < 1.2e-38:
        bound = 1.2e-38
    params = with_grads(grad.copy())
    report = optim.clip_grad_norm_(params, bound)
    assert report.norm == pytest.approx(math.hypot(*map(float, grad)), rel=1e-12)
    assert broken_laws(optim.clip_grad_norm_, [grad], bound) == []
    if size > 1:
        assert np.allclose(params[0].grad, [3.0, -4.0], rtol=1e-6)


@st.composite
def gradients(draw):
    """One to three gradients of one dtype or mixed, with magnitudes all over the range."""
    grads = []
    for _ in range(draw(st.integers(1, 3))):
        wide = draw(st.booleans())
        low, high = (-1074, 1023) if wide else (-149, 127)
        middle = draw(st.integers(low, high))
        entry = st.tuples(st.floats(-1.99, 1.99), st.integers(-6, 6)).map(
            lambda pair, m=middle, lo=low, hi=high: math.ldexp(
                pair[0], min(max(m + pair[1], lo), hi)
            )
        )
        values = draw(st.lists(entry, min_size=1, max_size=5))
        grads.append(np.array(values, np.float64 if wide else np.float32))
    return grads


@given(grads=gradients(), bound=st.floats(-37.9, 300.0).map(lambda power: 10.0**power))
@example(grads=[np.array([1e20, 1e20], np.float32)], bound=5.0)
@example(grads=[np.array([1e-45, 1e-45], np.float32)] * 2, bound=1.2e-38)
@example(grads=[np.full(3, 1.2e-38, np.float32)], bound=1.3e-38)
@example(grads=[np.array([1e300]), np.array([1e-30], np.float32)], bound=1e-19)
def test_the_laws_hold_for_every_finite_gradient(grads, bound):
    assert broken_laws(optim.clip_grad_norm_, grads, bound) == []


@given(grads=gradients(), ratio=st.floats(1e-3, 2.0))
def test_the_laws_hold_near_the_bound(grads, ratio):
    square = exact_square(grads)
    assume(square > 0)
    power = (square.numerator.bit_length() - square.denominator.bit_length()) // 2
    bound = float(Fraction(2) ** power * Fraction(ratio)) if abs(power) < 1000 else 1.0
    assume(bound > 1.2e-38)
    assert broken_laws(optim.clip_grad_norm_, grads, bound) == []


def lecture_rule(params, bound):
    """The snippet of lecture notes that compares the squared norm and divides by it."""
    square = sum(float(np.sum(p.grad.astype(np.float64) ** 2)) for p in params)
    if square > bound:
        for p in params:
            p.grad *= bound / square


def float32_rule(params, bound):
    """Squares summed in float32."""
    norm = np.sqrt(sum(np.sum(p.grad * p.grad) for p in params))
    if norm > bound:
        for p in params:
            p.grad *= np.float32(bound) / norm


def per_tensor_rule(params, bound):
    for p in params:
        optim.clip_grad_norm_(p, bound)


def by_value_rule(params, bound):
    optim.clip_grad_value_(params, bound)


@pytest.mark.parametrize(
    ("wrong", "grads", "law"),
    [
        (lecture_rule, [[6.0, 8.0]], "reaches the bound"),
        (lecture_rule, [[2.4]], "untouched below the bound"),
        (float32_rule, [[1e20, 1e20]], "reaches the bound"),
        (per_tensor_rule, [[3.0, 4.0], [30.0, 40.0]], "bound"),
        (by_value_rule, [[30.0, 1.0]], "direction"),
    ],
)
def test_the_laws_catch_wrong_rules(wrong, grads, law):
    arrays = [np.array(grad, np.float32) for grad in grads]
    assert law in broken_laws(wrong, arrays, 5.0)


@given(grads=gradients(), seed=st.integers(0, 9))
def test_the_order_of_the_parameters_does_not_matter(grads, seed):
    order = np.random.default_rng(seed).permutation(len(grads))
    first = with_grads(*(grad.copy() for grad in grads))
    second = with_grads(*(grads[i].copy() for i in order))
    assert optim.clip_grad_norm_(first, 1e-3) == optim.clip_grad_norm_(second, 1e-3)
    for there, here in enumerate(order):
        assert second[there].grad.tobytes() == first[here].grad.tobytes()


@given(grads=gradients(), bound=st.floats(-37.9, 300.0).map(lambda power: 10.0**power))
@example(grads=[np.array([0.1, -0.2], np.float32)], bound=0.1)
def test_value_clipping_cuts_what_is_beyond_and_nothing_else(grads, bound):
    params = with_grads(*(grad.copy() for grad in grads))
    report = optim.clip_grad_value_(params, bound)
    cut = total = 0
    for old, new in zip(grads, grads_of(params), strict=True):
        for before, after in zip(old.tolist(), new.tolist(), strict=True):
            assert Fraction(abs(after)) <= Fraction(bound)
            if Fraction(abs(before)) <= Fraction(bound):
                assert after == before
            else:
                assert after == pytest.approx(math.copysign(bound, before), rel=2e-7)
                cut += 1
            total += 1
    assert report.clipped_fraction == pytest.approx(cut / total)
    assert report.clipped == (cut > 0)
    once = grads_of(params)
    again = optim.clip_grad_value_(params, bound)
    assert again.clipped_fraction == 0.0
    assert again.norm == again.norm_after == report.norm_after
    assert all(a.tobytes() == b.tobytes() for a, b in zip(once, grads_of(params), strict=True))
