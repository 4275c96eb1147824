"""Fused recurrent sequences, each bound to its composed twin.

The fused operation runs all steps in one kernel; its twin runs the step T times, and serves as
its oracle, as its path under ``create_graph=True`` and as what drawings expand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import array_of, count, flag, truths_of
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.gru import gru_backward, gru_forward
from tinygrad_seq.kernels.lstm import lstm_backward, lstm_forward
from tinygrad_seq.kernels.plan import Plan, make_plan
from tinygrad_seq.kernels.rnn import rnn_backward, rnn_forward
from tinygrad_seq.ops.registry import (
    array_at,
    check_indices,
    constant,
    record_several,
    register,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import NONZERO, REAL, Draw
from tinygrad_seq.ops.steps import GATES, gru_step, lstm_step, nonlinearity_of, rnn_step, unroll

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["gru_sequence", "lstm_sequence", "rnn_sequence", "sequence_options"]

Sampled = tuple[tuple[Any, ...], dict[str, Any]]


def sequence_options(
    owner: str,
    steps: int,
    batch: int,
    lengths: Any = None,
    reset: Any = None,
    reverse: bool = False,
    checkpoint: int | None = None,
) -> dict[str, Any]:
    """Check how a batch of sequences is to be run; only what differs from the plain run.

    Raises
    ------
    ShapeError, DtypeError, IndexRangeError, ConfigError
        For lengths that are not N integers in 0 .. T, a reset that is not N or (T, N)
        booleans, and a checkpoint that is not a positive number of steps.
    """
    found: dict[str, Any] = {}
    if lengths is not None:
        array = array_at(f"{owner}: lengths", lengths)
        if array.shape != (batch,):
            raise ShapeError(
                f"{owner}: lengths",
                expected=f"one per row, ({batch},)",
                got=array.shape,
                hint="lengths=[T, ...]: the valid steps of every sequence of the batch",
            )
        if array.dtype.kind not in "iu":
            raise DtypeError(
                f"{owner}: lengths",
                expected="integers",
                got=array.dtype,
                hint="np.asarray(lengths, int)",
            )
        if array.min() < 0 or array.max() > steps:
            raise IndexRangeError(
                f"{owner}: lengths",
                expected=f"0 <= length <= {steps}",
                got=f"{array.min()} to {array.max()}",
                hint="a length counts the valid steps of a row, at its beginning",
            )
        found["lengths"] = array.astype(np.intp)
    if reset is not None:
        array = truths_of(f"{owner}: reset", values_of(reset)).copy()
        if array.shape == (batch,):
            array = np.concatenate([array[None], np.zeros((steps - 1, batch), bool)])
        if array.shape != (steps, batch):
            raise ShapeError(
                f"{owner}: reset",
                expected=f"one per row, ({batch},), or per step and row, ({steps}, {batch})",
                got=array.shape,
            )
        found["reset"] = array
    if checkpoint is not None:
        found["every"] = count(1)(f"{owner}: checkpoint", checkpoint)
    if flag(f"{owner}: reverse", reverse):
        found["reverse"] = True
    return found


def _plan(x: Any, **options: Any) -> Plan:
    return make_plan(x.shape[0], x.shape[1], **options)


def _twin(step: Callable[..., Any], states: int) -> Callable[..., tuple[Tensor, ...]]:
    """The composed twin of a sequence: the step, unrolled. It has nothing to recompute."""

    def twin(
        x: Any,
        *operands: Any,
        lengths: Any = None,
        reset: Any = None,
        reverse: bool = False,
        every: int | None = None,
    ) -> tuple[Tensor, ...]:
        weights = operands[states:]
        return unroll(
            lambda x_t, *parts: step(x_t, *parts, *weights),
            x,
            operands[:states],
            lengths,
            reset,
            reverse,
        )

    return twin


def _draw_options(draw: Draw, steps: int, batch: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        options["lengths"] = np.array([draw.integer(0, steps) for _ in range(batch)])
    if draw.choice([False, True]):
        marks = [draw.choice([False, True]) for _ in range(steps * batch)]
        options["reset"] = np.array(marks).reshape(steps, batch)
    if draw.choice([False, True]):
        options["reverse"] = True
    if draw.choice([False, True]):
        options["every"] = draw.integer(1, steps)
    return options


def _sequence_sample(
    gates: int, states: int, scale: float = 1.0, bias: str = REAL, last: bool = False
) -> Any:
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
        weights.append(draw.array((gates * hidden,), bias))
        if last:
            weights.append(draw.array((hidden,)))
        options = _draw_options(draw, steps, batch) if draw.choice([False, True]) else {}
        return (x, *initial, *weights), options

    return sample


def _rnn_op(nonlinearity: str) -> Op:
    rectify = nonlinearity == "relu"

    def step(x: Any, h: Any, weight_xh: Any, weight_hh: Any, bias: Any) -> tuple[Tensor]:
        return (rnn_step(x, h, weight_xh, weight_hh, bias, nonlinearity),)

    def forward(
        x: Any,
        h0: Any,
        weight_xh: Any,
        weight_hh: Any,
        bias: Any,
        keep: bool = False,
        every: int | None = None,
        **options: Any,
    ) -> Any:
        # Nothing to recompute: the activations are the outputs.
        return rnn_forward(x, h0, weight_xh, weight_hh, bias, _plan(x, **options), rectify, keep)

    def rule(
        g: Any, x: Any, weight_xh: Any, weight_hh: Any, bias: Any, residuals: Any, needs: Any
    ) -> Any:
        return rnn_backward(g, x, weight_xh, weight_hh, bias, residuals, rectify, needs[0])

    return register(
        Op(
            f"rnn_{nonlinearity}_sequence",
            forward,
            "x h0 weight_xh weight_hh bias",
            joint=rule,
            # Weights too small to carry a relu across its kink: the bias decides its side.
            sample=_sequence_sample(1, 1, 0.008, NONZERO) if rectify else _sequence_sample(1, 1),
            twin=_twin(step, 1),
            outputs=2,
            keep=True,
            analytic=not rectify,
            kink="0 where a sum is 0" if rectify else "",
            mixes=False,
        )
    )


def _lstm_forward(
    x: Any,
    h0: Any,
    c0: Any,
    weight_xh: Any,
    weight_hh: Any,
    bias: Any,
    keep: bool = False,
    **options: Any,
) -> Any:
    return lstm_forward(x, h0, c0, weight_xh, weight_hh, bias, _plan(x, **options), keep)


def _lstm_rule(
    g: Any, x: Any, weight_xh: Any, weight_hh: Any, bias: Any, residuals: Any, needs: Any
) -> Any:
    return lstm_backward(g, x, weight_xh, weight_hh, bias, residuals, needs[0])


def _gru_forward(x: Any, h0: Any, *weights: Any, keep: bool = False, **options: Any) -> Any:
    return gru_forward(x, h0, weights, _plan(x, **options), keep)


def _gru_rule(g: Any, x: Any, weights: tuple[Any, ...], residuals: Any, needs: Any) -> Any:
    return gru_backward(g, x, weights, residuals, needs[0])


RNN_OPS = {kind: _rnn_op(kind) for kind in ("tanh", "relu")}
LSTM = register(
    Op(
        "lstm_sequence",
        _lstm_forward,
        "x h0 c0 weight_xh weight_hh bias",
        joint=_lstm_rule,
        sample=_sequence_sample(GATES, 2),
        twin=_twin(lstm_step, 2),
        outputs=3,
        keep=True,
        mixes=False,
    )
)
GRU_AFTER = register(
    Op(
        "gru_sequence",
        _gru_forward,
        "x h0 weight_xh weight_hh bias bias_hn",
        joint=lambda g, x, weight_xh, weight_hh, bias, bias_hn, residuals, needs: _gru_rule(
            g, x, (weight_xh, weight_hh, bias, bias_hn), residuals, needs
        ),
        sample=_sequence_sample(3, 1, last=True),
        twin=_twin(lambda *operands: (gru_step(*operands),), 1),
        outputs=2,
        keep=True,
        mixes=False,
    )
)
GRU_BEFORE = register(
    Op(
        "gru_reset_before_sequence",
        _gru_forward,
        "x h0 weight_xh weight_hh bias",
        joint=lambda g, x, weight_xh, weight_hh, bias, residuals, needs: _gru_rule(
            g, x, (weight_xh, weight_hh, bias), residuals, needs
        ),
        sample=_sequence_sample(3, 1),
        twin=_twin(lambda *operands: (gru_step(*operands),), 1),
        outputs=2,
        keep=True,
        mixes=False,
    )
)


def _checked(op: Op, operands: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands, tokens copied, once dtypes and sizes are known to fit each other."""
    names = op.inputs
    operands = tuple(
        x if isinstance(x, (Variable, np.ndarray)) else array_of(f"{op.name}: {name}", x)
        for name, x in zip(names, operands, strict=True)
    )
    shapes = dict(zip(names, (shape_of(operand) for operand in operands), strict=True))
    x = constant(operands[0])
    tokens = x.dtype.kind in "iu"
    steps_batch = x.shape[:2]
    hidden, wide = (*shapes["weight_hh"], 0, 0)[:2]
    size = (*shapes["weight_xh"], 0)[0]
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(names, (*steps_batch[1:], hidden))
    wanted |= {"x": steps_batch if tokens else (*steps_batch, size), "bias": (wide,)}
    wanted |= {"weight_xh": (size, wide), "weight_hh": (hidden, wide), "bias_hn": (hidden,)}
    for name, shape in shapes.items():
        if shape != wanted[name] or (name == "x" and len(steps_batch) < 2):
            raise ShapeError(
                f"{op.name}: {name} does not fit the other operands",
                expected=wanted[name] if len(steps_batch) == 2 else "(T, N, I), or tokens (T, N)",
                got=shape,
            )
    floats = operands[1:] if tokens else operands
    dtypes = {constant(operand).dtype for operand in floats if hasattr(operand, "dtype")}
    if any(d.kind not in "fc" for d in dtypes) or len({d for d in dtypes if d.kind == "f"}) > 1:
        raise DtypeError(
            f"{op.name}: operands",
            expected="one floating dtype for inputs, states and weights; x may be tokens",
            got=", ".join(sorted(map(str, dtypes))),
            hint="convert the inputs or the states with .astype",
        )
    if tokens:
        return (check_indices(x, size, f"{op.name}: token"), *operands[1:])
    return operands


def _run(op: Op, operands: tuple[Any, ...], options: dict[str, Any]) -> tuple[Tensor, ...]:
    operands = _checked(op, operands)
    if any(value is not None and value is not False for value in options.values()):
        steps, batch = shape_of(operands[0])[:2]
        return record_several(op, operands, sequence_options(op.name, steps, batch, **options))
    return record_several(op, operands, {})


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
    y, h = _run(RNN_OPS[kind], (x, h0, weight_xh, weight_hh, bias), options)
    return y, h


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
    y, h, c = _run(LSTM, (x, h0, c0, weight_xh, weight_hh, bias), options)
    return y, h, c


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
    weights = (weight_xh, weight_hh, bias)
    if bias_hn is None:
        y, h = _run(GRU_BEFORE, (x, h0, *weights), options)
    else:
        y, h = _run(GRU_AFTER, (x, h0, *weights, bias_hn), options)
    return y, h
