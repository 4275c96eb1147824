"""Entries that nothing reads: their gradient is 0, whatever slope leads to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing.strategies import HypothesisDraw

NAN = np.nan


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The values that are not taken may be anything: NumPy would warn of them."""
    with np.errstate(all="ignore"):
        yield


def leaf(values: Any) -> tgs.Tensor:
    return tgs.tensor(np.array(values, float), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: np.where(x > 0, np.log(x), 0.0), [0.0, 0.5]),
        (lambda x: np.where(x > 0, x * np.log(x), 0.0), [0.0, 1 + np.log(2)]),
        (lambda x: np.where(x == 0, 1.0, np.sin(x) / x), [0.0, (2 * np.cos(2) - np.sin(2)) / 4]),
        (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0.0, 0.5 / np.sqrt(2)]),
        (lambda x: np.where(x > 0, np.log(x) ** 2 + 1 / x, 0.0), [0.0, np.log(2) - 0.25]),
        (lambda x: np.where(x[:, None] > 0, np.log(x)[:, None], [[0.0]]), [0.0, 0.5]),
        (lambda x: np.where((x > 0)[::-1], np.flip(np.log(x)), 0.0), [0.0, 0.5]),
        (lambda x: np.where(x > 0, np.broadcast_to(np.log(x), (3, 2)), 0.0), [0.0, 1.5]),
        (lambda x: np.select([x > 0], [np.log(x)], 0.0), [0.0, 0.5]),
    ],
)
def test_what_is_not_taken_gets_0(call: Any, expected: list[float]) -> None:
    x = leaf([0.0, 2.0])
    call(x).sum().backward()
    np.testing.assert_allclose(x.grad, expected)


def test_a_part_that_is_read_without_a_mask_counts_as_the_whole() -> None:
    """No 0 is made up: who masks some rows and reads others bare is told by NaN, as before."""
    p = leaf(P)
    logs = np.log(p)
    (np.where(MASK[0], logs[0], 0.0) + logs[1]).sum().backward()
    assert np.isnan(p.grad[0, 1])


def test_a_value_that_is_read_elsewhere_is_not_hidden() -> None:
    """Two uses, in either order: a true NaN must come through."""
    for swap in (False, True):
        x = leaf([0.0, 2.0])
        y = np.log(x)
        masked, read = np.where(x > 0, y, 0.0).sum(), (0.0 * y).sum()
        (read + masked if swap else masked + read).backward()
        assert np.isnan(x.grad[0])


P = np.array([[1.0, 0.0], [2.0, 3.0]])
MASK = P > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda p: np.where(MASK, np.log(p), 0.0),
        lambda p: tgs.stack([np.where(MASK[k], np.log(p)[k], 0.0) for k in range(2)]),
        lambda p: tgs.stack(
            [np.where(m, row, 0.0) for m, row in zip(MASK, np.log(p), strict=True)]
        ),
        lambda p: tgs.stack([np.where(MASK[:, k], np.log(p)[:, k], 0.0) for k in range(2)]),
        lambda p: _logs_by_row(p),
        lambda p: np.where(MASK, tgs.stack([np.log(p[k]) for k in range(2)]), 0.0),
        lambda p: np.where(MASK, tgs.concatenate([np.log(p)[:1], np.log(p[1:])]), 0.0),
        lambda p: np.where(MASK, tgs.take(np.log(p), [0, 1]), 0.0),
        lambda p: np.where(MASK, np.take_along_axis(np.log(p), np.array([[0, 1]] * 2), 1), 0.0),
        lambda p: tgs.concatenate(
            [
                np.where(m, x, 0.0)
                for m, x in zip(np.split(MASK, 2), tgs.split(np.log(p), 2), strict=True)
            ]
        ),
        lambda p: np.where(MASK.T, np.log(p).T, 0.0),
    ],
)
def test_masks_reach_through_what_only_moves_entries(call: Any) -> None:
    """Time loops above all: rows are masked one by one, and some are read whole."""
    p = leaf(P)
    call(p).sum().backward()
    np.testing.assert_allclose(p.grad, [[1.0, 0.0], [1 / 2, 1 / 3]])


def _logs_by_row(p: Any) -> Any:
    logs = np.log(p)  # once, and read in two places
    return tgs.stack([np.where(MASK[0], logs[0], 0.0), np.where(MASK[1], logs[1], 0.0)])


def test_the_word_of_a_hook_holds() -> None:
    x = leaf([0.0, 2.0])
    y = x * 3.0
    y.register_hook(lambda g: np.ones_like(g))
    np.where(x > 0, y, 0.0).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items() if op.moves))
@given(data=st.data())
def test_operations_said_to_move_entries_do(name: str, data: Any) -> None:
    """What their rules give to no entry that is read does not change what is read."""
    op = OPS[name]
    assert op.sample is not None
    arrays, params = op.sample(HypothesisDraw(data.draw))
    leaves = [tgs.tensor(a, requires_grad=True) for a in arrays]
    made = apply(op, tuple(leaves), params)
    outs = list(made) if isinstance(made, tuple) else [made]
    read = [
        np.array([data.draw(st.booleans()) for _ in range(o.size)], float).reshape(o.shape)
        for o in outs
    ]
    found = tgs.grad(outs, leaves, read, allow_unused=True)
    changed = [
        np.where(np.zeros_like(a) if g is None else g.numpy() != 0, a, 77.0)
        for a, g in zip(arrays, found, strict=True)
    ]
    again = op.forward(*changed, **params)
    news = again if isinstance(again, tuple) else [again]
    for out, new, mask in zip(outs, news, read, strict=True):
        np.testing.assert_array_equal((out.numpy() * mask), new * mask)


def test_two_masks_hide_what_neither_takes() -> None:
    x = leaf([0.0, 0.0, 2.0])
    y = np.log(x)
    first, second = np.array([False, True, True]), np.array([False, False, True])
    (np.where(first, y, 0.0) * 0.0 + np.where(second, y, 0.0)).sum().backward()
    assert x.grad[0] == 0 and np.isnan(x.grad[1]) and x.grad[2] == 0.5


def test_without_a_mask_0_times_an_infinite_slope_stays_nan() -> None:
    """sqrt(x) ** 2 has slope 1 at 0, which its rules cannot find: no 0 is made up."""
    x = leaf([0.0])
    (np.sqrt(x) ** 2).backward()
    assert np.isnan(x.grad[0])


def test_at_second_order() -> None:
    x = leaf([0.0, 2.0])
    y = np.where(x > 0, x * np.log(x), 0.0).sum()
    (first,) = tgs.grad(y, [x], create_graph=True)
    (second,) = tgs.grad(first.sum(), [x])
    np.testing.assert_allclose(first.numpy(), [0.0, 1 + np.log(2)])
    np.testing.assert_allclose(second.numpy(), [0.0, 0.5])


def test_scores_that_attention_leaves_out() -> None:
    x = leaf([[0.0, 2.0, 3.0]])
    mask = np.array([[False, True, True]])
    (tgs.masked_softmax(np.log(x), mask) * np.array([1.0, 2.0, 4.0])).sum().backward()
    assert x.grad[0, 0] == 0 and np.isfinite(x.grad).all() and x.grad[0, 1] != 0


@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items() if op.pointwise))
@given(data=st.data())
def test_operations_said_to_be_pointwise_are(name: str, data: Any) -> None:
    """One entry of the operands changed, at one place: nothing else of the result changes."""
    op = OPS[name]
    assert op.sample is not None
    arrays, params = op.sample(HypothesisDraw(data.draw))
    shape = np.shape(op.forward(*arrays, **params))
    arrays = [np.array(np.broadcast_to(a, shape)) for a in arrays]
    if name == "where":
        params = {"condition": np.broadcast_to(params["condition"], shape)}
    before = np.asarray(op.forward(*arrays, **params))
    index = tuple(data.draw(st.integers(0, n - 1)) for n in before.shape)
    for a in arrays:
        a[index] = NAN
    after = np.array(op.forward(*arrays, **params))
    after[index] = before[index]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", sorted(name for name, op in OPS.items() if op.unread))
@given(data=st.data())
def test_what_an_operation_says_it_does_not_read_it_does_not(name: str, data: Any) -> None:
    op = OPS[name]
    assert op.sample is not None and op.unread is not None
    arrays, params = op.sample(HypothesisDraw(data.draw))
    before = np.asarray(op.forward(*arrays, **params))
    for index in range(len(arrays)):
        unread = np.broadcast_to(op.unread(index, **params), before.shape)
        changed = [np.array(np.broadcast_to(a, before.shape)) for a in arrays]
        changed[index][unread] = NAN
        np.testing.assert_array_equal(op.forward(*changed, **params), before)


def test_a_wrong_mask_is_found() -> None:
    """An operation that says too much is unread loses a gradient, which a check must see."""
    real = OPS["where"]
    planted = Op(
        "where",
        real.forward,
        "a b",
        [rule.fn for rule in real.rules if rule is not None],
        pointwise=True,
        unread=lambda index, condition: condition,
    )
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    condition = np.array([True, False])
    apply(planted, (a * 1.0, b * 1.0), {"condition": condition}).sum().backward()
    assert a.grad.tolist() != [1.0, 0.0]
