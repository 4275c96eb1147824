"""The wirings of the notes around one recurrent layer: many to one, many to many, one to many.

Any layer, of our cells or yours, with what goes before and after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import flag
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn.decode import Generated, beam_search, generate
from tinygrad_seq.nn.decoder import Decoded, Decoder, a_decoder, made_like, time_major, written
from tinygrad_seq.nn.layers import Linear, positive_size
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.recurrent import Recurrent
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["ManyToMany", "ManyToOne", "OneToMany"]


class _ReadOut(Module):
    """A recurrent layer and a linear readout."""

    def __init__(
        self,
        recurrent: Recurrent[Any],
        output_size: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        time_major(owner, recurrent)
        made = made_like(recurrent, rng)
        (output_size,) = positive_size(owner, output_size=output_size)
        flag(f"{owner}: bias", bias)
        self.recurrent = recurrent
        self.head = Linear(recurrent.output_size, output_size, bias, **made)


class ManyToOne(_ReadOut):
    """Classify a sequence: the last valid state of the top layer, through a readout.

    Parameters
    ----------
    recurrent : Recurrent
        If bidirectional, the last states of both directions are joined.
    output_size : int
        Number of classes.
    bias : bool
        Whether the readout adds b; without it, it is the notes' ``y = W_hy h``.
    rng : numpy.random.Generator, optional
        Source of the readout's weights.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.ManyToOne(nn.GRU(10, 8, rng=rng), 3, rng=rng)
    >>> model(np.zeros((7, 2), int), lengths=[7, 4]).shape
    (2, 3)
    """

    def forward(self, x: TensorLike, state: Any = None, *, lengths: Any = None) -> Tensor:
        """Logits (N, V) of sequences (T, N, ...)."""
        y, last = self.recurrent(x, state, lengths=lengths)
        logits: Tensor = self.head(self.recurrent._last_output(y, last, lengths))
        return logits


class ManyToMany(_ReadOut):
    """Label every step of a sequence: ``y_t = W_hy h_t + b``.

    Parameters
    ----------
    recurrent : Recurrent
    output_size : int
        Number of labels.
    bias : bool
        Whether the readout adds b; without it, it is the notes' ``y = W_hy h``.
    rng : numpy.random.Generator, optional
        Source of the readout's weights.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> tagger = nn.ManyToMany(nn.LSTM(10, 8, bidirectional=True, rng=rng), 3, rng=rng)
    >>> logits, state = tagger(np.zeros((7, 2), int))
    >>> logits.shape
    (7, 2, 3)
    """

    def forward(
        self, x: TensorLike, state: Any = None, *, lengths: Any = None, reset: Any = None
    ) -> tuple[Tensor, Any]:
        """Logits (T, N, V) and the last state; logits in the padding are the bias, or 0."""
        y, state = self.recurrent(x, state, lengths=lengths, reset=reset)
        return self.head(y), state


class OneToMany(Module):
    """A sequence from a vector, as in describing an image: the vector makes the first state.

    Parameters
    ----------
    vector_size : int
        Length of the vector.
    decoder : Decoder
        Without attention.
    rng : numpy.random.Generator, optional
        Source of the weights between.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.OneToMany(6, nn.Decoder(nn.LSTM(10, 8, rng=rng), rng=rng), rng=rng)
    >>> vector = np.ones((2, 6), np.float32)
    >>> model(vector, np.zeros((5, 2), int)).logits.shape
    (5, 2, 10)
    >>> model.generate(vector, start=0, max_steps=4).tokens.shape
    (4, 2)
    """

    def __init__(
        self, vector_size: int, decoder: Decoder, *, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__()
        positive_size("OneToMany", vector_size=vector_size)
        a_decoder("OneToMany", decoder)
        if decoder.attention is not None:
            raise ConfigError("OneToMany: decoder", expected="no attention", got="attention")
        layer = decoder.recurrent
        made = made_like(layer, rng)
        self.decoder = decoder
        width = layer.num_layers * sum(layer.state_sizes.values())
        self.start = Linear(vector_size, width, **made)

    def initial_state(self, vector: TensorLike) -> Any:
        """The state that stands for vectors (N, D): tanh of an affine map."""
        layer = self.decoder.recurrent
        if len(shape_of(vector)) != 2:
            raise ShapeError("OneToMany: vectors", expected="(N, D)", got=shape_of(vector))
        made = ops.tanh(self.start(vector))
        sizes = list(layer.state_sizes.values())
        if len(set(sizes)) == 1:
            shape = (made.shape[0], -1, layer.num_layers, sizes[0])
            return layer.state_type(*ops.transpose(ops.reshape(made, shape), (1, 2, 0, 3)))
        ends = np.cumsum([layer.num_layers * size for size in sizes])
        parts = ops.split(made, tuple(ends[:-1].tolist()), axis=-1)
        rows = made.shape[0], layer.num_layers, -1
        return layer.state_type(*(np.swapaxes(ops.reshape(p, rows), 0, 1) for p in parts))

    def _begun(self, vector: TensorLike, lengths: Any) -> tuple[dict[str, Any], Any]:
        return {}, self.initial_state(vector)

    def forward(self, vector: TensorLike, tokens: Any) -> Decoded:
        """Logits after each of the given tokens (T, N): teacher forcing."""
        decoded: Decoded = self.decoder(tokens, self.initial_state(vector))
        return decoded

    def generate(self, vector: TensorLike, start: int, **options: Any) -> Generated:
        """Make sequences; `options` as for :func:`~tinygrad_seq.nn.generate`. Without dropout."""
        return written(generate, self, vector, None, start=start, **options)

    def beam_search(
        self, vector: TensorLike, start: int, *, end: int, width: int = 5, **options: Any
    ) -> Generated:
        """Find the likeliest; `options` as for :func:`~tinygrad_seq.nn.beam_search`.

        Without dropout.
        """
        options.update(start=start, end=end, width=width)
        return written(beam_search, self, vector, None, **options)
