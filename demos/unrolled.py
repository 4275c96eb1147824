"""Unrolled: a network that spells "hello", and the graph of one step of its training.

    python demos/unrolled.py            # a few seconds; pictures go to runs/unrolled.*
    python demos/unrolled.py --fast

The smallest character model: four letters, one-hot; a vanilla RNN of three units; after h, e, l, l
it is to say e, l, l, o. The same l asks for two different answers, so the letter alone does not do:
the state has to tell them apart. The graph is the recorded one, drawn before training and after.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import demokit
import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import data, nn, optim, viz

VOCABULARY = data.Vocabulary("helo")
TOKENS = VOCABULARY.encode("hello")[:, None]  # (T + 1, 1)
GIVEN, WANTED = TOKENS[:-1], TOKENS[1:]


def loss_of(outputs: Any) -> tgs.Tensor:
    """Mean cross-entropy of the four next letters, in nats."""
    return tgs.cross_entropy(outputs[0], WANTED)


def show(model: nn.ManyToMany, title: str) -> None:
    """The one-hot inputs, the states, and what is said after each letter."""
    with tgs.no_grad():
        states, _ = model.recurrent(GIVEN)
        chances = tgs.softmax(model(GIVEN)[0]).numpy()[:, 0]
        loss = loss_of(model(GIVEN)).item()
    print(f"\n{title}: {loss:.3f} nats (ln 4 = 1.386 is guessing)")
    print(f"  t  letter  one-hot ({' '.join(VOCABULARY.symbols)})  state{'':19}says")
    for t, one_hot in enumerate(tgs.one_hot(GIVEN, 4).numpy()[:, 0]):
        letter, best = VOCABULARY.decode(GIVEN[t]), int(chances[t].argmax())
        state = " ".join(f"{value:6.2f}" for value in states.numpy()[t, 0])
        said = f"{VOCABULARY.symbols[best]} ({chances[t, best]:.0%})"
        print(f"  {t}  {letter:6}  {' '.join(str(int(x)) for x in one_hot):17}  {state:22}  {said}")


def train(model: nn.ManyToMany, updates: int) -> None:
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for _ in range(updates):
        loss = loss_of(model(GIVEN))
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def pictures(model: nn.ManyToMany, path: Path) -> list[Path]:
    """The unrolled graph and its way back; rolled; every operation; and a page to explore."""
    drawn = [
        ("", ".png", {"direction": "both"}),
        ("-rolled", ".png", {"view": "rolled"}),
        ("-ops", ".png", {"level": "op"}),
        ("", ".html", {"level": "cell"}),
    ]
    return [
        viz.draw_model(model, GIVEN, loss=loss_of, **options).save(
            path.with_name(path.stem + name).with_suffix(suffix)
        )
        for name, suffix, options in drawn
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = demokit.parser(__doc__, "unrolled", "the same: it is fast as it is")
    options = parser.parse_args(arguments)

    rng = np.random.default_rng(1)
    model = nn.ManyToMany(nn.RNN(len(VOCABULARY), 3, rng=rng), len(VOCABULARY), rng=rng)
    show(model, "before training")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    untrained = options.out.with_stem(f"{options.out.stem}-untrained")
    viz.draw_model(model, GIVEN, loss=loss_of, direction="both").save(untrained)
    train(model, 60 if options.fast else 200)
    show(model, "after training")
    made = pictures(model, options.out)
    print("\npictures:", *(path.name for path in [untrained, *made]))
    demokit.look_for(
        "one column per letter, the same three weights under all of them; what each\n"
        "step adds to their gradients flows into one box. Before training the gradients are large\n"
        "everywhere; after it there is little left to say. The rolled picture is the same graph.",
        options.out,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
