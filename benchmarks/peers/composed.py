"""Engines of single operations: an LSTM by hand in PyTorch's eager mode, autograd and MyGrad."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import rows
from benchmarks.peers import Job, Jobs
from benchmarks.rows import Row


def one_hot(row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and targets as rows of the identity, for engines that have no look-up."""
    table, given = np.eye(row.sizes.V, dtype=np.float32), rows.data(row)
    return table[given.tokens], table[given.targets]


def eager(row: Row) -> Job:
    import torch

    T, N, V, H, _ = row.sizes
    p = {name: torch.from_numpy(w).requires_grad_() for name, w in rows.weights(row).items()}
    tokens, targets = (torch.from_numpy(a) for a in rows.data(row)[:2])
    zeros = torch.zeros(N, H)

    def run() -> float:
        for value in p.values():
            value.grad = None
        h, c, states = zeros, zeros, []
        for t in range(T):
            z = p["xh"][tokens[t]] + p["b"] + h @ p["hh"]
            i, f, o, g = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        logits = torch.stack(states) @ p["head.weight"] + p["head.bias"]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), targets.reshape(-1))
        loss.backward()
        return float(loss.item())

    return Job(run, lambda: {"loss": run(), **{name: w.grad.numpy() for name, w in p.items()}})


def autograd(row: Row) -> Job:
    import autograd.numpy as anp
    from autograd import value_and_grad

    T, N, _, H, _ = row.sizes
    start = rows.weights(row)
    inputs, picks = one_hot(row)

    def sigmoid(x: Any) -> Any:
        return 0.5 * anp.tanh(0.5 * x) + 0.5

    def loss(p: Any) -> Any:
        h = c = np.zeros((N, H), np.float32)
        states = []
        for t in range(T):
            z = anp.dot(inputs[t], p["xh"]) + p["b"] + anp.dot(h, p["hh"])
            i, f, o, g = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
            states.append(h)
        logits = anp.dot(anp.stack(states), p["head.weight"]) + p["head.bias"]
        top = anp.max(logits, axis=-1, keepdims=True)
        logp = logits - top - anp.log(anp.sum(anp.exp(logits - top), axis=-1, keepdims=True))
        return -anp.sum(logp * picks) / (T * N)

    step = value_and_grad(loss)

    def check() -> rows.Values:
        value, gradients = step(start)
        return {"loss": value, **gradients}

    return Job(lambda: float(step(start)[0]), check)


def mygrad(row: Row) -> Job:
    import mygrad as mg
    from mygrad.nnet.activations import sigmoid
    from mygrad.nnet.losses import softmax_crossentropy

    T, N, V, H, _ = row.sizes
    p = {name: mg.tensor(w) for name, w in rows.weights(row).items()}
    inputs, _ = one_hot(row)
    targets = rows.data(row).targets.reshape(-1)

    def run() -> float:
        h = c = np.zeros((N, H), np.float32)
        states = []
        for t in range(T):
            z = mg.matmul(inputs[t], p["xh"]) + p["b"] + mg.matmul(h, p["hh"])
            i, f, o, g = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * mg.tanh(g)
            h = sigmoid(o) * mg.tanh(c)
            states.append(h)
        logits = mg.matmul(mg.stack(states), p["head.weight"]) + p["head.bias"]
        loss = softmax_crossentropy(logits.reshape(-1, V), targets)
        loss.backward()
        return float(loss.item())

    return Job(run, lambda: {"loss": run(), **{name: w.grad for name, w in p.items()}})


EAGER: Jobs = {"single": eager}
AUTOGRAD: Jobs = {"single": autograd}
MYGRAD: Jobs = {"single": mygrad}
