"""NumPy's functions by NumPy's names: the same values, and gradients that pass the checks."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops.numpy_rest import CONSTANT_ONLY, REFUSED, name_of
from tinygrad_seq.ops.registry import DIFFERENTIABLE, NEWER
from tinygrad_seq.testing import gradcheck

A = np.array([[0.5, 1.5, 2.5], [1.0, 0.25, 3.0]])
B = np.array([[1.25, 0.75, 2.0], [0.5, 2.25, 1.0]])
M = np.array([True, False, True])
IDS = np.array([[0, 2], [1, 1]])
CUBE = np.linspace(-1.0, 2.0, 12).reshape(2, 3, 2)[..., :1] + np.arange(3.0)

CALLS = {
    "add": lambda x: np.add(x, B), "subtract": lambda x: np.subtract(B, x),
    "multiply": lambda x: np.multiply(x, B), "divide": lambda x: np.true_divide(B, x),
    "remainder": lambda x: np.remainder(x, 0.7), "remainder by x": lambda x: np.remainder(7.3, x),
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
    "linalg.norm": lambda x: np.linalg.norm(x),
    "linalg.norm axis": lambda x: np.linalg.norm(x, axis=1),
    "linalg.norm fro": lambda x: np.linalg.norm(x, "fro"),
    "linalg.norm 1": lambda x: np.linalg.norm(x, 1, axis=0),
    "linalg.norm 3": lambda x: np.linalg.norm(x, 3, axis=1, keepdims=True),
    "linalg.norm 3 one axis": lambda x: np.linalg.norm(x, 3, axis=(1,)),
    "linalg.norm inf": lambda x: np.linalg.norm(x[0], np.inf),
    "linalg.norm -inf": lambda x: np.linalg.norm(x[1], -np.inf),
    "ravel": lambda x: np.ravel(x), "atleast_1d": lambda x: np.atleast_1d(x[0, 0]),
    "atleast_2d": lambda x: np.atleast_2d(x[0]), "hstack": lambda x: np.hstack([x, B]),
    "hstack vectors": lambda x: np.hstack([x[0], x[1, 1], x[1]]),
    "vstack": lambda x: np.vstack([x, x[0]]),
    "column_stack": lambda x: np.column_stack([x, x[:, 0]]),
    "append": lambda x: np.append(x, B), "append axis": lambda x: np.append(x, x, axis=1),
    "append rows": lambda x: np.append(B, x, axis=0),
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
    "arcsin": lambda x: np.arcsin(0.3 * x), "arccos": lambda x: np.arccos(0.3 * x),
    "arcsinh": lambda x: np.arcsinh(x), "arccosh": lambda x: np.arccosh(x + 1),
    "arctanh": lambda x: np.arctanh(0.3 * x), "arctan2": lambda x: np.arctan2(x, B),
    "hypot": lambda x: np.hypot(B, x), "logaddexp2": lambda x: np.logaddexp2(x, B),
    "cbrt": lambda x: np.cbrt(x - 2),
    "degrees": lambda x: np.degrees(x), "radians": lambda x: np.radians(x),
    "rad2deg": lambda x: np.rad2deg(x), "deg2rad": lambda x: np.deg2rad(x),
    "dot number": lambda x: np.dot(2.0, x), "dot stacks": lambda x: np.dot(B, CUBE * x[:1].T),
    "dot vector stacks": lambda x: np.dot(x[0], CUBE), "inner number": lambda x: np.inner(x, 2.0),
    "vecdot": lambda x: np.vecdot(x, B), "kron": lambda x: np.kron(x, B),
    "kron vector": lambda x: np.kron(x[0], B), "kron deep": lambda x: np.kron(CUBE, x),
    "convolve": lambda x: np.convolve(x[0], B[1, :2]),
    "convolve longer": lambda x: np.convolve(x[0, :2], B[1], "same"),
    "correlate": lambda x: np.correlate(x[0], x[1, :2]),
    "correlate full": lambda x: np.correlate(x[0], B[1], "full"),
    "linalg.matmul": lambda x: np.linalg.matmul(x, B.T),
    "linalg.multi_dot": lambda x: np.linalg.multi_dot([x, B.T, x]),
    "linalg.outer": lambda x: np.linalg.outer(x[0], B[1]),
    "linalg.tensordot": lambda x: np.linalg.tensordot(x, B.T, axes=1),
    "linalg.vecdot": lambda x: np.linalg.vecdot(x, B, axis=0),
    "linalg.vector_norm": lambda x: np.linalg.vector_norm(x),
    "linalg.vector_norm 1": lambda x: np.linalg.vector_norm(x, ord=1),
    "linalg.vector_norm axis": lambda x: np.linalg.vector_norm(x, axis=1, ord=3, keepdims=True),
    "linalg.matrix_norm": lambda x: np.linalg.matrix_norm(CUBE * x[0]),
    "linalg.trace": lambda x: np.linalg.trace(CUBE * x[0], offset=1),
    "linalg.diagonal": lambda x: np.linalg.diagonal(CUBE * x[1]),
    "linalg.matrix_transpose": lambda x: np.linalg.matrix_transpose(x[None]),
    "matrix_transpose": lambda x: np.matrix_transpose(x[None]),
    "moveaxis axes": lambda x: np.moveaxis(x[:, None], (0, 2), (1, 0)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, B[:1])[0],
    "meshgrid": lambda x: np.meshgrid(x[0], B[1])[0],
    "meshgrid ij": lambda x: np.meshgrid(x[0], B[1], B[0, :2], indexing="ij")[0],
    "atleast_3d": lambda x: np.atleast_3d(x), "atleast_3d vector": lambda x: np.atleast_3d(x[0]),
    "atleast_1d several": lambda x: np.atleast_1d(x[0, 0], x)[0],
    "dstack": lambda x: np.dstack([x, B]), "hsplit": lambda x: np.hsplit(x, 3)[1],
    "hsplit vector": lambda x: np.hsplit(x[0], [1])[1], "vsplit": lambda x: np.vsplit(x, 2)[0],
    "dsplit": lambda x: np.dsplit(x[None], [1, 2])[2],
    "array_split places": lambda x: np.array_split(x, [1, 2], axis=1)[1],
    "extract": lambda x: np.extract(B > 1, x), "flip none": lambda x: np.flip(x, ()),
    "lib.stride_tricks.sliding_window_view": lambda x: (
        np.lib.stride_tricks.sliding_window_view(x, 2, axis=1)
    ),
    "diagflat": lambda x: np.diagflat(x, 1), "take axis -1": lambda x: np.take(x, 1, axis=-1),
    "sum by name": lambda x: np.sum(axis=1, a=x), "sum None": lambda x: np.sum(x, 0, dtype=None),
}  # fmt: skip


if hasattr(np, "unstack"):  # NumPy 2.1
    CALLS |= {
        "unstack": lambda x: np.unstack(x, axis=1)[2],
        "astype": lambda x: np.astype(x, np.float64),
        "cumulative_sum": lambda x: np.cumulative_sum(x, axis=1, include_initial=True),
        "cumulative_sum vector": lambda x: np.cumulative_sum(x[0]),
        "cumulative_prod": lambda x: np.cumulative_prod(x, axis=0, include_initial=True),
    }
if hasattr(np, "matvec"):  # NumPy 2.2
    CALLS |= {
        "matvec": lambda x: np.matvec(x, B[0]),
        "matvec stacks": lambda x: np.matvec(CUBE * x[:1], x),
        "vecmat": lambda x: np.vecmat(x[:, 0], B),
    }  # fmt: skip


def as_array(value) -> np.ndarray:
    return value._array if isinstance(value, tgs.Tensor) else np.asarray(value)


@pytest.mark.parametrize("call", CALLS)
def test_numpys_function_equals_numpys_value_and_is_recorded(call: str) -> None:
    fn = CALLS[call]
    x = tgs.tensor(A, requires_grad=True)
    y = fn(x)
    assert isinstance(y, tgs.Tensor)
    assert y.requires_grad
    np.testing.assert_allclose(as_array(y), fn(A), rtol=1e-13)
    gradcheck(fn, A)


def test_every_function_in_the_table_is_called_above() -> None:
    named = {f"np.{call.split()[0]}" for call in CALLS}
    assert {name_of(func) for func in DIFFERENTIABLE} <= named


def test_every_ufunc_stands_in_one_table() -> None:
    """The functions NumPy can be asked for on a Tensor are known, one by one."""
    tables = (set(DIFFERENTIABLE), set(CONSTANT_ONLY), set(REFUSED))
    ufuncs = {f for name, f in vars(np).items() if isinstance(f, np.ufunc)}
    assert len(ufuncs) > 80
    assert not [f.__name__ for f in ufuncs if sum(f in table for table in tables) != 1]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("long", [1, 2, 5, 6])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 6])
def test_convolutions_are_numpys_at_every_size(mode: str, long: int, width: int) -> None:
    rng = np.random.default_rng(0)
    a, v = rng.standard_normal(long), rng.standard_normal(width)
    found = np.convolve(tgs.tensor(a, requires_grad=True), v, mode)
    np.testing.assert_allclose(found.data, np.convolve(a, v, mode), atol=1e-14)
    x = tgs.tensor(a, requires_grad=True)
    if width <= long:
        np.testing.assert_allclose(
            np.correlate(x, v, mode).data, np.correlate(a, v, mode), atol=1e-14
        )
    else:
        with pytest.raises(ShapeError, match="exchange the operands"):
            np.correlate(x, v, mode)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: np.correlate(x[0], x[0], "middle"), "np.correlate: mode"),
        (lambda x: np.convolve(x, x), "np.convolve: operands"),
        (lambda x: np.convolve(x[0], x), "np.convolve: operands"),
        (lambda x: np.correlate(x, x[0]), "np.correlate: operands"),
        (lambda x: np.linalg.norm(x[0], 0), "ord"),
        (lambda x: np.moveaxis(x, (0, 1), (0,)), "moveaxis: axes"),
        (lambda x: np.moveaxis(x, (0, 0), (0, 1)), "moveaxis: axes"),
        (lambda x: np.meshgrid(x[0], indexing="yx"), "np.meshgrid: indexing"),
        (lambda x: np.array_split(x, 0), "array_split: sections"),
        (lambda x: np.diag(x[None]), "diag"),
        (lambda x: np.hstack([x, x[0]]), "concatenate: axis out of range"),
        (lambda x: np.vdot(x[0], x[0, :1]), "matmul: inner sizes differ"),
        (lambda x: np.vecdot(x, x[:, :1]), "np.vecdot: lengths"),
        (lambda x: np.linalg.vecdot(x, x[:1], axis=0), "np.vecdot: lengths"),
        (lambda x: np.select([A > 1], [x, x]), "np.select: choices"),
        (lambda x: np.linalg.norm(x[None], 2), "ord"),
        (lambda x: np.flip(x, (0, -2)), "flip: axis"),
        (lambda x: np.compress(M, x, 5), "^compress: axis 5"),
        (
            lambda x: np.lib.stride_tricks.sliding_window_view(x, 9, 0),
            "^sliding_window_view: window shape",
        ),
    ],
)
def test_options_that_cannot_work_are_named(call, named: str) -> None:
    with pytest.raises((ConfigError, ShapeError), match=named):
        call(tgs.tensor(A, requires_grad=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", [[1, 2, 3], np.array([2, 0, 1]), M, [1.0, 2.0, 3.0]])
def test_averages_by_counts_keep_the_dtype(weights, dtype: type) -> None:
    x = tgs.tensor(A.astype(dtype), requires_grad=True)
    found = np.average(x, 1, weights)
    np.testing.assert_allclose(found.data, np.average(A, 1, weights), rtol=1e-6)
    assert found.dtype == dtype


def test_a_tensor_as_condition_counts_as_its_truth() -> None:
    x = tgs.tensor([1.5, 0.0, -2.0], requires_grad=True)
    np.testing.assert_array_equal(np.where(x), [[0, 2]])
    chosen = np.where(x, x * x, 3.0)
    chosen.sum().backward()
    assert chosen.tolist() == [2.25, 3.0, 4.0]
    assert x.grad.tolist() == [3.0, 0.0, -4.0]


def test_a_running_sum_of_a_matrix_needs_an_axis() -> None:
    with pytest.raises(ConfigError, match=r"np\.cumulative_sum: axis"):
        NEWER["cumulative_sum"](tgs.tensor(A))


@pytest.mark.parametrize("zeros", [1, 2, 3])
@pytest.mark.parametrize("fn", [np.prod, np.cumprod])
def test_products_differentiate_twice_at_zeros(fn, zeros: int) -> None:
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


@pytest.mark.parametrize("order", [None, 1, 2, 3, 0.5, np.inf, -np.inf, -1])
@pytest.mark.parametrize("axis", [0, -1, (1,)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms_of_vectors_are_numpys(order, axis, keepdims: bool) -> None:
    options = {"ord": order, "axis": axis, "keepdims": keepdims}
    found = np.linalg.norm(tgs.tensor(A, requires_grad=True), **options)
    np.testing.assert_allclose(found.data, np.linalg.norm(A, **options), rtol=1e-13)
    gradcheck(lambda x: np.linalg.norm(x, **options), A)


def test_hypot_at_the_origin_has_no_gradient() -> None:
    a, b = (tgs.tensor([0.0, 3.0], requires_grad=True, dtype=np.float64) for _ in range(2))
    np.hypot(a, b).sum().backward()
    assert a.grad.tolist() == b.grad.tolist() == pytest.approx([0.0, np.sqrt(0.5)])


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


@pytest.mark.parametrize("values", [[True, False], [-0.0, 1.5], [1, 2]])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_copy_is_the_same_to_the_bit(values, tracked) -> None:
    array = np.array(values)
    x = tgs.Tensor(array, requires_grad=tracked and array.dtype.kind == "f")
    found = np.copy(x)
    assert found.data.dtype == array.dtype
    assert found.data.tobytes() == array.tobytes()
    assert not np.shares_memory(found.data, x.data)
    assert found.requires_grad == x.requires_grad
