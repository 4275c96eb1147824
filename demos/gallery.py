"""Builds the gallery: every picture from a recorded graph, and the page that shows them.

    make gallery            # or: python demos/gallery.py

Writes ``docs/gallery/*.svg``, ``interactive.html`` and ``README.md``. Seeds are fixed; norms may
differ in their last digit from machine to machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lab import by_hand
from lab.pictured import (
    SelfAttention,
    alignment,
    attended,
    by,
    described,
    labelled,
    language,
    lstm_twice,
    tokens,
    translator,
    truncated,
)

from tinygrad_seq import viz
from tinygrad_seq.viz.output.render import render
from tinygrad_seq.viz.output.svg import polished

HERE = Path(__file__).resolve().parent.parent / "docs" / "gallery"


class Picture(NamedTuple):
    """A picture of the gallery, and what to say about it."""

    name: str
    title: str
    text: str
    draw: Callable[[], viz.Drawing]


PICTURES = {
    "Written by hand": [
        Picture(
            "by-hand",
            "A loop",
            "`h = np.tanh(Wxh @ x + Whh @ h + bh)` in a `for`, softmax and loss by hand, nothing "
            "tagged: `loss.draw(names=locals())`. A weight that is used again downstream of its "
            "own last use makes time.",
            lambda: by(by_hand.rnn(4)),
        ),
        Picture(
            "by-hand-cells",
            "The same, operation by operation",
            'With `level="cell"`.',
            lambda: by(by_hand.rnn(3), level="cell"),
        ),
        Picture(
            "by-hand-elided",
            "The same over fifty steps",
            'With `view="elided"`.',
            lambda: by(by_hand.rnn(50), view="elided"),
        ),
        Picture(
            "lstm-layer",
            "An LSTM, as a layer",
            "`nn.LSTM` with a readout, for comparison with the next one.",
            lambda: lstm_twice()[0],
        ),
        Picture(
            "lstm-by-hand",
            "An LSTM, by hand",
            "The same weights, four gates from `np.split`. c is what only products and sums touch.",
            lambda: lstm_twice()[1],
        ),
        Picture(
            "mgu-by-hand",
            "A module of one's own",
            "A minimal gated unit, called in a loop: titled by its class.",
            lambda: by(by_hand.mgu(4)),
        ),
        Picture(
            "translator-by-hand",
            "An encoder and a decoder",
            "Two loops with weights of their own have a time each; the decoder looks back by "
            'weights that are tagged as such: `.tag("weights")`.',
            lambda: by(by_hand.translator(3, 4)),
        ),
    ],
    "Through time": [
        Picture(
            "unrolled",
            "Unrolled",
            "One column per time step, one row per layer. `h` and `c` run from left to right, the "
            "weights are drawn once. Colour and figures are the norms of the gradients: the lower "
            "layer gets less, and less the later.",
            lambda: language(5),
        ),
        Picture(
            "cells",
            "Cells",
            'The same graph gate by gate: `level="cell"`. The cell state is one straight road on '
            "top that only a product and a sum touch, which is why its gradient survives.",
            lambda: language(5, level="cell"),
        ),
        Picture(
            "gru",
            "The cell of a GRU",
            "The update gate z blends the old state, on the road, with the new n; the reset gate r "
            "decides how much of it n sees. With `reset_after=False` r acts on h itself, before "
            "its product.",
            lambda: language(3, "GRU", 1, level="cell"),
        ),
        Picture(
            "lstm-norm-projected",
            "Options within the cell",
            "An LSTM with `layer_norm=True` and `proj_size`: normalised sums and cell, and a last "
            "product that makes h shorter than c.",
            lambda: language(3, layers=1, made={"layer_norm": True, "proj_size": 32}, level="cell"),
        ),
        Picture(
            "elided",
            "Elided",
            "A hundred time steps: the first two, a bar that counts and measures what it hides, "
            "the last. The drawing has the same size for ten thousand.",
            lambda: language(100, view="elided"),
        ),
        Picture(
            "rolled",
            "Rolled",
            "One copy for every t, each state through a delay of one step, z⁻¹, from the same "
            "recording.",
            lambda: language(100, view="rolled"),
        ),
        Picture(
            "rolled-cells",
            "Rolled, with gates",
            "Views and levels go together as you like.",
            lambda: language(5, layers=1, view="rolled", level="cell"),
        ),
    ],
    "Gradients": [
        Picture(
            "both",
            "There and back",
            '`direction="both"`: the gradients beside the values. What every time step adds to '
            "the gradient of the shared weights flows into their box, with its norm.",
            lambda: language(4, direction="both"),
        ),
        Picture(
            "vanishing",
            "A gradient that vanishes",
            "Many to one: a label after nine steps, an RNN whose recurrent weights shrink. The "
            "scale is logarithmic, so equal steps of colour are equal factors.",
            lambda: labelled(0.5),
        ),
        Picture(
            "exploding",
            "A gradient that explodes",
            "The same with recurrent weights that stretch.",
            lambda: labelled(2.0),
        ),
        Picture(
            "truncated",
            "Truncated and clipped",
            "The state was detached before t = 3: its value goes on, its gradient stops at the "
            "scissors. Below, the norm before and after clipping.",
            truncated,
        ),
    ],
    "Wirings": [
        Picture(
            "one-to-many",
            "One to many",
            "A vector, through an affine map, makes the state that the first step starts from.",
            described,
        ),
        Picture(
            "bidirectional",
            "Both directions",
            "The second layer of states runs from the last step to the first; both meet in the "
            "readout.",
            lambda: language(4, layers=1, made={"bidirectional": True}),
        ),
        Picture(
            "seq2seq",
            "Encoder and decoder",
            "The decoder starts from the encoder's last state, so it gets a time axis of its own.",
            translator,
        ),
        Picture(
            "bridge",
            "An encoder that reads both ways",
            "Each direction's last state goes into a bridge, which makes the decoder's first.",
            lambda: translator(both=True),
        ),
    ],
    "Attention": [
        Picture(
            "attention",
            "Attention",
            "A model that spells words backwards, on *graph*. Lines show which step of the memory "
            "each step of the decoder looks at: their opacity is the recorded weight. The last "
            "letter comes first.",
            lambda: attended("graph"),
        ),
        Picture(
            "alignment",
            "The same as a matrix",
            "`viz.draw_alignment`: a row for each letter written, a column for each letter read. "
            "What was learnt is the antidiagonal.",
            lambda: alignment("graph"),
        ),
        Picture(
            "self-attention",
            "Of a sequence to itself",
            "Four heads, of which the mean is drawn. A causal mask leaves no line from a later "
            "step.",
            lambda: viz.draw_model(SelfAttention(), tokens(4)),
        ),
    ],
    "Detail": [
        Picture(
            "labels",
            "Weights as labels",
            '`weights="labels"`: a pale name at every use instead of one box and its lines.',
            lambda: language(4, weights="labels"),
        ),
        Picture(
            "ops",
            "Every operation",
            '`level="op"`: every recorded node and edge, in its place and time.',
            lambda: language(3, kind="RNN", layers=1, level="op"),
        ),
        Picture(
            "dark",
            "For dark pages",
            '`theme="dark"`.',
            lambda: language(4, layers=1, level="cell", theme="dark"),
        ),
    ],
}


def comparison() -> str:
    """The same model as torchviz draws it, from the kept output of ``torchviz_picture.py``."""
    text = (HERE / "torchviz.gv").read_text(encoding="utf-8")
    svg = polished(render(text, "svg").decode("utf-8"))
    (HERE / "torchviz.svg").write_text(svg, encoding="utf-8")
    edges = text.count("->")
    nodes = len(set(re.findall(r"\bn\d+\b", text)))
    size = re.search(r'<svg width="(\d+)pt" height="(\d+)pt"', svg)
    ours = re.search(
        r'<svg width="(\d+)pt" height="(\d+)pt"', (HERE / "unrolled.svg").read_text("utf-8")
    )
    assert size is not None and ours is not None
    return f"""## Beside torchviz

Two LSTM layers, five time steps, a loss at each: the model of the first picture, written with
PyTorch's cells and drawn by torchviz 0.0.3. Its graph has {nodes} nodes and {edges} edges, all
alike; time, layers and states have to be found by the reader.

| torchviz, {size.group(1)} × {size.group(2)} points | here, {ours.group(1)} × {ours.group(2)} |
|---|---|
| <img src="torchviz.svg" height="700"> | <img src="unrolled.svg" width="560"> |

What the pictures have that is not in torchviz: a time axis, named states, layers as rows, shared
weights once with the number of their uses, gradient norms, cuts, views that fold time truthfully.
What torchviz has that is not here: it draws any PyTorch model.
"""


def main() -> None:
    sections = []
    for chapter, pictures in PICTURES.items():
        sections.append(f"## {chapter}\n")
        for picture in pictures:
            picture.draw().save(HERE / f"{picture.name}.svg")
            shown = f"![{picture.title}]({picture.name}.svg)"
            sections.append(f"### {picture.title}\n\n{picture.text}\n\n{shown}\n")
            print(f"{picture.name}.svg")
    language(30, view="elided", level="cell").save(HERE / "interactive.html")
    print("interactive.html")
    sections.append(
        "## Interactive\n\n[interactive.html](interactive.html) is one file that loads nothing: "
        "zoom, move, point at a state or a weight to follow it through time, slide through all "
        "thirty steps.\n"
    )
    sections.append(comparison())
    head = """# Gallery

Every picture is a recorded graph of a real model, drawn by `python demos/gallery.py`.
In short:

```python
import numpy as np
import tinygrad_seq as tgs
from tinygrad_seq import nn, viz

lstm = nn.LSTM(65, 128, num_layers=2, rng=np.random.default_rng(0))
x = np.random.default_rng(1).integers(0, 65, (5, 50))
drawing = viz.draw_model(lstm, x, loss=lambda out: out[0].sum(), level="cell")
drawing.save("lstm.svg")
```
"""
    (HERE / "README.md").write_text("\n".join([head, *sections]), encoding="utf-8")


if __name__ == "__main__":
    main()
