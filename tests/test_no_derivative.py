"""Points without a derivative: one policy for all operations, at first and at second order.

A kink has a substitute, the same whatever the operation: 0 at the tip of a norm or an absolute
value, a share at a tie, the inside of a bound. It is a constant: derivatives of higher order take
it for one. An infinite slope is infinite, and a NaN among the operands is one in the gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.ops import OPS

INF, NAN = np.inf, np.nan

# operation: (operands, gradients to them); what it is called with besides stands in OPTIONS.
KINKS: dict[str, list[tuple[list[Any], list[Any]]]] = {
    "absolute": [([[0.0, -0.0]], [[0.0, 0.0]])],
    "relu": [([[0.0, -0.0]], [[0.0, 0.0]])],
    "clip": [([[-1.0, 1.0, 2.0]], [[1.0, 1.0, 0.0]])],
    "maximum": [([[1.0], [1.0]], [[0.5], [0.5]]), ([[INF], [INF]], [[0.5], [0.5]])],
    "minimum": [([[1.0], [1.0]], [[0.5], [0.5]])],
    "max": [([[3.0, 1.0, 3.0]], [[0.5, 0.0, 0.5]])],
    "min": [([[1.0, 1.0, 3.0]], [[0.5, 0.5, 0.0]])],
    "norm": [([[0.0, 0.0]], [[0.0, 0.0]])],
    "hypot": [([[0.0], [0.0]], [[0.0], [0.0]])],
    "power": [([[0.0], [0.0]], [[0.0], [0.0]]), ([[0.0], [1.0]], [[1.0], [0.0]])],
    "remainder": [([[6.0], [3.0]], [[1.0], [-2.0]])],
}
OPTIONS = {"clip": {"low": -1.0, "high": 1.0}, "max": {}, "min": {}, "norm": {}}


def gradients(call: Any, operands: list[Any], dtype: Any = np.float64) -> list[Any]:
    leaves = [tgs.tensor(np.array(x, dtype), requires_grad=True) for x in operands]
    call(*leaves).sum().backward()
    return [leaf.grad for leaf in leaves]


def points() -> list[Any]:
    return [
        pytest.param(name, operands, found, id=f"{name}-{operands}")
        for name, rows in KINKS.items()
        for operands, found in rows
    ]


@pytest.mark.parametrize(("name", "operands", "found"), points())
def test_the_substitute(name: str, operands: list[Any], found: list[Any]) -> None:
    call = getattr(tgs, name)
    got = gradients(lambda *xs: call(*xs, **OPTIONS.get(name, {})), operands)
    for g, expected in zip(got, found, strict=True):
        np.testing.assert_array_equal(g, expected)


@pytest.mark.parametrize(("name", "operands", "found"), points())
def test_it_is_a_constant_at_second_order(name: str, operands: list[Any], found: Any) -> None:
    if name in ("power", "remainder"):  # 0 ** b and a ** 1 are smooth in a, to one side
        return
    call = getattr(tgs, name)
    leaves = [tgs.tensor(np.array(x), requires_grad=True) for x in operands]
    out = call(*leaves, **OPTIONS.get(name, {})).sum()
    first = tgs.grad(out, leaves, create_graph=True)
    total = sum((g * np.arange(1.0, g.size + 1)).sum() for g in first)
    if total.requires_grad:
        for second in tgs.grad(total, leaves, allow_unused=True):
            assert second is None or not second.numpy().any()


def test_every_operation_with_such_points_is_here_and_says_so_in_the_table() -> None:
    told = {name for name, op in OPS.items() if op.kink}
    assert told == {*KINKS, "arctan2", "rnn_relu_sequence"}
    smooth = {"cbrt", "logaddexp", "logaddexp2"}  # real functions without a kink
    assert {name for name, op in OPS.items() if not op.analytic} <= told | smooth


def test_an_angle_has_none_at_the_origin() -> None:
    with np.errstate(invalid="ignore"):
        for got in gradients(np.arctan2, [[0.0], [0.0]]):
            assert np.isnan(got).all()


def test_a_recurrent_relu_is_one_too() -> None:
    zeros = [np.zeros(shape) for shape in ((2, 1, 1), (1, 1), (1, 1), (1, 1), (1,))]
    got = gradients(lambda *xs: tgs.rnn_sequence(*xs, nonlinearity="relu")[0], zeros)
    assert not any(g.any() for g in got)


@pytest.mark.parametrize("order", [1, 3, 0.5, 4, 7.5, np.inf, 2])
def test_norms_of_every_order_have_gradient_0_at_the_origin(order: float) -> None:
    def norm(x: Any) -> Any:
        return np.linalg.norm(x, order)

    x = tgs.tensor(np.zeros(3), requires_grad=True)
    norm(x).backward()
    np.testing.assert_array_equal(x.grad, 0)
    np.testing.assert_array_equal(tgs.hessian(norm, np.zeros(3)).numpy(), 0)


@pytest.mark.parametrize("order", [3, 2.5, 4, -2, -3])
@pytest.mark.parametrize("scale", [1e-30, 1e-16, 1.0, 1e16, 1e30])
def test_norms_neither_overflow_nor_vanish_in_float32(order: float, scale: float) -> None:
    entries = np.array([1.0, -2.0, 3.0])
    x = tgs.tensor((entries * scale).astype(np.float32), requires_grad=True)
    size = np.linalg.norm(x, order)
    size.backward()
    exact = np.sum(np.abs(entries) ** order) ** (1 / order)
    slopes = np.sign(entries) * (np.abs(entries) / exact) ** (order - 1)
    np.testing.assert_allclose(size.item(), exact * scale, rtol=1e-5)
    np.testing.assert_allclose(x.grad, slopes, rtol=1e-5)


def test_a_zero_beside_tiny_entries_has_a_finite_gradient() -> None:
    x = tgs.tensor(np.float32([1e-16, 1e-16, 0.0]), requires_grad=True)
    np.linalg.norm(x, 3).backward()
    np.testing.assert_allclose(x.grad, [2 ** (-2 / 3)] * 2 + [0], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "operands"),
    [
        (lambda x: np.sqrt(x), [[0.0]]),
        (lambda x: np.log(x), [[0.0]]),
        (lambda x: np.reciprocal(x), [[0.0]]),
        (lambda x: np.arcsin(x), [[1.0]]),
        (lambda x: np.arccosh(x), [[1.0]]),
        (lambda x: x**0.5, [[0.0]]),
    ],
)
def test_an_infinite_slope_is_infinite(call: Any, operands: list[Any]) -> None:
    with np.errstate(all="ignore"):
        (got,) = gradients(call, operands)
    assert np.isinf(got).all()


@pytest.mark.parametrize("name", ["absolute", "relu", "clip", "tanh", "sigmoid", "norm", "max"])
def test_a_nan_among_the_operands_is_one_in_the_gradient(name: str) -> None:
    call = getattr(tgs, name)
    with np.errstate(all="ignore"):
        (got,) = gradients(lambda x: call(x, **OPTIONS.get(name, {})), [[NAN]])
    assert np.isnan(got).all()


@pytest.mark.parametrize("name", ["maximum", "minimum"])
@pytest.mark.parametrize("operands", [[[1.0], [NAN]], [[NAN], [1.0]], [[NAN], [NAN]]])
def test_a_nan_beside_is_one_in_both_gradients(name: str, operands: list[Any]) -> None:
    for got in gradients(getattr(tgs, name), operands):
        assert np.isnan(got).all()


@pytest.mark.parametrize(
    ("call", "operands"),
    [
        (tgs.maximum, [[1.0, 2.0], [2.0, 1.0]]),
        (lambda x: tgs.relu(x), [[-1.0, 1.0]]),
        (lambda x: tgs.clip(x, -2, 0.5), [[0.0, 1.0]]),
        (lambda x: tgs.max(x), [[1.0, 2.0]]),
        (lambda x: np.abs(x), [[0.0, 1.0]]),
    ],
)
def test_an_infinite_cotangent_stays_out_of_where_the_slope_is_0(call: Any, operands: Any) -> None:
    leaves = [tgs.tensor(np.array(x), requires_grad=True) for x in operands]
    out = call(*leaves)
    with np.errstate(all="ignore"):
        out.backward(np.full(out.shape, INF))
    for leaf in leaves:
        assert not np.isnan(leaf.grad).any() and (leaf.grad == 0).any()


def test_a_logsumexp_of_minus_infinity_passes_nothing_back() -> None:
    x = tgs.tensor(np.array([[-INF, -INF], [0.0, 1.0]]), requires_grad=True)
    tgs.logsumexp(x).sum().backward()
    np.testing.assert_allclose(x.grad, [[0, 0], [0.26894142, 0.73105858]])
    a, b = (tgs.tensor(np.array([-INF, 1.0, INF]), requires_grad=True) for _ in range(2))
    tgs.logaddexp(a, b).backward(np.ones(3))
    assert a.grad.tolist() == b.grad.tolist() == [0.0, 0.5, 0.5]
    x = tgs.tensor(np.array([INF, 0.0]), requires_grad=True)
    tgs.logsumexp(x).backward()
    assert x.grad.tolist() == [1.0, 0.0]
