"""Recurrent layers over whole sequences: RNN, LSTM and GRU.

They run through fused kernels, each bound to the step of the cell as its composed twin.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import count, flag
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells import check_nonlinearity
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.stack import Recurrent
from tinygrad_seq.nn.state import GRUState, LSTMState, RNNState
from tinygrad_seq.ops.steps import unroll
from tinygrad_seq.ops.variants import gru_variant_step, lstm_variant_step, rnn_variant_step
from tinygrad_seq.tensor import Tensor

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
        Probability of dropping inputs of layers above the first, while training; of one layer it
        never acts, which is a UserWarning.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    variational : bool
        Whether dropout drops the same features of a sequence at all its steps.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    layer_norm : bool
        Whether to normalise x W_xh and h W_hh (Ba et al., 2016), with weights of their own,
        ``norm_x_l{k}`` and ``norm_h_l{k}``.
    recurrent_dropout : float
        Probability of dropping features of h_{t-1} on their way into W_hh, the same ones of a
        sequence at all steps, while training (Gal and Ghahramani, 2016).
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    W_hh starts orthogonal, W_xh Glorot uniform, b at 0. Its only activations are its outputs, so
    there is no `checkpoint` option: nothing could be recomputed. With `layer_norm` or, in
    training, `recurrent_dropout` the layer runs step by step from single operations, which takes
    about one and a half times as long, and with `layer_norm` up to five times.

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
    norm_sizes: ClassVar = {"norm_x": 1, "norm_h": 1}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *,
        dropout: float = 0.0,
        batch_first: bool = False,
        bidirectional: bool = False,
        variational: bool = False,
        trainable_state: bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
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
            variational=variational,
            trainable_state=trainable_state,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
            rng=rng,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        w_xh, w_hh, b = self.layer_weights(layer, reverse)
        (h,) = initial
        extras = self._extras(layer, reverse, len(h))
        if not extras:
            kind = self.nonlinearity
            return ops.rnn_sequence(x, h, w_xh, w_hh, b, kind, reverse=reverse, **options)

        def step(x_t: Any, h: Any) -> tuple[Tensor]:
            return (rnn_variant_step(x_t, h, w_xh, w_hh, b, self.nonlinearity, **extras),)

        return unroll(step, x, initial, reverse=reverse, **options)


class LSTM(Recurrent[LSTMState]):
    """The LSTM of the notes over sequences.

    ``[i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)``,
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)``, per layer.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    dropout : float
        Probability of dropping inputs of layers above the first, while training; of one layer it
        never acts, which is a UserWarning.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    forget_bias : float
        Initial bias of every forget gate, stored in the parameter.
    variational : bool
        Whether dropout drops the same features of a sequence at all its steps.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward: less memory for about a third more time.
    proj_size : int
        If positive, ``h_t = (o * tanh(c_t)) W_hr`` has this length instead of H (Sak et al.,
        2014); weights ``weight_hr_l{k}`` (H, P), and W_hh is (P, 4H).
    layer_norm : bool
        Whether to normalise x W_xh, h W_hh and c_t within the tanh (Ba et al., 2016), each with
        weights of its own, ``norm_x_l{k}``, ``norm_h_l{k}``, ``norm_c_l{k}``.
    recurrent_dropout : float
        Probability of dropping features of h_{t-1} on their way into W_hh, the same ones of a
        sequence at all steps, while training (Gal and Ghahramani, 2016).
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    W_hh starts orthogonal per gate, W_xh Glorot uniform per gate, b at 0 but for the forget
    gates. PyTorch stacks the gates in another order (i, f, g, o) and uses two biases. With
    `proj_size`, `layer_norm` or, in training, `recurrent_dropout` the layer runs step by step
    from single operations, which takes about one and a half times as long, and with `layer_norm`
    three times; `checkpoint` is refused.

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
    norm_sizes: ClassVar = {"norm_x": 4, "norm_h": 4, "norm_c": 1}
    proj_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        batch_first: bool = False,
        bidirectional: bool = False,
        forget_bias: float = 1.0,
        variational: bool = False,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        proj_size: int = 0,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        proj_size = count(0, 2**31 - 1)("LSTM: proj_size", proj_size)
        if proj_size and checkpoint is not False:
            raise ConfigError(
                "LSTM: checkpoint with proj_size",
                expected="one or the other",
                hint="tinygrad_seq.train.bptt.bptt recomputes any model",
            )
        self.__dict__["proj_size"] = proj_size  # read while the weights are made
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            batch_first=batch_first,
            bidirectional=bidirectional,
            variational=variational,
            trainable_state=trainable_state,
            checkpoint=checkpoint,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
            forget_bias=forget_bias,
            rng=rng,
            dtype=dtype,
        )

    def _sequence(
        self, x: Any, initial: list[Any], layer: int, reverse: bool, options: dict[str, Any]
    ) -> Any:
        w_xh, w_hh, b = self.layer_weights(layer, reverse)
        h, c = initial
        extras = self._extras(layer, reverse, len(h))
        if not self.proj_size and not extras:
            return ops.lstm_sequence(x, h, c, w_xh, w_hh, b, reverse=reverse, **options)
        suffix = f"_l{layer}" + ("_reverse" if reverse else "")
        project = getattr(self, f"weight_hr{suffix}") if self.proj_size else None

        def step(x_t: Any, h: Any, c: Any) -> tuple[Tensor, Tensor]:
            return lstm_variant_step(x_t, h, c, w_xh, w_hh, b, project, **extras)

        return unroll(step, x, initial, reverse=reverse, **options)

    def _more_weights(self, suffix: str, rng: np.random.Generator, dtype: Any) -> None:
        hidden = self.hidden_size
        if self.proj_size:
            made = init.orthogonal(rng, hidden, 4, dtype)[: self.proj_size]
            setattr(self, f"weight_hh{suffix}", Parameter(made))
            weight = init.glorot_uniform(rng, hidden, self.proj_size, dtype=dtype)
            setattr(self, f"weight_hr{suffix}", Parameter(weight))

    def _state_size(self, field: str) -> int:
        return self.proj_size if field == "h" and self.proj_size else self.hidden_size

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


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
        Probability of dropping inputs of layers above the first, while training; of one layer it
        never acts, which is a UserWarning.
    batch_first : bool
        Whether inputs and outputs are (N, T, ...).
    bidirectional : bool
        Whether every layer also runs from the last valid step to the first.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (PyTorch, cuDNN, ONNX's
        ``linear_before_reset=1``), with a bias ``bias_hn`` inside, or before it (Cho et al.,
        2014). Weights of one variant do not give the same outputs in the other.
    variational : bool
        Whether dropout drops the same features of a sequence at all its steps.
    trainable_state : bool
        Whether the state that runs start from by default is trained, rather than zeros.
    checkpoint : int or bool
        Keep states every so many steps only (True: about the square root of T), and run the
        steps between again in backward.
    layer_norm : bool
        Whether to normalise the input's and the state's part of both gates and of n (Ba et al.,
        2016), with weights of their own, ``norm_x_l{k}`` and ``norm_h_l{k}`` (2H),
        ``norm_xn_l{k}`` and ``norm_hn_l{k}`` (H).
    recurrent_dropout : float
        Probability of dropping features of h_{t-1} on their way into W_hh, the same ones of a
        sequence at all steps, while training (Gal and Ghahramani, 2016).
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Notes
    -----
    Columns of the weights are in PyTorch's order r, z, n. W_hh starts orthogonal per gate, W_xh
    Glorot uniform per gate, biases at 0. PyTorch's second bias of r and z is redundant.
    With `layer_norm` or, in training, `recurrent_dropout` the layer runs step by step from single
    operations, which takes about one and a half times as long, and with `layer_norm` three times;
    `checkpoint` is refused.

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
    norm_sizes: ClassVar = {"norm_x": 2, "norm_h": 2, "norm_xn": 1, "norm_hn": 1}
    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        batch_first: bool = False,
        bidirectional: bool = False,
        reset_after: bool = True,
        variational: bool = False,
        trainable_state: bool = False,
        checkpoint: int | bool = False,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.__dict__["reset_after"] = flag(
            "GRU: reset_after", reset_after
        )  # read while the weights are made
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout,
            batch_first=batch_first,
            bidirectional=bidirectional,
            variational=variational,
            trainable_state=trainable_state,
            checkpoint=checkpoint,
            layer_norm=layer_norm,
            recurrent_dropout=recurrent_dropout,
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
        extras = self._extras(layer, reverse, len(h))
        if not extras:
            return ops.gru_sequence(x, h, w_xh, w_hh, b, inner, reverse=reverse, **options)

        def step(x_t: Any, h: Any) -> tuple[Tensor]:
            return (gru_variant_step(x_t, h, w_xh, w_hh, b, inner, **extras),)

        return unroll(step, x, initial, reverse=reverse, **options)

    def extra_repr(self) -> str:
        """Sizes and options that differ from the defaults."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")
