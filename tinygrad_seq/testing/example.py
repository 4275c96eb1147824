"""An operation with one set of operands: what :func:`check_op` looks at from all sides."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, shown
from tinygrad_seq.engine.node import Array
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.testing.numeric import central_gradient, complex_gradient
from tinygrad_seq.testing.report import GradientError, Tolerance, require_double, worst_mismatch
from tinygrad_seq.testing.subject import Subject, cast, is_float

__all__ = ["CENTRAL", "COMPLEX", "Example", "defaults_of", "operands_of", "record_of"]

COMPLEX = Tolerance(1e-10, 1e-13)
CENTRAL = Tolerance(1e-6, 1e-9)

REAL = (
    "say analytic=False where the operation is made, if it takes absolute values, maxima, "
    "comparisons or else holds for real numbers only"
)


def record_of(op: Any) -> Op:
    """The record of an operation, or of a function that has one."""
    record = op if isinstance(op, Op) else getattr(op, "op", None)
    if isinstance(record, Op):
        return record
    raise ConfigError(
        "check_op: op",
        expected="an operation: a function made by @tgs.op, or an Op",
        got=getattr(op, "__name__", None) or shown(op),
        hint="gradcheck(f, *arrays) checks any function of tensors",
    )


def operands_of(op: Op, arrays: Any) -> list[Any]:
    """One array for each operand; those of floats are float64."""
    listed = isinstance(arrays, (list, tuple))
    if not listed or (not op.variadic and len(arrays) != len(op.inputs)):
        raise ConfigError(
            f"check_op: arrays for {op.name}",
            expected="a list of one array for each of its operands, " + ", ".join(op.inputs),
            got=f"{len(arrays)} of them" if listed else type(arrays).__name__,
            hint=f"check_op({op.name}, [{', '.join(op.inputs)}])",
        )
    values = [a.numpy() if isinstance(a, Tensor) else a for a in arrays]
    plain = (bool, int, float, np.ndarray, type(None))
    values = [
        a if isinstance(a, plain) and not hasattr(a, "mask") else array_of("check_op: arrays", a)
        for a in values
    ]
    for i, value in enumerate(values):
        hint = "pass x.astype(np.float64); float32 is checked besides"
        require_double(f"check_op: input {i} of {op.name}", value, hint)
    return values


def defaults_of(op: Op) -> dict[str, Any]:
    """Static parameters with their defaults, of an operation that ``@tgs.op`` made."""
    function = getattr(op.forward, "__wrapped__", None)
    if not inspect.isfunction(op.forward) or function is None:
        return {}
    given = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


class Example(Subject):
    """An operation with one set of operands; its record's own function gives the values."""

    advice = "compare its record with the mathematics by hand"

    def __init__(
        self, op: Op, arrays: Sequence[Any], params: dict[str, Any], rng: np.random.Generator
    ) -> None:
        self.op = op
        self._reference: list[Array] | None = None
        rules = [op.joint] * len(arrays) if op.joint is not None else op.rules
        wanted = [i for i, a in enumerate(arrays) if is_float(a) and rules[i] is not None]
        names = [f"input {i}" for i in range(len(arrays))]
        if not op.variadic:
            names = [f"{name} ({own})" for name, own in zip(names, op.inputs, strict=True)]
        super().__init__(
            op.name, lambda *given: apply(op, given, params), arrays, wanted, rng, names, params
        )

    def evaluate(self, arrays: Sequence[Any], keep: bool = False) -> list[Array]:
        """Outputs of the record's forward function."""
        if self.op.keep:
            out, _ = self.op.forward(*arrays, keep=keep, **self.params)
        else:
            out = self.op.forward(*arrays, **self.params)
        return [np.asarray(part) for part in (out if self.op.outputs != 1 else [out])]

    def record(self, dtype: Any = np.float64) -> tuple[list[Any], list[Tensor]]:
        """Operands (tensors where gradients are wanted) and recorded outputs."""
        made = self.tensors(cast(self.arrays, dtype))
        return made, self.outputs(made)

    @property
    def reference(self) -> list[Array]:
        """Numerical gradients of the loss to the wanted operands."""
        if self._reference is None:
            self._reference = [self._numerical(i) for i in self.wanted]
        return self._reference

    def _numerical(self, which: int) -> Array:
        loss = self.loss(self.cotangents)
        if not self.op.analytic:
            return central_gradient(loss, self.arrays, which)
        try:
            return complex_gradient(loss, self.arrays, which)
        except TypeError as error:
            raise self.failure(f"it takes no complex numbers: {error}", hint=REAL) from error

    def compare_gradient(self, which: int, what: str, got: Any, expected: Any) -> None:
        """Raise unless a gradient agrees with the numerical one."""
        method = "complex step" if self.op.analytic else "central difference"
        tolerance = COMPLEX if self.op.analytic else CENTRAL
        try:
            self.compare(what, got, expected, tolerance, f" ({method})")
        except GradientError as error:
            if not self.op.analytic or np.shape(got) != np.shape(expected):
                raise
            differences = central_gradient(self.loss(self.cotangents), self.arrays, which)
            if worst_mismatch(got, differences, CENTRAL) is not None:
                raise
            raise self.failure(
                f"{what} agrees with central differences, not with the complex step",
                hint=REAL,
            ) from error
