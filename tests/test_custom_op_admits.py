"""What an operation of the user's own may return, and what it cannot write into."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import DtypeError, TinygradSeqError

X = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: np.fft.fft(x),
        lambda x: None,
        lambda x: "a",
        lambda x: x.astype(np.longdouble),
        lambda x: np.ma.masked_array(x, [True, False]),
        lambda x: [[1.0], [2.0, 3.0]],
        lambda x: x.astype(object),
    ],
)
def test_a_result_that_no_tensor_holds_is_refused(forward: Any) -> None:
    def f(x: Any) -> Any:
        return forward(x)

    with pytest.raises(DtypeError, match="op f: its result"):
        tgs.op(lambda g: g)(f)(tgs.tensor(X, requires_grad=True))


def test_byte_orders_and_float16_are_read() -> None:
    def swapped(x: Any) -> Any:
        return x.astype(">f8")

    def half(x: Any) -> Any:
        return x.astype(np.float16)

    assert tgs.op(lambda g: g)(swapped)(tgs.tensor(X)).dtype.isnative
    assert tgs.op(lambda g: g)(half)(tgs.tensor(X)).dtype == np.float32


def test_a_function_cannot_write_into_its_operand_nor_hand_it_out() -> None:
    def doubled(x: Any) -> Any:
        return np.multiply(x, 2, out=x)

    def same(x: Any) -> Any:
        return x

    leaf = tgs.tensor(X, requires_grad=True)
    with pytest.raises(TinygradSeqError, match="read-only"):
        tgs.op(lambda g: g)(doubled)(leaf)
    made = tgs.op(lambda g: g)(same)(leaf)
    leaf.writable()[:] = 9
    assert made.tolist() == [1.0, 2.0] and leaf.tolist() == [9.0, 9.0]


@pytest.mark.parametrize(
    "rule",
    [lambda g: np.ma.masked_array(g, [True, False]), lambda g: [[1.0], [2.0, 3.0]], lambda g: "x"],
)
def test_a_rule_that_returns_no_gradient_is_refused(rule: Any) -> None:
    def f(x: Any) -> Any:
        return x * 2

    y = tgs.op(rule)(f)(tgs.tensor(X, requires_grad=True))
    with pytest.raises(TinygradSeqError, match="gradient rule of f"):
        y.sum().backward()


# -- masked arrays beside tensors, where NumPy asks them first -------------------------------------

MASKED = np.ma.masked_array([1.0, 9.0], [False, True])


@pytest.mark.parametrize(
    "call",
    [
        lambda t: MASKED * t,
        lambda t: MASKED - t,
        lambda t: MASKED**t,
        lambda t: np.ma.exp(t),
        lambda t: np.ma.where([True, False], t, 0.0),
        lambda t: np.ma.concatenate([t, t]),
        lambda t: np.ma.getdata(t),
        lambda t: t * MASKED,
        lambda t: t > MASKED,
        lambda t: tgs.mean([[MASKED]]),
        lambda t: tgs.tensor([[MASKED, MASKED]]),
    ],
)
def test_no_graph_and_no_mask_is_lost(call: Any) -> None:
    with pytest.raises(TinygradSeqError):
        call(tgs.tensor(X, requires_grad=True))


def test_a_step_by_hand_is_checked() -> None:
    w = tgs.tensor(X, requires_grad=True)
    with tgs.no_grad():
        for wrong in (MASKED, "a", None, [[1], [2, 3]], 10**400, np.array([None, 1]), 1j):
            with pytest.raises(TinygradSeqError):
                w -= wrong
        assert w.tolist() == [1.0, 2.0]
        same = w
        w %= 0.75
        w //= 0.1
        w -= 0.5
    assert same is w and w.requires_grad
    np.testing.assert_allclose(w.numpy(), X % 0.75 // 0.1 - 0.5)
