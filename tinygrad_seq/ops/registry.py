"""The list of all operations, and how rules and public functions run one."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor

__all__ = ["OPS", "axis_of", "constant", "record", "record_several", "register", "run", "shape_of"]

record = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], Tensor]", apply)
"""Run an operation with one output on its operands, and record it."""

record_several = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], tuple[Tensor, ...]]", apply)
"""The same for an operation with several outputs."""

OPS: dict[str, Op] = {}
"""Every registered operation by name: what the property tests and the op table walk over."""


def register(op: Op) -> Op:
    """Add an operation to :data:`OPS`; a fused operation must bring its composed twin."""
    if op.name in OPS:
        raise ConfigError(f"an operation named {op.name!r} is registered already")
    if op.sample is None:
        raise ConfigError(
            f"operation {op.name!r} has no domain",
            expected="sample=..., from which its property tests draw",
            hint="see tinygrad_seq.ops.domains",
        )
    if op.keep and op.twin is None:
        raise ConfigError(
            f"fused operation {op.name!r} has no composed twin",
            expected="twin=..., the same computation from other operations",
        )
    OPS[op.name] = op
    op.makes = True
    return op


def run(op: Op, *operands: Any, **params: Any) -> Any:
    """Run `op` inside a rule: on plain arrays as plain NumPy, on variables as a recorded node."""
    if any(isinstance(operand, Variable) for operand in operands):
        return apply(op, operands, params)
    return op.forward(*operands, **params)


def constant(x: Any) -> Any:
    """The value of an operand that a rule only compares or counts with, as a plain array."""
    return x._data if isinstance(x, Variable) else np.asarray(x)


def axis_of(axis: int, ndim: int, what: str) -> int:
    """An axis counted from the front, or a typed error: wrapping around would hide mistakes."""
    try:
        place = operator.index(axis)
    except TypeError:
        raise ConfigError(
            f"{what}: axis", expected="an integer", got=repr(axis), hint="name one axis"
        ) from None
    if not -ndim <= place < ndim:
        allowed = f"-{ndim} <= axis < {ndim}" if ndim else "an operand with at least one axis"
        raise ShapeError(f"{what}: axis out of range", expected=allowed, got=place)
    return place % ndim


def shape_of(x: Any) -> tuple[int, ...]:
    """Shape of an operand: a variable, an array, a number or a nested list."""
    if isinstance(x, Variable):
        return x._data.shape
    shape = getattr(x, "shape", None)
    if shape is not None:
        return tuple(shape)
    refuse_several("an operand", x)
    return np.shape(x)
