"""Memory and time of backpropagation through time, stored whole and recomputed.

The job: an LSTM over T steps of tokens (time-major, float32), a loss that reads the last state, and
the gradients of all parameters. Four ways:

    stored       the layer keeps every activation
    checkpoint   the layer keeps states, about sqrt(T) steps apart (``checkpoint=True``)
    windows      ``train.bptt`` over windows of about sqrt(T) steps, with a state kept for each
    16 states    ``train.bptt`` over windows of 16 steps, with 16 states at a time: a fixed budget

Contestants take turns; times are medians, of processor time where BLAS has one thread (which other
programs disturb less). Peaks are the most that NumPy had allocated at a time above the start
(tracemalloc); a layer called at once also makes y (T, N, H) and its cotangent, which the windows
never do. "Kept" is what the recorded graph holds for the backward sweep, outputs and tokens aside.

    OPENBLAS_NUM_THREADS=1 python benchmarks/memory.py [100 300 1000 3000 10000] [--plot m.svg]
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import charlm, nn, train

VOCAB = 32
COLOURS = {"stored": "#b03a2e", "checkpoint": "#d68910", "windows": "#14457e"}


class Way(NamedTuple):
    """One way to do the job."""

    run: Callable[[], Any]
    forwards: float
    """How often a step is run forward."""
    layer: nn.LSTM | None = None
    """Whose recorded graph to weigh."""


def layer_way(tokens: np.ndarray, hidden: int, checkpoint: bool) -> Way:
    """Forward and backward through one layer call."""
    lstm = nn.LSTM(VOCAB, hidden, checkpoint=checkpoint, rng=np.random.default_rng(0))

    def run() -> None:
        lstm.zero_grad()
        _, state = lstm(tokens)
        state.h.sum().backward()

    return Way(run, 2.0 if checkpoint else 1.0, lstm)


def windows_way(tokens: np.ndarray, hidden: int, window: int, slots: int) -> Way:
    """The same through :func:`bptt`, in windows, with a budget of stored states."""
    lstm = nn.LSTM(VOCAB, hidden, rng=np.random.default_rng(0))
    count = -(-len(tokens) // window)
    zeros = np.zeros((1, tokens.shape[1], hidden), np.float32)

    def step(k: int, state: Any) -> tuple[Any, tgs.Tensor | None]:
        _, state = lstm(tokens[k * window : (k + 1) * window], state)
        return state, state.h.sum() if k == count - 1 else None

    def run() -> None:
        lstm.zero_grad()
        start = nn.LSTMState(tgs.tensor(zeros), tgs.tensor(zeros))
        train.bptt(step, start, count, lstm.parameters(), slots=slots)

    return Way(run, train.forward_steps(count, slots) / count)


def peak(run: Callable[[], None]) -> float:
    """Most MiB allocated at a time during a run."""
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most / 2**20


def kept(lstm: nn.LSTM, tokens: np.ndarray) -> float:
    """MiB that the recorded graph keeps for backward, outputs and tokens aside."""
    tracemalloc.start()
    y, state = lstm(tokens)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    own = [y.data, tokens, *(part.data for part in state)]
    return (held - sum(array.nbytes for array in own)) / 2**20


def race(
    contestants: dict[str, Way], clock: Callable[[], float], rounds: int, seconds: float
) -> dict[str, float]:
    """Median milliseconds of each, taking turns for so many seconds and so many rounds."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, times.values())) < rounds:
        for name, way in contestants.items():
            start = clock()
            way.run()
            times[name].append(1e3 * (clock() - start))
    return {name: float(np.median(taken)) for name, taken in times.items()}


def growth(steps: list[int], values: list[float]) -> tuple[float, float]:
    """(a, p) of the best fit of values by ``a + b T^p``, each to the same relative accuracy."""
    values_, best = np.asarray(values), (np.inf, 0.0, 0.0)
    for p in np.linspace(0.05, 1.5, 146):
        columns = np.stack([np.ones(len(steps)), np.asarray(steps, float) ** p], axis=1)
        scaled = columns / values_[:, None]
        found = np.linalg.lstsq(scaled, np.ones(len(steps)))[0]
        error = float(np.square(scaled @ found - 1).sum())
        best = min(best, (error, float(found[0]), float(p)))
    return best[1], best[2]


def measure(
    steps: int, options: argparse.Namespace, clock: Callable[[], float]
) -> list[dict[str, Any]]:
    """A row per way, at one length."""
    tokens = np.random.default_rng(0).integers(0, VOCAB, (steps, options.batch))
    root = int(np.ceil(np.sqrt(steps)))
    ways = {
        "stored": layer_way(tokens, options.hidden, False),
        "checkpoint": layer_way(tokens, options.hidden, True),
        "windows": windows_way(tokens, options.hidden, root, -(-steps // root)),
        f"{options.slots} states": windows_way(tokens, options.hidden, 16, options.slots),
    }
    medians = race(ways, clock, options.rounds, options.seconds)
    rows = []
    for name, way in ways.items():
        held = None if way.layer is None else kept(way.layer, tokens)
        row = {"T": steps, "way": name, "kept": held, "peak": peak(way.run)}
        rows.append({**row, "forwards": way.forwards, "time": medians[name]})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows of one length, with ratios to the first."""
    first = rows[0]
    for row in rows:
        part = f"{'':17}"
        if row["kept"] is not None:
            part = f"{row['kept']:9.2f} {row['kept'] / first['kept']:7.1%}"
        print(
            f"{row['T']:6d}  {row['way']:11}{part} {row['peak']:8.2f} "
            f"{row['peak'] / first['peak']:7.1%} {row['forwards']:9.2f} {row['time']:9.1f} "
            f"{row['time'] / first['time']:7.2f}",
            flush=True,
        )


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Peaks and times against T."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    figures = (("peak", "peak memory [MiB]"), ("time", "time [ms]"))
    for axes, (key, label) in zip(figure.subplots(1, 2), figures, strict=True):
        for name in dict.fromkeys(row["way"] for row in rows):
            mine = [row for row in rows if row["way"] == name]
            steps, values = [row["T"] for row in mine], [row[key] for row in mine]
            axes.loglog(steps, values, "o-", color=COLOURS.get(name, "#1e8449"), label=name, lw=1.8)
        if key == "peak":
            steps = sorted({row["T"] for row in rows})
            base = next(row["peak"] for row in rows if row["way"] == "windows")
            root = [0.8 * base * np.sqrt(t / steps[0]) for t in steps]
            axes.loglog(steps, root, ls=":", color="0.5", label="slope 1/2")
        axes.set(xlabel="steps T", ylabel=label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main() -> None:
    """Print a table, a row per length and way; then how each way grows with T."""
    parser = argparse.ArgumentParser(description="memory and time of BPTT against T")
    parser.add_argument("steps", nargs="*", type=int, default=[100, 300, 1000, 3000, 10000])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--slots", type=int, default=16, help="states of the fixed budget")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, at least")
    parser.add_argument("--seconds", type=float, default=2.0, help="per length, at least")
    parser.add_argument("--plot", type=Path, help="draw the results there")
    parser.add_argument("--json", type=Path, help="write the results there")
    options = parser.parse_args()
    alone = os.environ.get("OPENBLAS_NUM_THREADS") == "1"
    clock = time.process_time if alone else time.perf_counter
    print(charlm.machine(), f"load {charlm.machine().load:.1f}", sep=", ")
    print(
        f"N = {options.batch}, H = {options.hidden}; MiB; ms of {clock.__name__}; ratios to stored"
    )
    print("     T  way             kept   ratio     peak   ratio  forwards      time   ratio")
    rows: list[dict[str, Any]] = []
    for steps in options.steps:
        found = measure(steps, options, clock)
        show(found)
        rows += found
    for key in ("kept", "peak", "time"):
        for name in dict.fromkeys(row["way"] for row in rows):
            mine = [row for row in rows if row["way"] == name and row[key] is not None]
            values = [row[key] for row in mine]
            if len(mine) > 3 and max(values) > 1.2 * min(values):
                constant, p = growth([row["T"] for row in mine], values)
                print(f"{key} of {name}: {constant:.2f} + b T^{p:.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(rows), encoding="utf-8")
    if options.plot is not None:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
