"""A from-scratch autograd micro-framework for sequence models, on NumPy."""

from importlib import import_module as _import_module
from typing import Any as _Any

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq import errors
from tinygrad_seq import ops as _ops
from tinygrad_seq.engine.anomaly import anomaly
from tinygrad_seq.engine.mode import composed, enable_grad, no_grad, observe, scope
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

__version__ = "0.1.0"

__all__ = [
    "OPS",
    "Tensor",
    "anomaly",
    "checkpoint",
    "composed",
    "enable_grad",
    "errors",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "no_grad",
    "observe",
    "scope",
    "tensor",
    "value_and_grad",
    "vjp",
]
__all__ += _ops.PUBLIC

_ROOMS = ("celltext", "charlm", "data", "flow", "nn", "optim", "testing", "train", "viz")


def __getattr__(name: str) -> _Any:
    """Import ``tgs.nn``, ``tgs.viz``, ... when they are first asked for (PEP 562)."""
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.FUNCTIONS)
