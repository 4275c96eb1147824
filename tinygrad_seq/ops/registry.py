"""The list of all operations, and how rules and public functions run one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import array_of, index_of
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor

__all__ = [
    "OPS",
    "FloatOp",
    "Moving",
    "Pointwise",
    "PointwiseFloat",
    "array_at",
    "axis_of",
    "constant",
    "floats_of",
    "record",
    "record_several",
    "register",
    "run",
    "shape_of",
]

record = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], Tensor]", apply)
"""Run an operation with one output on its operands, and record it."""

record_several = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], tuple[Tensor, ...]]", apply)
"""The same for an operation with several outputs."""

FloatOp = functools.partial(Op, floats=True)
"""The record of an operation that computes in floats: integers alone become float64 first."""

Pointwise = functools.partial(Op, pointwise=True)
"""The record of an operation on the entries of its operands, each with those at its place."""

Moving = functools.partial(Op, moves=True)
"""The record of an operation that moves, repeats and adds entries, and so do its rules."""

PointwiseFloat = functools.partial(Op, floats=True, pointwise=True)

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
    return x._array if isinstance(x, Variable) else np.asarray(x)


def values_of(x: Any) -> Any:
    """The array of a variable; anything else as it is."""
    return x._array if isinstance(x, Variable) else x


def array_at(what: str, x: Any) -> Any:
    """The array of a variable, or what NumPy makes of anything else that a tensor can hold."""
    return x._array if isinstance(x, Variable) else array_of(what, x)


def floats_of(what: str, *operands: Any) -> tuple[Any, ...]:
    """Operands to compute with in floats: if all are integers, as float64 (see :data:`FloatOp`)."""
    arrays = [array_at(f"{what}: operand {i}", x) for i, x in enumerate(operands)]
    if any(a.dtype.kind in "fc" for a in arrays):
        return operands
    return tuple(a.astype(np.float64) for a in arrays)


def axis_of(axis: int, ndim: int, what: str) -> int:
    """An axis counted from the front, or a typed error: wrapping around would hide mistakes."""
    place = index_of(f"{what}: axis", axis)
    if not -ndim <= place < ndim:
        allowed = f"-{ndim} <= axis < {ndim}" if ndim else "an operand with at least one axis"
        raise ShapeError(f"{what}: axis out of range", expected=allowed, got=place)
    return place % ndim


def shape_of(x: Any) -> tuple[int, ...]:
    """Shape of an operand: a variable, an array, a number or a nested list."""
    if isinstance(x, Variable):
        return x._array.shape
    if isinstance(x, (np.ndarray, np.generic)):
        return tuple(x.shape)
    refuse_several("an operand", x)
    return array_of("an operand", x).shape
