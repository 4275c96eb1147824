"""Shapes that only seem to fit, empty ones, and positions that count for nothing."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, IndexRangeError, ShapeError
from tinygrad_seq.testing import gradcheck


def ones(*shape: int) -> tgs.Tensor:
    return tgs.tensor(np.ones(shape), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tgs.einsum("ij,jk->ik", ones(2, 1), ones(3, 2)), "one size for each letter"),
        (lambda: tgs.einsum("ij->i", ones(2)), "one axis per letter"),
        (lambda: tgs.linear(ones(4, 3), ones(3, 2), ones(4, 2)), r"\(3, 2\) and \(4, 2\)"),
        (lambda: tgs.linear(ones(4, 2), ones(3, 2)), r"expected: \(\.\.\., 3\)"),
        (lambda: tgs.transpose(ones(2, 3), (0, 0)), r"expected: each of 0\.\.1 once"),
        (lambda: tgs.linear(ones(4, 3), ones(3)), r"weight \(I, O\)"),
        (lambda: tgs.linear(ones(4, 3), ones(3, 3, 2)), r"weight \(I, O\)"),
        (lambda: tgs.take_along_axis(ones(3, 3), np.zeros((3, 1), int), 0), "of any size along"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_recorded(call, said):
    with pytest.raises(ShapeError, match=said):
        call()


def test_the_first_of_several_ids_out_of_range_is_named():
    with pytest.raises(IndexRangeError, match=r"position \(0, 1\)[\s\S]*got: 7"):
        tgs.take(ones(3, 2), np.array([[0, 7], [-1, 2]]))


def test_unknown_nonlinearity_of_a_sequence():
    with pytest.raises(ConfigError, match="'tanh' or 'relu'"):
        tgs.rnn_sequence(ones(2, 1, 1), ones(1, 1), ones(1, 1), ones(1, 1), ones(1), "gelu")


@pytest.mark.parametrize("right", [(3,), (3, 2), (4, 3, 2), (3, 3, 2)])
@pytest.mark.parametrize("left", [(3,), (2, 3), (4, 2, 3), (5, 1, 3, 3)])
def test_products_of_vectors_matrices_and_stacks_are_numpys(left, right):
    if left == (4, 2, 3) and right == (3, 3, 2):
        right = (1, 3, 2)  # 4 and 3 do not broadcast
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(left), rng.standard_normal(right)
    np.testing.assert_allclose(tgs.matmul(tgs.tensor(a), b).numpy(), np.matmul(a, b), atol=1e-14)
    gradcheck(tgs.matmul, a, b)


def test_products_over_nothing_are_zero():
    assert tgs.matmul(ones(2, 2, 0), ones(0, 3)).tolist() == np.zeros((2, 2, 3)).tolist()


@pytest.mark.parametrize("composed", [False, True])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_ignored_positions_may_hold_anything(shape, composed):
    values = np.zeros((*shape, 3))
    values[1] = np.nan
    targets = np.full(shape, -100)
    targets[0] = 2
    logits = tgs.tensor(values, requires_grad=True)
    with tgs.composed() if composed else tgs.enable_grad():
        loss = tgs.cross_entropy(logits, targets)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(3))
    assert not logits.grad[1].any()
    np.testing.assert_allclose(logits.grad[0].ravel(), [1 / 3, 1 / 3, -2 / 3])


def test_empty_sequences_under_composed():
    layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
    with tgs.composed():
        assert layer(np.zeros((0, 1, 3), np.float32)).shape == (0, 1, 2)
    x = tgs.tensor(np.zeros((0, 2, 3)), requires_grad=True)
    loss = tgs.cross_entropy(x, np.zeros((0, 2), int))
    assert tgs.grad(loss, x, create_graph=True).shape == (0, 2, 3)


def test_clip_takes_tensors_as_bounds():
    x, low = ones(3) * 0.5, tgs.tensor(np.array([0.0, 1.0, 2.0]), requires_grad=True)
    y = tgs.clip(x, low, 1.5)
    assert y.tolist() == [0.5, 1.0, 1.5]
    y.sum().backward()
    assert low.grad.tolist() == [0.0, 1.0, 0.0]
