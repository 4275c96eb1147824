"""``Tensor.register_hook``: sees the complete gradient, once, and may replace it."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, GraphError, ShapeError


def leaf(value) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, np.float64), requires_grad=True)


class Seen(list):
    def __call__(self, gradient) -> None:
        self.append(np.array(gradient._array if isinstance(gradient, tgs.Tensor) else gradient))


def test_a_hook_sees_the_complete_gradient_once() -> None:
    x, seen_x, seen_h = leaf([1.0, 2.0]), Seen(), Seen()
    x.register_hook(seen_x)
    h = x * 3
    h.register_hook(seen_h)
    (h * h + h).sum().backward()
    assert [g.tolist() for g in seen_h] == [[7.0, 13.0]]
    assert [g.tolist() for g in seen_x] == [[21.0, 39.0]]
    assert x.grad.tolist() == [21.0, 39.0]


def test_a_hook_may_replace_the_gradient_of_a_result_and_of_a_leaf() -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g * 10)
    h = x * 3
    h.register_hook(lambda g: np.ones(2, np.float32))
    (h * h).sum().backward()
    assert x.grad.tolist() == [30.0, 30.0]
    assert x.grad.dtype == np.float64


def test_what_a_hook_returns_takes_the_tensors_dtype() -> None:
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: np.array([5, 6], np.int64))
    y = x * 3
    y.retain_grad()
    y.register_hook(lambda g: tgs.tensor([7.0, 8.0]))
    y.sum().backward()
    for tensor, expected in ((x, [5.0, 6.0]), (y, [7.0, 8.0])):
        assert tensor.grad.dtype == np.float64
        assert tensor.grad.tolist() == expected


def test_hooks_run_in_order_and_can_be_removed() -> None:
    x = leaf(1.0)
    first = x.register_hook(lambda g: g + 1)
    x.register_hook(lambda g: g * 2)
    (x * 3).backward()
    assert x.grad == 8.0
    first.remove()
    first.remove()
    x.grad = None
    (x * 3).backward()
    assert x.grad == 6.0


def test_a_hook_on_a_deferred_weight_sees_the_sum() -> None:
    w, seen = leaf(np.eye(2)), Seen()
    w.register_hook(seen)
    x = np.ones((3, 2))
    (x @ w + x @ w).sum().backward()
    assert len(seen) == 1
    assert np.array_equal(seen[0], w.grad)


def test_a_hook_on_one_part_of_a_split() -> None:
    x, seen = leaf(np.arange(4.0)), Seen()
    first, second = tgs.split(x, 2)
    first.register_hook(seen)
    (first * 2 + second + first).sum().backward()
    assert [g.tolist() for g in seen] == [[3.0, 3.0]]


def test_a_hook_on_the_output_and_on_a_retained_result() -> None:
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.backward()
    assert y.grad == 5.0
    assert x.grad == 20.0


def test_hooks_work_in_grad_and_under_create_graph() -> None:
    x = leaf(2.0)
    y = x**3
    y.register_hook(lambda g: g * 2)
    (first,) = tgs.grad(y, [x], create_graph=True)
    assert first.item() == 24.0
    (second,) = tgs.grad(first, [x])
    assert second.item() == 24.0


def test_hooks_see_fused_and_checkpointed_gradients_once() -> None:
    x, w, seen = leaf(np.ones((2, 2))), leaf(np.eye(2)), Seen()
    w.register_hook(seen)
    (tgs.checkpoint(lambda h: tgs.tanh(h @ w), x) @ w).sum().backward()
    assert len(seen) == 1
    assert np.array_equal(seen[0], w.grad)


def test_a_gradient_cannot_be_written_through_a_hook() -> None:
    x, y = leaf([1.0]), leaf([2.0])

    def write(g):
        g[:] = 99

    x.register_hook(write)
    with pytest.raises(ValueError, match="read-only"):
        ((x + y) * 2).sum().backward()  # the product's cotangent is an ordinary array
    assert x.grad is None
    assert y.grad is None


def test_bad_hooks_are_named() -> None:
    x = leaf([1.0, 2.0])
    x.name = "cell.bias"
    x.register_hook(lambda g: g[:1])
    with pytest.raises(ShapeError, match=r"hook of cell\.bias returned another shape"):
        (x * 2).sum().backward()
    with pytest.raises(GraphError, match="does not require gradients"):
        tgs.tensor(1.0).register_hook(print)


def test_a_hook_that_holds_its_tensor_is_collected_with_it() -> None:
    def hooked() -> weakref.ref:
        x = leaf([1.0])
        x.register_hook(lambda g: print(x.name, g))
        return weakref.ref(x.node)

    gone = hooked()
    gc.collect()
    assert gone() is None


def test_a_hook_may_change_a_recorded_gradient() -> None:
    """Under create_graph a hook sees a Tensor; what it returns is differentiated on."""
    x, seen = leaf(2.0), []
    y = x * x
    y.register_hook(lambda g: seen.append(type(g)))
    y.register_hook(lambda g: g * y.detach())
    (first,) = tgs.grad(y**3, [x], create_graph=True)  # 3 y^2 k 2 x, with k = y held
    assert seen == [tgs.Tensor]
    assert first.item() == 3 * 16 * 4 * 4
    (second,) = tgs.grad(first, [x])  # 3 y^2 k 2, and through y: 6 y k 2 x, hooked, times 2 x
    assert second.item() == 3 * 16 * 4 * 2 + (6 * 4 * 4 * 4) * 4 * 4


# -- freezing ------------------------------------------------------------------------------------


def test_hooks_and_handles_outlive_freezing() -> None:
    p = nn.Parameter(np.ones(2))
    handle = p.register_hook(lambda g: g * 5)
    p.register_hook(lambda g: g + 1)
    for wanted in ([16.0, 16.0], [4.0, 4.0]):
        for _ in range(2):  # more than once
            p.requires_grad = False
            assert not (p * 3).requires_grad
            p.requires_grad_(True)
        p.grad = None
        (p * 3).sum().backward()
        assert p.grad.tolist() == wanted
        p.requires_grad = False
        handle.remove()  # while it sleeps
        p.requires_grad = True


def test_a_leaf_converted_while_frozen_gives_gradients_of_its_new_dtype() -> None:
    layer, seen = nn.Linear(2, 1, rng=np.random.default_rng(0)), []
    layer.weight.register_hook(lambda g: seen.append(g.dtype))
    layer.weight.requires_grad = False
    layer.astype(np.float64)
    layer.weight.requires_grad = True
    layer(np.ones((1, 2))).sum().backward()
    assert layer.weight.grad.dtype == np.float64 and seen == [np.float64]


def test_a_leaf_made_without_gradients_may_ask_for_them_and_a_copy_has_no_hooks() -> None:
    p, seen = tgs.tensor([1.0]), Seen()
    p.requires_grad = True
    p.register_hook(seen)
    p.requires_grad = False
    twin = copy.deepcopy(p)
    twin.requires_grad = p.requires_grad = True
    (twin * 2 + p * 3).sum().backward()
    assert len(seen) == 1 and twin.grad == 2.0 and p.grad == 3.0
    with pytest.raises(ConfigError, match="True or False"):
        p.requires_grad = "no"
    assert p.requires_grad
