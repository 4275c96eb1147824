"""Names of PyTorch that are not here: the error says what is."""

from __future__ import annotations

import importlib
import inspect
import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import elsewhere, nn, optim
from tinygrad_seq.elsewhere import Elsewhere
from tinygrad_seq.errors import MissingNameError

KNOWN = [(tgs, name, cure) for name, cure in elsewhere.FUNCTIONS.items()]
KNOWN += [(nn, name, cure) for name, cure in elsewhere.LAYERS.items()]
KNOWN += [(tgs.tensor([1.0]), name, cure) for name, cure in elsewhere.METHODS.items()]
KNOWN += [(nn.init, name, cure) for name, cure in elsewhere.INITIALISERS.items()]
KNOWN += [(optim, name, cure) for name, cure in elsewhere.OPTIMISERS.items()]
KNOWN += [(tgs.train, name, cure) for name, cure in elsewhere.TRAINING.items()]
KNOWN += [(tgs.data, name, cure) for name, cure in elsewhere.DATA.items()]
KNOWN += [(nn.Linear(2, 3), name, cure) for name, cure in elsewhere.MODULES.items()]
WHERE = {"tgs": tgs, "np": np, "train": tgs.train, "optim": optim, "nn": nn}


@pytest.mark.parametrize(("module", "name", "cure"), KNOWN, ids=[name for _, name, _ in KNOWN])
def test_a_missing_name_of_pytorch_comes_with_one_that_exists(module, name, cure) -> None:
    with pytest.raises(MissingNameError) as raised:
        getattr(module, name)
    assert name in str(raised.value) and str(raised.value).endswith(f"try: {cure}")
    for room, path in re.findall(r"\b(tgs|np|train|optim|nn)\.([a-zA-Z_0-9.]+)", cure):
        found = WHERE[room]
        for part in path.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize(
    "name",
    [name for table in (elsewhere.DATA, elsewhere.TRAINING) for name in table],
)
def test_what_has_moved_is_where_the_advice_says(name) -> None:
    advice = {**elsewhere.DATA, **elsewhere.TRAINING}[name]
    room = re.match(r"(?:from )?(demos\.lab|tinygrad_seq\.charlm|train)\b", advice)[1]
    module = tgs.train if room == "train" else importlib.import_module(room)
    assert hasattr(module, "tbptt" if room == "train" else name)


@pytest.mark.parametrize("name", ["arange", "eye", "full", "ones", "rand", "randn", "zeros"])
def test_the_advice_about_arrays_makes_what_a_layer_takes(name) -> None:
    names = {**WHERE, "n": 3, "shape": (3, 3), "value": 0.5, "seed": 0}
    made = eval(elsewhere.FUNCTIONS[name], names)  # the advice is ours, and an expression
    layer = nn.Linear(3, 2)
    assert layer(made).shape[-1] == 2


ASSIGNED = {name: cure for name, cure in elsewhere.METHODS.items() if " = " in cure}
ASKED = {
    name: re.split(r", (?:or|and|at) |: ", cure)[0]
    for name, cure in elsewhere.METHODS.items()
    if name not in ASSIGNED and name != "device"
}
ANSWERS = {
    "bmm": lambda x, y: x @ y,
    "chunk": lambda x, y: np.split(x, 2, 1),
    "clamp": lambda x, y: np.clip(x, 0.0, 0.5),
    "dim": lambda x, y: 2,
    "eq": lambda x, y: x == y,
    "expand": lambda x, y: np.broadcast_to(x, (3, 2, 2)),
    "gather": lambda x, y: np.take_along_axis(x, np.array([[0], [1]]), 1),
    "masked_fill": lambda x, y: np.where(np.array([True, False]), -9.0, x),
    "neg": lambda x, y: -x,
    "numel": lambda x, y: 4,
    "pow": lambda x, y: x**y,
    "t": lambda x, y: x.T,
    "unbind": lambda x, y: list(x),
}


@pytest.mark.parametrize("name", ASKED)
def test_the_advice_about_methods_runs_and_answers(name) -> None:
    rng = np.random.default_rng(0)
    x, y = tgs.tensor(rng.random((2, 2))), tgs.tensor(rng.random((2, 2)))
    x.requires_grad = name not in ("int", "long")
    names = {**WHERE, "x": x, "y": y, "n": 2, "low": 0.0, "high": 0.5, "shape": (3, 2, 2)}
    names |= {"mask": np.array([True, False]), "value": -9.0, "dtype": np.float32, "axis": 1}
    names |= {"index": np.array([[0], [1]]), "positions": [1]}
    made = eval(ASKED[name], names)
    if name in ANSWERS:
        got = [part.numpy() for part in made] if isinstance(made, (list, tuple)) else made
        got = got.numpy() if isinstance(got, tgs.Tensor) else got
        np.testing.assert_allclose(got, ANSWERS[name](x.numpy(), y.numpy()), rtol=1e-6)


@pytest.mark.parametrize("name", ASSIGNED)
def test_the_advice_about_writing_in_place_writes(name) -> None:
    x = tgs.tensor([1.0, 2.0])
    exec(ASSIGNED[name], {"x": x, "value": 0.0})
    assert x.tolist() == [0.0, 0.0]


def test_the_advice_about_binary_targets_is_their_cross_entropy() -> None:
    x, y = tgs.tensor(np.array([-2.0, 0.5, 3.0])), np.array([0.0, 1.0, 1.0])
    made = eval(elsewhere.LAYERS["BCEWithLogitsLoss"].split(", of")[0], {**WHERE, "x": x, "y": y})
    p = 1 / (1 + np.exp(-x.numpy()))
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    np.testing.assert_allclose(made.item(), expected)


def test_a_tensor_is_probed_as_before() -> None:
    for x in (tgs.tensor([1.0], requires_grad=True), nn.Parameter(np.ones(1))):
        assert not hasattr(x, "cpu") and not hasattr(x, "__array_interface__")
        assert getattr(x, "_repr_html_", None) is None
        kind = type(x).__name__
        with pytest.raises(AttributeError, match=rf"'{kind}' object has no attribute 'shapes'$"):
            x.shapes  # noqa: B018
        with pytest.raises(MissingNameError, match=rf"(?s)'{kind}' object .*try: x\.T"):
            x.t()
    for name in elsewhere.METHODS:  # none hides what there is
        assert isinstance(inspect.getattr_static(tgs.Tensor, name), Elsewhere)
        assert name not in dir(x) and not hasattr(tgs.Tensor, name)


def test_a_module_is_probed_as_before_and_its_own_names_win() -> None:
    layer = nn.Linear(2, 3)
    assert not hasattr(layer, "cuda") and "cuda" not in dir(layer) and "weight" in dir(layer)
    with pytest.raises(AttributeError, match=r"'Linear' object has no attribute 'weights'$"):
        layer.weights  # noqa: B018

    class Own(nn.Module):
        def apply(self, x):
            return x + 1

    own = Own()
    own.half, own.children = nn.Linear(2, 3), 4
    assert own.apply(1) == 2 and own.children == 4
    assert [name for name, _ in own.named_parameters()] == ["half.weight", "half.bias"]


SHAPE = {"shape": (4, 4), "n": 4, "fan_in": 4, "fan_out": 4, "std": 0.5, "bound": 0.5, "value": 2.0}


@pytest.mark.parametrize("name", [n for n in elsewhere.INITIALISERS if n.endswith("_")])
def test_the_advice_about_initial_values_writes_them(name) -> None:
    layer = nn.Linear(4, 4)
    before, version = layer.weight.numpy(), layer.weight.version
    exec(
        elsewhere.INITIALISERS[name],
        {**WHERE, **SHAPE, "layer": layer, "rng": np.random.default_rng(0)},
    )
    assert layer.weight.version > version and not np.array_equal(layer.weight.data, before)
    spread = {"kaiming_normal_": 0.5**0.5, "xavier_normal_": 0.5, "normal_": 0.5}.get(name)
    if spread:  # He et al. (2015) and Glorot and Bengio (2010), of 4 inputs and outputs
        rng = np.random.default_rng(0)
        expected = spread * rng.standard_normal(layer.weight.shape)
        np.testing.assert_allclose(layer.weight.data, expected, rtol=1e-6)


@pytest.mark.parametrize("module", [tgs, nn, nn.init, optim])
def test_any_other_name_is_missing_as_python_says_it(module) -> None:
    assert not hasattr(module, "no_such_thing")
    with pytest.raises(AttributeError, match=r"no attribute 'no_such_thing'$"):
        _ = module.no_such_thing
