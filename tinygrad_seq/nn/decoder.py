"""The model of the next token that writes sequences, and may look into a memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.mode import scope
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.attention import Attention
from tinygrad_seq.nn.layers import Linear, steps_apart
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.stack import Recurrent
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Decoded", "Decoder", "Join", "made_like", "one_step", "time_major"]


def made_like(recurrent: Recurrent[Any], rng: Any) -> dict[str, Any]:
    """Where the weights around a recurrent layer come from, and their dtype."""
    rng = init.generator(rng, "rng of the weights around a recurrent layer")
    return {"rng": rng, "dtype": recurrent.layer_weights(0)[0].dtype}


def time_major(owner: str, recurrent: Recurrent[Any]) -> None:
    """Refuse a layer that is not time-major."""
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
        apart = steps_apart(a)
        if apart is None:
            both = ops.concatenate([a, b], axis=-1)
            return ops.tanh(ops.linear(both, self.weight, self.bias))
        steps = []
        for step, a_t, b_t in zip(apart, a, b, strict=True):  # type: ignore[arg-type]
            with scope(step=step):
                steps.append(self.forward(a_t, b_t))
        return ops.stack(steps)


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
        time_major("Decoder", recurrent)
        if recurrent.bidirectional:
            raise ConfigError(
                "Decoder: recurrent layer",
                expected="one direction",
                got="bidirectional=True",
                hint="a decoder cannot read what it has not written yet",
            )
        made = made_like(recurrent, rng)
        hidden = recurrent.output_size
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


def one_step(decoder: Decoder, **given: Any) -> Callable[[Any, Any], tuple[Tensor, Any]]:
    """A decoder as the step of a generation: tokens (N,) to logits (N, V)."""

    def step(tokens: Any, state: Any) -> tuple[Tensor, Any]:
        logits, state, _ = decoder(np.asarray(tokens)[None], state, **given)
        return logits[0], state

    return step
