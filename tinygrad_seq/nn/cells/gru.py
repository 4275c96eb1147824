"""The gated recurrent unit: its step, its kernels, its cell and its layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq.checks import flag
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.kernels.gru import RESET_AFTER, RESET_BEFORE
from tinygrad_seq.nn.cells.cell import Fused
from tinygrad_seq.nn.cells.gated import Change, GatedCell, inputs_of
from tinygrad_seq.nn.flat import FlatRecurrent, cell_option, passed_on
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.options import Rule, made_anew, part_or_none
from tinygrad_seq.nn.state import GRUState
from tinygrad_seq.ops.join import split
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.math import sigmoid, tanh
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.ops.sequence import run_sequence, sequence_op
from tinygrad_seq.tensor import Tensor, TensorLike
from tinygrad_seq.timeline.picture import Port, Slot, Template, gate, sign, state

__all__ = ["GRU", "GRUCell", "gru_sequence", "gru_step"]


def gru_step(
    x: TensorLike,
    h: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
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
    bias : (3H,), or None
    bias_hn : (H,), optional

    Returns
    -------
    Tensor (N, H)
    """
    return _changed_step(x, h, weight_xh, weight_hh, bias, bias_hn)


def _changed_step(
    x: Any,
    h: Any,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
    bias_hn: TensorLike | None = None,
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> Tensor:
    """A step with what normalises x W_xh, h W_hh, x W_xn, h W_hn, and what drops h.

    What z keeps is never dropped.
    """
    cut = (2 * (0, *shape_of(h))[-1],)
    plain = not norms and drop is None
    norm_x, norm_h, norm_xn, norm_hn = norms or [_same] * 4
    d = h if drop is None else drop(h)
    inputs = inputs_of(x, weight_xh, bias if plain else None).tag("xW")
    inputs_rz, inputs_n = split(inputs, cut, axis=-1)
    if plain and bias_hn is not None:
        recurrent_rz, recurrent_n = split(matmul(h, weight_hh).tag("hW"), cut, axis=-1)
    else:
        weight_rz, weight_n = split(weight_hh, cut, axis=-1)
        if not plain and bias is not None:
            bias_rz, bias_n = split(bias, cut, axis=-1)
        recurrent_rz = norm_h(matmul(d, weight_rz).tag("hW"))
    sums = norm_x(inputs_rz) + recurrent_rz
    if not plain and bias is not None:
        sums = sums + bias_rz
    r, z = split(sums.tag("a"), 2, axis=-1)
    r, z = sigmoid(r).tag("r"), sigmoid(z).tag("z")
    if bias_hn is None:
        inner = norm_hn(matmul((r * d).tag("reset"), weight_n).tag("inner"))
    else:
        if not plain:
            recurrent_n = norm_hn(matmul(d, weight_n).tag("hW"))
        inner = (r * (recurrent_n + bias_hn).tag("hW")).tag("reset")
    if not plain:
        inputs_n = norm_xn(inputs_n)
        inputs_n = (inputs_n if bias is None else inputs_n + bias_n).tag("xW")
    n = tanh(inputs_n + inner).tag("n")
    new: Tensor = (((1 - z) * n).tag("fresh") + (z * h).tag("kept")).tag("h")
    return new


def _same(part: Any) -> Any:
    return part


GATES = ("r", "z", "n")
"""Reset gate, update gate, candidate: PyTorch's order."""


def _step(*operands: Any) -> tuple[Tensor]:
    return (gru_step(*operands),)


AFTER = sequence_op(
    "gru_sequence",
    RESET_AFTER,
    _step,
    weights="weight_xh weight_hh bias bias_hn",
    blocks=len(GATES),
)
BEFORE = sequence_op("gru_reset_before_sequence", RESET_BEFORE, _step, blocks=len(GATES))


def gru_sequence(
    x: TensorLike,
    h0: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    bias_hn: TensorLike | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """All T steps of :func:`gru_step` in one operation: ``y (T, N, H)`` and the last ``h``.

    `options` as for :func:`lstm_sequence`.
    """
    operands = (x, h0, weight_xh, weight_hh, bias)
    if bias_hn is None:
        y, h = run_sequence(BEFORE, operands, **options)
    else:
        y, h = run_sequence(AFTER, (*operands, bias_hn), **options)
    return y, h


_UP, _LOW = 72.0, -70.0  # heights of the road of h, and of the sums
_LEFT, _BELOW = (-1, 0), (0, -1)
PICTURE = Template(
    {
        "a": Slot(-27, _LOW, 184, 28, "W h,  W x + b", "weight_fill"),
        "z": gate(-100, -14, "z"),
        "r": gate(-54, -14, "r"),
        "reset": sign(-8, -14, "×"),
        "n": Slot(40, -14, 48, 24, "n  tanh", "squash_fill", normed=(1, "norm tanh", 66, 12)),
        "1-z": Slot(-40, 30, 34, 22, "1 −", "box"),
        "fresh": sign(40, 30, "×"),
        "kept": sign(-100, _UP, "×"),
        "h": state(100, _UP, "h"),
    },
    {"h": sign(40, _UP, "+")},
    244,
    208,
    (-3, 0),
    {"h": ("kept", "h")},
    {"h a": Port(_LEFT)},
)
PICTURE_BEFORE = PICTURE._replace(
    slots={
        **PICTURE.slots,
        "a": Slot(-54, _LOW, 130, 28, "W h,  W x + b", "weight_fill"),
        "inner": Slot(34, -14, 34, 24, "W", "weight_fill"),
        "n": PICTURE.slots["n"]._replace(x=86),
        "fresh": sign(86, 30, "×"),
        "h": state(146, _UP, "h"),
    },
    glyphs={"h": sign(86, _UP, "+")},
    width=290,
    center=(20, 0),
    # h goes to the reset gate's product between the sum and the gates.
    ports={**PICTURE.ports, "h reset": Port(_BELOW, lane=-41), "w inner": Port(_BELOW, 8)},
)


def _no_inner_bias(what: str, value: Any) -> None:
    if value is not None:
        raise ConfigError(
            f"{what} belongs to reset_after=True",
            expected="None, where the reset gate acts before the product",
            got=f"a {type(value).__name__}",
        )


class GRUCell(GatedCell):
    """One step of the GRU, ``h_t = (1 - z) * n + z * h_{t-1}``; see :func:`tinygrad_seq.gru_step`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    reset_after : bool
        Whether the reset gate acts after the recurrent product (as PyTorch's does) or before
        it; see :class:`~tinygrad_seq.nn.GRU`.
    bias, layer_norm, recurrent_dropout, rng, dtype : optional
        As for :class:`~tinygrad_seq.nn.GRU`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.GRUCell(3, 5, rng=np.random.default_rng(0))
    >>> cell(np.ones((2, 3), np.float32)).shape
    (2, 5)
    """

    title = "GRU"
    gates = GATES
    keeps: ClassVar = {"z": 1.0}
    state_type = GRUState
    norm_sizes: ClassVar = {"norm_x": 2, "norm_h": 2, "norm_xn": 1, "norm_hn": 1}
    _changing: ClassVar = {**GatedCell._changing, "bias_hn": part_or_none}
    _settled: ClassVar = {**GatedCell._settled, **made_anew("reset_after")}
    bias_hn: Parameter | None = None
    reset_after: bool

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        bias: bool = True,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        reset_after = flag("GRUCell: reset_after", reset_after)
        super().__init__(**passed_on(locals()))

    def _more_weights(self, rng: np.random.Generator, dtype: Any, **more: Any) -> None:
        """B_hn, where the reset gate acts after the product."""
        self._settle(reset_after=more["reset_after"])
        biased = self.reset_after and self.bias is not None
        self.bias_hn = Parameter(np.zeros(self.hidden_size, dtype)) if biased else None

    def _inner_bias(self) -> Any:
        """B_hn, or zeros in its place; None where the reset gate acts before the product."""
        if self.bias_hn is None and self.reset_after:
            return np.zeros(self.hidden_size, self.dtype)
        return self.bias_hn

    def _step(self, x: Any, *parts: Any, **changes: Any) -> tuple[Tensor]:
        """The new h."""
        (h,) = parts
        weights = self.weight_xh, self.weight_hh, self.bias, self._inner_bias()
        return (_changed_step(x, h, *weights, **changes),)

    def _biases(self) -> tuple[str, ...]:
        """B, and b_hn where there is one."""
        return ("bias", "bias_hn") if self.reset_after else ("bias",)

    def _rule(self, name: str) -> Rule | None:
        never = name == "bias_hn" and not self.reset_after
        return _no_inner_bias if never else super()._rule(name)

    @property
    def picture(self) -> Template:
        """Where its parts stand in a drawing."""
        return PICTURE if self.reset_after else PICTURE_BEFORE

    def fused(self) -> Fused | None:
        """All steps in one kernel."""
        if self.reset_after:
            return self._bound_to(AFTER, self._inner_bias())
        return self._bound_to(BEFORE)

    def extra_repr(self) -> str:
        """Sizes, and options that differ from the defaults."""
        return super().extra_repr() + ("" if self.reset_after else ", reset_after=False")


class GRU(FlatRecurrent[GRUState]):
    """The gated recurrent unit over sequences: ``h_t = (1 - z) * n + z * h_{t-1}`` per layer.

    ``[r z] = sigma(x_t W_xh + h_{t-1} W_hh + b)`` on their columns; the candidate n is
    ``tanh(x_t W_xn + b_n + r * (h_{t-1} W_hn + b_hn))``, or with ``reset_after=False``
    ``tanh(x_t W_xn + b_n + (r * h_{t-1}) W_hn)``.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    bias : bool
        Whether b and b_hn are added.
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
    operations, which takes about one and a half times as long, and with `layer_norm` three times.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> gru = nn.GRU(65, 32, bidirectional=True, rng=np.random.default_rng(0))
    >>> y, state = gru(np.zeros((7, 3), int))  # tokens (T, N)
    >>> y.shape, state.h.shape
    ((7, 3, 64), (2, 3, 32))
    """

    cell_type = GRUCell
    reset_after = cell_option("reset_after")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
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
        super().__init__(**passed_on(locals()))
