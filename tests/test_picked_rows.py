"""Recurrent layers on rows that were picked from a table by ids, of which many are alike."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.support.recurrent import KINDS, make_layer
from tinygrad_seq import nn
from tinygrad_seq.ops.sequence import picked_by


@pytest.mark.parametrize("checkpoint", [None, 4])
@pytest.mark.parametrize("tracked", [True, False])
def test_rows_that_are_alike_are_multiplied_once_with_the_same_results(tracked, checkpoint):
    rng = np.random.default_rng(0)
    table = tgs.tensor(rng.standard_normal((5, 3)), requires_grad=tracked)
    layer = nn.GRU(3, 4, dtype=np.float64, rng=rng)
    if checkpoint is not None:
        layer.checkpoint = checkpoint
    ids = rng.integers(0, 5, (9, 7))
    found = []
    for x in (tgs.take(table, ids), table[ids]):
        layer.zero_grad()
        table.grad = None
        y, _ = layer(x)
        (y * y).sum().backward()
        found.append([y.numpy(), *(p.grad for p in layer.parameters())])
        found[-1] += [table.grad] if tracked else []
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_what_a_look_up_made_has_its_gradient_when_somebody_asks():
    rng = np.random.default_rng(0)
    layer, ids = nn.RNN(3, 4, dtype=np.float64, rng=rng), rng.integers(0, 5, (9, 7))
    table = tgs.tensor(rng.standard_normal((6, 3)), requires_grad=True)  # one row is never picked

    def run(pick, ask):
        table.grad = None
        x = pick()
        seen = ask(x)
        y, _ = layer(x)
        ((y * y).sum() + (x**3).sum()).backward()
        return [table.grad, x.grad if seen is None else seen]

    def hooked(x):
        seen = np.empty(x.shape)
        x.register_hook(lambda g: seen.__setitem__(..., g))
        return seen

    def kept(x):
        x.retain_grad()

    wanted = run(lambda: table[ids], kept)
    for ask in (kept, hooked):
        for one, other in zip(wanted, run(lambda: tgs.take(table, ids), ask), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(
        run(lambda: tgs.take(table, ids), lambda x: 0)[0], wanted[0], rtol=1e-12, atol=1e-13
    )
    x = tgs.take(table, ids)
    found = tgs.grad(layer(x)[0].sum(), [x, table])
    again = tgs.take(table, ids)
    both = tgs.grad(layer(again)[0].sum(), [again, table], create_graph=True)
    for one, other in zip(found, both, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "memory_of",
    [lambda x: x.writable(), lambda x: x.data, np.asarray, lambda x: x[1:].data],
    ids=["writable", "data", "asarray", "view"],
)
def test_a_constant_written_into_is_not_taken_for_what_was_picked(memory_of):
    table = np.arange(6.0).reshape(2, 3)
    x = tgs.take(tgs.tensor(table), np.zeros((4, 5), int))
    assert picked_by(x) is not None
    array = memory_of(x)
    array[:] = np.random.default_rng(0).standard_normal(array.shape)
    layer = nn.RNN(3, 4, dtype=np.float64, rng=np.random.default_rng(0))
    np.testing.assert_allclose(layer(x)[0].numpy(), layer(x.numpy())[0].numpy(), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
@pytest.mark.parametrize("tracked", [True, False])
def test_ids_of_any_kind_count_rows(dtype, tracked):
    last = min(np.iinfo(dtype).max, 600)
    table = tgs.tensor(np.random.default_rng(0).standard_normal((last + 1, 3)), tracked)
    layer = nn.GRU(3, 4, dtype=np.float64, rng=np.random.default_rng(0))
    for top in (last // 2 - 1, last // 2, last // 2 + 1, last):
        ids = np.resize(np.arange(top + 1), (61, 21)).astype(dtype)
        x = tgs.take(table, ids)
        np.testing.assert_allclose(layer(x)[0].numpy(), layer(x.numpy())[0].numpy(), rtol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_picked_for_empty_sequences(kind):
    table = tgs.tensor(np.ones((2, 3)), requires_grad=True)
    layer = make_layer(kind, 3, 4, 1, np.random.default_rng(0))
    y, _ = layer(tgs.take(table, np.zeros((9, 5), int)), lengths=[0] * 5)
    y.sum().backward()
    assert not y.numpy().any() and not table.grad.any()


def test_products_of_a_table_do_not_grow_with_time(monkeypatch):
    """Of V rows picked T * N times, V are multiplied by W_xh."""
    from tinygrad_seq.kernels import sequence

    seen = []
    real = sequence.table_of
    monkeypatch.setattr(sequence, "table_of", lambda x, ids: seen.append(real(x, ids)) or seen[-1])
    table, layer = nn.Embedding(7, 3), nn.LSTM(3, 4)
    for steps in (10, 20):
        layer(table(np.random.default_rng(0).integers(0, 7, (steps, 6))))[0].sum().backward()
    assert {len(rows) for rows in seen} == {7}
    assert len(seen) == 4
