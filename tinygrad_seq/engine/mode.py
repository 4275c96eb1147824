"""Context-local modes and the scope tag that recorded nodes are born with.

One immutable :class:`Mode` sits in one context variable, so recording an operation costs
one look-up, and neither threads nor asyncio tasks see one another's modes.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tinygrad_seq.errors import ConfigError

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array, Node

__all__ = [
    "Mode",
    "Observer",
    "Scope",
    "composed",
    "current_mode",
    "enable_grad",
    "no_grad",
    "observe",
    "scope",
]


class Scope(NamedTuple):
    """Where in a model, and when in a sequence, an operation was recorded."""

    path: str = ""
    """Dotted module path, ``""`` outside any module."""
    layer: int | None = None
    """Layer of a stacked recurrent module."""
    step: int | None = None
    """Time step t of an unrolled sequence."""
    start: int = 0
    """Time step at which sequences begin that run step by step here."""

    @property
    def place(self) -> str:
        """Module path and layer in short, ``"rnn.l0"``; ``""`` where there are none."""
        layer = "" if self.layer is None else f"l{self.layer}"
        return ".".join(part for part in (self.path, layer) if part)

    def __str__(self) -> str:
        parts = [f"module {self.path}"] if self.path else []
        if self.layer is not None:
            parts.append(f"layer {self.layer}")
        if self.step is not None:
            parts.append(f"t = {self.step}")
        return ", ".join(parts)


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


current_mode: ContextVar[Mode] = ContextVar("tinygrad_seq_mode", default=Mode())  # noqa: B039


class _Switch(ContextDecorator):
    """A context manager, or decorator, that changes fields of the current mode for a while."""

    __slots__ = ("_changes", "_tokens")

    def __init__(self, **changes: object) -> None:
        self._changes = changes
        self._tokens: list[Token[Mode]] = []

    def _recreate_cm(self) -> _Switch:  # each call of a decorated function, in its own thread
        return _Switch(**self._changes)

    def __enter__(self) -> None:
        mode = current_mode.get()
        self._tokens.append(current_mode.set(mode._replace(**self._changes)))  # type: ignore[arg-type]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        current_mode.reset(self._tokens.pop())


def no_grad() -> _Switch:
    """Record nothing inside the ``with`` block; results do not require gradients.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor([1.0], requires_grad=True)
    >>> with tgs.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """
    return _Switch(grad=False)


def enable_grad() -> _Switch:
    """Record again, inside a :func:`no_grad` block.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor([1.0], requires_grad=True)
    >>> with tgs.no_grad(), tgs.enable_grad():
    ...     (w * 2).requires_grad
    True
    """
    return _Switch(grad=True)


def composed() -> _Switch:
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
    return _Switch(composed=True)


def observe(observer: Observer) -> _Switch:
    """Tell `observer` of every node recorded, and every cotangent received, in the block.

    Observers do not stack: inside one ``observe`` block a second is refused, so that neither
    is silently lost.
    """
    if current_mode.get().observer is not None:
        raise ConfigError(
            "observe: another observer is already listening",
            expected="at most one observer at a time",
            hint="leave the outer `with` block first",
        )
    return _Switch(observer=observer)


class scope:  # noqa: N801  (a context manager, spelt like the functions beside it)
    """Tag the nodes recorded in the ``with`` block; fields not given keep their value.

    Parameters
    ----------
    path, layer, step, start : optional
        Fields of :class:`Scope`. `step` says when the nodes themselves are; `start` at which step
        a layer called in the block begins, for windows of one sequence.

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

    __slots__ = ("_changes", "_token")

    def __init__(self, **changes: str | int | None) -> None:
        self._changes = changes
        self._token: Token[Mode] | None = None

    def __enter__(self) -> None:
        mode = current_mode.get()
        where = mode.scope._replace(**self._changes)  # type: ignore[arg-type]
        self._token = current_mode.set(Mode(mode.grad, mode.composed, mode.observer, where))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._token is not None
        current_mode.reset(self._token)
