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
from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.testing.memory import copies
from tinygrad_seq.testing.numeric import central_derivative, complex_gradient, perturbed
from tinygrad_seq.testing.report import GradientError, Tolerance, describe, worst_mismatch
from tinygrad_seq.transforms import grad

__all__ = ["CENTRAL", "COMPLEX", "Example", "defaults_of", "operands_of", "record_of"]

COMPLEX = Tolerance(1e-10, 1e-13)
CENTRAL = Tolerance(1e-6, 1e-9)

BY_HAND = "compare its record with the mathematics by hand"
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
        dtype = getattr(value, "dtype", np.dtype(np.float64))
        if dtype.kind == "f" and dtype != np.float64:
            raise DtypeError(
                f"check_op: input {i} of {op.name}",
                expected="float64: float32 has too few digits, and is checked besides",
                got=dtype,
                hint="pass x.astype(np.float64)",
            )
    return values


def defaults_of(op: Op) -> dict[str, Any]:
    """Static parameters with their defaults, of an operation that ``@tgs.op`` made."""
    function = getattr(op.forward, "__wrapped__", None)
    if not inspect.isfunction(op.forward) or function is None:
        return {}
    given = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in given if p.default is not p.empty}


class Example:
    """An operation with one set of operands."""

    def __init__(
        self, op: Op, arrays: Sequence[Any], params: dict[str, Any], rng: np.random.Generator
    ) -> None:
        self.op = op
        self.arrays = [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]
        self.params = params
        self.rng = rng
        self.wanted = [i for i in range(len(arrays)) if self._differentiable(i)]
        self.values = self.forward(copies(self.arrays))
        self.cotangents = [np.asarray(rng.uniform(0.5, 1.5, v.shape)) for v in self.values]
        self._reference: list[Array] | None = None
        self.names = [f"input {i}" for i in range(len(arrays))]
        if not op.variadic:
            self.names = [
                f"{name} ({operand})" for name, operand in zip(self.names, op.inputs, strict=True)
            ]

    def _differentiable(self, i: int) -> bool:
        array = self.arrays[i]
        if not (isinstance(array, np.ndarray) and array.dtype.kind == "f"):
            return False
        return self.op.joint is not None or self.op.rules[i] is not None

    def forward(self, arrays: Sequence[Any], keep: bool = False) -> list[Array]:
        """Outputs of the record's forward function, as a list."""
        if self.op.keep:
            out, _ = self.op.forward(*arrays, keep=keep, **self.params)
        else:
            out = self.op.forward(*arrays, **self.params)
        return [np.asarray(part) for part in out] if self.several else [np.asarray(out)]

    @property
    def several(self) -> bool:
        """Whether the operation has several outputs."""
        return self.op.outputs != 1

    def loss(self, arrays: Sequence[Any]) -> Any:
        """The scalar sum(c * forward(arrays))."""
        outs = self.forward(arrays)
        return sum(np.sum(c * v) for c, v in zip(self.cotangents, outs, strict=True))

    def record(
        self, wanted: Sequence[int] | None = None, dtype: Any = np.float64
    ) -> tuple[list[Any], list[Tensor]]:
        """Operands (tensors where gradients are wanted) and recorded outputs."""
        wanted = self.wanted if wanted is None else wanted
        made = [
            a.astype(dtype) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a
            for a in self.arrays
        ]
        for i in wanted:
            made[i] = tensor(made[i], requires_grad=True)
        out = apply(self.op, tuple(made), self.params)
        return made, list(out) if self.several else [out]

    def gradients(self, wanted: Sequence[int] | None = None, dtype: Any = np.float64) -> list[Any]:
        """What the engine returns for the wanted operands, None where nothing arrives."""
        wanted = self.wanted if wanted is None else wanted
        if not wanted:
            return []
        made, outs = self.record(wanted, dtype)
        cots = [c.astype(dtype) for c in self.cotangents]
        found = grad(outs, [made[i] for i in wanted], cots, allow_unused=True)
        return [None if g is None else g._array for g in found]

    @property
    def reference(self) -> list[Array]:
        """Numerical gradients of the loss to the wanted operands."""
        if self._reference is None:
            self._reference = [self._numerical(i) for i in self.wanted]
        return self._reference

    def _numerical(self, which: int) -> Array:
        if self.op.analytic:
            try:
                return complex_gradient(self.loss, self.arrays, which)
            except TypeError as error:
                raise self.failure(f"it takes no complex numbers: {error}", hint=REAL) from error
        return self._central(which)

    def _central(self, which: int) -> Array:
        gradient = np.zeros(self.arrays[which].shape)
        for index in np.ndindex(gradient.shape):
            at = perturbed(self.loss, self.arrays, which, index)
            gradient[index] = central_derivative(at)
        return gradient

    def compare_gradient(self, which: int, what: str, got: Any, expected: Any) -> None:
        """Raise unless a gradient (None is zero) agrees with the numerical one."""
        value = np.zeros_like(expected) if got is None else got
        method = "complex step" if self.op.analytic else "central difference"
        tolerance = COMPLEX if self.op.analytic else CENTRAL
        try:
            self.compare(what, value, expected, tolerance, f" ({method})")
        except GradientError as error:
            if not self.op.analytic or np.shape(value) != np.shape(expected):
                raise
            if worst_mismatch(value, self._central(which), CENTRAL) is not None:
                raise
            raise self.failure(
                f"{what} agrees with central differences, not with the complex step",
                hint=REAL,
            ) from error

    def compare(
        self, what: str, got: Any, expected: Any, tolerance: Tolerance, source: str = ""
    ) -> None:
        """Raise if two arrays differ in shape or by more than the tolerance."""
        if np.shape(got) != np.shape(expected):
            raise self.failure(f"{what}: wrong shape", np.shape(expected), np.shape(got))
        bad = worst_mismatch(got, expected, tolerance)
        if bad is not None:
            raise self.failure(
                f"{what} is wrong at index {bad.place}",
                f"{bad.expected!r}{source}",
                f"{bad.got!r} (relative error {bad.error:.3g})",
            )

    def failure(
        self, what: str, expected: Any = None, got: Any = None, hint: str = BY_HAND
    ) -> GradientError:
        """The error that says what fails, with the example."""
        return GradientError(
            f"{self.op.name}: {what}",
            expected=expected,
            got=got,
            hint=f"{hint}, " + describe(self.arrays, self.params, self.names),
        )
