"""Recurrent states: explicit values that go in and come out, and the cut of truncated BPTT."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, cast

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, integers_of, truths_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import DtypeError, ShapeError
from tinygrad_seq.ops.registry import check_indices, shape_of, values_of
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.transforms.nest import map_nest

__all__ = [
    "STATES",
    "GRUState",
    "LSTMState",
    "MadeState",
    "RNNState",
    "array_in",
    "checked_state",
    "detach",
    "named_state",
    "reset_rows",
    "select_rows",
    "state_type",
]

S = TypeVar("S")
Shapes = Sequence[tuple[int, ...]]
STATES: dict[str, Any] = {}
"""Kinds of states by name, as files know them; those of cells of others are made anew."""


def named_state(kind: type[S]) -> type[S]:
    """Take a kind of state into :data:`STATES`."""
    STATES[kind.__name__] = kind
    return kind


@named_state
class RNNState(NamedTuple):
    """State of a (multilayer) RNN: h of shape (layers * directions, N, H)."""

    h: Tensor

    def detach(self) -> RNNState:
        """The same values without their history: the truncation."""
        return detach(self)


@named_state
class GRUState(NamedTuple):
    """State of a (multilayer) GRU: h of shape (layers * directions, N, H)."""

    h: Tensor

    def detach(self) -> GRUState:
        """The same values without their history: the truncation."""
        return detach(self)


@named_state
class LSTMState(NamedTuple):
    """State of a (multilayer) LSTM: hidden h and cell c, both (layers * directions, N, H)."""

    h: Tensor
    c: Tensor

    def detach(self) -> LSTMState:
        """The same values without their history: the truncation."""
        return detach(self)


class MadeState:
    """What named tuples of states that are made here have, and how they copy and pickle."""

    __slots__ = ()

    def detach(self) -> Any:
        """The same values without their history: the truncation."""
        return detach(self)

    def __reduce__(self) -> Any:
        parts: Any = self
        return _restored, (type(self).__name__, parts._fields, tuple(parts))


@cache
def state_type(name: str, fields: tuple[str, ...]) -> Any:
    """The named tuple of a state of the given parts, each (layers * directions, N, H).

    The same one for the same names, so that what was saved in one program loads in another.

    Examples
    --------
    >>> state_type("MGUState", ("h",))(1).h
    1
    """
    plain = namedtuple(name, fields)  # type: ignore[misc]
    space = {"__slots__": (), "__doc__": f"State of a recurrent layer: {', '.join(fields)}."}
    return type(name, (MadeState, plain), space)


def _restored(name: str, fields: tuple[str, ...], parts: tuple[Any, ...]) -> Any:
    return state_type(name, fields)(*parts)


def array_in(what: str, x: Any) -> Array:
    """The array of a tensor, whatever it holds; of anything else, one that a tensor can hold."""
    return x._array if isinstance(x, Tensor) else array_of(what, x)


def detach(state: S) -> S:
    """Cut every tensor in a nest of tuples, named states, lists and dicts from its graph.

    Anything else in the nest (None, numbers, arrays) is passed through.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> h = tgs.tensor([1.0], requires_grad=True) * 2
    >>> nn.detach({"h": [h, None]})["h"][0].requires_grad
    False
    """
    return cast(S, _map(state, Tensor.detach))


def reset_rows(state: S, rows: Any) -> S:
    """Zero the state of some sequences of the batch, and cut their gradient there.

    Parameters
    ----------
    state : nest of tensors (..., N, H)
    rows : (N,) booleans
        True for sequences that start anew.
    """
    fresh = truths_of("reset_rows: rows", values_of(rows))

    def zero(tensor: Tensor) -> Tensor:
        if tensor.ndim < 2 or tensor.shape[-2] != fresh.size or fresh.ndim != 1:
            raise ShapeError(
                "reset_rows: rows do not match the state",
                expected=f"one boolean per row of the batch, state {tensor.shape}",
                got=fresh.shape,
            )
        return ops.where(fresh[:, None], 0.0, tensor)

    return cast(S, _map(state, zero))


def select_rows(state: S, rows: Any) -> S:
    """Rows of the batch by number, repeats allowed: the states of some of the sequences.

    Parameters
    ----------
    state : nest of tensors (..., N, H)
    rows : (M,) integers

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> state = nn.RNNState(tgs.tensor(np.zeros((2, 3, 4))))
    >>> nn.select_rows(state, [0, 0, 2, 2]).h.shape
    (2, 4, 4)
    """
    ids = integers_of("select_rows: rows", values_of(rows))

    def select(tensor: Tensor) -> Tensor:
        if tensor.ndim < 2 or ids.ndim != 1:
            raise ShapeError(
                "select_rows: rows of a state",
                expected="numbers of shape (M,), and tensors (..., N, H)",
                got=f"shape {ids.shape}, and a tensor {tensor.shape}",
            )
        check_indices(ids, tensor.shape[-2], "select_rows")
        return tensor[..., ids, :]

    return cast(S, _map(state, select))


def checked_state(
    owner: str,
    state: Any,
    fields: Sequence[str],
    shapes: Shapes,
    dtype: Any,
    hint: Callable[[Shapes, Shapes], str],
) -> tuple[Any, ...]:
    """The parts of a state (one array stands for itself), of these shapes and this dtype.

    `hint` makes the cure for wrong shapes of those found and those wanted.
    """
    given = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    found = [shape_of(part) for part in given]
    if found != shapes:
        wanted = list(map(str, shapes if len({*shapes}) > 1 else shapes[:1]))
        kind = f"{type(state).__name__} of " if hasattr(state, "_fields") else ""
        raise ShapeError(
            f"{owner}: state",
            expected=f"{' and '.join(fields)} of shape {' and '.join(wanted)}",
            got=kind + " and ".join(map(str, found)),
            hint=hint(found, shapes),
        )
    for field, part in zip(fields, given, strict=True):
        part = array_in(f"{owner}: state {field}", part)
        if part.dtype != dtype:
            raise DtypeError(
                f"{owner}: state {field}",
                expected=f"{dtype} like the parameters",
                got=part.dtype,
                hint="start from None, or convert the state with .astype",
            )
    return given


def _map(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same nest with its tensors changed and everything else as it was."""
    return map_nest(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, state)
