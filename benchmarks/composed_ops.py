"""Time an LSTM composed from single operations beside other engines' eager operations.

The `min` shape of train_step.py: T 25, N 1, V 65, H 100, one layer; forward, cross-entropy and the
gradients of all parameters, float32. Every engine runs the same equations on one-hot rows, with
one product for the four gates. Peers that are not installed are left out. The contestants
take turns within one run; ratios are of medians.

    python benchmarks/composed_ops.py [--seconds 20]
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable

import numpy as np
from train_step import SHAPES, batch, race

import tinygrad_seq as tgs

T, N, V, H, _ = SHAPES["min"]
Step = Callable[[], float]


def weights() -> dict[str, np.ndarray]:
    """The same initial values for every peer."""
    rng = np.random.default_rng(0)
    shapes = {"w_xh": (V, 4 * H), "w_hh": (H, 4 * H), "b": (4 * H,), "w_hy": (H, V), "b_y": (V,)}
    return {k: (0.1 * rng.standard_normal(shape)).astype(np.float32) for k, shape in shapes.items()}


def our_step() -> Step:
    """The cell of this package, one step after another."""
    p = {k: tgs.tensor(v, requires_grad=True) for k, v in weights().items()}
    tokens, targets = batch(T, N, V)
    zeros = np.zeros((N, H), np.float32)

    def run() -> float:
        for value in p.values():
            value.grad = None
        h, c, states = zeros, zeros, []
        for t in range(T):
            h, c = tgs.lstm_step(tokens[t], h, c, p["w_xh"], p["w_hh"], p["b"])
            states.append(h)
        loss = tgs.cross_entropy(tgs.linear(tgs.stack(states), p["w_hy"], p["b_y"]), targets)
        loss.backward()
        return float(loss.item())

    return run


def torch_step() -> Step:
    """PyTorch's eager operations."""
    import torch

    p = {k: torch.from_numpy(v).requires_grad_() for k, v in weights().items()}
    tokens, targets = (torch.from_numpy(a) for a in batch(T, N, V))
    zeros = torch.zeros(N, H)

    def run() -> float:
        for value in p.values():
            value.grad = None
        h, c, states = zeros, zeros, []
        for t in range(T):
            z = p["w_xh"][tokens[t]] + p["b"] + h @ p["w_hh"]
            i, f, o, g = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            states.append(h)
        logits = torch.stack(states) @ p["w_hy"] + p["b_y"]
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, V), targets.reshape(-1))
        loss.backward()
        return float(loss.item())

    return run


def autograd_step() -> Step:
    """HIPS autograd."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    start = weights()
    names = list(start)
    tokens, targets = batch(T, N, V)
    rows = np.eye(V, dtype=np.float32)[tokens]
    picks = np.eye(V, dtype=np.float32)[targets]

    def sigmoid(x):
        return 0.5 * anp.tanh(0.5 * x) + 0.5

    def loss(values):
        p = dict(zip(names, values, strict=True))
        h = c = np.zeros((N, H), np.float32)
        states = []
        for t in range(T):
            z = anp.dot(rows[t], p["w_xh"]) + p["b"] + anp.dot(h, p["w_hh"])
            i, f, o, g = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * anp.tanh(g)
            h = sigmoid(o) * anp.tanh(c)
            states.append(h)
        logits = anp.dot(anp.stack(states), p["w_hy"]) + p["b_y"]
        top = anp.max(logits, axis=-1, keepdims=True)
        logp = logits - top - anp.log(anp.sum(anp.exp(logits - top), axis=-1, keepdims=True))
        return -anp.sum(logp * picks) / (T * N)

    step = value_and_grad(loss)
    values = list(start.values())
    return lambda: float(step(values)[0])


def mygrad_step() -> Step:
    """MyGrad."""
    import mygrad as mg
    from mygrad.nnet.activations import sigmoid
    from mygrad.nnet.losses import softmax_crossentropy

    p = {k: mg.tensor(v) for k, v in weights().items()}
    tokens, targets = batch(T, N, V)
    rows = np.eye(V, dtype=np.float32)[tokens]

    def run() -> float:
        h = c = np.zeros((N, H), np.float32)
        states = []
        for t in range(T):
            z = mg.matmul(rows[t], p["w_xh"]) + p["b"] + mg.matmul(h, p["w_hh"])
            i, f, o, g = (z[:, k * H : (k + 1) * H] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * mg.tanh(g)
            h = sigmoid(o) * mg.tanh(c)
            states.append(h)
        logits = mg.matmul(mg.stack(states), p["w_hy"]) + p["b_y"]
        loss = softmax_crossentropy(logits.reshape(-1, V), targets.reshape(-1))
        loss.backward()
        return float(loss.item())

    return run


def main() -> None:
    """Print medians and how far ahead of each peer the composed path is."""
    parser = argparse.ArgumentParser(description="time the composed LSTM beside its peers")
    parser.add_argument("--seconds", type=float, default=20.0)
    seconds = parser.parse_args().seconds
    peers = {"torch": torch_step, "autograd": autograd_step, "mygrad": mygrad_step}
    contestants = {"ours": our_step()}
    for name, make in peers.items():
        if importlib.util.find_spec(name):
            contestants[name] = make()
    medians = race(contestants, seconds)
    for name, ms in medians.items():
        print(f"{name:9s} {ms:7.2f} ms   {ms / medians['ours']:.2f} times ours")


if __name__ == "__main__":
    main()
