"""Copies and pickles of tensors and modules: of their own, with their own gradients."""

from __future__ import annotations

import copy
import pickle  # noqa: TID251  (what multiprocessing sends a model by; checkpoints never do)

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import GraphError


def by_pickle(thing):
    return pickle.loads(pickle.dumps(thing))


WAYS = pytest.mark.parametrize("made", [by_pickle, copy.deepcopy], ids=["pickle", "deepcopy"])


def models():
    rng = np.random.default_rng(0)
    yield nn.Linear(3, 2, rng=rng)
    yield nn.Sequential(nn.Linear(3, 4, rng=rng), nn.Dropout(0.5, rng=rng), nn.LayerNorm(4))
    for kind in (nn.RNN, nn.GRU, nn.LSTM):
        yield kind(3, 4, num_layers=2, bidirectional=True, rng=rng)
    yield nn.LSTM(3, 4, dropout=0.5, num_layers=2, rng=rng)


@WAYS
@pytest.mark.parametrize("model", list(models()), ids=lambda model: type(model).__name__)
def test_a_copied_module_computes_the_same_and_learns_by_itself(made, model) -> None:
    x = np.ones((5, 2, 3), np.float32)
    model.zero_grad()
    twin = made(model)

    def loss(module):
        y = module(x)
        return ((y[0] if isinstance(y, tuple) else y) ** 2).mean()

    loss(twin).backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    loss(model).backward()
    pairs = list(zip(model.named_parameters(), twin.named_parameters(), strict=True))
    for (name, mine), (its_name, its) in pairs:
        assert name == its_name and mine.name == its.name and type(its) is nn.Parameter
        np.testing.assert_array_equal(mine.grad, its.grad)  # dropout's generator came along
        its.writable()[...] = 7
        assert not (mine.data == 7).any()


@WAYS
def test_shared_parameters_stay_shared(made) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    twin = made(net)
    assert twin[0].weight is twin[1].weight and twin[0].weight is not net[0].weight


@WAYS
def test_a_model_and_its_optimiser_go_on_alike_and_apart(made) -> None:
    model = nn.Linear(3, 2, rng=np.random.default_rng(0))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule = optim.StepLR(optimizer, 2)

    def step(model, optimizer, schedule) -> None:
        optimizer.zero_grad()
        (model(np.ones((4, 3), np.float32)) ** 2).mean().backward()
        optimizer.step()
        schedule.step()

    step(model, optimizer, schedule)
    twins, before = made((model, optimizer, schedule)), model.state_dict()
    for _ in range(3):
        step(*twins)
    np.testing.assert_array_equal(model.state_dict()["weight"], before["weight"])
    for _ in range(3):
        step(model, optimizer, schedule)
    assert twins[1].param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(twins[0].state_dict()[name], value)


@pytest.mark.parametrize("made", [by_pickle, copy.deepcopy, copy.copy])
def test_a_leaf_keeps_what_is_its_own(made) -> None:
    w = tgs.tensor([1.0, 2.0], requires_grad=True)
    w.name = "w"
    w.grad = np.ones(2)
    twin = made(w)
    assert (twin.name, twin.requires_grad, twin.dtype) == ("w", True, np.float32)
    assert twin.tolist() == [1.0, 2.0] and twin.grad.tolist() == [1.0, 1.0]
    twin.writable()[0] = 9
    twin.grad[0] = 9
    assert w.tolist() == [1.0, 2.0] and w.grad.tolist() == [1.0, 1.0]
    ids = made(tgs.tensor([3, 4]))
    assert not ids.requires_grad and ids.tolist() == [3, 4]


@pytest.mark.parametrize("made", [by_pickle, copy.deepcopy, copy.copy])
def test_a_result_is_refused_but_its_values_are_not(made) -> None:
    h = tgs.tensor([1.0, 2.0], requires_grad=True) * 2
    with pytest.raises(GraphError, match=r"result of multiply(?s:.*)t\.detach\(\)"):
        made(h)
    assert made(h.detach()).tolist() == [2.0, 4.0]
    state = nn.GRU(2, 3)(np.ones((4, 1, 2), np.float32))[1]
    with pytest.raises(GraphError, match=r"t\.detach\(\)"):
        made(state.h)
