"""Edges of operations: dtypes of states, buffers filled anew, norms of mixed magnitudes."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.testing import gradcheck


@pytest.mark.parametrize("layer", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("dtype", [int, np.float64])
def test_a_state_of_another_dtype_is_refused(layer, dtype) -> None:
    net = layer(3, 4)
    state = net.state_type(*(np.zeros((1, 2, 4), dtype) for _ in net.state_type._fields))
    with pytest.raises(DtypeError, match=rf"{layer.__name__}: state h[\s\S]*start from None"):
        net(np.ones((5, 2, 3), np.float32), state)


def _operands() -> dict[str, np.ndarray]:
    shapes = {"x": (5, 2, 3), "h": (2, 4), "w_xh": (3, 4), "w_hh": (4, 4), "b": (4,)}
    return {name: np.ones(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["h", "w_xh", "w_hh", "b"])
def test_sequences_refuse_mixed_dtypes_and_wrong_sizes(name: str) -> None:
    operands = _operands()
    for dtype in (np.float32, int):
        with pytest.raises(DtypeError, match="rnn_tanh_sequence: operands"):
            tgs.rnn_sequence(*(operands | {name: operands[name].astype(dtype)}).values())
    other = (3, 1) if name == "w_hh" else operands[name].shape  # w_hh says how wide w_xh is
    wanted = re.escape(f"expected: {other}")
    with pytest.raises(ShapeError, match=rf"rnn_tanh_sequence: .* does not fit[\s\S]*{wanted}"):
        tgs.rnn_sequence(*(operands | {name: operands[name][..., :1]}).values())


def test_sequences_check_tokens() -> None:
    with pytest.raises(IndexRangeError, match="token"):
        tgs.rnn_sequence(*(_operands() | {"x": np.full((5, 2), 3)}).values())


def _over_tokens(w: tgs.Tensor, ids: np.ndarray) -> tgs.Tensor:
    o = _operands()
    return tgs.rnn_sequence(ids, o["h"][:1, :3], w, np.eye(3), np.zeros(3))[0]


CALLS = {
    "take": lambda w, ids: tgs.take(w, ids),
    "getitem": lambda w, ids: w[ids],
    "along": lambda w, ids: tgs.take_along_axis(w, ids, 1),
    "cross_entropy": lambda w, ids: tgs.cross_entropy(w, ids[:, 0]),
    "where": lambda w, ids: tgs.where(ids, w, 0.0),
    "tokens": _over_tokens,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_buffer_filled_anew_before_backward_changes_no_gradient(name: str) -> None:
    grads = []
    for spoil in (False, True):
        w = tgs.tensor(np.arange(9.0).reshape(3, 3) / 9, requires_grad=True)
        ids = np.array([[0], [1], [1]]) > 0 if name == "where" else np.array([[0], [1], [1]])
        out = (CALLS[name](w, ids) ** 2).sum()
        if spoil:
            ids[...] = 0
        out.backward()
        grads.append(w.grad)
    np.testing.assert_array_equal(*grads)


def test_norm_scales_each_slice_by_itself() -> None:
    x = tgs.tensor(np.array([[1e20, 0], [3e-24, 4e-24]], np.float32), requires_grad=True)
    size = tgs.norm(x, axis=1)
    np.testing.assert_allclose(size.data, [1e20, 5e-24], rtol=1e-6)
    size.sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad[1], [0.6, 0.8], rtol=1e-6)


def test_sequences_take_complex_numbers_in_every_operand_at_once() -> None:
    """What a complex step along one direction needs."""
    rng = np.random.default_rng(0)
    operands = [rng.uniform(-1, 1, operand.shape) for operand in _operands().values()]
    gradcheck(
        lambda *xs: tgs.rnn_sequence(*xs)[0], *operands, method="complex", check="directional"
    )


@pytest.mark.parametrize("every", [0, -1, 2.5, "2", True])
def test_a_checkpoint_is_a_positive_whole_number_of_steps(every) -> None:
    with pytest.raises(ConfigError, match=r"rnn_tanh_sequence: checkpoint[\s\S]*an integer >= 1"):
        tgs.rnn_sequence(*_operands().values(), checkpoint=every)


def test_normalising_along_no_named_axis_takes_the_last() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    e = np.exp(x)
    for operation, expected in (
        (tgs.softmax, e / e.sum(axis=1, keepdims=True)),
        (tgs.log_softmax, x - np.log(e.sum(axis=1, keepdims=True))),
        (tgs.logsumexp, np.log(e.sum(axis=1))),
    ):
        np.testing.assert_allclose(operation(tgs.tensor(x)).numpy(), expected, rtol=1e-12)
