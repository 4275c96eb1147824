"""Recurrent layers: RNN and LSTM over whole sequences, any number of layers.

They run through fused kernels, each bound to the step of the cell as its composed twin.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.mode import scope
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.nn.cells import check_nonlinearity, checked_input, gate_weights
from tinygrad_seq.nn.layers import Dropout, positive_size
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.state import LSTMState, RNNState
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["LSTM", "RNN"]

State = TypeVar("State", RNNState, LSTMState)


class _Recurrent(Module, Generic[State]):
    """What RNN and LSTM share: layers, shapes, states, dropout between layers."""

    gates: ClassVar[int]
    state_type: ClassVar[Any]
    _sequence: Callable[[Any, list[Any], int], Any]
    """(x, initial state of the layer, layer) -> (y, *last state of the layer)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        batch_first: bool,
        forget_bias: float,
        rng: np.random.Generator | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        positive_size(
            type(self).__name__,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
        )
        rng = np.random.default_rng() if rng is None else rng
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first = batch_first
        self.dropout = Dropout(dropout, rng=rng)
        for k in range(num_layers):
            size = hidden_size if k else input_size
            weights = gate_weights(rng, size, hidden_size, self.gates, forget_bias, dtype)
            for name, weight in zip(("weight_xh", "weight_hh", "bias"), weights, strict=True):
                setattr(self, f"{name}_l{k}", weight)

    def layer_weights(self, layer: int) -> tuple[Parameter, Parameter, Parameter]:
        """W_xh (I or H, gates * H), W_hh (H, gates * H) and b (gates * H) of one layer."""
        found = [getattr(self, f"{name}_l{layer}") for name in ("weight_xh", "weight_hh", "bias")]
        return found[0], found[1], found[2]

    def stacked_weight(self, layer: int = 0) -> Array:
        """The notes' W of ``W [h; x]``: W_hh over W_xh, transposed to (gates * H, H + I)."""
        weight_xh, weight_hh, _ = self.layer_weights(layer)
        return np.concatenate([weight_hh.numpy(), weight_xh.numpy()]).T

    def forward(self, x: TensorLike, state: State | None = None) -> tuple[Tensor, State]:
        """Run a sequence.

        Parameters
        ----------
        x : (T, N, I) floats or (T, N) integer tokens
            Tokens stand for one-hot rows. (N, T, ...) with ``batch_first=True``; unbatched
            (T, I) and (T,) are allowed.
        state : optional
            Where to start, (layers, N, H) each; zeros by default.

        Returns
        -------
        y : Tensor (T, N, H)
            Hidden states of the last layer.
        state
            Last state of every layer. Detach it before the next window.
        """
        owner = type(self).__name__
        x = checked_input(owner, x, self.input_size, self.layer_weights(0)[0].dtype)
        tokens = isinstance(x, np.ndarray) and x.dtype.kind in "iu"
        rank = len(np.shape(x)) + (1 if tokens else 0)
        if rank not in (2, 3) or 0 in np.shape(x):
            raise ShapeError(
                f"{owner}: input",
                expected="(T, N, I) or (T, I) floats, (T, N) or (T,) tokens, T and N >= 1",
                got=np.shape(x),
            )
        unbatched = rank == 2
        axis = 1 if unbatched or not self.batch_first else 0
        if unbatched:
            x = np.expand_dims(x, 1)
        elif self.batch_first:
            x = np.swapaxes(x, 0, 1)
        parts = self._initial(state, np.shape(x)[1], unbatched)
        y, lasts = self._run_layers(x, parts)
        stacked = [ops.stack(part) for part in zip(*lasts, strict=True)]
        if unbatched:
            y, stacked = ops.squeeze(y, 1), [ops.squeeze(part, 1) for part in stacked]
        elif axis == 0:
            y = ops.swapaxes(y, 0, 1)
        return y, self.state_type(*stacked)

    def _run_layers(self, x: Any, parts: list[list[Any]]) -> tuple[Tensor, list[Any]]:
        lasts = []
        for k in range(self.num_layers):
            with scope(layer=k):
                if k:
                    x = self.dropout(x)
                x, *last = self._sequence(x, [part[k] for part in parts], k)
            lasts.append(last)
        return x, lasts

    def _initial(self, state: Any, batch: int, unbatched: bool) -> list[list[Any]]:
        """Per part of the state (h, c), its value for every layer, checked."""
        fields = self.state_type._fields
        dtype = self.layer_weights(0)[1].dtype
        shape: tuple[int, ...] = (self.num_layers, batch, self.hidden_size)
        if state is None:
            zeros = np.zeros(shape[1:], dtype)
            return [[zeros] * self.num_layers for _ in fields]
        given = (state,) if isinstance(state, Tensor) else tuple(state)
        if unbatched:
            shape = (self.num_layers, self.hidden_size)
        if len(given) != len(fields) or any(np.shape(part) != shape for part in given):
            raise ShapeError(
                f"{type(self).__name__}: state",
                expected=f"{' and '.join(fields)} of shape {shape}",
                got=" and ".join(str(np.shape(part)) for part in given),
                hint="a state belongs to one batch size: start from None when it changes",
            )
        if unbatched:
            given = tuple(np.expand_dims(part, 1) for part in given)
        return [[part[k] for k in range(self.num_layers)] for part in given]

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
        text += f", dropout={self.dropout.p}" if self.dropout.p else ""
        return text + (", batch_first=True" if self.batch_first else "")


class RNN(_Recurrent[RNNState]):
    """The vanilla RNN over sequences: ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)`` per layer.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    nonlinearity : {"tanh", "relu"}
        What squashes the sum.
    dropout : float
        Probability of dropping inputs of layers above the first, while training.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    W_hh starts orthogonal, W_xh Glorot uniform, b at 0.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rnn = nn.RNN(65, 32, num_layers=2, rng=np.random.default_rng(0))
    >>> y, state = rnn(np.zeros((7, 3), int))  # tokens (T, N)
    >>> y.shape, state.h.shape
    ((7, 3, 32), (2, 3, 32))
    """

    gates = 1
    state_type = RNNState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        dropout: float = 0.0,
        batch_first: bool = False,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, dropout, batch_first, 0.0, rng, dtype)
        self.nonlinearity = nonlinearity

    def _sequence(self, x: Any, initial: list[Any], layer: int) -> Any:
        (h,) = initial
        return ops.rnn_sequence(x, h, *self.layer_weights(layer), self.nonlinearity)


class LSTM(_Recurrent[LSTMState]):
    """The LSTM of the notes over sequences.

    ``[i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)``,
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)``, per layer.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    dropout : float
        Probability of dropping inputs of layers above the first, while training.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    forget_bias : float
        Initial bias of every forget gate, stored in the parameter.
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    W_hh starts orthogonal per gate, W_xh Glorot uniform per gate, b at 0 but for the forget
    gates. PyTorch stacks the gates in another order (i, f, g, o) and uses two biases.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> lstm = nn.LSTM(65, 32, num_layers=2, rng=np.random.default_rng(0))
    >>> y, state = lstm(np.zeros((7, 3), int))  # tokens (T, N)
    >>> y.shape, state.c.shape
    ((7, 3, 32), (2, 3, 32))
    """

    gates = 4
    state_type = LSTMState

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        batch_first: bool = False,
        *,
        forget_bias: float = 1.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            input_size, hidden_size, num_layers, dropout, batch_first, forget_bias, rng, dtype
        )

    def _sequence(self, x: Any, initial: list[Any], layer: int) -> Any:
        h, c = initial
        return ops.lstm_sequence(x, h, c, *self.layer_weights(layer))
