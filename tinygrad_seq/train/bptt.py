"""Backpropagation through time in a given amount of memory: recompute instead of store.

With m slots for states, a run of T steps is differentiated by storing some states, and running
from the nearest stored one whenever an earlier one is needed. The cheapest schedule satisfies the
dynamic programme of Gruslys et al. (2016) for stored states,

    D(t, m) = min over y of  y + D(t - y, m - 1) + D(y, m),    D(t, 1) = t (t + 1) / 2,

whose solution is the binomial schedule of Griewank and Walther (2000), in closed form here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import comb, isqrt
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.checks import callable_of, count, instance_of
from tinygrad_seq.engine.mode import enable_grad, no_grad
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, GraphError, shown
from tinygrad_seq.optim.options import tensors
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.transforms import grad
from tinygrad_seq.transforms.checkpoint import sketch
from tinygrad_seq.transforms.draws import Draws
from tinygrad_seq.transforms.nest import leaves, rebuild

__all__ = ["BPTT", "bptt", "first_run", "forward_steps"]

Step = Callable[[int, Any], tuple[Any, Tensor | None]]


def _reach(slots: int, repeats: int) -> int:
    """The most steps that `slots` states can serve when no step runs more than `repeats` times."""
    return comb(slots + repeats, slots) if repeats >= 0 else 0


def _repeats(steps: int, slots: int) -> int:
    repeats = 0
    while _reach(slots, repeats) < steps:
        repeats += 1
    return repeats


def forward_steps(steps: int, slots: int) -> int:
    """How often the cheapest schedule runs a step: D(t, m), the final runs included.

    Parameters
    ----------
    steps : int
        T.
    slots : int
        States that may be stored, the first one included.

    Examples
    --------
    >>> [forward_steps(1000, m) for m in (5, 10, 20, 32, 50, 1000)]
    [7284, 4636, 3747, 3405, 2948, 1999]
    """
    _check(steps=steps, slots=slots)
    slots = min(slots, steps)
    repeats = _repeats(steps, slots)
    return steps + repeats * steps - (_reach(slots + 1, repeats - 1))


def first_run(steps: int, slots: int) -> int:
    """How many steps to run before the next state is stored: a minimiser y of the programme.

    Examples
    --------
    >>> first_run(1000, 10)
    285
    """
    _check(steps=steps, slots=slots)
    if steps < 2 or slots < 2:
        raise ConfigError(
            "first_run: nothing to split",
            expected="at least 2 steps and 2 slots",
            got=f"{steps} and {slots}",
        )
    slots = min(slots, steps)
    repeats = _repeats(steps, slots)
    return max(1, _reach(slots, repeats - 2), steps - _reach(slots - 1, repeats))


def _check(**sizes: int) -> None:
    for name, size in sizes.items():
        count(1)(f"bptt: {name}", size)


class BPTT(NamedTuple):
    """What :func:`bptt` found."""

    loss: float
    """Sum of the losses of all steps."""
    state: Any
    """The last state, detached."""
    state_gradient: list[Array]
    """Gradient of the loss with respect to every tensor of the first state, in order."""
    forwards: int
    """How often a step was run."""


def bptt(
    step: Step,
    state: Any,
    steps: int,
    parameters: Iterable[Tensor],
    *,
    slots: int | None = None,
    generators: Iterable[np.random.Generator] = (),
) -> BPTT:
    """Differentiate the sum of the losses of many steps exactly, storing few states.

    Gradients are added to ``.grad`` of the parameters, as ``backward()`` does, once everything
    is done: an error on the way changes nothing.

    Parameters
    ----------
    step : callable
        ``step(t, state) -> (state, loss)``: one step, or one window of a sequence; `loss` is a
        scalar tensor or None. It is run several times for the same t, with the same random
        numbers (dropout masks) each time, and must do the same.
    state : Tensor, or a nest of tensors such as LSTMState
        Where to start.
    steps : int
        T.
    parameters : iterable of Tensor
        What to differentiate with respect to.
    slots : int, optional
        States stored at a time, the first included; about the square root of T by default
        (T = 1,000 then takes 3,405 runs of a step, where storing everything takes 1,000).
    generators : iterable of numpy.random.Generator
        Sources of random numbers, besides those found in modules, closures and global names that
        `step` uses. They end where one run of all steps leaves them.

    Raises
    ------
    ConfigError
        If steps or slots are not positive, or no step has a loss.
    GraphError
        If a step, run again, leads to another state.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq.train.bptt import bptt
    >>> w = tgs.tensor(0.2, requires_grad=True, dtype=np.float64)
    >>> first = tgs.tensor(0.9, dtype=np.float64)
    >>> found = bptt(lambda t, x: (w * x, w * x if t == 2 else None), first, 3, [w], slots=2)
    >>> round(float(w.grad), 3), found.forwards  # d (w^3 x) / dw = 3 w^2 x
    (0.108, 5)
    """
    _check(steps=steps, slots=1 if slots is None else slots)
    slots = isqrt(steps - 1) + 1 if slots is None else slots
    draws = Draws(generators, [step, state])
    run = _Run(callable_of("bptt: step", step), state, tensors("bptt", parameters), draws)
    began = draws.now()
    try:
        run.all(steps, slots)
    except BaseException:
        draws.set(began)
        raise
    return run.finish()


def _tensors(state: Any) -> list[Tensor]:
    return [instance_of("bptt: a part of the state", part, Tensor) for part in leaves(state)]


def _parts(state: Any) -> list[Array]:
    return [part._array for part in _tensors(state)]


def _sum(known: Array | None, found: Array | None) -> Array | None:
    if known is None or found is None:
        return known if found is None else found
    return np.asarray(known + found)


class _Run:
    """One call of :func:`bptt`: cotangents of the state at its end, and sums of gradients."""

    def __init__(self, step: Step, state: Any, parameters: list[Tensor], draws: Draws) -> None:
        self.step = step
        self.draws = draws
        self.following: list[Any] | None = None  # what the step after the last one run began with
        self.like = state
        self.parameters = parameters
        self.totals: list[Array | None] = [None] * len(parameters)
        self.carried: list[Array | None] = [None] * len(_parts(state))
        self.losses: list[float] = []
        self.last: list[Array] | None = None
        self.forwards = 0
        self.seen: dict[int, float] = {}  # the loss of each step, when first run

    def all(self, steps: int, slots: int) -> None:
        """Every step forward, and then back one by one from the nearest state stored."""
        stored = [(0, _parts(self.like), self.draws.now())]
        end, left = steps, None
        while end > 0:
            at, parts, states = stored[-1]
            length, free = end - at, slots - len(stored) + 1
            self.draws.set(states)  # a stretch that is run again draws the same numbers again
            if length > 1 and free > 1:
                ahead = first_run(length, free)
                reached = self.forward(parts, at, at + ahead)
                stored.append((at + ahead, reached, self.draws.now()))
                continue
            self.back(self.forward(parts, at, end - 1), end - 1)
            left = self.draws.now() if left is None else left
            end -= 1
            if end == at:
                stored.pop()
        self.draws.set(left or [])

    def run(self, t: int, state: list[Tensor]) -> tuple[list[Tensor], Tensor | None]:
        """Run a step; refuse a loss that differs from an earlier run's: it may draw numbers."""
        made = self.step(t, rebuild(self.like, state))
        if not isinstance(made, (tuple, list)) or len(made) != 2:
            raise ConfigError(
                "bptt: what step returned",
                expected="a pair, (state, loss); loss may be None",
                got=shown(made),
            )
        reached, loss = made
        value = np.nan if loss is None else instance_of("bptt: loss", loss, Tensor).item()
        _require_same(t, "loss", value, self.seen.setdefault(t, value))
        self.forwards += 1
        return _tensors(reached), loss

    def forward(self, parts: list[Array], start: int, stop: int) -> list[Array]:
        """The state after steps start .. stop - 1; nothing is recorded."""
        with no_grad():
            for t in range(start, stop):
                parts = [tensor._array for tensor in self.run(t, [*map(Tensor, parts)])[0]]
        return parts

    def back(self, parts: list[Array], t: int) -> None:
        """Run step t once more, recorded, and carry the cotangents through it."""
        inputs = [Tensor(part, requires_grad=True) for part in parts]
        with enable_grad():
            reached, loss = self.run(t, inputs)
        if len(reached) != len(self.carried):
            raise ConfigError(
                "bptt: the state that step returned",
                expected=f"{len(self.carried)} tensors, as at the start",
                got=len(reached),
            )
        if self.last is None:
            self.last = [tensor.numpy() for tensor in reached]
        if self.following is not None:  # the step must lead to where the one after it began
            found = [sketch(tensor._array) for tensor in reached]
            _require_same(t, "state", found, self.following)
        self.following = [sketch(part) for part in parts]
        pairs: list[tuple[Tensor, Any]] = [
            (tensor, cotangent)
            for tensor, cotangent in zip(reached, self.carried, strict=True)
            if cotangent is not None and tensor.requires_grad
        ]
        if loss is not None:
            self.losses.append(float(loss.item()))
            if loss.requires_grad:
                pairs.append((loss, np.ones(loss.shape, loss.dtype)))
        wanted = [*self.parameters, *inputs]
        arrays: list[Array | None] = [None] * len(wanted)
        if pairs:
            outs, cotangents = zip(*pairs, strict=True)
            found = grad(outs, wanted, list(cotangents), allow_unused=True)
            arrays = [None if g is None else g._array for g in found]
        count = len(self.parameters)
        self.carried = arrays[count:]
        self.totals = [*map(_sum, self.totals, arrays[:count])]

    def finish(self) -> BPTT:
        """Hand out the gradients."""
        if not self.losses:
            raise ConfigError("bptt: no step has a loss", expected="a scalar tensor, at least once")
        for parameter, total in zip(self.parameters, self.totals, strict=True):
            if total is not None:
                parameter.grad = np.array(_sum(parameter.grad, total))
        first = [
            np.zeros(part.shape, part.dtype) if cotangent is None else cotangent
            for part, cotangent in zip(_parts(self.like), self.carried, strict=True)
        ]
        state = rebuild(self.like, map(Tensor, self.last or []))
        return BPTT(float(np.sum(self.losses[::-1])), state, first, self.forwards)


def _require_same(t: int, what: str, found: Any, before: Any) -> None:
    """Refuse a step that, run again, gave something else."""
    if not np.allclose(found, before, rtol=1e-4, atol=0, equal_nan=True):
        raise GraphError(
            f"bptt: step {t}, run again, led to another {what}",
            expected="a step that does the same for the same t and state",
            got="other values than before",
            hint="if it draws random numbers, pass their source: generators=[rng]",
        )
