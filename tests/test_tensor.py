"""The Tensor: construction, dtypes that never change by themselves, operators, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import DtypeError, GraphError, NotDifferentiableError, ShapeError
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing import RandomDraw

DTYPES = [np.float32, np.float64]


# -- making one --------------------------------------------------------------------------------


def test_python_floats_become_float32_and_arrays_keep_their_dtype() -> None:
    assert tgs.tensor(1.0).dtype == np.float32
    assert tgs.tensor([[1.0, 2.0]]).dtype == np.float32
    for dtype in (np.float64, np.float32, np.int32, np.bool_):
        assert tgs.tensor(np.zeros(2, dtype)).dtype == dtype
    assert tgs.tensor(np.float64(1.0)).dtype == np.float64
    assert tgs.tensor([1, 2]).dtype.kind == "i"
    assert tgs.tensor([1, 2], dtype=np.float64).dtype == np.float64


def test_a_tensor_copies_its_data() -> None:
    source = np.zeros(3)
    made = tgs.tensor(source)
    source[:] = 9
    assert made.data.tolist() == [0, 0, 0]
    again = tgs.tensor(made)
    again.writable()[:] = 5
    assert made.data.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "data", ["text", [1.0, [2.0]], object(), np.array([1 + 2j]), np.array(["a"]), None, {"a": 1}]
)
def test_what_is_not_an_array_of_real_numbers_is_refused(data) -> None:
    with pytest.raises(DtypeError, match="tensor: data"):
        tgs.tensor(data)


def test_integers_cannot_require_gradients() -> None:
    with pytest.raises(DtypeError, match=r"float32 or float64[\s\S]*got: int"):
        tgs.tensor([1, 2], requires_grad=True)
    whole = tgs.tensor([1, 2])
    with pytest.raises(DtypeError):
        whole.requires_grad_()
    assert not whole.requires_grad


def test_requires_grad_can_be_switched_on_a_leaf_only() -> None:
    w = tgs.tensor([1.0])
    w.requires_grad = True
    y = w * 2
    with pytest.raises(GraphError, match="result of multiply"):
        y.requires_grad = False
    assert w.requires_grad_(False) is w
    assert not (w * 2).requires_grad


# -- the dtype of a gradient is its tensor's ---------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(OPS))
def test_every_operation_keeps_the_dtype(name: str, dtype: type) -> None:
    op = OPS[name]
    assert op.sample is not None
    for seed in range(5):
        operands, params = op.sample(RandomDraw(np.random.default_rng(seed)))
        made = [
            tgs.tensor(a.astype(dtype), requires_grad=True) if a.dtype.kind == "f" else a
            for a in operands
        ]
        out = apply(op, tuple(made), params)
        for part in out if isinstance(out, tuple) else (out,):
            assert part.dtype == dtype
        parts = list(out) if isinstance(out, tuple) else [out]
        tracked = [t for t in made if isinstance(t, tgs.Tensor)]
        found = tgs.grad(
            parts, tracked, [np.ones(p.shape) for p in parts], allow_unused=True
        )  # float64 cotangents on purpose
        for t, g in zip(tracked, found, strict=True):
            assert g is None or (g.dtype, g.shape) == (dtype, t.shape)


SCALARS = [2, 2.0, True, np.int64(2), np.float32(2), np.float64(2), np.array(2), np.array(2.0)]
BINARY = [
    lambda x, s: x + s, lambda x, s: s + x, lambda x, s: x - s, lambda x, s: s - x,
    lambda x, s: x * s, lambda x, s: s * x, lambda x, s: x / s, lambda x, s: s / x,
    lambda x, s: x**s, lambda x, s: s**x,
    lambda x, s: np.maximum(x, s), lambda x, s: tgs.where(np.array([True, False]), x, s),
    lambda x, s: np.add(s, x), lambda x, s: np.multiply(x, s),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}-{s!r}")
@pytest.mark.parametrize("fn", BINARY)
def test_scalars_do_not_change_the_dtype(fn, scalar, dtype) -> None:
    x = tgs.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    y = fn(x, scalar)
    assert y.dtype == dtype
    y.sum().backward()
    assert isinstance(x.grad, np.ndarray)
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "other",
    [np.array([1, 2]), np.array([1, 2], np.int8), np.array([True, False]), np.arange(1, 3)],
)
@pytest.mark.parametrize("fn", [lambda x, o: x + o, lambda x, o: o * x, lambda x, o: x / (o + 1)])
def test_integer_arrays_and_masks_take_the_floating_dtype(fn, other, dtype) -> None:
    x = tgs.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    y = fn(x, other)
    y.sum().backward()
    assert y.dtype == dtype
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_dimensional_tensors(dtype) -> None:
    a = tgs.tensor(np.array(0.5, dtype), requires_grad=True)
    x = tgs.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
    y = (a * x + a / x - a).sum() * a
    y.backward()
    for t in (a, x):
        assert isinstance(t.grad, np.ndarray)
        assert (t.grad.dtype, t.grad.shape) == (dtype, t.shape)


def test_a_zero_dimensional_tensor_of_another_dtype_follows_the_array() -> None:
    a = tgs.tensor(np.float64(2.0), requires_grad=True)
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    y = a * x
    assert y.dtype == np.float32
    y.sum().backward()
    assert (a.grad.dtype, x.grad.dtype) == (np.float64, np.float32)


def test_two_floating_dtypes_are_refused_not_mixed() -> None:
    x, y = tgs.tensor([1.0]), tgs.tensor(np.ones(1))
    with pytest.raises(DtypeError, match=r"float32 and float64[\s\S]*astype"):
        x + y
    with pytest.raises(DtypeError):
        np.ones(1) * x


def test_a_cotangent_of_another_dtype_is_converted() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    (g,) = tgs.grad(x * x, [x], np.ones(2))
    assert g.dtype == np.float32
    tracked = tgs.tensor(np.ones(2), requires_grad=True)
    (g,) = tgs.grad(x * x, [x], tracked, create_graph=True)
    assert g.dtype == np.float32
    (back,) = tgs.grad(g.sum(), [tracked])
    assert back.dtype == np.float64
    assert back.tolist() == [2.0, 4.0]


# -- values in and out -------------------------------------------------------------------------


def test_numpy_is_a_copy() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    x.numpy()[:] = 9
    assert x.tolist() == [1.0, 2.0]


def test_item_float_int_bool() -> None:
    x = tgs.tensor([[2.5]])
    assert (x.item(), float(x), int(x), bool(x)) == (2.5, 2.5, 2, True)
    with pytest.raises(ShapeError, match="exactly one entry"):
        tgs.tensor([1.0, 2.0]).item()


@pytest.mark.parametrize("requires_grad", [False, True])
def test_a_tensor_of_one_entry_formats_as_its_number(requires_grad: bool) -> None:
    loss = tgs.tensor(0.1, requires_grad=requires_grad) * 1
    assert f"{loss:.3f}" == "0.100" and f"{loss[None]:6.2f}" == "  0.10" and f"{loss}" == "0.1"
    assert f"{tgs.tensor(7):>3d}" == "  7"
    many = tgs.tensor([1.0, 2.0], requires_grad=requires_grad)
    assert f"{many}" == str(many) and f"{loss[None]}" == str(loss[None])
    with pytest.raises(ShapeError, match=r"(?s)'\.3f'.*shape \(2,\).*x\.item\(\)"):
        f"{many:.3f}"


def test_grad_is_assignable_and_checked() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    x.grad = np.array([3.0, 4.0])
    assert x.grad.dtype == np.float32
    (x * 2).sum().backward()
    assert x.grad.tolist() == [5.0, 6.0]
    with pytest.raises(ShapeError, match="grad"):
        x.grad = np.zeros(3)
    assert x.grad.tolist() == [5.0, 6.0]
    x.grad = None
    assert x.grad is None


def test_retain_grad_fills_an_intermediate_gradient() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.tolist() == [4.0, 8.0]
    assert x.grad.tolist() == [8.0, 16.0]
    y.grad[:] = 0
    assert x.grad.tolist() == [8.0, 16.0]


def test_intermediates_keep_no_gradient_by_default() -> None:
    x = tgs.tensor(3.0, requires_grad=True)
    y = x * 2
    y.backward()
    assert y.grad is None


def test_detach_cuts_and_clone_does_not() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    assert not x.detach().requires_grad
    assert np.shares_memory(x.detach()._array, x._array)
    copy = x.clone()
    copy.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert not np.shares_memory(copy._array, x._array)


def test_astype_converts_and_brings_the_gradient_back() -> None:
    x = tgs.tensor([1.0, 3.0], requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    g = tgs.grad((y**3).sum(), x, create_graph=True)
    assert g.dtype == np.float32 and g.tolist() == [3.0, 27.0]
    assert tgs.grad(g.sum(), x).tolist() == [6.0, 18.0]


def test_astype_of_a_tracked_tensor_to_integers_is_refused() -> None:
    x = tgs.tensor([1.0], requires_grad=True)
    with pytest.raises(NotDifferentiableError, match="detach"):
        x.astype(np.int64)
    assert x.detach().astype(np.int64).dtype == np.int64


def test_repr_shows_values_dtype_and_origin() -> None:
    assert repr(tgs.tensor([1.0, 2.0])) == "tensor([1., 2.])"
    x = tgs.tensor(np.array([1.0]), requires_grad=True)
    assert repr(x) == "tensor([1.], dtype=float64, requires_grad=True)"
    with tgs.scope(path="cell", step=2):
        y = x * 2
    assert "from multiply (module cell, t = 2)" in repr(y)


# -- operators ---------------------------------------------------------------------------------


def test_assignment_into_a_tensor_says_what_to_use_instead() -> None:
    for x in (tgs.tensor([1.0, 2.0]), tgs.tensor([1.0, 2.0], requires_grad=True)):
        with pytest.raises(GraphError, match=r"tgs\.where[\s\S]*writable"):
            x[0] = 5.0
        assert x.tolist() == [1.0, 2.0]


def test_inplace_operators_write_under_no_grad() -> None:
    w = tgs.tensor([1.0, 2.0], requires_grad=True)
    first = w
    with tgs.no_grad():
        w += 1
        w -= tgs.tensor([0.5, 0.5])
        w *= 2
        w /= 3
    assert w is first
    np.testing.assert_allclose(w.data, [1.0, 5 / 3], rtol=1e-6)
    assert first.version == 4
    with tgs.no_grad():
        w **= 2
        w @= np.eye(2, dtype=np.float32)
    assert w is first
    np.testing.assert_allclose(w.data, [1.0, 25 / 9], rtol=1e-6)


def test_inplace_operators_on_results_and_constants_give_a_new_tensor() -> None:
    w = tgs.tensor([1.0, 2.0], requires_grad=True)
    total = start = tgs.tensor(0.0)
    total += (w * w).sum()
    result = total
    total *= 3
    assert (start.item(), start.requires_grad) == (0.0, False)
    assert total is not result
    total.backward()
    assert w.grad.tolist() == [6.0, 12.0]


def test_comparisons_give_plain_masks() -> None:
    x = tgs.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for mask in (x > 2, x >= 2, x < 2, x <= 2, x == 2, x != 2, x > tgs.tensor([2.0] * 3)):
        assert isinstance(mask, np.ndarray)
        assert mask.dtype == bool
    assert (x > 2).tolist() == [False, False, True]


def test_tensors_are_hashable_by_identity() -> None:
    x, y = tgs.tensor([1.0]), tgs.tensor([1.0])
    assert len({x, y, x}) == 2


def test_length_iteration_and_indexing() -> None:
    x = tgs.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    assert len(x) == 3
    assert [row.tolist() for row in x] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ShapeError):
        len(tgs.tensor(1.0))
    sum(row.sum() for row in x).backward()
    assert x.grad.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(1, None), (slice(None), 1), [0, 0, 2], np.array([[0, 1], [2, 2]]), ..., None,
     np.array([True, False, True]), (np.array([0, 2]), 1), (..., None), [],
     (0, slice(None, None, -1)),
     (np.array([0, 2])[:, None], np.array([1, 0])), tgs.tensor([0, 2])],
)  # fmt: skip
def test_indexing_agrees_with_numpy_and_adds_gradients(index) -> None:
    array = np.arange(6.0).reshape(3, 2)
    x = tgs.tensor(array, requires_grad=True)
    plain = np.asarray(index) if isinstance(index, tgs.Tensor) else index
    plain = np.array(plain, int) if isinstance(plain, list) else plain
    y = x[index]
    assert np.array_equal(y.data, array[plain])
    y.sum().backward()
    expected = np.zeros_like(array)
    np.add.at(expected, plain, 1.0)
    assert np.array_equal(x.grad, expected)


def test_a_float_index_is_refused() -> None:
    with pytest.raises(DtypeError, match="index"):
        tgs.tensor([1.0, 2.0])[np.array([0.0])]


def test_index_by_a_tracked_tensor_is_refused() -> None:
    with pytest.raises(NotDifferentiableError):
        [1, 2][tgs.tensor(1.0, requires_grad=True)]
    assert [1, 2][tgs.tensor(1)] == 2


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_swapaxes_and_moveaxis_agree_with_numpy(a: int, b: int) -> None:
    array = np.zeros((2, 3, 4))
    x = tgs.tensor(array)
    if -3 <= a < 3 and -3 <= b < 3:
        assert tgs.swapaxes(x, a, b).shape == np.swapaxes(array, a, b).shape
        assert tgs.moveaxis(x, a, b).shape == np.moveaxis(array, a, b).shape


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("sum", ()), ("sum", (0,)), ("mean", (1, True)), ("max", (0,)), ("min", ()),
        ("reshape", (6,)), ("reshape", (2, 3)), ("reshape", ((3, 2),)), ("transpose", ()),
        ("transpose", (1, 0)), ("transpose", ((1, 0),)), ("squeeze", ()), ("exp", ()),
        ("sqrt", ()), ("log", ()), ("tanh", ()),
    ],
)  # fmt: skip
def test_methods_are_short_for_operations(method: str, args: tuple) -> None:
    array = np.arange(1.0, 7.0).reshape(3, 2)
    x = tgs.tensor(array, requires_grad=True)
    y = getattr(x, method)(*args)
    numpys = getattr(array, method, None)
    expected = (
        numpys(*args)
        if numpys and args != (1, True)
        else (array.mean(1, keepdims=True) if method == "mean" else getattr(np, method)(array))
    )
    np.testing.assert_allclose(y.data, expected)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_lists_take_the_dtype_of_the_tensor() -> None:
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    for y in (x * [3.0, 4.0], [3, 4] * x, np.multiply(x, (3.0, 4.0))):
        assert y.dtype == np.float32 and y.tolist() == [3.0, 8.0]
    wide = tgs.tensor(np.ones(2))
    assert (wide * [1.0, 2.0]).dtype == np.float64
