"""Time and memory of drawing a recorded LSTM in its elided view, for growing T.

``python -m benchmarks.drawing`` prints, for each T: nodes recorded, memory of the recorded graph,
time to make the DOT text, the most memory that took at any moment, time to render it as SVG.
Seconds of drawing are those of the processor, which other programs do not lengthen.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz
from tinygrad_seq.viz.graph.survey import Survey

LENGTHS = (10, 100, 1_000, 10_000)


def record(steps: int, hidden: int, batch: int) -> tuple[nn.Module, tgs.Tensor]:
    """The loss of a composed two-layer LSTM, with everything that it recorded."""
    rng = np.random.default_rng(0)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(65, hidden, num_layers=2, rng=rng)
            self.head = nn.Linear(hidden, 65, rng=rng)

    model = Model()
    tokens = rng.integers(0, 65, (steps, batch))
    with tgs.composed():
        y, _ = model.rnn(tokens)
        return model, tgs.cross_entropy(model.head(y), tokens)


def measure(steps: int, hidden: int, batch: int, level: str) -> tuple[float, ...]:
    """Seconds and megabytes of one drawing."""
    tracemalloc.start()
    model, loss = record(steps, hidden, batch)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    drawing = viz.draw(loss, view="elided", level=level)
    peak = tracemalloc.get_traced_memory()[1] - held
    tracemalloc.stop()
    begin = time.process_time()
    drawing = viz.draw(loss, view="elided", level=level)
    drawn = time.process_time() - begin
    begin = time.perf_counter()
    drawing.svg()
    rendered = time.perf_counter() - begin
    del model
    return (
        len(Survey([loss.node]).nodes),
        held / 1e6,
        drawn,
        peak / 1e6,
        rendered,
        len(drawing.dot) / 1e3,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--level", default="module", choices=["module", "cell", "op"])
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    options = parser.parse_args()
    print(f"two-layer LSTM, hidden {options.hidden}, batch {options.batch}, {options.level} level")
    print(
        f"{'T':>7}{'nodes':>10}{'graph MB':>10}{'draw s':>9}{'extra MB':>10}{'extra %':>9}"
        f"{'svg s':>8}{'DOT kB':>8}"
    )
    for steps in options.lengths:
        count, held, drawn, peak, rendered, size = measure(
            steps, options.hidden, options.batch, options.level
        )
        print(
            f"{steps:>7,}{count:>10,.0f}{held:>10.1f}{drawn:>9.3f}{peak:>10.2f}"
            f"{100 * peak / held:>9.1f}{rendered:>8.2f}{size:>8.1f}"
        )


if __name__ == "__main__":
    main()
