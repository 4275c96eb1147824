"""Clipping: reports, other norms, policies for what is not finite, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

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
def test_parameters_that_were_used_up(clip):
    (w,) = with_grads(np.ones(3, np.float32))
    parameters = (p for p in [w])
    optim.Adam(parameters)
    for none in (parameters, [], ()):
        with pytest.raises(ConfigError, match=r"_: nothing to clip[\s\S]*parameters\(\) again"):
            clip(none, 1.0)


@both
def test_nothing_to_clip(clip):
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
