"""``check_op``, one planted fault for each of its complaints, and what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import find

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op
from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.testing import GradientError, check_op, gradcheck
from tinygrad_seq.testing.draws import build_array
from tinygrad_seq.testing.invariants import assert_freed
from tinygrad_seq.testing.strategies import examples

A, B = np.array([0.5, -1.0, 2.0]), np.array([1.5, 0.25, -0.5])


def slope(g: Any, x: Any) -> Any:
    return g * np.cos(x)


def writes_operand(g: Any, x: Any) -> Any:
    found = g * np.cos(x)
    x += 1.0
    return found


def writes_cotangent(g: Any, x: Any) -> Any:
    g *= np.cos(x)
    return g * 1.0


def forward_writes(x: Any) -> Any:
    out = np.sin(x)
    x[...] = 0.0
    return out


def kept(x: Any, keep: bool = False) -> Any:
    return (np.sin(x) + 1e-3 * keep, None)


def twice(g: Any) -> Any:
    part = g * 1.0
    return [part, part]


def sine(x: Any) -> Any:
    return np.sin(x)


FAULTS: dict[str, tuple[Op, list[np.ndarray]]] = {
    "the forward function writes to its operands": (
        Op("f", forward_writes, "x", [slope]), [A]
    ),
    "the recorded value is wrong at index": (
        Op("f", kept, "x", joint=lambda g, x: [slope(g, x)], keep=True, twin=sine), [A]
    ),
    "the value computed with keep=True is wrong at index": (
        Op("f", kept, "x", [None], keep=True, twin=sine), [A]
    ),
    "the output looks into an operand": (Op("f", lambda x: x[::-1], "x", [lambda g: g[::-1]]), [A]),
    "float32 operands give another dtype": (
        Op("f", lambda x: np.sin(x) * np.ones(3), "x", [slope]), [A]
    ),
    "the gradient to input 1 (b) is wrong at index": (
        Op("f", np.multiply, "a b", [lambda g, b: g * b, lambda g, b: g * b]), [A, B]
    ),
    "a gradient rule writes to a saved array": (Op("f", np.sin, "x", [writes_operand]), [A]),
    "a gradient rule writes to its cotangent": (Op("f", np.sin, "x", [writes_cotangent]), [A]),
    "returns memory of an operand or saved array": (
        Op("f", lambda x: 0.5 * x * x, "x", [lambda g, x: _at_one(g, x)]), [A]
    ),
    "the rule for input 1 (b) returns another input's memory": (
        Op("f", np.add, "a b", joint=twice), [A, B]
    ),
    "linearity of the rule for input 0 (x)": (
        Op("f", np.sin, "x", [lambda g, x: np.abs(g) * np.cos(x)]), [A]
    ),
    "the recorded gradient does not depend on the cotangent": (
        Op("f", np.sin, "x", [lambda g, x: slope(*(getattr(a, "_array", a) for a in (g, x)))]),
        [A],
    ),
    "the second derivative along a direction is wrong": (
        Op("f", np.sin, "x", [lambda g, x: slope(g, getattr(x, "_array", x))]), [A]
    ),
    "the twin's value: wrong shape": (
        Op("f", np.sin, "x", [slope], twin=lambda x: np.sin(x)[:2]), [A]
    ),
    "check_single_precision stopped: the gradient rule of f": (
        Op("f", np.sin, "x", [lambda g, x: slope(g, x) * np.ones(3)]), [A]
    ),
    "check_gradient stopped: no": (Op("f", np.sin, "x", [lambda g, x: _refuse()]), [A]),
}  # fmt: skip


def _at_one(g: Any, x: Any) -> Any:
    """The right slope, and for a cotangent of ones the operand itself."""
    return x if np.all(np.asarray(g) == 1) else g * x


def _refuse() -> None:
    raise RuntimeError("no")


@pytest.mark.parametrize("complaint", FAULTS)
def test_every_complaint_is_made(complaint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, arrays = FAULTS[complaint]
    if "memory of an operand" in complaint:  # hand the rule what it betrays itself by
        monkeypatch.setattr("tinygrad_seq.testing.opcheck.np.random.default_rng", Ones)
    with pytest.raises(GradientError) as caught:
        check_op(op, arrays, {})
    assert complaint in str(caught.value)
    assert "input 0 (" in str(caught.value)


class Ones:
    """A generator whose uniform numbers are all 1."""

    def __init__(self, seed: int) -> None:
        pass

    def uniform(self, low: float, high: float, shape: Any) -> Any:
        return np.ones(shape)


def test_operands_without_gradients_are_left_alone() -> None:
    step = Op("step", np.sign, "x", [None], why="it is constant in pieces", analytic=False)
    check_op(step, [A], {})
    gated = Op("gated", np.multiply, "x gate", [lambda g, gate: g * gate, None], why="a switch")
    check_op(gated, [A, B], {})


def test_a_joint_rule_may_be_silent_about_an_operand_without_influence() -> None:
    first = Op("first", lambda a, b: a + 0 * b, "a b", joint=lambda g: [g * 1.0, None])
    check_op(first, [A, B], {})


def test_a_message_shows_other_arguments_and_static_parameters() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x, k, name: x.detach() * x * k, A, 3, "three")
    assert "input 1 = 3\n    input 2 = 'three'" in str(caught.value)
    op = Op("pow", lambda x, n: x**n, "x", [lambda g, x, n: g * x ** (n - 1)])
    with pytest.raises(GradientError, match="n = 3"):
        check_op(op, [A], {"n": 3})


# -- the rest of the kit's refusals ------------------------------------------------------------


def test_kinds_of_values_and_domains_must_exist() -> None:
    with pytest.raises(ConfigError, match="unknown kind of values"):
        build_array([1], (1,), "negative")
    with pytest.raises(ConfigError, match="'undrawn' has no domain"):
        find(examples(Op("undrawn", np.sin, "x", [slope])), lambda example: True)


def test_a_graph_that_was_not_freed_is_noticed() -> None:
    x = tgs.tensor([1.0], requires_grad=True)
    with pytest.raises(GradientError, match="second backward through a freed graph was not"):
        assert_freed(x + 1)  # it saves nothing, but no backward came by
    assert_freed(x)  # a leaf may be asked again


@tgs.op(lambda g, x: g * np.sign(x))
def magnitude(x):
    return np.abs(x)


@tgs.op(lambda g, x, n: g * n * x ** (n - 1))
def to_the(x, n=3):
    return x**n


@tgs.op(lambda g, x: g * 1.0)
def rounded(x):
    return x + np.floor(x)


def test_a_decorated_function_is_an_operation_and_has_its_own_defaults() -> None:
    check_op(to_the, [A])
    check_op(to_the.op, [A], {})
    check_op(to_the, [A.tolist()], {"n": 4})
    check_op(to_the, (tgs.tensor(A),))
    wrong = tgs.op(lambda g, x, n: g * x ** (n - 1))(to_the.__wrapped__)
    for example in ([A], [A.tolist()], [tgs.tensor(A)]):
        with pytest.raises(GradientError, match="is wrong at index"):
            check_op(wrong, example)


@pytest.mark.parametrize("made", [magnitude, rounded])
def test_what_does_not_hold_for_complex_numbers_is_told_of_analytic(made) -> None:
    with pytest.raises(GradientError, match="try: say analytic=False"):
        check_op(made, [A + 0.25])
    check_op(tgs.op(*(r.fn for r in made.op.rules), analytic=False)(made.__wrapped__), [A + 0.25])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: check_op(np.sin, [A]), "check_op: op"),
        (lambda: check_op(lambda x: x, [A]), "check_op: op"),
        (lambda: check_op(magnitude, A), "check_op: arrays for magnitude"),
        (lambda: check_op(magnitude, tgs.tensor(A)), "check_op: arrays for magnitude"),
        (lambda: check_op(magnitude, [A, B]), "check_op: arrays for magnitude"),
    ],
)
def test_what_is_no_operation_or_no_operands(call, named: str) -> None:
    with pytest.raises(ConfigError, match="try: ") as caught:
        call()
    assert str(caught.value).startswith(named)


@pytest.mark.parametrize("given", [A.astype(np.float32), tgs.tensor(A.astype(np.float32))])
def test_operands_of_too_few_digits_are_refused(given) -> None:
    with pytest.raises(DtypeError, match=r"input 0 of to_the[\s\S]*got: float32[\s\S]*astype"):
        check_op(to_the, [given])


@pytest.mark.parametrize("given", [np.array([1, 2]), [1, 2], 1.5])
def test_without_an_array_of_floats_nothing_would_be_checked(given) -> None:
    with pytest.raises(ConfigError, match=r"nothing to differentiate to_the to[\s\S]*np.float64\)"):
        check_op(to_the, [given])
