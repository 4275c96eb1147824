"""Derivatives of functions of nests: value_and_grad, vjp, jvp, jacobian, hessian, hvp."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given

import tinygrad_seq as tgs
from tests.support.programs import Program, programs
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.transforms.nest import leaves, map_nest, rebuild

RNG = np.random.default_rng(0)
W, B, X = RNG.standard_normal((3, 2)), RNG.standard_normal(2), RNG.standard_normal((4, 3))


class Pair(NamedTuple):
    w: object
    b: object


def loss(params, x=X) -> tgs.Tensor:
    w, b = params
    return (tgs.tanh(tgs.tensor(x) @ w + b) ** 2).sum()


def expected():
    y = np.tanh(X @ W + B)
    dz = 2 * y * (1 - y * y)
    return (y**2).sum(), X.T @ dz, dz.sum(0)


def numeric_jacobian(fn, x: np.ndarray) -> np.ndarray:
    h = 1e-6
    columns = []
    for index in np.ndindex(x.shape):
        step = np.zeros(x.shape)
        step[index] = h
        columns.append((fn(x + step) - fn(x - step)) / (2 * h))
    return np.stack(columns, -1).reshape(*np.shape(fn(x)), *x.shape)


# -- nests -------------------------------------------------------------------------------------


def test_nests_come_apart_and_together() -> None:
    nest = {"a": [1, (2, None)], "b": Pair(3, {"c": 4})}
    assert leaves(nest) == [1, 2, None, 3, 4]
    again = rebuild(nest, "vwxyz")
    assert again == {"a": ["v", ("w", "x")], "b": Pair("y", {"c": "z"})}
    assert isinstance(map_nest(str, nest)["b"], Pair)


@pytest.mark.parametrize("kind", [list, Pair, dict, "tuple"])
def test_value_and_grad_over_nests(kind) -> None:
    value, dw, db = expected()
    if kind == "tuple":
        got, slopes = tgs.value_and_grad(lambda w, b: loss((w, b)), (W, B))
    elif kind is dict:
        got, slopes = tgs.value_and_grad(lambda p: loss((p["w"], p["b"])), {"w": W, "b": B})
        slopes = (slopes["w"], slopes["b"])
    else:
        given = Pair(W, B) if kind is Pair else [W, B]
        got, slopes = tgs.value_and_grad(loss, given)
        assert isinstance(slopes, kind)
    assert got.item() == pytest.approx(value)
    assert not got.requires_grad
    np.testing.assert_allclose(slopes[0].data, dw)
    np.testing.assert_allclose(slopes[1].data, db)


def test_a_single_tensor_is_a_nest_too() -> None:
    value, slope = tgs.value_and_grad(lambda x: (x**3).sum(), tgs.tensor(X))
    np.testing.assert_allclose(slope.data, 3 * X**2)
    assert value.item() == pytest.approx((X**3).sum())


def test_what_is_not_floating_is_passed_on() -> None:
    ids = np.array([2, 0, 2])
    _, slopes = tgs.value_and_grad(lambda w, i, flag: tgs.take(w, i).sum() * flag, (W, ids, 2))
    np.testing.assert_allclose(slopes[0].data, [[2, 2], [0, 0], [4, 4]])
    assert slopes[1:] == (None, None)


def test_an_unused_input_has_gradient_zero() -> None:
    _, (dx, dy) = tgs.value_and_grad(lambda x, y: (x * x).sum(), (X, B))
    assert np.array_equal(dy.data, np.zeros(2))
    np.testing.assert_allclose(dx.data, 2 * X)


def test_the_callers_tensors_and_graph_are_left_alone() -> None:
    w = tgs.tensor(W, requires_grad=True)
    outer = w * 2
    tgs.value_and_grad(lambda x: (x * x).sum(), outer)
    assert w.grad is None
    outer.sum().backward()
    assert np.array_equal(w.grad, np.full(W.shape, 2.0))


def test_it_works_under_no_grad() -> None:
    with tgs.no_grad():
        _, slope = tgs.value_and_grad(lambda x: (x * x).sum(), X)
        recorded = tgs.value_and_grad(lambda x: (x * x).sum(), X, create_graph=True)[1]
    np.testing.assert_allclose(slope.data, 2 * X)
    assert recorded.requires_grad


def test_create_graph_connects_to_the_callers_tensors() -> None:
    w = tgs.tensor(W, requires_grad=True)
    value, slope = tgs.value_and_grad(lambda x: (x**3).sum(), w, create_graph=True)
    (second,) = tgs.grad((slope * slope).sum() + value, [w])
    np.testing.assert_allclose(second.data, 36 * W**3 + 3 * W**2)


# -- vjp and jvp -------------------------------------------------------------------------------


def test_vjp_and_jvp_of_a_matrix_product() -> None:
    v, u = RNG.standard_normal((4, 2)), RNG.standard_normal((3, 2))
    out, pulled = tgs.vjp(lambda w: tgs.tensor(X) @ w, W, v)
    np.testing.assert_allclose(out.data, X @ W)
    np.testing.assert_allclose(pulled.data, X.T @ v)
    out, pushed = tgs.jvp(lambda w: tgs.tensor(X) @ w, W, u)
    np.testing.assert_allclose(pushed.data, X @ u)


def test_vjp_and_jvp_over_nests_of_outputs() -> None:
    def fn(p):
        return {"square": p[0] * p[0], "pair": Pair(p[0].sum() * p[1], tgs.tensor(np.ones(3)))}

    v = {"square": np.ones((3, 2)), "pair": Pair(np.array([1.0, 0.0]), np.ones(3))}
    _, pulled = tgs.vjp(fn, [W, B], v)
    np.testing.assert_allclose(pulled[0].data, 2 * W + B[0])
    np.testing.assert_allclose(pulled[1].data, [W.sum(), 0])
    _, pushed = tgs.jvp(fn, [W, B], [np.ones((3, 2)), np.array([0.0, 1.0])])
    np.testing.assert_allclose(pushed["square"].data, 2 * W)
    np.testing.assert_allclose(pushed["pair"].w.data, 6 * B + [0, W.sum()])
    assert np.array_equal(pushed["pair"].b.data, np.zeros(3))


@given(programs(max_steps=8))
def test_jvp_is_the_transpose_of_vjp(program: Program) -> None:
    def fn(*xs):
        return program.run(xs, lambda t: t.detach())

    rng = np.random.default_rng(0)
    us = tuple(np.asarray(rng.standard_normal(x.shape)) for x in program.inputs)
    _, pulled = tgs.vjp(fn, program.inputs)
    _, pushed = tgs.jvp(fn, program.inputs, us)
    paired = sum(float(np.sum(p.data * u)) for p, u in zip(pulled, us, strict=True))
    assert pushed.item() == pytest.approx(paired, rel=1e-9, abs=1e-9)


# -- jacobian and hessian ------------------------------------------------------------------------


def test_jacobian_of_softmax() -> None:
    x = RNG.standard_normal(4)
    p = np.exp(x) / np.exp(x).sum()
    np.testing.assert_allclose(tgs.jacobian(tgs.softmax, x).data, np.diag(p) - np.outer(p, p))


def test_jacobian_has_the_shape_of_output_and_input() -> None:
    found = tgs.jacobian(lambda w, b: tgs.tanh(tgs.tensor(X) @ w + b), (W, B))
    assert [part.shape for part in found] == [(4, 2, 3, 2), (4, 2, 2)]
    np.testing.assert_allclose(
        found[0].data, numeric_jacobian(lambda w: np.tanh(X @ w + B), W), atol=1e-8
    )
    assert tgs.jacobian(lambda x: x[:0], W).shape == (0, 2, 3, 2)


def test_jacobian_differentiates_again() -> None:
    x = tgs.tensor(np.array([0.3, 0.7]), requires_grad=True)
    found = tgs.jacobian(lambda x: x**3, x, create_graph=True)
    (slope,) = tgs.grad(found.sum(), [x])
    np.testing.assert_allclose(slope.data, 6 * x.data)


def test_hessian_of_a_quadratic_form_and_over_nests() -> None:
    A = RNG.standard_normal((3, 3))
    x = RNG.standard_normal(3)
    np.testing.assert_allclose(
        tgs.hessian(lambda x: x @ tgs.tensor(A) @ x, x).data, A + A.T, atol=1e-12
    )
    found = tgs.hessian(lambda p: (p["u"] * p["v"]).sum() + (p["u"] ** 2).sum(), {"u": x, "v": x})
    np.testing.assert_allclose(found["u"]["u"].data, 2 * np.eye(3))
    np.testing.assert_allclose(found["u"]["v"].data, np.eye(3))
    np.testing.assert_allclose(found["v"]["v"].data, np.zeros((3, 3)))


def test_hessian_over_a_tuple_with_a_passed_on_entry() -> None:
    found = tgs.hessian(lambda x, k, y: (x**k).sum() * y, (np.array([1.0, 2.0]), 3, np.array(2.0)))
    assert found[1] is None
    np.testing.assert_allclose(found[0][0].data, [[12, 0], [0, 24]])
    np.testing.assert_allclose(found[0][2].data, [3, 12])
    assert found[0][1] is None
    np.testing.assert_allclose(found[2][0].data, [3, 12])


def test_hvp_is_the_hessian_times_the_vector() -> None:
    v = RNG.standard_normal(W.shape)

    def fn(w):
        return loss((w, tgs.tensor(B)))

    value, product = tgs.hvp(fn, W, v)
    full = tgs.hessian(fn, W).data
    np.testing.assert_allclose(product.data, np.einsum("ijkl,kl->ij", full, v))
    assert value.item() == pytest.approx(expected()[0])
    _, zero = tgs.hvp(lambda x: x.sum(), W, v)
    assert np.array_equal(zero.data, np.zeros(W.shape))


def test_results_are_constants_unless_a_graph_is_asked_for() -> None:
    x = tgs.tensor(X, requires_grad=True)

    def fn(x):
        return (x**3).sum()

    calls = {
        tgs.value_and_grad: (), tgs.vjp: (np.ones(()),), tgs.jvp: (X,), tgs.jacobian: (),
        tgs.hessian: (), tgs.hvp: (X,),
    }  # fmt: skip
    for transform, rest in calls.items():
        assert not any(t.requires_grad for t in leaves(transform(fn, x, *rest)))
        found = leaves(transform(fn, x, *rest, create_graph=True))
        assert all(t.requires_grad for t in found)
        tgs.grad(sum(t.sum() for t in found), [x])
    assert x.grad is None


# -- bad input -----------------------------------------------------------------------------------


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ShapeError, match=r"value_and_grad[\s\S]*one scalar[\s\S]*loss\.mean"):
        tgs.value_and_grad(lambda x: x * 2, X)
    with pytest.raises(ShapeError, match="vjp without v"):
        tgs.vjp(lambda x: x * 2, X)
    with pytest.raises(ShapeError, match="vjp: v: wrong shape"):
        tgs.vjp(lambda x: x * 2, X, X.T)
    with pytest.raises(ShapeError, match="jvp: v: wrong number"):
        tgs.jvp(lambda x, y: x * 2, (X, X), (X,))
    with pytest.raises(ShapeError, match="hvp"):
        tgs.hvp(lambda x: x * 2, X, X)
    with pytest.raises(ConfigError, match="nothing to differentiate"):
        tgs.value_and_grad(lambda x: x, np.array([1, 2]))
    with pytest.raises(ConfigError, match="must return tensors"):
        tgs.value_and_grad(lambda x: 3.0, X)


def test_functions_that_depend_on_nothing_have_zero_derivatives() -> None:
    _, slopes = tgs.value_and_grad(lambda x: tgs.tensor(2.0), np.ones(3))
    assert slopes.tolist() == [0.0, 0.0, 0.0]
    _, pushed = tgs.jvp(lambda x: tgs.tensor(2.0), np.ones(3), np.ones(3))
    assert pushed.tolist() == 0.0
