"""What operations take: floats of two sizes, integers, booleans; and what becomes of the rest."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import (
    ConfigError,
    DtypeError,
    NotDifferentiableError,
    ShapeError,
    TinygradSeqError,
)
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing.draws import RandomDraw

RNG = np.random.default_rng
X = tgs.tensor([0.5, 2.0])
INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.bool_]

# -- complex numbers -------------------------------------------------------------------------------

BINARY = sorted(
    name for name, op in OPS.items() if len(op.inputs) == 2 and op.pointwise and not op.keep
)
IMAGINARY = [1j, np.complex64(1j), np.array([1j, 2]), [1j, 2.0]]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("z", IMAGINARY, ids=repr)
@pytest.mark.parametrize("x", [X, tgs.tensor([1, 2]), tgs.tensor(0.5), 1.5], ids=repr)
def test_a_complex_operand_is_refused_on_either_side(name: str, z: Any, x: Any) -> None:
    params = {"condition": np.array([True, False])} if name == "where" else {}
    for operands in ((x, z), (z, x)):
        with pytest.raises(DtypeError, match="real"):
            apply(OPS[name], operands, params)


@pytest.mark.parametrize(
    "call",
    [
        lambda: X * 1j,
        lambda: 1j * X,
        lambda: X**1j,
        lambda: 1j**X,
        lambda: np.exp(1j * X),
        lambda: np.where([True, False], X, 1j),
        lambda: tgs.tensor([1, 2]) * 1j,
        lambda: tgs.stack([X, 1j]),
        lambda: tgs.concatenate([X, [1j]]),
        lambda: np.matmul(X, np.array([1j, 1])),
        lambda: tgs.clip(X, 1j),
        lambda: tgs.pad(X, 1, constant_values=1j),
        lambda: tgs.tensor([1j]),
        lambda: tgs.tensor([1.0], dtype=complex),
        lambda: X.astype(complex),
        lambda: tgs.tensor([1.0], requires_grad=True).__mul__(2).backward(np.array([1j])),
        lambda: nn.Linear(2, 2, rng=RNG(0))(np.array([1j, 2], np.complex64)),
    ],
)
def test_complex_numbers_come_in_nowhere(call: Any) -> None:
    with pytest.raises(DtypeError):
        call()


# -- integers --------------------------------------------------------------------------------------

FLOATS = sorted(name for name, op in OPS.items() if op.floats)


@pytest.mark.parametrize("kind", INTEGERS)
@pytest.mark.parametrize("name", FLOATS)
def test_integers_are_computed_with_as_float64(name: str, kind: Any) -> None:
    """No difference wraps, and no result is a float16."""
    op = OPS[name]
    assert op.sample is not None
    arrays, params = op.sample(RandomDraw(RNG(1)))
    low, high = (0, 1) if kind is np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
    extremes = [np.resize(np.array([low, high, 1, high], dtype=kind), np.shape(a)) for a in arrays]
    with np.errstate(all="ignore"):
        got = apply(op, tuple(extremes), params).numpy()
        expected = apply(op, tuple(a.astype(float) for a in extremes), params).numpy()
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", INTEGERS)
def test_losses_attention_and_products_of_integers(kind: Any) -> None:
    low, high = (0, 1) if kind is np.bool_ else (np.iinfo(kind).min, np.iinfo(kind).max)
    a, b = np.array([[low, high, 1]], kind), np.array([[high, low, 1]], kind)
    for call in (
        lambda a, b: tgs.mse_loss(a, b),
        lambda a, b: tgs.mse_loss(a, b, reduction="sum"),
        lambda a, b: tgs.cross_entropy(a, [0]),
        lambda a, b: tgs.scaled_dot_product_attention(a, b, b)[0],
        lambda a, b: tgs.var(a),
        lambda a, b: tgs.std(a),
        lambda a, b: np.linalg.norm(tgs.tensor(a[0]), 1),
        lambda a, b: np.linalg.norm(tgs.tensor(a[0]), 3),
        lambda a, b: np.average(tgs.tensor(a)),
    ):
        got, exact = call(a, b), call(a.astype(float), b.astype(float))
        np.testing.assert_allclose(got.numpy(), exact.numpy())
    # Products and sums are NumPy's, of integers and in its accumulators.
    for ours, theirs in ((tgs.prod, np.prod), (tgs.sum, np.sum)):
        np.testing.assert_array_equal(ours(a).numpy(), theirs(a))
    for ours, theirs in ((tgs.cumprod, np.cumprod), (tgs.cumsum, np.cumsum)):
        np.testing.assert_array_equal(ours(a, axis=1).numpy(), theirs(a, axis=1))


# -- floats of other sizes -------------------------------------------------------------------------


def test_float16_is_read_as_float32() -> None:
    half = np.array([1000.0] * 4, np.float16)
    x = tgs.tensor(half, requires_grad=True)
    assert x.dtype == np.float32
    tgs.logsumexp(x).backward()
    assert x.grad.tolist() == [0.25] * 4
    assert tgs.cross_entropy(np.zeros((70_000, 2), np.float16), np.zeros(70_000, int)).item() == (
        pytest.approx(np.log(2))
    )
    assert tgs.softmax(np.zeros(100_000, np.float16)).numpy().astype(float).sum() == (
        pytest.approx(1, abs=1e-6)
    )
    assert (tgs.tensor([1.0]) * np.float16(0.5)).dtype == np.float32
    assert (tgs.tensor(np.ones(1)) * np.float16(0.5)).dtype == np.float64
    parameter = nn.Parameter(half)
    parameter.grad = np.zeros(4, np.float16)
    optim.Adam([parameter]).step()
    assert parameter.dtype == np.float32 and parameter.tolist() == [1000.0] * 4


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, "f2", complex, object, str, "M8[s]"])
@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: tgs.tensor([1.0], dtype=dtype),
        lambda dtype: tgs.tensor([1.0]).astype(dtype),
        lambda dtype: nn.Linear(2, 2, rng=RNG(0)).astype(dtype),
        lambda dtype: tgs.one_hot([0], 2, dtype),
    ],
)
def test_no_tensor_has_such_a_dtype(make: Any, dtype: Any) -> None:
    with pytest.raises(DtypeError, match=r"float32"):
        make(dtype)


def test_what_would_not_fit_is_refused_and_not_wrapped() -> None:
    for value, dtype in (([300], np.uint8), ([-1], np.uint32), ([1e10], np.int32), ([2**40], "i4")):
        with pytest.raises(DtypeError, match="cannot hold"):
            tgs.tensor(value, dtype=dtype)
        with pytest.raises(DtypeError, match="cannot hold"):
            tgs.tensor(np.array(value)).astype(dtype)
    for value in (np.nan, np.inf):
        with pytest.raises(DtypeError, match="cannot hold"):
            tgs.tensor([value], dtype=int)
    assert tgs.tensor([255.9, -0.5], dtype=np.uint8).tolist() == [255, 0]


# -- zero-dimensional values -----------------------------------------------------------------------

NUMBERS = [
    0.5,
    1,
    np.float64(0.5),
    np.float32(0.5),
    np.float16(0.5),
    np.longdouble(0.5),
    np.int8(2),
]
NUMBERS += [np.array(0.5), np.array(0.5, np.float32), np.array(2)]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{type(n).__name__}-{n!r}")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (2,)])
@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, np.maximum],
)
def test_a_number_takes_the_dtype_of_the_tensor(
    operation: Any, shape: Any, dtype: Any, number: Any
) -> None:
    x = tgs.tensor(np.full(shape, 1.5, dtype), requires_grad=True)
    assert operation(x, number).dtype == dtype
    assert operation(number, x).dtype == dtype


def test_two_tensors_of_different_dtypes_are_still_refused() -> None:
    for a, b in ((1.0, 1.0), ([1.0], [1.0])):
        with pytest.raises(DtypeError, match="mix silently"):
            tgs.tensor(np.float32(a)) * tgs.tensor(np.float64(b))


# -- arrays that are not what they seem ------------------------------------------------------------

MASKED = np.ma.masked_array([1.0, 2.0, 1e9], mask=[False, False, True])
STRANGE = {
    "masked": lambda: MASKED,
    "masked rows": lambda: [MASKED, MASKED],
    "None": lambda: [1, None],
    "words": lambda: ["a", "b"],
    "array of words": lambda: np.array(["a", "b"]),
    "array of objects": lambda: np.array([1.0, "b"], object),
    "numbers as objects": lambda: np.array([1.0, 2.0], object),
    "dates": lambda: np.zeros(2, "M8[s]"),
    "records": lambda: np.zeros(2, [("a", "f4")]),
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "huge": lambda: [10**400],
    "set": lambda: {1.0, 2.0},
    "dict": lambda: {"a": 1.0},
    "generator": lambda: (x for x in [1.0, 2.0]),
    "object": object,
    "text": lambda: "text",
}
UNARY = sorted(
    name
    for name, op in OPS.items()
    if len(op.inputs) == 1 and op.twin is None and hasattr(tgs, name) and not op.variadic
)
FURTHER = {
    "reshape": ((1,),),
    "broadcast_to": ((4, 2),),
    "flip": (0,),
    "split": (1,),
    "getitem": (0,),
    "take": ([0],),
    "take_along_axis": ([0],),
    "masked_softmax": (np.ones(2, bool),),
    "transpose": ((0,),),
    "cumsum": (0,),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("strange", STRANGE)
def test_strange_arrays_are_refused_by_every_operation(name: str, strange: str) -> None:
    with pytest.raises((DtypeError, ShapeError)):
        getattr(tgs, name)(STRANGE[strange](), *FURTHER.get(name, ()))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: tgs.tensor(x),
        lambda x: X + x,
        lambda x: tgs.stack([X, x]),
        lambda x: tgs.mse_loss(x, x),
        lambda x: nn.Parameter(x),
        lambda x: setattr(tgs.tensor([1.0, 2.0]), "data", x),
        lambda x: setattr(tgs.tensor([1.0, 2.0], requires_grad=True), "grad", x),
        lambda x: tgs.take(np.eye(3), x),
        lambda x: tgs.cross_entropy(np.zeros((2, 3)), x),
        lambda x: tgs.where(x, X, 0.0),
        lambda x: X[x],
    ],
)
@pytest.mark.parametrize("strange", STRANGE)
def test_strange_arrays_are_refused_everywhere(call: Any, strange: str) -> None:
    with pytest.raises(TinygradSeqError):
        call(STRANGE[strange]())


@pytest.mark.parametrize("kind", [">i4", ">i8", "<i4", ">u2", "i1", "u8"])
def test_ids_of_every_kind_of_integer(kind: str) -> None:
    ids = np.array([2, 1, 0, 1], kind)
    for given_ids in (ids, ids[::-1][::-1], np.asfortranarray(ids.reshape(2, 2)).reshape(4)):
        np.testing.assert_array_equal(tgs.take(np.eye(3), given_ids), np.eye(3)[ids.astype(int)])
        embedding = nn.Embedding(3, 2, rng=RNG(0))
        np.testing.assert_array_equal(embedding(given_ids).numpy(), embedding.weight.numpy()[ids])
        loss = tgs.cross_entropy(np.eye(4, 3), given_ids)
        assert loss.item() == tgs.cross_entropy(np.eye(4, 3), ids.astype(int)).item()
    with pytest.raises(IndexError, match=r"position \(1,\)"):
        tgs.take(np.eye(3), np.array([0, 3], kind))


@pytest.mark.parametrize("kind", [">f4", ">f8"])
def test_numbers_in_another_byte_order(kind: str) -> None:
    a = np.array([0.5, 2.0], kind)
    x = tgs.tensor(a, requires_grad=True)
    assert x.dtype.isnative
    (x * a).sum().backward()
    assert x.grad.tolist() == [0.5, 2.0]


def test_row_numbers_are_no_truth_values() -> None:
    state = nn.RNNState(tgs.tensor(np.ones((1, 3, 1), np.float32)))
    for rows in ([1, 2, 0], ["a", "", "c"], [1.0, 0.0, 0.0]):
        with pytest.raises(DtypeError):
            nn.reset_rows(state, rows)


@pytest.mark.parametrize("ignored", ["x", None, 1.5, [1]])
def test_the_ignored_class_is_an_integer(ignored: Any) -> None:
    with pytest.raises(ConfigError, match="ignore_index"):
        tgs.cross_entropy(np.zeros((2, 3)), [0, 1], ignore_index=ignored)


# -- operands read by value ------------------------------------------------------------------------

T = tgs.tensor(0.5, requires_grad=True)


@pytest.mark.parametrize(
    ("call", "slope"),
    [
        (lambda x, t: tgs.clip(x, t, 1.0), 1.0),
        (lambda x, t: np.clip(x, t, None), 1.0),
        (lambda x, t: x.clip(t, 1.0), 1.0),
        (lambda x, t: tgs.clip(x, None, t), 1.0),
        (lambda x, t: np.clip(x, -1.0, t), 1.0),
    ],
)
def test_a_bound_gets_its_gradient(call: Any, slope: float) -> None:
    for value in (0.25, [0.25]):
        x = tgs.tensor([-2.0, 3.0], requires_grad=True)
        t = tgs.tensor(value, requires_grad=True)
        call(x, t).sum().backward()
        assert np.sum(t.grad) == slope
        assert x.grad.sum() == 1.0 or x.grad.sum() == 0.0


@tgs.op(lambda g, x, n: g * n)
def _scaled(x: Any, n: Any = 2.0) -> Any:
    return x * n


@pytest.mark.parametrize(
    "call",
    [
        lambda: np.full_like(X, T),
        lambda: np.full_like(X, fill_value=T),
        lambda: tgs.pad(X, 1, constant_values=T),
        lambda: _scaled(X, n=T),
        lambda: np.linalg.norm(X, T),
        lambda: tgs.var(X, ddof=T),
        lambda: nn.Dropout(T),
        lambda: optim.SGD([nn.Parameter(np.ones(1))], lr=T),
        lambda: X[T],
        lambda: tgs.tile(X, T),
        lambda: tgs.roll(X, T),
        lambda: np.array([T, T]),
    ],
)
def test_a_tracked_tensor_is_read_by_value_nowhere(call: Any) -> None:
    with pytest.raises(TinygradSeqError):
        call()


@pytest.mark.parametrize("call", [np.array, np.mean, np.sum, np.max, np.asarray])
def test_lists_of_tensors_are_told_to_be_stacked(call: Any) -> None:
    with pytest.raises(NotDifferentiableError, match=r"tgs\.stack"):
        call([T, T])


def test_the_check_of_integers_can_fail() -> None:
    wrapping = Op("mse", lambda a, b: (a - b) ** 2, "a b", [None, None])
    a, b = np.array([0], np.uint8), np.array([20], np.uint8)
    assert apply(wrapping, (a, b), {}).item() != 400
