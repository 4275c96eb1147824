"""Learning the generated tasks of `demos.lab`, and judging what was learnt.

No sequence is seen twice, so the loss of a batch before its update is a test loss. It is taken
where the answer asks for memory, in the units of ``task.trivial_loss``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, get_args

import numpy as np

from tinygrad_seq import nn, optim
from tinygrad_seq.checks import array_of, callable_of, generator_of, instance_of, number, size
from tinygrad_seq.engine.mode import no_grad
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import IndexRangeError, ShapeError
from tinygrad_seq.kernels.numeric import log_softmax
from tinygrad_seq.ops import cross_entropy, mse_loss
from tinygrad_seq.tensor import Tensor

from .grammars import Dyck, EmbeddedReber
from .tasks import IGNORE, Adding, CopyMemory, TaskBatch, TemporalOrder
from .translation import AddNumbers, Dates, TaskPairs

__all__ = ["Progress", "Verdict", "judge", "learn", "task_loss", "task_model"]

Task = Adding | CopyMemory | TemporalOrder | EmbeddedReber | Dyck | AddNumbers | Dates

TOLERANCE = 0.08
"""A sum counts as right if it is off by less: 0.04 on the scale of Hochreiter and Schmidhuber
(1997, experiment 4), whose targets are half as large."""


class Verdict(NamedTuple):
    """What a model's answers to N sequences are worth."""

    loss: float
    """Mean loss where memory is asked for; compare with the task's `trivial_loss`."""
    right: Array
    """(N,) booleans: whether every answer of a sequence is right."""


class Progress(NamedTuple):
    """Where :func:`learn` stands."""

    sequences: int
    """Seen so far."""
    loss: float
    """Mean over the most recent sequences, each judged before it was trained on."""
    right: float
    """Share of these that were answered right."""
    streak: int
    """Most recent batches answered right without a mistake, in sequences."""
    full: bool
    """Whether as many sequences have been seen as the mean is taken over."""


def task_model(
    task: Task, recurrent: Any, *, rng: np.random.Generator | None = None
) -> nn.ManyToOne | nn.ManyToMany | nn.Seq2Seq:
    """Wire a recurrent layer for a task: a readout of the last state, or of every step.

    Parameters
    ----------
    task
        Any of the tasks of `demos.lab`; pairs of strings are read as one stream.
    recurrent : RNN, LSTM or GRU
        Of the task's input_size.
    rng : numpy.random.Generator, optional
        Source of the readout's weights.

    Examples
    --------
    >>> import numpy as np
    >>> from demos.lab import Adding, task_loss, task_model
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> model = task_model(Adding(20), nn.GRU(2, 8, rng=rng), rng=rng)
    >>> task_loss(model, Adding(20).batch(3, rng)).shape
    ()
    """
    _require_task("task_model", task)
    wiring = nn.ManyToOne if isinstance(task, Adding | TemporalOrder) else nn.ManyToMany
    return wiring(recurrent, task.output_size, rng=rng)


def _answers(model: nn.Module, batch: TaskBatch | TaskPairs) -> tuple[Tensor, Array]:
    """What the model says, and what it should have said."""
    callable_of("the model of a task", model, "an nn.Module")
    instance_of("the batch of a task", batch, (TaskBatch, TaskPairs))
    targets = array_of("the targets of a batch", batch.targets)
    if isinstance(batch, TaskPairs):  # teacher forcing from token 0, which stands for nothing
        given = np.concatenate([np.zeros_like(targets[:1]), targets[:-1]])
        found: Any = model(batch.sources, given, lengths=batch.lengths)
    else:
        found = model(batch.inputs)
    answers = found[0] if isinstance(found, tuple) and found else found
    return instance_of("the answers of a model", answers, Tensor), targets


def _loss(answers: Tensor, targets: Array) -> Tensor:
    _require_fit(answers, targets)
    if targets.dtype.kind == "f":
        return mse_loss(answers[:, 0], targets)
    return cross_entropy(answers, targets)


def _require_fit(answers: Tensor, targets: Array) -> None:
    """Refuse answers (N, 1) or (..., V) that are none to these targets (N,) or (...)."""
    numbers = targets.dtype.kind == "f"
    wanted = (*targets.shape, 1) if numbers else (*targets.shape, *answers.shape[-1:])
    if answers.shape != wanted or targets.ndim != (1 if numbers else max(1, answers.ndim - 1)):
        raise ShapeError(
            "the answers of a model", expected=f"{wanted}, for its targets", got=answers.shape
        )
    if not numbers and bool((targets >= answers.shape[-1]).any()):
        raise IndexRangeError(
            "a target of a batch", expected=f"below {answers.shape[-1]}", got=int(targets.max())
        )


def task_loss(model: nn.Module, batch: TaskBatch | TaskPairs) -> Tensor:
    """What is trained on: squared error for numbers, cross-entropy in nats for classes.

    Parameters
    ----------
    model : Module
        As from :func:`task_model`, or a :class:`~tinygrad_seq.nn.Seq2Seq` for pairs.
    batch : TaskBatch or TaskPairs
    """
    return _loss(*_answers(model, batch))


def judge(task: Task, model: nn.Module, batch: TaskBatch | TaskPairs) -> Verdict:
    """Judge the answers of a model, without training it.

    The loss is that of the answers which ask for memory: in the embedded Reber grammar the last
    T or P, in Dyck languages the kind of a closing bracket, given that one closes. A sequence is
    right if all of these are the likeliest ones; a sum, if it is off by less than 0.08.
    """
    _require_task("judge", task)
    with no_grad():
        answers, targets = _answers(model, batch)
        _require_fit(answers, targets)
    return _verdict(task, answers.numpy(), targets)


def _verdict(task: Task, answers: Array, targets: Array) -> Verdict:
    if isinstance(task, Adding):
        errors = answers[:, 0] - targets
        return Verdict(float((errors * errors).mean()), np.abs(errors) < TOLERANCE)
    asked = targets != IGNORE
    if isinstance(task, EmbeddedReber):
        asked = task.closing(targets)
    elif isinstance(task, Dyck):
        asked = task.closing(targets)
        answers, targets = answers[..., task.kinds :], targets - task.kinds
    known = np.where(asked, targets, 0)
    nats = -np.take_along_axis(log_softmax(answers), known[..., None], axis=-1)[..., 0]
    right = ~asked | (answers.argmax(axis=-1) == known)
    return Verdict(float(nats[asked].mean()), right.reshape(-1, right.shape[-1]).all(axis=0))


def learn(
    task: Task,
    model: nn.Module,
    optimizer: optim.Optimizer,
    rng: np.random.Generator,
    *,
    batch: int = 20,
    clip_norm: float = 1.0,
    recent: int = 2000,
) -> Iterator[Progress]:
    """Train on fresh sequences without end; every update tells how the model does.

    Parameters
    ----------
    task
        Pairs of strings are drawn as streams, or as pairs if the model is a Seq2Seq.
    model : Module
        As from :func:`task_model`.
    optimizer : Optimizer
        Over the parameters of `model`.
    rng : numpy.random.Generator
        Source of the sequences.
    batch : int
        Sequences per update.
    clip_norm : float
        Bound of the global gradient norm.
    recent : int
        Over how many sequences to take the mean.

    Examples
    --------
    >>> import itertools
    >>> import numpy as np
    >>> from demos.lab import CopyMemory, learn, task_model
    >>> from tinygrad_seq import nn, optim
    >>> task, rng = CopyMemory(3, symbols=2, width=1), np.random.default_rng(0)
    >>> model = task_model(task, nn.LSTM(task.input_size, 8, rng=rng), rng=rng)
    >>> updates = learn(task, model, optim.Adam(model.parameters(), lr=0.02), rng)
    >>> *_, last = itertools.islice(updates, 150)
    >>> last.sequences, last.loss < task.trivial_loss
    (3000, True)
    """
    _require_task("learn", task)
    instance_of("learn: model", model, nn.Module)
    instance_of("learn: optimizer", optimizer, optim.Optimizer)
    generator_of("learn: rng", rng)
    batch, recent = size("learn: batch", batch), size("learn: recent", recent)
    clip_norm = number(0.0, open_low=True, infinite=True)("learn: clip_norm", clip_norm)
    return _learn(task, model, optimizer, rng, batch, clip_norm, recent)


def _require_task(owner: str, task: Any) -> None:
    instance_of(f"{owner}: task", task, get_args(Task), hint="a task of demos.lab")


def _learn(
    task: Task,
    model: nn.Module,
    optimizer: optim.Optimizer,
    rng: np.random.Generator,
    batch: int,
    clip_norm: float,
    recent: int,
) -> Iterator[Progress]:
    parameters = list(model.parameters())
    verdicts: deque[tuple[float, float]] = deque(maxlen=-(-recent // batch))
    sequences = streak = 0
    draw: Callable[..., TaskBatch | TaskPairs] = task.batch
    if isinstance(model, nn.Seq2Seq) and isinstance(task, AddNumbers | Dates):
        draw = task.pairs
    while True:
        answers, targets = _answers(model, draw(batch, rng))
        loss = _loss(answers, targets)
        verdict = _verdict(task, answers.numpy(), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        sequences += batch
        streak = streak + batch if verdict.right.all() else 0
        verdicts.append((verdict.loss, float(verdict.right.mean())))
        mean, right = np.mean(verdicts, axis=0).tolist()
        yield Progress(sequences, mean, right, streak, len(verdicts) == verdicts.maxlen)
