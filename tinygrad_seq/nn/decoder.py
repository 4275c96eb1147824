"""The model of the next token that writes sequences, and may look into a memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, choice, instance_of
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.attention import Attention
from tinygrad_seq.nn.cells.inputs import checked_input
from tinygrad_seq.nn.decode import Generated, beam_search, beams_of
from tinygrad_seq.nn.evaluation import evaluating
from tinygrad_seq.nn.layers import Linear, positive_size, steps_apart
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.recurrent import Recurrent
from tinygrad_seq.nn.state import detach, named_state, select_rows
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Decoded", "Decoder", "FedState", "Join"]


def made_like(recurrent: Recurrent[Any], rng: Any) -> dict[str, Any]:
    """Where the weights around a recurrent layer come from, and their dtype."""
    rng = init.generator(rng, "rng of the weights around a recurrent layer")
    return {"rng": rng, "dtype": recurrent.dtype}


def is_a(kind: type, what: str, given: Any, expected: str, hint: str) -> None:
    """Refuse what is not a part of this kind."""
    if not isinstance(given, kind):
        got = getattr(given, "__name__", type(given).__name__)
        raise ConfigError(what, expected=expected, got=got, hint=hint)


def time_major(owner: str, recurrent: Recurrent[Any]) -> None:
    """Refuse what is not a recurrent layer, or not a time-major one."""
    what = f"{owner}: recurrent layer"
    hint = "layers around it go into a Module of your own, whose forward calls them"
    is_a(Recurrent, what, recurrent, "an nn.Recurrent, such as nn.LSTM", hint)
    if recurrent.batch_first:
        raise ConfigError(what, expected="time-major, (T, N, ...)", got="batch_first=True")


def a_decoder(owner: str, decoder: Decoder) -> None:
    """Refuse what is not a decoder."""
    hint = "nn.Decoder(layer) makes one of a recurrent layer, such as nn.LSTM"
    is_a(Decoder, f"{owner}: decoder", decoder, "an nn.Decoder", hint)


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


@named_state
class FedState(NamedTuple):
    """State of a decoder with input feeding."""

    recurrent: Any
    """Of its recurrent layer."""
    fed: Tensor
    """(N, H), the attentional vector of the step before."""

    def detach(self) -> FedState:
        """The same values without their history: the truncation."""
        return detach(self)


ATTEND = ("after", "feeding", "before")


class Decoder(Module):
    """A model of the next token that may look into a memory.

    Without attention the logits are ``W h_t + b``, h_t the state of the last layer. With it they
    are ``W v_t + b``, where ``v_t = tanh(W_c [context_t; h_t] + b_c)`` and, for `attend`

    - ``"after"``: the context is looked up with h_t, and nothing of it goes into the next step
      (Luong et al., 2015, without input feeding). The recurrent layer runs over all given tokens
      at once.
    - ``"feeding"``: the same, and step t reads ``[x_t; v_{t-1}]`` (Luong et al., 2015, section 3.3,
      input feeding; v_0 is 0).
    - ``"before"``: the context is looked up with h_{t-1}, and step t reads ``[x_t; context_t]``
      (Bahdanau et al., 2015, where the logits come from a maxout of state, x_t and context_t).

    Parameters
    ----------
    recurrent : Recurrent
        In one direction; its input_size is the number of tokens, and :meth:`fed_size_of` on top:
        for ``"feeding"`` its output_size, for ``"before"`` memory_size.
    output_size : int, optional
        Number of tokens V; as many as are read by default.
    attention : Attention, optional
        Queries of the layer's output_size.
    memory_size : int, optional
        Length of the memory's vectors; the layer's output_size by default.
    attend : {"after", "feeding", "before"}
        When to look, and what the next step is told of it.
    rng : numpy.random.Generator, optional
        Source of the other weights.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> attention = nn.MultiplicativeAttention(8, 6, rng=rng)
    >>> layer = nn.GRU(10 + 6, 8, rng=rng)  # reads a token and a context
    >>> decoder = nn.Decoder(layer, None, attention, 6, attend="before", rng=rng)
    >>> decoded = decoder(np.zeros((5, 2), int), memory=np.ones((7, 2, 6), np.float32))
    >>> decoded.logits.shape, decoded.weights.shape
    ((5, 2, 10), (2, 5, 7))
    """

    def __init__(
        self,
        recurrent: Recurrent[Any],
        output_size: int | None = None,
        attention: Attention | None = None,
        memory_size: int | None = None,
        *,
        attend: str = "after",
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
        memory_size = hidden if memory_size is None else memory_size
        (memory_size,) = positive_size("Decoder", memory_size=memory_size)
        self.attend, self.fed_size = attend, self.fed_size_of(attend, hidden, memory_size)
        if attention is not None:
            instance_of("Decoder: attention", attention, Attention)
        self._check_fed(recurrent, attention)
        tokens = recurrent.input_size - self.fed_size
        output_size = tokens if output_size is None else output_size
        (output_size,) = positive_size("Decoder", output_size=output_size)
        self.recurrent, self.attention = recurrent, attention  # all is known to be right
        self.combine: Join | None = None
        if attention is not None:
            self.combine = Join(memory_size + hidden, hidden, **made)
        self.head = Linear(hidden, output_size, **made)

    @staticmethod
    def fed_size_of(attend: str, hidden_size: int, memory_size: int | None = None) -> int:
        """How much longer than its tokens the inputs of a recurrent layer are, for an `attend`.

        0 for ``"after"``, `hidden_size` for ``"feeding"``, `memory_size` for ``"before"``.

        Parameters
        ----------
        attend : {"after", "feeding", "before"}
            As for the decoder.
        hidden_size : int
            The layer's output_size.
        memory_size : int, optional
            Length of the memory's vectors; hidden_size by default.

        Raises
        ------
        ConfigError
            For any other `attend`.

        Examples
        --------
        >>> import numpy as np
        >>> from tinygrad_seq import nn
        >>> tokens, hidden, memory = 10, 8, 6
        >>> fed = nn.Decoder.fed_size_of("before", hidden, memory)
        >>> nn.GRU(tokens + fed, hidden, rng=np.random.default_rng(0)).input_size
        16
        """
        choice(*ATTEND)("Decoder: attend", attend)
        memory_size = hidden_size if memory_size is None else memory_size
        hidden_size, memory_size = positive_size(
            "fed_size_of", hidden_size=hidden_size, memory_size=memory_size
        )
        return {"after": 0, "feeding": hidden_size, "before": memory_size}[attend]

    def _check_fed(self, layer: Recurrent[Any], attention: Attention | None) -> None:
        """Refuse layers that cannot read what this way of attending feeds them."""
        if not self.fed_size:
            return
        if attention is None:
            raise ConfigError(
                f"Decoder: attend={self.attend!r} without an attention",
                hint="pass an attention, or leave attend out",
            )
        if layer.input_size <= self.fed_size:
            raise ConfigError(
                "Decoder: input_size of the recurrent layer",
                expected=f"the number of tokens + {self.fed_size}, as attend={self.attend!r}",
                got=layer.input_size,
            )
        if self.attend == "before" and layer.cell_at(0).own_output:
            raise ConfigError(
                "Decoder: attend='before' looks with what the step before gave out",
                expected="a cell whose output is the first part of its state",
                got=f"{type(layer.cell_at(0)).__name__} with an output of its own",
                hint="attend='feeding' or 'after' would do",
            )
        self._check_dropout(layer)

    def _check_dropout(self, layer: Recurrent[Any]) -> None:
        """Refuse dropout that single steps cannot have: drawn once for all steps."""
        if layer.draws_per_sequence():
            raise ConfigError(
                f"Decoder: attend={self.attend!r} with dropout that is the same at all steps",
                expected="a layer without recurrent_dropout and variational=True",
                hint="the layer is run step by step here, and would draw anew for each",
            )

    def forward(
        self,
        tokens: Any,
        state: Any = None,
        *,
        memory: TensorLike | None = None,
        lengths: Any = None,
        keys: Any = None,
    ) -> Decoded:
        """Logits after every one of the tokens (T, N); `lengths` are the memory's.

        `keys` may carry ``attention.prepare(memory)`` from call to call. The state is that of the
        recurrent layer, with input feeding a :class:`FedState`; there the layer's own is allowed
        as well, and starts from ``v_0 = 0``.
        """
        if isinstance(state, FedState) and self.attend != "feeding":
            raise ConfigError(
                "Decoder: state",
                expected=f"that of its {type(self.recurrent).__name__}",
                got="a FedState",
                hint="only attend='feeding' carries one; its .recurrent would do",
            )
        if self.attention is None or self.combine is None:
            y, state = self.recurrent(tokens, state)
            return Decoded(self.head(y), state, None)
        if memory is None:
            raise ConfigError("Decoder: attention without a memory", hint="pass memory=...")
        if self.fed_size:
            if self.recurrent.training:
                self._check_dropout(self.recurrent)  # it may have been set since
            keys = self.attention.prepared(memory) if keys is None else keys
            look = partial(self.attention, memory=memory, lengths=lengths, keys=keys)
            v, state, weights = self._step_by_step(self._read(tokens), state, look)
        else:
            y, state = self.recurrent(tokens, state)
            context, weights = self.attention(y, memory, lengths=lengths, keys=keys)
            v = self.combine(context, y)
        return Decoded(self.head(v), state, weights)

    def _read(self, tokens: Any) -> Any:
        """Tokens as rows that vectors can be joined to: (T, N, tokens)."""
        size = self.recurrent.input_size - self.fed_size
        dtype = self.head.weight.dtype
        x = tokens if isinstance(tokens, Tensor) else array_of("Decoder: input", tokens)
        whole = x.dtype.kind in "iu"
        if x.ndim + whole != 3 or 0 in x.shape:
            raise ShapeError(
                "Decoder: input",
                expected=f"(T, N) tokens or (T, N, {size}) floats, T and N >= 1",
                got=x.shape,
            )
        sizes = f"input_size {size + self.fed_size} = {size} tokens + {self.fed_size} fed"
        x = checked_input(f"Decoder ({sizes})", x, size, dtype)
        return ops.one_hot(x, size, dtype) if whole else x

    def _step_by_step(
        self, x: Any, state: Any, look: Callable[[Any], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Any, Tensor]:
        """The vectors v (T, N, H), the last state and the weights (N, T, S)."""
        assert self.combine is not None
        layer, outer = self.recurrent, current_mode.get().scope
        rows = shape_of(x)[1]
        before = self.attend == "before"
        vectors, found = [], []
        fed: Any = np.zeros((rows, layer.output_size), self.head.weight.dtype)
        if isinstance(state, FedState):
            state, fed = state
        h: Any = None  # of the step before
        for t in range(shape_of(x)[0]):
            step = outer.start + t if outer.step is None else outer.step
            with scope(step=step, start=step):
                seen = look(layer.top(state, rows) if h is None else h) if before else None
                with scope(path=f"{outer.path}.read" if outer.path else "read"):
                    read = ops.concatenate([x[t], fed if seen is None else seen[0]], axis=-1)
                    read = ops.expand_dims(read, 0)
                y, state = layer(read, state)
                h = y[0]
                context, weights = look(h) if seen is None else seen
                fed = self.combine(context, h)
                vectors.append(fed)
                found.append(weights)
        last = state if before else FedState(state, fed)
        return ops.stack(vectors), last, ops.stack(found, axis=1)

    def extra_repr(self) -> str:
        """When it attends, if not after the step."""
        return f"attend={self.attend!r}" if self.fed_size else ""


def written(
    make: Callable[..., Generated], model: Any, given: Any, lengths: Any, **options: Any
) -> Generated:
    """What a model with a decoder makes of what it is given, by generate or beam_search.

    ``model._begun(given, lengths)`` is what its decoder may look into, and its first state.
    """
    decoder: Decoder = model.decoder
    with evaluating(model):
        known, state = model._begun(given, lengths)
        rows = shape_of(state[0])[1]
        if make is beam_search:
            beams = beams_of(rows, options["width"])
            known, state = select_rows((known, state), beams)
            if known.get("lengths") is not None:
                known["lengths"] = known["lengths"][beams]
        if decoder.attention is not None:
            known["keys"] = decoder.attention.prepare(known["memory"])

        def step(tokens: Any, state: Any) -> tuple[Tensor, Any]:
            logits, state, _ = decoder(np.asarray(tokens)[None], state, **known)
            return logits[0], state

        return make(step, state, rows, **options)
