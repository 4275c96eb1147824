"""One to many: a sentence from a vector. Small noisy images, described word by word.

    python demos/one_to_many.py            # half a minute; the picture goes to runs/one_to_many.png
    python demos/one_to_many.py --fast

Each image holds two shapes, and its sentence says what they are and how they lie: "a large circle
above a small cross". The pixels make the first state of an LSTM, which then writes; they are not
seen again. Some pairs of shapes are never shown in training: can they be described all the same?
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import demokit
import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn

SIDE = 16  # pixels
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 2, "large": 3}  # radius
PLACES = {"above": (4, 7, 11, 7), "left of": (7, 4, 7, 11)}  # row and column of both shapes
WORDS = ("", "a", *SIZES, *SHAPES, "above", "left", "of")  # the first starts and ends a sentence
STOP, LONGEST = 0, 9
NEVER_SHOWN = {("circle", "cross"), ("square", "square"), ("cross", "triangle")}


class Scenes(NamedTuple):
    """N images and their sentences."""

    images: Any  # (N, pixels)
    sentences: Any  # (T, N), ended and filled with STOP


def stencil(shape: str, radius: int) -> Any:
    """The pixels of a shape around (0, 0), as offsets down and to the right."""
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = {
        "circle": down**2 + right**2 <= radius**2 + 1,
        "square": np.maximum(abs(down), abs(right)) <= radius,
        "triangle": 2 * abs(right) <= down + radius,
        "cross": abs(down) == abs(right),
    }[shape]
    return down[inside], right[inside]


STENCILS = {(shape, size): stencil(shape, SIZES[size]) for shape, size in product(SHAPES, SIZES)}


def scenes(count: int, rng: np.random.Generator, *, known: bool = True) -> Scenes:
    """Draw scenes of pairs that are shown in training, or of those that never are."""
    pairs = [pair for pair in product(SHAPES, SHAPES) if (pair not in NEVER_SHOWN) == known]
    images = 0.25 * rng.standard_normal((count, SIDE, SIDE))
    sentences = np.full((LONGEST, count), STOP)
    for n, image in enumerate(images):
        pair = pairs[rng.integers(len(pairs))]
        sizes = [list(SIZES)[k] for k in rng.integers(0, 2, 2)]
        place = list(PLACES)[rng.integers(2)]
        centres = np.reshape(PLACES[place], (2, 2)) + rng.integers(-1, 2, (2, 2))
        for shape, size, (row, column) in zip(pair, sizes, centres, strict=True):
            down, right = STENCILS[shape, size]
            image[row + down, column + right] += 1
        text = f"a {sizes[0]} {pair[0]} {place} a {sizes[1]} {pair[1]}".split()
        sentences[: len(text), n] = [WORDS.index(word) for word in text]
    return Scenes(images.reshape(count, -1).astype(np.float32), sentences)


class Describer(nn.Module):
    """Pixels to a vector, and the vector to a sentence."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.look = nn.Linear(SIDE * SIDE, hidden, rng=rng)
        decoder = nn.Decoder(nn.LSTM(len(WORDS), hidden, rng=rng), rng=rng)
        self.write = nn.OneToMany(hidden, decoder, rng=rng)

    def seen(self, images: Any) -> tgs.Tensor:
        return tgs.relu(self.look(images))

    def forward(self, images: Any, sentences: Any) -> tgs.Tensor:
        """Logits (T, N, words) of each word after the right ones before it."""
        given = np.append(np.full_like(sentences[:1], STOP), sentences[:-1], axis=0)
        return self.write(self.seen(images), given).logits

    def describe(self, images: Any) -> Any:
        """Sentences (T, N), by beam search."""
        found = self.write.beam_search(
            self.seen(images), STOP, end=STOP, width=3, max_steps=LONGEST
        )
        sentences = np.full((LONGEST, len(images)), STOP)
        sentences[: len(found.tokens)] = found.tokens
        return sentences


def train(model: Describer, updates: int, rows: int, lr: float) -> None:
    rng = np.random.default_rng(1)

    def loss() -> tgs.Tensor:
        images, sentences = scenes(rows, rng)  # never the same twice
        return tgs.cross_entropy(model(images, sentences), sentences)

    for update, value in demokit.updates(model, loss, updates, lr):
        if update % (updates // 5) == 0:
            print(f"update {update:5}  loss {value:.3f} nats per word")


def draw(model: Describer, parts: list[Scenes], path: Path) -> None:
    """Images over what was written, wrong words in red; and one sentence, choice by choice."""
    figure = demokit.figure(14, 8)
    left, right = figure.subfigures(1, 2, width_ratios=[2.3, 1])
    rows = [
        (part, range(4 * k, 4 * k + 4))
        for part, times in zip(parts, (2, 1), strict=True)
        for k in range(times)
    ]
    for line, (part, numbers) in zip(left.subplots(3, 4), rows, strict=True):
        for axes, n in zip(line, numbers, strict=True):
            axes.imshow(part.images[n].reshape(SIDE, SIDE), cmap="Greys", vmin=-0.3, vmax=1.3)
            axes.axis("off")
            said, true = model.describe(part.images[n : n + 1])[:, 0], part.sentences[:, n]
            good = (said == true).all()
            axes.set_title(
                sentence(said).replace(" above", "\nabove").replace(" left", "\nleft"),
                fontsize=10,
                color="0.15" if good else demokit.RED,
            )
    left.suptitle("new images; in the last row, pairs that were never shown (red: not right)")
    images, sentences = parts[0]
    with tgs.no_grad():
        chances = tgs.softmax(model(images[:1], sentences[:, :1])).numpy()[:, 0]
    axes = right.subplots()
    steps = int(np.flatnonzero(sentences[:, 0] == STOP)[0]) + 1
    said = [WORDS[i] or "(end)" for i in sentences[:steps, 0]]
    demokit.matrix(axes, chances[:steps].T, said, ["(end)", *WORDS[1:]])
    axes.tick_params(axis="x", rotation=60)
    axes.set_title("the first: chances of each word")
    demokit.save(figure, path)


def sentence(ids: Any) -> str:
    return " ".join(WORDS[i] for i in ids if i)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "one_to_many", "fewer units and updates")
    options = parser.parse_args(arguments)
    hidden, updates, rows, lr = (96, 200, 32, 1e-2) if options.fast else (128, 2000, 64, 5e-3)

    model = Describer(hidden, np.random.default_rng(0))
    train(model, updates, rows, lr)
    rng, count = np.random.default_rng(2), 200 if options.fast else 1000
    parts = [scenes(count, rng), scenes(count, rng, known=False)]
    shares: list[float] = []
    for name, part in zip(("new images", "pairs never shown"), parts, strict=True):
        hit = model.describe(part.images) == part.sentences
        whole = hit.all(axis=0).mean()
        shares.append(whole)
        print(f"{name:18} {whole:6.1%} of the sentences right, {hit.mean():6.1%} of the words")
    print(f"\none image, described at temperature 1 and 3: {sentence(parts[0].sentences[:, 0])}")
    seen = model.seen(parts[0].images[:1])
    for temperature in (1.0, 3.0):
        for _ in range(2):
            made = model.write.generate(
                seen, STOP, end=STOP, max_steps=LONGEST, temperature=temperature, rng=rng
            )
            print(f"  {temperature:g}: {sentence(made.tokens[:, 0])}")
    draw(model, parts, options.out)
    demokit.look_for(
        f"{shares[0]:.0%} of new images of familiar pairs are described without a mistake, and\n"
        f"{shares[1]:.0%} of those of pairs that were never shown. "
        + (
            "In the full run the first is nine in ten."
            if options.fast
            else "The less the second, the more it\n"
            "is pairs that were learnt, not shapes that can be put together anew."
        ),
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
