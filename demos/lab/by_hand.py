"""Recurrent models as people write them: a loop, a few products, nothing that says what time is.

Each function returns its loss and its variables by name, for ``loss.draw(names=...)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn

Result = tuple[Any, dict[str, Any]]


def leaves(rng: np.random.Generator, **shapes: tuple[int, ...]) -> list[Any]:
    """Weights of these shapes, without names."""
    return [tgs.tensor(rng.normal(0, 0.3, s), requires_grad=True) for s in shapes.values()]


def rnn(steps: int, symbols: int = 5, hidden: int = 16) -> Result:
    """A vanilla RNN on column vectors, softmax and loss by hand."""
    V, H = symbols, hidden
    Wxh, Whh, Why, bh, by = leaves(
        np.random.default_rng(0), Wxh=(H, V), Whh=(H, H), Why=(V, H), bh=(H, 1), by=(V, 1)
    )
    h, loss = np.zeros((H, 1)), 0
    for t in range(steps):
        x = np.eye(V)[:, [t % V]]
        h = np.tanh(Wxh @ x + Whh @ h + bh)
        y = Why @ h + by
        p = np.exp(y) / np.sum(np.exp(y))
        loss = loss - np.log(p[(t + 1) % V, 0])
    return loss, locals()


def lstm(layer: Any, head: nn.Linear, tokens: Any, targets: Any) -> Result:
    """What a layer and its readout compute, written out with their weights."""
    W, U, b = layer.weight_xh_l0, layer.weight_hh_l0, layer.bias_l0
    h = c = np.zeros((tokens.shape[1], layer.hidden_size), np.float32)
    ys = []
    for x in tokens:
        i, f, o, g = np.split(W[x] + h @ U + b, 4, axis=1)
        c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
        h = tgs.sigmoid(o) * np.tanh(c)
        ys.append(h @ head.weight + head.bias)
    return tgs.cross_entropy(tgs.stack(ys), targets), {"h": h, "c": c}


class MGU(nn.Module):
    """A minimal gated unit, as a module that is called step by step."""

    def __init__(self, inputs: int, hidden: int, *, rng: np.random.Generator) -> None:
        super().__init__()
        self.f, self.n = (nn.Linear(inputs + hidden, hidden, rng=rng) for _ in range(2))

    def forward(self, x: Any, h: Any) -> Any:
        f = tgs.sigmoid(self.f(np.concatenate([x, h], axis=1)))
        n = np.tanh(self.n(np.concatenate([x, f * h], axis=1)))
        return (1 - f) * h + f * n


def mgu(steps: int) -> Result:
    """A loop over a module, with a loss at the end."""
    rng = np.random.default_rng(0)
    cell, head = MGU(3, 8, rng=rng), nn.Linear(8, 1, rng=rng)
    h = np.zeros((2, 8), np.float32)
    for x in rng.normal(size=(steps, 2, 3)).astype(np.float32):
        h = cell(x, h)
    return (head(h) ** 2).mean(), locals()


def translator(source: int, target: int) -> Result:
    """An encoder and a decoder that looks back at every state of the encoder."""
    V, H, N, rng = 6, 8, 2, np.random.default_rng(0)
    We, Ue, Wd, Ud, D = leaves(rng, We=(V, H), Ue=(H, H), Wd=(V, H), Ud=(H, H), D=(2 * H, V))
    words, answer = rng.integers(0, V, (source, N)), rng.integers(0, V, (target + 1, N))
    h, memory = np.zeros((N, H)), []
    for word in words:
        h = np.tanh(We[word] + h @ Ue)
        memory.append(h)
    encoded = tgs.stack(memory, axis=1)  # (N, S, H)
    loss: Any = 0
    s = h
    for t in range(target):
        s = np.tanh(Wd[answer[t]] + s @ Ud)
        scores = (encoded @ s[:, :, None])[:, :, 0]
        weights = tgs.softmax(scores, axis=1).tag("weights")  # (N, S)
        seen = (weights[:, None] @ encoded)[:, 0]
        loss = loss + tgs.cross_entropy(np.concatenate([s, seen], axis=1) @ D, answer[t + 1])
    return loss / target, locals()
