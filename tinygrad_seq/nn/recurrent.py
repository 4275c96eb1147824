"""Recurrent layers over whole sequences: RNN, LSTM and GRU.

They run through fused kernels, each bound to the step of the cell as its composed twin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.nn.cells import check_nonlinearity
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.stack import Recurrent
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState

__all__ = ["GRU", "LSTM", "RNN"]


class RNN(Recurrent[RNNState]):
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
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    W_hh starts orthogonal, W_xh Glorot uniform, b at 0. Its only activations are its outputs, so
    there is no `checkpoint` option: nothing could be recomputed.

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
        bidirectional: bool = False,
        *,
        trainable_state: bool = False,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        check_nonlinearity("RNN", nonlinearity)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            batch_first=batch_first,
            bidirectional=bidirectional,
            trainable_state=trainable_state,
            rng=rng,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        w_xh, w_hh, b = self.layer_weights(layer, reverse)
        (h,) = initial
        return ops.rnn_sequence(x, h, w_xh, w_hh, b, self.nonlinearity, reverse=reverse, **options)


class LSTM(Recurrent[LSTMState]):
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
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    forget_bias : float
        Initial bias of every forget gate, stored in the parameter.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward: less memory for about a third more time.
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
    >>> y, state = lstm(np.zeros((7, 3), int), lengths=[7, 0, 4])
    >>> y.numpy()[4:, 2].any()
    np.False_
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
        bidirectional: bool = False,
        *,
        forget_bias: float = 1.0,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            batch_first=batch_first,
            bidirectional=bidirectional,
            trainable_state=trainable_state,
            checkpoint=checkpoint,
            forget_bias=forget_bias,
            rng=rng,
            dtype=dtype,
        )

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        w_xh, w_hh, b = self.layer_weights(layer, reverse)
        h, c = initial
        return ops.lstm_sequence(x, h, c, w_xh, w_hh, b, reverse=reverse, **options)


class GRU(Recurrent[GRUState]):
    """The gated recurrent unit over sequences: ``h_t = (1 - z) * n + z * h_{t-1}`` per layer.

    ``[r z] = sigma(x_t W_xh + h_{t-1} W_hh + b)`` on their columns; the candidate n is
    ``tanh(x_t W_xn + b_n + r * (h_{t-1} W_hn + b_hn))``, or with ``reset_after=False``
    ``tanh(x_t W_xn + b_n + (r * h_{t-1}) W_hn)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    dropout : float
        Probability of dropping inputs of layers above the first, while training.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (PyTorch, cuDNN, ONNX's
        ``linear_before_reset=1``), with a bias ``bias_hn`` inside, or before it (Cho et al.,
        2014). Weights of one variant do not give the same outputs in the other.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward.
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    Columns of the weights are in PyTorch's order r, z, n. W_hh starts orthogonal per gate, W_xh
    Glorot uniform per gate, biases at 0. PyTorch's second bias of r and z is redundant.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> gru = nn.GRU(65, 32, bidirectional=True, rng=np.random.default_rng(0))
    >>> y, state = gru(np.zeros((7, 3), int))  # tokens (T, N)
    >>> y.shape, state.h.shape
    ((7, 3, 64), (2, 3, 32))
    """

    gates = 3
    state_type = GRUState
    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        dropout: float = 0.0,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.__dict__["reset_after"] = reset_after  # read while the weights are made
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            batch_first=batch_first,
            bidirectional=bidirectional,
            trainable_state=trainable_state,
            checkpoint=checkpoint,
            rng=rng,
            dtype=dtype,
        )

    def _more_weights(self, suffix: str, rng: np.random.Generator, dtype: Any) -> None:
        if self.reset_after:
            setattr(self, f"bias_hn{suffix}", Parameter(np.zeros(self.hidden_size, dtype)))

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        w_xh, w_hh, b = self.layer_weights(layer, reverse)
        (h,) = initial
        name = f"bias_hn_l{layer}" + ("_reverse" if reverse else "")
        inner = getattr(self, name) if self.reset_after else None
        return ops.gru_sequence(x, h, w_xh, w_hh, b, inner, reverse=reverse, **options)

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
