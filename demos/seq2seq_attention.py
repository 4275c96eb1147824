"""Dates from words to ISO 8601, with attention: where a translator looks while it writes.

    python demos/seq2seq_attention.py            # half a minute; the picture goes to runs/
    python demos/seq2seq_attention.py --fast
    python demos/seq2seq_attention.py --updates 6000
    python demos/seq2seq_attention.py --attend before

``Sat,_Oct_9,_1993=`` is to become ``1993-10-09``. An encoder reads the source both ways; a decoder
writes the answer character by character, and for each one looks the source up again (Bahdanau et
al., 2015; Luong et al., 2015). Beside it learns a twin without attention, which has to pass all it
read through one last state. No date of the test set is seen in training, in any way of writing it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import demokit
import numpy as np
from lab import Dates

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz

TASK = Dates()
SYMBOLS = TASK.input_size
STOP = 0  # the symbol for nothing: it starts an answer and ends it


class Pairs(NamedTuple):
    """N questions and answers; `given` is what the decoder reads, one symbol behind `targets`."""

    sources: Any  # (S, N)
    lengths: Any  # (N,)
    given: Any  # (T, N)
    targets: Any  # (T, N)

    def rows(self, which: Any) -> Pairs:
        """Some of them, without padding that they do not need."""
        lengths = self.lengths[which]
        sources = self.sources[: lengths.max(), which]
        return Pairs(sources, lengths, self.given[:, which], self.targets[:, which])


def drawn(count: int, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
    """Pairs to train on and pairs to test with; no date is in both."""
    sources, lengths, answers = TASK.pairs(count, rng)
    stop = np.full((1, count), STOP)
    pairs = Pairs(sources, lengths, np.append(stop, answers, 0), np.append(answers, stop, 0))
    date = np.unique(answers, axis=1, return_inverse=True)[1].reshape(-1)
    held_out = rng.random(date.max() + 1)[date] < 0.1
    return pairs.rows(~held_out), pairs.rows(held_out)


def translator(hidden: int, attend: str | None) -> nn.Seq2Seq:
    """A GRU in both directions, and one that writes, with or without additive attention."""
    made: dict[str, Any] = {"rng": np.random.default_rng(1)}
    attention = nn.AdditiveAttention(hidden, 2 * hidden, hidden, **made) if attend else None
    when = attend or "after"
    fed = nn.Decoder.fed_size_of(when, hidden, 2 * hidden)
    layer = nn.GRU(SYMBOLS + fed, hidden, **made)
    writer = nn.Decoder(layer, SYMBOLS, attention, 2 * hidden, attend=when, **made)
    return nn.Seq2Seq(nn.GRU(SYMBOLS, hidden, bidirectional=True, **made), writer, **made)


def right(model: nn.Seq2Seq, pairs: Pairs) -> tuple[float, float]:
    """The shares of characters, and of whole answers, that are right when written greedily."""
    made = model.generate(pairs.sources, STOP, lengths=pairs.lengths, end=STOP, max_steps=11)
    answers = np.full_like(pairs.targets, STOP)
    answers[: len(made.tokens)] = made.tokens
    hit = answers[:10] == pairs.targets[:10]
    return float(hit.mean()), float(hit.all(axis=0).mean())


def train(model: nn.Seq2Seq, pairs: Pairs, test: Pairs, updates: int, rows: int, lr: float) -> Any:
    """Teacher forcing: each symbol is asked for after the *right* ones before it.

    The curve is measured on 100 pairs of the test, its last point on all of them.
    """
    rng = np.random.default_rng(2)

    def loss() -> tgs.Tensor:
        batch = pairs.rows(rng.integers(0, len(pairs.lengths), rows))
        logits = model(batch.sources, batch.given, lengths=batch.lengths).logits
        return tgs.cross_entropy(logits, batch.targets)

    return np.array(
        [
            (update, *right(model, test if update == updates else test.rows(slice(100))))
            for update, _ in demokit.updates(model, loss, updates, lr)
            if update % max(1, updates // 20) == 0 or update == updates
        ]
    )


def one_of_each(pairs: Pairs) -> Pairs:
    """The first of each way of writing a date."""
    found: dict[str, int] = {}
    for n, tokens in enumerate(pairs.sources.T):
        found.setdefault(re.sub("[a-z]+", "a", re.sub(r"\d+", "9", text(tokens).lower())), n)
    return pairs.rows(np.array(list(found.values())))


def text(tokens: Any) -> str:
    return TASK.decode(tokens)


def show_decoding(model: nn.Seq2Seq, pairs: Pairs) -> None:
    """The same questions answered greedily, by beam search and by drawing."""
    given = (pairs.sources, STOP)
    options: dict[str, Any] = {"lengths": pairs.lengths, "end": STOP, "max_steps": 11}
    greedy = model.generate(*given, **options)
    beam = model.beam_search(*given, width=5, **options)
    hot = model.generate(*given, temperature=2.0, rng=np.random.default_rng(0), **options)
    print(f"\n{'source':32} {'greedy':12} {'beam of 5':12} {'probability':12} drawn, temperature 2")
    for n, source in enumerate(pairs.sources.T):
        answers = [text(made.tokens[:, n]) for made in (greedy, beam, hot)]
        chance = np.exp(beam.log_probability[n])
        print(f"{text(source):32} {answers[0]:12} {answers[1]:12} {chance:<12.4f} {answers[2]}")


def draw(model: nn.Seq2Seq, pairs: Pairs, curves: dict[str, Any], path: Path) -> None:
    """Six alignments, one for each way of writing, and both learning curves."""
    with tgs.no_grad():
        weights = model(pairs.sources, pairs.given, lengths=pairs.lengths).weights
    assert weights is not None
    names = [
        (text(x[:n]), text(y))
        for x, n, y in zip(pairs.sources.T, pairs.lengths, pairs.targets.T, strict=True)
    ]
    figure = demokit.figure(14, 8.5)
    grid = figure.add_gridspec(3, 3, width_ratios=[1, 1, 0.62])
    figure.suptitle("rows: the answer; columns: the source; dark: looked at while that was written")
    for n, (source, answer) in enumerate(names):
        axes = figure.add_subplot(grid[n // 2, n % 2])
        seen = weights.numpy()[n, : len(answer), : len(source)]
        demokit.matrix(axes, seen, source.replace("_", "␣"), answer)
    curve = figure.add_subplot(grid[:, 2])
    for (name, found), colour in zip(curves.items(), (demokit.BLUE, demokit.RED), strict=True):
        update, characters, answers = found.T
        curve.plot(update, answers, "o-", ms=3, lw=1.8, color=colour, label=f"dates, {name}")
        curve.plot(update, characters, ":", lw=1.8, color=colour, label=f"characters, {name}")
    curve.set(xlabel="updates", ylim=(-0.02, 1.02))
    curve.set_title("right, of 100 held-out dates (last point: of all)", loc="left", fontsize=10)
    curve.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    curve.legend(frameon=False, loc=(0.28, 0.15))
    demokit.tidy(curve)
    demokit.save(figure, path)
    drawing = viz.draw_alignment(weights, *names[0], sample=0)
    drawing.save(path.with_name(f"{path.stem}-one.svg"))


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "seq2seq_attention", "fewer units and updates")
    parser.add_argument("--updates", type=int, help="for each model (default: 400, fast 200)")
    parser.add_argument("--attend", choices=("after", "feeding", "before"), default="after")
    options = parser.parse_args(arguments)
    hidden, updates, rows, lr = (48, 200, 32, 1e-2) if options.fast else (64, 400, 64, 5e-3)
    updates = options.updates or updates

    pairs, test = drawn(4_000 if options.fast else 30_000, np.random.default_rng(0))
    print(
        f"{len(pairs.lengths)} pairs to train on, {len(test.lengths)} of other dates to test with\n"
    )
    curves, models = {}, {}
    for name in ("with attention", "without"):
        model = models[name] = translator(hidden, None if name == "without" else options.attend)
        curves[name] = train(model, pairs, test, updates, rows, lr)
        characters, answers = curves[name][-1, 1:]
        print(f"{name:15} {answers:6.1%} of the dates right, {characters:6.1%} of the characters")
    show_decoding(models["with attention"], one_of_each(test))
    draw(models["with attention"], one_of_each(test), curves, options.out)
    demokit.look_for(
        "the year is read last and written first, so the dark cells start at the\n"
        "right and jump back to the left. A month is known by two or three of its letters; in the\n"
        "full run the hyphens, which need nothing from the source, look at its end. One of the\n"
        "six, with its weights in figures, is in the picture's -one.svg.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
