"""Bad input to operations: typed errors that name the operation; nothing is guessed or wrapped."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.rows import add_rows
from tinygrad_seq.ops.registry import check_indices
from tinygrad_seq.testing import gradcheck

X = tgs.tensor(np.ones((2, 3)), requires_grad=True)
V = tgs.tensor(np.ones(4), requires_grad=True)

WRONG = {
    "add: ": lambda: X + V,
    "multiply: ": lambda: X * np.ones((3, 2)),
    "maximum: ": lambda: tgs.maximum(X, V),
    "where: ": lambda: tgs.where(np.ones(7, bool), X, X),
    "matmul: inner sizes differ": lambda: X @ X,
    "matmul: inner sizes": lambda: tgs.matmul(X, 3.0),
    "matmul: ": lambda: tgs.matmul(np.ones((2, 2, 3)), np.ones((3, 3, 1))),
    "linear: the last axis": lambda: tgs.linear(X, np.ones((2, 5)), np.ones(5)),
    "linear: ": lambda: tgs.linear(X, np.ones((3, 5)), np.ones(4)),
    "einsum: unsupported": lambda: tgs.einsum("...i->i", X),
    "einsum: unsupported specification": lambda: tgs.einsum("..ij->..i", X),
    "einsum: unsupported specificatio": lambda: tgs.einsum("...i...->...", X),
    "einsum: unsupported spec": lambda: tgs.einsum("ijk...->...", X),
    "einsum: the operands do not fit": lambda: tgs.einsum("ii->i", X),
    "einsum: the operands do": lambda: tgs.einsum("i...,i...->...", X, np.ones((2, 4))),
    "einsum: operands and terms": lambda: tgs.einsum("ij,jk->ik", X),
    "einsum: ": lambda: tgs.einsum("ij,jk->ik", X, X),
    "sum: ": lambda: tgs.sum(X, axis=2),
    "mean: ": lambda: tgs.mean(X, axis=-3),
    "max: ": lambda: tgs.max(X, axis=5),
    "max: zero": lambda: tgs.max(tgs.tensor(np.zeros((0, 2))), axis=0),
    "cumsum: ": lambda: tgs.cumsum(X, axis=2),
    "softmax: ": lambda: tgs.softmax(X, axis=2),
    "reshape: ": lambda: tgs.reshape(X, (4, 2)),
    "transpose: axis out of range": lambda: tgs.transpose(X, (0, 5)),
    "transpose: axes": lambda: tgs.transpose(X, (0, 0)),
    "swapaxes: axis out of range": lambda: tgs.swapaxes(X, 0, 2),
    "moveaxis: axis out of range": lambda: tgs.moveaxis(X, -3, 0),
    "expand_dims: axis out of range": lambda: tgs.expand_dims(X, 3),
    "expand_dims: axis": lambda: tgs.expand_dims(X, (0, 0)),
    "squeeze: axis out of range": lambda: tgs.squeeze(tgs.tensor(1.0), 0),
    "squeeze: an axis to remove": lambda: tgs.squeeze(X, 0),
    "broadcast_to: ": lambda: tgs.broadcast_to(X, (2, 2)),
    "concatenate: ": lambda: tgs.concatenate([X, V]),
    "stack: ": lambda: tgs.stack([X, V]),
    "split: ": lambda: tgs.split(X, 2, axis=1),
    "flip: ": lambda: tgs.flip(X, 4),
    "prod: axis out of range": lambda: tgs.prod(X, 2),
    "tensordot: axes": lambda: tgs.tensordot(X, X, 1),
    "tril and triu": lambda: tgs.tril(tgs.tensor(1.0)),
    "take_along_axis: axis out": lambda: tgs.take_along_axis(X, np.zeros((2, 1), int), 2),
    "mse_loss: shapes differ": lambda: tgs.mse_loss(X, V),
    "cross_entropy: targets do not match": lambda: tgs.cross_entropy(X, [0, 1, 2]),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_shapes_and_axes_name_the_operation(message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        WRONG[message]()
    assert str(caught.value).startswith(message)
    assert "got: " in str(caught.value)


def test_a_refused_operation_shows_the_shapes_it_was_given() -> None:
    with pytest.raises(ShapeError, match=r"add: [\s\S]*got: shape \(2, 3\) and \(4,\)"):
        X + V
    assert X.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: X[2], r"getitem: index 2 is out of bounds[\s\S]*shape \(2, 3\)"),
        (lambda: X[0, 0, 0], "getitem: too many indices"),
        (lambda: X[np.array([0, 5])], "getitem: index 5"),
        (lambda: tgs.take(X, [0, 2]), r"take: id out of range at position \(1,\)"),
        (lambda: tgs.take(X, -1), "take: id out of range"),
        (lambda: tgs.gather(X, 1, [[0, 3, 0]]), r"take_along_axis: [\s\S]*0 <= id < 3"),
        (lambda: tgs.one_hot([1, 4], 4), r"one_hot: id out of range[\s\S]*got: 4"),
        (lambda: tgs.cross_entropy(X, [0, 3]), "cross_entropy: targets: id out of range"),
        (lambda: tgs.cross_entropy(X, [0, -1]), "cross_entropy: targets: id out of range"),
    ],
)  # fmt: skip
def test_indices_out_of_range_are_named(call, message: str) -> None:
    with pytest.raises(IndexRangeError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: tgs.take(X, [0.0]),
        lambda: tgs.one_hot(np.array([1.5]), 3),
        lambda: tgs.cross_entropy(X, np.array([0.0, 1.0])),
        lambda: check_indices(np.array([True]), 2, "ids"),
    ],
)
def test_ids_must_be_integers(call) -> None:
    with pytest.raises(DtypeError, match="integer"):
        call()


def test_targets_of_a_sequence_are_asked_for_by_shape() -> None:
    with pytest.raises(
        ShapeError, match=r"targets of shape \(4, 2\) for logits of shape \(4, 2, 3\)"
    ):
        tgs.cross_entropy(np.ones((4, 2, 3)), np.zeros(4, int))


def test_unknown_options_and_empty_lists() -> None:
    with pytest.raises(ConfigError, match="cross_entropy: reduction"):
        tgs.cross_entropy(X, [0, 1], reduction="average")
    with pytest.raises(ConfigError, match="mse_loss: reduction"):
        tgs.mse_loss(X, X, reduction="average")
    for join in (tgs.concatenate, tgs.stack):
        with pytest.raises(ConfigError, match="nothing to join"):
            join([])


# -- what is right stays right ---------------------------------------------------------------


@pytest.mark.parametrize("axis", [np.int64(0), np.int32(-1)])
def test_numpy_integers_are_axes_too(axis) -> None:
    for fn in (tgs.sum, tgs.mean, tgs.max, tgs.prod, tgs.norm, tgs.softmax, tgs.cumsum):
        gradcheck(lambda x, fn=fn: fn(x, axis), np.arange(1.0, 7.0).reshape(2, 3))
    assert tgs.expand_dims(X, axis).ndim == 3
    assert tgs.squeeze(X[:, :1].reshape(2, 1), np.int64(1)).shape == (2,)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_loss(reduction: str) -> None:
    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    loss = tgs.mse_loss(a, b, reduction)
    squares = (a - b) ** 2
    expected = {"mean": squares.mean(), "sum": squares.sum(), "none": squares}[reduction]
    np.testing.assert_allclose(loss.data, expected)
    gradcheck(lambda a, b: tgs.mse_loss(a, b, reduction), a, b)


def test_cross_entropy_of_nothing_but_ignored_targets_is_zero() -> None:
    z = tgs.tensor(np.ones((2, 3)), requires_grad=True)
    loss = tgs.cross_entropy(z, [-100, -100])
    loss.backward()
    assert loss.item() == 0.0
    assert np.array_equal(z.grad, np.zeros((2, 3)))


def test_cross_entropy_composed_step_by_step_is_the_same() -> None:
    rng = np.random.default_rng(0)
    z, targets = rng.standard_normal((4, 2, 5)), rng.integers(0, 5, (4, 2))
    targets[1, 0] = -100
    for reduction in ("mean", "sum", "none"):
        plain = tgs.cross_entropy(z, targets, reduction=reduction)
        with tgs.composed():
            twin = tgs.cross_entropy(tgs.tensor(z), targets, reduction=reduction)
        np.testing.assert_allclose(plain.data, twin.data, rtol=1e-12)


@pytest.mark.parametrize("rows", [3, 2000])
def test_rows_are_added_back_in_small_and_large_tables(rows: int) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, rows, 50)
    values = rng.standard_normal((50, 4))
    expected = np.zeros((rows, 4))
    np.add.at(expected, ids, values)
    np.testing.assert_allclose(add_rows(ids, values, rows), expected, atol=1e-14)
    assert np.array_equal(add_rows(ids[:0], values[:0], rows), np.zeros((rows, 4)))


def test_a_large_table_differentiates_through_take() -> None:
    table = tgs.tensor(np.random.default_rng(0).standard_normal((1000, 3)), requires_grad=True)
    ids = np.array([[7, 999], [7, 0]])
    (tgs.take(table, ids) ** 2).sum().backward()
    expected = np.zeros((1000, 3))
    np.add.at(expected, ids, 2 * table.data[ids])
    np.testing.assert_allclose(table.grad, expected)


EINSUMS = {
    "...i,ij->...j": [(2, 4, 3), (3, 2)],
    "...ij,...jk->...ik": [(2, 1, 2, 3), (3, 3, 2)],  # axes of size 1 broadcast
    "...i,...i": [(2, 3), (4, 1, 3)],
    "b...,b->...": [(2, 3, 4), (2,)],
    "...,...": [(2, 3), ()],
    "i...->...i": [(2, 3, 1)],
    "...ii->...i": [(2, 3, 3)],
    "ii": [(3, 3)],
    "ii,i->": [(3, 3), (3,)],
    "iji->j": [(2, 3, 2)],
}


@pytest.mark.parametrize("spec", EINSUMS)
def test_einsum_with_ellipses_and_repeated_letters_is_numpys(spec: str) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in EINSUMS[spec]]
    np.testing.assert_allclose(tgs.einsum(spec, *arrays).data, np.einsum(spec, *arrays))
    gradcheck(lambda *xs: np.einsum(spec, *xs), *arrays, order=2)


@pytest.mark.parametrize("spec", ["i,i", "ij,j", "ij,jk", "i,j"])
def test_einsum_without_an_output_is_numpys(spec: str) -> None:
    arrays = [np.arange(1.0, 1 + 2 ** len(t)).reshape((2,) * len(t)) for t in spec.split(",")]
    np.testing.assert_allclose(tgs.einsum(spec, *arrays).data, np.einsum(spec, *arrays))
    gradcheck(lambda *xs: tgs.einsum(spec, *xs), *arrays)


def test_linear_without_bias_and_of_a_vector() -> None:
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((3, 2)), rng.standard_normal(2)
    gradcheck(lambda x, w: tgs.linear(x, w), rng.standard_normal((4, 3)), w)
    gradcheck(lambda x, w, b: tgs.linear(x, w, b), rng.standard_normal(3), w, b)
