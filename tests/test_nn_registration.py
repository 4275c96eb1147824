"""What belongs to a module: nothing hides, nothing is lost, and everything keeps its place."""

from __future__ import annotations

import copy
import dataclasses
import functools
import pickle  # noqa: TID251
import types
import weakref
from collections import ChainMap, Counter, OrderedDict, UserDict, UserList, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.test_bad_input import message
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ArgumentError, ConfigError, TinygradSeqError


def linear() -> nn.Linear:
    return nn.Linear(2, 2, rng=np.random.default_rng(0))


def parameter(value: float = 0.0) -> nn.Parameter:
    return nn.Parameter(np.full(2, value, np.float32))


class Box(NamedTuple):
    part: Any


@dataclasses.dataclass
class Card:
    part: Any


@dataclasses.dataclass(frozen=True)
class Slim:
    __slots__ = ("part",)
    part: Any


class Bare(nn.Module):
    """Nothing of its own, and a forward that may be called."""

    def forward(self, x: Any = 0) -> Any:
        return x


def filled(array: Any, part: Any) -> Any:
    array[1] = part
    return array


def weak(part: Any) -> Any:
    found = weakref.WeakSet()
    found.add(part)
    return found


WRAPS = {
    "list": lambda part: [part],
    "tuple": lambda part: (1, part),
    "dict value": lambda part: {"a": part},
    "dict key": lambda part: {part: 1},
    "set": lambda part: {part},
    "frozenset": lambda part: frozenset([part]),
    "deque": lambda part: deque([part]),
    "OrderedDict": lambda part: OrderedDict(a=part),
    "defaultdict": lambda part: defaultdict(list, a=part),
    "Counter": lambda part: Counter([part]),
    "ChainMap": lambda part: ChainMap({"a": part}),
    "UserList": lambda part: UserList([part]),
    "UserDict": lambda part: UserDict(a=part),
    "view": lambda part: {"a": part}.values(),
    "items": lambda part: {"a": part}.items(),
    "read-only dict": lambda part: types.MappingProxyType({"a": part}),
    "array": lambda part: filled(np.empty(2, object), part),
    "named tuple": Box,
    "dataclass": Card,
    "dataclass with slots": Slim,
    "namespace": lambda part: types.SimpleNamespace(part=part),
    "partial": lambda part: functools.partial(print, part),
    "partial of it": lambda part: functools.partial(part) if callable(part) else [part],
    "weak set": weak,
}
PARTS = {
    "module": linear,
    "parameter": parameter,
    "in a ModuleList": lambda: nn.ModuleList([linear()]),
}


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_in_a_container_is_refused_when_assigned(wrap, part) -> None:
    made, model = PARTS[part](), Bare()
    text = message(ConfigError, lambda: setattr(model, "parts", WRAPS[wrap](made)))
    assert text.startswith("Bare: attribute 'parts' would hide") and "try:" in text
    assert not hasattr(model, "parts") and list(model.parameters()) == []


class LoopedList(list):
    pass


@given(st.lists(st.sampled_from(sorted(set(WRAPS) - {"weak set", "dict key"})), max_size=5))
def test_at_any_depth(wraps) -> None:
    value: Any = linear()
    for wrap in wraps:
        hashable = wrap not in ("set", "frozenset", "Counter") or value.__hash__ is not None
        try:
            value = WRAPS[wrap](value) if hashable else [value]
        except TypeError:  # not hashable within
            value = [value]
    if wraps:
        with pytest.raises(ConfigError, match="would hide"):
            Bare().parts = value


def test_a_container_of_itself_is_looked_through_once() -> None:
    loop = LoopedList([1])
    loop.append(loop)
    model = Bare()
    model.loop = loop
    loop.append({"deep": linear()})
    assert "would hide" in message(ConfigError, lambda: list(model.parameters()))


LOOKS = {
    "parameters": lambda m: list(m.parameters()),
    "named_parameters": lambda m: list(m.named_parameters()),
    "modules": lambda m: list(m.modules()),
    "state_dict": lambda m: m.state_dict(),
    "load_state_dict": lambda m: m.load_state_dict({}),
    "train": lambda m: m.train(),
    "eval": lambda m: m.eval(),
    "astype": lambda m: m.astype(np.float64),
    "zero_grad": lambda m: m.zero_grad(),
    "num_parameters": lambda m: m.num_parameters(),
    "generators": lambda m: m.generators(),
    "forward": lambda m: m(1),
    "evaluating": lambda m: nn.evaluating(m)(lambda: None)(),
    "repr": repr,
    "optimiser": lambda m: optim.SGD(m.parameters(), lr=0.1),
    "assigned": lambda m: setattr(Bare(), "inner", m),
}


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("inside", [False, True])
def test_a_container_filled_later_is_refused_at_the_first_look(look, inside) -> None:
    model = Bare()
    model.first, model.parts, model.plain = linear(), [], [1, "a", np.ones(2), None]
    outer: nn.Module = model
    if inside and look != "forward":
        outer = nn.Sequential(nn.Dropout(0.5), nn.Sequential(model))
    assert model(1) == 1 and len(list(outer.parameters())) == 2
    model.parts.append({"deep": [linear()]})
    text = message(ConfigError, lambda: LOOKS[look](outer))
    assert "'parts' would hide" in text and "ModuleList" in text
    assert outer.training and all(part.training for _, part in outer._walk())
    assert model.first.weight.dtype == np.float32


def test_containers_of_plain_values_are_let_be_and_looked_at_once_by_calls() -> None:
    class Counted(list):
        looks = 0

        def __iter__(self):
            Counted.looks += 1
            return super().__iter__()

    model = Bare()
    model.sizes = Counted(range(1000))
    model.names, model.state = {"a": ("b", 1.5)}, nn.RNNState(tgs.tensor([1.0]))
    for _ in range(5):
        assert model(7) == 7
    assert Counted.looks <= 2  # assigned, and first called
    model.sizes.append(3)
    model(7)
    assert Counted.looks <= 3
    model.sizes = 3
    del model.names, model.state
    assert model._containers == {}


def test_parts_that_are_registered_may_be_in_containers_too() -> None:
    """Nothing is hidden then; but it is, once they are registered no more."""
    model = Bare()
    model.a, model.b = linear(), parameter()
    model.order, model.call = [model.b, model.a, model], model.a.forward
    model.again = functools.partial(model.forward)
    assert model.num_parameters() == 8 and model(1) == 1
    del model.a
    assert "would hide" in message(ConfigError, lambda: list(model.parameters()))
    with pytest.raises(ConfigError, match="would hide"):
        Bare().call = linear().forward


def test_a_part_put_past_assignment_is_refused() -> None:
    for put in (
        lambda m, p: m.__dict__.update(part=p),
        lambda m, p: object.__setattr__(m, "part", p),
        lambda m, p: vars(m).update(part=[p]),
    ):
        for made in (linear(), parameter()):
            model = Bare()
            put(model, made)
            assert "try: self.part = " in message(ConfigError, lambda m=model: m.state_dict())


@pytest.mark.parametrize("wrap", ["itself", *sorted(set(WRAPS) - {"weak set"})])
@pytest.mark.parametrize("part", PARTS)
def test_parts_of_a_class_are_refused_with_the_class(wrap, part) -> None:
    value = PARTS[part]() if wrap == "itself" else WRAPS[wrap](PARTS[part]())
    with pytest.raises(ConfigError, match="attribute 'shared' of the class"):
        type("Model", (nn.Module,), {"shared": value, "sizes": [1, 2], "kind": nn.Linear})


def test_a_module_is_no_part_of_itself() -> None:
    outer, inner = Bare(), Bare()
    outer.inner = nn.Sequential(inner)
    for part, name in ((outer, "me"), (inner, "up")):
        text = message(ConfigError, lambda part=part, name=name: setattr(part, name, outer))
        assert "part of itself" in text and not hasattr(part, name)
    inner.up = weakref.ref(outer)
    assert len(list(outer.modules())) == 3


def test_modules_may_be_nested_deeply() -> None:
    model: nn.Module = linear()
    for _ in range(3000):
        outer = Bare()
        object.__setattr__(outer, "_modules", {"inner": model})
        model = outer
    assert model.num_parameters() == 6


# -- assigned again ------------------------------------------------------------------------------


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
    for wrong in ("text", None, np.float16, object):
        with pytest.raises(TinygradSeqError):
            linear().astype(wrong) if wrong is not None else linear().astype("?")
    with pytest.raises(ConfigError, match=r"nn\.Module"):
        nn.evaluating(3)
