"""NumPy's own functions on Tensors: differentiable, constant-only or refused; never silent."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, GraphError, NotDifferentiableError
from tinygrad_seq.ops.numpy_names import REFUSED as REFUSED_WITH_REASON
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
    "float_power": lambda x: np.float_power(x, 1.5), "fabs": lambda x: np.fabs(x),
    "expm1": lambda x: np.expm1(x), "exp2": lambda x: np.exp2(x), "log2": lambda x: np.log2(x),
    "log10": lambda x: np.log10(x), "sinh": lambda x: np.sinh(x), "cosh": lambda x: np.cosh(x),
    "tan": lambda x: np.tan(0.4 * x), "arctan": lambda x: np.arctan(x),
    "reciprocal": lambda x: np.reciprocal(x), "logaddexp": lambda x: np.logaddexp(x, B),
    "real": lambda x: np.real(x), "conjugate": lambda x: np.conjugate(x),
    "select": lambda x: np.select([B > 2, B > 1], [x, x * x], 0.5), "copy": lambda x: np.copy(x),
    "outer": lambda x: np.outer(x[0], B), "inner": lambda x: np.inner(x, B),
    "inner vectors": lambda x: np.inner(x[0], x[1]), "vdot": lambda x: np.vdot(x, B),
    "tensordot": lambda x: np.tensordot(x, B.T, 1), "tensordot 2": lambda x: np.tensordot(x, B),
    "tensordot axes": lambda x: np.tensordot(B, x, axes=([1, 0], [1, 0])),
    "average": lambda x: np.average(x),
    "average weights": lambda x: np.average(x, 0, weights=x + B),
    "average vector": lambda x: np.average(x, axis=1, weights=[1.0, 2.0, 3.0]),
    "ptp": lambda x: np.ptp(x, axis=1), "prod": lambda x: np.prod(x),
    "prod axis": lambda x: np.prod(x, 1),
    "prod keepdims": lambda x: np.prod(x, axis=(0, 1), keepdims=True),
    "cumprod": lambda x: np.cumprod(x), "cumprod axis": lambda x: np.cumprod(x, axis=1),
    "diff": lambda x: np.diff(x), "diff twice": lambda x: np.diff(x, n=2, axis=1),
    "trace": lambda x: np.trace(x), "trace offset": lambda x: np.trace(x, offset=1),
    "norm": lambda x: np.linalg.norm(x), "norm axis": lambda x: np.linalg.norm(x, axis=1),
    "norm fro": lambda x: np.linalg.norm(x, "fro"),
    "norm 1": lambda x: np.linalg.norm(x, 1, axis=0),
    "norm 3": lambda x: np.linalg.norm(x, 3, axis=1, keepdims=True),
    "norm inf": lambda x: np.linalg.norm(x[0], np.inf),
    "norm -inf": lambda x: np.linalg.norm(x[1], -np.inf),
    "ravel": lambda x: np.ravel(x), "atleast_1d": lambda x: np.atleast_1d(x[0, 0]),
    "atleast_2d": lambda x: np.atleast_2d(x[0]), "hstack": lambda x: np.hstack([x, B]),
    "hstack vectors": lambda x: np.hstack([x[0], x[1, 1], x[1]]),
    "vstack": lambda x: np.vstack([x, x[0]]),
    "column_stack": lambda x: np.column_stack([x, x[:, 0]]),
    "append": lambda x: np.append(x, B), "append axis": lambda x: np.append(x, x, axis=1),
    "array_split": lambda x: np.array_split(x, 2, axis=1)[0],
    "compress": lambda x: np.compress([True, False, True], x, axis=1),
    "delete": lambda x: np.delete(x, 1, axis=1), "diagonal": lambda x: np.diagonal(x),
    "diag": lambda x: np.diag(x, 1), "diag vector": lambda x: np.diag(x[0]),
    "diag above": lambda x: np.diag(x[0], 2), "diag below": lambda x: np.diag(x[0], -1),
    "flip all": lambda x: np.flip(x), "flip axes": lambda x: np.flip(x, (0, 1)),
    "fliplr": lambda x: np.fliplr(x), "flipud": lambda x: np.flipud(x),
    "rot90": lambda x: np.rot90(x, 3), "roll": lambda x: np.roll(x, 2),
    "roll axis": lambda x: np.roll(x, -1, axis=1),
    "roll axes": lambda x: np.roll(x, (1, 1), (0, 1)),
    "repeat": lambda x: np.repeat(x, 2), "repeat axis": lambda x: np.repeat(x, [1, 0, 2], axis=1),
    "tile": lambda x: np.tile(x, (2, 2)), "pad": lambda x: np.pad(x, 1),
    "pad values": lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=5.0),
    "pad edge": lambda x: np.pad(x, 2, mode="edge"),
    "pad wrap": lambda x: np.pad(x, (0, 2), "wrap"),
    "pad reflect": lambda x: np.pad(x, ((1, 0), (1, 1)), mode="reflect"),
    "sort": lambda x: np.sort(x), "sort axis": lambda x: np.sort(x, axis=0),
    "sort flat": lambda x: np.sort(x, axis=None), "tril": lambda x: np.tril(x),
    "tril vector": lambda x: np.tril(x[0]), "triu": lambda x: np.triu(x, 1),
    "sum by name": lambda x: np.sum(axis=1, a=x), "sum None": lambda x: np.sum(x, 0, dtype=None),
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


@pytest.mark.parametrize("func", REFUSED_WITH_REASON, ids=lambda f: f.__name__)
def test_every_refusal_gives_its_reason(func) -> None:
    x = tgs.tensor(np.eye(2), requires_grad=True)
    count = getattr(func, "nin", 1)
    more = {
        np.linalg.solve: (x,), np.linalg.lstsq: (x,), np.linalg.matrix_power: (2,), np.isin: (x,),
        np.percentile: (50,), np.quantile: (0.5,), np.partition: (1,), np.argpartition: (1,),
        np.convolve: (x,), np.correlate: (x,), np.cross: (x,), np.kron: (x,), np.insert: (0, x),
        np.interp: (x, x), np.piecewise: ([True], [1.0]), np.choose: ([x, x],),
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
    assert not CONSTANT_ONLY & set(REFUSED_WITH_REASON)


@pytest.mark.parametrize("zeros", [1, 2, 3])
@pytest.mark.parametrize("fn", [np.prod, np.cumprod])
def test_products_differentiate_twice_at_zeros(fn, zeros: int) -> None:
    from tinygrad_seq.testing import gradcheck

    x = np.array([1.5, -2.0, 0.5, 3.0, 2.5])
    x[:zeros] = 0.0
    gradcheck(fn, x, order=2)


def test_norm_at_the_origin_and_of_huge_entries() -> None:
    x = tgs.tensor([0.0, 0.0], requires_grad=True)
    np.linalg.norm(x).backward()
    assert x.grad.tolist() == [0.0, 0.0]
    big = tgs.tensor([3e30, 4e30], requires_grad=True)
    size = np.linalg.norm(big)
    size.backward()
    assert size.item() == pytest.approx(5e30)
    np.testing.assert_allclose(big.grad, [0.6, 0.8], rtol=1e-6)


def test_orders_of_norms_that_need_a_decomposition_are_refused() -> None:
    x = tgs.tensor(A, requires_grad=True)
    for order in (2, "nuc", 1):
        with pytest.raises(ConfigError, match="ord"):
            np.linalg.norm(x, order)


def test_a_mode_of_padding_that_computes_is_refused() -> None:
    x = tgs.tensor(A, requires_grad=True)
    with pytest.raises(ConfigError, match=r"pad: mode[\s\S]*'mean'"):
        np.pad(x, 1, mode="mean")
    assert np.pad(tgs.tensor(np.zeros((0, 2))), 1).shape == (2, 4)


def test_products_of_nothing_are_one() -> None:
    x = tgs.tensor(np.zeros((0, 3)), requires_grad=True)
    assert np.prod(x).item() == 1.0
    assert np.prod(x, axis=0).tolist() == [1.0, 1.0, 1.0]
    assert np.prod(tgs.tensor(3.0)).item() == 3.0
