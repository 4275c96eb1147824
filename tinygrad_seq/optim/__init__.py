"""Optimisers, gradient clipping and learning-rate schedules, under PyTorch's names."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.optim.adagrad import Adagrad
from tinygrad_seq.optim.adam import Adam, AdamW
from tinygrad_seq.optim.clip import ClipReport, clip_grad_norm_, clip_grad_value_
from tinygrad_seq.optim.optimizer import Optimizer
from tinygrad_seq.optim.plateau import ReduceLROnPlateau
from tinygrad_seq.optim.rmsprop import RMSprop
from tinygrad_seq.optim.schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    StepLR,
)
from tinygrad_seq.optim.sequence import SequentialLR
from tinygrad_seq.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ClipReport",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LinearLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]

if not _TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.OPTIMISERS)
