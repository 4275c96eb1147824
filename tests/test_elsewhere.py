"""Names of PyTorch that are not here: the error says what is."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import elsewhere, nn
from tinygrad_seq.errors import MissingNameError

KNOWN = [(tgs, name, cure) for name, cure in elsewhere.FUNCTIONS.items()]
KNOWN += [(nn, name, cure) for name, cure in elsewhere.LAYERS.items()]
WHERE = {"tgs": tgs, "np": np, "train": tgs.train, "optim": tgs.optim}


@pytest.mark.parametrize(("module", "name", "cure"), KNOWN, ids=[name for _, name, _ in KNOWN])
def test_a_missing_name_of_pytorch_comes_with_one_that_exists(module, name, cure) -> None:
    with pytest.raises(MissingNameError) as raised:
        getattr(module, name)
    assert name in str(raised.value) and str(raised.value).endswith(f"try: {cure}")
    for room, path in re.findall(r"\b(tgs|np|train|optim)\.([a-zA-Z_0-9.]+)", cure):
        found = WHERE[room]
        for part in path.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("name", ["arange", "eye", "full", "ones", "rand", "randn", "zeros"])
def test_the_advice_about_arrays_makes_what_a_layer_takes(name) -> None:
    names = {**WHERE, "n": 3, "shape": (3, 3), "value": 0.5, "seed": 0}
    made = eval(elsewhere.FUNCTIONS[name], names)  # the advice is ours, and an expression
    layer = nn.Linear(3, 2)
    assert layer(made).shape[-1] == 2


@pytest.mark.parametrize("module", [tgs, nn])
def test_any_other_name_is_missing_as_python_says_it(module) -> None:
    assert not hasattr(module, "no_such_thing")
    with pytest.raises(AttributeError, match=r"no attribute 'no_such_thing'$"):
        _ = module.no_such_thing
