"""What recurrent layers share: stacked layers, directions, shapes, states, lengths, resets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.arguments import warn_caller
from tinygrad_seq.checks import array_of, count, flag, float_dtype, integers_of, truths_of
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells import checked_input, gate_weights
from tinygrad_seq.nn.layers import Dropout, positive_size, probability
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.norm import LayerNorm, VariationalDropout
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState, checked_state
from tinygrad_seq.ops.recurrent import sequence_options
from tinygrad_seq.ops.registry import values_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["Recurrent"]

State = TypeVar("State", RNNState, LSTMState, GRUState)


MOST_LAYERS = 10_000


class Recurrent(Module, Generic[State]):
    """Base of RNN, LSTM and GRU: any number of layers, in one direction or both.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers.
    dropout : float
        Probability of dropping inputs of layers above the first, while training. One layer has
        none, and warns.
    variational : bool
        Whether that dropout drops the same features of a sequence at all its steps.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first; outputs of both
        directions are joined, (T, N, 2H).
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward.
    layer_norm : bool
        Whether to normalise what goes into the gates, by weights of their own.
    recurrent_dropout : float
        Probability of dropping features of h_{t-1} on their way into W_hh, the same ones of a
        sequence at all steps, while training.
    forget_bias, rng, dtype
        As for :class:`~tinygrad_seq.nn.LSTM`.
    """

    gates: ClassVar[int]
    state_type: ClassVar[Any]
    norm_sizes: ClassVar[dict[str, int]]  # of each normalisation of a layer, in units of H

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        variational: bool = False,
        batch_first: bool = False,
        bidirectional: bool = False,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        forget_bias: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        input_size, hidden_size = positive_size(
            owner, input_size=input_size, hidden_size=hidden_size
        )
        num_layers = count(1, MOST_LAYERS)(f"{owner}: num_layers", num_layers)
        for name, value in {
            "variational": variational,
            "batch_first": batch_first,
            "bidirectional": bidirectional,
            "trainable_state": trainable_state,
            "layer_norm": layer_norm,
        }.items():
            flag(f"{owner}: {name}", value)
        if not isinstance(checkpoint, bool):
            (checkpoint,) = positive_size(owner, checkpoint=checkpoint)
        probability(f"{owner}: dropout", dropout)
        recurrent_dropout = probability(f"{owner}: recurrent_dropout", recurrent_dropout)
        dtype = float_dtype(owner, dtype)
        if checkpoint and (layer_norm or recurrent_dropout):
            raise ConfigError(
                f"{owner}: checkpoint with layer_norm or recurrent_dropout",
                expected="one or the other",
                hint="tinygrad_seq.train.bptt.bptt recomputes any model",
            )
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.bidirectional = batch_first, bidirectional
        self.checkpoint = checkpoint
        self.trainable_state, self.layer_norm = trainable_state, layer_norm
        self.dropout = (VariationalDropout if variational else Dropout)(dropout, rng=rng)
        self._warn_of_idle_dropout(dropout, variational)
        self.recurrent_dropout = recurrent_dropout
        for k, suffix in self._places():
            size = self.output_size if k else input_size
            weights = gate_weights(rng, size, hidden_size, self.gates, forget_bias, dtype)
            for name, weight in zip(("weight_xh", "weight_hh", "bias"), weights, strict=True):
                setattr(self, f"{name}_l{k}{suffix}", weight)
            self._more_weights(f"_l{k}{suffix}", rng, dtype)
            if layer_norm:
                for name, times in self.norm_sizes.items():
                    norm = LayerNorm(times * hidden_size, dtype=dtype)
                    setattr(self, f"{name}_l{k}{suffix}", norm)
        if trainable_state:
            for name in self.state_type._fields:
                shape = (num_layers * self.directions, self._state_size(name))
                setattr(self, f"initial_{name}", Parameter(np.zeros(shape, dtype)))

    def _warn_of_idle_dropout(self, dropout: float, variational: bool) -> None:
        owner = type(self).__name__
        if (dropout or variational) and self.num_layers == 1:
            given = f"dropout={dropout}" if dropout else "variational=True"
            warn_caller(
                f"{owner}: {given} never acts: it is for what goes from layer to layer, and there "
                "is one. Leave it out, take more layers, or apply nn.Dropout to the outputs; "
                "recurrent_dropout drops within a layer"
            )
        elif variational and not dropout:
            warn_caller(f"{owner}: variational=True never acts without dropout=")

    def _more_weights(self, suffix: str, rng: np.random.Generator, dtype: Any) -> None:
        """Make what a layer has besides W_xh, W_hh and b."""

    @property
    def directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 2 if self.bidirectional else 1

    def _places(self) -> Iterator[tuple[int, str]]:
        """(layer, suffix of its parameters) in the order of the states."""
        for k in range(self.num_layers):
            yield k, ""
            if self.bidirectional:
                yield k, "_reverse"

    def layer_weights(
        self, layer: int, reverse: bool = False
    ) -> tuple[Parameter, Parameter, Parameter]:
        """W_xh (I or H, gates * H), W_hh (H, gates * H) and b (gates * H) of one layer."""
        if type(layer) is not int or not 0 <= layer < self.num_layers:
            count(0, self.num_layers - 1)(f"{type(self).__name__}: layer", layer)
        if reverse is not False and flag("reverse", reverse) and not self.bidirectional:
            raise ConfigError(f"{type(self).__name__}: reverse", expected="bidirectional=True")
        suffix = f"_l{layer}" + ("_reverse" if reverse else "")
        found = [getattr(self, f"{name}{suffix}") for name in ("weight_xh", "weight_hh", "bias")]
        return found[0], found[1], found[2]

    def stacked_weight(self, layer: int = 0, reverse: bool = False) -> Array:
        """The notes' W of ``W [h; x]``: W_hh over W_xh, transposed to (gates * H, H + I)."""
        weight_xh, weight_hh, _ = self.layer_weights(layer, reverse)
        return np.concatenate([weight_hh.numpy(), weight_xh.numpy()]).T

    def _extras(self, layer: int, reverse: bool, rows: int) -> dict[str, Any]:
        """What a step needs beyond the plain one: its norms, and the dropping of its states.

        Empty if the fused kernel will do. The mask is drawn here, once for all steps.
        """
        found: dict[str, Any] = {}
        if self.layer_norm:
            suffix = f"_l{layer}" + ("_reverse" if reverse else "")
            found["norms"] = [getattr(self, f"{name}{suffix}") for name in self.norm_sizes]
        p = self.recurrent_dropout
        if self.training and p:
            kept = self.dropout.rng.random((rows, self._state_size("h")), np.float32) >= p
            mask = kept.astype(self.layer_weights(layer)[1].dtype) / (1 - p)
            found["drop"] = lambda h: ops.multiply(h, mask)
        return found

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        """One layer in one direction: (y, *last state of the layer)."""
        raise ConfigError(f"{type(self).__name__} has no _sequence method")

    def forward(
        self, x: TensorLike, state: State | None = None, *, lengths: Any = None, reset: Any = None
    ) -> tuple[Tensor, State]:
        """Run a batch of sequences.

        Parameters
        ----------
        x : (T, N, I) floats or (T, N) integer tokens
            Tokens stand for one-hot rows. (N, T, ...) with ``batch_first=True``; unbatched
            (T, I) and (T,) are allowed.
        state : optional
            Where to start, (layers * directions, N, H) each; zeros by default. Where h is all of
            it (RNN, GRU), h itself will do.
        lengths : (N,) integers, optional
            Valid steps of every row, 0 .. T in any order. The padding after them is never
            read: no garbage in it reaches an output or a gradient.
        reset : (N,) or (T, N) booleans, optional
            Rows that start anew, before the first step or before each step: their state,
            and its gradient, are 0 there. (N, T) with ``batch_first=True``. The reverse direction
            loses its state at the same places, between a new start and the step before it.
            A reset in the padding means nothing.

        Returns
        -------
        y : Tensor (T, N, directions * H)
            Hidden states of the last layer, 0 in the padding.
        state
            State of every layer after its last valid step (in reverse, the first); of a row
            of length 0, its initial state. Detach it before the next window.
        """
        owner = type(self).__name__
        if lengths is not None:
            lengths = integers_of(f"{owner}: lengths", values_of(lengths))
        if reset is not None:
            reset = truths_of(f"{owner}: reset", values_of(reset))
        x, lengths, unbatched = self._time_major(x, lengths)
        steps, batch = np.shape(x)[:2]
        if reset is not None and np.ndim(reset) == 2 and self.batch_first and not unbatched:
            reset = np.swapaxes(reset, 0, 1)
        if reset is not None and unbatched:
            reset = np.reshape(reset, (-1, 1) if np.ndim(reset) else (1,))
        checkpoint: Any = self.checkpoint
        if isinstance(checkpoint, bool):
            checkpoint = int(np.ceil(np.sqrt(steps))) if checkpoint else None
        options: dict[str, Any] = {}
        if lengths is not None or reset is not None or checkpoint is not None:
            options = sequence_options(owner, steps, batch, lengths, reset, False, checkpoint)
            if "every" in options:
                options["checkpoint"] = options.pop("every")
        x = self._checked(x, options.get("lengths"))
        y, lasts = self._run_layers(x, self._initial(state, batch, unbatched), options)
        stacked = [ops.stack(part) for part in zip(*lasts, strict=True)]
        if unbatched:
            y, stacked = ops.squeeze(y, 1), [ops.squeeze(part, 1) for part in stacked]
        elif self.batch_first:
            y = ops.swapaxes(y, 0, 1)
        return y, self.state_type(*stacked)

    def _time_major(self, x: Any, lengths: Any) -> tuple[Any, Any, bool]:
        """The input as (T, N, ...), its lengths as (N,), and whether it had no batch axis."""
        if not isinstance(x, Tensor):
            refuse_several(type(self).__name__, x)
            x = array_of(f"{type(self).__name__}: input", x)
        tokens = x.dtype.kind in "iu"
        rank = x.ndim + (1 if tokens else 0)
        if rank not in (2, 3) or 0 in x.shape:
            # The last axis is looked at first: a wrong size is the commoner mistake.
            checked_input(type(self).__name__, x, self.input_size, self.layer_weights(0)[0].dtype)
            raise ShapeError(
                f"{type(self).__name__}: input",
                expected="(T, N, I) or (T, I) floats, (T, N) or (T,) tokens, T and N >= 1",
                got=x.shape,
            )
        if rank == 2:
            lengths = None if lengths is None else np.reshape(lengths, (-1,))
            return np.expand_dims(x, 1), lengths, True
        return (np.swapaxes(x, 0, 1) if self.batch_first else x), lengths, False

    def _checked(self, x: Any, lengths: Any) -> Any:
        """The input checked; tokens in the padding may be anything, and become 0."""
        if lengths is not None and x.dtype.kind in "iu":
            x = np.where(np.arange(len(x))[:, None] < lengths, values_of(x), 0)
        owner = type(self).__name__
        return checked_input(owner, x, self.input_size, self.layer_weights(0)[0].dtype)

    def _run_layers(
        self, x: Any, parts: list[list[Any]], options: dict[str, Any]
    ) -> tuple[Tensor, list[Any]]:
        lasts = []
        for k in range(self.num_layers):
            with scope(layer=k):
                if k:
                    x = self.dropout(x)
                place = k * self.directions
                below = x
                x, *last = self._sequence(below, [p[place] for p in parts], k, False, options)
                lasts.append(last)
                if self.bidirectional:
                    path = current_mode.get().scope.path
                    with scope(path=f"{path}.reverse" if path else "reverse"):
                        initial = [p[place + 1] for p in parts]
                        y, *last = self._sequence(below, initial, k, True, options)
                    lasts.append(last)
                    x = ops.concatenate([x, y], axis=-1)
        return x, lasts

    def _initial(self, state: Any, batch: int, unbatched: bool) -> list[list[Any]]:
        """Per part of the state (h, c), its value for every layer and direction, checked."""
        fields = self.state_type._fields
        dtype = self.layer_weights(0)[1].dtype
        count = self.num_layers * self.directions
        if state is None and self.trainable_state:
            return [
                [ops.broadcast_to(row, (batch, row.shape[0])) for row in getattr(self, name)]
                for name in (f"initial_{field}" for field in fields)
            ]
        if state is None:
            sizes = [self._state_size(field) for field in fields]
            return [[np.zeros((batch, size), dtype)] * count for size in sizes]
        rows: tuple[int, ...] = () if unbatched else (batch,)
        shapes = [(count, *rows, self._state_size(field)) for field in fields]
        owner = type(self).__name__
        given = checked_state(owner, state, fields, shapes, dtype, self._state_hint)
        if unbatched:
            given = tuple(np.expand_dims(part, 1) for part in given)
        return [[part[k] for k in range(count)] for part in given]

    def top(self, state: Any, rows: int) -> Any:
        """What the last layer of one direction says of N rows in a state: h, (N, H).

        The state is checked as a run would; None is where runs start.
        """
        rows = count(1)(f"{type(self).__name__}.top: rows", rows)
        return self._initial(state, rows, False)[0][-1]

    def _state_hint(self, found: Sequence[Any], shapes: Sequence[Any]) -> str:
        if len(found) != len(shapes):
            kind = self.state_type
            return f"nn.{kind.__name__}({', '.join(kind._fields)}), or None to start from zeros"
        if any(len(size) != len(shape) for size, shape in zip(found, shapes, strict=True)):
            return "layers come first: h[None] is the state of one layer"
        return "a state belongs to one batch size: start from None when it changes"

    @property
    def output_size(self) -> int:
        """Length of the outputs at one step: those of h, of both directions if there are two."""
        return self.directions * self._state_size("h")

    def _state_size(self, field: str) -> int:
        """Length of the rows of one part of the state."""
        return self.hidden_size

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
        text += f", dropout={self.dropout.p}" if self.dropout.p else ""
        for name in ("batch_first", "bidirectional", "trainable_state"):
            text += f", {name}=True" if getattr(self, name) else ""
        text += ", layer_norm=True" if self.layer_norm else ""
        dropped = self.recurrent_dropout
        text += f", recurrent_dropout={dropped}" if dropped else ""
        return text + (f", checkpoint={self.checkpoint}" if self.checkpoint else "")
