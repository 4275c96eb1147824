"""``@tgs.op``: operations of one's own are as good as the built-in ones, or refused."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, GraphError
from tinygrad_seq.testing import GradientError, check_op, gradcheck


@tgs.op(lambda g, a, b: g * b * np.cos(a * b), lambda g, a, b: g * a * np.cos(a * b))
def sine_of_product(a, b):
    """sin(a b)."""
    return np.sin(a * b)


@tgs.op(lambda g, out, shape, scale: np.broadcast_to(g, shape) * scale * out)
def scaled(x, *, scale=2.0):
    return np.exp(scale * x)


A, B = np.array([[0.5, -1.0], [1.5, 2.0]]), np.array([0.25, 2.0])


def test_five_lines_make_an_operation_that_passes_every_property() -> None:
    check_op(sine_of_product.op, [A, B], {})
    check_op(scaled.op, [A], {"scale": 0.5})
    gradcheck(sine_of_product, A, B, order=2)
    gradcheck(lambda x: scaled(x, scale=0.5), A, order=2)


def test_it_takes_numbers_arrays_keywords_and_defaults() -> None:
    x = tgs.tensor(A, requires_grad=True)
    assert sine_of_product(x, 2.0).requires_grad
    assert np.array_equal(sine_of_product(b=B, a=x).data, np.sin(A * B))
    assert np.array_equal(scaled(x).data, np.exp(2 * A))
    assert not sine_of_product(A, B).requires_grad
    assert sine_of_product.__doc__ == "sin(a b)."
    assert str(sine_of_product(x, B).node) == "sine_of_product"
    with pytest.raises(TypeError):
        scaled(x, factor=1.0)


def test_a_wrong_rule_is_found_by_one_call() -> None:
    @tgs.op(lambda g, x: g * x)
    def wrong(x):
        return x * x

    with pytest.raises(GradientError, match="wrong: the gradient to input 0"):
        check_op(wrong.op, [A], {})


def test_an_operand_without_a_gradient_says_why() -> None:
    @tgs.op(lambda g, mask: g * mask, None, why="a mask is chosen, not learnt")
    def masked(x, mask):
        return x * mask

    x, m = tgs.tensor(A, requires_grad=True), tgs.tensor(np.ones((2, 2)), requires_grad=True)
    masked(x, m.detach()).sum().backward()
    assert np.array_equal(x.grad, np.ones((2, 2)))
    with pytest.raises(GraphError, match="a mask is chosen, not learnt"):
        masked(x, m).sum().backward()


def test_a_function_that_returns_its_operand_is_given_memory_of_its_own() -> None:
    @tgs.op(lambda g: g)
    def same(x):
        return x

    x = tgs.tensor(np.ones(2), requires_grad=True)
    y = same(x)
    assert not np.shares_memory(y._array, x._array)
    check_op(same.op, [A], {})


def test_mismatched_rules_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"op f: rules and operands[\s\S]*a, b[\s\S]*1 rules"):

        @tgs.op(lambda g: g)
        def f(a, b):
            return a + b

    with pytest.raises(ConfigError, match=r"op f: the rule for x asks for y[\s\S]*among"):

        @tgs.op(lambda g, y: g * y)
        def f(x):
            return x


def test_a_decorator_without_its_rules_is_told_from_one_with_them() -> None:
    @tgs.op
    def square(x, n=2):
        return x**n

    for call in (
        lambda: square(A),
        lambda: square(tgs.tensor(A), n=3),
        lambda: square(A, B),
        lambda: square(x=A),
        lambda: square(),
    ):
        with pytest.raises(ConfigError, match=r"no function goes with[\s\S]*above def square"):
            call()
    with pytest.raises(ConfigError, match="op: no function\n"):
        tgs.op()(A)
    with pytest.raises(ConfigError, match=r"op: rules[\s\S]*got: 3\n"):
        tgs.op(3)
