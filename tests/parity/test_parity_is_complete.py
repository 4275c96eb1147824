"""Every public operation, layer, loss and optimiser is compared with PyTorch, or says why not.

What the files of this folder name (``nn.GRU``, ``tgs.var``, ``"Adam"``) is read from their source.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import tinygrad_seq as tgs
from tests.cells import OURS, public
from tests.test_arguments import PYTORCH
from tinygrad_seq import nn, ops, optim

PLAIN = "no such thing in PyTorch"
BASE = "a base or a container: it computes nothing itself"

PYTORCHS = {kind.__name__ for kind in PYTORCH}

NOT_COMPARED = {
    tgs: {
        "op": "makes operations",
        "getitem": "x[index]: compared as the operation of that name",
        **{
            f"{name.removesuffix('Cell').lower()}_{what}": f"compared through nn.{name}"
            for name in OURS
            for what in ("step", "sequence")
        },
    },
    nn: {
        **dict.fromkeys(set(public(nn.Cell, nn.Recurrent)) - PYTORCHS, PLAIN),
        "Attention": BASE,
        "Cell": BASE,
        "Recurrent": "the base of nn.RNN, nn.LSTM and nn.GRU",
        "Module": BASE,
        "ModuleList": BASE,
        "Sequential": BASE,
        "Parameter": "a tensor of a module",
        "Decoded": "a tuple of results",
        "FedState": "a tuple: a decoder's state, carried by a decoder that is compared",
        "Generated": "a tuple of results",
        "beam_search": PLAIN,
        "generate": PLAIN,
        "detach": "cuts a graph: nothing to compute",
        "evaluating": "a mode of modules: nothing to compute",
        "reset_rows": PLAIN,
        "select_rows": PLAIN,
        "init": "draws with NumPy's generators",
    },
    optim: {
        "Optimizer": BASE,
        "LRScheduler": BASE,
        "ClipReport": "a tuple of results",
    },
}


def named_in(source: str) -> set[str]:
    """Attributes (``nn.GRU``) and the words that strings begin with ("GRU reset before")."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
            found.add(node.value.split(maxsplit=1)[0] if node.value.strip() else "")
    return found


def compared() -> set[str]:
    files = [path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)]
    assert len(files) >= 5
    return set().union(*(named_in(path.read_text("utf-8")) for path in files))


OF_CELLS = [name for name in tgs.__all__ if name.endswith(("_step", "_sequence"))]
OF_CELLS_TO_COME = {name for name in NOT_COMPARED[tgs] if name.endswith(("_step", "_sequence"))}
PUBLIC = {tgs: [*ops.__all__, *OF_CELLS], nn: nn.__all__, optim: optim.__all__}


@pytest.mark.parametrize("room", PUBLIC, ids=lambda room: room.__name__)
def test_every_public_name_is_compared_or_says_why_not(room) -> None:
    missing = set(PUBLIC[room]) - compared() - set(NOT_COMPARED[room])
    assert not missing, f"add a case to tests/parity, or a reason to NOT_COMPARED: {missing}"
    assert set(NOT_COMPARED[room]) <= {*PUBLIC[room], *OF_CELLS_TO_COME}, "a reason too many"


def test_every_layer_with_parameters_is_trained_beside_pytorchs() -> None:
    """A layer named in passing is not enough: it must be a case of its own."""
    source = (Path(__file__).parent / "test_layers_parity.py").read_text("utf-8")
    cases = {
        key.value.split()[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "CASES"
        for key in node.value.keys
    }
    layers = {
        name
        for name in nn.__all__
        if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    }
    assert layers - set(NOT_COMPARED[nn]) == cases


def test_a_name_that_nobody_compares_would_be_found() -> None:
    source = "case = {'GRU reset': nn.GRU, 'x': lambda x: tgs.tanh(x)}"
    assert {"GRU", "tanh"} <= named_in(source)
    assert "LSTM" not in named_in(source)
