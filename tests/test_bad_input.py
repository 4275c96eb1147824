"""Bad input to the engine: each refusal names the operation and the argument, and the cure."""

from __future__ import annotations

import functools
import importlib
import inspect
import operator

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import (
    ArgumentError,
    ConfigError,
    DtypeError,
    GraphError,
    IndexRangeError,
    NotDifferentiableError,
    ShapeError,
    TinygradSeqError,
)


def leaf(value=(1.0, 2.0), name: str = "", dtype=np.float64) -> tgs.Tensor:
    made = tgs.tensor(np.asarray(value, dtype), requires_grad=True)
    made.name = name
    return made


def message(kind: type[TinygradSeqError], call) -> str:
    """What a refused call says; there is always a cure."""
    with pytest.raises(kind) as caught:
        call()
    assert "\n  try: " in str(caught.value)
    return str(caught.value)


# -- a function without a gradient, on a tracked tensor -------------------------------------------


@pytest.mark.parametrize(
    ("call", "name", "cure"),
    [
        (lambda x: np.nanmean(x), "np.nanmean", "np.where"),
        (lambda x: np.linalg.inv(x * np.eye(2)), "np.linalg.inv", "@tgs.op"),
        (lambda x: np.fft.rfft(x), "np.fft.rfft", "detach"),
        (lambda x: np.heaviside(x, 0.0), "np.heaviside", "detach"),
        (lambda x: np.add.reduce(x), "np.add.reduce", "detach"),
    ],
)
def test_a_function_without_a_rule(call, name: str, cure: str) -> None:
    text = message(NotDifferentiableError, lambda: call(leaf(name="hidden") * 1.0))
    assert text.startswith(f"{name} has no gradient rule")
    assert "got: argument 0, which comes from multiply" in text
    assert cure in text


def test_the_argument_of_a_refused_function_is_named() -> None:
    x = leaf(name="rates")
    text = message(NotDifferentiableError, lambda: np.interp([0.5], [0.0, 1.0], fp=x))
    assert "got: argument fp, which comes from rates" in text
    text = message(NotDifferentiableError, lambda: np.fmax(np.ones(2), x))
    assert "got: argument 1, which comes from rates" in text
    text = message(NotDifferentiableError, lambda: np.block([[np.ones(2), x]]))
    assert "got: argument 0, which comes from rates" in text


def test_asarray_of_a_tracked_tensor() -> None:
    text = message(NotDifferentiableError, lambda: np.asarray(leaf(name="hidden")))
    assert "np.asarray" in text
    assert "hidden" in text
    assert ".detach()" in text
    assert ".numpy()" in text


# -- integers ------------------------------------------------------------------------------------


def test_integers_asked_for_a_gradient() -> None:
    ids = tgs.tensor([1, 2])
    x = leaf()
    assert "int64" in message(DtypeError, lambda: tgs.tensor([1, 2], requires_grad=True))
    assert "int64" in message(DtypeError, lambda: setattr(ids, "requires_grad", True))
    text = message(GraphError, lambda: tgs.grad((x * ids).sum(), [x, ids]))
    assert text.startswith("grad: input 1 does not require gradients")
    assert "int64" in text
    assert "astype" in text
    for transform in (tgs.value_and_grad, tgs.jacobian, tgs.hessian):
        text = message(ConfigError, lambda t=transform: t(lambda i: (i * 1.0).sum(), ids))
        assert "Tensor of int64" in text
        assert "astype" in text


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.Dropout(0.0), nn.VariationalDropout(0.5), nn.LayerNorm(3)]
)
def test_layers_that_scale_their_input_refuse_tokens(layer: nn.Module, training: bool) -> None:
    layer.train(training)
    text = message(DtypeError, lambda: layer(np.ones((4, 2, 3), np.int64)))
    assert text.startswith(f"{type(layer).__name__}: input")
    assert "nn.Embedding" in text


# -- what cannot be reached, and what does not fit -------------------------------------------------


def test_an_unreachable_input() -> None:
    x, y = leaf(), leaf(name="decoder.bias")
    text = message(GraphError, lambda: tgs.grad((x * x).sum(), [x, y]))
    assert text.startswith("grad: the output does not depend on input 1 (decoder.bias)")
    assert "allow_unused=True" in text
    assert tgs.grad((x * x).sum(), [x, y], allow_unused=True)[1] is None


def test_a_gradient_of_another_shape() -> None:
    x = leaf(name="x")
    y = x * 2
    text = message(ShapeError, lambda: y.backward(np.ones(3)))
    assert text.startswith("backward: gradient does not fit")
    assert "entry of multiply" in text
    text = message(ShapeError, lambda: tgs.grad([y, y], x, [np.ones(2), np.ones(1)]))
    assert text.startswith("grad: output 1: gradient does not fit")
    assert "assignment to .grad of x" in message(
        ShapeError, lambda: setattr(x, "grad", np.zeros((2, 2)))
    )
    assert x.grad is None
    y.sum().backward()  # nothing was freed or changed by the refusals
    assert x.grad.tolist() == [2.0, 2.0]


# -- rules that do not return what they must -------------------------------------------------------


def bad_rule(rule, dtype=np.float64):
    """A backward through an operation of two operands whose second rule is `rule`."""
    op = Op("gated", lambda x, gate: x * gate, "x gate", [lambda g, gate: g * gate, rule])
    x, gate = leaf(dtype=dtype), leaf(dtype=dtype)
    with pytest.raises(TinygradSeqError) as caught:
        apply(op, (x, gate), {}).sum().backward()
    assert x.grad is None
    assert gate.grad is None
    assert "check_op" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_rule_that_returns_another_shape(shape) -> None:
    error = bad_rule(lambda g: np.ones(shape, g.dtype))
    assert isinstance(error, ShapeError)
    assert "rule of gated for its operand gate returned a wrong shape" in str(error)
    assert f"got: {shape}" in str(error)


@pytest.mark.parametrize(
    ("rule", "given", "got"),
    [
        (lambda g: (g * 2).astype(np.int64), np.float64, "int64"),
        (lambda g: g * 1j, np.float64, "complex128"),
        (lambda g: g.astype(np.float32), np.float64, "float32"),
        (lambda g: g * np.float64(2.0), np.float32, "float64"),
        (lambda g: None, np.float64, "None"),
        (lambda g: "2.0", np.float64, "'2.0'"),
    ],
)
def test_a_rule_that_returns_another_dtype(rule, given, got: str) -> None:
    error = bad_rule(rule, given)
    assert isinstance(error, DtypeError)
    assert "rule of gated for its operand gate returned a wrong dtype" in str(error)
    assert f"expected: {np.dtype(given)}\n  got: {got}" in str(error)


def test_a_rule_may_return_a_number_for_a_scalar() -> None:
    op = Op("double", lambda x: 2 * x, "x", [lambda g: 2.0])
    x = leaf(3.0, dtype=np.float32)
    apply(op, (x,), {}).backward()
    assert x.grad.dtype == np.float32
    assert x.grad == 2.0


def test_a_joint_rule_that_returns_too_few() -> None:
    op = Op("pair", lambda a, b: a + b, "a b", joint=lambda g: [g])
    x = leaf()
    text = message(GraphError, lambda: apply(op, (x, x), {}).sum().backward())
    assert "pair returned a wrong number of gradients" in text
    assert "expected: 2" in text


def test_an_operand_without_a_rule() -> None:
    op = Op("gated", lambda x, gate: x * gate, "x gate", [lambda g, gate: g * gate, None])
    gate = leaf(name="g")
    text = message(GraphError, lambda: apply(op, (leaf(), gate), {}).sum().backward())
    assert "gated has no gradient to its operand gate" in text
    assert "requires gradients: g" in text


# -- operands and options --------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "a", object(), [None, 1.0]])
def test_operands_that_are_no_numbers(value) -> None:
    for call, name in (
        (lambda: leaf() + value, "add: operand b"),
        (lambda: tgs.maximum(value, leaf()), "maximum: operand a"),
        (lambda: tgs.stack([leaf(), leaf(), value]), "stack: operand 2"),
    ):
        with pytest.raises(DtypeError) as caught:
            call()
        assert str(caught.value).startswith(name)


X = leaf(np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("kind", "named", "call"),
    [
        (ConfigError, "split: sections", lambda: tgs.split(X, 0)),
        (ConfigError, "split: sections", lambda: tgs.split(X, -2)),
        (ConfigError, "split: sections", lambda: tgs.split(X, 1.5)),
        (ShapeError, "split: axis out of range", lambda: tgs.split(X, 2, 2)),
        (ConfigError, "split: sections", lambda: tgs.split(X, [[1]])),
        (ShapeError, "concatenate: axis out of range", lambda: tgs.concatenate([leaf(1.0)])),
        (ShapeError, "concatenate: axis out of range", lambda: tgs.concatenate([X, 1.0])),
        (ShapeError, "concatenate: axis out of range", lambda: tgs.concatenate([X, X[0]], 1)),
        (ConfigError, "cumsum: ", lambda: tgs.cumsum(X, (0, -1))),
        (ConfigError, "cumprod: axis", lambda: tgs.cumprod(X, (0, -1))),
        (DtypeError, "clip: bound", lambda: tgs.clip(X, "high")),
        (ConfigError, "sum: ", lambda: tgs.sum(X, 0.5)),
        (ConfigError, "reshape: ", lambda: tgs.reshape(X, "flat")),
        (ConfigError, "transpose: axis", lambda: tgs.transpose(X, (0.5, 1))),
        (ShapeError, "sort: axis out of range", lambda: tgs.sort(X, 2)),
        (ShapeError, "roll: ", lambda: tgs.roll(X, 1, 2)),
        (ShapeError, "repeat: ", lambda: tgs.repeat(X, -1)),
        (ShapeError, "diagonal: ", lambda: tgs.diagonal(X[0])),
        (ShapeError, "pad: ", lambda: tgs.pad(X, -1)),
        (ShapeError, "pad: ", lambda: tgs.pad(X, ((1, 2, 3),))),
        (ConfigError, "diff: n", lambda: tgs.diff(X, -1)),
        (ShapeError, "diff: axis out of range", lambda: tgs.diff(X, 1, 2)),
        (ShapeError, "prod: axis", lambda: tgs.prod(X, (0, -2))),
        (ConfigError, "var: nothing is left", lambda: tgs.var(X, 0, ddof=2)),
        (ConfigError, "std: nothing is left", lambda: tgs.std(X, 0, ddof=3)),
        (ConfigError, "std: nothing is left", lambda: tgs.std(X[:0])),
    ],
)
def test_options_that_cannot_work(kind, named: str, call) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).startswith(named)


# -- what is right stays right ---------------------------------------------------------------------


def test_numbers_joined_with_tensors_keep_the_dtype() -> None:
    x = leaf(1.5, dtype=np.float32)
    for joined in (
        tgs.stack([x, 2.0, 3]),
        tgs.concatenate([x[None], [2.0, 3]]),
        tgs.einsum("i,->i", leaf((1.0, 2.0), dtype=np.float32), 3.0),
    ):
        assert joined.dtype == np.float32
    tgs.stack([x, 2.0]).sum().backward()
    assert x.grad == 1.0


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_standard_deviation_without_spread_has_gradient_zero(axis, ddof: int) -> None:
    x = leaf(np.full((3, 4), 0.1))
    spread = tgs.std(x, axis, ddof)
    (spread * 3).sum().backward()
    np.testing.assert_allclose(x.grad, 0, atol=1e-15)
    np.testing.assert_allclose(spread.data, 0, atol=1e-15)


def test_large_numbers_have_a_standard_deviation() -> None:
    x = leaf([1e30, -1e30], dtype=np.float32)
    tgs.std(x).backward()
    np.testing.assert_allclose(x.grad, [0.5, -0.5], rtol=1e-6)


def test_rules_may_be_any_callables() -> None:
    op = Op("scaled", lambda x: 3 * x, "x", [functools.partial(lambda k, g: k * g, 3.0)])
    x = leaf()
    apply(op, (x,), {}).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    assert repr(op) == "<Op scaled>"


# -- what PyTorch users try ------------------------------------------------------------------------


IN_PLACE = {
    "+": operator.iadd,
    "-": operator.isub,
    "*": operator.imul,
    "/": operator.itruediv,
    "**": operator.ipow,
    "@": operator.imatmul,
}


@pytest.mark.parametrize("sign", IN_PLACE)
def test_an_in_place_operator_on_a_leaf_outside_no_grad(sign: str) -> None:
    w = leaf(np.eye(2), name="rnn.weight")
    held = w
    text = message(GraphError, lambda: IN_PLACE[sign](w, np.full((2, 2), 0.1)))
    assert text.startswith(f"weight {sign}= ...")
    assert "with tgs.no_grad():" in text
    assert f"weight = weight {sign} ..." in text
    assert (held.version, held.is_leaf, held.tolist()) == (0, True, np.eye(2).tolist())
    with tgs.no_grad():
        assert IN_PLACE[sign](w, np.full((2, 2), 0.1)) is w


def test_retain_grad_and_hooks_on_what_has_no_gradient() -> None:
    for constant in (tgs.tensor([1.0]), leaf().detach()):
        assert "a constant" in message(GraphError, constant.retain_grad)
        message(GraphError, lambda c=constant: c.register_hook(lambda g: g))
    x = leaf()
    text = message(ConfigError, lambda: (x * 2).register_hook(3))
    assert text.startswith("register_hook: hook")


def test_names_of_pytorchs_options_are_answered_with_numpys() -> None:
    assert "axis=" in message(ConfigError, lambda: X.sum(dim=0))
    assert "axis=" in message(ConfigError, lambda: X.softmax(dim=-1))
    assert "keepdims=" in message(ConfigError, lambda: X.mean(axis=0, keepdim=True))
    assert "axis=" in message(ConfigError, lambda: X.argmax(dim=0))
    with pytest.raises(ConfigError, match="flatten: start_dim"):
        X.flatten(1, 0)


ALONG = {
    name: function
    for name in tgs.ops.__all__
    if callable(function := getattr(tgs, name))
    and {"axis"} == inspect.signature(function).parameters.keys() & {"axis", "dim"}
}


@pytest.mark.parametrize("name", ALONG)
def test_functions_answer_pytorchs_names_too(name: str) -> None:
    text = message(ArgumentError, lambda: ALONG[name](X, dim=0))
    assert text.startswith(f"{name}: dim")
    assert f"{name}(..., axis=...)" in text
    with pytest.raises(TypeError, match="nonsense"):
        ALONG[name](X, nonsense=0)
    home = importlib.import_module(ALONG[name].__module__)  # where pickle looks
    assert getattr(home, ALONG[name].__qualname__) is ALONG[name]


def test_only_options_that_exist_are_advised() -> None:
    with pytest.raises(TypeError, match="sum: no argument 'unbiased'"):
        tgs.sum(X, unbiased=True)
    assert "ddof=" in message(ArgumentError, lambda: tgs.var(X, unbiased=True))
    assert message(ArgumentError, lambda: X.var(unbiased=False, dim=0)).startswith("var: dim")


def test_which_functions_answer() -> None:
    assert {"sum", "mean", "softmax", "concatenate", "stack", "split", "flip"} <= ALONG.keys()
    assert issubclass(ArgumentError, TypeError)


# -- what NumPy refuses ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "cure"),
    [
        (lambda: X + np.ones(4), "x[:, None]"),
        (lambda: X.reshape(4), "-1"),
        (lambda: X.sum(5), "axes count from 0"),
        (lambda: tgs.softmax(X, 3), "axes count from 0"),
        (lambda: tgs.stack([X, X[0]]), "equal sizes"),
        (lambda: tgs.concatenate([X, X[:1]], 1), "equal sizes"),
        (lambda: X.item(), "x.tolist()"),
        (lambda: nn.GRU(3, 4)(np.ones((4, 2, 3), np.float32), lengths=[4]), "every sequence"),
    ],
)
def test_shapes_that_do_not_fit_come_with_a_cure(call, cure: str) -> None:
    assert cure in message(ShapeError, call)


def test_a_position_out_of_range_comes_with_a_cure() -> None:
    assert "positions count" in message(IndexRangeError, lambda: X[5])


def test_options_of_ufuncs_are_refused_by_name() -> None:
    out = np.zeros((2, 3))
    text = message(NotDifferentiableError, lambda: np.tanh(X, out=out))
    assert text.startswith("np.tanh has no gradient rule with out=")
    assert not out.any()
    text = message(NotDifferentiableError, lambda: np.add(X, 1.0, where=out > 0))
    assert text.startswith("np.add has no gradient rule with where=")


def test_ddof_has_two_names() -> None:
    for ours, theirs in ((tgs.var, np.var), (tgs.std, np.std)):
        np.testing.assert_allclose(theirs(X, correction=1).data, theirs(X.numpy(), ddof=1))
        np.testing.assert_allclose(ours(X, 0, correction=1).data, theirs(X.numpy(), 0, ddof=1))
        message(ConfigError, lambda f=ours: f(X, ddof=1, correction=1))
        message(ConfigError, lambda f=ours: f(X, 0, correction=2))
