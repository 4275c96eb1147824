"""The list of all operations, how one is declared, and how rules and public functions run one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from tinygrad_seq.checks import array_of, index_of, integers_of
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, IndexRangeError, ShapeError
from tinygrad_seq.ops import samples
from tinygrad_seq.ops.samples import Sample

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])

record = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], Tensor]", apply)
"""Run an operation with one output on its operands, and record it."""

record_several = cast("Callable[[Op, tuple[Any, ...], dict[str, Any]], tuple[Tensor, ...]]", apply)
"""The same for an operation with several outputs."""

OPS: dict[str, Op] = {}
"""Every registered operation by name: what the property tests and the op table walk over."""

DIFFERENTIABLE: dict[Any, Callable[..., Any]] = {}
"""NumPy functions that are recorded as operations, and what answers them."""

NEWER: dict[str, Callable[..., Any]] = {}
"""The same by name, of functions that not every NumPy we run on has."""


def register(op: Op) -> Op:
    """Add an operation to :data:`OPS`; a fused operation must bring its composed twin."""
    if op.name in OPS:
        raise ConfigError(f"an operation named {op.name!r} is registered already")
    if op.sample is None:
        raise ConfigError(
            f"operation {op.name!r} has no domain",
            expected="sample=..., from which its property tests draw",
            hint="see tinygrad_seq.ops.samples",
        )
    if op.keep and op.twin is None:
        raise ConfigError(
            f"fused operation {op.name!r} has no composed twin",
            expected="twin=..., the same computation from other operations",
        )
    OPS[op.name] = op
    op.makes = True
    return op


def operation(*parts: Any, **options: Any) -> Op:
    """A registered operation, described as :class:`~tinygrad_seq.engine.op.Op` takes it."""
    return register(Op(*parts, **options))


moving = functools.partial(operation, moves=True)
"""An operation that moves, repeats and adds entries, and so do its rules."""

floating = functools.partial(operation, floats=True)
"""An operation that computes in floats: integers alone become float64 first."""


def unary(
    forward: Callable[[Any], Any],
    rule: Callable[..., Any],
    domain: str | Sample = samples.REAL,
    *,
    floats: bool = True,
    **options: Any,
) -> Callable[[F], F]:
    """Declare an operation on single entries by a function that has a docstring and no body.

    Parameters
    ----------
    forward : callable
        Its values; if this is a ufunc of NumPy's, that is recorded on Tensors, too.
    rule : callable
        Its gradient, as :class:`~tinygrad_seq.engine.op.Op` has it; the operand is ``x``.
    domain : str or callable
        What tests draw: a kind of values, or a sample (:mod:`tinygrad_seq.ops.samples`).
    floats : bool
        Whether it computes in floats, of integers too.
    **options
        Of :class:`~tinygrad_seq.engine.op.Op`.
    """
    sample = samples.unary(domain) if isinstance(domain, str) else domain
    options = {"sample": sample, "floats": floats, "pointwise": True, **options}
    return _declared(lambda op: lambda x: record(op, (x,), {}), forward, "x", [rule], options)


def binary(
    forward: Callable[[Any, Any], Any],
    rule_a: Callable[..., Any],
    rule_b: Callable[..., Any],
    domain: tuple[str, str] | Sample = (samples.REAL, samples.REAL),
    **options: Any,
) -> Callable[[F], F]:
    """The same of two operands, ``a`` and ``b``, that broadcast (``floats=True`` is an option)."""
    sample = samples.binary(*domain) if isinstance(domain, tuple) else domain
    options = {"sample": sample, "pointwise": True, **options}
    rules = [rule_a, rule_b]
    return _declared(lambda op: lambda a, b: record(op, (a, b), {}), forward, "a b", rules, options)


def reduction(
    forward: Callable[..., Any], rule: Callable[..., Any], *values: str, **options: Any
) -> Callable[[F], F]:
    """The same along one, several or all axes; the rule may ask for ``axis`` and ``keepdims``."""

    def call(op: Op) -> Callable[..., Any]:
        def function(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
            return record(op, (x,), {"axis": axis, "keepdims": keepdims})

        return function

    return _declared(call, forward, "x", [rule], {"sample": samples.reduction(*values), **options})


def _declared(
    call: Callable[[Op], Callable[..., Any]], forward: Any, inputs: str, rules: Any, options: Any
) -> Callable[[F], F]:
    """The decorator: a function that records, with the name, types and words of the decorated."""

    def declare(described: F) -> F:
        function = call(operation(described.__name__, forward, inputs, rules, **options))
        functools.update_wrapper(function, described)
        del function.__wrapped__  # type: ignore[attr-defined]
        if isinstance(forward, np.ufunc):
            DIFFERENTIABLE[forward] = function
        return cast(F, function)

    return declare


def for_numpy(*functions: Any) -> Callable[[F], F]:
    """Have functions of NumPy's answered by this one; by name, where not every NumPy has them."""

    def declare(ours: F) -> F:
        for each in functions:
            if isinstance(each, str):
                NEWER[each] = ours
                each = getattr(np, each, None)
            if each is not None:
                DIFFERENTIABLE[each] = ours
        return ours

    return declare


def publish(room: dict[str, Any]) -> list[str]:
    """Make ``__all__`` of a module: the public functions that it, or its parts, define.

    Type checkers, who read no list that is computed, take the public names for it.
    """
    names = sorted(
        name
        for name, each in room.items()
        if isinstance(each, FunctionType)
        and each.__module__.startswith(room["__name__"])
        and each.__name__ == name
        and not name.startswith("_")
    )
    room["__all__"] = names
    return names


def run(op: Op, *operands: Any, **params: Any) -> Any:
    """Run `op` inside a rule: on plain arrays as plain NumPy, on variables as a recorded node."""
    if any(isinstance(operand, Variable) for operand in operands):
        return apply(op, operands, params)
    return op.forward(*operands, **params)


def kept(g: Any, axis: int | tuple[int, ...] | None, keepdims: bool, ndim: int) -> Any:
    """The cotangent of a reduction with its reduced axes put back, of size 1."""
    if keepdims:
        return g
    if axis is None:
        return np.reshape(g, (1,) * ndim)
    axes = axis if isinstance(axis, tuple) else (axis,)
    return np.expand_dims(g, tuple(a % ndim for a in axes)) if ndim else g


def direction(x: Any, size: Any) -> Any:
    """The unit vector x / size, and 0 at the origin, there with all its derivatives."""
    origin = constant(size) == 0
    return np.where(origin, 0.0, x) / np.where(origin, 1.0, size)


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


def listed(given: Any) -> Sequence[Any]:
    """One value or several, as several."""
    given = values_of(given)
    if isinstance(given, (tuple, list, range)):
        return given
    return given.reshape(-1).tolist() if isinstance(given, np.ndarray) else [given]


def axes_of(axis: Any, ndim: int, what: str) -> tuple[int, ...]:
    """One axis, several or (for None) all, counted from the front, each once."""
    if axis is None:
        return tuple(range(ndim))
    places = tuple(axis_of(each, ndim, what) for each in listed(axis))
    if len(set(places)) != len(places):
        raise ShapeError(f"{what}: axis", expected="each axis once", got=axis)
    return places


def shape_of(x: Any) -> tuple[int, ...]:
    """Shape of an operand: a variable, an array, a number or a nested list."""
    if isinstance(x, Variable):
        return x._array.shape
    if isinstance(x, (np.ndarray, np.generic)):
        return tuple(x.shape)
    refuse_several("an operand", x)
    return array_of("an operand", x).shape


_UNSIGNED = {size: np.dtype(f"u{size}") for size in (1, 2, 4, 8)}


def check_indices(ids: Any, size: int, what: str) -> Array:
    """Integer ids within [0, size), or a typed error naming the first bad one.

    A copy: the caller may fill its buffer anew before backward reads the ids.
    """
    refuse_several(what, ids)
    array = integers_of(f"{what}: ids", values_of(ids)).copy()
    # Seen as unsigned, a negative id is a huge one: one pass finds both ends.
    unsigned = array.view(_UNSIGNED[array.itemsize])
    if array.size and np.maximum.reduce(unsigned, axis=None) >= size:
        bad = np.argwhere((array < 0) | (array >= size))[0]
        raise IndexRangeError(
            f"{what}: id out of range at position {tuple(int(i) for i in bad)}",
            expected=f"0 <= id < {size}",
            got=int(array[tuple(bad)]),
            hint="check the vocabulary that made the ids against the size of the layer",
        )
    return array
