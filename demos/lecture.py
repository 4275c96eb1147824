"""Draws the figures of docs/lecture: graphs from small models, and the demos' own pictures.

    make lecture                              # or: python demos/lecture.py; some minutes
    python demos/lecture.py rolled attention  # these figures only

Seeds are fixed. Graphs are written as SVG, pictures as small PNG, to docs/lecture/figures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import demokit
import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import data, flow, nn, viz

HERE = Path(__file__).resolve().parent.parent / "docs" / "lecture" / "figures"
VOCABULARY, HIDDEN, BATCH, WIDTH = 27, 32, 8, 1100


def seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def tokens(steps: int) -> Any:
    return np.random.default_rng(1).integers(0, VOCABULARY, (steps, BATCH))


def labelled(outputs: Any) -> tgs.Tensor:
    """A loss at every step of logits (T, N, V), or of a tuple that starts with them."""
    logits = outputs[0] if isinstance(outputs, tuple) else outputs
    return tgs.cross_entropy(logits, tokens(len(logits)))


def drawn(model: nn.Module, *inputs: Any, loss: Any = labelled, **options: Any) -> viz.Drawing:
    return viz.draw_model(model, *inputs, loss=loss, **options)


def tagger(layer: Callable[..., Any] = nn.RNN, layers: int = 1) -> nn.ManyToMany:
    rng = seeded()
    return nn.ManyToMany(layer(VOCABULARY, HIDDEN, layers, rng=rng), VOCABULARY, rng=rng)


def classifier() -> viz.Drawing:
    model = nn.ManyToOne(nn.RNN(VOCABULARY, HIDDEN, rng=seeded()), 3, rng=seeded())
    classes = np.arange(BATCH) % 3
    return drawn(model, tokens(5), loss=lambda y: tgs.cross_entropy(y, classes), weights="hidden")


def writer() -> viz.Drawing:
    decoder = nn.Decoder(nn.RNN(VOCABULARY, HIDDEN, rng=seeded()), rng=seeded())
    model = nn.OneToMany(16, decoder, rng=seeded())
    vector = seeded().standard_normal((BATCH, 16)).astype(np.float32)
    return drawn(model, vector, tokens(4), weights="hidden")


def translator(attend: str = "") -> viz.Drawing:
    """Without attention, or with it at a time that :class:`nn.Decoder` knows."""
    rng = seeded()
    attention = nn.AdditiveAttention(HIDDEN, HIDDEN, HIDDEN, rng=rng) if attend else None
    layer = nn.GRU(VOCABULARY + nn.Decoder.fed_size_of(attend or "after", HIDDEN), HIDDEN, rng=rng)
    decoder = nn.Decoder(layer, None, attention, attend=attend or "after", rng=rng)
    model = nn.Seq2Seq(nn.GRU(VOCABULARY, HIDDEN, rng=rng), decoder, rng=rng)
    return drawn(model, tokens(4), tokens(3), weights="hidden")


def truncated() -> viz.Drawing:
    """Two windows of three steps under one loss; the state is detached between them."""
    model, x, trace = tagger(), tokens(7), viz.Trace()
    cell = nn.RNNCell(VOCABULARY, HIDDEN, rng=seeded())
    h: Any = None
    losses = []
    with tgs.composed(), tgs.observe(trace):
        for t in range(6):
            h = nn.detach(h) if t == 3 else h
            with tgs.scope(path="cell", layer=0, step=t):
                h = cell(x[t], h)
            with tgs.scope(step=t):
                losses.append(tgs.cross_entropy(model.head(h).tag("logits"), x[t + 1]).tag("loss"))
        loss = tgs.stack(losses).mean()
        loss.backward()
    return viz.draw(loss, trace=trace, direction="both", weights="hidden")


GRAPHS: dict[str, Callable[[], viz.Drawing]] = {
    "rolled": lambda: drawn(tagger(), tokens(5), view="rolled"),
    "unrolled": lambda: drawn(tagger(), tokens(5), direction="both"),
    "many-to-one": classifier,
    "one-to-many": writer,
    "many-to-many": lambda: drawn(tagger(), tokens(4), weights="hidden"),
    "encoder-decoder": translator,
    "attention-graph": lambda: translator("after"),
    "attention-feeding": lambda: translator("feeding"),
    "attention-before": lambda: translator("before"),
    "truncated": truncated,
    "multilayer": lambda: drawn(tagger(layers=3), tokens(4)),
    "lstm": lambda: drawn(tagger(nn.LSTM), tokens(3), level="cell", weights="hidden"),
}
DEMOS = {
    "captions": "one_to_many",
    "lines": "many_to_one",
    "spaces": "many_to_many",
    "alignment": "seq2seq_attention",
    "truncation": "tbptt",
    "flow": "gradient_flow",
    "clipping": "clipping",
}


def contributions() -> Any:
    """What each step adds to dL/dW_hh, as matrices, and their sum beside the gradient."""
    rng = seeded()
    rnn = nn.RNN(4, 6, rng=rng, dtype=np.float64)
    x = rng.standard_normal((5, 8, 4))
    track = flow.gradient_flow(lambda: (rnn(x)[0] ** 2).sum())["l0"]
    parts = [track.contribution(t) for t in range(1, 5)]
    figure = demokit.figure(11, 2.4)
    shown = [*parts, np.sum(parts, axis=0)]
    largest = abs(shown[-1]).max()
    for k, (axes, values) in enumerate(zip(figure.subplots(1, 5), shown, strict=True)):
        axes.imshow(values, cmap="RdBu", vmin=-largest, vmax=largest)
        axes.set(xticks=(), yticks=())
        axes.set_title(f"step {k + 1}" if k < 4 else "dL/dW_hh", fontsize=12)
        axes.text(
            -0.12,
            0.5,
            " ++++="[k + 1] if k else "",
            transform=axes.transAxes,
            fontsize=20,
            va="center",
            ha="right",
        )
    return figure


def one_hot() -> Any:
    """Letters, their one-hot rows, the weight, and the rows of it that the product picks."""
    vocabulary = data.Vocabulary("helo")
    ids = vocabulary.encode("hello")
    weight = seeded().standard_normal((4, 6))
    figure = demokit.figure(10, 2.6)
    parts = [
        (tgs.one_hot(ids, 4).numpy(), "one-hot x (T = 5, V = 4)"),
        (weight, "W_xh (V = 4, H = 6)"),
        (weight[ids], "x W_xh (T = 5, H = 6)"),
    ]
    every = zip(figure.subplots(1, 3, width_ratios=[4, 6, 6]), parts, ("", "@", "="), strict=True)
    for axes, (values, title), sign in every:
        colour = (
            {"cmap": "RdBu", "vmin": -2.5, "vmax": 2.5} if sign else {"cmap": "Greys", "vmax": 1.6}
        )
        axes.imshow(values, **colour, aspect="equal")
        names = "hello" if len(values) == 5 else vocabulary.symbols
        axes.set_yticks(range(len(values)), names)
        axes.set_xticks(range(4), vocabulary.symbols) if not sign else axes.set_xticks(())
        axes.tick_params(length=0)
        axes.set_title(title, fontsize=11)
        axes.text(-0.16, 0.5, sign, transform=axes.transAxes, fontsize=20, va="center", ha="right")
    return figure


PLOTS = {"contributions": contributions, "one-hot": one_hot}


def small(path: Path, target: Path) -> None:
    """A picture at the width of a page, in 256 colours."""
    from PIL import Image  # comes with matplotlib

    image = Image.open(path).convert("RGB")
    if image.width > WIDTH:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.quantize(256, kmeans=2).save(target, optimize=True)


def picture(name: str, scratch: Path) -> None:
    """One figure, by name, to docs/lecture/figures."""
    if name in GRAPHS:
        GRAPHS[name]().save(HERE / f"{name}.svg")
        return
    path = scratch / f"{name}.png"
    if name in PLOTS:
        demokit.save(PLOTS[name](), path)
    else:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            importlib.import_module(DEMOS[name]).main(["--out", str(path)])
        print(said.getvalue())
    small(path, HERE / f"{name}.png")


def main(arguments: list[str] | None = None) -> int:
    every = [*GRAPHS, *PLOTS, *DEMOS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="figure", help=f"which: {', '.join(every)}")
    options = parser.parse_args(arguments)
    wrong = set(options.names) - set(every)
    if wrong:
        parser.error(f"no such figure: {', '.join(sorted(wrong))}")
    HERE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.names or every:
            picture(name, Path(scratch))
            print(f"docs/lecture/figures: {name}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
