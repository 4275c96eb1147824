"""Builds the gallery: every picture from a recorded graph, and the page that shows them.

    make gallery            # or: python demos/gallery.py

Writes ``docs/gallery/*.svg``, ``interactive.html`` and ``README.md``. Seeds are fixed; norms may
differ in their last digit from machine to machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn, optim, viz
from tinygrad_seq.viz.render import render
from tinygrad_seq.viz.svg import polished

HERE = Path(__file__).resolve().parent.parent / "docs" / "gallery"
VOCABULARY, HIDDEN, BATCH = 65, 128, 50


class CharLM(nn.Module):
    """Tokens to logits through a recurrent layer."""

    def __init__(self, kind: str = "LSTM", layers: int = 2) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = getattr(nn, kind)(VOCABULARY, HIDDEN, num_layers=layers, rng=rng)
        self.head = nn.Linear(HIDDEN, VOCABULARY, rng=rng)

    def forward(self, tokens: Any, state: Any = None) -> Any:
        y, state = self.rnn(tokens, state)
        return self.head(y), state


class LastOutput(nn.Module):
    """A sequence to one label: only the last hidden state is read."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = nn.RNN(VOCABULARY, HIDDEN, rng=rng)
        self.rnn.weight_hh_l0.writable()[:] *= scale
        self.head = nn.Linear(HIDDEN, 2, rng=rng)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.rnn(tokens)[0][-1])


class Translator(nn.Module):
    """An encoder, a decoder that starts from its last state, and attention over its memory."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.attention = attention
        self.encoder = nn.LSTM(VOCABULARY, HIDDEN, rng=rng)
        self.decoder = nn.LSTM(VOCABULARY, HIDDEN, rng=rng)
        self.head = nn.Linear(HIDDEN * (2 if attention else 1), VOCABULARY, rng=rng)

    def forward(self, source: Any, target: Any) -> Any:
        memory, state = self.encoder(source)
        y, _ = self.decoder(target, state)
        if not self.attention:
            return self.head(y)
        out = []
        for t in range(len(target)):
            with tgs.scope(path="attention", step=t):
                weights = tgs.softmax((memory * y[t]).sum(-1), axis=0).tag("attention")
                context = (tgs.expand_dims(weights, -1) * memory).sum(0).tag("context")
                both = tgs.concatenate([y[t], context], axis=-1)
            with tgs.scope(step=t):
                out.append(self.head(both).tag("logits"))
        return tgs.stack(out)


def tokens(steps: int, seed: int = 1) -> Any:
    """Random tokens (T, N)."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, (steps, BATCH))


def language(steps: int, kind: str = "LSTM", layers: int = 2, **options: Any) -> viz.Drawing:
    """A language model on random text, traced through backward."""
    x = tokens(steps + 1)
    model = CharLM(kind, layers)
    return viz.draw_model(
        model, x[:-1], loss=lambda out: tgs.cross_entropy(out[0], x[1:]), **options
    )


def labelled(scale: float) -> viz.Drawing:
    """The gradient of one label at the end, carried back through a scaled recurrence."""
    labels = np.arange(BATCH) % 2
    return viz.draw_model(
        LastOutput(scale),
        tokens(10),
        loss=lambda out: tgs.cross_entropy(out, labels),
        weights="hidden",
    )


def truncated() -> viz.Drawing:
    """Two windows of three steps under one loss, the state detached in between, then clipped."""
    model, x, trace = CharLM(layers=1), tokens(7), viz.Trace()
    state: Any = None
    cell = nn.LSTMCell(VOCABULARY, HIDDEN, rng=np.random.default_rng(0))
    losses = []
    with tgs.composed(), tgs.observe(trace):
        for t in range(6):
            if t == 3:
                state = nn.detach(state)
            with tgs.scope(path="cell", layer=0, step=t):
                state = cell(x[t], state)
            with tgs.scope(step=t):
                logits = model.head(state[0]).tag("logits")
                losses.append(tgs.cross_entropy(logits, x[t + 1]).tag("loss"))
        loss = tgs.stack(losses).mean()
        loss.backward()
    report = optim.clip_grad_norm_([*cell.parameters(), *model.head.parameters()], 0.05)
    return viz.draw(loss, trace=trace, direction="both", clip=report)


def translator(attention: bool) -> viz.Drawing:
    """Three steps in, four steps out."""
    source, target = tokens(3), tokens(4, seed=2)
    return viz.draw_model(
        Translator(attention), source, target, loss=lambda out: tgs.cross_entropy(out, target)
    )


class Picture(NamedTuple):
    """A picture of the gallery, and what to say about it."""

    name: str
    title: str
    text: str
    draw: Callable[[], viz.Drawing]


PICTURES = [
    Picture(
        "unrolled",
        "Unrolled",
        "One column per time step, one row per layer. `h` and `c` run from left to right, the "
        "weights are drawn once. Colour and figures are the norms of the gradients.",
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
        "both",
        "There and back",
        '`direction="both"`: the gradients beside the values. What every time step adds to the '
        "gradient of the shared weights flows into their box, with its norm.",
        lambda: language(4, direction="both"),
    ),
    Picture(
        "elided",
        "Elided",
        "A hundred time steps: the first two, a bar that counts and measures what it hides, the "
        "last. The drawing has the same size for ten thousand.",
        lambda: language(100, view="elided"),
    ),
    Picture(
        "rolled",
        "Rolled",
        "One copy for every t, each state through a delay of one step, from the same recording.",
        lambda: language(100, view="rolled"),
    ),
    Picture(
        "rolled-cells",
        "Rolled, with gates",
        "Views and levels go together as you like.",
        lambda: language(5, layers=1, view="rolled", level="cell"),
    ),
    Picture(
        "vanishing",
        "A gradient that vanishes",
        "A label at the end of ten steps, an RNN whose recurrent weights shrink: the scale is "
        "logarithmic.",
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
        "The state was detached before t = 3: its value goes on, its gradient stops. Below, what "
        "clipping did.",
        truncated,
    ),
    Picture(
        "seq2seq",
        "Encoder and decoder",
        "The decoder starts from the encoder's last state, so it gets a time axis of its own.",
        lambda: translator(attention=False),
    ),
    Picture(
        "attention",
        "Attention",
        "Every step of the decoder reads the whole memory.",
        lambda: translator(attention=True),
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
]


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
    for picture in PICTURES:
        picture.draw().save(HERE / f"{picture.name}.svg")
        sections.append(
            f"## {picture.title}\n\n{picture.text}\n\n![{picture.title}]({picture.name}.svg)\n"
        )
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
