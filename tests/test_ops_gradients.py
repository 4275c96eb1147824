"""Every registered operation, by existing, against the numerical derivative and the house rules."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.engine.op import Op
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.ops import OPS
from tinygrad_seq.ops.registry import register
from tinygrad_seq.ops.samples import DISTINCT, NONZERO, POSITIVE, REAL
from tinygrad_seq.testing import GradientError, RandomDraw, check_op
from tinygrad_seq.testing.strategies import arrays, broadcastable, examples, shapes

EXPECTED_AT_LEAST = {
    "add", "subtract", "multiply", "divide", "power", "negative", "exp", "log", "tanh", "sigmoid",
    "relu", "sqrt", "absolute", "maximum", "minimum", "where", "clip", "sum", "mean", "max", "min",
    "softmax", "log_softmax", "logsumexp", "matmul", "linear", "einsum", "concatenate", "stack",
    "split", "reshape", "transpose", "broadcast_to", "getitem", "take", "take_along_axis",
    "cross_entropy", "rnn_tanh_sequence", "rnn_relu_sequence", "lstm_sequence",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPS))
@given(data=st.data())
def test_operation(name: str, data: st.DataObject) -> None:
    operands, params = data.draw(examples(name))
    check_op(OPS[name], operands, params)


def test_no_operation_has_gone_missing() -> None:
    assert set(OPS) >= EXPECTED_AT_LEAST


def test_every_record_is_reachable_by_its_own_name() -> None:
    assert all(op.name == name and op.sample is not None for name, op in OPS.items())


def test_an_operation_without_a_domain_is_not_registered() -> None:
    with pytest.raises(ConfigError, match="no domain"):
        register(Op("undrawn", np.exp, "x", [lambda g, out: g * out]))
    assert "undrawn" not in OPS


def test_a_fused_operation_without_a_twin_is_not_registered() -> None:
    def forward(x: np.ndarray, keep: bool = False) -> tuple[np.ndarray, None]:
        return np.exp(x), None

    op = Op(
        "twinless", forward, "x", joint=lambda g, x: (g * np.exp(x),), keep=True,
        sample=OPS["exp"].sample,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="twin"):
        register(op)
    assert "twinless" not in OPS


def test_two_operations_cannot_share_a_name() -> None:
    with pytest.raises(ConfigError, match="registered already"):
        register(Op("tanh", np.tanh, "x", [lambda g: g], sample=OPS["tanh"].sample))


def test_a_wrong_operation_is_caught_and_its_example_shown() -> None:
    wrong = Op("cube", lambda x: x**3, "x", [lambda g, x: g * 2 * x**2], sample=OPS["exp"].sample)
    with pytest.raises(GradientError) as caught:
        check_op(wrong, [np.array([0.0, 2.0])], {})
    text = str(caught.value)
    assert "cube: the gradient to input 0 (x) is wrong at index (1,)" in text
    assert "relative error 0.333" in text
    assert "input 0 (x) float64[2] = [0., 2.]" in text
    assert isinstance(caught.value, AssertionError)


# -- the domains keep the promises of tinygrad_seq.ops.samples ---------------------------------


@pytest.mark.parametrize("kind", [REAL, POSITIVE, NONZERO, DISTINCT])
@given(data=st.data())
def test_arrays_keep_away_from_kinks(kind: str, data: st.DataObject) -> None:
    array = data.draw(shapes(0, 3, 4).flatmap(lambda shape: arrays(shape, kind)))
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.float64
    if kind == REAL:
        assert np.all(np.abs(array) <= 2)
    elif kind == POSITIVE:
        assert np.all((array >= 0.5) & (array <= 2.5))
    elif kind == NONZERO:
        assert np.all((np.abs(array) >= 0.25) & (np.abs(array) <= 2))
    else:
        flat = np.sort(array.reshape(-1))
        assert np.all(np.abs(flat) > 0.05)
        assert np.all(np.diff(flat) > 0.1)


@given(data=st.data(), count=st.integers(1, 4))
def test_broadcastable_shapes_broadcast(data: st.DataObject, count: int) -> None:
    drawn = data.draw(broadcastable(count))
    assert len(drawn) == count
    np.broadcast_shapes(*drawn)


def test_random_draw_serves_every_domain_and_is_reproducible() -> None:
    for op in OPS.values():
        assert op.sample is not None
        (a, _), (b, _) = (op.sample(RandomDraw(np.random.default_rng(3))) for _ in range(2))
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# -- corners that the domains, which avoid kinks and poles, do not reach -----------------------


def test_ties_share_the_gradient() -> None:
    a = tgs.tensor([1.0, 2.0], requires_grad=True)
    b = tgs.tensor([1.0, 1.0], requires_grad=True)
    tgs.maximum(a, b).sum().backward()
    assert a.grad.tolist() == [0.5, 1.0]
    assert b.grad.tolist() == [0.5, 0.0]
    x = tgs.tensor([3.0, 3.0, 1.0, 3.0], requires_grad=True)
    tgs.max(x).backward()
    np.testing.assert_allclose(x.grad, [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize(
    ("fn", "at_zero"),
    [(tgs.relu, 0.0), (tgs.absolute, 0.0), (lambda x: tgs.clip(x, 0.0, 1.0), 1.0)],
)
def test_subgradients_at_zero_are_the_documented_ones(fn, at_zero: float) -> None:
    x = tgs.tensor(0.0, requires_grad=True)
    fn(x).backward()
    assert x.grad == at_zero


@pytest.mark.parametrize(("exponent", "slope"), [(0, 0.0), (1, 1.0), (2, 0.0), (3.0, 0.0)])
def test_powers_at_zero(exponent: float, slope: float) -> None:
    x = tgs.tensor([0.0], requires_grad=True)
    (x**exponent).sum().backward()
    assert x.grad.tolist() == [slope]


def test_a_power_of_zero_has_no_gradient_to_its_exponent() -> None:
    a = tgs.tensor([0.0, 2.0, 0.0, 0.0], requires_grad=True, dtype=np.float64)
    b = tgs.tensor([2.0, 0.0, 0.0, 1.0], requires_grad=True, dtype=np.float64)
    (a**b).sum().backward()
    np.testing.assert_allclose(a.grad, [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_allclose(b.grad, [0.0, np.log(2), 0.0, 0.0])


@pytest.mark.parametrize("base", [0, 0.0, np.zeros(3)])
def test_a_constant_base_of_zero_has_no_gradient_to_its_exponent(base) -> None:
    b = tgs.tensor([2.0, 0.0, 1.0], requires_grad=True, dtype=np.float64)
    (base**b).sum().backward()
    assert b.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("exponent", [0, 0.0, np.zeros(4)])
def test_the_power_zero_is_flat_everywhere(exponent) -> None:
    x = tgs.tensor([np.inf, -np.inf, 0.0, -2.0], requires_grad=True, dtype=np.float64)
    (x**exponent).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("exponent", [-1, -1.0, np.full(2, -1.0)])
def test_a_negative_power_of_zero_is_infinitely_steep(exponent) -> None:
    x = tgs.tensor([0.0, 2.0], requires_grad=True, dtype=np.float64)
    with np.errstate(divide="ignore"):
        (x**exponent).sum().backward()
    assert x.grad.tolist() == [-np.inf, -0.25]


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_squashing_functions_do_not_overflow(value: float) -> None:
    x = tgs.tensor([value, 0.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        total = (
            tgs.sigmoid(x).sum() + tgs.tanh(x).sum() + tgs.softmax(x).sum()
            + tgs.log_softmax(x)[1] * 0 + tgs.logsumexp(x)
        )  # fmt: skip
        total.backward()
    assert np.isfinite(total.item())
    assert np.all(np.isfinite(x.grad))


def test_logsumexp_of_minus_infinity_everywhere() -> None:
    with np.errstate(divide="ignore"):
        value = tgs.logsumexp(tgs.tensor([-np.inf, -np.inf]))
    assert value.item() == -np.inf


def test_taking_no_rows_gives_a_zero_gradient() -> None:
    table = tgs.tensor(np.ones((3, 2)), requires_grad=True)
    tgs.take(table, np.zeros((0, 4), int)).sum().backward()
    assert np.array_equal(table.grad, np.zeros((3, 2)))


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x + 1,
        lambda x: x * x,
        tgs.tanh,
        lambda x: tgs.sum(x, 0),
        lambda x: tgs.where(np.zeros((0, 3), bool), x, 0.0),
        lambda x: tgs.concatenate([x, x]),
        lambda x: x @ np.ones((3, 2), np.float32),
        lambda x: x.reshape(3, 0),
    ],
)
def test_gradients_of_empty_arrays_are_empty(fn) -> None:
    x = tgs.tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    fn(x).sum().backward()
    assert x.grad.shape == (0, 3)
    assert x.grad.dtype == np.float32
