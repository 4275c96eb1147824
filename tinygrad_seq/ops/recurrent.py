"""Recurrent steps composed from operations, and the fused sequences bound to them.

A step is the readable truth. The fused operation runs all steps in one kernel; its composed twin
runs the step T times, and serves as its oracle, as its path under ``create_graph=True`` and as
what drawings expand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.engine.mode import scope
from tinygrad_seq.engine.op import Op
from tinygrad_seq.kernels.lstm import lstm_backward, lstm_forward
from tinygrad_seq.kernels.rnn import rnn_backward, rnn_forward
from tinygrad_seq.ops.domains import NONZERO, REAL, Draw
from tinygrad_seq.ops.indexing import take
from tinygrad_seq.ops.linalg import linear, matmul
from tinygrad_seq.ops.nonlinear import relu, sigmoid, tanh
from tinygrad_seq.ops.registry import record_several, register
from tinygrad_seq.ops.shape import split, stack

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["lstm_sequence", "lstm_step", "rnn_sequence", "rnn_step"]

Sampled = tuple[tuple[Any, ...], dict[str, Any]]
GATES = 4


def _preactivation(
    x: Any, h: TensorLike, weight_xh: TensorLike, weight_hh: TensorLike, bias: TensorLike
) -> Tensor:
    """``x W_xh + h W_hh + b``; integer x (N,) picks rows of W_xh, as one-hot rows would."""
    if not hasattr(x, "node") and np.asarray(x).dtype.kind in "iu":
        inputs = take(weight_xh, x) + bias
    else:
        inputs = linear(x, weight_xh, bias)
    return (inputs + matmul(h, weight_hh)).tag("z")


def rnn_step(
    x: TensorLike,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    nonlinearity: str = "tanh",
) -> Tensor:
    """One step of the vanilla RNN: ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)``.

    Parameters
    ----------
    x : (N, I) floats or (N,) integer tokens
    h : (N, H)
    weight_xh : (I, H)
    weight_hh : (H, H)
    bias : (H,)
    nonlinearity : {"tanh", "relu"}

    Returns
    -------
    Tensor (N, H)
    """
    squash = relu if nonlinearity == "relu" else tanh
    return squash(_preactivation(x, h, weight_xh, weight_hh, bias)).tag("h")


def lstm_step(
    x: TensorLike,
    h: TensorLike,
    c: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
) -> tuple[Tensor, Tensor]:
    """One step of the LSTM of the notes.

    ``[i f o g] = [sigma sigma sigma tanh](x W_xh + h W_hh + b)``,
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)``.

    Parameters
    ----------
    x : (N, I) floats or (N,) integer tokens
    h, c : (N, H)
    weight_xh : (I, 4H)
    weight_hh : (H, 4H)
    bias : (4H,)

    Returns
    -------
    h, c : Tensor (N, H)
    """
    z = _preactivation(x, h, weight_xh, weight_hh, bias)
    i, f, o, g = split(z, GATES, axis=-1)
    i, f, o = sigmoid(i).tag("i"), sigmoid(f).tag("f"), sigmoid(o).tag("o")
    g = tanh(g).tag("g")
    c = (f * c + i * g).tag("c")
    return (o * tanh(c).tag("tanh_c")).tag("h"), c


def _rnn_twin(nonlinearity: str) -> Any:
    def twin(x: Any, h0: Any, weight_xh: Any, weight_hh: Any, bias: Any) -> tuple[Tensor, Tensor]:
        states = []
        h = h0
        for t in range(len(x)):
            with scope(step=t):
                h = rnn_step(x[t], h, weight_xh, weight_hh, bias, nonlinearity)
            states.append(h)
        return stack(states), h

    return twin


def _lstm_twin(
    x: Any, h0: Any, c0: Any, weight_xh: Any, weight_hh: Any, bias: Any
) -> tuple[Tensor, Tensor, Tensor]:
    states = []
    h, c = h0, c0
    for t in range(len(x)):
        with scope(step=t):
            h, c = lstm_step(x[t], h, c, weight_xh, weight_hh, bias)
        states.append(h)
    return stack(states), h, c


def _sequence_sample(gates: int, states: int, scale: float = 1.0, bias: str = REAL) -> Any:
    """A domain of sequences, T >= 2, of floats or tokens; `scale` shrinks the weights."""

    def sample(draw: Draw) -> Sampled:
        steps, batch = draw.integer(2, 4), draw.integer(1, 3)
        size, hidden = draw.integer(1, 3), draw.integer(1, 3)
        if draw.choice([False, True]):
            x: Any = draw.array((steps, batch, size))
        else:
            picks = [draw.integer(0, size - 1) for _ in range(steps * batch)]
            x = np.array(picks, int).reshape(steps, batch)
        initial = [draw.array((batch, hidden)) for _ in range(states)]
        weights = [scale * draw.array((rows, gates * hidden)) for rows in (size, hidden)]
        return (x, *initial, *weights, draw.array((gates * hidden,), bias)), {}

    return sample


def _rnn_op(nonlinearity: str) -> Op:
    rectify = nonlinearity == "relu"

    def forward(
        x: Any, h0: Any, weight_xh: Any, weight_hh: Any, bias: Any, keep: bool = False
    ) -> Any:
        y, last = rnn_forward(x, h0, weight_xh, weight_hh, bias, rectify)
        return (y, last), (y if keep else None)

    def rule(
        g: Any, x: Any, h0: Any, weight_xh: Any, weight_hh: Any, residuals: Any, needs: Any
    ) -> Any:
        return rnn_backward(g, x, h0, weight_xh, weight_hh, residuals, rectify, needs[0])

    return register(
        Op(
            f"rnn_{nonlinearity}_sequence",
            forward,
            "x h0 weight_xh weight_hh bias",
            joint=rule,
            # Weights too small to carry a relu across its kink: the bias decides its side.
            sample=_sequence_sample(1, 1, 0.008, NONZERO) if rectify else _sequence_sample(1, 1),
            twin=_rnn_twin(nonlinearity),
            outputs=2,
            keep=True,
            analytic=not rectify,
            mixes=False,
        )
    )


def _lstm_rule(
    g: Any, x: Any, h0: Any, c0: Any, weight_xh: Any, weight_hh: Any, residuals: Any, needs: Any
) -> Any:
    return lstm_backward(g, x, h0, c0, weight_xh, weight_hh, residuals, needs[0])


RNN_OPS = {kind: _rnn_op(kind) for kind in ("tanh", "relu")}
LSTM = register(
    Op(
        "lstm_sequence",
        lstm_forward,
        "x h0 c0 weight_xh weight_hh bias",
        joint=_lstm_rule,
        sample=_sequence_sample(GATES, 2),
        twin=_lstm_twin,
        outputs=3,
        keep=True,
        mixes=False,
    )
)


def rnn_sequence(
    x: TensorLike,
    h0: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    nonlinearity: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """All T steps of :func:`rnn_step` in one operation: ``y (T, N, H)`` and the last ``h``."""
    y, h = record_several(RNN_OPS[nonlinearity], (x, h0, weight_xh, weight_hh, bias), {})
    return y, h


def lstm_sequence(
    x: TensorLike,
    h0: TensorLike,
    c0: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
) -> tuple[Tensor, Tensor, Tensor]:
    """All T steps of :func:`lstm_step` in one operation: ``y (T, N, H)``, last ``h``, ``c``."""
    y, h, c = record_several(LSTM, (x, h0, c0, weight_xh, weight_hh, bias), {})
    return y, h, c
