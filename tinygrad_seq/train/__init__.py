"""Training: truncated backpropagation through time, checkpoints, measuring."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.train.bptt import BPTT, bptt, first_run, forward_steps
from tinygrad_seq.train.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_seq.train.metrics import Evaluation, MetricsTable, evaluate, evaluating
from tinygrad_seq.train.tbptt import TBPTT, StepReport, tbptt

__all__ = [
    "BPTT",
    "TBPTT",
    "Evaluation",
    "MetricsTable",
    "StepReport",
    "bptt",
    "evaluate",
    "evaluating",
    "first_run",
    "forward_steps",
    "load_checkpoint",
    "save_checkpoint",
    "tbptt",
]

if not _TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.TRAINING)
