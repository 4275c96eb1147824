"""A cliff, and five ways of going down it: what gradient clipping does to the step.

    python demos/clipping.py            # a few seconds; the picture goes to runs/clipping.png
    python demos/clipping.py --fast
    python demos/clipping.py --starts 12    # from as many starts, as a table: half a minute

A recurrent network of a single unit, x_t = w sigmoid(x_{t-1}) + b with x_0 = 1/2, is to end at
sigmoid(x_50) = 0.7 (after Pascanu, Mikolov and Bengio, 2013). Its error surface over (w, b) has a
wall: there the network tips from one fixed point to another, and fifty steps multiply the slope.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demokit
import numpy as np
from lab import clip_grad_adaptive_, clip_grad_squared_norm_

import tinygrad_seq as tgs
from tinygrad_seq import optim

STEPS, TARGET, START = 50, 0.7, (6.2, -2.8)
MAP = (3.6, -3.5), (6.6, -1.3)  # the corners of what is drawn of (w, b)
RULES: dict[str, tuple[Callable[[Any, float], Any], float, str]] = {
    "no clipping": (optim.clip_grad_norm_, np.inf, demokit.RED),
    "by norm, 0.1": (optim.clip_grad_norm_, 0.1, demokit.BLUE),
    "by value, 0.1": (optim.clip_grad_value_, 0.1, demokit.GREEN),
    "squared norm, 0.01": (clip_grad_squared_norm_, 0.01, demokit.PURPLE),
    "adaptive, 0.02": (clip_grad_adaptive_, 0.02, demokit.ORANGE),
}


def error(w: Any, b: Any) -> tgs.Tensor:
    """The squared error of one or many networks (w and b of any shape)."""
    x = tgs.tensor(np.full(np.shape(w), 0.5))
    for _ in range(STEPS):
        x = w * tgs.sigmoid(x) + b
    return tgs.square(tgs.sigmoid(x) - TARGET)


def descend(
    clip: Callable[[Any, float], Any], bound: float, updates: int, start: Any = START
) -> dict[str, Any]:
    """Plain gradient descent; the path, the errors and the norms of the gradients."""
    w, b = (tgs.tensor(np.array(value), requires_grad=True) for value in start)
    optimizer = optim.SGD([w, b], lr=1.0)
    path, errors, norms = [tuple(start)], [], []
    for _ in range(updates):
        loss = error(w, b)
        loss.backward()
        norms.append(clip([w, b], bound).norm)
        errors.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        path.append((w.item(), b.item()))
    return {"path": np.array(path), "errors": np.array(errors), "norms": np.array(norms)}


def left(run: dict[str, Any]) -> bool:
    """Whether a path ends outside the map."""
    low, high = MAP
    return not np.all((low < run["path"][-1]) & (run["path"][-1] < high))


def from_many_starts(count: int, updates: int) -> None:
    """Print how each rule fares from starts moved by a hair: one path alone may be luck."""
    starts = START + 0.02 * np.random.default_rng(0).standard_normal((count, 2))
    print(f"{'rule':20} least error: best   median    worst   last, median   left the map")
    for name, (clip, bound, _) in RULES.items():
        runs = [descend(clip, bound, updates, start) for start in starts]
        least = np.array([run["errors"].min() for run in runs])
        last = np.median([run["errors"][-1] for run in runs])
        print(
            f"{name:20}{least.min():18.0e}{np.median(least):9.0e}{least.max():9.0e}{last:15.0e}"
            f"{sum(map(left, runs)):15}"
        )


def sizes(clip: Callable[[Any, float], Any], bound: float, before: Any) -> list[float]:
    """Norm after clipping, for gradients of growing norm."""
    after = []
    for size in before:
        p = tgs.tensor(np.zeros(2), requires_grad=True)
        p.grad = size * np.array([0.6, 0.8])
        after.append(clip(p, bound).norm_after)
    return after


def draw(runs: dict[str, dict[str, Any]], resolution: int, path: Path) -> None:
    """The surface with each rule's path on it; the errors; and what the rules make of a norm."""
    figure = demokit.figure(15, 7.6)
    grid = figure.add_gridspec(2, 10, height_ratios=[1.2, 1])
    low, high = MAP
    w, b = np.meshgrid(*(np.linspace(a, z, resolution) for a, z in zip(low, high, strict=True)))
    with tgs.no_grad():
        height = error(w, b).numpy()
    for k, (name, run) in enumerate(runs.items()):
        colour, steps = RULES[name][2], run["path"]
        axes = figure.add_subplot(grid[0, 2 * k : 2 * k + 2])
        extent = (low[0], high[0], low[1], high[1])
        axes.imshow(height, origin="lower", extent=extent, cmap="Greys", aspect="auto", alpha=0.65)
        axes.plot(*steps.T, "-", color=colour, lw=1.3)
        axes.plot(*START, "*", color="white", ms=15, mec="k")
        axes.plot(*steps[-1], "o", color=colour, ms=9, mec="white")
        gone = ": gone" if left(run) else ""
        axes.set_title(name + gone, color=colour)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xticks=(4, 5, 6), xlabel="w")
        axes.set(yticks=(-3, -2), ylabel="b") if not k else axes.set(yticks=())
    figure.suptitle("one path per rule over the error (dark: high), from the star to the dot")
    curves, rules = figure.add_subplot(grid[1, :5]), figure.add_subplot(grid[1, 5:])
    for name, run in runs.items():
        least = np.minimum.accumulate(run["errors"])
        curves.semilogy(least, color=RULES[name][2], lw=1.8, label=name)
    curves.set(xlabel="update", ylabel="error")
    curves.set_title("the least error so far", loc="left")
    curves.legend(frameon=False, fontsize=9)
    before = np.geomspace(0.5, 60, 120)
    for name, clip, colour in [
        ("by value", optim.clip_grad_value_, RULES["by value, 0.1"][2]),
        ("by norm", optim.clip_grad_norm_, RULES["by norm, 0.1"][2]),
        ("squared norm (the snippet)", clip_grad_squared_norm_, demokit.PURPLE),
    ]:
        rules.loglog(before, sizes(clip, 5.0, before), color=colour, lw=2, label=name)
    rules.axhline(5.0, color="0.6", ls=":", lw=1)
    rules.set(xlabel="norm of the gradient", ylabel="norm after clipping")
    rules.set_title("threshold 5: the snippet inverts instead of bounding", loc="left")
    rules.legend(frameon=False, fontsize=9, loc="lower left")
    demokit.tidy(curves, rules)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "clipping", "fewer updates, a coarser surface")
    parser.add_argument("--starts", type=int, default=0, help="only a table, from so many starts")
    options = parser.parse_args(arguments)
    updates, resolution = (60, 80) if options.fast else (200, 400)
    if options.starts:
        from_many_starts(options.starts, updates)
        return 0

    runs = {name: descend(*rule[:2], updates) for name, rule in RULES.items()}
    print(f"{'rule':20} {'largest norm':>13} {'largest jump':>13} {'last error':>11}")
    for name, run in runs.items():
        jump = np.linalg.norm(np.diff(run["path"], axis=0), axis=1).max()
        print(f"{name:20} {run['norms'].max():13.3g} {jump:13.3g} {run['errors'][-1]:11.2g}")
    print("\nnorm before   3       5      10      50    (threshold 5)")
    for name, rule in (
        ("by norm", optim.clip_grad_norm_),
        ("snippet", clip_grad_squared_norm_),
    ):
        print(f"{name:9}" + "".join(f"{n:8.4g}" for n in sizes(rule, 5.0, (3, 5, 10, 50))))
    draw(runs, resolution, options.out)
    demokit.look_for(
        "one step at the wall throws the unclipped run out of the picture. Clipped\n"
        "runs turn there and follow the valley. The snippet takes its smallest steps where the\n"
        "others are held at the bound.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
