"""NumPy's own functions on Tensors: differentiable, constant-only or refused; never silent."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, GraphError, NotDifferentiableError
from tinygrad_seq.ops.numpy_rest import CONSTANT_ONLY
from tinygrad_seq.ops.numpy_rest import REFUSED as REFUSED_WITH_REASON
from tinygrad_seq.ops.registry import DIFFERENTIABLE

A = np.array([[0.5, 1.5, 2.5], [1.0, 0.25, 3.0]])
B = np.array([[1.25, 0.75, 2.0], [0.5, 2.25, 1.0]])
M = np.array([True, False, True])
IDS = np.array([[0, 2], [1, 1]])
CUBE = np.linspace(-1.0, 2.0, 12).reshape(2, 3, 2)[..., :1] + np.arange(3.0)


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
    np.fmod, np.fmax, np.spacing, np.heaviside,
    np.copysign, np.gcd, np.bitwise_and, np.nextafter,
]  # fmt: skip


@pytest.mark.parametrize("func", REFUSED, ids=lambda f: f.__name__)
def test_a_function_without_a_rule_is_refused_on_a_tracked_tensor(func) -> None:
    x = tgs.tensor([0.5, 0.25], requires_grad=True)
    with pytest.raises(NotDifferentiableError, match=rf"np\.{func.__name__} has no gradient rule"):
        func(*[x] * func.nin)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.median(x), lambda x: np.interp(0.5, x, x), lambda x: np.trapezoid(x, x),
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
    assert np.array_equal(np.spacing(x), np.spacing([0.5, 0.25]))
    assert isinstance(np.spacing(x), np.ndarray)


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


@pytest.mark.parametrize("func", REFUSED_WITH_REASON, ids=lambda f: f.__name__)
def test_every_refusal_gives_its_reason(func) -> None:
    x = tgs.tensor(np.eye(2), requires_grad=True)
    count = getattr(func, "nin", 1)
    more = {
        np.linalg.solve: (x,), np.linalg.lstsq: (x,), np.linalg.matrix_power: (2,), np.isin: (x,),
        np.percentile: (50,), np.quantile: (0.5,), np.partition: (1,), np.argpartition: (1,),
        np.cross: (x,), np.linalg.cross: (x,), np.insert: (0, x), np.resize: ((2,),),
        np.linalg.tensorsolve: (x,), np.nanquantile: (0.5,), np.rollaxis: (1,),
        np.apply_along_axis: (0, x), np.polyfit: (x, 1), np.polyval: (x,), np.interp: (x, x),
        np.piecewise: ([True], [1.0]), np.choose: ([x, x],),
    }  # fmt: skip
    args = (x,) * count + more.get(func, ())
    writes = {
        np.copyto: (1.0,), np.putmask: ([[True]], 1.0), np.place: ([[True]], [1.0]),
        np.put: (0, 1.0), np.put_along_axis: (np.array([[0]]), 1.0, 0), np.fill_diagonal: (1.0,),
    }  # fmt: skip
    args += writes.get(func, ())
    with pytest.raises((NotDifferentiableError, GraphError)) as caught:
        func(*args)
    assert func in writes or REFUSED_WITH_REASON[func] in str(caught.value)
    assert np.array_equal(x.data, np.eye(2))


def test_no_function_stands_in_two_tables() -> None:
    assert not set(DIFFERENTIABLE) & set(REFUSED_WITH_REASON)
    assert not set(CONSTANT_ONLY) & set(REFUSED_WITH_REASON)
    assert not set(CONSTANT_ONLY) & set(DIFFERENTIABLE)
