"""Cell pages of models whose recurrence is a loop written by hand, with nothing tagged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import data, nn
from tinygrad_seq.celltext import cell_text
from tinygrad_seq.celltext.read import read

TEXT = 'a "b(c)" Ab 12 "e" f'
VOCABULARY = data.Vocabulary.from_text(TEXT)
V, H = len(VOCABULARY), 4
IDS = VOCABULARY.encode(TEXT)


class ByHand(nn.Module):
    """Two layers by hand: an LSTM whose gates are in another order, and a tanh layer above."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        shapes = {"e": (V, 3), "w": (3, 4 * H), "u": (H, 4 * H), "v": (H, H), "r": (H, H)}
        for name, shape in {**shapes, "d": (H, V)}.items():
            setattr(self, name, nn.Parameter(rng.normal(size=shape) * 0.7))

    look_up = staticmethod(lambda table, ids: table[ids])

    def forward(self, tokens: Any, state: Any = None) -> Any:
        zeros = np.zeros((tokens.shape[1], H))
        h, c, top = (zeros, zeros, zeros) if state is None else state
        outputs = []
        for ids in tokens:
            i, f, g, o = np.split(self.look_up(self.e, ids) @ self.w + h @ self.u, 4, axis=-1)
            c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
            h = tgs.sigmoid(o) * np.tanh(c)
            top = np.tanh(h @ self.v + top @ self.r)
            outputs.append(top @ self.d)
        return tgs.stack(outputs), (h, c, top)


class Columns(ByHand):
    """States that are columns."""

    def forward(self, tokens: Any, state: Any = None) -> Any:
        h = np.zeros((H, tokens.shape[1])) if state is None else state
        outputs = []
        for ids in tokens:
            x = self.look_up(self.e, ids) @ self.w[:, :H]
            h = np.tanh(x.T + self.r @ h)
            outputs.append(h.T @ self.d)
        return tgs.stack(outputs), h


def test_states_of_a_loop_by_hand_are_shown() -> None:
    model = ByHand()
    found = read(model, IDS)
    w = {name: p.numpy() for name, p in model.named_parameters()}
    h = c = top = np.zeros(H)
    for t, token in enumerate(IDS):
        i, f, g, o = np.split(w["e"][token] @ w["w"] + h @ w["u"], 4)
        i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        top = np.tanh(h @ w["v"] + top @ w["r"])
        for key, value in {("cell", "h"): h, ("cell", "c"): c, ("cell (2)", "h"): top}.items():
            np.testing.assert_allclose(found.values[key][t], value, rtol=0, atol=1e-14)
    assert set(found.values) == {("cell", "h"), ("cell", "c"), ("cell (2)", "h")}
    assert not found.gates
    logits, _ = model(IDS[:, None])
    np.testing.assert_allclose(found.logits, logits.numpy()[:, 0], rtol=0, atol=1e-13)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", [ByHand, Columns])
def test_what_a_prediction_depends_on_through_a_plain_look_up(kind: Any) -> None:
    model = kind()
    plain = cell_text(model, TEXT, VOCABULARY, horizon=6)
    model.look_up = tgs.take
    np.testing.assert_allclose(
        plain.connectivity,
        cell_text(model, TEXT, VOCABULARY, horizon=6).connectivity,
        rtol=1e-12,
    )
    assert ("cell", "h") in plain.values and "cell" in plain.html()
