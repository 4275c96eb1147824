"""The long-lag experiments: which recurrent layer learns which task, at which lag, how soon.

    python -m benchmarks.long_lags                          # every row; hours
    python -m benchmarks.long_lags --task adding --lag 100  # one row of the table
    python -m benchmarks.long_lags --table                  # what the results so far come to

Results are appended to runs/long_lags.jsonl, a line per run, and a run that is there is not run
again: stop and go on as you like. A run trains on sequences that never repeat until the mean loss
of the most recent 2,000, each judged before it was trained on, is below 6% of the trivial loss
(*solved*), or until its limit; where the rate falls, always to its limit. Then it is judged on
2,560 others.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from demos import lab
from tinygrad_seq import nn, optim

SOLVED = 0.06  # of the trivial loss; for adding that is a squared error of 0.01
STREAK = 2000  # sequences right in a row: a stricter bar, noted but not waited for
COLOURS = {
    "RNN": "#b03a2e",
    "LSTM": "#6ba3d6",
    "GRU": "#82c49a",
    "LSTM chrono": "#14457e",
    "GRU chrono": "#1e8449",
}
RATES = {"RNN": 1e-3, "LSTM": 1e-2, "GRU": 1e-2, "LSTM chrono": 1e-2, "GRU chrono": 1e-2}
PAIR_RATES = {"without attention": 1e-2, "attention": 1e-2}
SUM_RATES = {"attention": 5e-3, "attention before": 5e-3, "attention fed": 5e-3}
COPY_RATES = {**RATES, "LSTM chrono": 2e-2}


@dataclass(frozen=True)
class Sums(lab.AddNumbers):
    """Sums of which one pair in ten is kept for the examination: never drawn, or alone drawn."""

    kept: bool = False

    def pair(self, rng: np.random.Generator) -> tuple[str, str]:
        """Draw until it is one of the right tenth, or of the other nine."""
        while True:
            question, answer = super().pair(rng)
            if (zlib.crc32(question.encode()) % 10 == 0) == self.kept:
                return question, answer


class Row(NamedTuple):
    """One task at one lag."""

    task: Any
    hidden: int
    limit: int
    """Sequences, at most."""
    span: int
    """Longest time constant that gates start with, for models that are told."""
    rates: dict[str, float] = RATES
    """Learning rate of Adam for every model that is run."""
    batch: int = 20
    falling: bool = False
    """Whether the rate falls along a cosine to a hundredth, at the limit; only then it stops."""


def layer(row: Row, rng: np.random.Generator, kind: Any, chrono: bool = False) -> Any:
    """As it comes, or starting with time constants up to the row's span (`nn.init.chrono_`)."""
    made = kind(row.task.input_size, row.hidden, rng=rng)
    if chrono:
        nn.init.chrono_(made, row.span, rng)
    return made


def irnn(row: Row, rng: np.random.Generator) -> nn.RNN:
    """Le et al. (2015): relu, W_hh the identity, W_xh normal with deviation 0.001."""
    made = nn.RNN(row.task.input_size, row.hidden, nonlinearity="relu", rng=rng)
    weight_xh, weight_hh, _ = made.layer_weights(0)
    weight_xh.data = nn.init.normal(rng, weight_xh.shape, 0.001, np.float32)
    weight_hh.data = np.eye(row.hidden, dtype=np.float32)
    return made


def translator(row: Row, rng: np.random.Generator, attend: str = "") -> nn.Seq2Seq:
    """A GRU that reads in both directions, and one that writes, which may attend."""
    hidden, made = row.hidden, {"rng": rng}
    attention = nn.AdditiveAttention(hidden, 2 * hidden, hidden, **made) if attend else None
    size, when = 2 * hidden, attend or "after"
    fed = nn.Decoder.fed_size_of(when, hidden, size)
    writer = nn.GRU(row.task.output_size + fed, hidden, **made)
    decoder = nn.Decoder(writer, None, attention, size, attend=when, **made)
    reader = nn.GRU(row.task.input_size, hidden, bidirectional=True, **made)
    return nn.Seq2Seq(reader, decoder, **made)


MODELS: dict[str, Callable[[Row, np.random.Generator], Any]] = {
    "RNN": partial(layer, kind=nn.RNN),
    "IRNN": irnn,
    "LSTM": partial(layer, kind=nn.LSTM),
    "GRU": partial(layer, kind=nn.GRU),
    "LSTM chrono": partial(layer, kind=nn.LSTM, chrono=True),
    "GRU chrono": partial(layer, kind=nn.GRU, chrono=True),
    "without attention": translator,
    "attention": partial(translator, attend="after"),
    "attention before": partial(translator, attend="before"),
    "attention fed": partial(translator, attend="feeding"),
}
ROWS: dict[tuple[str, int], Row] = {
    **{
        ("adding", lag): Row(lab.Adding(lag), 32, limit, lag)
        for lag, limit in ((50, 60_000), (100, 60_000), (200, 40_000), (400, 30_000))
    },
    **{
        ("order", lag): Row(lab.TemporalOrder(lag), 16, limit, lag)
        for lag, limit in ((20, 40_000), (50, 40_000), (100, 40_000), (200, 20_000), (400, 20_000))
    },
    ("reber", 0): Row(lab.EmbeddedReber(), 16, 40_000, 20),
    ("dyck", 0): Row(lab.Dyck(40, max_depth=8), 32, 40_000, 40),
    ("dates", 0): Row(lab.Dates(), 64, 60_000, 0, PAIR_RATES),
    **{
        (name, 3): Row(lab.AddNumbers(3, turned), 64, 100_000, 0, PAIR_RATES)
        for name, turned in (("sums", False), ("reversed sums", True))
    },
    **{
        ("copy", lag): Row(lab.CopyMemory(lag), 64, limit, lag + 20, COPY_RATES)
        for lag, limit in ((20, 100_000), (50, 60_000), (100, 60_000))
    },
    # With a rate that falls: what a constant one only comes near.
    ("unseen sums", 3): Row(Sums(3), 64, 256_000, 0, SUM_RATES, 64, True),
    ("unseen reversed sums", 3): Row(Sums(3, True), 64, 128_000, 0, SUM_RATES, 64, True),
    ("falling copy", 20): Row(
        lab.CopyMemory(20), 128, 200_000, 40, {"LSTM chrono": 1e-2, "GRU chrono": 1e-2}, 20, True
    ),
}


def examine(task: Any, learner: nn.Module) -> tuple[float, int]:
    """Loss on 2,560 new sequences, and how many are wrong; translations are written freely."""
    rng, losses, wrong = np.random.default_rng(12345), [], 0
    for _ in range(20):
        if not isinstance(learner, nn.Seq2Seq):
            verdict = lab.judge(task, learner, task.batch(128, rng))
            wrong += int((~verdict.right).sum())
        else:
            pairs = task.pairs(128, rng)
            verdict = lab.judge(task, learner, pairs)
            steps = len(pairs.targets)
            made = learner.generate(pairs.sources, 0, lengths=pairs.lengths, max_steps=steps)
            wrong += int((made.tokens != pairs.targets).any(axis=0).sum())
        losses.append(verdict.loss)
    return float(np.mean(losses)), wrong


def attempt(name: str, lag: int, model: str, seed: int, row: Row) -> dict[str, Any]:
    """One run: what it was, how it went, what came of it."""
    rng = np.random.default_rng(seed)
    made = MODELS[model](row, rng)
    learner = made if isinstance(made, nn.Seq2Seq) else lab.task_model(row.task, made, rng=rng)
    optimizer = optim.Adam(learner.parameters(), lr=row.rates[model])
    run: dict[str, Any] = {
        "task": name,
        "lag": lag,
        "model": model,
        "seed": seed,
        "lr": row.rates[model],
        "hidden": row.hidden,
        "span": row.span if model.endswith("chrono") else None,
        "weights": learner.num_parameters(),
        "limit": row.limit,
        "batch": row.batch,
        "falling": row.falling,
        "trivial": row.task.trivial_loss,
        "solved": None,
        "streak": None,
        "curve": [],
    }
    steps = -(-row.limit // row.batch)
    rate = optim.CosineAnnealingLR(optimizer, steps, run["lr"] / 100) if row.falling else None
    draws = np.random.default_rng([seed, 1])
    start = time.perf_counter()
    for now in lab.learn(row.task, learner, optimizer, draws, batch=row.batch):
        if now.streak >= STREAK and run["streak"] is None:
            run["streak"] = now.sequences
        if now.full and now.loss < SOLVED * row.task.trivial_loss and run["solved"] is None:
            run["solved"] = now.sequences
        last = now.sequences >= row.limit or (run["solved"] and not row.falling)
        if last or now.sequences % (50 * row.batch) == 0:
            run["curve"].append((now.sequences, round(now.loss, 6)))
        if last:
            break
        if rate is not None:
            rate.step()
    asked = replace(row.task, kept=True) if isinstance(row.task, Sums) else row.task
    run["loss"], run["wrong"] = examine(asked, learner)
    run["seconds"] = round(time.perf_counter() - start, 1)
    return run


def read(path: Path) -> list[dict[str, Any]]:
    """All runs so far."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def cell(runs: list[dict[str, Any]]) -> str:
    """The runs of one model on one row: what is left of the trivial loss, and when solved."""
    if not runs:
        return ""
    left = float(np.median([run["loss"] / run["trivial"] for run in runs]))
    text = f"{left:.0%}" if left > 0.1 else f"{left:.1%}"
    solved = sorted(run["solved"] for run in runs if run["solved"])
    text += f", {len(solved)}/{len(runs)}"
    if not solved:
        return text
    first, last = f"{solved[0]:,}", f"{solved[-1]:,}"
    return f"{text} at {first}" + (f" to {last}" if last != first else "")


def table(runs: list[dict[str, Any]]) -> str:
    """Markdown: a row per task and lag, a column per model."""
    models = [model for model in MODELS if any(run["model"] == model for run in runs)]
    lines = ["| task | trivial | " + " | ".join(models) + " |", "|---" * (len(models) + 2) + "|"]
    for name, lag in dict.fromkeys((run["task"], run["lag"]) for run in runs):
        same = [run for run in runs if (run["task"], run["lag"]) == (name, lag)]
        cells = [cell([run for run in same if run["model"] == model]) for model in models]
        lines.append(
            f"| {name} {lag or ''} | {same[0]['trivial']:.4f} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def plot(runs: list[dict[str, Any]], path: Path) -> None:
    """A panel per lag of the two tasks that have several, a curve per run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6), layout="constrained")
    panels = [(name, lag) for name in ("adding", "order") for lag in (50, 100, 200, 400)]
    for axes, (name, lag) in zip(figure.subplots(2, 4, sharey=True).flat, panels, strict=True):
        for model, colour in COLOURS.items():
            mine = [r for r in runs if (r["task"], r["lag"], r["model"]) == (name, lag, model)]
            for k, run in enumerate(mine):
                seen, losses = np.transpose(run["curve"][1:])
                label = None if k else model
                axes.semilogy(seen, losses / run["trivial"], color=colour, lw=1.2, label=label)
        axes.axhline(1.0, color="0.4", ls=(0, (6, 3)), lw=0.8)
        axes.axhline(SOLVED, color="0.7", ls=":", lw=0.8)
        axes.set_title(f"{name}, T = {lag}", loc="left", fontsize=10)
        axes.set(ylim=(2e-2, 3), xlim=(0, 40_000))
        axes.xaxis.set_major_formatter(lambda n, _: f"{n / 1000:g}k")
        axes.spines[["top", "right"]].set_visible(False)
        if lag == 50:
            axes.set(ylabel="loss / trivial loss")
        if (name, lag) == ("adding", 50):
            axes.legend(frameon=False, fontsize=8)
    figure.supxlabel("sequences seen", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Run what is asked for and not there yet; print the table."""
    parser = argparse.ArgumentParser(description="long-lag experiments")
    parser.add_argument("--task", choices=sorted({name for name, _ in ROWS}))
    parser.add_argument("--lag", type=int, help="one lag only")
    parser.add_argument("--model", choices=MODELS, help="one model only")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--lr", type=float, help="in place of the row's")
    parser.add_argument("--hidden", type=int, help="in place of the row's")
    parser.add_argument("--span", type=int, help="in place of the row's")
    parser.add_argument("--limit", type=int, help="in place of the row's")
    parser.add_argument("--batch", type=int, help="in place of the row's")
    parser.add_argument("--falling", action="store_true", default=None, help="let the rate fall")
    parser.add_argument("--out", type=Path, default=Path("runs/long_lags.jsonl"))
    parser.add_argument("--table", action="store_true", help="print the results so far and stop")
    parser.add_argument("--plot", type=Path, help="draw the results so far there")
    options = parser.parse_args()
    runs = read(options.out)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    known = {(run["task"], run["lag"], run["model"], run["seed"]) for run in runs}
    for (name, lag), row in [] if options.table else ROWS.items():
        if options.task not in (None, name) or options.lag not in (None, lag):
            continue
        fields = ("hidden", "limit", "span", "batch", "falling")
        changed = {field: getattr(options, field) for field in fields}
        row = row._replace(**{k: v for k, v in changed.items() if v is not None})
        models = [*row.rates] if options.model is None else [options.model]
        if options.lr is not None:
            row = row._replace(rates=dict.fromkeys(models, options.lr))
        if not row.rates.keys() >= set(models):
            parser.error(f"{name} {lag} has no rate for {options.model}: give one by --lr")
        for model in models:
            for seed in options.seeds:
                if (name, lag, model, seed) in known:
                    print(f"{name} {lag} {model} seed {seed} is in {options.out}")
                    continue
                run = attempt(name, lag, model, seed, row)
                runs.append(run)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(run) + "\n")
                print(
                    f"{name} {lag} {model} seed {seed} lr {run['lr']:g}: "
                    f"loss {run['loss']:.4f} of "
                    f"{run['trivial']:.4f}, solved {run['solved']}, wrong {run['wrong']} of 2560, "
                    f"{run['seconds']} s",
                    flush=True,
                )
    print(table(runs))
    if options.plot is not None:
        plot(runs, options.plot)


if __name__ == "__main__":
    main()
