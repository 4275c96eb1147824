"""The character language model: recurrent layers over one-hot characters, and a readout."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import nn
from tinygrad_seq.checks import below_one, choice, size
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["CharLM"]

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
"""The layers that a model may be made of, by the name that its option has; the usual one first."""


class CharLM(nn.Module):
    """Predict the next character from all before it.

    ``y, state = rnn(onehot(tokens), state)``, ``logits = dropout(y) W + b``: the notes'
    ``h_t = f_W(h_{t-1}, x_t)`` and ``y_t = W_hy h_t``, with the layers of char-rnn.

    Parameters
    ----------
    vocab : int
        V, the number of characters.
    hidden : int
        H, the width of every layer.
    layers : int
        Stacked recurrent layers.
    model : {"lstm", "gru", "rnn"}
        What the layers are; ``"rnn"`` is the tanh RNN.
    dropout : float
        Probability of dropping an output of a layer (between layers, and before the readout)
        while training.
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import charlm, train
    >>> model = charlm.CharLM(65, hidden=32, layers=2, rng=np.random.default_rng(0))
    >>> logits, state = model(np.zeros((7, 3), int))  # tokens (T, N)
    >>> logits.shape, state.h.shape
    ((7, 3, 65), (2, 3, 32))
    """

    def __init__(
        self,
        vocab: int,
        hidden: int = 128,
        layers: int = 2,
        *,
        model: str = "lstm",
        dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        choice(*LAYERS)("CharLM: model", model)
        layers, dropout = size("CharLM: layers", layers), below_one("CharLM: dropout", dropout)
        rng = nn.init.generator(rng, "CharLM")
        between = dropout if layers > 1 else 0.0
        self.rnn = LAYERS[model](vocab, hidden, layers, dropout=between, rng=rng, dtype=dtype)
        # One-hot input makes W_xh a table of embeddings: one row is all that a step reads, so the
        # rows start as nn.Embedding's do. Scaled by the number of characters instead (Glorot),
        # the input would be faint, and the first hundred updates go by before it is heard.
        first, _, _ = self.rnn.layer_weights(0)
        first.data = nn.init.normal(rng, first.shape, 1.0, dtype)
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.head = nn.Linear(hidden, vocab, rng=rng, dtype=dtype)

    def forward(self, tokens: TensorLike, state: Any = None) -> tuple[Tensor, Any]:
        """Logits (T, N, V) of the character after each of `tokens` (T, N), and the new state."""
        y, state = self.rnn(tokens, state)
        return self.head(self.dropout(y)), state
