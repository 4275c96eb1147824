"""What holds of a layer of any cell, ours or a user's, with a kernel or without."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251  (what multiprocessing sends a model by; checkpoints never do)
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.cells import (
    CELLS,
    SIZE,
    N,
    T,
    inputs,
    layer_of,
    value_of,
)
from tinygrad_seq import train
from tinygrad_seq.testing import check_layer
from tinygrad_seq.transforms.nest import leaves

each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def start_of(layer: Any, seed: int = 1) -> Any:
    rng, places = np.random.default_rng(seed), layer.num_layers * layer.directions
    sizes = layer.state_sizes.values()
    return layer.state_type(*[rng.uniform(-1, 1, (places, N, size)) for size in sizes])


@each_cell
@settings(max_examples=6)
@given(
    seed=st.integers(0, 2**16),
    layers=st.integers(1, 2),
    both=st.booleans(),
    lengths=st.none() | st.lists(st.integers(0, T), min_size=N, max_size=N),
    resets=st.none() | st.lists(st.booleans(), min_size=T * N, max_size=T * N),
)
def test_gradients_of_first_and_second_order(
    cell: Any, seed: int, layers: int, both: bool, lengths: Any, resets: Any
) -> None:
    layer = layer_of(cell, seed, num_layers=layers, bidirectional=both)
    reset = None if resets is None else np.reshape(resets, (T, N))
    check_layer(
        layer,
        inputs(seed),
        start_of(layer, seed),
        call=lambda module, x, state: module(x, state, lengths=lengths, reset=reset),
        check="directional",
        order=2,
    )


def by_hand(layer: Any, x: Any, lengths: Any, reset: Any) -> tuple[Any, Any]:
    """A layer of one direction, row by row, from single calls of its cell."""
    ends: list[list[Any]] = []
    below = [[x[t, n : n + 1] for t in range(lengths[n])] for n in range(N)]
    for k in range(layer.num_layers):
        cell, rows = layer.cell_at(k), []
        for n in range(N):
            zeros = [np.zeros((1, size)) for size in cell.states.values()]
            parts, outputs = list(zeros), []
            for t, x_t in enumerate(below[n]):
                parts = list(zeros) if reset[t, n] else parts
                found = cell(x_t, parts[0] if len(parts) == 1 else tuple(parts))
                output, state = found if cell.own_output else (None, found)
                parts = list(state) if isinstance(state, tuple) else [state]
                outputs.append(parts[0] if output is None else output)
            below[n] = outputs
            rows.append([value_of(part)[0] for part in parts])
        ends.append(rows)
    return below, ends


@each_cell
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**16),
    layers=st.integers(1, 2),
    lengths=st.lists(st.integers(0, T), min_size=N, max_size=N),
    resets=st.lists(st.booleans(), min_size=T * N, max_size=T * N),
)
def test_equals_its_cell_called_by_hand(
    cell: Any, seed: int, layers: int, lengths: list[int], resets: list[bool]
) -> None:
    layer, reset = layer_of(cell, seed, num_layers=layers), np.reshape(resets, (T, N))
    x = inputs(seed)
    y, state = layer(x, lengths=lengths, reset=reset)
    outputs, ends = by_hand(layer, x, lengths, reset)
    for n in range(N):
        for t in range(T):
            expected = outputs[n][t].numpy()[0] if t < lengths[n] else 0.0
            np.testing.assert_allclose(y.numpy()[t, n], expected, rtol=1e-10, atol=1e-12)
        for part, found in enumerate(state):
            for k in range(layers):
                expected = ends[k][n][part]
                np.testing.assert_allclose(found.numpy()[k, n], expected, rtol=1e-10, atol=1e-12)


@each_cell
def test_the_reverse_direction_is_the_layer_on_reversed_sequences(cell: Any) -> None:
    both, lengths, x = layer_of(cell, bidirectional=True), [4, 2, 3], inputs(3)
    alone = layer_of(cell)
    alone.load_state_dict(
        {name: both.state_dict()[name.replace("_l0", "_l0_reverse")] for name in alone.state_dict()}
    )
    flipped = np.zeros_like(x)
    for n, length in enumerate(lengths):
        flipped[:length, n] = x[:length, n][::-1]
    y, state = both(x, lengths=lengths)
    other, end = alone(flipped, lengths=lengths)
    size = other.shape[-1]
    for n, length in enumerate(lengths):
        np.testing.assert_allclose(
            y.numpy()[:length, n, size:], other.numpy()[:length, n][::-1], rtol=1e-12
        )
    for part, last in zip(state, end, strict=True):
        np.testing.assert_allclose(part.numpy()[1], last.numpy()[0], rtol=1e-12)


@each_cell
def test_options_change_no_value(cell: Any) -> None:
    options = {"num_layers": 2, "bidirectional": True}
    plain, x = layer_of(cell, **options), inputs(5)
    state = start_of(plain)
    y, last = plain(x, state, lengths=[4, 2, 3])
    loss = (y * y).sum() + sum((part * part).sum() for part in last)
    expected = [g.numpy() for g in tgs.grad(loss, list(plain.parameters()))]

    def agrees(layer: Any, found: Any, states: Any) -> None:
        np.testing.assert_allclose(found.numpy(), y.numpy(), rtol=1e-12, atol=1e-14)
        total = (found * found).sum() + sum((part * part).sum() for part in states)
        for got, want in zip(tgs.grad(total, list(layer.parameters())), expected, strict=True):
            np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-12)

    for every in (1, 3, True):
        layer = layer_of(cell, checkpoint=every, **options)
        agrees(layer, *layer(x, state, lengths=[4, 2, 3]))
    layer = layer_of(cell, batch_first=True, **options)
    found, states = layer(np.swapaxes(x, 0, 1), state, lengths=[4, 2, 3])
    agrees(layer, np.swapaxes(found, 0, 1), states)
    with tgs.composed():
        agrees(plain, *plain(x, state, lengths=[4, 2, 3]))
    for n in range(N):  # unbatched
        one = plain.state_type(*[part[:, n] for part in state])
        found, _ = plain(x[:, n], one, lengths=[4, 2, 3][n])
        np.testing.assert_allclose(found.numpy(), y.numpy()[:, n], rtol=1e-10, atol=1e-12)


@each_cell
def test_tokens_are_one_hot_rows(cell: Any) -> None:
    layer, ids = layer_of(cell), np.random.default_rng(0).integers(0, SIZE, (T, N))
    y, _ = layer(ids)
    np.testing.assert_allclose(y.numpy(), layer(np.eye(SIZE)[ids])[0].numpy(), rtol=1e-12)
    one = layer.cell_at(0)(ids[0])
    rows = layer.cell_at(0)(np.eye(SIZE)[ids[0]])
    for a, b in zip(leaves(one), leaves(rows), strict=True):
        np.testing.assert_allclose(value_of(a), value_of(b), rtol=1e-12)


@each_cell
def test_dropout_and_trained_starts(cell: Any) -> None:
    layer = layer_of(cell, num_layers=2, dropout=0.5, variational=True, trainable_state=True)
    x = inputs(7)
    y, _ = layer(x)
    y.sum().backward()
    starts = [getattr(layer, f"initial_{name}") for name in layer.state_sizes]
    assert all(start.grad.any() for start in starts[:1])
    assert not np.allclose(layer(x)[0].numpy(), layer(x)[0].numpy())
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())


@each_cell
def test_states_and_layers_copy_pickle_and_save(cell: Any, tmp_path: Any) -> None:
    layer = layer_of(cell, num_layers=2, dtype=np.float32)
    x = inputs(9).astype(np.float32)
    y, state = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(x)[0].numpy(), y.numpy())
        other.load_state_dict({k: 0 * v for k, v in layer.state_dict().items()})
    np.testing.assert_array_equal(layer(x)[0].numpy(), y.numpy())
    path = tmp_path / "state.ckpt"
    train.save_checkpoint(path, {"state": state.detach(), "model": layer.state_dict()})
    loaded = train.load_checkpoint(path)
    assert loaded["state"]._fields == state._fields
    assert type(loaded["state"]) is type(state)
    np.testing.assert_array_equal(layer(x, loaded["state"])[0].numpy(), layer(x, state)[0].numpy())
