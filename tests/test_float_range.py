"""The error of gradient rules over the whole range of float32, against a wider dtype.

Elsewhere rules are tested on small numbers, where a difference of two large ones, or a square that
leaves the range, does no harm. Here every operation on single entries, and some along an axis,
takes float32 numbers from 1e-37 to 1e37; its rule, run in NumPy's long doubles, is the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op, Want
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.ops import OPS

SINGLE = np.finfo(np.float32)
MOST, LEAST = float(np.float32(1e37)), float(np.float32(1e-37))
Interval = tuple[float, float]

ANY: Interval = (-MOST, MOST)
ABOVE_ZERO: Interval = (LEAST, MOST)
JUST_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
WITHIN_ONE: Interval = (-JUST_BELOW_ONE, JUST_BELOW_ONE)

DOMAINS: dict[str, tuple[Interval, ...]] = {
    **dict.fromkeys(["log", "log2", "log10", "sqrt", "reciprocal"], (ABOVE_ZERO,)),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], (WITHIN_ONE,)),
    "log1p": ((-JUST_BELOW_ONE, MOST),),
    "arccosh": ((float(np.nextafter(np.float32(1), np.float32(2))), MOST),),
    "divide": (ANY, ABOVE_ZERO),
    "power": (ABOVE_ZERO, (-50.0, 50.0)),
}
"""Where an operation has a derivative; elsewhere everything counts."""

FLOOR = {
    "tanh": 1.0,
    "sigmoid": 0.25,
    "softmax": 1.0,
    "log_softmax": 1.0,
}
"""Where a slope comes as a difference from its largest value: right to an ulp of that value."""

WITHOUT = {"remainder": "its quotient jumps where rounding decides", "where": "it has a mask"}


def wide(op: Op, index: int, arrays: list[Any], params: dict[str, Any]) -> Any:
    """The rule for one operand in long doubles, with a cotangent of 1."""
    exact = [a.astype(np.longdouble) for a in arrays]
    with np.errstate(all="ignore"):
        out = op.forward(*exact, **params)
        rule = op.rules[index]
        assert rule is not None
        found = {"out": out, "shape": exact[index].shape, **params}
        found.update(zip(op.inputs, exact, strict=True))
        asked = [found[op.inputs[key] if kind is Want.INPUT else key] for kind, key in rule.wants]
        return np.broadcast_to(rule.fn(np.ones_like(out), *asked), exact[index].shape)


def narrow(op: Op, arrays: list[Any], params: dict[str, Any]) -> list[Any]:
    """The gradients that the engine gives in float32."""
    leaves = [tgs.tensor(a, requires_grad=True) for a in arrays]
    with np.errstate(all="ignore"):
        out = apply(op, tuple(leaves), params)
        out.backward(np.ones(out.shape, np.float32))
    return [leaf.grad for leaf in leaves]


def errors(op: Op, arrays: list[Any], params: dict[str, Any]) -> float:
    """The largest error of any slope, in units of what its last digit may be worth."""
    worst = 0.0
    for index, got in enumerate(narrow(op, arrays, params)):
        exact = wide(op, index, arrays, params)
        allowed = SINGLE.eps * np.maximum(np.abs(exact), FLOOR.get(op.name, 0.0)) + SINGLE.tiny
        with np.errstate(all="ignore"):
            error = np.abs(got - exact) / allowed
        counts = np.isfinite(exact) & (np.abs(exact) < MOST)  # beyond, float32 has an infinity
        worst = max(worst, float(np.max(np.where(counts, error, 0), initial=0.0)))
    return worst


def values(data: Any, interval: Interval, size: int) -> Any:
    low, high = interval
    one = st.floats(low, high, width=32, allow_subnormal=False).filter(
        lambda x: x == 0 or abs(x) >= LEAST
    )
    return np.array(data.draw(st.lists(one, min_size=size, max_size=size)), np.float32)


POINTWISE = sorted(name for name, op in OPS.items() if op.pointwise and name not in WITHOUT)


@pytest.mark.parametrize("name", POINTWISE)
@given(data=st.data())
def test_slopes_of_operations_on_entries(name: str, data: Any) -> None:
    op = OPS[name]
    domain = DOMAINS.get(name, (ANY,) * len(op.inputs))
    arrays = [values(data, interval, 6) for interval in domain]
    if name in ("absolute", "relu", "maximum", "minimum", "hypot"):
        arrays = [np.where(a == 0, 1, a).astype(np.float32) for a in arrays]
    params = {"low": -1.0, "high": 1e3} if name == "clip" else {}
    # A sum of arguments, a - b in an exponent, loses its last digit: so does the slope, as many
    # times as the exponent is long.
    assert errors(op, arrays, params) <= (
        400 if name in ("power", "logaddexp", "logaddexp2") else 8
    )


@pytest.mark.parametrize("name", ["logsumexp", "softmax", "log_softmax", "norm", "mean", "sum"])
@given(data=st.data())
def test_slopes_along_an_axis(name: str, data: Any) -> None:
    x = values(data, ANY, 5)
    if name == "norm":
        x[0] = 1e-16 if not x.any() else x[0]
    params: dict[str, Any] = {"axis": 0}
    if name in ("norm", "mean", "sum"):
        params["keepdims"] = False
    assert errors(OPS[name], [x], params) <= 400


@example([1e8] * 4)
@example([-1e8, -1e8 - 8])
@given(st.lists(st.floats(-MOST, MOST, width=32, allow_subnormal=False), min_size=1, max_size=6))
def test_shares_of_a_logsumexp_are_a_softmax(terms: list[float]) -> None:
    x = np.array(terms, np.float32)
    (got,) = narrow(OPS["logsumexp"], [x], {"axis": 0})
    exact = np.exp((x - x.max()).astype(np.longdouble))
    np.testing.assert_allclose(got, (exact / exact.sum()).astype(float), rtol=2e-5, atol=1e-7)


def test_a_long_recursion_in_the_log_domain_keeps_its_digits() -> None:
    """400 steps of a hidden Markov chain, alpha_t = logsumexp(alpha_{t-1} + A), in float32."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((5, 5)) * 3

    def gradient(dtype: Any) -> Any:
        moves = tgs.tensor(a.astype(dtype), requires_grad=True)
        alpha: Any = tgs.tensor(np.zeros(5, dtype))
        for _ in range(400):
            alpha = tgs.logsumexp(tgs.expand_dims(alpha, 1) + moves, axis=0)
        tgs.logsumexp(alpha).backward()
        return moves.grad

    exact = gradient(np.float64)
    assert np.abs(gradient(np.float32) - exact).max() < 5e-4 * np.abs(exact).max()


@pytest.mark.parametrize(
    ("name", "rule", "at"),
    [
        ("logaddexp", lambda g, a, out: g * np.exp(a - out), (1e8, 1e8)),
        ("arcsinh", lambda g, x: g / np.sqrt(1 + x * x), (1e25,)),
        ("expm1", lambda g, out: g * (out + 1), (-20.0,)),
        ("arctan2", lambda g, y, x: g * (x / (x * x + y * y)), (1e-25, 1e-25)),
    ],
)
def test_rules_that_lose_digits_are_found(name: str, rule: Any, at: Any) -> None:
    real = OPS[name]
    planted = Op(name, real.forward, " ".join(real.inputs), [rule, lambda g: g][: len(at)])
    arrays = [np.float32([x]) for x in at]
    assert errors(planted, arrays, {}) > 1000
    assert errors(real, arrays, {}) <= 8


def test_every_exception_has_its_reason() -> None:
    assert set(WITHOUT) <= {name for name, op in OPS.items() if op.pointwise}
    assert set(DOMAINS) | set(FLOOR) <= set(OPS)
