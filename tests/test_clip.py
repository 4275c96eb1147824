"""Clipping: the bound is never exceeded, in exact arithmetic, and the direction is kept."""

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
from tinygrad_seq.errors import ConfigError, NonFiniteError

INF = math.inf
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


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
    if after_square > limit:
        broken.append("bound")
    if before_square <= limit:
        if any(a.tobytes() != b.tobytes() for a, b in zip(after, grads, strict=True)):
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


# ---------------------------------------------------------------- by norm


@dtypes
@pytest.mark.parametrize(("norm", "after"), [(3, 3), (5, 5), (10, 5), (50, 5)])
def test_the_norm_is_cut_to_five(norm, after, dtype):
    direction = np.array([2.0, -3.0, 6.0], dtype) / 7
    params = with_grads(direction[:1] * dtype(norm), direction[1:] * dtype(norm))
    report = optim.clip_grad_norm_(params, 5.0)
    got = np.concatenate(grads_of(params)).astype(np.float64)
    assert np.linalg.norm(got) == pytest.approx(after, rel=4e-7)
    assert np.allclose(got / np.linalg.norm(got), direction, rtol=1e-6)
    assert report.norm == pytest.approx(norm, rel=1e-6)
    assert report.norm_after == pytest.approx(after, rel=4e-7)
    assert report.factor == pytest.approx(after / norm, rel=1e-6)
    assert report.finite


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


def test_a_million_of_the_largest_float32_entries():
    grad = np.full((1000, 1000), np.finfo(np.float32).max)
    params = with_grads(grad)
    report = optim.clip_grad_norm_(params, 1e-3)  # the factor is below float32's range
    assert report.norm == pytest.approx(3.4028235e41)
    assert report.norm_after <= 1e-3
    assert np.linalg.norm(params[0].grad.astype(np.float64)) == pytest.approx(1e-3, rel=4e-7)


@pytest.mark.parametrize("size", [1e200, 1.7e308, 1e-200, 1e-300])
def test_float64_gradients_beyond_the_range_of_squares(size):
    grad = np.array([size, -size])
    bound = size / 64
    params = with_grads(grad)
    report = optim.clip_grad_norm_(params, bound)
    assert params[0].grad == pytest.approx(np.array([1, -1]) * bound / math.sqrt(2), rel=1e-12)
    assert report.norm == pytest.approx(min(size * math.sqrt(2), 1.7976931348623157e308))
    assert report.norm_after == pytest.approx(bound, rel=1e-12)


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


@dtypes
@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, 80.0, INF])
def test_other_norms(order, dtype):
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(shape).astype(dtype) for shape in ((100, 90), (7,), ())]
    flat = np.concatenate([grad.ravel() for grad in grads]).astype(np.float64)
    expected = np.linalg.norm(flat, ord=order)
    params = with_grads(*(grad.copy() for grad in grads))
    report = optim.clip_grad_norm_(params, expected / 3, norm_type=order)
    assert report.norm == pytest.approx(expected, rel=1e-12)
    after = np.concatenate([grad.ravel() for grad in grads_of(params)]).astype(np.float64)
    assert np.linalg.norm(after, ord=order) == pytest.approx(expected / 3, rel=4e-7)
    assert np.linalg.norm(after, ord=order) <= expected / 3 * (1 + 1e-12)
    assert np.allclose(after * 3, flat, rtol=1e-6)
    kept = grads_of(params)
    assert optim.clip_grad_norm_(params, expected / 3, norm_type=order).factor == 1.0
    assert all(np.array_equal(a, b) for a, b in zip(kept, grads_of(params), strict=True))


def test_memory_layout_does_not_matter():
    rng = np.random.default_rng(1)
    grad = rng.standard_normal((300, 200)).astype(np.float32)
    every_other = np.repeat(grad, 2, axis=1)[:, ::2]
    plain, turned, strided = with_grads(grad, np.asfortranarray(grad), every_other)
    reports = [optim.clip_grad_norm_([p], 1.0) for p in (plain, turned, strided)]
    assert [r.norm for r in reports] == pytest.approx([reports[0].norm] * 3, rel=1e-14)
    assert np.allclose(plain.grad, turned.grad, rtol=1e-6)
    assert np.allclose(plain.grad, strided.grad, rtol=1e-6)


# ---------------------------------------------------------------- by value


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


def test_value_report_and_the_turned_direction():
    params = with_grads(np.array([3.0, 0.1]))
    report = optim.clip_grad_value_(params, 1.0)
    assert params[0].grad.tolist() == [1.0, 0.1]
    assert math.degrees(math.atan2(0.1, 3.0)) == pytest.approx(1.9, abs=0.05)
    assert math.degrees(math.atan2(0.1, 1.0)) == pytest.approx(5.7, abs=0.05)
    assert report.norm == pytest.approx(math.hypot(3.0, 0.1))
    assert report.norm_after == pytest.approx(math.hypot(1.0, 0.1))
    assert report.factor == pytest.approx(report.norm_after / report.norm)
    assert report.clipped_fraction == 0.5


# ---------------------------------------------------------------- what both share

CLIPS = {"norm": optim.clip_grad_norm_, "value": optim.clip_grad_value_}
both = pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)


@both
def test_nothing_to_clip(clip):
    assert clip([], 1.0) == optim.ClipReport(0.0, 0.0, 1.0, True)
    assert clip(with_grads(None, None), 1.0) == optim.ClipReport(0.0, 0.0, 1.0, True)
    zero = with_grads(np.zeros((2, 2), np.float32), np.zeros((0, 3)))
    report = clip(zero, 1.0)
    assert (report.norm, report.factor, report.clipped) == (0.0, 1.0, False)
    assert zero[0].grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@both
def test_an_infinite_bound_only_measures(clip):
    params = with_grads(np.array([3e38, 4e38]))
    assert clip(params, INF).norm == pytest.approx(5e38)
    assert params[0].grad.tolist() == [3e38, 4e38]


@both
def test_parameters_may_come_in_any_way(clip):
    grads = [np.array([6.0, 8.0]), None, np.array(-0.0)]
    expected = None
    for wrap in (list, tuple, iter, lambda ps: (p for p in ps), lambda ps: [*ps, *ps]):
        params = with_grads(*(None if g is None else g.copy() for g in grads))
        got = (clip(wrap(params), 4.0), params[0].grad.tolist(), params[1].grad)
        expected = expected or got
        assert got == expected
    single = with_grads(np.array([6.0, 8.0]))[0]
    clip(single, 4.0)
    assert single.grad.tolist() == expected[1]


def test_a_gradient_array_that_two_parameters_share_is_scaled_once():
    shared = np.array([6.0, 8.0])
    params = with_grads(shared, shared)
    report = optim.clip_grad_norm_(params, 1.0)
    assert report.norm == pytest.approx(10 * math.sqrt(2))
    assert params[0].grad is params[1].grad
    assert np.hypot(*shared) == pytest.approx(1 / math.sqrt(2))


@both
def test_a_read_only_gradient_is_replaced(clip):
    grad = np.array([6.0, 8.0])
    grad.flags.writeable = False
    params = with_grads(grad)
    clip(params, 5.0)
    assert grad.tolist() == [6.0, 8.0]
    assert params[0].grad.max() <= 5.0


@both
@pytest.mark.parametrize("bad", [math.nan, INF, -INF])
@dtypes
def test_a_gradient_that_is_not_finite_raises_and_names_the_parameter(clip, bad, dtype):
    params = with_grads(np.full(2, 7.0, dtype), np.array([[1.0, bad], [bad, 50.0]], dtype))
    params[1].name = "rnn.weight_hh"
    kept = grads_of(params)
    counts = "2 NaN and 0 infinite" if math.isnan(bad) else "0 NaN and 2 infinite"
    with pytest.raises(NonFiniteError, match=rf"'rnn\.weight_hh': {counts} of 4 entries"):
        clip(params, 5.0)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(kept, grads_of(params), strict=True))
    params[1].name = ""
    with pytest.raises(NonFiniteError, match="parameter 1"):
        clip(params, 5.0)


@both
def test_skip_reports_and_leaves_the_gradients(clip):
    params = with_grads(np.array([INF, 1.0]), np.array([50.0]), np.array([math.nan, -INF]))
    kept = grads_of(params)
    report = clip(params, 5.0, nonfinite="skip")
    assert not report.finite
    assert math.isnan(report.norm)
    assert not report.clipped
    assert "parameter 0: 0 NaN and 1 infinite" in report.problem
    assert "parameter 2: 1 NaN and 1 infinite" in report.problem
    assert "parameter 1" not in report.problem
    assert all(a.tobytes() == b.tobytes() for a, b in zip(kept, grads_of(params), strict=True))
    assert clip(params[:2], 5.0, nonfinite="skip").norm == INF


@pytest.mark.parametrize("order", [1.0, 3.0, INF])
def test_other_norms_see_nan_too(order):
    params = with_grads(np.array([1.0, math.nan]), np.array([INF]))
    with pytest.raises(NonFiniteError):
        optim.clip_grad_norm_(params, 1.0, norm_type=order)
    assert not optim.clip_grad_norm_(params, 1.0, order, nonfinite="skip").finite


@both
@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, "5", None, True])
def test_a_bound_that_cannot_work_is_refused(clip, bound):
    params = with_grads(np.array([9.0]))
    with pytest.raises(ConfigError, match="out of range"):
        clip(params, bound)
    assert params[0].grad.tolist() == [9.0]


@both
def test_a_bound_that_would_zero_the_gradient_is_refused(clip):
    params = with_grads(np.array([9.0], np.float32))
    with pytest.raises(ConfigError, match="too small for float32"):
        clip(params, 1e-50)
    assert params[0].grad.tolist() == [9.0]


@both
def test_options_are_checked(clip):
    params = with_grads(np.array([9.0]))
    with pytest.raises(ConfigError, match="'raise' or 'skip'"):
        clip(params, 1.0, nonfinite="ignore")
    for wrong in (3, [np.ones(2)], "w"):
        with pytest.raises(ConfigError, match=r"model\.parameters\(\)"):
            clip(wrong, 1.0)


@pytest.mark.parametrize("order", [0.5, 0.0, -1.0, math.nan])
def test_an_order_that_is_no_norm_is_refused(order):
    with pytest.raises(ConfigError, match="norm_type"):
        optim.clip_grad_norm_(with_grads(np.array([9.0])), 1.0, norm_type=order)


def test_gradients_of_a_backward_are_clipped_in_place():
    w = tgs.tensor([3.0, 4.0], requires_grad=True)
    (w * w).sum().backward()
    grad = w.grad
    report = optim.clip_grad_norm_([w], 1.0)
    assert w.grad is grad
    assert report.norm == pytest.approx(10.0)
    assert grad == pytest.approx(np.array([0.6, 0.8]), rel=1e-6)
