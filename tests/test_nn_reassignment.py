"""Parts of a module assigned again: each keeps name, place and identity, or is refused."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251  (a model that was sent to another process; files never use it)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.test_bad_input import message
from tests.test_nn_registration import PARTS, Bare, linear, parameter
from tinygrad_seq import nn
from tinygrad_seq.errors import ArgumentError, ConfigError, TinygradSeqError


class Pair(nn.Module):
    def __init__(self, size: int = 2) -> None:
        super().__init__()
        for name in ("a", "b", "c"):
            setattr(self, name, nn.Parameter(np.zeros(size, np.float32)))
        self.first, self.second = linear(), linear()


NAMES = ["a", "b", "c", "first.weight", "first.bias", "second.weight", "second.bias"]


def names(model: nn.Module) -> list[str]:
    return [name for name, _ in model.named_parameters()]


VALUES = [
    tgs.tensor([1.0, 2.0]),
    tgs.tensor([1.0, 2.0], requires_grad=True),
    np.zeros(2, np.float32),
    0.5,
    "text",
    [1.0],
    print,
    False,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("quiet", [False, True])
def test_something_else_in_the_place_of_a_part_is_refused_and_nothing_changes(value, quiet) -> None:
    model = Pair()
    before = dict(model.named_parameters())
    for name, cure in (("b", "model.b -= "), ("first", "del model.first")):
        with tgs.no_grad() if quiet else tgs.enable_grad():
            text = message(ArgumentError, lambda n=name: setattr(model, n, value))
        assert cure in text and f"Pair: {name!r} is a " in text
    for name, part in (("b", linear()), ("first", parameter())):
        message(ArgumentError, lambda n=name, p=part: setattr(model, n, p))
    after = dict(model.named_parameters())
    assert list(before) == list(after) == NAMES
    assert all(before[name] is after[name] for name in NAMES)


def test_the_hand_step_of_notebooks_is_told_how() -> None:
    layer = linear()
    with tgs.no_grad():
        text = message(TypeError, lambda: setattr(layer, "weight", layer.weight - 0.1))
    assert "with tgs.no_grad(): model.weight -= " in text and ".data = array" in text
    weight, before = layer.weight, layer.weight.numpy()
    with tgs.no_grad():
        layer.weight -= 0.1
    assert layer.weight is weight and names(layer) == ["weight", "bias"]
    np.testing.assert_allclose(weight.numpy(), before - np.float32(0.1))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=12))
def test_every_name_keeps_the_place_of_its_first_registration(changes) -> None:
    model, alive = Pair(), dict.fromkeys("abc", True)
    for name, how in changes:
        if how == 0 and alive[name]:
            with tgs.no_grad():
                held = getattr(model, name)
                setattr(model, name, held.__isub__(1.0))
                assert getattr(model, name) is held
        elif how == 1:
            setattr(model, name, parameter(3.0))
            alive[name] = True
        elif how == 2:
            setattr(model, name, None)
            alive[name] = False
        elif how == 3:
            model.first = linear()
        elif how == 4:
            model.astype(np.float32).zero_grad()
    kept = [name for name in NAMES if alive.get(name, True)]
    assert names(model) == kept == list(model.state_dict())
    assert [p.name for p in model.parameters()] == kept


def test_none_removes_a_part_and_del_forgets_its_place() -> None:
    model = Pair()
    model.a = model.first = None
    assert model.a is None and names(model) == ["b", "c", "second.weight", "second.bias"]
    assert "first" not in repr(model) and len(list(model.modules())) == 2
    model.load_state_dict(model.state_dict())
    assert names(copy.deepcopy(model)) == names(pickle.loads(pickle.dumps(model))) == names(model)
    model.a, model.first = parameter(), linear()
    assert names(model) == NAMES
    del model.a, model.first
    model.a, model.first = parameter(), linear()
    assert names(model)[:4] == ["b", "c", "a", "second.weight"]
    model.a = None
    model.a = 3  # free again
    assert names(model)[:2] == ["b", "c"]


def test_a_shared_parameter_is_found_under_whichever_name_is_left() -> None:
    model = Pair()
    model.tied = model.a
    assert names(model) == NAMES
    del model.a
    assert names(model) == ["b", "c", "tied", *NAMES[3:]]
    model.second.weight = model.first.weight
    del model.first
    assert names(model) == ["b", "c", "tied", "second.weight", "second.bias"]


NOT_YOURS = ["a.b", "", ".", "training", "forward", "train", "parameters", "state_dict"]
NOT_YOURS += ["_parameters", "_modules", "_name", "_containers", "named_modules", "extra_repr"]


@pytest.mark.parametrize("name", [*NOT_YOURS, "__class__", "__call__"])
@pytest.mark.parametrize("part", PARTS)
def test_names_that_would_lose_a_part_are_refused(name, part) -> None:
    model = Bare()
    text = message(ConfigError, lambda: setattr(model, name, PARTS[part]()))
    assert "try: self." in text
    assert list(model.parameters()) == [] and model(1) == 1 and model.train() is model


def test_the_registries_are_not_to_be_replaced() -> None:
    model = Pair()
    for name in ("_parameters", "_modules", "_containers"):
        message(ConfigError, lambda name=name: setattr(model, name, {}))
    assert names(model) == NAMES
    model.training = False
    setattr(model, "a.b", 3)  # no part: nothing to lose
    assert names(model) == NAMES


def test_what_a_property_makes_of_a_part_is_registered_once() -> None:
    class Scaled(nn.Module):
        @property
        def weight(self):
            return self.raw

        @weight.setter
        def weight(self, value):
            self.raw = value

    model = Scaled()
    model.weight = parameter(1.0)
    model.weight = parameter(2.0)
    assert names(model) == ["raw"] and model.weight.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("value", [3, parameter()])
def test_a_property_without_a_setter_is_not_assigned(value) -> None:
    layer = nn.LSTM(2, 3)
    for name in ("directions", "output_size"):
        assert "try:" in message(ConfigError, lambda name=name: setattr(layer, name, value))
    assert layer.directions == 1 and names(layer) == ["weight_xh_l0", "weight_hh_l0", "bias_l0"]


def test_lists_of_modules_keep_count_of_parts_removed() -> None:
    row = nn.Sequential(linear(), nn.Dropout(0.5), linear())
    setattr(row, "1", None)
    row.append(linear())
    assert len(row) == 3 and names(row)[-1] == "3.bias" and row[-1] is list(row)[2]
    assert row(np.ones((1, 2), np.float32)).shape == (1, 2)


@pytest.mark.parametrize(
    "state",
    [None, 3, [("a", 1)], {"weight": "x", "bias": 0}, {"weight": [[1], [2, 3]], "bias": [0]}],
)
def test_a_state_that_is_no_dict_of_arrays_is_refused(state) -> None:
    layer = linear()
    before = layer.state_dict()
    with pytest.raises(TinygradSeqError):
        layer.load_state_dict(state)
    assert all((before[name] == value).all() for name, value in layer.state_dict().items())
    layer.load_state_dict(dict(layer.named_parameters()))  # parameters will do


def test_modes_and_dtypes_are_checked() -> None:
    with pytest.raises(ConfigError, match="True or False"):
        linear().train("yes")
    for wrong in ("text", None, np.float16, object, int):
        with pytest.raises(TinygradSeqError):
            linear().astype(wrong)
    with pytest.raises(ConfigError, match=r"nn\.Module"):
        nn.evaluating(3)
