"""Gradient clipping, by global norm and by value, with a report of what was done.

The norm is summed in float64 and, where squares would leave its range, from gradients scaled
by a power of two; the gradients are scaled down with a factor rounded towards zero. So the
bound holds for every finite gradient, be its entries 1e20, 1e38 or subnormal.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.arguments import taking
from tinygrad_seq.checks import choice, number
from tinygrad_seq.errors import ConfigError, NonFiniteError
from tinygrad_seq.optim.options import label, tensors
from tinygrad_seq.tensor import Tensor

__all__ = ["ClipReport", "clip_grad_norm_", "clip_grad_value_"]

_CHUNK = 8192  # entries summed at a time: in cache, and too few for BLAS to split over threads
_bound = number(0.0, open_low=True, infinite=True)
_order = number(1.0, infinite=True)
_policy = choice("raise", "skip")


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What a clip found and did.

    Attributes
    ----------
    norm : float
        Norm of all gradients together before clipping (the 2-norm unless another was asked
        for); NaN or infinite if `finite` is False.
    norm_after : float
        The same norm after clipping.
    factor : float
        ``norm_after / norm``, and 1 where the norm is 0. Norm clipping has multiplied every
        entry by it; for value clipping it is only the overall shrinkage.
    finite : bool
        False if a gradient holds NaN or infinity. The gradients are untouched then: skip
        the step.
    clipped_fraction : float
        Share of the entries that were changed: 0 or 1 for norm clipping.
    problem : str
        Which parameters hold how many NaN and infinite entries; empty if `finite`.
    """

    norm: float
    norm_after: float
    factor: float
    finite: bool
    clipped_fraction: float = 0.0
    problem: str = ""

    @property
    def clipped(self) -> bool:
        """Whether any gradient was changed."""
        return self.clipped_fraction > 0.0


@taking
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    nonfinite: Literal["raise", "skip"] = "raise",
) -> ClipReport:
    r"""Scale all gradients together, in place, so that their norm is at most `max_norm`.

    Pascanu, Mikolov and Bengio 2013, Algorithm 1, with g all gradients as one vector::

        if ‖g‖ > max_norm:   g <- g · max_norm / ‖g‖

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Whose ``grad`` to clip; those without a gradient are passed over, one listed twice
        counts once.
    max_norm : float
        The bound, above 0. ``math.inf`` only measures.
    norm_type : float
        p of the p-norm, at least 1; ``math.inf`` is the largest absolute entry.
    nonfinite : {"raise", "skip"}
        What to do about NaN or infinity: raise, or return a report whose ``finite`` is
        False. Either way no gradient is touched.

    Returns
    -------
    ClipReport

    Raises
    ------
    NonFiniteError
        Naming the parameters and counting NaN and infinite entries.
    ConfigError
        For options out of range, a bound too small for the gradients' dtype, or no parameters
        at all (a generator that is used up).

    Notes
    -----
    The norm is accumulated in float64, and the result does not depend on the order of the
    parameters. Gradients that are scaled end with a norm of at most `max_norm`, not a bit
    above; it falls short by at most 4 units in the last place of float32 (relative 4e-7) where
    float32 gradients are present, by 2.5e-13 otherwise (more only if `max_norm` is below 1e-19,
    where entries become subnormal). The direction is kept to rounding, and clipping again
    changes no bit. PyTorch divides by ``‖g‖ + 1e-6`` instead, and returns the norm alone.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = np.array([30.0, 40.0], dtype=np.float32)
    >>> report = optim.clip_grad_norm_([w], 5.0)
    >>> report.norm, round(report.factor, 6), w.grad.round(5)
    (50.0, 0.1, array([3., 4.], dtype=float32))
    """
    max_norm = _bound("clip_grad_norm_: max_norm", max_norm)
    order = _order("clip_grad_norm_: norm_type", norm_type)
    nonfinite = _policy("clip_grad_norm_: nonfinite", nonfinite)
    found = _gradients("clip_grad_norm_", parameters)
    size = _measure(found, order)
    if size is None:
        return _refuse("clip_grad_norm_", found, nonfinite)
    norm = size.value
    if not norm > max_norm:
        return ClipReport(norm, norm, 1.0, True)
    _require_representable("max_norm", max_norm, found)
    fraction, exponent = _factor(max_norm, size, found)
    for array in {id(item.array): item.array for item in found}.values():
        _shrink(array, fraction, exponent, max_norm)
    after = _ldexp(size.root * fraction, size.exponent + exponent)
    return ClipReport(norm, after, _ldexp(fraction, exponent), True, 1.0)


@taking
def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor],
    clip_value: float,
    nonfinite: Literal["raise", "skip"] = "raise",
) -> ClipReport:
    """Limit every gradient entry, in place, to ``[-clip_value, clip_value]``.

    As min-char-rnn and char-rnn do with 5. Unlike norm clipping this turns the direction:
    (3, 0.1) limited to 1 becomes (1, 0.1).

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Whose ``grad`` to clip; those without a gradient are passed over, one listed twice
        counts once.
    clip_value : float
        The bound, above 0. ``math.inf`` only measures.
    nonfinite : {"raise", "skip"}
        What to do about NaN or infinity (a plain clip would turn an infinite entry into an
        ordinary one): raise, or return a report whose ``finite`` is False. Either way no
        gradient is touched.

    Returns
    -------
    ClipReport
        With 2-norms before and after, their ratio, and the share of entries that were cut.

    Raises
    ------
    NonFiniteError
        Naming the parameters and counting NaN and infinite entries.
    ConfigError
        For options out of range, a bound too small for the gradients' dtype, or no parameters
        at all (a generator that is used up).

    Notes
    -----
    Where `clip_value` lies between two numbers of a gradient's dtype, the lower one is used.

    Examples
    --------
    >>> import numpy as np
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import optim
    >>> w = tgs.tensor([0.0, 0.0], requires_grad=True)
    >>> w.grad = np.array([-8.0, 3.0], dtype=np.float32)
    >>> report = optim.clip_grad_value_([w], 4.0)
    >>> w.grad, report.norm_after, report.clipped_fraction
    (array([-4.,  3.], dtype=float32), 5.0, 0.5)
    """
    clip_value = _bound("clip_grad_value_: clip_value", clip_value)
    nonfinite = _policy("clip_grad_value_: nonfinite", nonfinite)
    found = _gradients("clip_grad_value_", parameters)
    before = _measure(found, 2.0)
    if before is None:
        return _refuse("clip_grad_value_", found, nonfinite)
    if before.value <= clip_value:  # no entry is larger than the norm
        return ClipReport(before.value, before.value, 1.0, True)
    _require_representable("clip_value", clip_value, found)
    cut = 0
    for item in found:
        bound = _rounded_down(clip_value, item.array.dtype)
        beyond = sum(int(np.count_nonzero(np.abs(x) > bound)) for x in _chunks(item.array))
        if beyond:
            np.clip(item.array, -bound, bound, out=item.array)
        cut += beyond
    after = _measure(found, 2.0) if cut else before
    assert after is not None
    total = sum(item.array.size for item in found)
    return ClipReport(
        before.value, after.value, min(1.0, after.value / before.value), True, cut / total
    )


class _Gradient(NamedTuple):
    label: str
    array: NDArray[Any]


class _Size(NamedTuple):
    """A norm as ``root * 2**exponent``: it may lie outside the range of a float."""

    root: float
    exponent: int

    @property
    def value(self) -> float:
        return _ldexp(self.root, self.exponent)


def _ldexp(fraction: float, exponent: int) -> float:
    """``fraction * 2**exponent``; beyond the largest float, that float."""
    try:
        return math.ldexp(fraction, exponent)
    except OverflowError:
        return sys.float_info.max


def _gradients(owner: str, parameters: Tensor | Iterable[Tensor]) -> list[_Gradient]:
    """Every gradient once, writable in place."""
    found: dict[int, _Gradient] = {}
    for position, param in enumerate(tensors(owner, parameters, "nothing to clip")):
        if param.grad is None or id(param) in found:
            continue
        if not param.grad.flags.writeable:
            param.grad = param.grad.copy()
        found[id(param)] = _Gradient(label(param, position), param.grad)
    return list(found.values())


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The entries in one-dimensional float64 chunks, whatever the memory layout."""
    chunks: Iterable[Any] = np.nditer(
        array,
        flags=["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[np.float64],
        buffersize=_CHUNK,
    )
    return iter(chunks)


def _measure(found: list[_Gradient], order: float) -> _Size | None:
    """The norm of all gradients together, or None if an entry is not finite."""
    if order == 2.0:
        # No float32 overflows or vanishes here. float64 can: then the sum is no use, and the
        # scaled way below is taken (which also tells overflow from an infinite entry).
        with np.errstate(all="ignore"):
            squares = _sum(float(part.dot(part)) for item in found for part in _chunks(item.array))
        if 1e-250 < squares < math.inf:
            return _Size(math.sqrt(squares), 0)
    peak = _peak(found)
    if not math.isfinite(peak):
        return None
    if peak == 0.0:
        return _Size(0.0, 0)
    fraction, exponent = math.frexp(peak)
    if math.isinf(order):
        return _Size(fraction, exponent)
    powers = _sum(  # of entries relative to the largest
        float(np.sum(np.abs(np.ldexp(part, -exponent) / fraction) ** order))
        for item in found
        for part in _chunks(item.array)
    )
    return _Size(fraction * powers ** (1.0 / order), exponent)


def _sum(terms: Iterable[float]) -> float:
    """Sum, rounded once, so that the order of the parameters does not matter."""
    try:
        return math.fsum(terms)
    except OverflowError:
        return math.inf


def _peak(found: list[_Gradient]) -> float:
    """Largest absolute entry; NaN if there is one."""
    ends = [end(item.array) for item in found if item.array.size for end in (np.max, np.min)]
    return float(np.max(np.abs(ends))) if ends else 0.0


def _refuse(owner: str, found: list[_Gradient], policy: str) -> ClipReport:
    """Raise, or report, that some gradients are not finite."""
    counts = [(item, np.isnan(item.array).sum(), np.isinf(item.array).sum()) for item in found]
    problem = "; ".join(
        f"{item.label}: {nans} NaN and {infinite} infinite of {item.array.size} entries"
        for item, nans, infinite in counts
        if nans or infinite
    )
    if policy == "raise":
        raise NonFiniteError(
            f"{owner}: a gradient is not finite",
            expected="finite gradients",
            got=problem,
            hint="lower the learning rate or look for the operation that overflows; with "
            'nonfinite="skip", leave out the step when report.finite is False',
        )
    norm = math.nan if any(nans for _, nans, _ in counts) else math.inf
    return ClipReport(norm, norm, 1.0, False, 0.0, problem)


def _require_representable(name: str, bound: float, found: list[_Gradient]) -> None:
    """Refuse a bound that the gradients could only meet by becoming 0."""
    for item in found:
        smallest = float(np.finfo(item.array.dtype).tiny)
        if bound < smallest:
            raise ConfigError(
                f"{name} is too small for {item.array.dtype} gradients",
                expected=f"at least {smallest:g}",
                got=bound,
            )


def _rounded_down(value: float, dtype: np.dtype[Any]) -> float:
    """The largest number of `dtype` that is not above `value` (itself normal, or infinite)."""
    if math.isinf(value):
        return value
    fraction, exponent = math.frexp(value)
    digits = np.finfo(dtype).nmant + 1
    return math.ldexp(math.floor(math.ldexp(fraction, digits)), exponent - digits)


def _factor(max_norm: float, size: _Size, found: list[_Gradient]) -> tuple[float, int]:
    """``max_norm / norm`` as ``fraction * 2**exponent``, rounded down.

    The fraction has the digits of the coarsest gradient, so that it is applied exactly, and
    leaves room for each entry to be rounded up by half a unit and for the error of the norm.
    """
    top, top_exponent = math.frexp(max_norm)
    bottom, bottom_exponent = math.frexp(size.root)
    coarsest = max((item.array.dtype for item in found), key=lambda d: float(np.finfo(d).eps))
    margin = max(float(np.finfo(coarsest).eps), 2.0**-43)
    fraction, exponent = math.frexp(top / bottom * (1.0 - margin))
    return (
        _rounded_down(fraction, coarsest),
        exponent + top_exponent - bottom_exponent - size.exponent,
    )


def _shrink(array: NDArray[Any], fraction: float, exponent: int, max_norm: float) -> None:
    """Multiply in place by ``fraction * 2**exponent``, which itself may be below the dtype."""
    lowest = int(np.finfo(array.dtype).minexp)
    while exponent <= lowest:
        array *= math.ldexp(1.0, lowest)
        exponent -= lowest
    array *= math.ldexp(fraction, exponent)
    if max_norm < math.ldexp(1.0, lowest // 2):
        # Entries this small round by more than the margin of the factor allows for.
        np.nextafter(array, 0.0, out=array, dtype=array.dtype)
