"""``tinygrad_seq.testing``: what passes, what fails, and how it says so."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.oracles import naive_gradients
from tests.support.recurrent import KINDS, RecurrentProblem, make_layer, recurrent_problems
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.testing import GradientError, gradcheck
from tinygrad_seq.testing.invariants import (
    assert_deterministic,
    assert_freed,
    assert_gradients_own_their_memory,
    live_nodes,
    unchanged,
)
from tinygrad_seq.testing.numeric import central_derivative, complex_gradient, find_kink
from tinygrad_seq.testing.report import Tolerance, worst_mismatch
from tinygrad_seq.testing.strategies import sequences

X = np.linspace(-1.0, 1.0, 6).reshape(2, 3)
WRONG = Op("wrong", np.sin, "x", [lambda g, x: g * np.cos(x) * 1.001])


def wrong(x: tgs.Tensor) -> tgs.Tensor:
    return apply(WRONG, (x,), {})


# -- what passes -----------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["gradient", "jacobian", "directional"])
@pytest.mark.parametrize("method", ["auto", "complex", "central"])
@pytest.mark.parametrize("order", [1, 2])
def test_right_gradients_pass(check: str, method: str, order: int) -> None:
    def fn(x, w):
        return tgs.tanh(x @ w), (x * x).sum()

    report = gradcheck(fn, X, X.T + 0.1, check=check, method=method, order=order)
    assert report
    assert report.method == ("central" if method == "central" else "complex")
    assert report.worst < 1e-8
    expected = {"gradient": 12, "jacobian": 5 * 12, "directional": 1}[check]
    assert report.checked == expected + (order == 2)
    assert "worst error" in str(report)


def test_functions_that_are_not_analytic_fall_back_to_differences() -> None:
    assert gradcheck(lambda x: tgs.absolute(x + 0.05), X).method == "central"
    closed_over = tgs.tensor(X)
    assert gradcheck(lambda x: (x * closed_over).sum(), X)


def test_other_arguments_are_passed_on() -> None:
    ids = np.array([[0, 1], [1, 1]])
    frozen = tgs.tensor(X)
    report = gradcheck(
        lambda x, k, i, flag: tgs.take(x * k, i) if flag else x, X, frozen, ids, True
    )
    assert report.checked == X.size


def test_tensors_that_require_gradients_are_differentiated_to() -> None:
    w = tgs.tensor(X, requires_grad=True)
    assert gradcheck(lambda w, x: (w * x).sum(), w, tgs.tensor(X)).checked == X.size
    assert w.grad is None


def test_broadcast_and_strided_inputs_are_copied() -> None:
    overlapping = np.broadcast_to(np.array([1.0, 2.0]), (3, 2))
    assert gradcheck(lambda x, y: (x * x).sum() + (y * y).sum(), overlapping, X.T)


def test_an_unused_input_must_have_gradient_zero() -> None:
    assert gradcheck(lambda x, y: (x * x).sum(), X, X)
    assert gradcheck(lambda x: tgs.tensor(np.ones(2)) * 1.0, X)


def test_a_linear_function_has_a_zero_second_derivative() -> None:
    assert gradcheck(lambda x: x * 3, X, order=2)


# -- what fails ------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["gradient", "jacobian", "directional"])
@pytest.mark.parametrize("method", ["complex", "central"])
def test_a_rule_wrong_by_a_thousandth_is_caught(check: str, method: str) -> None:
    with pytest.raises(GradientError, match=r"relative error 0\.001"):
        gradcheck(wrong, X, check=check, method=method)


def test_the_message_shows_input_index_numbers_and_example() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda a, b: a.sum() + wrong(b), np.ones(1), np.array([0.0, 0.5]))
    text = str(caught.value)
    assert "the gradient to input 1 is wrong at index (" in text
    assert "expected: " in text
    assert "(complex step)" in text
    assert "relative error 0.001" in text
    assert "input 1 float64[2] = [0. , 0.5]" in text


def test_a_graph_cut_by_mistake_is_caught() -> None:
    with pytest.raises(GradientError):
        gradcheck(lambda x: x.detach() * x, X)


def test_a_wrong_second_derivative_is_caught() -> None:
    hidden = Op("hidden", np.sin, "x", [lambda g, x: g * np.cos(getattr(x, "_array", x))])
    assert gradcheck(lambda x: apply(hidden, (x,), {}), X)
    with pytest.raises(GradientError, match="second derivative"):
        gradcheck(lambda x: apply(hidden, (x,), {}), X, order=2)


def test_nan_gradients_never_pass() -> None:
    nan = Op("nan", np.sin, "x", [lambda g, x: g * np.nan])
    with pytest.raises(GradientError):
        gradcheck(lambda x: apply(nan, (x,), {}), X)


def test_a_function_that_differs_between_calls_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match="different values when called twice"):
        gradcheck(lambda x: x * rng.standard_normal(), X)


def test_a_gradient_that_differs_between_calls_is_refused() -> None:
    rng = np.random.default_rng(0)
    shaky = Op("shaky", np.sin, "x", [lambda g, x: g * np.cos(x) + 1e-15 * rng.random()])
    with pytest.raises(GradientError, match="differs when taken twice"):
        gradcheck(lambda x: apply(shaky, (x,), {}), X)


# -- kinks -----------------------------------------------------------------------------------


def test_a_kink_is_reported_and_a_subgradient_accepted() -> None:
    x = np.array([-1.0, 0.0, 1.0])
    report = gradcheck(lambda x: tgs.relu(x) + tgs.absolute(x), x)
    assert [kink.place for kink in report.kinks] == [(1,)]
    assert "kink at input 0, index (1,)" in str(report)


def test_a_kink_is_reported_where_the_difference_happens_to_agree() -> None:
    x = np.array([-1.0, 0.0, 2.0])
    report = gradcheck(lambda x: tgs.absolute(x).sum(), x)  # 0 is half way from -1 to 1
    assert [(kink.place, kink.left, kink.right) for kink in report.kinks] == [((1,), -1.0, 1.0)]
    assert report.worst < 1e-9


def test_a_value_outside_the_subgradient_is_caught_at_a_kink() -> None:
    steep = Op("steep", np.abs, "x", [lambda g, x: g * np.where(x == 0, 3.0, np.sign(x))],
               analytic=False)  # fmt: skip
    with pytest.raises(GradientError):
        gradcheck(lambda x: apply(steep, (x,), {}), np.array([0.0, 1.0]))


def test_a_wrong_rule_does_not_pass_as_a_kink() -> None:
    bent = Op("bent", np.abs, "x", [lambda g, x: g * 0.5], analytic=False)
    with pytest.raises(GradientError):
        gradcheck(lambda x: apply(bent, (x,), {}), np.array([0.3, 1.0]))


def test_ties_of_max_are_reported() -> None:
    report = gradcheck(lambda x: tgs.max(x), np.array([2.0, 1.0, 2.0]))
    assert {kink.place for kink in report.kinks} <= {(0,), (2,)}


KINKED = {
    "first order": ({"check": "directional"}, lambda x: tgs.absolute(x).sum()),
    "a jump of the gradient": ({"order": 2}, lambda x: (tgs.absolute(x) * x[1]).sum()),
    "a kink of the gradient": ({"order": 2}, lambda x: (tgs.relu(x) ** 2).sum()),
}


@pytest.mark.parametrize(("options", "fn"), KINKED.values(), ids=KINKED)
def test_a_kink_along_a_direction_is_reported(options, fn) -> None:
    report = gradcheck(fn, np.array([0.0, 0.7, -1.1]), **options)
    kink = report.kinks[-1]
    assert kink.input is None and kink.left != kink.right
    assert "along a" in str(report)
    away = gradcheck(fn, np.array([0.5, 0.7, -1.1]), **options)
    assert away.kinks == ()


@pytest.mark.parametrize("check", ["directional", "gradient"])
def test_a_wrong_slope_along_a_direction_is_caught_at_a_kink(check) -> None:
    wrong = Op("wrong", np.abs, "x", [lambda g, x: g * 30 * np.sign(x)], analytic=False)
    fn = lambda x: apply(wrong, (x,), {}).sum()  # noqa: E731
    with pytest.raises(GradientError):
        gradcheck(fn, np.array([0.0, 0.7, -1.1]), check=check)


@given(st.floats(-0.9, 0.9), st.sampled_from([1e-2, 1e-3, 1e-4, 1e-5, 3e-6, 1.2e-6]))
def test_a_kink_nearby_does_not_spoil_the_difference(where: float, distance: float) -> None:
    at = lambda eps: abs(eps - distance) + where * eps  # noqa: E731
    assert find_kink(at) is None
    assert central_derivative(at) == pytest.approx(where - 1, abs=1e-6)


@pytest.mark.parametrize("fn", [np.sin, np.exp, lambda e: e**3, lambda e: 1e-9 * e, lambda e: 5.0])
def test_smooth_functions_have_no_kink(fn) -> None:
    assert find_kink(lambda eps: float(fn(eps))) is None


def test_jumps_and_kinks_are_found() -> None:
    assert find_kink(lambda e: max(e, 0.0)) == (0.0, 1.0)
    left, right = find_kink(lambda e: float(e > 0))
    assert max(abs(left), abs(right)) > 1e3
    assert find_kink(np.sign) == (-np.inf, np.inf)


# -- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "slope"),
    [(np.sin, np.cos), (np.exp, np.exp), (lambda x: x**5, lambda x: 5 * x**4),
     (lambda x: np.tanh(30 * x), lambda x: 30 / np.cosh(30 * x) ** 2)],
)  # fmt: skip
def test_central_differences_are_good_to_eight_digits(fn, slope) -> None:
    for x in (0.1, 0.7, -1.3):
        got = central_derivative(lambda eps, x=x: float(fn(x + eps)))
        assert got == pytest.approx(slope(x), rel=1e-8, abs=1e-9)


def test_complex_steps_are_exact() -> None:
    got = complex_gradient(lambda xs: np.sum(np.exp(xs[0]) * xs[1]), [X, X + 2], 0)
    np.testing.assert_allclose(got, np.exp(X) * (X + 2), rtol=1e-15)


def test_mismatch_reports_the_worst_entry_and_accepts_empty_arrays() -> None:
    tolerance = Tolerance(1e-6, 0.0)
    assert worst_mismatch(np.zeros((0, 3)), np.zeros((0, 3)), tolerance) is None
    assert worst_mismatch([1.0, np.nan], [1.0, 2.0], tolerance).place == (1,)
    assert worst_mismatch([0.0], [0.0], tolerance) is None
    assert worst_mismatch([1e-9], [0.0], tolerance).error == np.inf


# -- options and refusals ----------------------------------------------------------------------


def test_float32_is_refused_by_default_and_checked_loosely_on_request() -> None:
    with pytest.raises(DtypeError, match=r"input 0[\s\S]*float64[\s\S]*allow_float32"):
        gradcheck(tgs.tanh, X.astype(np.float32))
    assert gradcheck(tgs.tanh, X.astype(np.float32), allow_float32=True, order=2)
    with pytest.raises(GradientError):
        gradcheck(wrong, X.astype(np.float32), allow_float32=True)


@pytest.mark.parametrize("option", [{"check": "fast"}, {"order": 3}, {"method": "forward"}])
def test_unknown_options_are_refused(option) -> None:
    with pytest.raises(ConfigError, match=f"gradcheck: {next(iter(option))}"):
        gradcheck(tgs.tanh, X, **option)


def test_nothing_to_differentiate_is_an_error_not_a_pass() -> None:
    with pytest.raises(ConfigError, match="nothing to differentiate"):
        gradcheck(lambda i: tgs.tensor(1.0), np.array([1, 2]))


def test_a_function_must_return_tensors() -> None:
    with pytest.raises(ConfigError, match="must return tensors"):
        gradcheck(lambda x: [x.numpy()], X)


def test_tolerances_can_be_given() -> None:
    assert gradcheck(wrong, X, rtol=1e-2)
    with pytest.raises(GradientError):
        gradcheck(wrong, X, rtol=1e-4)


# -- oracles, invariants, strategies -------------------------------------------------------------


def test_the_naive_engine_on_known_derivatives() -> None:
    value, (a, b) = naive_gradients(
        lambda a, b: np.sum((a @ b) ** 2) / 2 - np.sum(2.0 / (1 - a[0]) + np.sqrt(b) - 3 * abs(-b)),
        [np.array([[0.5, 2.0]]), np.array([[1.0], [4.0]])],
    )
    product = 8.5
    assert value == pytest.approx(product**2 / 2 - (4 + 6 - 30))
    np.testing.assert_allclose(a, [[product - 16, product * 4 - 4]])
    np.testing.assert_allclose(b, [[product * 0.5 - 1 + 6], [product * 2 - 0.5 + 6]])


def test_naive_comparisons_serve_numpys_maximum() -> None:
    _, (slope,) = naive_gradients(
        lambda x: np.max(x) + np.sum(np.minimum(x, 0.5)) + np.sum(np.where(x > 1, x, 0)),
        [np.array([0.25, 3.0, 2.0])],
    )
    assert slope.tolist() == [1.0, 2.0, 1.0]


def test_invariants_raise_when_broken() -> None:
    x = tgs.tensor(np.ones(2), requires_grad=True)
    y = tgs.tensor(np.ones(2), requires_grad=True)
    x._grad = y._grad = np.zeros(2)
    with pytest.raises(GradientError, match="another gradient"):
        assert_gradients_own_their_memory([x, y])
    y._grad = x._array
    with pytest.raises(GradientError, match="looks into the values"):
        assert_gradients_own_their_memory([x, y])
    with pytest.raises(GradientError, match="array 1 was written"), unchanged(x, y):
        y._array[0] = 5
    with pytest.raises(GradientError, match="still holds"):
        assert_freed(x * y)
    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match="array 0 differs"):
        assert_deterministic(lambda: [rng.standard_normal(2)])


def test_live_nodes_are_counted() -> None:
    before = live_nodes()
    x = tgs.tensor(1.0, requires_grad=True)
    y = x * x
    assert live_nodes() == before + 2
    del y
    assert live_nodes() == before + 1


@given(sequences(features=3), recurrent_problems())
def test_sequence_strategies(sequence, problem: RecurrentProblem) -> None:
    x, lengths = sequence
    assert x.shape[1:] == (len(lengths), 3)
    assert np.all((lengths >= 0) & (lengths <= x.shape[0]))
    y, state = problem.run()
    assert problem.steps >= 2
    assert y.shape == (problem.steps, problem.batch, problem.layer.directions * problem.hidden)
    assert ("lengths" in problem.options, "reset" in problem.options) == (
        problem.ragged,
        problem.resets,
    )
    again, last = eval(repr(problem)).run()  # what a failure prints is the example
    for a, b in zip([y, *state], [again, *last], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_every_kind_have_drawn_biases(kind: str) -> None:
    layer = make_layer(kind, 2, 3, 2, np.random.default_rng(0))
    assert all(p.dtype == np.float64 for p in layer.parameters())
    assert all(np.all(p.data) for name, p in layer.named_parameters() if name.startswith("bias"))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="make_layer: kind"):
        make_layer("sru", 2, 3)


def test_the_kit_needs_hypothesis_only_for_strategies() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import tinygrad_seq.testing as kit\n"
        "import tinygrad_seq.testing.invariants, numpy as np, tinygrad_seq as tgs\n"
        "kit.gradcheck(tgs.tanh, np.ones(2))\n"
        "assert 'tinygrad_seq.testing.strategies' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_does_not_import_the_kit() -> None:
    code = "import sys, tinygrad_seq; assert 'tinygrad_seq.testing' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_best_of_the_steps_is_taken_where_none_is_good() -> None:
    noisy = lambda e: 3 * e + 1e-6 * np.sin(1e9 * e)  # noqa: E731
    assert central_derivative(noisy) == pytest.approx(3.0, abs=0.01)


def test_naive_scalars_compare_in_every_direction() -> None:
    def fn(x):
        return np.sum(x[x < 0.5]) + 2 * np.sum(x[x > 0.5]) + np.sum(np.sort(x)[:1])

    _, (found,) = naive_gradients(fn, [np.array([0.25, 3.0, -1.0])])
    assert found.tolist() == [1.0, 2.0, 2.0]
