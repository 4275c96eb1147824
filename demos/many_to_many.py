"""Many to many: wherethespacesgo. A label for every character of a text.

    python demos/many_to_many.py            # half a minute; the picture goes to runs/
    python demos/many_to_many.py --fast

The spaces are taken out of the text that Python carries, and an LSTM is to say after which letters
they were: one label a step, as in tagging words. One model reads from left to right; the other in
both directions, so that it knows what follows. Test text comes from another part.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import demokit
import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import data, nn

LETTERS = 26
WINDOW = 64


class Text(NamedTuple):
    """Letters without spaces, and whether each ends a word."""

    letters: Any  # (L,) integers
    ends: Any  # (L,) integers, 0 or 1

    def windows(self, starts: Any) -> tuple[Any, Any]:
        """(T, N) letters and labels from each of the starts on."""
        places = np.arange(WINDOW)[:, None] + starts
        return self.letters[places], self.ends[places]


def text_of(source: str) -> Text:
    """Words of the letters a to z, run together."""
    words = re.findall(r"[a-z]+", source.lower())
    letters = np.array([ord(letter) - 97 for word in words for letter in word])
    ends = np.zeros(len(letters), int)
    ends[np.cumsum([len(word) for word in words]) - 1] = 1
    return Text(letters, ends)


def train(model: nn.ManyToMany, text: Text, updates: int, lr: float) -> float:
    """The mean loss of the last tenth of the updates."""
    rng = np.random.default_rng(1)

    def loss() -> tgs.Tensor:
        letters, ends = text.windows(rng.integers(0, len(text.letters) - WINDOW, 32))
        logits, _ = model(letters)
        return tgs.cross_entropy(logits, ends)

    losses = [value for _, value in demokit.updates(model, loss, updates, lr)]
    return float(np.mean(losses[-max(1, updates // 10) :]))


def chances(model: nn.ManyToMany, letters: Any) -> Any:
    """(T, N): the probability that a word ends with each letter."""
    with tgs.no_grad():
        return tgs.softmax(model(letters)[0]).numpy()[..., 1]


def f1(found: Any, true: Any) -> float:
    """Harmonic mean of the shares of found ends that are true, and of true ends that are found."""
    hits = np.sum(found & true)
    return float(2 * hits / (found.sum() + true.sum()))


def spaced(letters: Any, ends: Any) -> str:
    parts = (
        chr(97 + letter) + (" " if end else "") for letter, end in zip(letters, ends, strict=True)
    )
    return "".join(parts)


def draw(text: Any, true: Any, found: dict[str, Any], scores: dict[str, Any], path: Path) -> None:
    """Bars over the letters of some windows, and F1 by the distance from the end of the window."""
    figure = demokit.figure(14, 8)
    grid = figure.add_gridspec(4, 2, width_ratios=[3.4, 1])
    colours = dict(zip(found, (demokit.ORANGE, demokit.BLUE), strict=True))
    for row in range(4):
        axes = figure.add_subplot(grid[row, 0])
        for k, (name, share) in enumerate(found.items()):
            axes.bar(
                np.arange(WINDOW) + 0.32 * (2 * k - 1) / 2, share[:, row], 0.32, color=colours[name]
            )
        for t in np.flatnonzero(true[:, row]):
            axes.axvline(t + 0.5, color="0.75", lw=0.9, zorder=0)
        axes.set_xticks(range(WINDOW), [chr(97 + letter) for letter in text[:, row]])
        axes.set(xlim=(-0.6, WINDOW - 0.4), ylim=(0, 1.02), yticks=(0, 1))
        axes.tick_params(length=0)
        demokit.tidy(axes)
        if not row:
            axes.set_title("probability that a word ends here; grey: where one does", loc="left")
    score = figure.add_subplot(grid[:, 1])
    for name, values in scores.items():
        score.plot(np.arange(WINDOW), values, color=colours[name], lw=2, label=name)
    score.set(xlabel="place in the window", ylim=(min(map(min, scores.values())) - 0.03, 1.0))
    score.set_title("F1 of the ends of words, by place", loc="left", fontsize=11)
    score.legend(frameon=False, loc="lower center")
    demokit.tidy(score)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "many_to_many", "fewer units and updates")
    options = parser.parse_args(arguments)
    hidden, updates, lr = (24, 200, 3e-2) if options.fast else (64, 500, 1e-2)

    text, held_out = map(text_of, data.split_text(data.pydoc_topics(), 0.2))
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(held_out.letters) - WINDOW, 100 if options.fast else 2000)
    letters, ends = held_out.windows(starts)
    found, scores, overall = {}, {}, []
    for name, both in (("left to right", False), ("both directions", True)):
        units = hidden if both else round(hidden * 1.5)
        rng = np.random.default_rng(0)
        layer = nn.LSTM(LETTERS, units, bidirectional=both, rng=rng)
        model = nn.ManyToMany(layer, 2, rng=rng)
        loss = train(model, text, updates, lr)
        share = found[name] = chances(model, letters)
        said, true = share > 0.5, ends == 1
        scores[name] = [f1(s, t) for s, t in zip(said, true, strict=True)]
        overall.append(f1(said, true))
        print(
            f"{name:16} {model.num_parameters():6} parameters, {loss:.3f} nats in training, "
            f"F1 {overall[-1]:.1%} on test text"
        )
        for n in range(2):
            print(f"  {spaced(letters[:, n], said[:, n])}")
    print("as it was")
    for n in range(2):
        print(f"  {spaced(letters[:, n], ends[:, n])}")
    draw(letters, ends, found, scores, options.out)
    demokit.look_for(
        f"F1 is {overall[0]:.1%} from left to right and {overall[1]:.1%} in both directions,\n"
        "since what follows decides (return, returns). On the right, F1 by the place in the\n"
        "window: in the full run the edges cost something, as each direction starts in the dark,\n"
        "from left to right at the first letter, back at the last.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
