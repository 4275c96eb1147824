"""Small models and runs that the tests of drawings share."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn


class Model(nn.Module):
    """Tokens to logits through a recurrent layer and a readout."""

    def __init__(self, kind: str = "LSTM", layers: int = 1, vocab: int = 5, hidden: int = 3):
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = getattr(nn, kind)(vocab, hidden, num_layers=layers, rng=rng)
        self.head = nn.Linear(hidden, vocab, rng=rng)

    def forward(self, tokens, state=None):
        y, state = self.rnn(tokens, state)
        return self.head(y), state


def tokens(steps: int, batch: int = 2, vocab: int = 5) -> np.ndarray:
    return np.random.default_rng(1).integers(0, vocab, (steps, batch))


def composed_loss(model, steps, state=None, trace=None):
    """Loss of a composed run and the state after it; with a trace, gone backward too."""
    listening = nullcontext() if trace is None else tgs.observe(trace)
    with tgs.composed(), listening:
        logits, last = model(tokens(steps), state)
        loss = tgs.cross_entropy(logits, tokens(steps))
        if trace is not None:
            loss.backward()
    return loss, last


MODELS = {"rnn": ("RNN", 1), "rnn2": ("RNN", 2), "lstm": ("LSTM", 1), "lstm2": ("LSTM", 2)}
