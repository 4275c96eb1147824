"""Operations as methods: what an ndarray has, and a few of PyTorch's names."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_seq as tgs

ALONE = tgs.tensor(np.random.default_rng(3).uniform(0.5, 1.5, (2, 3, 4)), requires_grad=True)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize(
    "name", ["sum", "mean", "max", "min", "std", "var", "prod", "cumsum", "cumprod"]
)
def test_methods_along_an_axis_are_those_of_an_array(name: str, axis: int) -> None:
    array = ALONE.numpy()
    np.testing.assert_allclose(getattr(ALONE, name)(axis).data, getattr(array, name)(axis))
    np.testing.assert_allclose(getattr(ALONE, name)().data, getattr(array, name)())
    assert getattr(ALONE, name)(axis=axis).requires_grad


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: x.flatten(), lambda a: a.flatten()),
        (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
        (lambda x: x.flatten(0, 1), lambda a: a.reshape(6, 4)),
        (lambda x: x.ravel(), lambda a: a.ravel()),
        (lambda x: x.view(6, -1), lambda a: a.reshape(6, -1)),
        (lambda x: x.view((4, 6)), lambda a: a.reshape(4, 6)),
        (lambda x: x.permute(2, 0, 1), lambda a: a.transpose(2, 0, 1)),
        (lambda x: x.unsqueeze(1), lambda a: a[:, None]),
        (lambda x: x[:1].squeeze(0), lambda a: a[0]),
        (lambda x: x.swapaxes(0, 2), lambda a: a.swapaxes(0, 2)),
        (lambda x: x.diagonal(), lambda a: a.diagonal()),
        (lambda x: x.trace(), lambda a: a.trace()),
        (lambda x: x.repeat(2, axis=1), lambda a: a.repeat(2, axis=1)),
        (lambda x: x.clip(0.8, 1.2), lambda a: a.clip(0.8, 1.2)),
        (lambda x: x.clip(max=1.2), lambda a: a.clip(max=1.2)),
        (lambda x: x[0].dot(x[1, 0]), lambda a: a[0].dot(a[1, 0])),
        (lambda x: x.abs(), abs),
        (lambda x: x.square(), np.square),
        (lambda x: x.softmax().sum(-1), lambda a: np.ones(a.shape[:-1])),
        (lambda x: x.norm(), np.linalg.norm),
    ],
)
def test_other_methods_are_recorded_and_are_those_of_an_array(call, expected) -> None:
    found = call(ALONE)
    np.testing.assert_allclose(found.data, expected(ALONE.numpy()))
    assert found.requires_grad


def test_positions_are_plain_integers() -> None:
    array = ALONE.numpy()
    for name in ("argmax", "argmin", "argsort"):
        for found, plain in (
            (getattr(ALONE, name)(), getattr(array, name)()),
            (getattr(ALONE, name)(axis=1), getattr(array, name)(axis=1)),
        ):
            assert isinstance(found, (np.ndarray, np.integer))
            np.testing.assert_array_equal(found, plain)


def test_a_tracked_scalar_is_a_number_when_asked() -> None:
    loss = (tgs.tensor([1.0, 2.0], requires_grad=True) ** 2).sum()
    assert (float(loss), math.sqrt(loss), f"{float(loss):.1f}") == (5.0, math.sqrt(5.0), "5.0")
    assert np.sqrt(loss).requires_grad


def test_a_norm_by_position_is_refused_for_pytorch_means_the_order() -> None:
    with pytest.raises(TypeError, match="too many arguments by position"):
        tgs.tensor([1.0, 2.0]).norm(1)
    assert tgs.tensor([[3.0, 4.0]]).norm(axis=1, keepdims=True).tolist() == [[5.0]]
