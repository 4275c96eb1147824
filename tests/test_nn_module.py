"""Modules: registration, names, state dicts, modes, repr."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ConfigError, DtypeError, GraphError, StateDictError


class Pair(nn.Module):
    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 3, num_layers=2, dropout=0.5, rng=rng)
        self.head = nn.Linear(3, 5, rng=rng)

    def forward(self, x, state=None):
        y, state = self.rnn(x, state)
        return self.head(y), state


@pytest.fixture
def model() -> Pair:
    return Pair(np.random.default_rng(0))


def test_parameters_have_dotted_names(model):
    names = [name for name, _ in model.named_parameters()]
    assert names == [
        "rnn.weight_xh_l0",
        "rnn.weight_hh_l0",
        "rnn.bias_l0",
        "rnn.weight_xh_l1",
        "rnn.weight_hh_l1",
        "rnn.bias_l1",
        "head.weight",
        "head.bias",
    ]
    assert [parameter.name for parameter in model.parameters()] == names
    assert model.num_parameters() == 5 * 12 + 3 * 12 + 12 + 3 * 12 + 3 * 12 + 12 + 3 * 5 + 5


def test_shared_parameter_is_listed_once(model):
    model.again = model.head
    assert model.num_parameters() == Pair(np.random.default_rng(0)).num_parameters()


def test_replacing_an_attribute_unregisters_it(model):
    model.head = None
    assert all(name.startswith("rnn.") for name, _ in model.named_parameters())
    del model.rnn
    assert list(model.parameters()) == []


def test_state_dict_round_trip_changes_outputs_back(model):
    x = np.zeros((4, 2), int)
    model.eval()
    before = model(x)[0].numpy()
    state = model.state_dict()
    for parameter in model.parameters():
        parameter.writable()[...] += 1
    assert not np.allclose(model(x)[0].numpy(), before)
    model.load_state_dict(state)
    np.testing.assert_array_equal(model(x)[0].numpy(), before)


def test_state_dict_holds_copies(model):
    model.state_dict()["head.bias"][:] = 7
    assert not model.head.bias.numpy().any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("head.bias"), "missing head.bias"),
        (lambda s: s.update({"tail.bias": np.zeros(2)}), "unknown tail.bias"),
        (lambda s: s.update({"head.bias": np.zeros(2, np.float32)}), "has shape (2,), not (5,)"),
        (lambda s: s.update({"head.bias": np.zeros(5)}), "head.bias is float64, not float32"),
    ],
)
def test_bad_state_dict_changes_nothing(model, change, said):
    before = model.state_dict()
    state = {name: value + 1 for name, value in before.items()}
    change(state)
    with pytest.raises(StateDictError) as caught:
        model.load_state_dict(state)
    assert said in str(caught.value)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_train_and_eval_reach_every_module(model):
    model.eval()
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())


def test_repr_counts_parameters(model):
    text = repr(model)
    assert "Pair()  # 212 parameters" in text
    assert "rnn: LSTM(5, 3, num_layers=2, dropout=0.5)" in text
    assert "head: Linear(3, 5)  # 20 parameters" in text


def test_attribute_before_init_is_explained():
    class Early(nn.Module):
        def __init__(self) -> None:
            self.size = 3
            super().__init__()

    with pytest.raises(ConfigError, match=r"call super\(\).__init__\(\) first"):
        Early()


def test_module_without_forward_is_explained():
    with pytest.raises(ConfigError, match="has no forward method"):
        nn.Module()(1)


def test_nodes_carry_the_module_path(model):
    logits, _ = model(np.zeros((4, 2), int))
    assert logits.node.scope.path == "head"
    with tgs.composed():
        y, state = model.rnn(np.zeros((4, 2), int))
    scopes = set()
    stack = [state.h.node, y.node]
    while stack:
        node = stack.pop()
        if node.op is not None:
            scopes.add(node.scope)
        stack += [parent for parent in node.parents if parent is not None]
    steps = {(s.layer, s.step) for s in scopes if s.step is not None}
    assert steps == {(layer, t) for layer in (0, 1) for t in range(4)}
    assert {s.path for s in scopes} == {"rnn", "rnn.dropout"}


def test_roles_are_tagged_in_the_composed_cell():
    cell = nn.LSTMCell(3, 2, rng=np.random.default_rng(0))
    h, c = cell(np.ones((1, 3), np.float32))
    roles = set()
    stack = [h.node, c.node]
    while stack:
        node = stack.pop()
        roles.add(node.role)
        stack += [parent for parent in node.parents if parent is not None]
    assert roles >= {"a", "i", "f", "o", "g", "c", "tanh_c", "h"}


def test_sequential_and_module_list():
    rng = np.random.default_rng(0)
    net = nn.Sequential([nn.Linear(3, 4, rng=rng), nn.Linear(4, 2, bias=False, rng=rng)])
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.weight"]
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(net(x).numpy(), net[1](net[0](x)).numpy())


def test_dropout_scales_and_is_silent_in_eval():
    drop = nn.Dropout(0.25, rng=np.random.default_rng(0))
    x = tgs.tensor(np.ones((200, 200), np.float32), requires_grad=True)
    y = drop(x)
    values = np.unique(y.numpy())
    np.testing.assert_allclose(values, [0, 1 / 0.75], rtol=1e-6)
    assert abs((y.numpy() == 0).mean() - 0.25) < 0.01
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, y.numpy())
    assert drop.eval()(x) is x
    for p in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="0 <= p < 1"):
            nn.Dropout(p)


def test_generators_are_found_by_name(model):
    assert list(model.generators()) == ["rnn.dropout.rng"]


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_sizes_must_be_positive_integers(size):
    with pytest.raises(ConfigError, match="a positive integer"):
        nn.Linear(size, 3)
    with pytest.raises(ConfigError, match="hidden_size"):
        nn.LSTM(3, size)


def test_embedding_equals_one_hot_product():
    table = nn.Embedding(7, 3, rng=np.random.default_rng(0))
    ids = np.array([[0, 6], [3, 3]])
    y = table(ids)
    np.testing.assert_array_equal(y.numpy(), tgs.one_hot(ids, 7).numpy() @ table.weight.numpy())
    with pytest.raises(IndexError, match="0 <= id < 7"):
        table(np.array([7]))


def test_astype_keeps_names_and_values(model):
    before = model.state_dict()
    model.astype(np.float64)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == np.float64 and parameter.name == name
        np.testing.assert_array_equal(parameter.numpy(), before[name])


@pytest.mark.parametrize(
    "rule", [optim.SGD, optim.Adam, optim.RMSprop, lambda p: optim.SGD(p, momentum=0.9)]
)
@pytest.mark.parametrize("stepped", [False, True])
def test_an_optimiser_made_before_astype_trains_the_module(rule, stepped):
    def run(early: bool):
        layer = nn.Linear(3, 2, rng=np.random.default_rng(0))
        if not early:
            layer.astype(np.float64)
        optimizer = rule(layer.parameters())
        for step in range(3):
            if early and step == int(stepped):
                layer.astype(np.float64)
            optimizer.zero_grad()
            (layer(np.ones((4, 3), layer.weight.dtype)) ** 2).mean().backward()
            optimizer.step()
        return layer, optimizer

    (layer, optimizer), (expected, _) = run(early=True), run(early=False)
    for name, value in expected.state_dict().items():
        np.testing.assert_allclose(layer.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        assert layer.state_dict()[name].dtype == np.float64
    slots = [a for key, a in optimizer.state_dict().items() if key.startswith("state.")]
    assert all(slot.dtype == np.float64 for slot in slots)


def test_astype_keeps_parameters_their_gradients_hooks_and_sharing():
    net = nn.Sequential(nn.Linear(2, 2, rng=np.random.default_rng(0)), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    net[0].bias.requires_grad = False
    before, seen = list(net.parameters()), []
    net[0].weight.register_hook(lambda g: seen.append(g.dtype))
    net(np.ones((1, 2), np.float32)).sum().backward()
    grad = net[0].weight.grad
    earlier = net(np.ones((1, 2), np.float32)).sum()
    assert net.astype(np.float64) is net
    assert [id(p) for p in net.parameters()] == [id(p) for p in before]
    assert net[0].weight is net[1].weight and not net[0].bias.requires_grad
    np.testing.assert_array_equal(net[0].weight.grad, grad)
    with pytest.raises(GraphError, match="written"):
        earlier.backward()
    net(np.ones((1, 2))).sum().backward()
    assert net[0].weight.grad.dtype == np.float64 and seen == [np.float32, np.float64]
    np.testing.assert_allclose(net[0].weight.grad, 2 * grad, rtol=1e-6)


def test_a_graph_from_before_astype_gives_gradients_of_the_new_dtype():
    layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
    y = layer(np.ones((1, 2), np.float32)).sum()  # saves no parameter: they are all that counts
    layer.astype(np.float64)
    y.backward()
    assert layer.weight.grad.dtype == np.float64 and (layer.weight.grad == 1).all()


def test_astype_to_integers_is_refused_and_converts_nothing():
    layer = nn.Linear(2, 2)
    with pytest.raises(DtypeError, match="float32 or float64"):
        layer.astype(int)
    assert layer.weight.dtype == layer.bias.dtype == np.float32


def test_in_place_step_by_hand_trains_the_same_object():
    layer = nn.Linear(2, 1, rng=np.random.default_rng(0))
    weight = layer.weight
    layer(np.ones((1, 2), np.float32)).sum().backward()
    before = weight.numpy()
    with tgs.no_grad():
        weight -= 0.5 * weight.grad
    assert weight is layer.weight
    np.testing.assert_allclose(weight.numpy(), before - 0.5)
    assert weight.requires_grad


def test_modules_of_a_list_are_known_by_its_name_and_their_position():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.ModuleList([nn.Linear(2, 2)])
            self.cells.append(nn.Linear(2, 2))
            self.nested = nn.ModuleList([nn.ModuleList([nn.Linear(2, 2)])])
            self.chain = nn.Sequential([nn.Linear(2, 2)])

        def forward(self, x):
            found = []
            for part in (*self.cells, self.nested[0][0], self.chain):
                x = part(x)
                found.append(x.node.scope.path)
            return found

    assert Stack()(np.ones((1, 2), np.float32)) == ["cells.0", "cells.1", "nested.0.0", "chain.0"]
    outer = nn.Sequential([Stack()])
    assert outer(np.ones((1, 2), np.float32))[0] == "0.cells.0"
