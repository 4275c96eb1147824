"""How a failed gradient check speaks: the input, the index, the two numbers, how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import TinygradSeqError

__all__ = ["GradientError", "Mismatch", "Tolerance", "describe", "worst_mismatch"]


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


def describe(
    arrays: Sequence[Any], params: dict[str, Any] | None = None, names: Sequence[str] = ()
) -> str:
    """The example that failed, in full where it is small."""
    lines = []
    names = names or [f"input {i}" for i in range(len(arrays))]
    for name, array in zip(names, arrays, strict=True):
        if isinstance(array, np.ndarray):
            lines.append(f"{name} {array.dtype}{list(array.shape)} = {_body(array)}")
        else:
            lines.append(f"{name} = {array!r}")
    lines += [f"{name} = {value!r}" for name, value in (params or {}).items()]
    return "\n    ".join(["with", *lines])


def _body(array: Array) -> str:
    return np.array2string(array, separator=", ", threshold=64, precision=17).replace("\n", " ")
