"""Recurrent cells: one step composed from operations, and what cells and layers share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, choice, flag, float_dtype, number, require_room
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.errors import DtypeError, ShapeError
from tinygrad_seq.kernels.gates import gate
from tinygrad_seq.nn import init
from tinygrad_seq.nn.layers import positive_size
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.state import array_in, checked_state
from tinygrad_seq.ops.registry import check_indices
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "check_nonlinearity", "checked_input", "gate_weights"]


def gate_weights(
    rng: np.random.Generator, size: int, hidden: int, gates: int, forget_bias: float, dtype: Any
) -> tuple[Parameter, Parameter, Parameter]:
    """Initial W_xh (I, gates * H), W_hh (H, gates * H) and b (gates * H)."""
    dtype = float_dtype("gate_weights", dtype)
    forget_bias = number()("forget_bias", forget_bias)
    require_room("gate_weights", max(size, hidden), gates * hidden)
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
    refuse_several(owner, x)
    values = array_in(f"{owner}: input", x)
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
        *,
        nonlinearity: str = "tanh",
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        input_size, hidden_size = positive_size(
            "RNNCell", input_size=input_size, hidden_size=hidden_size
        )
        dtype = float_dtype("RNNCell", dtype)
        check_nonlinearity("RNNCell", nonlinearity)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.nonlinearity = nonlinearity
        weights = gate_weights(rng, input_size, hidden_size, 1, 0.0, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights

    def forward(self, x: TensorLike, h: TensorLike | None = None) -> Tensor:
        """One step from x (N, I), or tokens (N,), and h (N, H), zeros by default."""
        x, h = _checked(self, x, h, "h")
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
        input_size, hidden_size = positive_size(
            "LSTMCell", input_size=input_size, hidden_size=hidden_size
        )
        dtype = float_dtype("LSTMCell", dtype)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        weights = gate_weights(rng, input_size, hidden_size, 4, forget_bias, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights

    def forward(
        self, x: TensorLike, state: tuple[TensorLike, TensorLike] | None = None
    ) -> tuple[Tensor, Tensor]:
        """One step from x (N, I), or tokens (N,), and (h, c), each (N, H), zeros by default."""
        x, h, c = _checked(self, x, state, "h", "c")
        return ops.lstm_step(x, h, c, self.weight_xh, self.weight_hh, self.bias)

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
        input_size, hidden_size = positive_size(
            "GRUCell", input_size=input_size, hidden_size=hidden_size
        )
        dtype = float_dtype("GRUCell", dtype)
        rng = init.generator(rng, type(self).__name__)
        self.input_size, self.hidden_size = input_size, hidden_size
        flag("GRUCell: reset_after", reset_after)
        weights = gate_weights(rng, input_size, hidden_size, 3, 0.0, dtype)
        self.weight_xh, self.weight_hh, self.bias = weights
        self.bias_hn = Parameter(np.zeros(hidden_size, dtype)) if reset_after else None

    def forward(self, x: TensorLike, h: TensorLike | None = None) -> Tensor:
        """One step from x (N, I), or tokens (N,), and h (N, H), zeros by default."""
        x, h = _checked(self, x, h, "h")
        return ops.gru_step(x, h, self.weight_xh, self.weight_hh, self.bias, self.bias_hn)

    def extra_repr(self) -> str:
        """Sizes, and the variant if it is not PyTorch's."""
        variant = "" if self.bias_hn is not None else ", reset_after=False"
        return f"{self.input_size}, {self.hidden_size}{variant}"


def _checked(cell: RNNCell | LSTMCell | GRUCell, x: Any, state: Any, *fields: str) -> list[Any]:
    """The input of one step and the parts of its state, zeros by default."""
    owner, dtype = type(cell).__name__, cell.weight_hh.dtype
    x = checked_input(owner, x, cell.input_size, dtype)
    values = array_in(f"{owner}: input", x)
    rows = values.shape if values.dtype.kind in "iu" else values.shape[:-1]
    if len(rows) > 1:
        raise ShapeError(
            f"{owner}: input",
            expected=f"one step, (N, {cell.input_size}) floats or (N,) tokens",
            got=values.shape,
            hint="loop over the steps; nn.RNN, nn.LSTM and nn.GRU run whole sequences",
        )
    shape = (*rows, cell.hidden_size)
    if state is None:
        return [x, *[np.zeros(shape, dtype)] * len(fields)]
    if fields == ("h",) and isinstance(state, list):  # numbers, which take the cell's dtype
        state = array_of(f"{owner}: h", state).astype(dtype)
    return [x, *checked_state(owner, state, fields, [shape] * len(fields), dtype, _state_hint)]


def _state_hint(found: Sequence[Any], shapes: Sequence[Any]) -> str:
    if len(found) != len(shapes):
        return "a pair (h, c)" if len(shapes) == 2 else "h alone"
    if any(len(size) > len(shape) for size, shape in zip(found, shapes, strict=True)):
        return "a cell is one layer: h[0] is the first of a layer's states"
    return "one row for each row of the input; None starts from zeros"


def check_nonlinearity(owner: str, nonlinearity: str) -> None:
    """Refuse an unknown name of a nonlinearity."""
    choice(*ops.recurrent.RNN_OPS)(f"{owner}: nonlinearity", nonlinearity)
