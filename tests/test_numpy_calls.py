"""NumPy's and Python's own spellings of a call: what is valid on an array is so on a tensor.

Each is compared with NumPy, and its gradient with differences.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import DtypeError, NotDifferentiableError, TinygradSeqError
from tinygrad_seq.testing import gradcheck

A = np.array([[0.75, 1.5, 2.25], [1.0, 0.25, 3.5]])
B = np.array([[1.25, 0.5], [0.5, 2.0], [1.5, 0.75]])

CALLS: dict[str, Any] = {
    "einsum of numbers": lambda x: np.einsum(x, [0, 1], [1, 0]),
    "einsum of numbers, two": lambda x: np.einsum(x, [0, 1], B, [1, 2], [0, 2]),
    "einsum of numbers, implicit": lambda x: np.einsum(x, [3, 1], B, [1, 7]),
    "einsum of numbers, ellipsis": lambda x: np.einsum(x, [..., 1], [1, ...]),
    "einsum of a trace": lambda x: np.einsum(x[:, :2], [0, 0]),
    "einsum optimized": lambda x: np.einsum("ij,jk->ik", x, B, optimize=True),
    "einsum greedy": lambda x: np.einsum("ij,jk->ik", x, B, optimize="greedy"),
    "transpose of a vector": lambda x: np.transpose(x[0], 0),
    "transpose by an array": lambda x: np.transpose(x, np.array([1, 0])),
    "tensordot by NumPy's integer": lambda x: np.tensordot(x, B, axes=np.int64(1)),
    "tensordot by arrays": lambda x: np.tensordot(x, B, axes=(np.int64(1), np.int64(0))),
    "reshape in C order": lambda x: np.reshape(x, (3, 2), order="C"),
    "reshape in Fortran's": lambda x: np.reshape(x, (3, 2), order="F"),
    "reshape in Fortran's, open": lambda x: np.reshape(x, (-1, 2), order="F"),
    "reshape as a method": lambda x: x.reshape(3, 2, order="F"),
    "ravel in Fortran's": lambda x: np.ravel(x, order="F"),
    "concatenate flat": lambda x: np.concatenate([x, B, x], axis=None),
    "positive": lambda x: +x,
    "copy": lambda x: x.copy(),
    "modulo": lambda x: x % 0.7,
    "modulo of a number": lambda x: 7.3 % x,
    "modulo, negative": lambda x: x % -0.7,
    "rest of a division": lambda x: divmod(x, 0.7)[1],
    "tile by a tensor": lambda x: np.tile(x, np.asarray(tgs.tensor(2))),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_valid_call(name: str) -> None:
    call = CALLS[name]
    x = tgs.tensor(A, requires_grad=True)
    got = call(x)
    assert isinstance(got, tgs.Tensor) and got.requires_grad
    np.testing.assert_allclose(got.numpy(), call(A), rtol=1e-14)
    gradcheck(call, A)


def test_pieces_of_a_division_and_rounding_are_plain_values() -> None:
    x = tgs.tensor(A, requires_grad=True)
    for got, expected in (
        (x // 0.7, A // 0.7),
        (7.3 // x, 7.3 // A),
        (divmod(x, 0.7)[0], A // 0.7),
        (divmod(7.3, x)[0], 7.3 // A),
        (np.floor_divide(x, 0.7), A // 0.7),
        (round(x), np.round(A)),
        (round(x, 1), np.round(A, 1)),
    ):
        assert not isinstance(got, tgs.Tensor)
        np.testing.assert_array_equal(got, expected)
    assert 0.75 in x and 0.8 not in x and None not in x
    assert math.floor(tgs.tensor(1.5)) == 1 and complex(tgs.tensor(1.5)) == 1.5


def test_bits_are_numpys_on_constants_and_refused_elsewhere() -> None:
    x, y = tgs.tensor([5, 3]), tgs.tensor([True, False])
    np.testing.assert_array_equal(x & 1, [1, 1])
    np.testing.assert_array_equal(1 | x, [5, 3])
    np.testing.assert_array_equal(x ^ x, [0, 0])
    np.testing.assert_array_equal(x << 1, [10, 6])
    np.testing.assert_array_equal(1 << x, [32, 8])
    np.testing.assert_array_equal(x >> 1, [2, 1])
    np.testing.assert_array_equal(64 >> x, [2, 8])
    np.testing.assert_array_equal(~y, [False, True])
    tracked = tgs.tensor([1.0], requires_grad=True)
    for call in (lambda: tracked & 1, lambda: ~tracked, lambda: 1 << tracked):
        with pytest.raises(NotDifferentiableError):
            call()


def test_parts_may_come_from_any_iterable() -> None:
    x = tgs.tensor(A, requires_grad=True)
    for join in (tgs.concatenate, tgs.stack):
        joined = join(row for row in x)
        np.testing.assert_array_equal(joined.numpy(), join([A[0], A[1]]).numpy())
        assert joined.requires_grad
    np.testing.assert_array_equal(tgs.concatenate(x).numpy(), A.ravel())


def test_one_hot_of_many_classes_builds_no_identity_matrix() -> None:
    row = tgs.one_hot([1], 200_000)
    assert row.shape == (1, 200_000) and row.numpy().sum() == row.numpy()[0, 1] == 1
    np.testing.assert_array_equal(tgs.one_hot([[2, 0]], 3).numpy(), np.eye(3)[[[2, 0]]])
    with pytest.raises(TinygradSeqError):
        tgs.one_hot([1], 10**15)


def test_comparisons_with_anything() -> None:
    x = tgs.tensor([1.0, 2.0])
    assert (x == None).tolist() == [False, False]  # noqa: E711
    assert (x != "x").tolist() == [True, True]
    assert (x == [1.0, 3.0]).tolist() == [True, False]
    for call in (lambda: x < "x", lambda: x == [1.0, 2.0, 3.0], lambda: x >= [[1.0], [2.0, 3.0]]):
        with pytest.raises(TinygradSeqError):
            call()


def test_a_tensor_as_an_index() -> None:
    assert [10, 20, 30][tgs.tensor(1)] == 20
    for wrong in (tgs.tensor(1.0), tgs.tensor([1]), tgs.tensor(True)):
        with pytest.raises(DtypeError):
            [10, 20][wrong]


def test_logsumexp_over_everything_and_over_several_axes() -> None:
    for axis in (None, (0, 1)):
        x = tgs.tensor(A, requires_grad=True)
        total = tgs.logsumexp(x, axis=axis)
        np.testing.assert_allclose(total.item(), np.log(np.exp(A).sum()))
        total.backward()
        np.testing.assert_allclose(x.grad, np.exp(A) / np.exp(A).sum())


def test_integers_stay_integers_between_integer_bounds() -> None:
    for clip in (tgs.clip, np.clip):
        found = clip(tgs.tensor([2**53 + 1, -5, 7]), 0, 2**60)
        assert found.dtype == np.int64 and found.tolist() == [2**53 + 1, 0, 7]
    x = tgs.tensor([1.0, 2.0], requires_grad=True)
    assert tgs.clip(x, 0, 1).dtype == x.dtype


@pytest.mark.parametrize("bounds", [(np.nan, 1.0), (0.0, np.nan)])
def test_a_bound_of_nan_is_one_in_the_gradient(bounds: Any) -> None:
    x = tgs.tensor([0.5, 2.0], requires_grad=True)
    tgs.clip(x, *bounds).sum().backward()
    assert np.isnan(x.grad).all()


def test_numpys_float_functions_take_small_integers() -> None:
    x = tgs.tensor(np.array([100, -128], np.int8))
    assert np.float_power(x, 2).tolist() == [10000.0, 16384.0]
    assert np.fabs(x).tolist() == [100.0, 128.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.pad(x, (1, 0), "reflect", reflect_type="odd"),
        lambda x: tgs.roll(x, "2"),
        lambda x: tgs.roll(x, 1.7),
        lambda x: tgs.repeat(x, 1.7),
        lambda x: tgs.repeat(x, [True, False, True]),
        lambda x: tgs.tile(x, 1.5),
        lambda x: np.reshape(x, (3,), order="A"),
        lambda x: pow(x, 2, 5),
    ],
)
def test_what_would_be_read_otherwise_is_refused(call: Any) -> None:
    with pytest.raises(TinygradSeqError):
        call(tgs.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize("shape", [[3, 2], np.array([3, 2]), range(3, 1, -1), (3, -1), 6])
def test_columns_first_whatever_the_shape_is_given_by(shape: Any) -> None:
    sizes = shape if isinstance(shape, int) else tuple(shape)
    got = tgs.reshape(tgs.tensor(A), shape, order="F")
    np.testing.assert_array_equal(got.numpy(), np.reshape(A, sizes, order="F"))
