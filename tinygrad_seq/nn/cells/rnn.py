"""The vanilla RNN: its step, its kernel, its cell and its layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_seq.checks import choice
from tinygrad_seq.kernels.rnn import KERNELS
from tinygrad_seq.nn.cells.cell import Fused
from tinygrad_seq.nn.cells.gated import GatedCell, preactivation
from tinygrad_seq.nn.flat import FlatRecurrent, cell_option, passed_on
from tinygrad_seq.nn.state import RNNState
from tinygrad_seq.ops.math import relu, tanh
from tinygrad_seq.ops.samples import NONZERO
from tinygrad_seq.ops.sequence import run_sequence, sequence_op
from tinygrad_seq.tensor import Tensor, TensorLike
from tinygrad_seq.timeline.picture import Slot, Template, state

__all__ = ["RNN", "RNNCell", "rnn_sequence", "rnn_step"]

SQUASH = {"tanh": tanh, "relu": relu}

nonlinearity_of = choice(*SQUASH)
"""Checks the option of a vanilla RNN."""


def rnn_step(
    x: TensorLike,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
    nonlinearity: str = "tanh",
) -> Tensor:
    """One step of the vanilla RNN: ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)``.

    Parameters
    ----------
    x : (N, I) floats or (N,) integer tokens
    h : (N, H)
    weight_xh : (I, H)
    weight_hh : (H, H)
    bias : (H,), or None
    nonlinearity : {"tanh", "relu"}

    Returns
    -------
    Tensor (N, H)
    """
    squash = SQUASH[nonlinearity_of("rnn_step: nonlinearity", nonlinearity)]
    return squash(preactivation(x, h, weight_xh, weight_hh, bias)).tag("h")


def _step(nonlinearity: str) -> Any:
    def step(x: Any, h: Any, *weights: Any) -> tuple[Tensor]:
        weight_xh, weight_hh, bias = weights
        return (rnn_step(x, h, weight_xh, weight_hh, bias, nonlinearity),)

    return step


RNN_OPS = {
    "tanh": sequence_op("rnn_tanh_sequence", KERNELS["tanh"], _step("tanh")),
    "relu": sequence_op(
        "rnn_relu_sequence",
        KERNELS["relu"],
        _step("relu"),
        # Weights too small to carry a relu across its kink: the bias decides its side.
        scale=0.008,
        bias=NONZERO,
        kink="0 where a sum is 0",
    ),
}


def rnn_sequence(
    x: TensorLike,
    h0: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    nonlinearity: str = "tanh",
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """All T steps of :func:`rnn_step` in one operation: ``y (T, N, H)`` and the last ``h``.

    `options` as for :func:`lstm_sequence`; there is nothing to recompute, so `checkpoint` has
    no effect.
    """
    kind = nonlinearity_of("rnn_sequence: nonlinearity", nonlinearity)
    y, h = run_sequence(RNN_OPS[kind], (x, h0, weight_xh, weight_hh, bias), **options)
    return y, h


PICTURE = Template(
    {"a": Slot(-52, 0, 100, 28, "W [h; x] + b", "weight_fill"), "h": state(86, 0, "h")},
    {"h": Slot(32, 0, 44, 24, "tanh", "squash_fill", renamed=("relu",))},
    214,
    50,
    (0, 0),
    {"h": ("a", "h")},
)


class RNNCell(GatedCell):
    """One step of the vanilla RNN, ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    nonlinearity : {"tanh", "relu"}
        What squashes the sum.
    bias, layer_norm, recurrent_dropout, rng, dtype : optional
        As for :class:`~tinygrad_seq.nn.RNN`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.RNNCell(3, 5, rng=np.random.default_rng(0))
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    title = "RNN"
    picture = PICTURE
    state_type = RNNState
    norm_sizes: ClassVar = {"norm_x": 1, "norm_h": 1}
    _changing: ClassVar = {**GatedCell._changing, "nonlinearity": nonlinearity_of}
    nonlinearity: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        nonlinearity_of("RNNCell: nonlinearity", nonlinearity)
        super().__init__(**passed_on(locals(), "nonlinearity"))
        self.nonlinearity = nonlinearity

    def _step(self, x: Any, *parts: Any, **changes: Any) -> tuple[Tensor]:
        """The new h."""
        (h,) = parts
        z = preactivation(x, h, self.weight_xh, self.weight_hh, self.bias, **changes)
        return (SQUASH[self.nonlinearity](z).tag("h"),)

    def fused(self) -> Fused | None:
        """All steps in one kernel."""
        return self._bound_to(RNN_OPS[self.nonlinearity])


class RNN(FlatRecurrent[RNNState]):
    """The vanilla RNN over sequences: ``h_t = tanh(x_t W_xh + h_{t-1} W_hh + b)`` per layer.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    nonlinearity : {"tanh", "relu"}
        What squashes the sum.
    bias : bool
        Whether b is added.
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

    cell_type = RNNCell
    nonlinearity = cell_option("nonlinearity")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *,
        bias: bool = True,
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
        nonlinearity_of("RNN: nonlinearity", nonlinearity)
        super().__init__(**passed_on(locals()))
