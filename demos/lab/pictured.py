"""The models of the gallery: what is drawn there."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from lab import by_hand
from tinygrad_seq import nn, optim, viz

VOCABULARY, HIDDEN, BATCH = 65, 128, 50


def tokens(steps: int, seed: int = 1) -> Any:
    """Random tokens (T, N)."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, (steps, BATCH))


def language_model(kind: str, layers: int, **options: Any) -> Any:
    """Tokens to logits through a recurrent layer."""
    rng = np.random.default_rng(0)
    layer = getattr(nn, kind)(VOCABULARY, HIDDEN, num_layers=layers, rng=rng, **options)
    return nn.ManyToMany(layer, VOCABULARY, rng=rng)


def language(
    steps: int, kind: str = "LSTM", layers: int = 2, made: Any = None, **options: Any
) -> viz.Drawing:
    """A language model on random text, traced through backward."""
    x = tokens(steps + 1)
    model = language_model(kind, layers, **(made or {}))
    return viz.draw_model(
        model, x[:-1], loss=lambda out: tgs.cross_entropy(out[0], x[1:]), **options
    )


def labelled(scale: float) -> viz.Drawing:
    """Many to one: the gradient of one label, carried back through a scaled recurrence."""
    rng = np.random.default_rng(0)
    model = nn.ManyToOne(nn.RNN(VOCABULARY, HIDDEN, rng=rng), 2, rng=rng)
    dict(model.named_parameters())["recurrent.weight_hh_l0"].writable()[:] *= scale
    return viz.draw_model(
        model,
        tokens(9),
        loss=lambda out: tgs.cross_entropy(out, np.arange(BATCH) % 2),
        weights="hidden",
    )


def described() -> viz.Drawing:
    """One to many: a vector starts a decoder."""
    rng = np.random.default_rng(0)
    decoder = nn.Decoder(nn.LSTM(VOCABULARY, HIDDEN, rng=rng), rng=rng)
    model = nn.OneToMany(64, decoder, rng=rng)
    vectors = rng.standard_normal((BATCH, 64)).astype(np.float32)
    target = tokens(4, seed=2)
    return viz.draw_model(
        model, vectors, tokens(4), loss=lambda out: tgs.cross_entropy(out.logits, target)
    )


def truncated() -> viz.Drawing:
    """Two windows of three steps under one loss, the state detached in between, then clipped."""
    rng = np.random.default_rng(0)
    cell, head = nn.LSTMCell(VOCABULARY, HIDDEN, rng=rng), nn.Linear(HIDDEN, VOCABULARY, rng=rng)
    x, trace, state, losses = tokens(7), viz.Trace(), None, []
    with tgs.composed(), tgs.observe(trace):
        for t in range(6):
            if t == 3:
                state = nn.detach(state)
            with tgs.scope(path="cell", layer=0, step=t):
                state = cell(x[t], state)
            with tgs.scope(path="head", step=t):
                logits = head(state[0]).tag("logits")
            with tgs.scope(step=t):
                losses.append(tgs.cross_entropy(logits, x[t + 1]).tag("loss"))
        loss = tgs.stack(losses).mean()
        loss.backward()
    weights = [*cell.parameters(), *head.parameters()]
    for parameter in weights:
        assert parameter.node is not None and parameter.grad is not None
        trace.collected(parameter.node, parameter.grad)
    report = optim.clip_grad_norm_(weights, 0.05)
    return viz.draw(loss, trace=trace, direction="both", clip=report)


def translator(both: bool = False) -> viz.Drawing:
    """Three steps in, four steps out."""
    rng = np.random.default_rng(0)
    kind = nn.GRU if both else nn.LSTM
    encoder = kind(VOCABULARY, HIDDEN, bidirectional=both, rng=rng)
    model = nn.Seq2Seq(encoder, nn.Decoder(kind(VOCABULARY, HIDDEN, rng=rng), rng=rng), rng=rng)
    source, target = tokens(3), tokens(4, seed=2)
    return viz.draw_model(
        model, source, target, loss=lambda out: tgs.cross_entropy(out.logits, target)
    )


LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def reverser() -> nn.Seq2Seq:
    """An encoder and a decoder with attention, trained for a second to spell backwards."""
    rng, letters = np.random.default_rng(0), len(LETTERS)
    attention = nn.AdditiveAttention(48, 48, 48, rng=rng)
    decoder = nn.Decoder(nn.GRU(letters + 1, 48, rng=rng), letters, attention, rng=rng)
    model = nn.Seq2Seq(nn.GRU(letters, 48, rng=rng), decoder, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(100):
        words = rng.integers(0, letters, (5, 64))
        loss = tgs.cross_entropy(model(words, shifted(words[::-1])).logits, words[::-1])
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


def shifted(words: Any) -> Any:
    """What a decoder reads: the start token, then all but the last."""
    return np.concatenate([np.full((1, words.shape[1]), len(LETTERS)), words[:-1]])


def spelt(word: str) -> Any:
    """A word as tokens (T, 1)."""
    return np.array([[LETTERS.index(letter)] for letter in word])


def attended(word: str) -> viz.Drawing:
    """Where the trained model looks while it spells a word backwards."""
    x = spelt(word)
    return viz.draw_model(reverser(), x, shifted(x[::-1]))


def alignment(word: str) -> viz.Drawing:
    """The same as a matrix."""
    x = spelt(word)
    weights = reverser()(x, shifted(x[::-1])).weights
    return viz.draw_alignment(weights, word, word[::-1])


class SelfAttention(nn.Module):
    """A recurrent layer, and causal attention over its own outputs."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = nn.GRU(VOCABULARY, HIDDEN, rng=rng)
        self.attend = nn.MultiheadAttention(HIDDEN, 4, rng=rng)
        self.head = nn.Linear(HIDDEN, VOCABULARY, rng=rng)
        for layer in (self.attend.query, self.attend.key):
            layer.weight.data = 4 * layer.weight.numpy()  # weights that differ, untrained

    def forward(self, x: Any) -> Any:
        y, _ = self.rnn(x)
        return self.head(self.attend(y, y, y, causal=True)[0])


def lstm_twice() -> tuple[viz.Drawing, viz.Drawing]:
    """One LSTM, as a layer and by hand, with the same weights."""
    model, x = language_model("LSTM", 1), tokens(4)
    with tgs.composed():
        ours = tgs.cross_entropy(model(x[:-1])[0], x[1:])
    loss, names = by_hand.lstm(model.recurrent, model.head, x[:-1], x[1:])
    return ours.draw(), loss.draw(names=names)


def by(made: tuple[Any, dict[str, Any]], **options: Any) -> viz.Drawing:
    """A model that was written by hand, with the names of its variables."""
    loss, names = made
    return viz.draw(loss, names=names, **options)
