"""How a failed gradient check speaks: the input, the index, the two numbers, how far apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import DtypeError, TinygradSeqError

__all__ = [
    "GradientError",
    "Mismatch",
    "Tolerance",
    "describe",
    "require_close",
    "require_double",
    "worst_mismatch",
]


class GradientError(TinygradSeqError, AssertionError):
    """A gradient (or another property of an operation) is not what it must be.

    Also an :class:`AssertionError`, so test runners report it as a failed assertion.
    """


class Tolerance(NamedTuple):
    """Largest accepted error: ``relative`` times the largest entry, plus ``absolute``."""

    relative: float
    absolute: float


class Mismatch(NamedTuple):
    """The entry at which two arrays differ most."""

    place: tuple[int, ...]
    got: float
    expected: float
    error: float
    """Distance divided by the largest entry of the expected array."""


def worst_mismatch(got: Any, expected: Any, tolerance: Tolerance) -> Mismatch | None:
    """The worst entry of `got` if it lies outside the tolerance; only finite numbers pass.

    Examples
    --------
    >>> worst_mismatch(np.ones(2), np.array([1.0, 2.0]), Tolerance(1e-6, 0.0))
    Mismatch(place=(1,), got=1.0, expected=2.0, error=0.5)
    """
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if not expected.size:
        return None
    finite = np.isfinite(got) & np.isfinite(expected)
    with np.errstate(invalid="ignore"):  # inf - inf, which is no pass
        distance = np.where(finite, np.abs(got - expected), np.inf)
    top = float(np.max(np.abs(expected), where=np.isfinite(expected), initial=0.0))
    if np.all(finite & (distance <= tolerance.relative * top + tolerance.absolute)):
        return None
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), distance.shape))
    error = float(distance[index]) / top if top else np.inf
    return Mismatch(index, float(got[index]), float(expected[index]), error)


def require_close(
    what: str,
    got: Any,
    expected: Any,
    tolerance: Tolerance,
    source: str = "",
    hint: Callable[[], str] = str,
) -> None:
    """Raise unless two arrays agree; what was expected is said to come from `source`."""
    bad = worst_mismatch(got, expected, tolerance)
    if bad is not None:
        raise GradientError(
            f"{what} at index {bad.place}",
            expected=f"{bad.expected!r}{source}",
            got=f"{bad.got!r} (relative error {bad.error:.3g})",
            hint=hint() or None,
        )


def require_double(what: str, value: Any, hint: str) -> None:
    """Refuse floats that are not float64."""
    dtype = getattr(value, "dtype", np.dtype(np.float64))
    if dtype.kind == "f" and dtype != np.float64:
        raise DtypeError(
            what,
            expected="float64: float32 has too few digits to tell a wrong gradient",
            got=dtype,
            hint=hint,
        )


def describe(arrays: Sequence[Any], params: dict[str, Any], names: Sequence[str]) -> str:
    """The example that failed, in full where it is small."""
    lines = []
    for name, array in zip(names, arrays, strict=True):
        if isinstance(array, np.ndarray):
            lines.append(f"{name} {array.dtype}{list(array.shape)} = {_body(array)}")
        else:
            lines.append(f"{name} = {array!r}")
    lines += [f"{name} = {value!r}" for name, value in params.items()]
    return "\n    ".join(["with", *lines])


def _body(array: Array) -> str:
    return np.array2string(array, separator=", ", threshold=64, precision=17).replace("\n", " ")
