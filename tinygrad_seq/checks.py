"""Checks of what is given to the package: numbers, choices, dtypes, arrays.

Each returns the value in the one form that the package works with (a plain Python number, a plain
array in the machine's byte order) or raises a typed error. Tensors are for those who know them:
hand over their arrays.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
from collections.abc import Callable, ItemsView, KeysView, Set
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar, cast, get_type_hints
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.errors import shown as shown

Array: TypeAlias = NDArray[Any]
T = TypeVar("T")

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
"""The floating dtypes that the package computes in.

float16 is a way to store numbers: arrays of it become float32 where they come in, which loses
nothing, and as the dtype of a tensor or a module it is refused. A sum in it stops at 2,048 ones, an
optimiser's ``eps`` is 0, and on a CPU it is slower. Wider floats, which have no BLAS, are refused.
"""

LARGEST = 2**63 - 1
"""Integer that NumPy counts with."""
LONGEST_AXIS = 2**31 - 1
MOST_ENTRIES = 2**36
"""Of one array: half a tebibyte in float64, beyond what the package is made for."""
_HELD = {*FLOATS, *map(np.dtype, "?bBhHiIlLqQ")}
"""What tensors hold, in the machine's byte order."""

# -- options: a rule takes a name and a value ------------------------------------------------------

Rule: TypeAlias = Callable[[str, Any], Any]
"""Takes an option's name and value; returns the value as plain Python, or raises."""


def number(
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> Rule:
    """Rule for a real number in an interval; NumPy scalars become Python floats.

    A plain float matters: a ``np.float64`` hyperparameter would pull float32
    arithmetic up to float64.
    """
    closed_high = not open_high and (infinite or math.isfinite(high))
    brackets = ("(" if open_low else "[", "]" if closed_high else ")")
    expected = f"a number in {brackets[0]}{low:g}, {high:g}{brackets[1]}"

    def check(name: str, value: Any) -> float:
        result = _real(value)
        if result is not None:
            above = result > low if open_low else result >= low
            below = result < high if open_high else result <= high
            if above and below and (infinite or math.isfinite(result)):
                return result
        raise ConfigError(f"{name} is out of range", expected=expected, got=shown(value))

    return check


def count(low: int, high: int | None = None) -> Rule:
    """Rule for an integer of at least `low` (and at most `high`, or what 64 bits hold)."""
    most = LARGEST if high is None else high

    def check(name: str, value: Any) -> int:
        if isinstance(value, Integral) and not isinstance(value, (bool, np.timedelta64)):
            result = int(value)
            if low <= result <= most:
                return result
        expected = f"an integer >= {low}"
        expected += f", at most {high}" if most < LONGEST_AXIS else ""
        raise ConfigError(f"{name} is out of range", expected=expected, got=shown(value))

    return check


def choice(*allowed: str) -> Rule:
    """Rule for one of a few words."""

    def check(name: str, value: Any) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        raise ConfigError(
            f"{name} is unknown", expected=" or ".join(map(repr, allowed)), got=shown(value)
        )

    return check


def flag(name: str, value: Any) -> bool:
    """Rule for a switch."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ConfigError(f"{name} is not a switch", expected="True or False", got=shown(value))


def size(name: str, value: Any) -> int:
    """Rule for the length of an axis."""
    try:
        return cast("int", count(1, LONGEST_AXIS)(name, value))
    except ConfigError as error:
        raise ConfigError(error.what, expected="a positive integer", got=error.got) from None


def pair(rule: Rule) -> Rule:
    """Rule for two values under the same rule (a list, as JSON gives it, becomes a tuple)."""

    def check(name: str, value: Any) -> tuple[Any, Any]:
        if isinstance(value, (tuple, list)) and len(value) == 2:
            return rule(f"{name}[0]", value[0]), rule(f"{name}[1]", value[1])
        raise ConfigError(f"{name} is not a pair", expected="two numbers", got=shown(value))

    return check


def rules_of(function: Callable[..., Any]) -> dict[str, Rule]:
    """The rules in the annotations of a function: ``lr: Annotated[float, positive]``."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")
    }


non_negative = number(0.0)
positive = number(0.0, open_low=True)
epsilon = number(1e-30)  # stays above 0 in float32, so that 0 / (0 + eps) is not NaN
below_one = number(0.0, 1.0, open_high=True)

# Of options in a signature: a type, with the check that `rules_of` reads off.
NonNegative: TypeAlias = Annotated[float, non_negative]
BelowOne: TypeAlias = Annotated[float, below_one]
Epsilon: TypeAlias = Annotated[float, epsilon]
Switch: TypeAlias = Annotated[bool, flag]
Count: TypeAlias = Annotated[int, count(0)]
Positive: TypeAlias = Annotated[int, count(1)]


def _real(value: Any) -> float | None:
    """A real number as a Python float; None for anything else, and for what does not fit one."""
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_, np.timedelta64)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def sequence_of(what: str, values: Any, kind: str) -> list[Any]:
    """The parts of an iterable, a generator too; `kind` says in words what they should be."""
    try:
        parts = iter(() if isinstance(values, (str, bytes)) else values)
    except TypeError:
        parts = None
    if parts is None or isinstance(values, (str, bytes)):
        raise ConfigError(what, expected=f"a sequence of {kind}", got=shown(values))
    return list(parts)


def instance_of(
    what: str, value: Any, kind: type[T] | tuple[type[T], ...], *, hint: str | None = None
) -> T:
    """An object of a class, or of one of several."""
    if isinstance(value, kind):
        return value
    names = [each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,))]
    raise ConfigError(what, expected=f"a {' or '.join(names)}", got=shown(value), hint=hint)


def callable_of(
    what: str, value: Any, kind: str = "a function", *, hint: str | None = None
) -> Callable[..., Any]:
    """Something to call; `kind` says in words what it should do."""
    if callable(value):
        return value  # type: ignore[no-any-return]
    raise ConfigError(what, expected=kind, got=shown(value), hint=hint)


def generator_of(what: str, rng: Any) -> np.random.Generator:
    """A source of randomness."""
    if isinstance(rng, np.random.Generator):
        return rng
    hint = "rng = np.random.default_rng(0)"
    raise ConfigError(what, expected="a numpy.random.Generator", got=shown(rng), hint=hint)


def path_of(what: str, path: Any) -> Path:
    """A path; whether the system knows it, and takes its characters, is asked when it is used."""
    try:
        name = os.fspath(path)
    except TypeError:
        name = ""
    if isinstance(name, str) and name:
        return Path(name)
    raise ConfigError(what, expected="a path, as str or pathlib.Path", got=shown(path))


def require_room(what: str, *shape: int) -> None:
    """Refuse shapes that no memory holds, before NumPy is asked for one."""
    entries = math.prod(shape)
    if entries > MOST_ENTRIES:
        raise ConfigError(
            what,
            expected="an array that fits into memory",
            got=f"shape {shown(shape)}: {entries // 2**27:,} GiB of float64",
        )


def function_of(what: str, value: Any, *arguments: Any, **keywords: Any) -> Any:
    """What can be called with these arguments, as far as its signature tells (a module's too)."""
    callable_of(what, value)
    try:
        inspect.signature(getattr(value, "forward", value)).bind(*arguments, **keywords)
    except TypeError as error:
        count = len(arguments) + len(keywords)
        raise ConfigError(
            f"{what} cannot be called so",
            expected=f"a function of {count} argument{'' if count == 1 else 's'}",
            got=str(error),
        ) from error
    except ValueError:  # some of those written in C do not tell
        pass
    return value


# -- arrays ----------------------------------------------------------------------------------------


def dtype_of(what: str, dtype: Any) -> np.dtype[Any]:
    """A dtype that tensors can have: float32, float64, integers or booleans."""
    try:
        # NumPy takes None for float64: nobody asked for that.
        found = np.dtype("None" if dtype is None else dtype)
    except (TypeError, ValueError, SyntaxError, RecursionError) as error:
        raise DtypeError(f"{what}: dtype", expected="a dtype of NumPy", got=shown(dtype)) from error
    return _admitted(what, found)


def float_dtype(what: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64."""
    found = dtype_of(what, dtype)
    if found not in FLOATS:
        raise DtypeError(f"{what}: dtype", expected="float32 or float64", got=found)
    return found


def _admitted(what: str, found: np.dtype[Any]) -> np.dtype[Any]:
    """A dtype in the machine's byte order, if tensors can have it."""
    # By its letter: the object that NumPy gives its own arrays, by which the engine knows it.
    native = np.dtype(found.char) if found.kind in "fiub" else found
    if native in _HELD:
        return native
    hint = None
    if found.kind == "f":
        hint = "np.float32, or np.float64 for checks"
    elif found.kind == "c":
        hint = "tensors are real: give .real and .imag apart"
    elif found.kind == "O":
        hint = "give every row the same length, and no None in place of a number"
    raise DtypeError(
        f"{what}: not an array of numbers that tensors hold",
        expected="float32, float64, integers or booleans",
        got=f"dtype {found}",
        hint=hint,
    )


def array_of(what: str, value: Any) -> Array:
    """What NumPy makes of a value: a plain array of numbers in the machine's byte order.

    Not a copy where `value` is such an array already. float16 becomes float32.

    Raises
    ------
    DtypeError
        For text, objects, rows of different lengths, complex numbers, floats of other sizes and
        masked arrays, whose mask would be lost.
    """
    if type(value) is np.ndarray and value.dtype in _HELD:
        return value
    refuse_masked(what, value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DtypeError(
            f"{what}: rows of different lengths, or no numbers",
            expected="an array: every row as long as the others",
            got=shown(value),
            hint="pad the rows to one length, and pass lengths= where it is taken",
        ) from error
    except (TypeError, OverflowError) as error:
        raise DtypeError(f"{what}: not numbers", expected="an array", got=str(error)) from error
    dtype = array.dtype
    native = FLOATS[0] if dtype == np.float16 else _admitted(what, dtype)
    return array if dtype == native and dtype.isnative else array.astype(native)


def refuse_masked(what: str, value: Any) -> None:
    """Refuse masked arrays, also in lists: NumPy would go on with what lies below the mask."""
    if _holds_mask(value, 0):
        raise DtypeError(
            f"{what}: a masked array would lose its mask",
            expected="an array without a mask",
            got="a masked array",
            hint="a.filled(0.0), or a.compressed(); a layer takes lengths=, attention a mask=",
        )


def _holds_mask(value: Any, depth: int) -> bool:
    if isinstance(value, (list, tuple)) and depth < 64:  # as deep as NumPy goes
        return any(_holds_mask(row, depth + 1) for row in value if type(row) is not float)
    return isinstance(value, np.ma.MaskedArray)


def converted(what: str, array: Array, dtype: Any) -> Array:
    """A copy in another dtype; what does not fit into its integers is refused, not wrapped."""
    target = dtype_of(what, dtype)
    if target.kind in "iu" and array.size and array.dtype.kind in "fiu":
        low, high = int(np.iinfo(target).min), int(np.iinfo(target).max)
        least, most = array.min(), array.max()
        if array.dtype.kind == "f":  # fractions are cut off; NaN compares false
            fits = low - 1 < least and most < high + 1
        else:
            fits = low <= least and most <= high
        if not fits:
            raise DtypeError(
                f"{what}: values that {target} cannot hold",
                expected=f"numbers from {low} to {high}",
                got=f"numbers from {least} to {most}",
            )
    return array.astype(target)


def integers_of(what: str, value: Any) -> Array:
    """An array of integers (no truth values), for ids, lengths and positions."""
    return _of_kind(what, value, "iu", np.intp, "integers")


def truths_of(what: str, value: Any) -> Array:
    """An array of booleans; numbers are refused, for they might be meant as positions."""
    hint = "positions become booleans by np.isin(np.arange(n), positions)"
    return _of_kind(what, value, "b", np.bool_, "booleans", hint)


def _of_kind(
    what: str, value: Any, kinds: str, empty: Any, expected: str, hint: str | None = None
) -> Array:
    array = array_of(what, value)
    if array.dtype.kind in kinds:
        return array
    if array.size == 0 and not isinstance(value, np.ndarray):  # an empty list
        return array.astype(empty)
    raise DtypeError(what, expected=expected, got=array.dtype, hint=hint)


def index_of(what: str, value: Any) -> int:
    """An integer, of Python's or NumPy's, of either sign; what 64 bits hold."""
    try:
        if not isinstance(value, (bool, np.bool_)):
            found = operator.index(value)
            if abs(found) <= LARGEST:
                return found
    except TypeError:
        pass
    raise ConfigError(what, expected="an integer", got=shown(value))


def in_order(what: str, values: Any) -> None:
    """Refuse sets, where what belongs to the values is saved and loaded in their order."""
    unordered = isinstance(values, Set) and not isinstance(values, (KeysView, ItemsView))
    if unordered or isinstance(values, WeakSet):
        raise ConfigError(
            f"{what}: a set has no order, and may have another in the next run",
            expected="a list, or whatever else keeps its order",
            got=f"a {type(values).__name__}",
            hint="list(dict.fromkeys(values)) leaves out those that come again",
        )
