"""What is made of cells: wirings, flow of gradients, initial values; what is refused of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import (
    CELLS,
    SIZE,
    H,
    MGUCell,
    N,
    PeepholeCell,
    T,
    ThreeStateCell,
    inputs,
    layer_of,
    value_of,
)
from tinygrad_seq import flow, nn, optim, train
from tinygrad_seq.errors import ConfigError, DtypeError, ShapeError
from tinygrad_seq.flow.spectrum import recurrent_spectra

each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


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


class Counting(nn.Cell):
    """A state that no parameter reaches: a constant at every step."""

    def __init__(self) -> None:
        super().__init__(2, {"h": 2, "t": 1})
        self.scale = nn.Parameter(np.ones(2))

    def forward(self, x: Any, state: Any) -> Any:
        h, t = state
        return tgs.tanh(x * self.scale + h) / (1 + t), t + 1


@pytest.mark.parametrize("every", [False, 2])
def test_a_state_may_be_a_constant(every: Any) -> None:
    layer = nn.Recurrent(Counting(), checkpoint=every)
    _, state = layer(inputs(0), lengths=[4, 1, 0])
    np.testing.assert_array_equal(state.t.numpy()[0, :, 0], [4, 1, 0])
    state.h.sum().backward()
    assert layer.cell_l0.scale.grad.all()


class Undeclared(nn.Cell):
    def __init__(self) -> None:
        nn.Module.__init__(self)


def test_a_cell_may_be_replaced_by_one_that_fits() -> None:
    layer, x = layer_of(MGUCell, num_layers=2), inputs(0)
    other = layer_of(MGUCell, seed=1, num_layers=2)
    y, _ = other(x)
    layer.cell_l0, layer.cell_l1 = other.cell_l0, other.cell_l1
    np.testing.assert_array_equal(layer(x)[0].numpy(), y.numpy())
    scopes = {node.scope.path for node in nodes_behind(layer(x)[0]) if node.op is not None}
    assert scopes == {""}
    for wrong in (MGUCell(SIZE + 1, H, rng=np.random.default_rng(0)), nn.LSTMCell(SIZE, H)):
        with pytest.raises(ConfigError, match="cells"):
            layer.cell_l0 = wrong
    assert layer.cell_l0 is other.cell_l0


def nodes_behind(y: Any) -> list[Any]:
    found, stack = [], [y.node]
    while stack:
        node = stack.pop()
        if node is not None:
            found.append(node)
            stack.extend(node.parents)
    return found


class LSTMCell(MGUCell):
    """A cell that is called like one of ours, and is another."""


def test_a_state_named_like_one_of_ours_is_saved_as_what_it_is(tmp_path: Any) -> None:
    layer = layer_of(LSTMCell)
    _, state = layer(inputs(0))
    train.save_checkpoint(tmp_path / "a", {"state": state})
    loaded = train.load_checkpoint(tmp_path / "a")["state"]
    assert loaded._fields == ("h",)
    layer(inputs(0), loaded)


def test_parts_of_a_layer_of_ours_may_come_and_go() -> None:
    layer = nn.LSTM(3, 4, bias=False, rng=np.random.default_rng(0))
    x = np.ones((2, 1, 3), np.float32)
    plain = layer(x)[0].numpy()
    layer.bias_l0 = nn.Parameter(np.ones(16, np.float32))
    y, _ = layer(x)
    assert not np.allclose(y.numpy(), plain)
    y.sum().backward()
    assert layer.bias_l0.grad is not None and "bias=False" not in repr(layer)
    assert list(layer.cell_at(0).state_dict()) == ["weight_xh", "weight_hh", "bias"]
    layer.bias_l0 = None
    np.testing.assert_array_equal(layer(x)[0].numpy(), plain)
    assert list(layer.cell_at(0).state_dict()) == ["weight_xh", "weight_hh"]
    for wrong in (1.0, -1, "a", np.nan):
        with pytest.raises(ConfigError, match="LSTM: recurrent_dropout"):
            layer.recurrent_dropout = wrong
    assert layer.recurrent_dropout == 0.0
    with pytest.raises(ConfigError, match="layer_norm"):
        layer.layer_norm = True


def test_attention_before_the_step_needs_an_output_that_is_a_state() -> None:
    rng = np.random.default_rng(0)
    layer = nn.Recurrent(lambda n: ThreeStateCell(n, 4, rng=rng), 5 + 6)
    look = nn.AdditiveAttention(6, 6, 3, rng=rng)
    with pytest.raises(ConfigError, match="output of its own"):
        nn.Decoder(layer, 5, look, 6, attend="before", rng=rng)


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
        (Wrong(lambda x, h: np.ones((N, 3), int)), DtypeError, r"Wrong\.forward: h"),
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
        (lambda rng: nn.Recurrent(Undeclared()), "declares no states"),
        (lambda rng: Wrong(None, {"a b": 3}), "names of the parts"),
        (lambda rng: Wrong(None, {"class": 3}), "names of the parts"),
        (lambda rng: Wrong(None, {"_fields": 3}), "names of the parts"),
        (lambda rng: nn.init.chrono_(layer_of(MGUCell), 9.0, rng), "with a bias"),
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


def whole_state(cell: Any, x: Any) -> Any:
    """One step as a function of the parts of the state, joined."""
    ends = np.cumsum(list(cell.states.values()))[:-1].tolist()

    def step(joined: Any) -> Any:
        parts = tgs.split(joined, tuple(ends), axis=-1) if ends else (joined,)
        found = cell(x, parts[0] if len(parts) == 1 else tuple(parts))
        state = found[1] if cell.own_output else found
        return tgs.concatenate(list(state), axis=-1) if isinstance(state, tuple) else state

    return step


@each_cell
@pytest.mark.parametrize("by_layer", [True, False], ids=["layer", "own loop"])
def test_gradient_flow_knows_its_states_and_gates(cell: Any, by_layer: bool) -> None:
    layer, x = layer_of(cell), inputs(11)
    one, seen = layer.cell_at(0), []

    def run() -> Any:
        y, state = None, None
        if by_layer:
            y, state = layer(x)
            return y.sum() + sum(part.sum() for part in state)
        seen.clear()
        for t in range(T):
            with tgs.scope(step=t):
                found = one(x[t], state)
                state = found[1] if one.own_output else found
                parts = state if isinstance(state, tuple) else (state,)
                seen.append(np.concatenate([value_of(part) for part in parts], axis=-1))
        return sum(part.sum() for part in (*parts, *(found[:1] if one.own_output else ())))

    track = next(iter(flow.gradient_flow(run).tracks.values()))
    size = sum(layer.state_sizes.values())
    assert track.jacobians().shape == (T - 1, N, size, size)
    for name, whole in track.weight_gradients.items():
        parts = [track.contribution(t, name) for t in range(T)]
        np.testing.assert_allclose(sum(parts), whole, rtol=1e-9, atol=1e-12, err_msg=name)
    if by_layer:
        return
    for t in range(1, T):
        for n in range(N):
            step = whole_state(one, x[t, n : n + 1])
            exact = tgs.jacobian(step, seen[t - 1][n : n + 1])
            exact = np.asarray(value_of(exact)).reshape(size, size)
            np.testing.assert_allclose(track.jacobians()[t - 1, n], exact, rtol=1e-9, atol=1e-12)
    for name, weight in track.weights.items():
        blocks = track.spectra(name)
        if "weight_hh" in name:
            expected = cell.gates or ("",)
            assert tuple(blocks) == expected, (name, weight.shape)


def test_spectra_of_rows_and_columns_agree() -> None:
    weight = np.random.default_rng(0).standard_normal((3, 6))
    rows = recurrent_spectra(weight, ("a", "b"))
    columns = recurrent_spectra(np.concatenate([weight[:, :3], weight[:, 3:]]), ("a", "b"))
    assert list(rows) == list(columns) == ["a", "b"]
    for name in rows:
        np.testing.assert_allclose(rows[name].radius, columns[name].radius)
    assert list(recurrent_spectra(weight)) == ["0", "1"]
