"""Memory and time of backpropagation through time, stored whole and recomputed.

The job: an LSTM over T steps of tokens (time-major, float32), a loss that reads the last state, and
the gradients of all parameters. Contestants take turns; times are medians. Peaks are the most
that NumPy had allocated at a time above the start (tracemalloc), outputs y (T, N, H) and their
cotangent included; "kept" is what the recorded graph holds for the backward sweep, outputs aside.

    python benchmarks/memory.py [100 300 1000 3000 10000] [--batch 16] [--hidden 128]
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.train.bptt import bptt, forward_steps

VOCAB = 32


def layer_step(lstm: nn.LSTM, tokens: np.ndarray) -> Callable[[], None]:
    """Forward and backward through one layer call."""

    def run() -> None:
        for parameter in lstm.parameters():
            parameter.grad = None
        _, state = lstm(tokens)
        state.h.sum().backward()

    return run


def planned_step(lstm: nn.LSTM, tokens: np.ndarray, window: int, slots: int) -> Callable[[], None]:
    """The same through :func:`bptt`, in windows, with a budget of stored states."""
    count = -(-len(tokens) // window)
    zeros = np.zeros((1, tokens.shape[1], lstm.hidden_size), np.float32)

    def step(k: int, state: Any) -> tuple[Any, tgs.Tensor | None]:
        _, state = lstm(tokens[k * window : (k + 1) * window], state)
        return state, state.h.sum() if k == count - 1 else None

    def run() -> None:
        for parameter in lstm.parameters():
            parameter.grad = None
        start = nn.LSTMState(tgs.tensor(zeros), tgs.tensor(zeros))
        bptt(step, start, count, lstm.parameters(), slots=slots)

    return run


def peak(run: Callable[[], None]) -> float:
    """Most MiB allocated at a time during a run."""
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20


def kept(lstm: nn.LSTM, tokens: np.ndarray) -> float:
    """MiB that the recorded graph keeps for backward, the outputs aside."""
    tracemalloc.start()
    y, state = lstm(tokens)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (held - y.data.nbytes - sum(part.data.nbytes for part in state)) / 2**20


def race(contestants: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Median milliseconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < 1:
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def main() -> None:
    """Print a table: a row per length and way."""
    parser = argparse.ArgumentParser(description="memory and time of BPTT against T")
    parser.add_argument("steps", nargs="*", type=int, default=[100, 300, 1000, 3000, 10000])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--slots", type=int, default=5, help="budget of the planned run")
    parser.add_argument("--seconds", type=float, default=4.0, help="per length")
    options = parser.parse_args()
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "unset")
    print(f"numpy {np.__version__}, {os.cpu_count()} cores, OPENBLAS_NUM_THREADS={threads}")
    print(f"N = {options.batch}, H = {options.hidden}; MiB and ms; ratios to storing everything")
    print("     T  way            kept   ratio    peak   ratio      time   ratio")
    for steps in options.steps:
        rng = np.random.default_rng(0)
        tokens = rng.integers(0, VOCAB, (steps, options.batch))
        whole, again = (
            nn.LSTM(VOCAB, options.hidden, checkpoint=checkpoint, rng=np.random.default_rng(0))
            for checkpoint in (False, True)
        )
        window = int(np.ceil(np.sqrt(steps)))
        ways = {
            "stored": layer_step(whole, tokens),
            "checkpoint": layer_step(again, tokens),
            f"{options.slots} states": planned_step(whole, tokens, window, options.slots),
        }
        medians = race(ways, options.seconds)
        held = [kept(whole, tokens), kept(again, tokens), None]
        peaks = [peak(run) for run in ways.values()]
        for (name, taken), holds, most in zip(medians.items(), held, peaks, strict=True):
            part = "       -       -"
            if holds is not None:
                part = f"{holds:8.2f} {holds / (held[0] or 1):7.1%}"
            print(
                f"{steps:6d}  {name:10s} {part} {most:8.2f} {most / peaks[0]:7.1%} "
                f"{taken:9.1f} {taken / medians['stored']:7.2f}",
                flush=True,
            )
    count = -(-options.steps[-1] // int(np.ceil(np.sqrt(options.steps[-1]))))
    runs = forward_steps(count, min(options.slots, count))
    print(f"planned: {runs} runs of {count} windows at the last length")


if __name__ == "__main__":
    main()
