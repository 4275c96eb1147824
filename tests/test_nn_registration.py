"""What belongs to a module: nothing hides, nothing is lost, and everything keeps its place."""

from __future__ import annotations

import dataclasses
import functools
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
from tinygrad_seq.errors import ConfigError


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


@pytest.mark.parametrize(
    "value",
    [
        (linear() for _ in "ab"),
        map(len, "ab"),
        zip("a", "b", strict=True),
        filter(None, [linear()]),
    ],
)
def test_iterators_are_refused_for_what_they_would_make(value) -> None:
    text = message(ConfigError, lambda: setattr(Bare(), "parts", value))
    assert "nn.ModuleList(...)" in text


@pytest.mark.parametrize("kind", [nn.ModuleList, nn.Sequential])
def test_a_list_of_modules_is_not_made_of_a_set(kind) -> None:
    """Names are positions: in the next run they would be those of other modules."""
    for parts in ({linear(), linear()}, frozenset([linear()]), weak(linear())):
        assert "no order" in message(ConfigError, lambda parts=parts: kind(parts))
    assert len(kind(dict.fromkeys([linear(), linear()]).keys())) == 2


def test_containers_in_slots_are_looked_into() -> None:
    class Slotted(Bare):
        __slots__ = ("parts",)

    model = Slotted()
    model.parts = []
    assert model(1) == 1 and list(model.parameters()) == []
    model.parts.append(linear())
    for look in (model, model.state_dict):
        assert "would hide" in message(ConfigError, look)


def test_a_registered_part_that_was_replaced_past_assignment_is_refused() -> None:
    for name in ("weight", "inner"):
        model = Bare()
        model.weight, model.inner = parameter(), linear()
        model.__dict__[name] = tgs.tensor([1.0])
        assert "which would be lost" in message(ConfigError, model.state_dict)


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


def test_a_weak_way_back_to_the_outer_module_is_no_part() -> None:
    outer, inner = Bare(), Bare()
    inner.outer = weakref.proxy(outer)
    inner.seen = [weakref.proxy(outer)]
    outer.inner, outer.layer = inner, linear()
    assert [name for name, _ in outer.named_modules()] == ["", "inner", "layer"]
    assert len(list(outer.parameters())) == 2


def test_a_list_of_modules_with_a_gap_loses_none() -> None:
    layers = nn.ModuleList([linear(), linear(), linear()])
    last = layers[2]
    delattr(layers, "1")
    layers.append(linear())
    assert len(layers) == 3 and layers[1] is last and len(list(layers.parameters())) == 6


def test_parts_of_a_class_mixed_in_are_refused() -> None:
    class Mixed:
        layers = [linear()]  # noqa: RUF012

    with pytest.raises(ConfigError, match="of the class"):
        type("Model", (Mixed, nn.Module), {})


def test_a_tied_weight_keeps_its_first_name() -> None:
    model = Bare()
    model.a, model.b = linear(), linear()
    model.b.weight = model.a.weight
    assert [p.name for p in model.parameters()] == [name for name, _ in model.named_parameters()]
