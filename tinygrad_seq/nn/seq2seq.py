"""Encoder and decoder: a sequence from a sequence, with or without attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn.decode import Generated, beam_search, generate
from tinygrad_seq.nn.decoder import (
    Decoded,
    Decoder,
    Join,
    a_decoder,
    made_like,
    time_major,
    written,
)
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.recurrent import Recurrent
from tinygrad_seq.ops.registry import values_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Seq2Seq"]


def _states(layer: Recurrent[Any]) -> str:
    sizes = ", ".join(f"{name} of {size}" for name, size in layer.state_sizes.items())
    return f"{layer.num_layers} layers with {sizes}"


class Seq2Seq(Module):
    """An encoder's last state, and with attention its outputs, start a decoder.

    Parameters
    ----------
    encoder : Recurrent
        One or both directions; with both, an affine map and tanh join their last states, unless
        the decoder has twice as many layers, one for each.
    decoder : Decoder
        Whose state has the same parts, of as many layers.
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
        time_major("Seq2Seq: encoder", encoder)
        a_decoder("Seq2Seq", decoder)
        inner = decoder.recurrent
        layers = {encoder.num_layers, encoder.num_layers * encoder.directions}
        if encoder.state_sizes != inner.state_sizes or inner.num_layers not in layers:
            raise ConfigError(
                "Seq2Seq: encoder and decoder carry different states",
                expected=f"{_states(inner)}, like the decoder",
                got=_states(encoder),
            )
        join = decoder.combine
        if join is not None and join.in_features != encoder.output_size + inner.output_size:
            raise ConfigError(
                "Seq2Seq: the decoder's memory_size is not the length of the encoder's outputs",
                expected=encoder.output_size,
                got=join.in_features - inner.output_size,
                hint=f"Decoder(..., memory_size={encoder.output_size}), and an attention to fit",
            )
        made = made_like(encoder, rng)
        self.encoder, self.decoder = encoder, decoder
        self.bridge: Join | None = None
        if encoder.num_layers * encoder.directions != inner.num_layers:
            first, *others = dict.fromkeys(encoder.state_sizes.values())
            self.bridge = Join(2 * first, first, **made)
            for size in others:  # parts of another length have a bridge of their own
                setattr(self, f"bridge_{size}", Join(2 * size, size, **made))

    def encode(self, source: TensorLike, lengths: Any = None) -> tuple[Tensor, Any]:
        """The memory (S, N, M), and the state for the decoder to start from."""
        memory, state = self.encoder(source, lengths=lengths)
        if self.bridge is not None:
            parts = []
            for part in state:  # (layers * 2, N, H), the directions of a layer side by side
                join = getattr(self, f"bridge_{part.shape[-1]}", self.bridge)
                pairs = range(0, part.shape[0], 2)
                parts.append(ops.stack([join(part[k], part[k + 1]) for k in pairs]))
            state = parts
        return memory, self.decoder.recurrent.state_type(*state)

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
        known, state = self._begun(source, lengths)
        decoded: Decoded = self.decoder(tokens, state, **known)
        return decoded

    def _begun(self, source: TensorLike, lengths: Any) -> tuple[dict[str, Any], Any]:
        memory, state = self.encode(source, lengths)
        if self.decoder.attention is None:
            return {}, state
        lengths = None if lengths is None else array_of("lengths", values_of(lengths))
        return {"memory": memory, "lengths": lengths}, state

    def generate(
        self, source: TensorLike, start: int, *, lengths: Any = None, **options: Any
    ) -> Generated:
        """Translate greedily or by drawing; `options` as for :func:`~tinygrad_seq.nn.generate`.

        Without dropout, whatever the mode: :func:`~tinygrad_seq.nn.evaluating`.
        """
        return written(generate, self, source, lengths, start=start, **options)

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
        """Translate; `options` as for :func:`~tinygrad_seq.nn.beam_search`. Without dropout."""
        options.update(start=start, end=end, width=width)
        return written(beam_search, self, source, lengths, **options)
