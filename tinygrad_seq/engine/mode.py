"""Context-local modes and the scope tag that recorded nodes are born with.

One immutable :class:`Mode` sits in one context variable, so recording an operation costs
one look-up, and neither threads nor asyncio tasks see one another's modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from tinygrad_seq.arguments import taking
from tinygrad_seq.engine.decorate import Decorator
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.scope import CellForm, Scope
from tinygrad_seq.errors import ArgumentError, ConfigError, shown

__all__ = [
    "Mode",
    "Observer",
    "Switch",
    "composed",
    "current_mode",
    "enable_grad",
    "no_grad",
    "observe",
    "scope",
    "steps",
]


X = TypeVar("X")


class Observer(Protocol):
    """Is told of every recorded node and of every cotangent that reaches one."""

    def recorded(self, node: Node, value: Array) -> None:
        """Take note of a node and the array (for several outputs, each array in turn)."""

    def received(self, node: Node, cotangent: Array) -> None:
        """Take note of the complete cotangent of a node, just before its rules run."""


class Mode(NamedTuple):
    """Everything that recording an operation depends on besides its operands."""

    grad: bool = True
    composed: bool = False
    observer: Observer | None = None
    scope: Scope = Scope()
    entered: tuple[Switch, Mode] | None = None
    """The innermost block, and the mode that it found."""


current_mode: ContextVar[Mode] = ContextVar("tinygrad_seq_mode", default=Mode())  # noqa: B039


class Switch(Decorator):
    """A block in another mode, for ``with`` or as a decorator.

    What was entered stands in the mode itself, not in the block: so one block may be entered
    again inside itself, in several threads and tasks, and blocks may end in any order. When all
    have ended, the mode is what it was before the first.
    """

    __slots__ = ()

    def _changed(self, mode: Mode) -> Mode:
        """The mode inside the block, where `mode` is found."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        current_mode.set(self._changed(current_mode.get()))

    def __exit__(self, *error: object) -> None:
        mode = current_mode.get()
        entered = mode.entered
        if entered is not None and entered[0] is self:
            current_mode.set(entered[1])
        else:
            current_mode.set(_without(self, mode))


def _without(block: Switch, mode: Mode) -> Mode:
    """The mode as if the block had not been entered, but those after it had.

    Nothing changes where it was not: a generator may end in another context than it began in.
    """
    after, rest = [], mode
    while rest.entered is not None and rest.entered[0] is not block:
        after.append(rest.entered[0])
        rest = rest.entered[1]
    if rest.entered is None:
        return mode
    rest = rest.entered[1]
    for other in reversed(after):
        rest = other._changed(rest)
    return rest


class _Replacing(Switch):
    """A block in which fields of the mode have other values."""

    __slots__ = ("_changes",)

    def __init__(self, **changes: object) -> None:
        self._changes = changes

    def _changed(self, mode: Mode) -> Mode:
        return mode._replace(entered=(self, mode), **self._changes)  # type: ignore[arg-type]


@taking
def no_grad() -> Switch:
    """Record nothing inside the ``with`` block; results do not require gradients.

    It may also decorate a function, as every block here: ``@tgs.no_grad()``. A generator should be
    decorated rather than hold such a block across a ``yield``, where its caller would be in it
    too.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor([1.0], requires_grad=True)
    >>> with tgs.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """
    return _Replacing(grad=False)


@taking
def enable_grad() -> Switch:
    """Record again, inside a :func:`no_grad` block.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor([1.0], requires_grad=True)
    >>> with tgs.no_grad(), tgs.enable_grad():
    ...     (w * 2).requires_grad
    True
    """
    return _Replacing(grad=True)


@taking
def composed() -> Switch:
    """Build fused operations from their composed twins, one node per operation and time step.

    Slower, but every gate of every step is a node of its own: what drawings expand, and
    the oracle of the fused kernels.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> rnn = nn.RNN(3, 4, rng=np.random.default_rng(0))
    >>> with tgs.composed():
    ...     y, state = rnn(np.ones((2, 1, 3), np.float32))
    >>> y.shape
    (2, 1, 4)
    """
    return _Replacing(composed=True)


@taking
def observe(observer: Observer) -> Switch:
    """Tell `observer` of every node recorded, and every cotangent received, in the block.

    Observers do not stack: inside one ``observe`` block a second is refused, so that neither
    is silently lost.
    """
    if not hasattr(observer, "recorded") or not hasattr(observer, "received"):
        raise ConfigError(
            "observe: observer",
            expected="an object with methods recorded(node, value), received(node, cotangent)",
            got=shown(observer),
        )
    refuse_second_observer(observer)
    return _Observing(observer=observer)


class _Observing(_Replacing):
    __slots__ = ()

    def __enter__(self) -> None:
        refuse_second_observer(self._changes["observer"])
        super().__enter__()


def refuse_second_observer(observer: object) -> None:
    """ConfigError if another one is listening."""
    listening = current_mode.get().observer
    if listening is not None and listening is not observer:
        raise ConfigError(
            "observe: another observer is already listening",
            expected="at most one observer at a time",
            hint="leave the outer `with` block first",
        )


class scope(Switch):  # noqa: N801  (a context manager, spelt like the functions beside it)
    """Tag the nodes recorded in the ``with`` block; fields not given keep their value.

    Parameters
    ----------
    path, layer, step, start, cell, module : optional
        Fields of :class:`Scope`. `step` says when the nodes themselves are; `start` at which step
        a layer called in the block begins, for windows of one sequence; `cell` is an
        :class:`~tinygrad_seq.engine.scope.CellForm`, which every :class:`~tinygrad_seq.nn.Cell`
        gives for itself.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> w = tgs.tensor(0.5, requires_grad=True)
    >>> with tgs.scope(path="toy", step=3):
    ...     y = w * w
    >>> str(y.node.scope)
    'module toy, t = 3'

    The second window of a sequence, as a drawing shall show it:

    >>> rnn, x = tgs.nn.RNN(3, 4, rng=np.random.default_rng(0)), np.zeros((2, 1, 3), np.float32)
    >>> y, state = rnn(x)
    >>> with tgs.scope(start=2):
    ...     y2, state = rnn(x, state.detach())
    >>> tgs.viz.draw([y, y2]).title
    'unrolled graph, module level, 4 time steps'
    """

    __slots__ = ("_changes",)

    def __init__(self, *values: object, **changes: str | int | CellForm | None) -> None:
        if values or not changes.keys() <= _TYPES.keys():
            raise ArgumentError(
                "scope: fields are given by name",
                expected=", ".join(_TYPES),
                got=", ".join([*map(shown, values), *sorted(changes.keys() - _TYPES.keys())]),
                hint='tgs.scope(path="encoder", step=3)',
            )
        for name, value in changes.items():
            if not isinstance(value, _TYPES[name]) or value is True or value is False:
                raise ConfigError(
                    f"scope: {name}",
                    expected={"path": "text", "module": "text", "cell": "a CellForm"}.get(
                        name, "an integer"
                    ),
                    got=shown(value),
                )
        self._changes = changes

    def _changed(self, mode: Mode) -> Mode:
        where = mode.scope._replace(**self._changes)  # type: ignore[arg-type]
        return Mode(mode.grad, mode.composed, mode.observer, where, (self, mode))


@taking
def steps(xs: Iterable[X], start: int | None = None) -> Iterator[tuple[int, X]]:
    """Count the steps of a loop over time: what is recorded in its body is of step t.

    Layers say so of themselves. Loops of one's own are found as well; but where a loop may be read
    in several ways, or begins in the middle of a sequence, this says what is meant.

    Parameters
    ----------
    xs : iterable
        What the loop is over: an array (T, ...), a list, ``zip(inputs, targets)``.
    start : int, optional
        The first step; by default that of :func:`scope`, 0.

    Yields
    ------
    (t, x) : (int, object)

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> u, h = tgs.tensor([[0.5]], requires_grad=True), np.ones((1, 1), np.float32)
    >>> for t, x in tgs.steps(np.zeros((3, 1, 1), np.float32)):
    ...     h = np.tanh(x + h @ u)
    >>> h.node.scope.step
    2
    """
    if not isinstance(xs, Iterable):
        raise ConfigError(
            "steps: xs",
            expected="what a loop can be over: an array (T, ...), a list, a zip",
            got=shown(xs),
            hint="tgs.steps(range(T)) counts alone",
        )
    if start is None:
        start = current_mode.get().scope.start
    scope(step=start)  # refuses what is no number
    return _counted(iter(xs), start)


def _counted(xs: Iterator[X], t: int) -> Iterator[tuple[int, X]]:
    while True:
        with scope(step=t):  # also for what picking x_t records
            try:
                x = next(xs)
            except StopIteration:
                return
            yield t, x
        t += 1


_NUMBER = (int, np.integer)
_TYPES: Mapping[str, Any] = {
    "path": str,
    "layer": (*_NUMBER, type(None)),
    "step": (*_NUMBER, type(None)),
    "start": _NUMBER,
    "cell": (CellForm, type(None)),
    "module": str,
}
