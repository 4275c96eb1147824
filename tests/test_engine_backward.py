"""The backward walk: what it sums, what it frees, what it refuses, what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.rules import unbroadcast
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import GraphError, ShapeError


def leaf(value, dtype=np.float64) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, dtype), requires_grad=True)


# -- sums: the traps that small engines fall into ----------------------------------------------


def test_backward_twice_with_retained_graph_doubles_the_leaf_gradients() -> None:
    a, b, d = leaf(3.0), leaf(2.0), leaf(1.0)
    e = (a + b) * d
    e.backward(retain_graph=True)
    assert (a.grad, b.grad, d.grad) == (1.0, 1.0, 5.0)
    e.backward()
    assert (a.grad, b.grad, d.grad) == (2.0, 2.0, 10.0)


def test_a_sum_of_a_tensor_with_itself() -> None:
    a = leaf(3.0)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad == 4.0


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("uses", [1, 2, 3, 4, 7])
def test_any_number_of_uses_adds_up(shape: tuple[int, ...], uses: int) -> None:
    x = leaf(np.full(shape, 2.0))
    total = x * x
    for _ in range(uses - 1):
        total = total + x
    total.sum().backward()
    assert isinstance(x.grad, np.ndarray)
    assert np.array_equal(x.grad, np.full(shape, 4.0 + uses - 1))


def test_gradients_of_a_sum_do_not_alias() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = x + y
    z.backward(np.ones(2))
    x.grad[:] = 99
    assert y.grad.tolist() == [1.0, 1.0]


def test_a_gradient_does_not_alias_what_backward_was_given() -> None:
    x = leaf([1.0, 2.0])
    start = np.ones(2)
    (x + 0).backward(start)
    x.grad[:] = 99
    assert start.tolist() == [1.0, 1.0]
    y = leaf([1.0, 2.0])
    y.backward(start)
    y.grad[:] = 99
    assert start.tolist() == [1.0, 1.0]


def test_gradients_do_not_alias_values() -> None:
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    (x * y).sum().backward()
    x.grad[:] = 99
    y.grad[:] = 99
    assert x.data.tolist() == [1.0, 2.0]
    assert y.data.tolist() == [3.0, 4.0]


def test_accumulated_gradients_stay_arrays_of_their_own() -> None:
    x = leaf(0.5, np.float32)
    for k in range(3):
        (x * 2).backward()
        assert isinstance(x.grad, np.ndarray)
        assert x.grad.dtype == np.float32
        assert x.grad == 2.0 * (k + 1)


def test_an_earlier_gradient_array_is_not_written_by_a_later_backward() -> None:
    x = leaf([1.0])
    (x * 2).sum().backward()
    before = x.grad
    (x * 2).sum().backward()
    assert before.tolist() == [2.0]
    assert x.grad.tolist() == [4.0]


def test_a_joint_rule_may_hand_the_cotangent_through() -> None:
    through = Op("through", lambda a, b: a + b, "a b", joint=lambda g: (g, g))
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    z = apply(through, (x, y), {})
    (z + x + x).backward(np.ones(2), retain_graph=True)
    assert x.grad.tolist() == [3.0, 3.0]
    assert y.grad.tolist() == [1.0, 1.0]


def test_unused_parts_of_a_split_count_as_zero() -> None:
    x = leaf(np.arange(6.0))
    _, middle, _ = tgs.split(x, 3)
    (middle * middle).sum().backward()
    assert x.grad.tolist() == [0, 0, 4, 6, 0, 0]


def test_one_part_of_a_split_used_several_times() -> None:
    x = leaf(np.arange(4.0))
    first, _ = tgs.split(x, 2)
    (first + first + first * 2).sum().backward()
    assert x.grad.tolist() == [4, 4, 0, 0]


def test_sums_are_deterministic_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((4, 4)).astype(np.float32)

    def run() -> bytes:
        w = leaf(start, np.float32)
        h = w
        for k in range(30):
            h = tgs.tanh(h @ w + w * (0.1 * k)) + h * 0.3
        (h.sum() + (w * w).mean()).backward()
        return w.grad.tobytes()

    assert len({run() for _ in range(5)}) == 1


# -- the cotangent to start from ---------------------------------------------------------------


def test_a_vector_needs_a_gradient_to_start_from() -> None:
    x = leaf([1.0, 2.0])
    with pytest.raises(GraphError, match=r"not a scalar[\s\S]*loss\.sum\(\)"):
        (x * 2).backward()
    with pytest.raises(ShapeError, match="gradient does not fit"):
        (x * 2).backward(np.ones(3))
    assert x.grad is None


def test_a_size_one_tensor_counts_as_scalar() -> None:
    x = leaf([[3.0]])
    (x * x).backward()
    assert x.grad.tolist() == [[6.0]]


def test_backward_on_a_constant_says_why_there_is_no_graph() -> None:
    with pytest.raises(GraphError, match="was not recorded"):
        tgs.tensor(1.0).backward()


def test_backward_on_a_leaf_gives_its_cotangent() -> None:
    x = leaf([1.0, 2.0])
    x.backward(np.array([5.0, 6.0]))
    assert x.grad.tolist() == [5.0, 6.0]


# -- freed graphs ------------------------------------------------------------------------------


def test_a_second_backward_names_op_module_step_and_cure() -> None:
    w = leaf([0.5])
    with tgs.scope(path="decoder.rnn", layer=1, step=7):
        y = tgs.tanh(w * w)
    y.sum().backward()
    with pytest.raises(GraphError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert "tanh (module decoder.rnn, layer 1, t = 7)" in text
    assert "detach the carried state" in text
    assert w.grad.tolist() == pytest.approx([1.0 * (1 - np.tanh(0.25) ** 2)])


def test_a_refused_backward_leaves_every_gradient_alone() -> None:
    a, b = leaf([1.0]), leaf([2.0])
    shared = a * a
    (shared * b).sum().backward()
    a.grad, b.grad = np.array([7.0]), np.array([8.0])
    fresh = b * b * 3
    with pytest.raises(GraphError, match="second time"):
        (shared + fresh).sum().backward()
    assert (a.grad.tolist(), b.grad.tolist()) == ([7.0], [8.0])
    fresh.sum().backward()  # and what was not freed still works
    assert b.grad.tolist() == [20.0]


def test_a_rule_that_raises_leaves_every_gradient_alone() -> None:
    def broken(g, x):
        raise FloatingPointError("no")

    bad = Op("bad", lambda x: x * 1.0, "x", [broken])
    a, b = leaf([1.0]), leaf([2.0])
    a.grad = np.array([5.0])
    with pytest.raises(FloatingPointError):
        (apply(bad, (a,), {}) * b).sum().backward()
    assert a.grad.tolist() == [5.0]
    assert b.grad is None


def test_a_rule_of_the_wrong_shape_is_named() -> None:
    bad = Op("bad", lambda x: x * 1.0, "x", [lambda g: np.ones(5)])
    with pytest.raises(
        ShapeError, match=r"rule of bad for its operand x returned a wrong shape[\s\S]*\(2,\)"
    ):
        apply(bad, (leaf([1.0, 2.0]),), {}).sum().backward()


def test_an_input_without_a_rule_says_why() -> None:
    op = Op("gate", lambda a, b: a * b, "a b", [lambda g, b: g * b, None], why="b is a switch")
    a, b = leaf([1.0]), leaf([2.0])
    with pytest.raises(GraphError, match="no gradient to its operand b: b is a switch"):
        apply(op, (a, b), {}).sum().backward()
    assert a.grad is None


# -- deferred weight products ------------------------------------------------------------------


def _two_layer_sum(w: tgs.Tensor, b: tgs.Tensor, xs: list[np.ndarray]) -> tgs.Tensor:
    h = tgs.tensor(np.zeros((2, 3)))
    for x in xs:
        h = tgs.tanh(tgs.linear(h, w, b) + x @ w)
    return (h * h).sum()


def test_deferred_weight_products_equal_undeferred_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    w, b = leaf(rng.standard_normal((3, 3))), leaf(rng.standard_normal(3))
    xs = list(rng.standard_normal((6, 2, 3)))
    deferred = tgs.grad(_two_layer_sum(w, b, xs), [w, b])
    recorded = tgs.grad(_two_layer_sum(w, b, xs), [w, b], create_graph=True)
    monkeypatch.setattr("tinygrad_seq.engine.backward._Walk._defer", lambda *args: False)
    plain = tgs.grad(_two_layer_sum(w, b, xs), [w, b])
    for p, q, r in zip(deferred, plain, recorded, strict=True):
        np.testing.assert_allclose(p.data, q.data, rtol=1e-12)
        np.testing.assert_allclose(r.data, q.data, rtol=1e-12)


def test_a_weight_used_by_a_product_and_otherwise() -> None:
    w = leaf([[1.0, 2.0], [3.0, 4.0]])
    x = np.array([[1.0, 1.0]])
    ((x @ w).sum() + (w * w).sum() + tgs.linear(x, w, np.zeros(2)).sum()).backward()
    np.testing.assert_allclose(w.grad, 2 + 2 * w.data)


def test_a_weight_shared_by_stacks_of_rows_of_several_ranks() -> None:
    rng = np.random.default_rng(0)
    w = leaf(rng.standard_normal((3, 2)))
    a, b = rng.standard_normal((4, 3)), rng.standard_normal((2, 5, 3))
    ((a @ w).sum() + (b @ w).sum()).backward()
    expected = a.sum(0) + b.sum((0, 1))
    np.testing.assert_allclose(w.grad, np.stack([expected, expected], axis=1))


# -- unbroadcast: the one place ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ((2, 3), (3,)),
        ((2, 3), (2, 1)),
        ((2, 3), ()),
        ((4, 1, 3), (1, 3)),
        ((2, 3), (2, 3)),
        ((1,), ()),
    ],
)
def test_unbroadcast_is_the_transpose_of_broadcasting(wide, narrow) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(narrow), rng.standard_normal(wide)
    back = unbroadcast(g, narrow)
    assert np.shape(back) == narrow
    np.testing.assert_allclose(np.sum(np.broadcast_to(x, wide) * g), np.sum(x * back))


def test_backpropagate_reports_only_what_was_reached() -> None:
    x, y = leaf([1.0]), leaf([2.0])
    z = x * 3
    found = backpropagate([(z.node, np.ones(1))], [x.node, y.node])
    assert set(found) == {x.node}


def test_an_operand_that_a_joint_rule_is_silent_about_gets_no_gradient() -> None:
    first = Op("first", lambda a, b: a + 0 * b, "a b", joint=lambda g: [g, None])
    a, b = leaf([1.0]), leaf([2.0])
    behind = tgs.tanh(b)
    apply(first, (tgs.tanh(a), behind), {}).sum().backward()
    np.testing.assert_allclose(a.grad, 1 - np.tanh(1.0) ** 2)
    assert b.grad is None
    assert behind.node.freed
