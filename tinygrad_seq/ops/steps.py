"""Recurrent steps composed from operations: the readable truth of every cell.

:func:`unroll` runs a step over a whole sequence, with lengths, resets and direction: the composed
twin of every fused sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import choice
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.ops.choose import where
from tinygrad_seq.ops.indexing import take
from tinygrad_seq.ops.join import split, stack
from tinygrad_seq.ops.linalg import linear, matmul
from tinygrad_seq.ops.math import relu, sigmoid, tanh
from tinygrad_seq.ops.registry import array_at, shape_of
from tinygrad_seq.timeline.steps import time_steps

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "gru_step",
    "inputs_of",
    "lstm_step",
    "nonlinearity_of",
    "preactivation",
    "rnn_step",
    "time_steps",
    "unroll",
]

GATES = 4

nonlinearity_of = choice("tanh", "relu")
"""Checks the option of a vanilla RNN."""


def inputs_of(x: Any, weight_xh: TensorLike, bias: TensorLike | None) -> Tensor:
    """``x W_xh + b``; integer x (N,) picks rows of W_xh, as one-hot rows would."""
    if not isinstance(x, Variable) and array_at("a step: x", x).dtype.kind in "iu":
        picked = take(weight_xh, x)
        return picked if bias is None else picked + bias
    return linear(x, weight_xh, bias)


def preactivation(
    x: Any, h: TensorLike, weight_xh: TensorLike, weight_hh: TensorLike, bias: TensorLike
) -> Tensor:
    """``x W_xh + h W_hh + b``."""
    return (inputs_of(x, weight_xh, bias) + matmul(h, weight_hh)).tag("a")


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
    squash = {"relu": relu, "tanh": tanh}[nonlinearity_of("rnn_step: nonlinearity", nonlinearity)]
    return squash(preactivation(x, h, weight_xh, weight_hh, bias)).tag("h")


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
    z = preactivation(x, h, weight_xh, weight_hh, bias)
    i, f, o, g = split(z, GATES, axis=-1)
    i, f, o = sigmoid(i).tag("i"), sigmoid(f).tag("f"), sigmoid(o).tag("o")
    g = tanh(g).tag("g")
    c = (f * c + i * g).tag("c")
    return (o * tanh(c).tag("tanh_c")).tag("h"), c


def gru_step(
    x: TensorLike,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    bias_hn: TensorLike | None = None,
) -> Tensor:
    """One step of the GRU: ``h_t = (1 - z) * n + z * h_{t-1}``.

    ``[r z] = sigma(x W_xh + h W_hh + b)`` on their columns; with `bias_hn` the reset gate acts
    after the recurrent product, ``n = tanh(x W_xn + b_n + r * (h W_hn + b_hn))`` (PyTorch's
    GRU, ONNX's ``linear_before_reset=1``); without it before, ``n = tanh(x W_xn + b_n +
    (r * h) W_hn)`` (Cho et al., 2014).

    Parameters
    ----------
    x : (N, I) floats or (N,) integer tokens
    h : (N, H)
    weight_xh : (I, 3H)
        Columns in the order r, z, n.
    weight_hh : (H, 3H)
    bias : (3H,)
    bias_hn : (H,), optional

    Returns
    -------
    Tensor (N, H)
    """
    hidden = (0, *shape_of(h))[-1]
    cut = (2 * hidden,)
    inputs_rz, inputs_n = split(inputs_of(x, weight_xh, bias).tag("xW"), cut, axis=-1)
    if bias_hn is None:
        weight_rz, weight_n = split(weight_hh, cut, axis=-1)
        recurrent_rz = matmul(h, weight_rz).tag("hW")
    else:
        recurrent_rz, recurrent_n = split(matmul(h, weight_hh).tag("hW"), cut, axis=-1)
    r, z = split((inputs_rz + recurrent_rz).tag("a"), 2, axis=-1)
    r, z = sigmoid(r).tag("r"), sigmoid(z).tag("z")
    if bias_hn is None:
        inner = matmul((r * h).tag("reset"), weight_n).tag("inner")
    else:
        inner = (r * (recurrent_n + bias_hn).tag("hW")).tag("reset")
    n = tanh(inputs_n + inner).tag("n")
    return (((1 - z) * n).tag("fresh") + (z * h).tag("kept")).tag("h")


def unroll(
    step: Callable[..., Sequence[Any]],
    x: Any,
    states: Sequence[Any],
    lengths: Array | None = None,
    reset: Array | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Run ``step(x_t, *states) -> states`` over all T steps, one scope per step.

    Steps are numbered from the ``start`` of the scope in force.

    Past its length a row keeps its state, and its output is 0; padding is replaced by 0 before
    it is read, so that no garbage in it can matter. A row that starts anew loses its state, and
    with it the gradient.

    Returns
    -------
    tuple
        The first state of every step, stacked (T, N, H), and the last states.
    """
    steps = len(x)
    outputs: list[Any] = [None] * steps
    states = list(states)
    start = current_mode.get().scope.start
    for t in range(steps - 1, -1, -1) if reverse else range(steps):
        with scope(step=start + t):
            fresh = _fresh(t, steps, lengths, reset, reverse)
            if fresh is not None:
                states = [where(fresh, 0.0, state) for state in states]
            if lengths is None or t < lengths.min():
                states = list(step(x[t], *states))
                outputs[t] = states[0]
                continue
            valid = (t < lengths)[:, None]
            new = step(_blanked(x[t], valid), *states)
            outputs[t] = where(valid, new[0], 0.0)
            states = [where(valid, a, b) for a, b in zip(new, states, strict=True)]
    return (stack(outputs), *states)


def _blanked(x: Any, valid: Array) -> Any:
    """One step's input with its padding replaced by 0 (token 0 for tokens)."""
    if not hasattr(x, "node") and np.asarray(x).dtype.kind in "iu":
        return np.where(valid[:, 0], x, 0)
    return where(valid, x, 0.0)


def _fresh(
    t: int, steps: int, lengths: Array | None, reset: Array | None, reverse: bool
) -> Array | None:
    """(N, 1): whose state is zeroed before step t is run, None if nobody's."""
    start = t + 1 if reverse else t  # a run from the right crosses the start of step t + 1
    if reset is None or start >= steps:
        return None
    fresh: Array = reset[start] if lengths is None else reset[start] & (start < lengths)
    return fresh[:, None] if fresh.any() else None
