"""General truncation, TBPTT(k1, k2), and what it costs in exactness.

Every k1 steps the gradient goes back through the last k2 (Williams and Peng 1990, ``BPTT(h; h')``).
:func:`truncated_bptt` is the bare method, for any k2 >= k1, with the optimiser left to the caller;
:func:`~tinygrad_seq.train.tbptt` is the trainer. :func:`compare_truncations` holds it against full
backpropagation through time.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, callable_of, count, instance_of, pair, sequence_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn.module import Module
from tinygrad_seq.nn.state import detach, reset_rows
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.train.windows import checked_window, require_loss, require_pair, require_windows
from tinygrad_seq.transforms.draws import undrawn

__all__ = ["Comparison", "Truncated", "compare_truncations", "truncated_bptt"]

Model = Callable[[Any, Any], tuple[Any, Any]]
Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True, slots=True)
class Truncated:
    """One backward of :func:`truncated_bptt`.

    Attributes
    ----------
    end : int
        Steps read so far: the loss is that of the `steps` before here.
    loss : float
    steps : int
        Steps whose loss was counted: k1, or what was left at the end.
    back : int
        Steps that the gradient went through: k2, or fewer near the start.
    state
        The state after the last step, detached.
    """

    end: int
    loss: float
    steps: int
    back: int
    state: Any


class _Chunk(NamedTuple):
    """Steps that are run in one call of the model; `reset` applies before the first."""

    inputs: Any
    targets: Any
    reset: Any

    @property
    def steps(self) -> int:
        return len(self.inputs)

    def cut(self, steps: int) -> tuple[_Chunk, _Chunk]:
        return (
            _Chunk(self.inputs[:steps], self.targets[:steps], self.reset),
            _Chunk(self.inputs[steps:], self.targets[steps:], None),
        )


def truncated_bptt(
    model: Model,
    windows: Iterable[Any],
    k1: int,
    k2: int,
    *,
    state: Any = None,
    loss: Loss = ops.cross_entropy,
) -> Iterator[Truncated]:
    """Run a sequence, and every `k1` steps go backward through the last `k2`.

    Each step's loss is counted once, in the first backward after it. The steps before the last
    k1 are run again with the present parameters, from a state that was kept in passing; so the
    caller may update the parameters between two backwards.

    Parameters
    ----------
    model : callable
        ``model(inputs, state) -> (outputs, state)``; state None means the start.
    windows : iterable
        Of ``(inputs, targets)`` or ``(inputs, targets, reset)``, time first, one continuing the
        other; their lengths do not matter. Read when needed: never more than k1 + k2 steps,
        and the window at hand, are held. ``reset`` (N,) marks rows whose state starts anew.
    k1, k2 : int
        Steps between backwards, and steps a backward goes through; k2 >= k1.
    state : optional
        Where to start; its history is cut off.
    loss : callable
        ``loss(outputs, targets)`` of the last k1 steps; default the mean cross-entropy.

    Yields
    ------
    Truncated
        After each backward. Gradients are *added* to ``.grad``, as ``backward`` does: zero
        them between updates, or leave them to sum to the truncated gradient of the whole.

    Raises
    ------
    ConfigError
        If not 1 <= k1 <= k2, or windows are none: at the call, before anything runs.
    ShapeError
        For a window that is no pair or triple, or whose parts differ in length.

    Notes
    -----
    With k2 >= T and parameters held fixed, the gradients sum to those of full backpropagation
    through time. With k1 = k2 every step is run once, and this is the ordinary form (run,
    backward, detach); else a step is run about k2 / k1 times. Fewer than k1 steps left over at
    the end make a last backward, through the last k2 steps like the others.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from demos.lab import truncated_bptt
    >>> w = tgs.tensor(np.array(0.2), requires_grad=True)
    >>> def model(inputs, x):  # x_{t+1} = w x_t
    ...     outputs = []
    ...     for _ in inputs:
    ...         x = w * x
    ...         outputs.append(x)
    ...     return tgs.stack(outputs), x
    >>> for k2 in (1, 2, 3):
    ...     found = []
    ...     for _ in truncated_bptt(
    ...         model,
    ...         [(np.zeros(3), np.zeros(3))],
    ...         1,
    ...         k2,
    ...         state=tgs.tensor(np.array(0.9)),
    ...         loss=lambda outputs, _: outputs.sum(),
    ...     ):
    ...         found.append(round(float(w.grad), 6))
    ...         w.grad = None
    ...     print(k2, found)
    1 [0.9, 0.18, 0.036]
    2 [0.9, 0.36, 0.072]
    3 [0.9, 0.36, 0.108]

    To train with it, update between two backwards:

    >>> from tinygrad_seq import charlm, data, optim
    >>> model = charlm.CharLM(5, hidden=8, layers=1, rng=np.random.default_rng(0))
    >>> optimizer = optim.Adam(model.parameters(), lr=0.02)
    >>> windows = data.Streams(np.arange(1000) % 5, streams=4).windows(50)
    >>> losses = []
    >>> for part in truncated_bptt(model, windows, k1=5, k2=15):
    ...     _ = optim.clip_grad_norm_(model.parameters(), 1.0)
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    ...     losses.append(part.loss)
    >>> len(losses), losses[-1] < 0.2 < losses[0]
    (50, True)
    """
    k1 = count(1)("truncated_bptt: k1, a number of steps", k1)
    k2 = count(1)("truncated_bptt: k2, a number of steps", k2)
    callable_of("truncated_bptt: model", model, "model(inputs, state) -> (outputs, state)")
    callable_of("truncated_bptt: loss", loss, "loss(outputs, targets) -> a scalar Tensor")
    if k2 < k1:
        raise ConfigError(
            "truncated_bptt: k2 < k1 would leave losses out",
            expected=f"k2 >= k1 = {k1}",
            got=k2,
        )
    require_windows("truncated_bptt", windows)
    return _run(model, _chunks(windows), k1, k2, detach(state), loss)


def _run(
    model: Model, chunks: Iterator[_Chunk], k1: int, k2: int, kept: Any, loss: Loss
) -> Iterator[Truncated]:
    """`kept` is the state before the oldest step that is held."""
    ahead: list[_Chunk] = []  # read, not yet run
    held: list[_Chunk] = []  # the steps before the new ones that k2 reaches
    new, ahead = _read(chunks, ahead, k1)
    end = 0
    while new:
        following, ahead = _read(chunks, ahead, k1)
        # How many of the oldest steps the next backward will not reach: the state after them
        # is kept in passing, so that they need not be run again.
        over = max(0, _length(held) + _length(new) + _length(following) - k2)
        old_held, held = _split(held, over)
        old_new, new = _split(new, over - _length(old_held))
        outputs, now = _forward(model, old_held + old_new, kept)
        kept = detach(now)
        later, now = _forward(model, held + new, now)
        counted = (outputs + later)[len(old_held) + len(held) :]
        value = require_loss("truncated_bptt", loss(_joined(counted), _targets(old_new + new)))
        now = detach(now)
        del outputs, later, counted
        value.backward()
        steps = _length(old_new + new)
        end += steps
        held += new
        back = _length(old_held + old_new) + _length(held)
        yield Truncated(end, float(value.item()), steps, back, now)
        new = following


def _read(
    chunks: Iterator[_Chunk], ahead: list[_Chunk], steps: int
) -> tuple[list[_Chunk], list[_Chunk]]:
    """The next `steps` steps, as far as there are any, and what was read beyond them."""
    while _length(ahead) < steps:
        following = next(chunks, None)
        if following is None:
            break
        ahead = [*ahead, following]
    return _split(ahead, steps)


def _forward(model: Model, chunks: list[_Chunk], state: Any) -> tuple[list[Any], Any]:
    outputs = []
    for chunk in chunks:
        if chunk.reset is not None and state is not None:
            state = reset_rows(state, chunk.reset)
        output, state = require_pair("truncated_bptt", model(chunk.inputs, state))
        outputs.append(output)
    return outputs, state


def _joined(outputs: list[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else ops.concatenate(outputs)


def _targets(chunks: list[_Chunk]) -> Any:
    if len(chunks) == 1:
        return chunks[0].targets
    return np.concatenate([np.asarray(chunk.targets) for chunk in chunks])


def _length(chunks: list[_Chunk]) -> int:
    return sum(chunk.steps for chunk in chunks)


def _split(chunks: list[_Chunk], steps: int) -> tuple[list[_Chunk], list[_Chunk]]:
    """The first `steps` steps (or all there are), and the rest."""
    first: list[_Chunk] = []
    for index, chunk in enumerate(chunks):
        if steps == 0:
            return first, chunks[index:]
        if chunk.steps > steps:
            head, tail = chunk.cut(steps)
            return [*first, head], [tail, *chunks[index + 1 :]]
        first.append(chunk)
        steps -= chunk.steps
    return first, []


def _chunks(windows: Iterable[Any]) -> Iterator[_Chunk]:
    for window in windows:
        chunk = _Chunk(*checked_window("truncated_bptt", window))
        sizes = [np.shape(part)[:1] for part in chunk[:2]]
        if sizes[0] != sizes[1] or sizes[0] in ((), (0,)):
            raise ShapeError(
                "truncated_bptt: a window needs a target for each of its steps",
                expected="inputs and targets with the same first axis, at least 1",
                got=f"{np.shape(chunk.inputs)} and {np.shape(chunk.targets)}",
            )
        yield chunk


@dataclass(frozen=True, slots=True)
class Comparison:
    """One truncation beside full backpropagation through time, parameters held fixed.

    Attributes
    ----------
    k1, k2 : int
    error : float
        ``|| g - g_full || / || g_full ||`` over all parameters together.
    cosine : float
        Of the angle between the two.
    seconds : float
        For the whole sequence.
    peak_bytes : int
        Most memory held at a time beyond what there was before, as Python's tracemalloc
        (which NumPy reports to) counts it.
    gradients : dict
        The truncated gradient by parameter.
    """

    k1: int
    k2: int
    error: float
    cosine: float
    seconds: float
    peak_bytes: int
    gradients: dict[str, Array]


def compare_truncations(
    model: Module,
    inputs: Any,
    targets: Any,
    pairs: Sequence[tuple[int, int]],
    *,
    loss: Loss | None = None,
) -> list[Comparison]:
    """Gradient error, time and memory of TBPTT(k1, k2) on one sequence.

    Parameters
    ----------
    model : Module
        ``model(inputs, state) -> (outputs, state)``, without active dropout. Its gradients are as
        before afterwards.
    inputs, targets
        One sequence, time first.
    pairs : sequence of (k1, k2)
    loss : callable, optional
        Of a stretch of the sequence; a *sum* over its steps, so that the parts add up to the
        whole. Default: the summed cross-entropy in nats.

    Returns
    -------
    list of Comparison
        One per pair. Full backpropagation is the pair (T, T).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import charlm
    >>> from demos.lab import compare_truncations
    >>> model = charlm.CharLM(5, hidden=6, layers=1, rng=np.random.default_rng(0), dtype=np.float64)
    >>> tokens = np.random.default_rng(0).integers(0, 5, (21, 2))
    >>> short, long = compare_truncations(model, tokens[:-1], tokens[1:], [(5, 5), (5, 20)])
    >>> short.error > 0.001, long.error < 1e-12
    (True, True)
    """
    instance_of("compare_truncations: model", model, Module)
    asked = [
        pair(count(1))("compare_truncations: pairs", each)
        for each in sequence_of("compare_truncations: pairs", pairs, "(k1, k2)")
    ]
    summed = _summed if loss is None else loss
    if not isinstance(inputs, Tensor):
        inputs = array_of("compare_truncations: inputs", inputs)
    steps = max(1, inputs.shape[0] if inputs.ndim else 0)
    full = _gradients(model, inputs, targets, steps, steps, summed)
    return [
        _compared(model, inputs, targets, k1, k2, summed, full) for k1, k2 in dict.fromkeys(asked)
    ]


def _summed(outputs: Any, targets: Any) -> Tensor:
    return ops.cross_entropy(outputs, targets, reduction="sum")


def _compared(
    model: Module,
    inputs: Any,
    targets: Any,
    k1: int,
    k2: int,
    loss: Loss,
    full: dict[str, Array],
) -> Comparison:
    began = time.perf_counter()
    found = _gradients(model, inputs, targets, k1, k2, loss)
    seconds = time.perf_counter() - began
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        _gradients(model, inputs, targets, k1, k2, loss)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()
    ours, reference = (
        np.concatenate([np.ravel(g).astype(np.float64) for g in which.values()])
        for which in (found, full)
    )
    size = float(np.linalg.norm(reference))
    both = size * float(np.linalg.norm(ours))
    error = float(np.linalg.norm(ours - reference)) / size if size else 0.0
    cosine = float(ours @ reference) / both if both else 0.0
    return Comparison(k1, k2, error, cosine, seconds, peak, found)


def _gradients(
    model: Module, inputs: Any, targets: Any, k1: int, k2: int, loss: Loss
) -> dict[str, Array]:
    """The summed truncated gradient of every parameter; ``.grad`` is put back as it was."""
    named = dict(model.named_parameters())
    saved = {name: parameter.grad for name, parameter in named.items()}
    try:
        for parameter in named.values():
            parameter.grad = None
        with undrawn("compare_truncations", model):  # else the masks would differ, too
            for _ in truncated_bptt(model, [(inputs, targets)], k1, k2, loss=loss):
                pass
        return {
            name: np.zeros(p.shape, p.dtype) if p.grad is None else p.grad
            for name, p in named.items()
        }
    finally:
        for name, parameter in named.items():
            parameter.grad = saved[name]
