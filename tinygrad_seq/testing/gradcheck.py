"""``gradcheck``: compare the gradient of a function of tensors with numerical derivatives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_seq.checks import (
    array_of,
    below_one,
    callable_of,
    choice,
    count,
    flag,
    instance_of,
    non_negative,
    sequence_of,
    shown,
)
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.testing.numeric import (
    COMPLEX_STEP,
    Kink,
    Loss,
    central_derivative,
    central_gradient,
    complex_gradient,
    find_kink,
    perturbed,
)
from tinygrad_seq.testing.report import GradientError, Tolerance, require_double, worst_mismatch
from tinygrad_seq.testing.subject import Function, Subject, is_float, paired

__all__ = ["GradcheckReport", "gradcheck"]

COMPLEX = Tolerance(1e-10, 1e-12)
CENTRAL = Tolerance(1e-6, 1e-9)
SINGLE = Tolerance(2e-4, 1e-5)
"""For float32 inputs: the gradient has seven digits, the reference is taken in float64."""


@dataclass(frozen=True)
class GradcheckReport:
    """What :func:`gradcheck` did; it is true, for failures raise."""

    method: str
    """``"complex"`` or ``"central"``."""
    checked: int
    """How many numbers were compared."""
    worst: float
    """Largest distance met, relative to the largest entry of its array, plus a small floor.

    Not above `rtol`: what comes near it deserves a look."""
    kinks: tuple[Kink, ...] = ()
    """Entries where the function has no derivative: the gradient there is a subgradient."""

    def __str__(self) -> str:
        text = f"{self.checked} entries by {self.method} step, worst error {self.worst:.2g}"
        return "; ".join([text, *map(str, self.kinks)])


def gradcheck(
    fn: Function,
    *inputs: Any,
    check: str = "gradient",
    order: int = 1,
    method: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
    allow_float32: bool = False,
    names: Sequence[str] = (),
) -> GradcheckReport:
    """Compare the gradient of `fn` with numerical derivatives, or raise.

    Outputs are weighted with a fixed random cotangent ``c`` (1 for a scalar), and the gradient
    of ``sum(c * fn(*inputs))`` is compared at every entry of every input.

    Parameters
    ----------
    fn : callable
        Of tensors; returns a tensor or a nest of tensors. It must return the same thing
        each time it is called: seed dropout inside.
    *inputs : array or Tensor
        float64. Arrays of floats are differentiated to, and tensors that require gradients;
        anything else is passed on as it is.
    check : {"gradient", "jacobian", "directional"}
        ``"jacobian"`` takes one output entry at a time; ``"directional"`` compares one number,
        the slope along a random direction: cheap for large inputs.
    order : {1, 2}
        2 also checks the gradient of the gradient (``create_graph=True``), along a direction.
    method : {"auto", "complex", "central"}
        ``"auto"`` takes the complex step if every operation that `fn` records is analytic,
        central differences otherwise.
    rtol, atol : float, optional
        Accepted error relative to the largest entry of the derivative, and absolute.
        By default 1e-10 and 1e-12 for the complex step, 1e-6 and 1e-9 for central differences.
    seed : int
        Of cotangents and directions.
    allow_float32 : bool
        Accept float32 inputs, whose gradients have seven digits only: they are compared with
        references taken in float64, loosely.
    names : sequence of str
        What to call the inputs in messages; "input 0", "input 1", ... by default.

    Returns
    -------
    GradcheckReport
        With the method used, the worst error met, and any kinks (``abs`` at 0): there, a value
        between the one-sided slopes is accepted and reported. Of a direction and of the second
        order that one number is all there is: where it is at a kink, nothing else was checked.

    Raises
    ------
    GradientError
        An AssertionError that names the input, the index, the two numbers and their distance.
        Also where nothing can be told: an input, or a tolerance, that is NaN or infinite.
    DtypeError
        For float32 inputs without `allow_float32`.
    ConfigError
        If there is nothing to differentiate to, or an option is unknown.

    Notes
    -----
    Complex step: Im f(x + ih) / h with h = 1e-20 (Squire and Trapp 1998).

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq.testing import gradcheck
    >>> print(gradcheck(lambda x: tgs.tanh(x) * x, np.linspace(-1, 1, 5)).method)
    complex
    """
    _check_options(check, order, method, rtol, atol)
    callable_of("gradcheck: fn", fn, "a function of tensors")
    seed = count(0)("gradcheck: seed", seed)
    flag("gradcheck: allow_float32", allow_float32)
    given = sequence_of("gradcheck: names", names, "names")
    names = [instance_of("gradcheck: a name", name, str) for name in given] or [
        f"input {i}" for i in range(len(inputs))
    ]
    if len(names) != len(inputs):
        raise ConfigError("gradcheck: names", expected=f"{len(inputs)}, or none", got=len(names))
    arrays, wanted = _prepare(inputs, names, allow_float32)
    single = any(is_float(a) and a.dtype == np.float32 for a in arrays)
    name = getattr(fn, "__name__", type(fn).__name__)
    rng = np.random.default_rng(seed)
    subject = Subject(f"gradcheck of {name}", fn, arrays, wanted, rng, names)
    if [value.size for value in subject.values] == [1]:  # so that messages show its own slopes
        subject.cotangents = [np.ones(subject.values[0].shape)]
    _require_repeatable(subject)
    if method == "auto":
        method = "complex" if subject.is_analytic() else "central"
    tolerance = SINGLE if single else COMPLEX if method == "complex" else CENTRAL
    tolerance = Tolerance(
        tolerance.relative if rtol is None else rtol, tolerance.absolute if atol is None else atol
    )
    tally = _Tally(subject, method, tolerance)
    if check == "jacobian":
        for cotangents in _units(subject.values):
            tally.gradient(cotangents)
    elif check == "gradient":
        tally.gradient(subject.cotangents)
    else:
        tally.directional()
    if order == 2:
        tally.second(max(tolerance, CENTRAL))
    return GradcheckReport(method, tally.checked, tally.worst, tuple(tally.kinks))


def _units(values: Sequence[Array]) -> Iterator[list[Array]]:
    """Cotangents for each entry of each output."""
    for k, value in enumerate(values):
        for index in np.ndindex(value.shape):
            unit = [np.zeros(v.shape) for v in values]
            unit[k][index] = 1.0
            yield unit


def _require_repeatable(subject: Subject) -> None:
    """Refuse outputs at which nothing can be compared: that differ, are none, or not finite."""
    for a, b in zip(subject.values, subject.evaluate(subject.arrays), strict=True):
        if not np.array_equal(a, b, equal_nan=True):
            raise GradientError(
                "gradcheck: the function gives different values when called twice",
                expected="the same value for the same inputs",
                hint="make its random numbers inside, from a fixed seed",
            )
    if not any(value.size for value in subject.values):
        raise GradientError(
            "gradcheck: the function gives nothing, so nothing would be compared",
            expected="at least one number",
            got=f"shapes {', '.join(str(v.shape) for v in subject.values) or 'of no tensor'}",
        )
    for value in subject.values:
        odd = np.argwhere(~np.isfinite(value))
        if len(odd):
            place = tuple(int(i) for i in odd[0])
            raise GradientError(
                f"gradcheck: the function gives {value[place]} at {place or 'its end'}",
                expected="finite numbers: others have no differences",
                got=f"{len(odd)} NaN or infinite",
                hint="return what is finite there: y[np.isfinite(y.numpy())]",
            )


def _check_options(check: Any, order: Any, method: Any, rtol: Any, atol: Any) -> None:
    choice("gradient", "jacobian", "directional")("gradcheck: check", check)
    count(1, 2)("gradcheck: order", order)
    choice("auto", "complex", "central")("gradcheck: method", method)
    for name, bound, rule in (("rtol", rtol, below_one), ("atol", atol, non_negative)):
        try:
            rule(f"gradcheck: {name}", 0.0 if bound is None else bound)
        except ConfigError as error:  # a check that accepts anything has not passed
            raise GradientError(error.what, expected=error.expected, got=error.got) from error


def _prepare(
    inputs: Sequence[Any], names: Sequence[str], allow_float32: bool
) -> tuple[list[Any], list[int]]:
    """Contiguous copies of the inputs, and the positions of those to differentiate to."""
    arrays: list[Any] = []
    wanted = []
    for i, value in enumerate(inputs):
        if isinstance(value, Tensor):
            array: Any = value.numpy()
            track = value.requires_grad
        else:
            given = isinstance(value, (np.ndarray, float))
            array = array_of(f"gradcheck: {names[i]}", value).copy() if given else value
            track = is_float(array)
        if track and not allow_float32:
            hint = "pass x.astype(np.float64), of a layer too; allow_float32=True checks loosely"
            require_double(f"gradcheck: {names[i]}", array, hint)
        if track:
            wanted.append(i)
            if not np.isfinite(array).all():
                raise GradientError(
                    f"gradcheck: {names[i]} is not finite, nor is any difference there",
                    expected="finite numbers",
                    got=f"{np.count_nonzero(~np.isfinite(array))} NaN or infinite",
                    hint="give what shall be NaN or infinite as a tensor without requires_grad",
                )
        arrays.append(array)
    if not any(arrays[i].size for i in wanted):
        raise ConfigError(
            "gradcheck: nothing to differentiate to",
            expected="at least one array of floats, or tensor with requires_grad=True, not empty",
            got=", ".join(shown(value) for value in inputs),
        )
    return arrays, wanted


class _Tally:
    """Runs comparisons, raises at the first real failure, and counts the rest."""

    def __init__(self, subject: Subject, method: str, tolerance: Tolerance) -> None:
        self.subject = subject
        self.method = method
        self.tolerance = tolerance
        self.checked = 0
        self.worst = 0.0
        self.kinks: list[Kink] = []

    def gradient(self, cotangents: Sequence[Array]) -> None:
        """Every entry of every input, for one cotangent."""
        subject = self.subject
        found = subject.gradients(cotangents=cotangents)
        again = subject.gradients(cotangents=cotangents)
        loss = subject.loss(cotangents)
        numerical = complex_gradient if self.method == "complex" else central_gradient
        for which, got, repeat in zip(subject.wanted, found, again, strict=True):
            if not np.array_equal(got, repeat, equal_nan=True):
                raise GradientError(
                    f"gradcheck: the gradient to {subject.names[which]} differs when taken twice",
                    expected="the same bits each time",
                )
            expected = numerical(loss, subject.precise, which)
            self._accept_kinks(loss, which, got, expected)
            what = f"the gradient to {subject.names[which]}"
            self._compare(what, got, expected, self.tolerance)

    def _accept_kinks(self, loss: Loss, which: int, got: Array, expected: Array) -> None:
        """At a kink, take any value between the one-sided slopes as right, and report it."""
        top = float(np.max(np.abs(expected), initial=0.0))
        allowed = self.tolerance.relative * top + self.tolerance.absolute
        suspect = np.asarray(~(np.abs(got - expected) <= allowed))
        if self.method == "central":  # half way between the slopes a kink looks right
            suspect[...] = True
        for index in np.argwhere(suspect):
            place = tuple(int(i) for i in index)
            at = perturbed(loss, self.subject.precise, which, place)
            if self._at_kink(self.subject.names[which], float(got[place]), at, which, place):
                expected[place] = got[place]

    def _at_kink(
        self,
        name: str,
        got: float,
        at: Callable[[float], float],
        which: int | None = None,
        place: tuple[int, ...] = (),
    ) -> bool:
        """Whether one number is a slope of `at` at a kink, and right there; then it is noted."""
        slopes = find_kink(at)
        if slopes is None:
            return False
        kink = Kink(which, place, *slopes, name=name)
        right = kink.allows(got, 1e-4 * max(map(abs, slopes)))
        if right:
            self.kinks.append(kink)
        return right

    def directional(self) -> None:
        """One slope along one random direction through all inputs."""
        subject = self.subject
        directions = [
            np.asarray(subject.rng.standard_normal(subject.arrays[i].shape)) for i in subject.wanted
        ]
        found = subject.gradients()
        loss = subject.loss(subject.cotangents)

        def along(eps: float) -> float:
            return float(np.real(loss(subject.moved(directions, eps))))

        if self.method == "complex":
            step = COMPLEX_STEP
            expected = float(np.imag(loss(subject.moved(directions, step * 1j))) / step)
        else:
            expected = central_derivative(along)
        size = max(float(np.max(np.abs(g), initial=0.0)) for g in found)
        allowed = Tolerance(self.tolerance.relative, self.tolerance.absolute + 1e-12 * size)
        what = "the slope along a random direction"
        self._number(what, paired(found, directions), expected, allowed, along)

    def second(self, tolerance: Tolerance) -> None:
        """The slope of <gradient, v> along u, from create_graph and from differences."""
        subject = self.subject
        vs, us = subject.drawn(), subject.drawn()
        _, found, _ = subject.twice(vs)
        along = subject.gradient_along(vs, us)
        what = "the second derivative along a direction"
        self._number(what, paired(found, us), central_derivative(along), tolerance, along)

    def _number(
        self,
        what: str,
        got: float,
        expected: float,
        tolerance: Tolerance,
        at: Callable[[float], float],
    ) -> None:
        """One slope, which may be at a kink."""
        doubtful = worst_mismatch(got, expected, tolerance) is not None
        if not ((doubtful or self.method == "central") and self._at_kink(what, got, at)):
            self._compare(what, got, expected, tolerance)

    def _compare(self, what: str, got: Any, expected: Any, tolerance: Tolerance) -> None:
        self.checked += int(np.size(expected))
        self.subject.compare(what, got, expected, tolerance, f" ({self.method} step)")
        distance = float(np.max(np.abs(np.asarray(got) - expected), initial=0.0))
        # As the tolerance has it: of an array that vanishes, the last digits are noise.
        floor = tolerance.absolute / tolerance.relative if tolerance.relative else 0.0
        size = float(np.max(np.abs(expected), initial=0.0)) + floor
        self.worst = max(self.worst, distance / size if size else 0.0)
