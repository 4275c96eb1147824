"""Recurrent cells: one step composed from operations, and what cells and layers share."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, DtypeError, ShapeError
from tinygrad_seq.kernels.gates import gate
from tinygrad_seq.nn import init
from tinygrad_seq.nn.layers import positive_size
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.ops.indexing import check_indices
from tinygrad_seq.ops.registry import constant
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "check_nonlinearity", "checked_input", "gate_weights"]


def gate_weights(
    rng: np.random.Generator, size: int, hidden: int, gates: int, forget_bias: float, dtype: Any
) -> tuple[Parameter, Parameter, Parameter]:
    """Initial W_xh (I, gates * H), W_hh (H, gates * H) and b (gates * H)."""
    bias = np.zeros(gates * hidden, dtype)
    if gates == 4:
        bias[gate("f", hidden)] = forget_bias
    return (
        Parameter(init.glorot_uniform(rng, size, hidden, gates, dtype)),
        Parameter(init.orthogonal(rng, hidden, gates, dtype)),
        Parameter(bias),
    )


def checked_input(owner: str, x: Any, size: int, dtype: Any) -> Any:
    """Tokens as checked integers, or floats of the layer's dtype whose last axis fits."""
    values = constant(x)
    if values.dtype.kind in "iu":
        return check_indices(values, size, f"{owner}: token")
    if values.dtype != dtype:
        raise DtypeError(
            f"{owner}: input",
            expected=f"{dtype} like the parameters, or integer tokens",
            got=values.dtype,
            hint=f"x.astype(np.{dtype})"
            + (f", or layer.astype(np.{values.dtype})" if values.dtype.kind == "f" else ""),
        )
    if values.ndim == 0 or values.shape[-1] != size:
        raise ShapeError(
            f"{owner}: the last axis of the input is not input_size",
            expected=f"(..., {size})",
            got=values.shape,
            hint="features come last: (T, N, I), or (N, T, I) with batch_first=True",
        )
    return x


class RNNCell(Module):
    """One step of the vanilla RNN, ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    nonlinearity : {"tanh", "relu"}
        What squashes the sum.
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.RNNCell(3, 5, rng=np.random.default_rng(0))
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: str = "tanh",
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("RNNCell", input_size=input_size, hidden_size=hidden_size)
        check_nonlinearity("RNNCell", nonlinearity)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.nonlinearity = nonlinearity
        weights = gate_weights(rng, input_size, hidden_size, 1, 0.0, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights

    def forward(self, x: TensorLike, h: TensorLike | None = None) -> Tensor:
        """One step from x (N, I), or tokens (N,), and h (N, H), zeros by default."""
        x = checked_input("RNNCell", x, self.input_size, self.weight_xh.dtype)
        if h is None:
            h = _zeros(x, self.hidden_size, self.weight_hh.dtype)
        return ops.rnn_step(x, h, self.weight_xh, self.weight_hh, self.bias, self.nonlinearity)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class LSTMCell(Module):
    """One step of the LSTM of the notes; see :func:`tinygrad_seq.lstm_step`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    forget_bias : float
        Initial bias of the forget gate (Gers et al., 2000; Jozefowicz et al., 2015).
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.LSTMCell(3, 5, rng=np.random.default_rng(0))
    >>> h, c = cell(np.ones((2, 3), np.float32))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("LSTMCell", input_size=input_size, hidden_size=hidden_size)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        weights = gate_weights(rng, input_size, hidden_size, 4, forget_bias, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights

    def forward(
        self, x: TensorLike, state: tuple[TensorLike, TensorLike] | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step from x (N, I), or tokens (N,), and (h, c), each (N, H), zeros by default."""
        x = checked_input("LSTMCell", x, self.input_size, self.weight_xh.dtype)
        if state is None:
            zeros = _zeros(x, self.hidden_size, self.weight_hh.dtype)
            state = zeros, zeros
        return ops.lstm_step(x, *state, self.weight_xh, self.weight_hh, self.bias)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class GRUCell(Module):
    """One step of the GRU, ``h_t = (1 - z) * n + z * h_{t-1}``; see :func:`tinygrad_seq.gru_step`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (as PyTorch's does) or before
        it; see :class:`~tinygrad_seq.nn.GRU`.
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.GRUCell(3, 5, rng=np.random.default_rng(0))
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    bias_hn: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("GRUCell", input_size=input_size, hidden_size=hidden_size)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        weights = gate_weights(rng, input_size, hidden_size, 3, 0.0, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights
        self.bias_hn = Parameter(np.zeros(hidden_size, dtype)) if reset_after else None

    def forward(self, x: TensorLike, h: TensorLike | None = None) -> Tensor:
        """One step from x (N, I), or tokens (N,), and h (N, H), zeros by default."""
        x = checked_input("GRUCell", x, self.input_size, self.weight_xh.dtype)
        if h is None:
            h = _zeros(x, self.hidden_size, self.weight_hh.dtype)
        return ops.gru_step(x, h, self.weight_xh, self.weight_hh, self.bias, self.bias_hn)

    def extra_repr(self) -> str:
        """Sizes, and the variant if it is not PyTorch's."""
        variant = "" if self.bias_hn is not None else ", reset_after=False"
        return f"{self.input_size}, {self.hidden_size}{variant}"


def _zeros(x: Any, hidden: int, dtype: Any) -> Array:
    values = constant(x)
    rows = values.shape if values.dtype.kind in "iu" else values.shape[:-1]
    return np.zeros((*rows, hidden), dtype)


def check_nonlinearity(owner: str, nonlinearity: str) -> None:
    """Refuse an unknown name of a nonlinearity."""
    if nonlinearity not in ops.recurrent.RNN_OPS:
        raise ConfigError(
            f"{owner}: nonlinearity", expected="'tanh' or 'relu'", got=repr(nonlinearity)
        )
