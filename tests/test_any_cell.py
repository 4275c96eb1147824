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
from tests.cells import CELLS, MGUCell, PeepholeCell, ThreeStateCell
from tinygrad_seq import nn, optim, train
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.testing import check_layer
from tinygrad_seq.transforms.nest import leaves

SIZE, H, T, N = 2, 2, 4, 3
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def layer_of(
    cell: Any, seed: int = 0, dtype: Any = np.float64, size: int = SIZE, **options: Any
) -> Any:
    rng = np.random.default_rng(seed)
    layer = nn.Recurrent(lambda size: cell(size, H, rng=rng, dtype=dtype), SIZE, rng=rng, **options)
    for parameter in layer.parameters():  # biases too
        noise = 0.1 * rng.standard_normal(parameter.shape)
        parameter.data = parameter.numpy() + noise.astype(dtype)
    return layer


def inputs(seed: int, steps: int = T) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, N, SIZE))


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


def value_of(part: Any) -> Any:
    return part.numpy() if isinstance(part, tgs.Tensor) else part


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


def wired(cell: Any, rng: Any) -> dict[str, Any]:
    """Every wiring around layers of a cell: a model, and a call of it that gives a loss."""

    def make(size: int, layers: int = 1, **options: Any) -> Any:
        return nn.Recurrent(lambda n: cell(n, 4, rng=rng), size, layers, rng=rng, **options)

    ids, vectors = rng.integers(0, 5, (T, N)), rng.standard_normal((N, 6)).astype(np.float32)
    one = nn.ManyToOne(make(5, bidirectional=True), 3, rng=rng)
    many = nn.ManyToMany(make(5), 5, rng=rng)
    start = nn.OneToMany(6, nn.Decoder(make(5), rng=rng), rng=rng)
    width = make(5).output_size
    plain = nn.Seq2Seq(make(5, 1, bidirectional=True), nn.Decoder(make(5), rng=rng), rng=rng)
    twice = nn.Seq2Seq(make(5, 1, bidirectional=True), nn.Decoder(make(5, 2), rng=rng), rng=rng)
    look = nn.AdditiveAttention(width, width, 3, rng=rng)
    fed = make(5 + nn.Decoder.fed_size_of("feeding", width))
    feeding = nn.Decoder(fed, 5, look, attend="feeding", rng=rng)
    deep = nn.Seq2Seq(make(5), feeding, rng=rng)
    return {
        "many to one": (one, lambda: tgs.cross_entropy(one(ids, lengths=[4, 0, 2]), [0, 1, 2])),
        "many to many": (many, lambda: tgs.cross_entropy(many(ids)[0], ids)),
        "one to many": (start, lambda: tgs.cross_entropy(start(vectors, ids).logits, ids)),
        "bridged": (plain, lambda: tgs.cross_entropy(plain(ids, ids).logits, ids)),
        "both directions, two layers": (
            twice,
            lambda: tgs.cross_entropy(twice(ids, ids).logits, ids),
        ),
        "input feeding": (deep, lambda: tgs.cross_entropy(deep(ids, ids).logits, ids)),
        "generated": (start, lambda: start.generate(vectors, 0, max_steps=3).tokens),
        "beams": (deep, lambda: deep.beam_search(ids, 0, end=1, width=2, max_steps=3).tokens),
    }


@each_cell
def test_every_wiring_takes_it(cell: Any) -> None:
    for name, (model, run) in wired(cell, np.random.default_rng(0)).items():
        found = run()
        if not isinstance(found, tgs.Tensor):
            assert found.shape[1] == N
            continue
        optimizer = optim.Adam(model.parameters(), lr=0.02)
        first = float(found)
        for _ in range(15):
            optimizer.zero_grad()
            run().backward()
            optimizer.step()
        assert float(run()) < first, name


def test_the_output_after_the_last_step_is_the_readouts_input() -> None:
    rng = np.random.default_rng(0)
    layer = layer_of(ThreeStateCell, bidirectional=True)
    model = nn.ManyToOne(layer, 3, rng=rng)
    model.astype(np.float64)
    x, lengths = inputs(2), [4, 1, 3]
    logits = model(x, lengths=lengths)
    size = layer.cell_at(0).output_size
    for n, length in enumerate(lengths):
        y, _ = layer(x[:length, n])
        both = np.concatenate([y.numpy()[-1, :size], y.numpy()[0, size:]])
        np.testing.assert_allclose(logits.numpy()[n], model.head(both).numpy(), rtol=1e-10)


def test_chrono_writes_where_a_cell_says_that_it_keeps() -> None:
    rng = np.random.default_rng(0)
    layer = nn.Recurrent(lambda n: nn.GRUCell(n, 50, rng=rng), 3, 2)
    nn.init.chrono_(layer, 20.0, rng)
    for cell in layer.cells():
        bias = cell.bias.numpy()
        assert not bias[:50].any() and (bias[50:100] >= 0).all() and not bias[100:].any()


class Wrong(nn.Cell):
    def __init__(self, returned: Any, states: Any = 3, output_size: Any = None) -> None:
        super().__init__(2, states, output_size)
        self.returned = returned

    def forward(self, x: Any, state: Any) -> Any:
        return self.returned(x, state)


two = {"a": 3, "b": 2}
three = np.zeros((N, 3), np.float32)


@pytest.mark.parametrize(
    ("cell", "kind", "said"),
    [
        (
            Wrong(lambda x, h: h[:, :2]),
            ShapeError,
            r"Wrong\.forward[\s\S]*h \(3, 3\)[\s\S]*\(3, 2\)",
        ),
        (Wrong(lambda x, h: None), ShapeError, "no tensor"),
        (Wrong(lambda x, s: s[0], two), ShapeError, r"a \(3, 3\), b \(3, 2\)"),
        (Wrong(lambda x, h: (h * 2, h)), ConfigError, "output_size"),
        (Wrong(lambda x, h: h, 3, 4), ConfigError, r"\(output, state\)"),
        (Wrong(lambda x, h: (h, h), 3, 4), ShapeError, r"output \(3, 4\)"),
    ],
)
def test_what_a_cell_returns_is_checked(cell: Any, kind: Any, said: str) -> None:
    with pytest.raises(kind, match=said):
        nn.Recurrent(cell)(np.zeros((T, N, 2), np.float32))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda rng: nn.Recurrent(MGUCell(2, 3, rng=rng), num_layers=2), "lambda size: YourCell"),
        (lambda rng: nn.Recurrent(MGUCell(2, 3, rng=rng), 3), "own input_size"),
        (lambda rng: nn.Recurrent(nn.Linear(2, 3, rng=rng)), "derive the class"),
        (lambda rng: nn.Recurrent(lambda n: MGUCell(n, 3, rng=rng)), "input_size"),
        (lambda rng: nn.Recurrent(lambda n: MGUCell(2, 3, rng=rng), 2, 2), "input_size 3"),
        (lambda rng: nn.Recurrent(lambda n: MGUCell(n, 5 - n, rng=rng), 2, 2), "differ"),
        (lambda rng: nn.Recurrent(lambda n: 3, 2), "an nn.Cell"),
        (lambda rng: Wrong(None, {}), "names of the parts"),
        (lambda rng: Wrong(None, {"a b": 3}), "names of the parts"),
    ],
)
def test_what_makes_no_layer_is_explained(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make(np.random.default_rng(0))


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"layer_norm": True}, {"recurrent_dropout": 0.3}])
def test_bias_false_is_a_bias_of_zeros_that_nobody_trains(kind: Any, options: Any) -> None:
    made = [
        kind(SIZE, H, 2, bias=b, rng=np.random.default_rng(0), **options) for b in (True, False)
    ]
    assert not any("bias" in name.split("_l")[0] for name in made[1].state_dict())
    values = made[0].state_dict()
    zeros = {name: 0 * value for name, value in values.items() if name.startswith("bias")}
    made[0].load_state_dict(values | made[1].state_dict() | zeros)
    x, results = inputs(4).astype(np.float32), []
    for layer in made:
        layer.dropout.rng = np.random.default_rng(5)
        y, state = layer(x, lengths=[4, 1, 3])
        results.append([y.numpy(), *[part.numpy() for part in state]])
        y.sum().backward()
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    for name, parameter in made[1].named_parameters():
        other = dict(made[0].named_parameters())[name].grad
        np.testing.assert_allclose(parameter.grad, other, rtol=1e-5, atol=1e-6)
    assert "bias=False" in repr(made[1])


def test_a_peephole_is_used() -> None:
    """The oracle by hand above is the same cell: here a known value."""
    cell = PeepholeCell(1, 1, rng=np.random.default_rng(0), dtype=np.float64)
    cell.load_state_dict(
        {"all.weight": np.zeros((2, 4)), "all.bias": np.zeros(4), "peep": np.ones((3, 1))}
    )
    h, c = cell(np.zeros((1, 1)), (np.zeros((1, 1)), np.ones((1, 1))))
    sigma = 1 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(c.numpy(), [[sigma]])
    np.testing.assert_allclose(h.numpy(), [[np.tanh(sigma) / (1 + np.exp(-sigma))]])
