"""NumPy's own functions on Tensors: differentiable, constant-only or refused; never silent."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, GraphError, NotDifferentiableError
from tinygrad_seq.protocols import CONSTANT_ONLY, DIFFERENTIABLE

A = np.array([[0.5, 1.5, 2.5], [1.0, 0.25, 3.0]])
B = np.array([[1.25, 0.75, 2.0], [0.5, 2.25, 1.0]])
M = np.array([True, False, True])
IDS = np.array([[0, 2], [1, 1]])

CALLS = {
    "add": lambda x: np.add(x, B), "subtract": lambda x: np.subtract(B, x),
    "multiply": lambda x: np.multiply(x, B), "divide": lambda x: np.true_divide(B, x),
    "power": lambda x: np.power(x, 2.5), "negative": lambda x: np.negative(x),
    "positive": lambda x: np.positive(x), "square": lambda x: np.square(x),
    "sqrt": lambda x: np.sqrt(x), "exp": lambda x: np.exp(x), "log": lambda x: np.log(x),
    "log1p": lambda x: np.log1p(x), "sin": lambda x: np.sin(x), "cos": lambda x: np.cos(x),
    "tanh": lambda x: np.tanh(x), "absolute": lambda x: np.absolute(x), "abs": lambda x: np.abs(x),
    "maximum": lambda x: np.maximum(x, B), "minimum": lambda x: np.minimum(B, x),
    "matmul": lambda x: np.matmul(x, B.T), "dot": lambda x: np.dot(B.T, x),
    "where": lambda x: np.where(M, x, 0.0), "clip": lambda x: np.clip(x, 0.7, 2.2),
    "clip keywords": lambda x: np.clip(x, min=0.7, max=2.2),
    "sum": lambda x: np.sum(x), "sum axis": lambda x: np.sum(x, axis=0),
    "sum keepdims": lambda x: np.sum(x, axis=(0, 1), keepdims=True),
    "mean": lambda x: np.mean(x, axis=1), "max": lambda x: np.max(x, axis=1),
    "amax": lambda x: np.amax(x), "min": lambda x: np.min(x, axis=-1), "amin": lambda x: np.amin(x),
    "var": lambda x: np.var(x, axis=0), "var ddof": lambda x: np.var(x, axis=1, ddof=1),
    "std": lambda x: np.std(x, axis=1), "std keepdims": lambda x: np.std(x, 0, keepdims=True),
    "cumsum": lambda x: np.cumsum(x), "cumsum axis": lambda x: np.cumsum(x, axis=1),
    "reshape": lambda x: np.reshape(x, (3, 2)), "transpose": lambda x: np.transpose(x),
    "transpose axes": lambda x: np.transpose(x, (1, 0)), "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1), "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(np.expand_dims(x, 0)),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 2, 3)), "flip": lambda x: np.flip(x, 1),
    "concatenate": lambda x: np.concatenate([x, B, x], axis=1),
    "stack": lambda x: np.stack([B, x]), "split": lambda x: np.split(x, 3, axis=1)[1],
    "take": lambda x: np.take(x, IDS), "take axis 0": lambda x: np.take(x, IDS % 2, axis=0),
    "take axis 1": lambda x: np.take(x, IDS, axis=1),
    "take last": lambda x: np.take(x, IDS, axis=-1),
    "take_along_axis": lambda x: np.take_along_axis(x, IDS, axis=1),
    "einsum": lambda x: np.einsum("ij,kj->ik", x, B),
    "einsum implicit": lambda x: np.einsum("ij->ji", x),
}  # fmt: skip


def as_array(value) -> np.ndarray:
    return value._data if isinstance(value, tgs.Tensor) else np.asarray(value)


@pytest.mark.parametrize("call", CALLS)
def test_numpys_function_equals_numpys_value_and_is_recorded(call: str) -> None:
    fn = CALLS[call]
    x = tgs.tensor(A, requires_grad=True)
    y = fn(x)
    assert isinstance(y, tgs.Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(as_array(y), fn(A), rtol=1e-13)
    from tinygrad_seq.testing import gradcheck

    gradcheck(fn, A)


def test_every_function_in_the_table_is_called_above() -> None:
    named = {call.split()[0] for call in CALLS}
    table = {func.__name__ for func in DIFFERENTIABLE}
    assert table <= named


def test_the_two_tables_do_not_overlap() -> None:
    assert not set(DIFFERENTIABLE) & CONSTANT_ONLY


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize(
    ("func", "args"),
    [
        (np.less, (1.0,)), (np.greater_equal, (B,)), (np.equal, (A,)), (np.sign, ()),
        (np.floor, ()), (np.isfinite, ()), (np.isnan, ()), (np.argmax, (1,)), (np.argsort, ()),
        (np.allclose, (A,)), (np.array_equal, (A,)), (np.any, ()), (np.zeros_like, ()),
        (np.ones_like, ()), (np.shape, ()), (np.ndim, ()), (np.size, ()), (np.round, (1,)),
        (np.logical_not, ()), (np.count_nonzero, ()),
    ],
)  # fmt: skip
def test_constant_only_functions_give_plain_values(func, args, tracked) -> None:
    x = tgs.tensor(A, requires_grad=tracked)
    found = func(x, *args)
    assert not isinstance(found, tgs.Tensor)
    assert np.array_equal(found, func(A, *args))


REFUSED = [
    np.arctan2, np.floor_divide, np.remainder, np.fmod, np.hypot, np.arcsin, np.heaviside,
    np.copysign, np.gcd, np.bitwise_and,
]  # fmt: skip


@pytest.mark.parametrize("func", REFUSED, ids=lambda f: f.__name__)
def test_a_function_without_a_rule_is_refused_on_a_tracked_tensor(func) -> None:
    x = tgs.tensor([0.5, 0.25], requires_grad=True)
    with pytest.raises(NotDifferentiableError, match=rf"np\.{func.__name__} has no gradient rule"):
        func(*[x] * func.nin)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.median(x), lambda x: np.interp(0.5, x, x), lambda x: np.convolve(x, x),
        lambda x: np.fft.fft(x), lambda x: np.linalg.inv(x[None] + np.eye(2)),
        lambda x: np.polyfit(x, x, 1), lambda x: np.histogram(x), lambda x: np.unique(x),
        lambda x: np.copyto(np.zeros(2), x),
    ],
)  # fmt: skip
def test_other_functions_are_refused_by_name(call) -> None:
    x = tgs.tensor(np.array([0.5, 0.25]), requires_grad=True)
    with pytest.raises(NotDifferentiableError, match=r"np\.\w+"):
        call(x)


def test_a_tracked_tensor_deep_inside_the_arguments_is_found() -> None:
    x = tgs.tensor([0.5], requires_grad=True)
    with pytest.raises(NotDifferentiableError, match=r"np\.block"):
        np.block([[np.ones(1), np.ones(1)], [np.ones(1), x]])


def test_refused_functions_work_on_constants_and_give_arrays() -> None:
    x = tgs.tensor(np.array([0.5, 0.25]))
    assert np.array_equal(np.median(x), 0.375)
    assert np.array_equal(np.arcsin(x), np.arcsin([0.5, 0.25]))
    assert isinstance(np.arcsin(x), np.ndarray)


def test_out_is_refused_where_it_would_lose_the_graph() -> None:
    x, out = tgs.tensor([0.5, 0.25], requires_grad=True), np.zeros(2, np.float32)
    for call in (
        lambda: np.exp(x, out=out),
        lambda: np.add(x, 1, out=out),
        lambda: np.less(x, 1, out=np.zeros(2, bool)),
        lambda: np.sum(x, out=out[:1]),
    ):
        with pytest.raises((NotDifferentiableError, ConfigError)):
            call()
    assert out.tolist() == [0, 0]


def test_writing_into_a_tensor_through_out_is_refused() -> None:
    x = tgs.tensor(np.zeros(2), requires_grad=True)
    frozen = tgs.tensor(np.zeros(2))
    loss = (x * frozen).sum()
    for target in (x, frozen, loss):
        with pytest.raises(GraphError, match=r"np\.add would write into a Tensor"):
            np.add(np.ones(target.shape), 1.0, out=target)
    assert frozen.tolist() == [0.0, 0.0]
    assert x.tolist() == [0.0, 0.0]


def test_an_array_in_place_operator_with_a_tracked_tensor_is_refused() -> None:
    x = tgs.tensor(np.ones(2), requires_grad=True)
    array = np.zeros(2)
    with pytest.raises(NotDifferentiableError):
        array += x
    assert array.tolist() == [0, 0]


@pytest.mark.parametrize("method", ["reduce", "accumulate", "outer", "at", "reduceat"])
def test_ufunc_methods_are_refused_on_tracked_tensors(method: str) -> None:
    x = tgs.tensor(np.array([0.5, 0.25]), requires_grad=True)
    args = {"outer": (x, x), "at": (x, [0], 1.0), "reduceat": (x, [0, 1])}.get(method, (x,))
    with pytest.raises((NotDifferentiableError, GraphError), match=rf"np\.add\.{method}"):
        getattr(np.add, method)(*args)
    assert x.tolist() == [0.5, 0.25]


def test_ufunc_at_cannot_write_into_a_constant_behind_the_graphs_back() -> None:
    w, k = tgs.tensor(np.ones(2), requires_grad=True), tgs.tensor(np.array([0.5, 0.25]))
    loss = (w * k).sum()
    for write in (
        lambda: np.add.at(k, [0], 1.0),
        lambda: np.copyto(k, np.zeros(2)),
        lambda: np.put(k, [0], 9.0),
        lambda: np.putmask(k, [True, False], 9.0),
    ):
        with pytest.raises(GraphError, match="behind the graph's back"):
            write()
    loss.backward()
    assert w.grad.tolist() == [0.5, 0.25]


def test_where_and_dtype_of_a_ufunc_are_refused_not_ignored() -> None:
    x = tgs.tensor(np.array([0.5, 0.25]), requires_grad=True)
    with pytest.raises(NotDifferentiableError):
        np.exp(x, where=[True, False])
    with pytest.raises(NotDifferentiableError):
        np.add(x, x, dtype=np.float32)


def test_an_unknown_argument_says_which_ones_there_are() -> None:
    x = tgs.tensor(A, requires_grad=True)
    with pytest.raises(ConfigError, match=r"np\.sum on a Tensor[\s\S]*axis"):
        np.sum(x, axis=0, initial=3.0)


@pytest.mark.parametrize("convert", [np.asarray, np.array, lambda x: np.asarray(x, np.float64)])
def test_asarray_refuses_a_tracked_tensor(convert) -> None:
    with pytest.raises(NotDifferentiableError, match=r"np\.asarray[\s\S]*detach"):
        convert(tgs.tensor([1.0], requires_grad=True))
    assert convert(tgs.tensor([1.0])).tolist() == [1.0]


def test_asarray_refuses_a_list_of_tracked_tensors() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(NotDifferentiableError):
        np.asarray([x, x])


def test_an_array_on_the_left_defers_to_the_tensor() -> None:
    x = tgs.tensor(A, requires_grad=True)
    for y in (B + x, B - x, B * x, B / x, B.T @ x, np.float64(2.0) * x, 2.0**x):
        assert isinstance(y, tgs.Tensor)
        assert y.requires_grad


def test_comparing_array_and_tensor_gives_a_mask() -> None:
    x = tgs.tensor(A, requires_grad=True)
    mask = np.less(B, x)
    assert np.array_equal(mask, B < A)
    assert not isinstance(mask, tgs.Tensor)


def test_where_with_one_argument_gives_positions() -> None:
    x = tgs.tensor(A, requires_grad=True)
    assert np.array_equal(np.where(x > 1)[0], np.where(A > 1)[0])
