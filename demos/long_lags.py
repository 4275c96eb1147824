"""Long lags: what gated cells remember and a plain RNN does not, and what their start decides.

    python demos/long_lags.py            # a minute or two; results and a picture go to runs/
    python demos/long_lags.py --fast

Three tasks ask for something that was seen long before. Every sequence is new, so the loss before
an update is a test loss; it is divided by the trivial loss, that of the best predictor that
remembers nothing. "chrono" layers start with gates that hold on for up to the length of the task.
The full experiments, lag by lag and seed by seed, are in benchmarks/long_lags.py and
docs/long_lags.md.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import demokit
import numpy as np
from lab import Adding, CopyMemory, TemporalOrder, learn, task_model

from tinygrad_seq import nn, optim

BATCH, RECENT = 20, 400
SOLVED = 0.06  # of the trivial loss; for adding that is a squared error of 0.01


class Experiment(NamedTuple):
    """A task, and how long to try."""

    title: str
    task: Any
    hidden: int
    updates: int
    length: int


def experiments(fast: bool) -> list[Experiment]:
    if fast:
        return [
            Experiment("adding two of 10 numbers", Adding(10), 16, 300, 10),
            Experiment("the order of two marks in 20", TemporalOrder(20), 12, 200, 20),
            Experiment("copying 1 symbol of 3", CopyMemory(3, 3, 1), 16, 200, 5),
        ]
    return [
        Experiment("adding two of 80 numbers", Adding(80), 32, 1000, 80),
        Experiment("the order of two marks in 80", TemporalOrder(80), 16, 1000, 80),
        Experiment("copying 5 symbols of 8, lag 20", CopyMemory(20, width=5), 48, 2000, 30),
    ]


MODELS: dict[str, tuple[Callable[..., Any], bool, float, str]] = {
    "RNN": (nn.RNN, False, 1e-3, demokit.RED),
    "LSTM": (nn.LSTM, False, 1e-2, "#6ba3d6"),
    "LSTM chrono": (nn.LSTM, True, 1e-2, demokit.BLUE),
    "GRU chrono": (nn.GRU, True, 1e-2, demokit.GREEN),
}


def curve(experiment: Experiment, name: str) -> list[tuple[int, float]]:
    """(sequences seen, loss over trivial loss), until far below solved or out of updates."""
    task, (kind, chrono, lr, _) = experiment.task, MODELS[name]
    rng = np.random.default_rng(0)
    layer = kind(task.input_size, experiment.hidden, rng=rng)
    if chrono:
        nn.init.chrono_(layer, experiment.length, rng)
    model = task_model(task, layer, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    found = []
    updates = learn(task, model, optimizer, rng, batch=BATCH, recent=RECENT)
    for now in itertools.islice(updates, experiment.updates):
        if now.full and now.sequences % 200 == 0:
            found.append((now.sequences, now.loss / task.trivial_loss))
            if found[-1][1] < SOLVED / 4:
                break
    return found


def draw(chosen: list[Experiment], curves: list[dict[str, Any]], path: Path) -> None:
    """A panel per task, a curve per model."""
    figure = demokit.figure(14, 4.6)
    for axes, experiment, mine in zip(figure.subplots(1, len(chosen)), chosen, curves, strict=True):
        for name, found in mine.items():
            width = 3.5 if name == "RNN" else 1.8  # seen under others that do not learn either
            axes.semilogy(*np.transpose(found), color=MODELS[name][-1], label=name, lw=width)
        across = axes.get_yaxis_transform()
        for level, what, style in ((1, "remembers nothing", (0, (6, 3))), (SOLVED, "solved", ":")):
            axes.axhline(level, color="0.4", ls=style, lw=1)
            note = {"ha": "right", "fontsize": 9, "color": "0.4", "transform": across}
            axes.text(0.99, level * 1.25, what, **note)
        axes.set_title(experiment.title, loc="left", fontsize=11)
        axes.set(xlabel="sequences seen", ylabel="loss / trivial loss", ylim=(8e-3, 4))
        axes.xaxis.set_major_formatter(lambda n, _: f"{n / 1000:g}k")
        demokit.tidy(axes)
    axes.legend(frameon=False)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    options = demokit.parser(__doc__, "long_lags", "short lags, few units").parse_args(arguments)
    chosen = experiments(options.fast)
    curves: list[dict[str, Any]] = []
    print(f"{'task':32} {'model':12} {'best, of trivial':>16}  solved after")
    for experiment in chosen:
        curves.append({})
        for name in MODELS:
            found = curves[-1][name] = curve(experiment, name)
            solved = next((n for n, loss in found if loss < SOLVED), None)
            after = f"{solved:,} sequences" if solved else "-"
            best = min(loss for _, loss in found)
            print(f"{experiment.title:32} {name:12} {best:16.1%}  {after}", flush=True)
    draw(chosen, curves, options.out)
    results = {e.title: mine for e, mine in zip(chosen, curves, strict=True)}
    options.out.with_suffix(".json").write_text(json.dumps(results), encoding="utf-8")
    demokit.look_for(
        "a curve on the dashed line remembers nothing; below the dotted one the task is\n"
        "solved. The plain RNN stays on the dashed line where the lag is long. Where gates start\n"
        "decides how soon the others leave it, if they do. Copying takes longer than this demo:\n"
        "docs/long_lags.md says how much, and what solves it",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
