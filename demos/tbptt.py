"""What truncation costs, and what it saves: gradient error, time and memory against k2.

    python demos/tbptt.py            # ten seconds; the picture goes to runs/tbptt.png
    python demos/tbptt.py --fast

A character LSTM is trained a little, so that it has something to remember. Then, with its weights
held fixed, the gradient of TBPTT(k1, k2) over one long window (every k1 steps, back through the
last k2) is compared with full backpropagation through time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import demokit
import numpy as np
from lab import Comparison, compare_truncations, truncated_bptt

import tinygrad_seq as tgs
from tinygrad_seq import charlm, data, optim, train


def scalar_trap() -> None:
    """x_{t+1} = w x_t with w = 0.2 and x_0 = 0.9: the smallest sequence that can go wrong."""
    w = tgs.tensor(np.array(0.2), requires_grad=True)

    def model(inputs: Any, x: Any) -> tuple[Any, Any]:
        outputs = []
        for _ in inputs:
            x = w * x
            outputs.append(x)
        return tgs.stack(outputs), x

    print("d x_t / d w at t = 1, 2, 3 (x_{t+1} = w x_t)")
    for k2 in (1, 2, 3):
        found = []
        start = tgs.tensor(np.array(0.9))
        window = [(np.zeros(3), np.zeros(3))]
        for _ in truncated_bptt(model, window, 1, k2, state=start, loss=lambda y, _: y.sum()):
            found.append(float(w.grad))
            w.grad = None
        print(f"  k2 = {k2}:  " + "  ".join(f"{value:.3f}" for value in found))
    print("  0.288 at t = 3 is what stale gradients add up to; it is wrong for every k2\n")


def trained(hidden: int, updates: int) -> tuple[charlm.CharLM, data.Streams]:
    """A character model in float64, trained for a moment on the text that Python carries."""
    text = data.pydoc_topics()[:100_000]
    vocabulary = data.Vocabulary.from_text(text)
    streams = data.Streams(vocabulary.encode(text), streams=16)
    rng = np.random.default_rng(0)
    model = charlm.CharLM(len(vocabulary), hidden, 1, rng=rng, dtype=np.float64)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    steps = train.tbptt(model, streams.windows(40), optimizer, k=40, clip_norm=1.0)
    losses = [report.loss for report, _ in zip(steps, range(updates), strict=False)]
    print(f"trained for {len(losses)} updates: {losses[0]:.2f} -> {losses[-1]:.2f} nats")
    return model, streams


def draw(chunks: list[Comparison], fixed: list[Comparison], path: Path) -> None:
    from matplotlib.ticker import NullLocator, ScalarFormatter

    figure = demokit.figure(13, 4.6)
    error, seconds, memory = figure.subplots(1, 3)
    named = (
        (chunks, demokit.BLUE, "k1 = k2: cut and go on"),
        (fixed, demokit.RED, f"k1 = {fixed[0].k1}"),
    )
    for found, colour, label in named:
        k2 = [each.k2 for each in found]
        shown = [max(each.error, 1e-16) for each in found]
        error.loglog(k2, shown, "o-", color=colour, label=label)
        seconds.semilogx(k2, [each.seconds for each in found], "o-", color=colour, label=label)
        megabytes = [each.peak_bytes / 1e6 for each in found]
        memory.loglog(k2, megabytes, "o-", color=colour, label=label)
    error.set(title="relative error of the gradient", ylabel="|| g - g_full || / || g_full ||")
    seconds.set(title="time for the whole window", ylabel="seconds")
    memory.set(title="peak memory", ylabel="megabytes")
    seconds.set_ylim(bottom=0)
    memory.yaxis.set_major_formatter(ScalarFormatter())
    memory.yaxis.set_minor_formatter(ScalarFormatter())
    memory.tick_params(axis="y", which="minor", labelsize=8)
    for axes in (error, seconds, memory):
        axes.set_xlabel("k2: steps a gradient goes back")
        axes.set_xticks([each.k2 for each in chunks], [str(each.k2) for each in chunks])
        axes.xaxis.set_minor_locator(NullLocator())
    error.legend(frameon=False)
    demokit.tidy(error, seconds, memory)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "tbptt", "a smaller model, a shorter window")
    options = parser.parse_args(arguments)
    hidden, updates, steps, k1 = (8, 8, 32, 4) if options.fast else (64, 150, 320, 10)

    scalar_trap()
    model, streams = trained(hidden, updates)
    window = next(streams.windows(steps))
    lengths = [k1 * 2**n for n in range(20) if k1 * 2**n < steps] + [steps]
    pairs = [(k, k) for k in lengths] + [(k1, k) for k in lengths]
    found = compare_truncations(model, *window, pairs)
    chunks = [each for each in found if each.k1 == each.k2]
    fixed = [each for each in found if each.k1 == k1]

    print(f"\n{'k1':>5} {'k2':>5} {'error':>9} {'cosine':>8} {'seconds':>8} {'peak MB':>8}")
    for each in found:
        print(
            f"{each.k1:5} {each.k2:5} {each.error:9.2g} {each.cosine:8.4f} "
            f"{each.seconds:8.3f} {each.peak_bytes / 1e6:8.2f}"
        )
    draw(chunks, fixed, options.out)
    demokit.look_for(
        f"the error falls with k2 and is rounding at k2 = T = {steps}; memory grows with\n"
        "k2 and not with the sequence. For the same k2, small k1 is more exact (every loss goes\n"
        "back through k2 - k1 + 1 steps at least, with k1 = k2 some through one only) and costs\n"
        "up to k2 / k1 times the work. Times are of one run each: on a busy machine, noise.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
