"""Options and parts of layers changed after they were made: each takes effect, or is refused."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle  # noqa: TID251  (what multiprocessing sends a model by; checkpoints never do)
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import FLAT, OURS, public
from tests.test_bad_input import message
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, TinygradSeqError
from tinygrad_seq.nn.options import WithOptions

I, H, T, N = 3, 4, 5, 2  # noqa: E741  (the size of an input)
X = np.random.default_rng(0).standard_normal((T, N, I)).astype(np.float32)


each_flat = pytest.mark.parametrize("kind", FLAT.values(), ids=FLAT)

VALID = {
    "num_layers": 3,
    "nonlinearity": "relu",
    "bias": False,
    "dropout": 0.5,
    "batch_first": True,
    "bidirectional": True,
    "variational": True,
    "trainable_state": True,
    "checkpoint": 2,
    "layer_norm": True,
    "recurrent_dropout": 0.5,
    "proj_size": 2,
    "reset_after": False,
    "forget_bias": 3.0,
    "dtype": np.float64,
    "input_size": I + 1,
    "hidden_size": H + 1,
    "in_features": I + 1,
    "out_features": H + 1,
    "num_embeddings": I + 1,
    "embedding_dim": H + 1,
    "size": I + 1,
    "eps": 0.5,
    "p": 0.25,
}
"""For every option by name, another value than the default."""
BAD = [None, "text", -1, 1.5, np.nan, object(), [1], np.zeros(2), np.float32, "relu", True, 0]


def makers() -> dict[str, tuple[Any, dict[str, Any]]]:
    """Every class whose options are looked after, with what it is made from."""
    sizes = {"input_size": I, "hidden_size": H}
    found: dict[str, tuple[Any, dict[str, Any]]] = {n: (k, sizes) for n, k in OURS.items()}
    found |= {n: (k, {**sizes, "num_layers": 2, "dropout": 0.1}) for n, k in FLAT.items()}
    found["Recurrent"] = (
        lambda num_layers=2, **o: nn.Recurrent(
            lambda size: nn.GRUCell(size, H, rng=o["rng"]), I, num_layers, **o
        ),
        {"num_layers": 2, "dropout": 0.1},
    )
    found["Linear"] = (nn.Linear, {"in_features": I, "out_features": H})
    found["Embedding"] = (nn.Embedding, {"num_embeddings": I, "embedding_dim": H})
    found["LayerNorm"] = (lambda rng, **o: nn.LayerNorm(**o), {"size": I})
    found["Dropout"], found["VariationalDropout"] = (nn.Dropout, {}), (nn.VariationalDropout, {})
    return found


MAKERS = makers()


def made(name: str, **changed: Any) -> Any:
    """A layer or cell, quietly."""
    make, given = MAKERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(rng=np.random.default_rng(7), **{**given, **changed})


def seen(model: Any) -> tuple[Any, ...]:
    """All that a user sees of it: what it is called, holds, and computes."""
    x: Any = X[0] if isinstance(model, nn.Cell) else X
    x = np.zeros((T, N), int) if isinstance(model, nn.Embedding) else x
    for rng in model.generators().values():
        rng.bit_generator.state = np.random.default_rng(3).bit_generator.state
    y = model(x)
    values = y if isinstance(y, tuple) else (y,)
    flat = [part for v in values for part in (v if isinstance(v, tuple) else (v,))]
    held = {name: value.tobytes() for name, value in model.state_dict().items()}
    return repr(model), held, [part.numpy().tobytes() for part in flat]


def refusal(call: Any, *args: Any) -> str:
    """What a call is refused with, if it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(*args)
    except TinygradSeqError as error:
        return str(error)
    return ""


def options_of(name: str) -> list[str]:
    kind = getattr(nn, name)
    others = {"rng", "cell"} | (set() if hasattr(kind, "dtype") else {"dtype"})
    return [option for option in inspect.signature(kind).parameters if option not in others]


def test_every_class_that_says_what_may_change_is_looked_at() -> None:
    named = {n for n, kind in public(WithOptions).items() if kind is not nn.Cell}
    assert named == set(MAKERS)
    assert {o for name in MAKERS for o in options_of(name)} == set(VALID)


def with_the_same_values(model: Any, like: Any) -> Any:
    model.load_state_dict(like.state_dict())
    return model


ALL = [(name, option) for name in MAKERS for option in options_of(name)]


@pytest.mark.parametrize(("name", "option"), ALL, ids=str)
def test_an_option_takes_effect_when_it_is_assigned_or_is_refused(name: str, option: str) -> None:
    model, value = made(name), VALID[option]
    before = seen(model)
    refused = refusal(setattr, model, option, value)
    if refused:
        assert refused.startswith(f"{name}: {option} ")
        assert "\n  try: " in refused
        assert seen(model) == before
        return
    assert seen(model) == seen(with_the_same_values(made(name, **{option: value}), model))


@pytest.mark.parametrize(("name", "option"), ALL, ids=str)
def test_an_option_takes_no_other_values_than_when_it_is_made(name: str, option: str) -> None:
    model = made(name)
    before = seen(model)
    for value in BAD[option == "bias" :]:  # None is no parameter there, as below
        refused = refusal(setattr, model, option, value)
        if refused:
            assert refused.startswith(f"{name}: {option}"), value
            assert seen(model) == before, value
            continue
        assert seen(model) == seen(with_the_same_values(made(name, **{option: value}), model))
        model = made(name)
    if option not in vars(model) or option == "bias":
        return
    with pytest.raises(TinygradSeqError, match=f"{name}: {option}"):
        delattr(model, option)
    assert seen(model) == before


@pytest.mark.parametrize("name", MAKERS)
def test_an_option_may_be_assigned_what_it_is(name: str) -> None:
    model = made(name)
    before = seen(model)
    for option in options_of(name):
        if hasattr(model, option):
            setattr(model, option, getattr(model, option))
    assert seen(model) == before


# -- parts -----------------------------------------------------------------------------------------

EXTRA: dict[str, list[dict[str, Any]]] = {
    "LSTM": [{"proj_size": 2}],
    "GRU": [{"reset_after": False}],
}
PARTS = [
    (name, options)
    for name in MAKERS
    if issubclass(getattr(nn, name), (nn.Cell, nn.Recurrent))
    for options in [
        {},
        {"trainable_state": True} if name in (*FLAT, "Recurrent") else {},
        *([] if name == "Recurrent" else [{"layer_norm": True}]),
        *EXTRA.get(name.removesuffix("Cell"), []),
    ]
]


@pytest.mark.parametrize("how", ["None", "del"])
@pytest.mark.parametrize(("name", "options"), PARTS, ids=str)
def test_a_part_is_done_without_or_said_to_be_missing(name: str, options: Any, how: str) -> None:
    plain = made(name, **options)
    for part in [*plain._parameters, *plain._modules]:
        model = made(name, **options)
        before = seen(model)
        call = (setattr, model, part, None) if how == "None" else (delattr, model, part)
        refused = refusal(*call)
        if refused:
            assert refused.startswith(f"{name}: {part}")
            if part != "dropout" or how == "del":
                assert "missing" in refused and f"model.{part} = " in refused
            assert seen(model) == before
            continue
        assert part.startswith("bias")
        assert part not in model.state_dict()
        assert len(seen(model)[1]) == len(before[1]) - 1
        message(TinygradSeqError, lambda m=model, p=part: setattr(m, p, 0.5))


@each_flat
def test_what_is_assigned_to_a_cell_is_the_layers(kind: Any) -> None:
    for options in ({}, {"layer_norm": True}):
        layer = kind(I, H, 2, bidirectional=True, rng=np.random.default_rng(0), **options)
        for k, reverse in ((0, False), (1, True)):
            end = f"_l{k}" + ("_reverse" if reverse else "")
            cell = layer.cell_at(k, reverse)
            for name, part in [*cell._parameters.items(), *cell._modules.items()]:
                new: Any = nn.LayerNorm(part.size) if name.startswith("norm") else None
                new = new or nn.Parameter(0.5 + part.numpy())
                y = layer(X)[0].numpy()
                setattr(cell, name, new)
                assert getattr(layer, name + end) is new is getattr(cell, name)
                held = {**dict(layer.named_parameters()), **dict(layer.named_modules())}
                assert held[name + end] is new
                assert np.array_equal(layer(X)[0].numpy(), y) == name.startswith("norm")
        before = seen(layer)
        cell.bias = None
        assert layer.bias_l1_reverse is None and "bias_l1_reverse" not in layer.state_dict()
        cell.bias = nn.Parameter(np.ones(cell.blocks * H, np.float32))
        assert layer.bias_l1_reverse is cell.bias
        assert list(layer.state_dict()) == list(before[1])
        with tgs.no_grad():
            cell.bias -= 1.0
        assert not layer.bias_l1_reverse.numpy().any()
        del cell.bias
        assert "bias_l1_reverse" not in layer.state_dict()
        assert message(ConfigError, lambda c=cell: setattr(c, "weight_hh", None)).startswith(
            f"{kind.__name__}: weight_hh_l1_reverse is missing"
        )


@each_flat
def test_a_cell_trains_and_draws_with_its_layer(kind: Any) -> None:
    layer = kind(I, H, 2, recurrent_dropout=0.5, rng=np.random.default_rng(0))
    cell = layer.cell_at(1).eval()
    assert not any(part.training for part in layer.modules())
    np.testing.assert_array_equal(layer(X)[0].numpy(), layer(X)[0].numpy())
    cell.train()
    assert all(part.training for part in layer.modules())
    cell.rng = np.random.default_rng(5)
    assert layer.dropout.rng is cell.rng is layer.cell_at(0).rng
    cell.recurrent_dropout = 0.25
    assert "recurrent_dropout_l1=0.25" in repr(layer) and layer.recurrent_dropout == 0.5
    for wrong in (None, 1.0, "text"):
        with pytest.raises(ConfigError, match=f"{kind.__name__}Cell: recurrent_dropout"):
            cell.recurrent_dropout = wrong


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS)
def test_a_cell_that_drops_later_draws_from_a_generator_that_is_known(kind: Any) -> None:
    cell = kind(I, H)
    assert not cell.generators()
    cell.recurrent_dropout = 0.5
    cell(X[0])
    (rng,) = cell.generators().values()
    cell(X[0])
    assert list(cell.generators().values()) == [rng]
    cell.rng = None
    cell.recurrent_dropout = 0.0
    assert not cell.generators()


@each_flat
def test_a_cell_without_its_layer_is_a_cell(kind: Any) -> None:
    layer = kind(I, H, rng=np.random.default_rng(0))
    cell, y = layer.cell_at(0), layer(X)[0].numpy()
    for alone in (copy.copy(cell), copy.deepcopy(cell), pickle.loads(pickle.dumps(cell)), cell):
        if alone is cell:
            del layer
            gc.collect()
        alone.bias = None
        alone.eval()
        assert "bias" not in alone.state_dict() and "bias=" in repr(alone)
        if alone is not cell:
            np.testing.assert_array_equal(layer(X)[0].numpy(), y)
            assert layer.training and layer.bias_l0 is not None
    other = copy.deepcopy(kind(I, H, rng=np.random.default_rng(0)))
    other.cell_at(0).bias = None
    assert other.bias_l0 is None and "bias_l0" not in other.state_dict()


@each_flat
def test_a_part_in_a_place_that_there_is_not_is_refused(kind: Any) -> None:
    layer = kind(I, H, rng=np.random.default_rng(0))
    before = seen(layer)
    new = nn.Parameter(np.ones((H, H), np.float32))
    parts = {"cell_l0": layer.cell_at(0), "norm_x_l0": nn.LayerNorm(H), "weight_hh_l1": new}
    for name, part in {**parts, "bias_l0_reverse": new}.items():
        text = message(ConfigError, lambda n=name, p=part: setattr(layer, n, p))
        assert text.startswith(f"{kind.__name__}: {name} would never be used")
        assert "weight_xh_l0, weight_hh_l0" in text
    assert seen(layer) == before
    layer.helper = nn.RNNCell(I, H)  # a part of one's own
    layer.head_l1 = new
    assert {"helper.bias", "head_l1"} < set(layer.state_dict())
    other = nn.Recurrent(lambda size: nn.GRUCell(size, H), I, 2)
    for name in ("cell_l2", "cell_l0_reverse"):
        text = message(ConfigError, lambda n=name: setattr(other, n, nn.GRUCell(H, H)))
        assert "cell_l0, cell_l1" in text and len(list(other.modules())) == 4


def test_a_class_of_ones_own_may_have_attributes_before_and_after() -> None:
    class Mine(nn.LSTM):
        def __init__(self, size: int) -> None:
            super().__init__(size, H, rng=np.random.default_rng(0))
            self.extra = nn.Linear(H, 1)
            self.note = None

    mine = copy.deepcopy(Mine(I))
    mine.note = "text"
    del mine.note
    assert mine(X)[0].shape == (T, N, H)

    class Early(nn.LSTM):
        def __init__(self) -> None:
            self.head_l1 = nn.Linear(H, 1)

    message(ConfigError, Early)


def test_dropout_assigned_to_one_layer_warns_as_when_it_is_made() -> None:
    layer = nn.GRU(I, H)
    with pytest.warns(UserWarning, match="GRU: dropout=0.5 never acts") as caught:
        layer.dropout = 0.5
    assert caught[0].filename == __file__
    layer = nn.GRU(I, H, 2)
    layer.dropout = nn.VariationalDropout(0.25, rng=np.random.default_rng(0))
    assert "dropout=0.25, variational=True" in repr(layer) and layer.draws_per_sequence()
