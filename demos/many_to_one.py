"""Many to one: forwards, backwards or scrambled? One answer for a whole line of text.

    python demos/many_to_one.py            # half a minute; the picture goes to runs/many_to_one.png
    python demos/many_to_one.py --fast

A line from the text that Python carries is shown as it is, reversed, or with the letters of every
word shuffled. A GRU reads it character by character, and its last state alone says which. The
gradient of that one answer goes back through all steps. Test lines come from another part of the
text. Trained on whole lines, the readout also tells what the model thinks on the way.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import demokit
import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import data, nn

CLASSES = ("forwards", "backwards", "scrambled")
COLOURS = (demokit.BLUE, demokit.RED, demokit.ORANGE)
WIDTH = 48


def lines_of(text: str) -> list[str]:
    """Whole words of running text, up to WIDTH characters a line."""
    words = [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) < 15]
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) >= WIDTH:
            lines.append(line)
            line = ""
        line += (" " if line else "") + word
    return lines


def shown(line: str, how: int, rng: np.random.Generator) -> str:
    """The line as class `how` has it."""
    if how == 1:
        return line[::-1]
    if how == 2:
        return " ".join("".join(rng.permutation(list(word))) for word in line.split())
    return line


def batch(lines: list[str], count: int, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """Tokens (T, N), lengths (N,) and classes (N,) of lines drawn at random, cut anywhere."""
    classes = rng.integers(0, len(CLASSES), count)
    cuts = rng.integers(WIDTH // 3, WIDTH, count)
    picked = [lines[n] for n in rng.integers(0, len(lines), count)]
    texts = [shown(x, how, rng)[:cut] for x, how, cut in zip(picked, classes, cuts, strict=True)]
    lengths = np.array([len(text) for text in texts])
    return tokens(texts), lengths, classes


def tokens(texts: list[str]) -> Any:
    """(T, N): a is 1 and z is 26, a space is 0; so is the padding, which nobody reads."""
    made = np.zeros((max(map(len, texts)), len(texts)), int)
    for n, text in enumerate(texts):
        made[: len(text), n] = [0 if letter == " " else ord(letter) - 96 for letter in text]
    return made


def train(model: nn.ManyToOne, lines: list[str], updates: int, rows: int, lr: float) -> None:
    rng = np.random.default_rng(1)

    def loss() -> tgs.Tensor:
        ids, lengths, classes = batch(lines, rows, rng)
        return tgs.cross_entropy(model(ids, lengths=lengths), classes)

    for update, value in demokit.updates(model, loss, updates, lr):
        if update % (updates // 10) == 0:
            print(f"update {update:5}  loss {value:.3f} nats (ln 3 = 1.099 at the start)")


def opinions(model: nn.ManyToOne, ids: Any) -> Any:
    """(T, N, classes): what the model would answer if the line ended after each character."""
    with tgs.no_grad():
        states, _ = model.recurrent(ids)
        return tgs.softmax(model.head(states)).numpy()


def draw(curve: Any, texts: list[str], shares: Any, path: Path) -> None:
    """Accuracy against characters read, and lines coloured by what was thought at each one."""
    figure = demokit.figure(13, 7.5)
    top, bottom = figure.subplots(2, 1, height_ratios=[1, 1.35])
    for name, colour, line in zip(CLASSES, COLOURS, curve, strict=True):
        top.plot(np.arange(1, WIDTH - 8), line[: WIDTH - 9], color=colour, lw=2, label=name)
    top.axhline(1 / 3, color="0.6", lw=0.9, ls=":")
    top.set(xlabel="characters read", ylim=(0, 1.02), xlim=(0.5, WIDTH - 9))
    top.set_title("test lines that are told right, by how much of them was read", loc="left")
    top.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    top.legend(frameon=False, loc="lower right")
    demokit.tidy(top)
    bottom.set(xlim=(-0.5, WIDTH - 0.5), ylim=(len(texts) - 0.4, -0.6))
    bottom.axis("off")
    bottom.set_title("colour: the answer so far; strength: how sure", loc="left")
    for row, text in enumerate(texts):
        for t, letter in enumerate(text):
            best = int(shares[t, row].argmax())
            sure = (float(shares[t, row, best]) - 1 / 3) * 1.5
            box = {
                "facecolor": COLOURS[best],
                "alpha": 0.85 * sure,
                "edgecolor": "none",
                "pad": 3.2,
            }
            ink = "white" if sure > 0.6 else "0.15"
            style = {"family": "monospace", "ha": "center", "va": "center", "fontsize": 11}
            bottom.text(t, row, letter, bbox=box, color=ink, **style)
    demokit.save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "many_to_one", "fewer units and updates")
    options = parser.parse_args(arguments)
    hidden, updates, rows, lr = (64, 150, 32, 3e-2) if options.fast else (96, 1500, 64, 5e-3)

    train_text, test_text = data.split_text(data.pydoc_topics(), 0.2)
    lines, test_lines = lines_of(train_text), lines_of(test_text)
    rng = np.random.default_rng(0)
    model = nn.ManyToOne(nn.GRU(27, hidden, rng=rng), len(CLASSES), rng=rng)
    train(model, lines, updates, rows, lr)

    count = 300 if options.fast else 3000
    classes = np.arange(count) % 3
    picked = [test_lines[n] for n in rng.integers(0, len(test_lines), count)]
    texts = [shown(line, how, rng) for line, how in zip(picked, classes, strict=True)]
    ids = tokens([text.ljust(WIDTH) for text in texts])
    right = opinions(model, ids).argmax(axis=-1) == classes  # (T, N)
    curve = np.stack([right[:, classes == how].mean(axis=1) for how in range(3)])
    for read in (5, 10, 20, 39):
        parts = ", ".join(f"{c} {r[read - 1]:.0%}" for c, r in zip(CLASSES, curve, strict=True))
        print(f"right after {read:2} characters: {parts}")
    draw(curve, texts[:9], opinions(model, ids[:, :9]), options.out)
    demokit.look_for(
        f"the colour settles as more is read: {curve[:, 9].mean():.0%} of the lines are told\n"
        f"right after 10 characters, {curve[:, 38].mean():.0%} after 39.\n"
        "In training the model was asked once a line, after 16 characters or more, and had to\n"
        "carry what it saw to there; its opinion can be read off at every step.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
