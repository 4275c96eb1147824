"""What is under test, with its operands: what the engine says of it, and what numbers say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.testing.invariants import copies, nodes_behind
from tinygrad_seq.testing.report import GradientError, Tolerance, describe, require_close
from tinygrad_seq.transforms.gradient import grad_or_zeros, tensors_in

__all__ = ["Function", "Subject", "cast", "is_float", "paired"]

Function = Callable[..., Any]


def is_float(value: Any) -> bool:
    """Whether a value is an array of real numbers that can be differentiated to."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def cast(arrays: Sequence[Any], dtype: Any) -> list[Any]:
    """The arrays, those of real numbers in another dtype."""
    return [a.astype(dtype) if is_float(a) else a for a in arrays]


def paired(found: Sequence[Any], vectors: Sequence[Array]) -> float:
    """The sum of the products of gradients with as many arrays."""
    pairs = zip(found, vectors, strict=True)
    return sum(float(np.sum(getattr(g, "_array", g) * v)) for g, v in pairs)


class Subject:
    """A function of tensors at some operands, as plain scalar functions of arrays.

    Parameters
    ----------
    title : str
        What errors begin with.
    fn : callable
        Of tensors and whatever else is among the operands; returns a nest of tensors.
    arrays : list
        The operands.
    wanted : list of int
        Those to differentiate to.
    rng : numpy.random.Generator
        Of cotangents and directions.
    names : sequence of str
        Of the operands.
    params : dict, optional
        What errors show beside the operands.
    """

    advice = "compare the rule with the derivative by hand"

    def __init__(
        self,
        title: str,
        fn: Function,
        arrays: Sequence[Any],
        wanted: list[int],
        rng: np.random.Generator,
        names: Sequence[str],
        params: dict[str, Any] | None = None,
    ) -> None:
        self.title, self.fn, self.rng, self.names = title, fn, rng, names
        self.arrays, self.wanted, self.params = copies(arrays), wanted, params or {}
        self.precise = cast(self.arrays, np.float64)
        self.values = self.evaluate(copies(self.arrays))
        self.cotangents = [np.asarray(rng.uniform(0.5, 1.5, v.shape)) for v in self.values]

    def tensors(
        self, arrays: Sequence[Any], wanted: Sequence[int] | None = None, track: bool = True
    ) -> list[Any]:
        """Arguments of the function: tensors for arrays of numbers to differentiate to."""
        made = copies(arrays)
        for i in self.wanted if wanted is None else wanted:
            made[i] = tensor(made[i], requires_grad=True) if track else Tensor._wrap(made[i], None)
        return made

    def outputs(self, operands: Sequence[Any]) -> list[Tensor]:
        """What the function makes of these operands."""
        return tensors_in("gradcheck: the function", self.fn(*operands))

    def evaluate(self, arrays: Sequence[Any]) -> list[Array]:
        """The values of the outputs at these arrays, which may be complex."""
        track = not any(np.iscomplexobj(arrays[i]) for i in self.wanted)
        return [out._array for out in self.outputs(self.tensors(arrays, track=track))]

    def loss(self, cotangents: Sequence[Array]) -> Callable[[Sequence[Any]], Any]:
        """The scalar sum(c * fn(arrays)); complex arrays make it complex."""

        def at(arrays: Sequence[Any]) -> Any:
            outs = self.evaluate(arrays)
            return sum((np.sum(c * v) for c, v in zip(cotangents, outs, strict=True)), 0.0)

        return at

    def gradients(
        self,
        arrays: Sequence[Any] | None = None,
        cotangents: Sequence[Array] | None = None,
        wanted: Sequence[int] | None = None,
    ) -> list[Array]:
        """What the engine says, as arrays; zeros for operands that nothing depends on."""
        wanted = self.wanted if wanted is None else wanted
        made = self.tensors(self.arrays if arrays is None else arrays, wanted)
        outs, cots = self._weighted(made, self.cotangents if cotangents is None else cotangents)
        return [g._array for g in grad_or_zeros(outs, [made[i] for i in wanted], cots)]

    def _weighted(
        self, operands: Sequence[Any], cotangents: Sequence[Any]
    ) -> tuple[list[Tensor], list[Any]]:
        """The outputs, and cotangents of their dtype where they are floats."""
        outs = self.outputs(operands)
        pairs = zip(outs, cotangents, strict=True)
        return outs, [c.astype(out.dtype) if out.requires_grad else c for out, c in pairs]

    def twice(self, vs: Sequence[Array]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The recorded gradients, and those of their products with `vs`.

        To the operands, and to the cotangents.
        """
        made = self.tensors(self.arrays)
        sources = [made[i] for i in self.wanted]
        given = [tensor(c, requires_grad=True) for c in self.cotangents]
        outs, cots = self._weighted(made, given)
        first = grad_or_zeros(outs, sources, cots, create_graph=True)
        cast_vs = [v.astype(g.dtype) for g, v in zip(first, vs, strict=True)]
        found = grad_or_zeros(first, [*sources, *given], cast_vs)
        return first, found[: len(sources)], found[len(sources) :]

    def moved(self, directions: Sequence[Array], eps: Any) -> list[Any]:
        """The operands a step `eps` along a direction of each that is differentiated to."""
        arrays = list(self.precise)
        for i, u in zip(self.wanted, directions, strict=True):
            arrays[i] = np.asarray(arrays[i] + eps * u)
        return arrays

    def gradient_along(self, vs: Sequence[Array], us: Sequence[Array]) -> Callable[[float], float]:
        """The product of the gradients with `vs`, as a function of a step along `us`."""
        return lambda eps: paired(self.gradients(self.moved(us, eps)), vs)

    def drawn(self) -> list[Array]:
        """A direction of each operand that is differentiated to."""
        shapes = [self.arrays[i].shape for i in self.wanted]
        return [np.asarray(self.rng.uniform(0.5, 1.5, shape)) for shape in shapes]

    def is_analytic(self, beside: Collection[str] = ()) -> bool:
        """Whether every recorded operation holds for complex numbers, and the function too.

        Those of the names in `beside` may have kinks.
        """
        recorded = self.outputs(self.tensors(self.arrays))
        for node in nodes_behind(*recorded):
            if node.op is not None and not (node.op.analytic or node.op.name in beside):
                return False
        values = list(self.arrays)
        for i in self.wanted:
            values[i] = values[i].astype(np.complex128)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outs = self.evaluate(values)
        except Exception:  # whatever complex numbers broke: real steps will do
            return False
        return all(
            np.iscomplexobj(out) or not rec.requires_grad
            for out, rec in zip(outs, recorded, strict=True)
        )

    def compare(
        self, what: str, got: Any, expected: Any, tolerance: Tolerance, source: str = ""
    ) -> None:
        """Raise if two arrays differ in shape or by more than the tolerance."""
        if np.shape(got) != np.shape(expected):
            raise self.failure(f"{what}: wrong shape", np.shape(expected), np.shape(got))
        says = f"{self.title}: {what} is wrong"
        require_close(says, got, expected, tolerance, source, self._example)

    def failure(
        self, what: str, expected: Any = None, got: Any = None, hint: str | None = None
    ) -> GradientError:
        """The error that says what fails, with the operands."""
        return GradientError(
            f"{self.title}: {what}",
            expected=expected,
            got=got,
            hint=self._example(hint),
        )

    def _example(self, advice: str | None = None) -> str:
        told = describe(self.arrays, self.params, self.names)
        return f"{advice or self.advice}, {told}"
