"""Long lags: what an LSTM remembers and a plain RNN does not, task by task and lag by lag.

    python demos/long_lags.py            # some ten minutes; results and a picture go to runs/
    python demos/long_lags.py --fast
    python demos/long_lags.py --seeds 3

Every run trains on sequences that never repeat, and is tested now and then on 1,000 others. A task
counts as solved when it is far below its trivial loss, that of the best predictor that remembers
nothing; a curve at the dashed line has learnt nothing that matters.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim
from tinygrad_seq.data.grammars import EmbeddedReber
from tinygrad_seq.data.tasks import IGNORE, Adding, CopyMemory, TemporalOrder

MODELS = {  # forget bias and learning rates; of several rates the one that does best counts
    "RNN": (None, (1e-2, 1e-3), "#b03a2e"),
    "LSTM": (1.0, (1e-2,), "#6ba3d6"),
    "LSTM-5": (5.0, (1e-2,), "#14457e"),
}
SOLVED = 0.06  # of the trivial loss; for adding that is a squared error of 0.01
EXPERIMENTS = {  # (title, task by lag, lags, hidden units, most updates)
    "adding": ("adding two of T numbers", Adding, (50, 100), 32, 2000),
    "order": ("temporal order of two marks", TemporalOrder, (20, 60, 100), 16, 1500),
    "copy": ("copying 5 symbols of 8", lambda lag: CopyMemory(lag, width=5), (10, 30), 48, 1500),
    "reber": ("embedded Reber: the last T or P", lambda _: EmbeddedReber(), (0,), 16, 800),
}
FAST = {
    "adding": ("adding two of T numbers", Adding, (16,), 16, 300),
    "order": ("temporal order of two marks", TemporalOrder, (20,), 12, 150),
    "copy": ("copying 2 symbols of 3", lambda lag: CopyMemory(lag, 3, 2), (4,), 16, 300),
    "reber": ("embedded Reber: the last T or P", lambda _: EmbeddedReber(), (0,), 12, 150),
}


@dataclass
class Run:
    """One training run; `losses` are test losses relative to the trivial one."""

    task: str
    lag: int
    model: str
    seed: int
    lr: float
    trivial: float
    seen: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    @property
    def solved_after(self) -> int | None:
        """Sequences seen when the test loss first was SOLVED times the trivial loss."""
        done = [n for n, loss in zip(self.seen, self.losses, strict=True) if loss < SOLVED]
        return done[0] if done else None


class Reader(nn.Module):
    """A recurrent layer and a readout."""

    def __init__(self, kind: str, task: Any, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        bias = MODELS[kind][0]
        self.rnn: nn.RNN | nn.LSTM
        if bias is None:
            self.rnn = nn.RNN(task.input_size, hidden, rng=rng)
        else:
            self.rnn = nn.LSTM(task.input_size, hidden, forget_bias=bias, rng=rng)
        self.head = nn.Linear(hidden, task.output_size, rng=rng)

    def forward(self, inputs: Any) -> Any:
        return self.head(self.rnn(inputs)[0])


def loss_of(task: Any, model: Reader, inputs: Any, targets: Any, *, test: bool = False) -> Any:
    """Mean squared error for numbers, cross-entropy in nats for classes."""
    outputs = model(inputs)
    if isinstance(task, Adding):
        return tgs.mse_loss(outputs[-1][:, 0], targets)
    if targets.ndim == 1:
        return tgs.cross_entropy(outputs[-1], targets)
    if test and isinstance(task, EmbeddedReber):  # only there memory is needed
        targets = np.where(task.closing(targets), targets, IGNORE)
    return tgs.cross_entropy(outputs, targets)


def train(name: str, table: Any, lag: int, kind: str, seed: int, lr: float) -> Run:
    """Train until solved, or for as many updates as the experiment allows."""
    _, make, _, hidden, updates = table[name]
    task = make(lag)
    run = Run(name, lag, kind, seed, lr, task.trivial_loss)
    model = Reader(kind, task, hidden, np.random.default_rng(seed))
    optimizer = optim.Adam(model.parameters(), lr=lr)
    rng, test = np.random.default_rng([seed, 1]), task.batch(1000, np.random.default_rng(12345))
    for update in range(1, updates + 1):
        loss = loss_of(task, model, *task.batch(32, rng))
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if update % max(1, updates // 30) == 0:
            with tgs.no_grad():
                value = loss_of(task, model, *test, test=True).item()
            run.seen.append(32 * update)
            run.losses.append(value / task.trivial_loss)
            if run.losses[-1] < SOLVED / 4:
                break
    return run


def draw(runs: list[Run], table: Any, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    styles = ("-", "--", ":")
    for axes, name in zip(figure.subplots(2, 2).flat, table, strict=True):
        title, _, lags, *_ = table[name]
        for run in (run for run in runs if run.task == name):
            first = run.seed == runs[0].seed
            label = f"{run.model}, {run.lag}" if run.lag else run.model
            style = {"color": MODELS[run.model][2], "ls": styles[lags.index(run.lag)], "lw": 1.8}
            axes.semilogy(run.seen, run.losses, label=label if first else None, **style)
        axes.axhline(1.0, color="0.4", ls=(0, (6, 3)), lw=1)
        axes.axhline(SOLVED, color="0.7", ls=":", lw=1)
        axes.set_title(title, loc="left")
        axes.set(xlabel="sequences seen", ylabel="test loss / trivial loss", ylim=(5e-3, 90))
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fast", action="store_true", help="short lags, few units")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind")
    parser.add_argument("--only", choices=EXPERIMENTS, help="one task alone")
    parser.add_argument("--out", type=Path, default=Path("runs/long_lags.png"))
    options = parser.parse_args(arguments)
    table = FAST if options.fast else EXPERIMENTS

    print("task      lag model  seed     lr  trivial     best  solved after")
    runs = []
    for name in [options.only] if options.only else table:
        for lag in table[name][2]:
            for kind, (_, rates, _) in MODELS.items():
                for seed in range(options.seeds):
                    tried = [train(name, table, lag, kind, seed, lr) for lr in rates]
                    run = min(tried, key=lambda run: (run.solved_after or 10**9, min(run.losses)))
                    runs.append(run)
                    best = min(run.losses) * run.trivial
                    after = f"{run.solved_after} sequences" if run.solved_after else "-"
                    start = (
                        f"{name:8} {lag or '':4} {kind:6} {seed:4} {run.lr:6} {run.trivial:8.4f}"
                    )
                    print(f"{start} {best:8.4f}  {after}", flush=True)
    draw(runs, table, options.out)
    options.out.with_suffix(".json").write_text(json.dumps([asdict(run) for run in runs]))
    print(
        "\nLook for: a curve on the dashed line remembers nothing. Which model gets below it, and\n"
        "how soon, depends on the lag and on how far its forget gates are open at the start\n"
        f"(LSTM-5: a forget bias of 5 in place of 1). -> {options.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
