"""What recurrent layers and cells are called, what they print, and in which dtype they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import CELLS, FLAT, MGUCell
from tests.test_nn_options import H, I, N, T, X
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, TinygradSeqError


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_in_several_places_is_called_what_leads_to_it_first(cell: Any) -> None:
    one = cell(3, 3, rng=np.random.default_rng(0))
    if one.output_size != 3:
        return  # does not stack
    layer = nn.Recurrent(lambda size: one, 3, 2)
    assert [p.name for p in layer.parameters()] == list(layer.state_dict())

    class Model(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            if first:
                self.cell = one
            self.a, self.b = nn.Recurrent(one), nn.Recurrent(one)
            if not first:
                self.cell = one

    for first in (True, False):
        model = Model(first)
        assert [p.name for p in model.parameters()] == list(model.state_dict())
        paths = {path for layer in (model.a, model.b) for path in paths_behind(layer(X)[0])}
        inside = {"", *(name for name, _ in one.named_modules())}
        assert paths == {f"{a}.{i}".strip(".") for a in "ab" for i in inside} or not paths
        if one.output_size == one.hidden_size:
            found = model.cell(X[0])
            part = found[0] if isinstance(found, tuple) else found
            assert part.node.scope.path == "cell"


def paths_behind(y: Any) -> set[str]:
    found, stack, known = set(), [y.node], set()
    while stack:
        node = stack.pop()
        if node is not None and node not in known:
            known.add(node)
            stack.extend(node.parents)
            found |= {node.scope.path} if node.scope.layer is not None else set()
    return found


class Plain(nn.Cell):
    """No parameters: a leaky sum."""

    def __init__(self) -> None:
        super().__init__(I, {"h": I, "n": 1})

    def forward(self, x: Any, state: Any) -> Any:
        h, n = state
        return tgs.tanh(0.5 * h + x), n + 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("every", [False, 2])
def test_a_cell_without_parameters_takes_the_dtype_of_its_input(
    dtype: Any, trained: bool, every: Any
) -> None:
    layer = nn.Recurrent(lambda _: Plain(), I, 2, trainable_state=trained, checkpoint=every)
    layer.astype(dtype)
    x = tgs.tensor(X.astype(dtype), requires_grad=True)
    y, state = layer(x, lengths=[5, 3])
    assert {y.dtype, state.h.dtype, state.n.dtype} == {np.dtype(dtype)}
    again, _ = layer(x, state.detach())
    again.sum().backward()
    assert x.grad is not None and x.grad.dtype == dtype
    (h, n), one = Plain()(x[0]), Plain()
    assert {h.dtype, n.dtype} == {np.dtype(dtype)}
    ids = np.zeros(N, int)
    start = (np.zeros((N, I), dtype), np.zeros((N, 1), dtype))
    assert one(ids, start)[0].dtype == dtype
    assert one(ids)[0].dtype == np.float32
    tokens, _ = layer(np.zeros((T, N), int), state.detach())
    assert tokens.dtype == dtype
    if trained:
        assert layer.dtype == dtype
        with pytest.raises(TinygradSeqError, match="Recurrent: input"):
            layer(X.astype(np.float64 if dtype == np.float32 else np.float32))


def test_reprs_say_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert [repr(kind(I, H)).split("  #")[0] for kind in FLAT.values()] == [
        f"{name}({I}, {H})" for name in FLAT
    ]
    assert not any("\n" in repr(kind(I, H, 2, dropout=0.5)) for kind in FLAT.values())
    text = repr(nn.LSTM(I, H, 2, dropout=0.5, variational=True, batch_first=True, proj_size=2))
    assert text.startswith(
        f"LSTM({I}, {H}, num_layers=2, dropout=0.5, variational=True, batch_first=True, "
        "proj_size=2)  #"
    )
    layer = nn.Recurrent(lambda size: MGUCell(size, H, rng=rng), I)
    assert repr(layer).splitlines()[1].startswith(f"  cell_l0: MGUCell({I}, {H})")
    assert "ropout" not in repr(layer) + repr(nn.MultiheadAttention(4, 2))
    assert "MultiheadAttention(4, 2, dropout=0.5)" in repr(nn.MultiheadAttention(4, 2, dropout=0.5))


def test_the_repr_of_a_layer_says_which_biases_are_gone() -> None:
    gru = nn.GRU(I, H, 2)
    gru.bias_l0 = None
    assert repr(gru).startswith(f"GRU({I}, {H}, num_layers=2, bias_l0=None)")
    assert repr(gru.cell_at(0)).startswith(f"GRUCell({I}, {H}, bias=None)")
    gru.bias_hn_l0 = None
    assert "bias_l0=False)" in repr(gru) and "bias=False" in repr(gru.cell_at(0))
    gru.bias_l1 = gru.bias_hn_l1 = None
    assert repr(gru).split("  #")[0] == repr(nn.GRU(I, H, 2, bias=False)).split("  #")[0]
    with pytest.raises(ConfigError, match="bias_hn_l0 belongs to reset_after=True"):
        nn.GRU(I, H, reset_after=False).bias_hn_l0 = nn.Parameter(np.ones(H, np.float32))
