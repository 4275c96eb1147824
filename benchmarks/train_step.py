"""Time one training step, forward and backward, beside PyTorch's nn.LSTM in the same run.

The job: tokens (T, N) as one-hot input, LSTM layers, a linear readout, softmax cross-entropy, and
the gradients of all parameters; float32. PyTorch, where installed, gets an embedding of the same
width for its input, since it has no token input. The contestants take turns within one run;
ratios are of medians.

    python benchmarks/train_step.py [min char mid big] [--seconds 6]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn

SHAPES = {  # T, N, V, H, layers
    "min": (25, 1, 65, 100, 1),
    "char": (50, 50, 65, 128, 2),
    "mid": (100, 32, 128, 256, 1),
    "big": (100, 50, 128, 512, 2),
}
Step = Callable[[], float]


def batch(steps: int, streams: int, vocab: int) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens and targets (T, N)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, vocab, (steps, streams)), rng.integers(0, vocab, (steps, streams))


def ours(shape: tuple[int, ...], *, composed: bool = False) -> Step:
    """A step of this package, fused or composed from single operations."""
    steps, streams, vocab, hidden, layers = shape
    rng = np.random.default_rng(0)
    lstm = nn.LSTM(vocab, hidden, layers, rng=rng)
    head = nn.Linear(hidden, vocab, rng=rng)
    tokens, targets = batch(steps, streams, vocab)
    parameters = [*lstm.parameters(), *head.parameters()]

    def run() -> float:
        for parameter in parameters:
            parameter.grad = None
        y, _ = lstm(tokens)
        loss = tgs.cross_entropy(head(y), targets)
        loss.backward()
        return loss.item()

    if not composed:
        return run

    def run_composed() -> float:
        with tgs.composed():
            return run()

    return run_composed


def torchs(shape: tuple[int, ...]) -> Step:
    """A step of PyTorch's nn.LSTM."""
    import torch

    steps, streams, vocab, hidden, layers = shape
    torch.manual_seed(0)
    embedding = torch.nn.Embedding(vocab, hidden)
    lstm = torch.nn.LSTM(hidden, hidden, layers)
    head = torch.nn.Linear(hidden, vocab)
    tokens, targets = (torch.from_numpy(a) for a in batch(steps, streams, vocab))
    parameters = [*embedding.parameters(), *lstm.parameters(), *head.parameters()]

    def run() -> float:
        for parameter in parameters:
            parameter.grad = None
        y, _ = lstm(embedding(tokens))
        loss = torch.nn.functional.cross_entropy(head(y).reshape(-1, vocab), targets.reshape(-1))
        loss.backward()
        return float(loss.item())

    return run


def race(contestants: dict[str, Step], seconds: float) -> dict[str, float]:
    """Median milliseconds of each contestant, taking turns for about `seconds`."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for step in contestants.values():
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 5:
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def main() -> None:
    """Print a table of medians and ratios."""
    parser = argparse.ArgumentParser(description="time one LSTM training step")
    parser.add_argument(
        "shapes", nargs="*", default=list(SHAPES), help="some of " + " ".join(SHAPES)
    )
    parser.add_argument("--seconds", type=float, default=6.0, help="per shape")
    parser.add_argument("--composed", action="store_true", help="time the composed path as well")
    options = parser.parse_args()
    torch_there = importlib.util.find_spec("torch") is not None
    print(
        f"numpy {np.__version__}, {os.cpu_count()} cores, OPENBLAS_NUM_THREADS="
        f"{os.environ.get('OPENBLAS_NUM_THREADS', 'unset')}"
    )
    if not torch_there:
        print("PyTorch is not installed: no ratios")
    for name in options.shapes:
        contestants = {"fused": ours(SHAPES[name])}
        if options.composed:
            contestants["composed"] = ours(SHAPES[name], composed=True)
        if torch_there:
            contestants["torch"] = torchs(SHAPES[name])
        medians = race(contestants, options.seconds)
        line = "  ".join(f"{who} {ms:8.2f} ms" for who, ms in medians.items())
        if torch_there:
            line += f"  fused / torch {medians['fused'] / medians['torch']:.2f}"
        print(f"{name:5s} T, N, V, H, layers = {SHAPES[name]}:  {line}", flush=True)


if __name__ == "__main__":
    main()
