"""Recurrent steps with options that no kernel has: normalised, projected, with dropped states.

Each is the step of :mod:`~tinygrad_seq.ops.steps` where its options are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.ops.join import split
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.math import relu, sigmoid, tanh
from tinygrad_seq.ops.steps import GATES, inputs_of, preactivation

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["gru_variant_step", "lstm_variant_step", "rnn_variant_step"]

Change = Callable[[Any], Any]


def _sum(
    x: Any,
    h: Any,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    norms: Sequence[Change],
    drop: Change | None,
) -> Tensor:
    """``norm_x(x W_xh) + norm_h(drop(h) W_hh) + b``."""
    h = h if drop is None else drop(h)
    if not norms:
        return preactivation(x, h, weight_xh, weight_hh, bias)
    norm_x, norm_h = norms[:2]
    inputs = norm_x(inputs_of(x, weight_xh, None).tag("xW"))
    z: Tensor = inputs + norm_h(matmul(h, weight_hh).tag("hW")) + bias
    return z.tag("a")


def rnn_variant_step(
    x: Any,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    nonlinearity: str = "tanh",
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> Tensor:
    """``h_t = tanh(norm_x(x W_xh) + norm_h(drop(h_{t-1}) W_hh) + b)``."""
    squash = relu if nonlinearity == "relu" else tanh
    return squash(_sum(x, h, weight_xh, weight_hh, bias, norms, drop)).tag("h")


def lstm_variant_step(
    x: Any,
    h: TensorLike,
    c: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    weight_hr: TensorLike | None = None,
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> tuple[Tensor, Tensor]:
    """An LSTM step with a projection of h, normalised sums and cell, and dropped states.

    ``z = norm_x(x W_xh) + norm_h(drop(h) W_hh) + b``, ``c_t = f * c_{t-1} + i * g``,
    ``h_t = (o * tanh(norm_c(c_t))) W_hr``; h is (N, P), W_hh (P, 4H), W_hr (H, P).
    """
    z = _sum(x, h, weight_xh, weight_hh, bias, norms, drop)
    i, f, o, g = split(z, GATES, axis=-1)
    i, f, o = sigmoid(i).tag("i"), sigmoid(f).tag("f"), sigmoid(o).tag("o")
    c = (f * c + i * tanh(g).tag("g")).tag("c")
    squashed = tanh(norms[2](c) if norms else c).tag("tanh_c")
    out = o * squashed
    return (out if weight_hr is None else matmul(out, weight_hr)).tag("h"), c


def gru_variant_step(
    x: Any,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    bias_hn: TensorLike | None = None,
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> Tensor:
    """A GRU step with normalised sums and dropped states: ``h_t = (1 - z) * n + z * h_{t-1}``.

    With d = drop(h) ``[r z] = sigma(norm_x(x W_xh) + norm_h(d W_hh) + b)`` on their columns, and
    ``n = tanh(norm_xn(x W_xn) + b_n + r * (norm_hn(d W_hn) + b_hn))``, or without `bias_hn`
    ``n = tanh(norm_xn(x W_xn) + b_n + norm_hn((r * d) W_hn))``. What z keeps is never dropped.
    """
    norm_x, norm_h, norm_xn, norm_hn = norms or [lambda part: part] * 4
    cut = (2 * np.shape(h)[-1],)
    d = h if drop is None else drop(h)
    inputs_rz, inputs_n = split(inputs_of(x, weight_xh, None).tag("xW"), cut, axis=-1)
    weight_rz, weight_n = split(weight_hh, cut, axis=-1)
    bias_rz, bias_n = split(bias, cut, axis=-1)
    recurrent = norm_h(matmul(d, weight_rz).tag("hW"))
    r, z = split((norm_x(inputs_rz) + recurrent + bias_rz).tag("a"), 2, axis=-1)
    r, z = sigmoid(r).tag("r"), sigmoid(z).tag("z")
    if bias_hn is None:
        inner = norm_hn(matmul((r * d).tag("reset"), weight_n).tag("inner"))
    else:
        recurrent_n = norm_hn(matmul(d, weight_n).tag("hW")) + bias_hn
        inner = (r * recurrent_n.tag("hW")).tag("reset")
    n = tanh((norm_xn(inputs_n) + bias_n).tag("xW") + inner).tag("n")
    return (((1 - z) * n).tag("fresh") + (z * h).tag("kept")).tag("h")
