"""The LSTM of the notes: its step, its kernel, its cell and its layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq.checks import count, number
from tinygrad_seq.kernels.gates import GATE_ORDER
from tinygrad_seq.kernels.lstm import KERNEL
from tinygrad_seq.nn import init
from tinygrad_seq.nn.cells.cell import Fused
from tinygrad_seq.nn.cells.gated import Change, GatedCell, preactivation
from tinygrad_seq.nn.flat import FlatRecurrent, cell_option, passed_on
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.options import made_anew
from tinygrad_seq.nn.state import LSTMState
from tinygrad_seq.ops.join import split
from tinygrad_seq.ops.linalg import matmul
from tinygrad_seq.ops.math import sigmoid, tanh
from tinygrad_seq.ops.sequence import run_sequence, sequence_op
from tinygrad_seq.tensor import Tensor, TensorLike
from tinygrad_seq.timeline.picture import Port, Slot, Template, gate, sign, state

__all__ = ["LSTM", "LSTMCell", "lstm_sequence", "lstm_step"]


def lstm_step(
    x: TensorLike,
    h: TensorLike,
    c: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
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
    bias : (4H,), or None

    Returns
    -------
    h, c : Tensor (N, H)
    """
    return _changed_step(x, h, c, weight_xh, weight_hh, bias)


def _changed_step(
    x: Any,
    h: Any,
    c: Any,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike | None,
    weight_hr: TensorLike | None = None,
    norms: Sequence[Change] = (),
    drop: Change | None = None,
) -> tuple[Tensor, Tensor]:
    """A step with what normalises x W_xh, h W_hh, c_t, what drops h and W_hr (H, P) projects."""
    z = preactivation(x, h, weight_xh, weight_hh, bias, norms, drop)
    i, f, o, g = split(z, len(GATE_ORDER), axis=-1)
    i, f, o = sigmoid(i).tag("i"), sigmoid(f).tag("f"), sigmoid(o).tag("o")
    g = tanh(g).tag("g")
    c = (f * c + i * g).tag("c")
    out = o * tanh(norms[2](c) if norms else c).tag("tanh_c")
    return (out if weight_hr is None else matmul(out, weight_hr)).tag("h"), c


LSTM_OP = sequence_op("lstm_sequence", KERNEL, lstm_step, states="h0 c0", blocks=len(GATE_ORDER))


def lstm_sequence(
    x: TensorLike,
    h0: TensorLike,
    c0: TensorLike,
    weight_xh: TensorLike,
    weight_hh: TensorLike,
    bias: TensorLike,
    **options: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """All T steps of :func:`lstm_step` in one operation: ``y (T, N, H)``, last ``h``, ``c``.

    Parameters
    ----------
    x : (T, N, I) floats or (T, N) integer tokens
    h0, c0 : (N, H)
    weight_xh, weight_hh, bias
        As for :func:`lstm_step`.
    lengths : (N,) integers, optional
        Valid steps of every row, 0 .. T in any order. Outputs in the padding are 0, the last
        states those of the last valid step, and what the padding holds is never read.
    reset : (N,) or (T, N) booleans, optional
        Rows that start anew, before the first step or before each: their state and its
        gradient are 0 there.
    reverse : bool
        Run from the last valid step to the first.
    checkpoint : int, optional
        Keep the state every so many steps, and run the steps between again in backward.
    """
    y, h, c = run_sequence(LSTM_OP, (x, h0, c0, weight_xh, weight_hh, bias), **options)
    return y, h, c


_C, _H = 72.0, -70.0  # heights of the roads of c and h
_NORMED = (2, "norm W x + norm W h + b", 0, 11)
PICTURE = Template(
    {
        "a": Slot(-40, _H, 156, 28, "W [h; x] + b", "weight_fill", normed=_NORMED),
        "f": gate(-100, -14, "f"),
        "i": gate(-60, -14, "i"),
        "g": Slot(-13, -14, 50, 24, "g  tanh", "squash_fill"),
        "o": gate(32, -14, "o"),
        "f*c": sign(-100, _C, "×"),
        "i*g": sign(-37, 30, "×"),
        "c": state(78, _C, "c"),
        "tanh_c": Slot(78, 28, 40, 22, "tanh", "squash_fill", normed=(1, "norm, tanh", 72, 12)),
        "h": state(120, _H, "h"),
    },
    {"c": sign(-37, _C, "+"), "h": sign(78, -14, "×")},
    274,
    208,
    (8, 0),
    {"c": ("f*c", "c"), "h": ("a", "h")},
)
PROJECTED = PICTURE._replace(
    slots={**PICTURE.slots, "o*tanh_c": sign(78, -14, "×")},
    glyphs={**PICTURE.glyphs, "h": Slot(78, -44, 30, 20, "W", "weight_fill")},
    ports={"w h": Port((0, -1), -9)},
)


class LSTMCell(GatedCell):
    """One step of the LSTM of the notes; see :func:`tinygrad_seq.lstm_step`.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    forget_bias : float
        Initial bias of the forget gate (Gers et al., 2000; Jozefowicz et al., 2015).
    proj_size, bias, layer_norm, recurrent_dropout, rng, dtype : optional
        As for :class:`~tinygrad_seq.nn.LSTM`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.LSTMCell(3, 5, rng=np.random.default_rng(0))
    >>> h, c = cell(np.ones((2, 3), np.float32))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    title = "LSTM"
    gates = GATE_ORDER
    keeps: ClassVar = {"f": 1.0, "i": -1.0}
    state_type = LSTMState
    norm_sizes: ClassVar = {"norm_x": 4, "norm_h": 4, "norm_c": 1}
    _settled: ClassVar = {
        **GatedCell._settled,
        **made_anew("proj_size"),
        "forget_bias": "cell.bias.writable()[cell.columns('f')] = ...",
    }
    _needed: ClassVar = (*GatedCell._needed, "weight_hr")
    proj_size: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        proj_size: int = 0,
        bias: bool = True,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        forget_bias = number()("LSTMCell: forget_bias", forget_bias)
        proj_size = count(0, 2**31 - 1)("LSTMCell: proj_size", proj_size)
        super().__init__(**passed_on(locals()))

    @classmethod
    def _sizes(cls, hidden_size: int, **more: Any) -> dict[str, int]:
        """Lengths of h and c."""
        return {"h": more["proj_size"] or hidden_size, "c": hidden_size}

    def _more_weights(self, rng: np.random.Generator, dtype: Any, **more: Any) -> None:
        """W_hr, and a W_hh that fits it."""
        self._settle(proj_size=more["proj_size"])
        hidden, size = self.hidden_size, self.proj_size
        if size:
            self.weight_hh = Parameter(init.orthogonal(rng, hidden, self.blocks, dtype)[:size])
            self.weight_hr = Parameter(init.glorot_uniform(rng, hidden, size, dtype=dtype))

    def _step(self, x: Any, *parts: Any, **changes: Any) -> tuple[Tensor, Tensor]:
        """The new h and c."""
        if self.proj_size:
            changes["weight_hr"] = self.weight_hr
        h, c = parts
        return _changed_step(x, h, c, self.weight_xh, self.weight_hh, self.bias, **changes)

    @property
    def picture(self) -> Template:
        """Where its parts stand in a drawing."""
        return PROJECTED if self.proj_size else PICTURE

    def fused(self) -> Fused | None:
        """All steps in one kernel, where h is not projected."""
        return None if self.proj_size else self._bound_to(LSTM_OP)

    def extra_repr(self) -> str:
        """Sizes, and options that differ from the defaults."""
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")


class LSTM(FlatRecurrent[LSTMState]):
    """The LSTM of the notes over sequences.

    ``[i f o g] = [sigma sigma sigma tanh](x_t W_xh + h_{t-1} W_hh + b)``,
    ``c_t = f * c_{t-1} + i * g``, ``h_t = o * tanh(c_t)``, per layer.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        I, H and the number of stacked layers, each reading the one below.
    bias : bool
        Whether b is added.
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
    three times.

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

    cell_type = LSTMCell
    proj_size = cell_option("proj_size")

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
        super().__init__(**passed_on(locals()))
