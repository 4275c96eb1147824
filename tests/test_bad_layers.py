"""Bad input to layers and models: states, options, parts; each refusal comes with a cure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.test_bad_input import message
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError


def test_the_state_of_a_gru_may_be_its_h() -> None:
    x, h = np.ones((4, 3, 2)), np.full((1, 3, 5), 0.5)
    for kind, state in ((nn.GRU, nn.GRUState), (nn.RNN, nn.RNNState)):
        layer = kind(2, 5, rng=np.random.default_rng(0), dtype=np.float64)
        expected, _ = layer(x, state(tgs.tensor(h)))
        for given in (h, tgs.tensor(h), (h,)):
            np.testing.assert_array_equal(layer(x, given)[0].data, expected.data)


@pytest.mark.parametrize(
    ("state", "got", "cure"),
    [
        (nn.LSTMState(*[tgs.tensor(np.ones((1, 3, 5)))] * 2), "LSTMState of (1, 3, 5)", "GRUState"),
        (np.ones((3, 5)), "(3, 5)", "layers come first"),
        (np.ones((1, 2, 5)), "(1, 2, 5)", "one batch size"),
        (nn.GRUState(tgs.tensor(np.ones((1, 2, 5)))), "GRUState of (1, 2, 5)", "one batch size"),
    ],
)
def test_a_state_that_does_not_fit(state, got: str, cure: str) -> None:
    gru = nn.GRU(2, 5, rng=np.random.default_rng(0), dtype=np.float64)
    text = message(ShapeError, lambda: gru(np.ones((4, 3, 2)), state))
    assert text.startswith("GRU: state")
    assert f"got: {got}" in text
    assert cure in text
    lstm = nn.LSTM(2, 5, rng=np.random.default_rng(0), dtype=np.float64)
    text = message(ShapeError, lambda: lstm(np.ones((4, 3, 2)), np.ones((1, 3, 5))))
    assert "nn.LSTMState(h, c)" in text


X = np.ones((2, 3), np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize(
    ("h", "cure"),
    [
        (zeros(1, 4), "one row for each row"),
        (zeros(3, 4), "one row for each row"),
        (zeros(4), "one row for each row"),
        (zeros(2, 3), "one row for each row"),
        (zeros(1, 2, 4), "a cell is one layer"),
    ],
)
def test_a_state_that_does_not_fit_a_cell(kind, h: np.ndarray, cure: str) -> None:
    cell = kind(3, 4, rng=np.random.default_rng(0))
    states = [(h, zeros(2, 4)), (zeros(2, 4), h)] if kind is nn.LSTMCell else [h, tgs.tensor(h)]
    for state in states:
        text = message(ShapeError, lambda state=state: cell(X, state))
        assert text.startswith(f"{kind.__name__}: state\n")
        assert "of shape (2, 4)" in text
        assert str(h.shape) in text
        assert cure in text


def test_a_state_of_a_cell_with_other_parts_or_dtype() -> None:
    rng = np.random.default_rng(0)
    lstm, gru = nn.LSTMCell(3, 4, rng=rng), nn.GRUCell(3, 4, rng=rng)
    for alone in (zeros(2, 4), zeros(2, 2, 4), (zeros(2, 4),), 0):
        assert "a pair (h, c)" in message(ShapeError, lambda alone=alone: lstm(X, alone))
    assert "h alone" in message(ShapeError, lambda: gru(X, (zeros(2, 4), zeros(2, 4))))
    text = message(DtypeError, lambda: gru(X, np.zeros((2, 4))))
    assert text.startswith("GRUCell: state h\n")
    assert "float32 like the parameters" in text
    assert message(DtypeError, lambda: lstm(X, (zeros(2, 4), np.zeros((2, 4))))).startswith(
        "LSTMCell: state c\n"
    )
    one = lstm(X[0], (zeros(4), zeros(4)))  # a row without a batch
    np.testing.assert_allclose(one[0].data, lstm(X)[0].data[0], rtol=1e-6)
    np.testing.assert_array_equal(gru(X, [[0.0] * 4] * 2).data, gru(X).data)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
@pytest.mark.parametrize("x", [np.ones((5, 2, 3), np.float32), np.zeros((5, 2), int)])
def test_a_sequence_is_no_step_of_a_cell(kind, x: np.ndarray) -> None:
    text = message(ShapeError, lambda: kind(3, 4, rng=np.random.default_rng(0))(x))
    assert text.startswith(f"{kind.__name__}: input\n")
    assert "(N, 3) floats or (N,) tokens" in text
    assert "nn.LSTM" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: nn.LSTM(3, 4, rng=rng),
        lambda rng: nn.GRUCell(3, 4, rng=rng),
        lambda rng: nn.Linear(3, 4, rng=rng),
        lambda rng: nn.Embedding(3, 4, rng=rng),
        lambda rng: nn.Dropout(0.5, rng=rng),
        lambda rng: nn.AdditiveAttention(3, 4, 5, rng=rng),
        lambda rng: nn.Decoder(nn.RNN(3, 4), rng=rng),
    ],
)
def test_a_seed_is_no_generator(make) -> None:
    text = message(ConfigError, lambda: make(0))
    assert "np.random.default_rng(0)" in text
    make(None)


def test_booleans_are_no_input_of_a_layer() -> None:
    text = message(DtypeError, lambda: nn.GRU(3, 4)(np.ones((4, 2, 3), bool)))
    assert "x.astype(np.float32)" in text
    assert "layer.astype" not in text


@pytest.mark.parametrize("kind", [list, tuple, lambda parts: dict(enumerate(parts))])
@pytest.mark.parametrize("part", [nn.Linear(2, 3), nn.Parameter(np.zeros(3))])
def test_modules_hidden_in_a_container(kind, part) -> None:
    model = nn.Module()
    text = message(ConfigError, lambda: setattr(model, "parts", kind([None, part])))
    assert text.startswith("Module: attribute 'parts' would hide")
    assert not hasattr(model, "parts")
    model.sizes = [1, 2]
    model.parts = nn.ModuleList([nn.Linear(2, 3)])
    assert len(list(model.parameters())) == 2


def test_a_memory_that_the_decoder_is_not_made_for() -> None:
    encoder = nn.LSTM(6, 4, bidirectional=True)
    decoder = nn.Decoder(nn.LSTM(6, 4), attention=nn.MultiplicativeAttention(4, 8))
    text = message(ConfigError, lambda: nn.Seq2Seq(encoder, decoder))
    assert "memory_size=8" in text
    fit = nn.Decoder(nn.LSTM(6, 4), attention=nn.MultiplicativeAttention(4, 8), memory_size=8)
    assert nn.Seq2Seq(encoder, fit)(np.zeros((3, 2), int), np.zeros((2, 2), int)).logits.shape


def test_a_decoder_whose_layer_has_no_room_for_what_is_fed() -> None:
    layer = nn.GRU(28, 16, rng=np.random.default_rng(0))  # 28 tokens, and 16 forgotten
    decoder = nn.Decoder(layer, None, nn.DotAttention(), attend="feeding")
    memory = zeros(3, 2, 16)
    for wrong, kind in ((np.full((4, 2), 20), IndexRangeError), (zeros(4, 2, 28), ShapeError)):
        text = message(kind, lambda wrong=wrong: decoder(wrong, memory=memory))
        assert text.startswith("Decoder (input_size 28 = 12 tokens + 16 fed): ")
    assert decoder(np.full((4, 2), 11), memory=memory).logits.shape == (4, 2, 12)


@pytest.mark.parametrize(
    ("make", "got", "cure"),
    [
        (lambda: nn.ModuleList([3]), "3", "nn.ModuleList([a, b])"),
        (lambda: nn.ModuleList(nn.Linear(2, 3)), "Linear", "nn.ModuleList([a, b])"),
        (lambda: nn.ModuleList([nn.Linear]), "Linear", "nn.ModuleList([Linear(...)])"),
        (lambda: nn.Sequential(nn.Linear(2, 3), 3), "3", "nn.Sequential([a, b])"),
        (lambda: nn.Sequential(nn.Linear(2, 3), np.tanh), "tanh", "forward calls the function"),
        (lambda: nn.Sequential(lambda x: x), "lambda", "forward calls the function"),
    ],
)
def test_a_list_of_modules_holds_modules(make, got: str, cure: str) -> None:
    text = message(ConfigError, make)
    assert "parts" in text
    assert got in text
    assert cure in text


def test_modules_in_a_row_come_one_by_one_or_in_a_list() -> None:
    rng = np.random.default_rng(0)
    first, second = nn.Linear(2, 3, rng=rng), nn.Linear(3, 4, rng=rng)
    x = np.ones((5, 2), np.float32)
    nets = (nn.Sequential(first, second), nn.Sequential([first, second]))
    nets += (nn.Sequential(part for part in (first, second)),)
    for net in nets:
        assert list(net) == [first, second]
        np.testing.assert_array_equal(net(x).data, second(first(x)).data)
    assert list(nn.Sequential(first)) == [first]
    assert list(nn.Sequential()) == []


class Residual(nn.Sequential):
    def forward(self, x: Any) -> Any:
        return x + super().forward(x)


class Twice(nn.ModuleList):
    def forward(self, x: Any) -> Any:
        return 2 * self[0](x)


@pytest.mark.parametrize("kind", [Residual, Twice, nn.Sequential])
def test_a_lone_module_that_can_be_iterated_keeps_its_forward(kind: Any) -> None:
    inner = kind([nn.Linear(3, 3, rng=np.random.default_rng(0))])
    outer = nn.Sequential(inner)
    assert list(outer) == [inner]
    assert [name for name, _ in outer.named_parameters()] == ["0.0.weight", "0.0.bias"]
    x = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(outer(x).numpy(), inner(x).numpy())


@pytest.mark.parametrize("wrong", [nn.Sequential([nn.Linear(2, 3)]), nn.GRUCell(2, 3), nn.GRU, 3])
def test_wirings_are_made_of_recurrent_layers_and_decoders(wrong) -> None:
    decoder = nn.Decoder(nn.GRU(2, 3))
    for make in (
        lambda: nn.ManyToOne(wrong, 2),
        lambda: nn.ManyToMany(wrong, 2),
        lambda: nn.Decoder(wrong),
        lambda: nn.Seq2Seq(wrong, decoder),
    ):
        text = message(ConfigError, make)
        assert "recurrent layer\n  expected: an nn.Recurrent, such as nn.LSTM\n" in text
        assert f"got: {getattr(wrong, '__name__', type(wrong).__name__)}\n" in text
    for made in (lambda: nn.Seq2Seq(nn.GRU(2, 3), wrong), lambda: nn.OneToMany(2, wrong)):
        assert "decoder\n  expected: an nn.Decoder\n" in message(ConfigError, made)


def gru_of_ones(**options) -> tuple[tgs.Tensor, nn.GRUState]:
    rng = np.random.default_rng(0)
    return nn.GRU(8, 4, rng=rng)(np.ones((5, 3, 8), np.float32), **options)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize(
    "use",
    [
        nn.Linear(4, 2),
        nn.GRU(4, 4),
        nn.GRUCell(4, 4),
        nn.Dropout(0.5),
        nn.LayerNorm(4),
        nn.Embedding(3, 4),
        tgs.tanh,
        tgs.softmax,
        tgs.sum,
        tgs.tensor,
        lambda y: tgs.cross_entropy(y, np.zeros((5, 3), int)),
        lambda y: tgs.mse_loss(y, np.zeros((5, 3, 4), np.float32)),
        lambda y: y[0] * y,
        lambda y: tgs.concatenate([y, y]),
    ],
)
def test_a_state_that_was_forgotten_to_be_unpacked_is_named(use, recorded) -> None:
    with tgs.enable_grad() if recorded else tgs.no_grad():
        y = gru_of_ones()
        with pytest.raises(DtypeError, match=r"(?s)in place of one tensor.*y, state = layer\(x\)"):
            use(y)
        use_alone = nn.Linear(4, 2)(y[0])
        assert use_alone.shape == (5, 3, 2)


def test_a_list_of_tensors_is_named_and_stack_takes_it() -> None:
    y, _ = gru_of_ones()
    with pytest.raises(
        DtypeError, match=r"(?s)a list of Tensor, Tensor, Tensor, \.\.\..*tgs\.stack"
    ):
        tgs.relu(list(y))
    assert tgs.relu(tgs.stack(list(y))).shape == y.shape
    assert (y[0, 0] * [1, 2, 3, 4]).shape == (4,)  # a list of numbers is an array's spelling
