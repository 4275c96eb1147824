"""An LSTM by hand from single operations: ours, PyTorch's eager mode, autograd, MyGrad."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import rows
from benchmarks.peers import Job, Jobs, learning
from benchmarks.rows import Row


def logits(
    p: Any,
    inputs: Callable[[int], Any],
    zeros: Any,
    steps: int,
    *,
    matmul: Callable[..., Any],
    split: Callable[..., Any],
    sigmoid: Callable[..., Any],
    tanh: Callable[..., Any],
    stack: Callable[..., Any],
) -> Any:
    """The same equations for all: x_t W_xh is looked up where there is a look-up."""
    h, c, states = zeros, zeros, []
    for t in range(steps):
        i, f, o, g = split(inputs(t) + p["b"] + matmul(h, p["hh"]))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        states.append(h)
    return matmul(stack(states), p["head.weight"]) + p["head.bias"]


def quarters(z: Any) -> list[Any]:
    """The four blocks of columns, by slices."""
    H = z.shape[1] // 4
    return [z[:, k * H : (k + 1) * H] for k in range(4)]


def started(row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, targets and the first state."""
    given = rows.data(row)
    return given.tokens, given.targets, np.zeros((row.sizes.N, row.sizes.H), np.float32)


def ours(row: Row) -> Job:
    import tinygrad_seq as tgs

    p = {name: tgs.tensor(w, requires_grad=True) for name, w in rows.weights(row).items()}
    tokens, targets, zeros = started(row)

    def loss() -> Any:
        found = logits(
            p, lambda t: tgs.take(p["xh"], tokens[t]), zeros, row.sizes.T,
            matmul=tgs.matmul, split=lambda z: tgs.split(z, 4, axis=-1),
            sigmoid=tgs.sigmoid, tanh=tgs.tanh, stack=tgs.stack,
        )  # fmt: skip
        return tgs.cross_entropy(found, targets)

    return learning(p, loss)


def eager(row: Row) -> Job:
    import torch

    p = {name: torch.from_numpy(w).requires_grad_() for name, w in rows.weights(row).items()}
    tokens, targets, zeros = map(torch.from_numpy, started(row))

    def loss() -> Any:
        found = logits(
            p, lambda t: p["xh"][tokens[t]], zeros, row.sizes.T,
            matmul=torch.matmul, split=lambda z: z.chunk(4, dim=1),
            sigmoid=torch.sigmoid, tanh=torch.tanh, stack=torch.stack,
        )  # fmt: skip
        return torch.nn.functional.cross_entropy(found.flatten(0, 1), targets.flatten())

    return learning(p, loss)


def autograd(row: Row) -> Job:
    import autograd.numpy as anp
    from autograd import value_and_grad

    tokens, targets, zeros = started(row)
    table = np.eye(row.sizes.V, dtype=np.float32)
    one_hot, picks, start = table[tokens], table[targets], rows.weights(row)

    def loss(p: Any) -> Any:
        found = logits(
            p, lambda t: anp.dot(one_hot[t], p["xh"]), zeros, row.sizes.T,
            matmul=anp.dot, split=quarters,
            sigmoid=lambda x: 0.5 * anp.tanh(0.5 * x) + 0.5, tanh=anp.tanh, stack=anp.stack,
        )  # fmt: skip
        found = found - anp.max(found, axis=-1, keepdims=True)
        logp = found - anp.log(anp.sum(anp.exp(found), axis=-1, keepdims=True))
        return -anp.sum(logp * picks) / targets.size

    step = value_and_grad(loss)

    def check() -> rows.Values:
        value, gradients = step(start)
        return {"loss": value, **gradients}

    return Job(lambda: float(step(start)[0]), check)


def mygrad(row: Row) -> Job:
    import mygrad as mg
    from mygrad.nnet.activations import sigmoid
    from mygrad.nnet.losses import softmax_crossentropy

    p = {name: mg.tensor(w) for name, w in rows.weights(row).items()}
    tokens, targets, zeros = started(row)
    one_hot = np.eye(row.sizes.V, dtype=np.float32)[tokens]

    def loss() -> Any:
        found = logits(
            p, lambda t: mg.matmul(one_hot[t], p["xh"]), zeros, row.sizes.T,
            matmul=mg.matmul, split=quarters, sigmoid=sigmoid, tanh=mg.tanh, stack=mg.stack,
        )  # fmt: skip
        return softmax_crossentropy(found.reshape(-1, row.sizes.V), targets.reshape(-1))

    def run() -> float:  # MyGrad forgets gradients by itself
        found = loss()
        found.backward()
        return float(found.item())

    return Job(run, lambda: {"loss": run(), **{name: w.grad for name, w in p.items()}})


EAGER: Jobs = {"single": eager}
AUTOGRAD: Jobs = {"single": autograd}
MYGRAD: Jobs = {"single": mygrad}
