"""An optimiser's state goes to the parameters of its names, whatever order they come in."""

from __future__ import annotations

import collections
import itertools
import json
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.test_optim_resume import KINDS
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ConfigError, StateDictError

NAMES = ["a", "b", "inner.a", "inner.c"]


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(np.zeros(2, np.float32))
        self.c = nn.Parameter(np.zeros(2, np.float32))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(np.zeros(2, np.float32))
        self.b = nn.Parameter(np.zeros(2, np.float32))
        self.inner = Inner()


def ordered(model: nn.Module, order: Any = NAMES) -> list[nn.Parameter]:
    known = dict(model.named_parameters())
    return [known[name] for name in order]


def trained(params: list[nn.Parameter], make: Any) -> optim.Optimizer:
    """An optimiser that has seen another gradient, another number of times, for each name."""
    optimizer = make(params)
    for t in range(5):
        for param in params:
            k = NAMES.index(param.name)
            param.grad = np.full(2, k + 1.0 + t, np.float32) if t <= k + 1 else None
        optimizer.step()
    return optimizer


def states(optimizer: optim.Optimizer) -> dict[str, Any]:
    found = {}
    for param in optimizer._params():
        state = optimizer._states[id(param)]
        found[param.name] = state.step, {k: v.tolist() for k, v in state.slots.items()}
    return found


def through_json(state: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    return {**json.loads(json.dumps(plain)), **{k: v for k, v in state.items() if k not in plain}}


@given(st.sampled_from(KINDS), st.permutations(NAMES), st.permutations(NAMES))
def test_state_goes_by_name(chosen, before, after):
    kind, options = chosen
    first = trained(ordered(Model(), before), lambda p: kind(p, **options))
    second = kind(ordered(Model(), after), **options)
    second.load_state_dict(through_json(first.state_dict()))
    assert states(second) == states(first)
    assert second._params() and [p.name for p in second._params()] == list(after)


@given(st.permutations(NAMES[:2]), st.permutations(NAMES[2:]))
def test_state_goes_by_name_within_groups(one, two):
    def groups(first, second):
        model = Model()
        lists = ordered(model, first), ordered(model, second)
        return [{"params": part, "lr": lr} for part, lr in zip(lists, (0.1, 0.2), strict=True)]

    saved = trained(ordered(Model()), lambda p: optim.Adam([{"params": p[:2]}, {"params": p[2:]}]))
    again = optim.Adam(groups(one, two))
    again.load_state_dict(through_json(saved.state_dict()))
    assert states(again) == states(saved)
    before = states(again)
    swapped = optim.Adam(groups([one[0], two[0]], [one[1], two[1]]))
    with pytest.raises(StateDictError, match="parameters of a group"):
        swapped.load_state_dict(saved.state_dict())
    assert states(again) == before


def test_what_earlier_versions_saved_is_taken_by_position():
    saved = trained(ordered(Model()), optim.Adam)
    old = {key: value for key, value in saved.state_dict().items() if key != "names"}
    again = optim.Adam(ordered(Model()))
    again.load_state_dict(old)
    assert states(again) == states(saved)


def test_without_names_or_with_the_same_twice_position_counts():
    def bare():
        return [tgs.tensor(np.zeros(2, np.float32), requires_grad=True) for _ in NAMES]

    def same():
        return [part for _ in "ab" for part in Inner().parameters()]

    saved = trained(ordered(Model()), optim.Adam).state_dict()
    for make in (bare, same):
        plain = optim.Adam(make())
        assert "names" not in plain.state_dict()
        plain.load_state_dict(saved)
        steps = [plain._states[id(param)].step for param in plain._params()]
        assert steps == saved["steps"]
        named = optim.Adam(ordered(Model()))
        named.load_state_dict(plain.state_dict())
        assert [state.step for state in named._states.values()] == steps


def test_a_model_that_became_part_of_another_goes_on():
    alone = Model()
    saved = trained(ordered(alone), optim.Adam)
    whole = nn.Sequential(nn.Sequential(Model()))
    params = list(whole.parameters())
    assert params[0].name == "0.0.a"
    again = optim.Adam(params)
    again.load_state_dict(saved.state_dict())
    assert [s.step for s in again._states.values()] == [s.step for s in saved._states.values()]
    back = optim.Adam(ordered(Model()))
    back.load_state_dict(again.state_dict())
    assert states(back) == states(saved)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b", "inner.a", "inner.d"], "inner.d"),
        (["b", "a", "x.a", "x.c"], r"x\.a, x\.c"),
        (["a", "b", "inner.a"], "names"),
        (["a", "a", "b", "inner.a"], "names"),
        ("abcd", "no names"),
        ([1, 2, 3, 4], "1, 2, 3, 4"),
        ([None, [], {}, "a"], "names"),
    ],
)
def test_names_that_do_not_match_are_told_and_nothing_changes(names, words):
    saved = trained(ordered(Model()), optim.Adam)
    before = states(saved)
    with pytest.raises(StateDictError, match=words):
        saved.load_state_dict({**saved.state_dict(), "names": names})
    assert states(saved) == before


def test_groups_with_odd_numbers_are_refused_whatever_the_order():
    saved = trained(ordered(Model()), optim.Adam).state_dict()
    again = optim.Adam(ordered(Model(), NAMES[::-1]))
    for numbers in ([[0], 1, 2, 3], [None] * 4, "0123", [0, 0, 1, 2], [7, 8, 9, 10]):
        group = {**saved["param_groups"][0], "params": numbers}
        with pytest.raises(StateDictError, match="parameters of a group"):
            again.load_state_dict({**saved, "param_groups": [group]})


# -- what has no order ---------------------------------------------------------------------------


def weak(params: Any) -> Any:
    found = weakref.WeakSet()
    for param in params:
        found.add(param)
    return found


@pytest.mark.parametrize("container", [set, frozenset, weak, lambda ps: dict.fromkeys(ps).keys()])
@pytest.mark.parametrize("grouped", [False, True, "later"])
def test_sets_are_refused_and_ordered_containers_are_not(container, grouped):
    model = Model()
    params = container(list(model.parameters()))
    ordinary = isinstance(params, collections.abc.KeysView)

    def make() -> optim.Optimizer:
        if grouped == "later":
            optimizer = optim.SGD([tgs.tensor([1.0], requires_grad=True)])
            optimizer.add_param_group({"params": params})
            return optimizer
        return optim.SGD([{"params": params}] if grouped else params)

    if ordinary:
        assert len(make()._params()) >= 4
        return
    with pytest.raises(ConfigError, match=r"no order[\s\S]*a list"):
        make()


def test_the_order_of_a_clip_does_not_matter():
    params = list(Model().parameters())
    for param in params:
        param.grad = np.ones(2, np.float32)
    assert optim.clip_grad_norm_(set(params), 1.0).norm == pytest.approx(8**0.5)


def test_every_container_that_keeps_its_order_will_do():
    model = Model()
    for params in (
        list(model.parameters()),
        tuple(model.parameters()),
        model.parameters(),
        dict(model.named_parameters()).values(),
        collections.deque(model.parameters()),
        itertools.chain(model.inner.parameters(), [model.a]),
    ):
        assert optim.SGD(params).param_groups[0]["params"]
