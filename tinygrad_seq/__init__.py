"""A from-scratch autograd micro-framework for sequence models, on NumPy."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq import errors
from tinygrad_seq import ops as _ops
from tinygrad_seq.engine.anomaly import anomaly
from tinygrad_seq.engine.mode import composed, enable_grad, no_grad, observe, scope, steps
from tinygrad_seq.kernels.settings import config
from tinygrad_seq.ops import *  # noqa: F403
from tinygrad_seq.ops import OPS as OPS
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.transforms import (
    checkpoint,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    value_and_grad,
    vjp,
)

if _TYPE_CHECKING:
    from tinygrad_seq.nn.cells.gru import gru_sequence, gru_step
    from tinygrad_seq.nn.cells.lstm import lstm_sequence, lstm_step
    from tinygrad_seq.nn.cells.rnn import rnn_sequence, rnn_step

__version__ = "0.1.0"

__all__ = [
    "OPS",
    "Tensor",
    "anomaly",
    "checkpoint",
    "composed",
    "config",
    "enable_grad",
    "errors",
    "grad",
    "gru_sequence",
    "gru_step",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "lstm_sequence",
    "lstm_step",
    "no_grad",
    "observe",
    "rnn_sequence",
    "rnn_step",
    "scope",
    "steps",
    "tensor",
    "value_and_grad",
    "vjp",
]
__all__ += _ops.PUBLIC

_ROOMS = ("celltext", "charlm", "data", "flow", "nn", "optim", "testing", "train", "viz")


def __getattr__(name: str) -> _Any:
    """Import ``tgs.nn``, ``tgs.lstm_step``, ... when they are first asked for (PEP 562)."""
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    cell, _, what = name.partition("_")
    if what in ("sequence", "step") and name in __all__:
        return getattr(_import_module(f"{__name__}.nn.cells.{cell}"), name)
    raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.FUNCTIONS)
