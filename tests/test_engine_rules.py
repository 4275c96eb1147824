"""What a rule is given, and what becomes of the array that it returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import ConfigError, GraphError, ShapeError
from tinygrad_seq.ops import OPS
from tinygrad_seq.ops.samples import unary
from tinygrad_seq.testing import RandomDraw


def leaf(value: Any) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, np.float64), requires_grad=True)


@given(tracked=st.lists(st.booleans(), min_size=3, max_size=3).filter(any))
def test_a_joint_rule_is_told_which_inputs_want_a_gradient(tracked: list[bool]) -> None:
    told: list[tuple[bool, ...]] = []

    def rule(g: Any, needs: tuple[bool, ...]) -> Any:
        told.append(needs)
        return [np.array(g) if need else None for need in needs]

    total = Op("total", lambda a, b, c: a + b + c, "a b c", joint=rule)
    operands = [leaf([1.0]) if track else np.ones(1) for track in tracked]
    loss = apply(total, tuple(operands), {}).sum()
    loss.backward(retain_graph=True)
    wanted = tracked.index(True)
    tgs.grad(loss, operands[wanted])
    only = tuple(i == wanted for i in range(3))
    assert told == [tuple(tracked), only]


@pytest.mark.parametrize(
    ("name", "needs", "saved"),
    [
        ("multiply", 0b01, ((1,), False)),
        ("multiply", 0b10, ((0,), False)),
        ("multiply", 0b11, ((0, 1), False)),
        ("divide", 0b01, ((1,), False)),
        ("linear", 0b100, ((), False)),
        ("linear", 0b001, ((1,), False)),
        ("linear", 0b010, ((0,), False)),
        ("power", 0b10, ((0,), True)),
        ("tanh", 0b1, ((), True)),
    ],
)
def test_only_what_the_wanted_gradients_ask_for_is_saved(name: str, needs: int, saved) -> None:
    op = OPS[name]
    assert op.plan(len(op.inputs), needs) == saved


@pytest.mark.parametrize("name", sorted(OPS))
def test_an_operation_returns_as_many_outputs_as_it_declares(name: str) -> None:
    op = OPS[name]
    operands, params = op.sample(RandomDraw(np.random.default_rng(0)))
    found = op.forward(*operands, **params)
    if op.keep:  # then what it keeps comes second
        found, _ = found
    if op.outputs == 1:
        assert not isinstance(found, (tuple, list))
    else:
        assert isinstance(found, (tuple, list))
        assert op.outputs in (len(found), -1)


SINE_AND_TOTAL = Op(
    "sine_and_total",
    lambda x: (np.sin(x), np.asarray(np.sum(x * x))),
    "x",
    [lambda g, x: g[0] * np.cos(x) + g[1] * 2 * x],
    outputs=2,
)
"""One input and two outputs, of shapes (n,) and ()."""


@given(uses=st.lists(st.integers(0, 1), min_size=1, max_size=4))
def test_an_operation_of_one_input_and_two_outputs(uses: list[int]) -> None:
    x = leaf([0.5, -1.0])
    outs = apply(SINE_AND_TOTAL, (x,), {})
    assert [out.shape for out in outs] == [(2,), ()]
    shown: list[type] = []
    outs[1].register_hook(lambda g: shown.append(type(g)))
    loss = sum(outs[k].sum() * outs[k].sum() for k in uses)
    (recorded,) = tgs.grad(loss, [x], create_graph=True, retain_graph=True)
    (second,) = tgs.grad(recorded.sum(), [x], retain_graph=True)
    loss.backward()
    sine, total = np.sum(np.sin(x.data)), np.sum(x.data**2)
    slopes = [2 * sine * np.cos(x.data), 4 * total * x.data]
    np.testing.assert_allclose(x.grad, sum(slopes[k] for k in uses))
    np.testing.assert_allclose(recorded.data, x.grad)
    assert shown == ([tgs.Tensor, np.ndarray, np.ndarray] if 1 in uses else [])
    bent = np.sum(np.cos(x.data)) * np.cos(x.data) - sine * np.sin(x.data)
    bends = [2 * bent, 4 * (2 * x.data * np.sum(x.data) + total)]
    np.testing.assert_allclose(second.data, sum(bends[k] for k in uses))


SHAPES = [(3,), (1, 3), (2, 1), (1, 1), (2, 3), (1, 1, 3), (1,), ()]


HANDED = Op("handed", lambda a, b: a + b, "a b", joint=lambda g: (g, g))
"""A sum whose one rule hands the cotangent itself to both operands."""


@pytest.mark.parametrize("joint", [False, True])
@given(
    left=st.sampled_from(SHAPES),
    right=st.sampled_from(SHAPES),
    before=st.integers(0, 2),
)
def test_operands_of_one_sum_never_share_a_growing_cotangent(
    joint: bool, left: tuple[int, ...], right: tuple[int, ...], before: int
) -> None:
    """a + b hands one cotangent to both; what a collects elsewhere must not reach b, nor back.

    The other uses are recorded first, so that backward comes to them last, and the shapes differ
    by axes of size 1, which are undone without a copy.
    """
    a, b = leaf(np.full(left, 2.0)), leaf(np.full(right, 3.0))
    others = [a * 5.0 for _ in range(before)] + [b * 7.0 for _ in range(before)]
    z = apply(HANDED, (a, b), {}) if joint else a + b
    start = np.full(z.shape, 2.0)
    total = (z * start).sum()
    for other in others:
        total = total + other.sum()
    total.backward(retain_graph=True)
    z.backward(start)
    a.grad += 1.0  # its own memory: neither b nor the caller notices
    np.testing.assert_array_equal(b.grad, np.full(right, 7.0 * before + 4.0 * z.size / b.size))
    np.testing.assert_array_equal(a.grad, np.full(left, 5.0 * before + 4.0 * z.size / a.size + 1))
    assert np.all(start == 2.0)


HELD = np.zeros(3)
HOLDERS = {
    "an array of its own": Op("own", lambda a, b: a + b, "a b", [lambda g: g, lambda g: HELD]),
    "a saved operand": Op("saved", lambda a, b: a + b, "a b", [lambda g: g, lambda g, a: a]),
    "one for both": Op("both", lambda a, b: a + b, "a b", joint=lambda g: [HELD, HELD]),
    "a view of another's": Op(
        "view", lambda a, b: a + b, "a b", joint=lambda g: (lambda made: [made, made[:]])(g * 1.0)
    ),
}
"""Rules that return an array which somebody else holds."""


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_rule_of_the_users_returns_is_never_added_to(holder: str) -> None:
    x, y = leaf(np.full(3, 2.0)), leaf(np.full(3, 3.0))
    a, b = x * 1.0, y * 1.0
    # Recorded before, so that backward comes to these uses last, and adds.
    others = (a * 5.0).sum() + (b * 7.0).sum()
    held = apply(HOLDERS[holder], (a, b), {}).sum()
    alone = tgs.grad(held, [a, b], retain_graph=True)
    (others + held).backward()
    np.testing.assert_array_equal(x.grad, alone[0].data + 5.0)
    np.testing.assert_array_equal(y.grad, alone[1].data + 7.0)
    assert not HELD.any()
    assert np.all(a.data == 2.0)


@pytest.mark.parametrize("shape", [(), (1,), (2, 1)])
def test_a_rule_may_not_return_less_than_its_input(shape: tuple[int, ...]) -> None:
    narrow = Op("narrow", lambda x: x * 1.0, "x", [lambda g: np.ones(shape)])
    x = leaf([1.0, 2.0])
    with pytest.raises(ShapeError, match="gradient rule of narrow"):
        apply(narrow, (x,), {}).sum().backward()
    assert x.grad is None


def test_a_write_to_a_weight_that_an_operation_of_three_operands_saved_is_refused() -> None:
    x, w, b = leaf(np.ones((2, 3))), leaf(np.ones((3, 2))), leaf(np.ones(2))
    loss = tgs.linear(x, w, b).sum()
    w.writable()[...] = 5.0
    with pytest.raises(GraphError, match="written since"):
        loss.backward()


SEEDS = range(6)  # enough for every operation of sequences to meet both tokens and vectors


def sampled(name: str, seed: int) -> tuple[list[Any], Any]:
    """Operands of an operation, each float array of them a leaf, and a loss of operands."""
    op = OPS[name]
    arrays, params = op.sample(RandomDraw(np.random.default_rng(seed)))

    def loss(*operands: Any) -> tgs.Tensor:
        found = apply(op, operands, params)
        return sum((y * y).sum() for y in (found if isinstance(found, tuple) else (found,)))

    return [leaf(a) if np.asarray(a).dtype.kind == "f" else a for a in arrays], loss


@pytest.mark.parametrize("name", sorted(OPS))
def test_the_gradient_to_one_operand_is_the_same_when_the_others_want_none(name: str) -> None:
    for operands, loss in (sampled(name, seed) for seed in SEEDS):
        loss(*operands).backward()
        for i, operand in enumerate(operands):
            if isinstance(operand, tgs.Tensor):
                alone = [x.data if isinstance(x, tgs.Tensor) else x for x in operands]
                alone[i] = tgs.tensor(operand.data, requires_grad=True)
                loss(*alone).backward()
                np.testing.assert_allclose(alone[i].grad, operand.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "call",
    [np.sum, np.max, lambda x: np.einsum("i,i->", x, x), lambda x: x @ x, lambda x: x[0] * 2.0],
)
@pytest.mark.parametrize("tracked", [False, True])
def test_a_single_number_is_held_as_an_array(call, tracked: bool) -> None:
    """NumPy makes scalars of them, which cannot be written in place."""
    found = call(tgs.tensor([1.0, 2.0], requires_grad=tracked))
    assert type(found._array) is np.ndarray
    assert found.shape == ()


@pytest.mark.parametrize("name", sorted(OPS))
def test_a_write_to_an_operand_is_refused_or_harmless(name: str) -> None:
    """Each operand in turn is written between forward and backward."""
    operands, loss = sampled(name, 1)
    leaves = [a for a in operands if isinstance(a, tgs.Tensor)]
    for written in leaves:
        value = loss(*operands)
        before = tgs.grad(value, leaves, retain_graph=True)
        written.writable()[...] += 0.125
        try:
            after = tgs.grad(value, leaves)
        except GraphError as error:
            if "written since" not in str(error):
                raise
        else:
            for a, b in zip(after, before, strict=True):
                np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
@given(x=st.floats(-3, 3))
def test_an_exploded_gradient_stays_infinite_through_a_squashing_function(
    name: str, x: float
) -> None:
    """inf - inf y² would be NaN, and hide where the gradient overflowed."""
    operand = leaf([x])
    getattr(tgs, name)(operand).backward(np.array([np.inf]))
    assert np.isposinf(operand.grad).all()


def test_operations_take_plain_numbers() -> None:
    assert tgs.add(1.0, 2.0).item() == 3.0
    assert tgs.tanh(0.0).item() == 0.0
    assert tgs.split(np.arange(4.0), np.int64(2))[1].tolist() == [2.0, 3.0]


def test_an_error_of_ours_is_passed_on_as_it_is() -> None:
    def forward(x):
        raise ConfigError("picky: x", hint="another one")

    with pytest.raises(ConfigError) as caught:
        apply(Op("picky", forward, "x", [lambda g, x: g], sample=unary()), (np.ones(3),), {})
    assert str(caught.value) == "picky: x\n  try: another one"


def test_nodes_and_places_say_what_they_are() -> None:
    x = tgs.tensor([1.0], requires_grad=True)
    x.requires_grad = True  # as it is already
    with tgs.scope(path="rnn", layer=1, step=4):
        node = (x * 2).node
    assert repr(node) == f"<Node {node.seq} multiply (module rnn, layer 1, t = 4), shape (1,)>"
    assert node.scope.place == "rnn.l1"
    assert x.node.scope.place == ""
