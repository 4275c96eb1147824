"""The laboratory's clipping rules: known figures, laws, and what each does to the direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_seq as tgs
from demos.lab import (
    clip_grad_adaptive_,
    clip_grad_norm_each_,
    clip_grad_squared_norm_,
)
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ConfigError, NonFiniteError

RULES = {
    "each": clip_grad_norm_each_,
    "adaptive": clip_grad_adaptive_,
    "squared": clip_grad_squared_norm_,
}
SHAPES = [(3,), (2, 4), (), (5, 1)]


def with_gradients(*gradients, weights=None):
    made = []
    for k, gradient in enumerate(gradients):
        gradient = np.asarray(gradient)
        value = np.zeros(gradient.shape, gradient.dtype) if weights is None else weights[k]
        tensor = tgs.tensor(value, requires_grad=True)
        tensor.grad = gradient.copy()
        made.append(tensor)
    return made


def drawn(dtype, largest):
    entries = st.floats(-largest, largest, width=np.dtype(dtype).itemsize * 8)
    return st.tuples(*(hnp.arrays(dtype, shape, elements=entries) for shape in SHAPES))


gradients = st.one_of(drawn(np.float64, 1e6), drawn(np.float32, 2.0**100))
bounds = st.floats(1e-3, 1e3)


def norm(*arrays):
    return float(np.linalg.norm(np.concatenate([np.ravel(a).astype(np.float64) for a in arrays])))


def assert_parallel(one, other):
    """Same direction, or zero."""
    a, b = (np.ravel(x).astype(np.float64) for x in (one, other))
    a, b = a / (np.abs(a).max() or 1), b / (np.abs(b).max() or 1)
    assert a @ b >= (1 - 1e-6) * np.linalg.norm(a) * np.linalg.norm(b)


# -- the snippet -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "literal", "by_norm"),
    [(2.2, 2.2, 2.2), (3, 5 / 3, 3), (5, 1, 5), (10, 0.5, 5), (50, 0.1, 5), (500, 0.01, 5)],
)
def test_the_snippet_beside_clipping_by_norm(size, literal, by_norm):
    direction = np.array([0.6, 0.0, -0.8])
    (one,) = with_gradients(size * direction)
    report = clip_grad_squared_norm_([one], 5.0)
    assert report.norm == pytest.approx(size, rel=1e-12)
    np.testing.assert_allclose(one.grad, literal * direction, rtol=1e-11, atol=0)
    assert report.norm_after == pytest.approx(literal, rel=1e-11)
    assert report.factor == pytest.approx(literal / size, rel=1e-11)
    (other,) = with_gradients(size * direction)
    optim.clip_grad_norm_([other], 5.0)
    np.testing.assert_allclose(other.grad, by_norm * direction, rtol=1e-11, atol=0)


@given(found=drawn(np.float64, 1e6), threshold=bounds)
def test_it_is_the_snippet_to_the_letter(found, threshold):
    expected = [g.copy() for g in found]
    for grad in expected:
        grad_norm = np.sum(grad * grad)
        if grad_norm > threshold:
            grad *= threshold / grad_norm
    params = with_gradients(*found)
    clip_grad_squared_norm_(params, threshold)
    for mine, exact, before in zip(params, expected, found, strict=True):
        edge = abs(np.sum(before * before) - threshold) < 1e-9 * threshold
        np.testing.assert_allclose(mine.grad, before if edge else exact, rtol=1e-9)


@given(first=st.floats(2.3, 1e6), ratio=st.floats(1.01, 1e3))
def test_a_bigger_gradient_takes_a_smaller_step(first, ratio):
    small, large = with_gradients([first, 0.0], [0.0, first * ratio])
    clip_grad_squared_norm_([small, large], 5.0)
    assert norm(large.grad) < norm(small.grad)
    plain = [norm(optim.clip_grad_norm_(p, 5.0) and p.grad) for p in with_gradients(first, 1e9)]
    assert plain[0] <= plain[1] * (1 + 1e-9)  # clipping by norm never inverts


def test_below_one_the_snippet_misses_what_it_should_clip():
    (missed,) = with_gradients([0.6])
    assert not clip_grad_squared_norm_(missed, 0.5).clipped  # 0.36 < 0.5
    assert optim.clip_grad_norm_(missed, 0.5).clipped  # 0.6 > 0.5


def test_the_snippet_where_float32_squares_overflow():
    (huge,) = with_gradients(np.array([3e19, 4e19], np.float32))
    with np.errstate(over="ignore"):
        assert np.isinf(np.sum(huge.grad * huge.grad))
    clip_grad_squared_norm_(huge, 5.0)
    np.testing.assert_allclose(huge.grad, np.array([0.6e-19, 0.8e-19]), rtol=1e-5)
    (vast,) = with_gradients(np.full(100, 3e38, np.float32))
    assert clip_grad_squared_norm_(vast, 1e-3).norm_after == 0.0
    assert not vast.grad.any()


# -- each by its own norm ----------------------------------------------------------------------


@given(found=gradients, bound=bounds)
def test_each_is_clipped_as_if_alone(found, bound):
    params = with_gradients(*found)
    report = clip_grad_norm_each_(params, bound)
    for param, alone, before in zip(params, with_gradients(*found), found, strict=True):
        optim.clip_grad_norm_(alone, bound)
        np.testing.assert_array_equal(param.grad, alone.grad)
        assert norm(param.grad) <= bound * (1 + 1e-12)
        assert_parallel(param.grad, before)
    assert report.norm_after <= bound * np.sqrt(len(SHAPES)) * (1 + 1e-12)
    again = [param.grad.copy() for param in params]
    clip_grad_norm_each_(params, bound)
    for param, once in zip(params, again, strict=True):
        np.testing.assert_array_equal(param.grad, once)


def test_groups_are_layers():
    model = nn.LSTM(3, 4, num_layers=2, rng=np.random.default_rng(0))
    model(np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32))[0].sum().backward()
    layers = [model.layer_weights(k) for k in range(2)]
    before = [[w.grad.copy() for w in layer] for layer in layers]
    sizes = [norm(*layer) for layer in before]
    assert min(sizes) > 0.1
    report = clip_grad_norm_each_([layers[0], iter(layers[1])], 0.1)
    for layer, old in zip(layers, before, strict=True):
        assert norm(*[w.grad for w in layer]) == pytest.approx(0.1, rel=1e-5)
        new = np.concatenate([w.grad.ravel() for w in layer])
        assert_parallel(new, np.concatenate([g.ravel() for g in old]))
    assert report.clipped_fraction == 1.0
    assert report.norm == pytest.approx(norm(*sizes), rel=1e-6)


def test_a_tensor_in_two_groups_is_clipped_with_the_first():
    a, b = with_gradients([3.0], [4.0])
    clip_grad_norm_each_([[a, b], [b]], 1.0)
    np.testing.assert_allclose([a.grad[0], b.grad[0]], [0.6, 0.8], rtol=1e-6)


# -- adaptive ----------------------------------------------------------------------------------


@given(found=gradients, factor=st.floats(1e-3, 10), seed=st.integers(0, 99))
def test_no_unit_exceeds_its_share(found, factor, seed):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=g.shape).astype(g.dtype) for g in found]
    params = with_gradients(*found, weights=weights)
    clip_grad_adaptive_(params, factor, 1e-3)
    for param, weight, before in zip(params, weights, found, strict=True):
        units = [slice(k, k + 1) for k in range(weight.shape[1])] if weight.ndim == 2 else [...]
        for unit in units:
            pick = (slice(None), unit) if weight.ndim == 2 else unit
            bound = factor * max(norm(weight[pick]), 1e-3)
            if norm(before[pick]) <= bound * (1 - 1e-6):
                np.testing.assert_array_equal(param.grad[pick], before[pick])
            assert norm(param.grad[pick]) <= bound * (1 + 1e-6)
            assert norm(param.grad[pick]) >= min(bound, norm(before[pick])) * (1 - 1e-5)
            assert_parallel(param.grad[pick], before[pick])


def test_a_weight_of_zero_may_still_move():
    (w,) = with_gradients(np.full((2, 3), 5.0))
    report = clip_grad_adaptive_(w, 0.01, eps=1e-3)
    np.testing.assert_allclose(np.linalg.norm(w.grad, axis=0), 1e-5)
    assert report.clipped_fraction == 1.0


# -- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_finite_changes_nothing(rule):
    for bad in (np.nan, np.inf):
        params = with_gradients([100.0, 1.0], [bad, 1.0])
        params[1].name = "weight_hh"
        with pytest.raises(NonFiniteError, match="weight_hh"):
            RULES[rule](params, 0.5)
        report = RULES[rule](params, 0.5, nonfinite="skip")
        assert not report.finite
        np.testing.assert_array_equal(params[0].grad, [100.0, 1.0])


@pytest.mark.parametrize("rule", RULES)
def test_what_is_small_is_left_alone(rule):
    params = with_gradients([0.001], [[0.002]], weights=[np.ones(1), np.ones((1, 1))])
    params.append(tgs.tensor([1.0], requires_grad=True))  # without a gradient
    report = RULES[rule](iter(params), 0.5)
    assert not report.clipped
    assert report.norm == report.norm_after
    assert [p.grad if p.grad is None else p.grad.item() for p in params] == [0.001, 0.002, None]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bound", [0.0, -1.0, np.nan, "5"])
def test_bounds_out_of_range_are_refused(rule, bound):
    params = with_gradients([1.0])
    with pytest.raises(ConfigError):
        RULES[rule](params, bound)
    assert params[0].grad.item() == 1.0


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_no_parameters_and_no_gradients(rule):
    for none in ([], (p for p in ())):
        with pytest.raises(ConfigError, match=r"nothing to clip[\s\S]*call parameters\(\) again"):
            rule(none, 1.0)
    bare = [tgs.tensor(np.ones(2), requires_grad=True)]
    assert rule(bare, 1.0) == optim.ClipReport(0.0, 0.0, 1.0, True)
