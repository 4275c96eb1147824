"""Truncated backpropagation through time, as an iterator over windows.

The state of a recurrent model is carried from one piece of the sequence to the next by value; its
history is cut off. So each update costs the memory of `k` steps, however long the sequence is
(Williams and Peng 1990; Sutskever 2013).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from typing import Any, Literal, NamedTuple

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import callable_of, choice, count, instance_of, number, shown
from tinygrad_seq.errors import ConfigError, NonFiniteError, ShapeError
from tinygrad_seq.nn.state import detach, reset_rows
from tinygrad_seq.optim import ClipReport, LRScheduler, Optimizer, clip_grad_norm_, clip_grad_value_
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.train.windows import checked_window, require_loss, require_pair, require_windows

__all__ = ["TBPTT", "StepReport", "tbptt"]

Model = Callable[[Any, Any], tuple[Any, Any]]
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one update of :func:`tbptt` did.

    Attributes
    ----------
    step : int
        Updates so far, this one included (skipped ones too).
    loss : float
        Of this piece, before the update: nats per token with the default loss.
    grad_norm, grad_norm_after : float
        Global 2-norm of the gradients before and after clipping.
    clip_factor : float
        ``grad_norm_after / grad_norm``; 1 where nothing was clipped.
    tokens : int
        T * N of this piece.
    tokens_per_second : float
        Of the update alone: time that the caller spends between two updates is not counted.
    lr : float
        Learning rate of the optimiser's first group in this update.
    skipped : bool
        Whether the update was left out because the loss or a gradient was not finite.
    problem : str
        What was not finite; empty otherwise.
    """

    step: int
    loss: float
    grad_norm: float
    grad_norm_after: float
    clip_factor: float
    tokens: int
    tokens_per_second: float
    lr: float
    skipped: bool = False
    problem: str = ""

    @property
    def bits_per_character(self) -> float:
        """The loss in bits: nats divided by ln 2."""
        return self.loss / math.log(2)


class _Piece(NamedTuple):
    """At most k steps of a window, and the rows whose state starts anew with it."""

    inputs: Any
    targets: Any
    reset: Any


class _Past(NamedTuple):
    """A piece that gradients still go back through, and the detached state before it."""

    piece: _Piece
    state: Any


def tbptt(
    model: Model,
    windows: Iterable[Any],
    optimizer: Optimizer,
    *,
    k: int = 100,
    k2: int | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    nonfinite: Literal["raise", "skip"] = "raise",
    state: Any = None,
    loss: Loss = ops.cross_entropy,
    schedule: LRScheduler | None = None,
    step: int = 0,
) -> TBPTT:
    r"""Train by truncated backpropagation through time; iterate to run it, one update at a time.

    For each piece of `k` steps: run the model from the carried state, differentiate the piece's
    loss, clip, update, and carry the new state on, detached. The carried state makes the loss of
    a piece depend on all pieces before it; the cut keeps its gradient from going there.

    Parameters
    ----------
    model : callable
        ``model(inputs, state) -> (outputs, state)``; state None means the start. Any nest of
        tensors is a state (tuples, named tuples, lists, dicts).
    windows : iterable
        Of ``(inputs, targets)`` or ``(inputs, targets, reset)``, time first: (T, N, ...), where
        successive windows continue one another. Windows longer than `k` are cut into pieces,
        one update each. They are read one at a time. ``reset`` (N,) booleans marks the rows
        whose state starts anew with this window (None: no row).
    optimizer : Optimizer
        Its parameters are those that are clipped and updated.
    k : int, default 100
        Steps from one update to the next (k1), and as far as gradients go back.
    k2 : int, optional
        How far they go back instead: a multiple of `k`. The pieces before the present one are
        run again with the present parameters, so an update costs about k2 / k times the work.
    clip_norm, clip_value : float, optional
        Clip gradients by global norm (:func:`~tinygrad_seq.optim.clip_grad_norm_`) or by value
        (:func:`~tinygrad_seq.optim.clip_grad_value_`); at most one of the two.
    nonfinite : {"raise", "skip"}
        What to do if a loss or gradient is NaN or infinite: raise, or leave the piece out and
        go on. Parameters, optimiser and carried state are untouched either way.
    state : optional
        Where to start; its history is cut off.
    loss : callable
        ``loss(outputs, targets)`` gives a scalar tensor. Default
        :func:`~tinygrad_seq.cross_entropy`, the mean over the piece in nats.
    schedule : LRScheduler, optional
        Stepped after every update.
    step : int
        Updates made before, for the count in the reports of a resumed run.

    Returns
    -------
    TBPTT
        An iterator over :class:`StepReport`. Gradients of an update stay on the parameters
        until the next one begins, and ``.state`` holds the carried state.

    Raises
    ------
    ConfigError
        For an option out of range, or windows that are none: at the call, before anything runs.
    ShapeError
        For a window that is no pair or triple, or whose parts do not fit, when it is read.
    NonFiniteError
        Under ``nonfinite="raise"``, naming the update and what was not finite.

    Notes
    -----
    With ``k >= T`` this is full backpropagation through time of each window. With `k2` it is
    TBPTT(k1, k2) (Williams and Peng 1990): each loss counts once, in the update after it. The
    state before the oldest piece comes from the last time it was run. The first updates of an
    iterator, a resumed one too, have less behind them.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import data, optim, charlm, train
    >>> model = charlm.CharLM(5, hidden=8, layers=1, rng=np.random.default_rng(0))
    >>> optimizer = optim.Adam(model.parameters(), lr=0.02)
    >>> streams = data.Streams(np.arange(1000) % 5, streams=4)
    >>> steps = train.tbptt(model, streams.windows(5), optimizer, k=5, clip_norm=1.0)
    >>> losses = [report.loss for report in steps]
    >>> len(losses), losses[-1] < 0.2 < losses[0]
    (50, True)
    """
    instance_of("tbptt: optimizer", optimizer, Optimizer)
    if schedule is not None:
        instance_of("tbptt: schedule", schedule, LRScheduler)
        if schedule.optimizer is not optimizer:
            raise ConfigError("tbptt: the schedule belongs to another optimiser")
    require_windows("tbptt", windows)
    k = count(1)("tbptt: k, a number of steps", k)
    choice("raise", "skip")("tbptt: nonfinite", nonfinite)
    return TBPTT(
        callable_of("tbptt: model", model, "model(inputs, state) -> (outputs, state)"),
        callable_of("tbptt: loss", loss, "loss(outputs, targets) -> a scalar Tensor"),
        optimizer,
        schedule,
        _clipping(clip_norm, clip_value, nonfinite),
        nonfinite == "skip",
        _pieces(windows, k),
        0 if k2 is None else _reach(k, k2),
        detach(state),
        count(0)("tbptt: step", step),
    )


@dataclass(eq=False, repr=False)
class TBPTT(Iterator[StepReport]):
    """The iterator that :func:`tbptt` returns.

    Attributes
    ----------
    state
        The carried state, detached; None before the first window unless one was given.
    step : int
        Updates so far.
    """

    _model: Model
    _loss: Loss
    _optimizer: Optimizer
    _schedule: LRScheduler | None
    _clip: Callable[[Iterable[Tensor]], ClipReport]
    _skip: bool
    _pieces: Iterator[_Piece]
    _reach: int  # in steps; 0 where no piece but the present one is run
    state: Any
    step: int
    _past: list[_Past] = field(default_factory=list)  # oldest first

    def __next__(self) -> StepReport:
        piece = next(self._pieces)
        began = time.perf_counter()
        while self._past and _length(self._past) + _steps(piece.inputs) > self._reach:
            del self._past[0]
        past = [*self._past, _Past(piece, self.state)]
        loss, clip, after = self._update(past)
        self.step += 1
        if clip.finite:  # else as if this piece had not been there
            self.state = after
            self._past = past if self._reach else []
        lr = float(self._optimizer.param_groups[0]["lr"])
        if self._schedule is not None:
            self._schedule.step()
        tokens = math.prod(np.shape(piece.inputs)[:2])
        seconds = max(time.perf_counter() - began, 1e-9)
        norms = clip.norm, clip.norm_after, clip.factor
        skipped = not clip.finite
        speed = tokens / seconds
        return StepReport(self.step, loss, *norms, tokens, speed, lr, skipped, clip.problem)

    def _update(self, past: list[_Past]) -> tuple[float, ClipReport, Any]:
        """The loss of the last piece, what clipping did, and the detached state after it."""
        self._optimizer.zero_grad()
        loss, after = self._forward(past)
        value = float(loss.item())
        if math.isfinite(value):
            loss.backward()
            groups = self._optimizer.param_groups
            clip = self._clip([p for group in groups for p in group["params"]])
            if clip.finite:
                self._optimizer.step()
        elif self._skip:
            problem = f"the loss is {value}"
            clip = ClipReport(math.nan, math.nan, 1.0, False, problem=problem)
        else:
            raise NonFiniteError(
                f"tbptt: the loss of update {self.step + 1} is not finite",
                expected="a finite loss",
                got=value,
                hint='lower the learning rate, clip gradients, or pass nonfinite="skip"',
            )
        return value, clip, after

    def _forward(self, past: list[_Past]) -> tuple[Tensor, Any]:
        """The loss of the last piece, and the detached state after it.

        The states in `past` become those of this run.
        """
        state = past[0].state
        for place, (piece, _) in enumerate(past):
            if place:
                past[place] = _Past(piece, detach(state))
            if piece.reset is not None and state is not None:
                state = reset_rows(state, piece.reset)
            outputs, state = require_pair("tbptt", self._model(piece.inputs, state))
        return require_loss("tbptt", self._loss(outputs, piece.targets)), detach(state)


def _pieces(windows: Iterable[Any], k: int) -> Iterator[_Piece]:
    """Windows cut into pieces of at most k steps; rows are reset at the first of a window."""
    for window in windows:
        inputs, targets, reset = checked_window("tbptt", window)
        steps = _steps(inputs)
        if steps <= k:
            yield _Piece(inputs, targets, reset)
            continue
        if np.shape(targets)[:1] != (steps,):
            raise ShapeError(
                f"tbptt: a window of {steps} steps is to be cut every {k}, and its targets cannot",
                expected=f"targets with a first axis of {steps} steps",
                got=np.shape(targets),
                hint=f"targets for a whole window need k >= {steps}",
            )
        for start in range(0, steps, k):
            piece = slice(start, start + k)
            yield _Piece(inputs[piece], targets[piece], None if start else reset)


def _length(past: list[_Past]) -> int:
    return sum(_steps(each.piece.inputs) for each in past)


def _steps(inputs: Any) -> int:
    shape = np.shape(inputs)
    if not shape or shape[0] == 0:
        raise ShapeError(
            "tbptt: a window has no time steps", expected="(T, N, ...), T >= 1", got=shape
        )
    return int(shape[0])


def _reach(k: int, k2: Any) -> int:
    """How far gradients go back, in steps; 0 for no further than a piece."""
    what = "tbptt: k2 is a number of steps, and whole pieces of k"
    if isinstance(k2, bool) or not isinstance(k2, Integral) or k2 < k or k2 % k != 0:
        raise ConfigError(what, expected=f"a multiple of k = {k}", got=shown(k2))
    return 0 if k2 == k else int(count(1)(what, k2))


def _clipping(norm: Any, value: Any, nonfinite: Any) -> Callable[..., ClipReport]:
    """What clips the gradients, or only measures them."""
    if norm is not None and value is not None:
        raise ConfigError(
            "tbptt: two ways of clipping at once",
            expected="clip_norm or clip_value",
            got=f"clip_norm={shown(norm)}, clip_value={shown(value)}",
            hint="clipping by norm keeps the direction of the gradient",
        )
    bound = number(0.0, open_low=True, infinite=True)
    if value is not None:
        limit = bound("tbptt: clip_value", value)
        return partial(clip_grad_value_, clip_value=limit, nonfinite=nonfinite)
    limit = math.inf if norm is None else bound("tbptt: clip_norm", norm)
    return partial(clip_grad_norm_, max_norm=limit, nonfinite=nonfinite)
