"""A function under test, seen as plain scalar functions of arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.testing.invariants import nodes_behind
from tinygrad_seq.testing.report import GradientError
from tinygrad_seq.transforms import grad
from tinygrad_seq.transforms.nest import leaves

__all__ = ["Function", "Subject", "is_float"]

Function = Callable[..., Any]


def is_float(value: Any) -> bool:
    """Whether a value is an array of real numbers that can be differentiated to."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


class Subject:
    """The function under test as plain scalar functions of arrays."""

    def __init__(
        self,
        fn: Function,
        arrays: list[Any],
        wanted: list[int],
        rng: np.random.Generator,
        names: Sequence[str],
    ) -> None:
        self.fn = fn
        self.arrays = arrays
        self.wanted = wanted
        self.rng = rng
        self.names = names
        first, second = self.outputs(arrays), self.outputs(arrays)
        for a, b in zip(first, second, strict=True):
            if not np.array_equal(a._array, b._array, equal_nan=True):
                raise GradientError(
                    "gradcheck: the function gives different values when called twice",
                    expected="the same value for the same inputs",
                    hint="make its random numbers inside, from a fixed seed",
                )
        _require_finite(first)
        self.recorded = first
        self.cotangents = [np.asarray(rng.uniform(0.5, 1.5, out.shape)) for out in first]
        if [out.size for out in first] == [1]:  # so that messages show its own slopes
            self.cotangents = [np.ones(first[0].shape)]

    def outputs(self, arrays: Sequence[Any], track: bool = True) -> list[Tensor]:
        """Outputs of the function at these arrays."""
        outs = leaves(self.fn(*self.tensors(arrays, track)))
        for out in outs:
            if not isinstance(out, Tensor):
                raise ConfigError(
                    "gradcheck: the function must return tensors", got=type(out).__name__
                )
        return outs

    def tensors(self, arrays: Sequence[Any], track: bool = True) -> list[Any]:
        """Arguments of the function: tensors for arrays of numbers to differentiate to."""
        made = list(arrays)
        for i in self.wanted:
            made[i] = tensor(arrays[i], requires_grad=True) if track else _plain(arrays[i])
        return made

    def loss(self, cotangents: Sequence[Array]) -> Callable[[Sequence[Any]], Any]:
        """The scalar sum(c * fn(arrays)); complex arrays make it complex."""

        def at(arrays: Sequence[Any]) -> Any:
            is_complex = np.iscomplexobj(arrays[self.wanted[0]])
            outs = self.outputs(arrays, track=not is_complex)
            total: Any = 0.0
            for c, out in zip(cotangents, outs, strict=True):
                total = total + np.sum(c * out._array)
            return total

        return at

    def gradients(self, cotangents: Sequence[Array], arrays: Sequence[Any]) -> list[Array]:
        """What the engine says, as arrays; zeros for inputs that nothing depends on."""
        made = self.tensors(arrays)
        outs = leaves(self.fn(*made))
        used = [(o, c) for o, c in zip(outs, cotangents, strict=True) if o.requires_grad]
        sources = [made[i] for i in self.wanted]
        if not used:
            return [np.zeros(s.shape) for s in sources]
        found = grad([o for o, _ in used], sources, [c for _, c in used], allow_unused=True)
        return [
            np.zeros(s.shape) if g is None else np.array(g._array, np.float64)
            for s, g in zip(sources, found, strict=True)
        ]

    def unit_cotangents(self) -> list[list[Array]]:
        """One list of cotangents for each entry of each output."""
        units = []
        for k, out in enumerate(self.recorded):
            for index in np.ndindex(out.shape):
                unit = [np.zeros(o.shape) for o in self.recorded]
                unit[k][index] = 1.0
                units.append(unit)
        return units

    def is_analytic(self) -> bool:
        """Whether every recorded operation holds for complex numbers, and the function too."""
        for node in nodes_behind(*self.recorded):
            if node.op is not None and node.op is not ITEM and not node.op.analytic:
                return False
        values = [
            a.astype(np.complex128) if i in self.wanted else a for i, a in enumerate(self.arrays)
        ]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                outs = self.outputs(values, track=False)
        except Exception:  # whatever complex numbers broke: real steps will do
            return False
        return all(
            np.iscomplexobj(out._array) or not rec.requires_grad
            for out, rec in zip(outs, self.recorded, strict=True)
        )


def _plain(array: Array) -> Tensor:
    made = Tensor._wrap(array, None)
    assert isinstance(made, Tensor)
    return made


def _require_finite(outs: Sequence[Tensor]) -> None:
    """Refuse outputs at which nothing can be compared: no numbers at all, or no finite ones."""
    if not any(out.size for out in outs):
        raise GradientError(
            "gradcheck: the function gives nothing, so nothing would be compared",
            expected="at least one number",
            got=f"shapes {', '.join(str(out.shape) for out in outs) or 'of no tensor'}",
        )
    for out in outs:
        odd = np.argwhere(~np.isfinite(out._array))
        if len(odd):
            place = tuple(int(i) for i in odd[0])
            raise GradientError(
                f"gradcheck: the function gives {out._array[place]} at {place or 'its end'}",
                expected="finite numbers: others have no differences",
                got=f"{len(odd)} NaN or infinite",
                hint="return what is finite there: y[np.isfinite(y.numpy())]",
            )
