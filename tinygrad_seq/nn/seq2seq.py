"""The wirings of the notes: many to one, many to many, one to many, and encoder-decoder.

Each joins a recurrent layer (any of RNN, LSTM, GRU) with what goes before and after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.mode import no_grad, scope
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn.attention import Attention, length_mask
from tinygrad_seq.nn.decode import Generated, beam_search, generate
from tinygrad_seq.nn.layers import Linear, positive_size, runs_stepwise
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.stack import Recurrent
from tinygrad_seq.nn.state import select_rows
from tinygrad_seq.ops.registry import constant, shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Decoded", "Decoder", "ManyToMany", "ManyToOne", "OneToMany", "Seq2Seq"]


def _made(recurrent: Recurrent[Any], rng: Any) -> dict[str, Any]:
    """Where the weights around a recurrent layer come from, and their dtype."""
    rng = np.random.default_rng() if rng is None else rng
    return {"rng": rng, "dtype": recurrent.layer_weights(0)[0].dtype}


def _time_major(owner: str, recurrent: Recurrent[Any]) -> None:
    if recurrent.batch_first:
        raise ConfigError(
            f"{owner}: recurrent layer",
            expected="time-major, (T, N, ...)",
            got="batch_first=True",
        )


class Join(Linear):
    """Two vectors as one: ``tanh(W [a; b] + bias)``."""

    def forward(self, a: TensorLike, b: TensorLike) -> Tensor:  # type: ignore[override]
        """Join a (..., A) and b (..., B); sequences step by step under ``composed()``."""
        if not runs_stepwise(a):
            both = ops.concatenate([a, b], axis=-1)
            return ops.tanh(ops.linear(both, self.weight, self.bias))
        steps = []
        for t, (a_t, b_t) in enumerate(zip(a, b, strict=True)):  # type: ignore[arg-type]
            with scope(step=t):
                steps.append(self.forward(a_t, b_t))
        return ops.stack(steps)


class ManyToOne(Module):
    """Classify a sequence: the last valid state of the top layer, through a readout.

    Parameters
    ----------
    recurrent : RNN, LSTM or GRU
        If bidirectional, the last states of both directions are joined.
    output_size : int
        Number of classes.
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

    def __init__(
        self, recurrent: Recurrent[Any], output_size: int, *, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__()
        _time_major("ManyToOne", recurrent)
        self.recurrent = recurrent
        width = recurrent.directions * recurrent.hidden_size
        self.head = Linear(width, output_size, **_made(recurrent, rng))

    def forward(self, x: TensorLike, state: Any = None, *, lengths: Any = None) -> Tensor:
        """Logits (N, V) of sequences (T, N, ...)."""
        _, last = self.recurrent(x, state, lengths=lengths)
        directions = self.recurrent.directions
        tops = [last.h[k - directions] for k in range(directions)]
        logits: Tensor = self.head(tops[0] if directions == 1 else ops.concatenate(tops, axis=-1))
        return logits


class ManyToMany(Module):
    """Label every step of a sequence: ``y_t = W_hy h_t + b``.

    Parameters
    ----------
    recurrent : RNN, LSTM or GRU
    output_size : int
        Number of labels.
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

    def __init__(
        self, recurrent: Recurrent[Any], output_size: int, *, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__()
        _time_major("ManyToMany", recurrent)
        self.recurrent = recurrent
        width = recurrent.directions * recurrent.hidden_size
        self.head = Linear(width, output_size, **_made(recurrent, rng))

    def forward(
        self, x: TensorLike, state: Any = None, *, lengths: Any = None, reset: Any = None
    ) -> tuple[Tensor, Any]:
        """Logits (T, N, V) and the last state; logits in the padding are the bias."""
        y, state = self.recurrent(x, state, lengths=lengths, reset=reset)
        return self.head(y), state


class Decoded(NamedTuple):
    """What a decoder gives for a sequence of inputs."""

    logits: Tensor
    """(T, N, V)."""
    state: Any
    """Last state of its recurrent layer."""
    weights: Tensor | None
    """(N, T, S) attention weights; None without attention."""


class Decoder(Module):
    """A model of the next token that may look into a memory.

    Without attention the logits are ``W h_t + b``; with it, after Luong et al. (2015),
    ``W tanh(W_c [context_t; h_t]) + b``, where the context is looked up with h_t. The recurrent
    layer thus runs over all given tokens at once.

    Parameters
    ----------
    recurrent : RNN, LSTM or GRU
        In one direction; its input_size is the number of tokens.
    output_size : int, optional
        Number of tokens V; the recurrent layer's input_size by default.
    attention : Attention, optional
        Queries of the layer's hidden_size.
    memory_size : int, optional
        Length of the memory's vectors; hidden_size by default.
    rng : numpy.random.Generator, optional
        Source of the other weights.
    """

    def __init__(
        self,
        recurrent: Recurrent[Any],
        output_size: int | None = None,
        attention: Attention | None = None,
        memory_size: int | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        _time_major("Decoder", recurrent)
        if recurrent.bidirectional:
            raise ConfigError(
                "Decoder: recurrent layer",
                expected="one direction",
                got="bidirectional=True",
                hint="a decoder cannot read what it has not written yet",
            )
        made = _made(recurrent, rng)
        hidden = recurrent.hidden_size
        self.recurrent = recurrent
        self.attention = attention
        self.combine: Join | None = None
        if attention is not None:
            memory_size = hidden if memory_size is None else memory_size
            self.combine = Join(memory_size + hidden, hidden, **made)
        width = recurrent.input_size if output_size is None else output_size
        self.head = Linear(hidden, width, **made)

    def forward(
        self,
        tokens: Any,
        state: Any = None,
        *,
        memory: Tensor | None = None,
        lengths: Any = None,
        keys: Any = None,
    ) -> Decoded:
        """Logits after every one of the tokens (T, N); `lengths` are the memory's.

        `keys` may carry ``attention.prepare(memory)`` from call to call.
        """
        y, state = self.recurrent(tokens, state)
        weights = None
        if self.attention is not None and self.combine is not None:
            if memory is None:
                raise ConfigError("Decoder: attention without a memory", hint="pass memory=...")
            context, weights = self.attention(y, memory, lengths=lengths, keys=keys)
            y = self.combine(context, y)
        return Decoded(self.head(y), state, weights)


def _one_step(decoder: Decoder, **given: Any) -> Callable[[Any, Any], tuple[Tensor, Any]]:
    """A decoder as the step of a generation: tokens (N,) to logits (N, V)."""

    def step(tokens: Any, state: Any) -> tuple[Tensor, Any]:
        logits, state, _ = decoder(np.asarray(tokens)[None], state, **given)
        return logits[0], state

    return step


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
        if decoder.attention is not None:
            raise ConfigError("OneToMany: decoder", expected="no attention", got="attention")
        self.decoder = decoder
        layer = decoder.recurrent
        parts = len(layer.state_type._fields)
        width = parts * layer.num_layers * layer.hidden_size
        self.start = Linear(vector_size, width, **_made(layer, rng))

    def initial_state(self, vector: TensorLike) -> Any:
        """The state that stands for vectors (N, D): tanh of an affine map."""
        layer = self.decoder.recurrent
        made = ops.tanh(self.start(vector))
        shape = (made.shape[0], -1, layer.num_layers, layer.hidden_size)
        return layer.state_type(*ops.transpose(ops.reshape(made, shape), (1, 2, 0, 3)))

    def forward(self, vector: TensorLike, tokens: Any) -> Decoded:
        """Logits after each of the given tokens (T, N): teacher forcing."""
        decoded: Decoded = self.decoder(tokens, self.initial_state(vector))
        return decoded

    def generate(self, vector: TensorLike, start: int, **options: Any) -> Generated:
        """Make sequences; `options` as for :func:`~tinygrad_seq.nn.generate`."""
        with no_grad():
            state = self.initial_state(vector)
        return generate(_one_step(self.decoder), state, shape_of(vector)[0], start, **options)


class Seq2Seq(Module):
    """An encoder's last state, and with attention its outputs, start a decoder.

    Parameters
    ----------
    encoder : RNN, LSTM or GRU
        One or both directions; with both, an affine map and tanh join their last states.
    decoder : Decoder
        Of the same kind, layers and hidden_size.
    rng : numpy.random.Generator, optional
        Source of the weights between.

    Notes
    -----
    Sources: Sutskever et al., 2014; Cho et al., 2014; with attention, Luong et al., 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> attention = nn.AdditiveAttention(8, 16, 8, rng=rng)
    >>> decoder = nn.Decoder(nn.GRU(11, 8, rng=rng), None, attention, 16, rng=rng)
    >>> model = nn.Seq2Seq(nn.GRU(10, 8, bidirectional=True, rng=rng), decoder, rng=rng)
    >>> source = np.zeros((7, 2), int)
    >>> decoded = model(source, np.zeros((5, 2), int), lengths=[7, 3])
    >>> decoded.logits.shape, decoded.weights.shape
    ((5, 2, 11), (2, 5, 7))
    >>> model.beam_search(source, start=0, end=1, width=3, max_steps=4).lengths.shape
    (2,)
    """

    def __init__(
        self,
        encoder: Recurrent[Any],
        decoder: Decoder,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        _time_major("Seq2Seq", encoder)
        inner = decoder.recurrent
        ours = (encoder.state_type.__name__, encoder.num_layers, encoder.hidden_size)
        theirs = (inner.state_type.__name__, inner.num_layers, inner.hidden_size)
        if ours != theirs:
            raise ConfigError(
                "Seq2Seq: encoder and decoder carry different states",
                expected=f"{theirs[0]}, {theirs[1]} layers of {theirs[2]}, like the decoder",
                got=f"{ours[0]}, {ours[1]} layers of {ours[2]}",
            )
        self.encoder, self.decoder = encoder, decoder
        self.bridge: Join | None = None
        if encoder.bidirectional:
            hidden = encoder.hidden_size
            self.bridge = Join(2 * hidden, hidden, **_made(encoder, rng))

    def encode(self, source: TensorLike, lengths: Any = None) -> tuple[Tensor, Any]:
        """The memory (S, N, M), and the state for the decoder to start from."""
        memory, state = self.encoder(source, lengths=lengths)
        if self.bridge is not None:
            parts = []
            for part in state:  # (layers * 2, N, H), the directions of a layer side by side
                pairs = range(0, part.shape[0], 2)
                parts.append(ops.stack([self.bridge(part[k], part[k + 1]) for k in pairs]))
            state = type(state)(*parts)
        return memory, state

    def forward(self, source: TensorLike, tokens: Any, *, lengths: Any = None) -> Decoded:
        """Logits after each of the given target tokens (T, N): teacher forcing.

        Parameters
        ----------
        source : (S, N) tokens or (S, N, I) floats
        tokens : (T, N) integers
            What the decoder reads: the start token, then the targets but for the last.
        lengths : (N,) integers, optional
            Valid steps of the source.
        """
        memory, state = self.encode(source, lengths)
        decoded: Decoded = self.decoder(tokens, state, **self._memory(memory, lengths))
        return decoded

    def _memory(self, memory: Tensor, lengths: Any) -> dict[str, Any]:
        return {} if self.decoder.attention is None else {"memory": memory, "lengths": lengths}

    def generate(
        self, source: TensorLike, start: int, *, lengths: Any = None, **options: Any
    ) -> Generated:
        """Translate greedily or by drawing; `options` as for :func:`~tinygrad_seq.nn.generate`."""
        with no_grad():
            memory, state = self.encode(source, lengths)
            given = self._with_keys(memory, lengths)
        return generate(_one_step(self.decoder, **given), state, memory.shape[1], start, **options)

    def beam_search(
        self,
        source: TensorLike,
        start: int,
        *,
        end: int,
        width: int = 5,
        lengths: Any = None,
        **options: Any,
    ) -> Generated:
        """Translate; `options` as for :func:`~tinygrad_seq.nn.beam_search`."""
        with no_grad():
            memory, state = self.encode(source, lengths)
            rows = memory.shape[1]
            beams = np.repeat(np.arange(rows), width)
            wide = None if lengths is None else np.asarray(constant(lengths))[beams]
            given = self._with_keys(select_rows(memory, beams), wide)
            state = select_rows(state, beams)
        step = _one_step(self.decoder, **given)
        return beam_search(step, state, rows, start, end=end, width=width, **options)

    def _with_keys(self, memory: Tensor, lengths: Any) -> dict[str, Any]:
        given = self._memory(memory, lengths)
        if self.decoder.attention is not None:
            given["keys"] = self.decoder.attention.prepare(memory)
            if lengths is not None:
                length_mask(lengths, memory.shape[0])  # wrong ones are told before the first step
        return given
