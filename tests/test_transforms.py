"""Gradients as functions: ``grad`` and what is built on it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import lstm_sequence, rnn_sequence
from tinygrad_seq.errors import GraphError, ShapeError
from tinygrad_seq.testing import gradcheck


def leaf(value) -> tgs.Tensor:
    return tgs.tensor(np.asarray(value, np.float64), requires_grad=True)


# -- grad --------------------------------------------------------------------------------------


def test_grad_touches_no_grad_attribute() -> None:
    x, y = leaf(2.0), leaf(3.0)
    dx, dy = tgs.grad(x * x * y, [x, y])
    assert (dx.item(), dy.item()) == (12.0, 4.0)
    assert x.grad is None
    assert y.grad is None


def test_grad_of_one_input_is_a_tensor_of_several_a_tuple() -> None:
    x = leaf(2.0)
    assert isinstance(tgs.grad(x * x, x), tgs.Tensor)
    assert isinstance(tgs.grad(x * x, [x]), tuple)
    assert not tgs.grad(x * x, x).requires_grad


def test_intermediate_results_are_inputs_too() -> None:
    x = leaf(2.0)
    y = x * 3
    z = y * y + x
    dz = tgs.grad(z, [y, x])
    assert [g.item() for g in dz] == [12.0, 37.0]


def test_the_output_itself_as_input() -> None:
    x = leaf([1.0, 2.0])
    y = x * 3
    (g,) = tgs.grad(y, [y], np.array([5.0, 6.0]))
    assert g.tolist() == [5.0, 6.0]


def test_grad_runs_rules_only_on_the_path() -> None:
    ran: list[str] = []
    from tinygrad_seq.engine.op import Op
    from tinygrad_seq.engine.tape import apply

    def marked(name: str) -> Op:
        def rule(g):
            ran.append(name)
            return g * 1.0

        return Op(name, lambda x: x * 1.0, "x", [rule])

    x, y = leaf(1.0), leaf(2.0)
    a, b = apply(marked("a"), (x,), {}), apply(marked("b"), (y,), {})
    tgs.grad(a * b, x)
    assert ran == ["a"]


def test_grad_frees_only_the_path() -> None:
    x, y = leaf(1.0), leaf(2.0)
    left, right = tgs.tanh(x), tgs.tanh(y)
    tgs.grad(left + right, x)
    assert left.node.freed
    assert not right.node.freed
    tgs.grad(right, y)


def test_an_unreachable_input_is_named() -> None:
    x, y = leaf(1.0), leaf(2.0)
    y.name = "decoder.bias"
    with pytest.raises(GraphError, match=r"input 1 \(decoder\.bias\)[\s\S]*allow_unused"):
        tgs.grad(x * x, [x, y])
    dx, dy = tgs.grad(x * x, [x, y], allow_unused=True)
    assert dx.item() == 2.0
    assert dy is None


def test_a_constant_input_is_refused() -> None:
    x = leaf(1.0)
    with pytest.raises(GraphError, match=r"input 0 does not require gradients"):
        tgs.grad(x * x, tgs.tensor(2.0))


def test_several_outputs_are_weighted_and_summed() -> None:
    x = leaf([1.0, 2.0])
    (g,) = tgs.grad([x * x, x * 3], [x], [np.array([1.0, 10.0]), np.array([2.0, 0.0])])
    assert g.tolist() == [2 + 6, 40]
    with pytest.raises(ShapeError):
        tgs.grad(x * x, x, np.ones(3))


def test_retain_graph_follows_create_graph_unless_given() -> None:
    x = leaf(2.0)
    y = x * x
    tgs.grad(y, x, create_graph=True)
    tgs.grad(y, x)
    with pytest.raises(GraphError, match="second time"):
        tgs.grad(y, x)


def test_grad_under_no_grad_still_works_on_a_recorded_graph() -> None:
    x = leaf(2.0)
    y = x**3
    with tgs.no_grad():
        assert tgs.grad(y, x).item() == 12.0


# -- higher orders -----------------------------------------------------------------------------


def test_derivatives_of_a_power_up_to_the_fifth() -> None:
    x = leaf(2.0)
    y = x**5
    for expected in (80.0, 160.0, 240.0, 240.0, 120.0):
        y = tgs.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fn", "third"),
    [
        (tgs.exp, np.exp),
        (tgs.sin, lambda x: -np.cos(x)),
        (tgs.tanh, lambda x: (6 * np.tanh(x) ** 2 - 2) * (1 - np.tanh(x) ** 2)),
        (tgs.log, lambda x: 2 / x**3),
        (tgs.sqrt, lambda x: 0.375 * x**-2.5),
        (lambda x: 1 / x, lambda x: -6 / x**4),
        (lambda x: x * x * x, lambda x: 6.0 + 0 * x),
        (lambda x: tgs.softmax(tgs.stack([x, x * 0]), 0)[0], lambda x: _logistic_third(x)),
    ],
)  # fmt: skip
def test_third_derivatives(fn, third) -> None:
    x = leaf([0.3, 0.7, 1.1])
    y = fn(x).sum()
    for _ in range(3):
        y = tgs.grad(y, x, create_graph=True).sum()
        last = y
    np.testing.assert_allclose(last.item(), third(x.data).sum(), rtol=1e-12)


def _logistic_third(x):
    s = 1 / (1 + np.exp(-x))
    return s * (1 - s) * (1 - 6 * s + 6 * s**2)


def test_a_gradient_penalty_differentiates() -> None:
    def penalty(w, x):
        y = tgs.tanh(x @ w)
        (g,) = tgs.grad(y.sum(), [x], create_graph=True)
        return (g * g).sum()

    rng = np.random.default_rng(0)
    gradcheck(penalty, rng.standard_normal((3, 2)), rng.standard_normal((4, 3)), method="central")


def _sequence(kind: str, seed: int = 0):
    rng = np.random.default_rng(seed)
    gates = 4 if kind == "lstm" else 1
    sizes = {"x": (3, 2, 2), "h": (2, 3), "wx": (2, 3 * gates), "wh": (3, 3 * gates)}
    x, h, wx, wh = (leaf(rng.uniform(-1, 1, size)) for size in sizes.values())
    bias = leaf(rng.uniform(-1, 1, 3 * gates))
    return x, h, wx, wh, bias


@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_recorded_gradients_of_fused_sequences_with_shared_operands(kind: str) -> None:
    """An operand given twice, or computed from another one, is counted once under create_graph."""
    x, h, wx, wh, bias = _sequence(kind)

    def loss() -> tgs.Tensor:
        start = tgs.tanh(x[0].sum(axis=1, keepdims=True) + h)
        weight = wh * 1.5 if wx.shape != wh.shape else wh
        project = tgs.concatenate([wh[:1], wh[:1] * 2]) + wx * 0
        if kind == "rnn":
            y, last = rnn_sequence(x, start, project, weight, bias)
            return (y * y).sum() + last.sum()
        y, last, cell = lstm_sequence(x, start, start, project, weight, bias)
        return (y * y).sum() + (last * cell).sum()

    sources = [x, h, wx, wh, bias]
    plain = tgs.grad(loss(), sources)
    recorded = tgs.grad(loss(), sources, create_graph=True)
    for p, r in zip(plain, recorded, strict=True):
        np.testing.assert_allclose(r.data, p.data, rtol=1e-10, atol=1e-13)


def test_an_operand_that_is_another_operands_source_is_not_walked_past() -> None:
    x, h, _, wh, bias = _sequence("lstm")
    wx = wh[:2] * 1.0

    def loss() -> tgs.Tensor:
        y, _, c = lstm_sequence(x, h, h, wh[:2] * 2.0, wh, bias)
        return (y * y).sum() + c.sum()

    doubled = wh * 1.5
    y, _, c = lstm_sequence(tgs.concatenate([x, x], 2)[:, :, :3], h, h, doubled, wh, bias)
    direct = (y * y).sum() + c.sum()
    assert wx.shape == (2, 12)
    for value in (loss(), direct):
        plain = tgs.grad(value, [wh, h], retain_graph=True)
        recorded = tgs.grad(value, [wh, h], create_graph=True)
        for p, r in zip(plain, recorded, strict=True):
            np.testing.assert_allclose(r.data, p.data, rtol=1e-10, atol=1e-13)


def test_second_order_through_a_fused_sequence() -> None:
    x, h, wx, wh, bias = (t.numpy() for t in _sequence("lstm"))

    def fn(*operands):
        y, last, cell = lstm_sequence(operands[0], operands[1], operands[1], *operands[2:])
        return (y * y).sum() + (last * cell).sum()

    gradcheck(fn, x, h, wx, wh, bias, order=2, check="directional")
