"""Write, train, sample and draw a character LSTM: the whole of tinygrad_seq in one short script.

    python demos/char_lm.py                          # two minutes on the text that Python carries
    python demos/char_lm.py --text my.txt --hidden 256 --layers 1 --minutes 5
    python demos/char_lm.py --fast                   # fewer units and updates: a few seconds
    python demos/char_lm.py --help

It takes the options of ``python -m tinygrad_seq train`` and does the same job; only the loop is
spelt out here. Results (report.html, cells.html, loss.png, unrolled.svg, samples, checkpoints) go
to runs/.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import charlm, optim, train
from tinygrad_seq.charlm import commands


def show_one_update(run: charlm.CharRun) -> None:
    """One update by hand, on copies: what `train.tbptt` does for every window."""
    model = charlm.CharLM(len(run.vocabulary), 16, 1, rng=np.random.default_rng(0))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    tokens, targets, _ = next(run.windows())  # (T, N) integers: targets are one character ahead
    logits, state = model(tokens)  # (T, N, V) and the state after the window
    loss = tgs.cross_entropy(logits, targets)  # mean over T and N, in nats
    loss.backward()  # back through T steps of time
    clip = optim.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    state = state.detach()  # the truncation: the next window starts here, its gradient stops here

    uniform = np.log(len(run.vocabulary))
    print(
        f"by hand  loss {loss.item():.3f} nats before learning (guessing costs {uniform:.3f}), "
        f"gradient norm {clip.norm:.2f} clipped to {clip.norm_after:.2f}\n"
        f"         state h {state.h.shape} and c {state.c.shape} go on to the next window\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Parse the options and run the demo; returns the exit status."""
    parser = commands.train_parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--fast",
        dest="preset",
        action="store_const",
        const="fast",
        default=argparse.SUPPRESS,
        help="the same as --preset fast",
    )
    return commands.guarded(demo, parser.parse_args(arguments))


def demo(options: argparse.Namespace) -> int:
    """Train as the options say, and write the report."""
    run = commands.open_run(
        options
    )  # text, vocabulary, streams, model, optimiser; or a resumed run
    folder = commands.folder_of(options, run)
    commands.announce(run, folder)
    show_one_update(run)

    updates = train.tbptt(
        run.model,
        run.windows(),
        run.optimizer,
        k=run.options.seq_length,
        state=run.state,
        step=run.step,
        **run.clipping(),
    )
    with charlm.Monitor(run, folder, bar=False if options.quiet else None) as monitor:
        while monitor.goes_on():  # time or steps left, and no Ctrl-C
            run.set_learning_rate()
            report = next(updates)  # forward, backward, clip, step, detach
            monitor.record(report, updates.state)  # validates, samples and saves now and then
    return commands.finish(run, folder, monitor.outcome)


if __name__ == "__main__":
    sys.exit(main())
