"""Variables: an array, its place in the graph, and the pins that guard values a graph has saved."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import array_of, flag
from tinygrad_seq.engine.mode import current_mode
from tinygrad_seq.engine.node import Array, Node, Origin, origin_of
from tinygrad_seq.errors import ConfigError, DtypeError, GraphError, ShapeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Guarded", "Pin", "Variable", "guarded"]


class Pin:
    """Held by every live graph that saved a leaf's array.

    While one does, the leaf hands its array out read-only; a deliberate write marks the pin
    stale, and backward refuses.
    """

    __slots__ = ("__weakref__", "name", "stale")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stale = False


class Guarded:
    """A saved array that lies in a leaf's memory, with the pin that watches over it."""

    __slots__ = ("array", "pin")

    def __init__(self, array: Array, pin: Pin) -> None:
        self.array = array
        self.pin = pin


class Variable:
    """An array and its place in the graph: what the engine sees of a Tensor."""

    __slots__ = (
        "__weakref__",
        "_array",
        "_base",
        "_frozen",
        "_grad",
        "_ids",
        "_name",
        "_node",
        "_origin",
        "_pin",
        "version",
    )

    _array: Array
    _node: Node | None
    _grad: Array | None
    _pin: weakref.ref[Pin] | None
    _base: Variable | None
    _frozen: Node  # of a leaf that required gradients before; else not set
    _ids: Array  # by which a constant was picked from a table; else not set
    _origin: Origin  # what a constant was detached from; else not set
    _name: str
    version: int

    @classmethod
    def _wrap(cls, data: Array, node: Node | None) -> Variable:
        """Make a variable around an array, without copying or checking."""
        made = cls.__new__(cls)
        made._array = data
        made._node = node
        made._grad = None
        made._pin = None
        made._base = None
        made._name = ""
        made.version = 0
        return made

    @property
    def data(self) -> Array:
        """The array. Read-only for results, and for leaves while a live graph has it saved.

        Assigning replaces the values (same shape and dtype) and bumps ``version``.
        """
        node = self._node
        if (node is not None and node.op is not None) or self._live_pin() is not None:
            view = self._array.view()
            view.flags.writeable = False
            return view
        return self._array

    @data.setter
    def data(self, value: Any) -> None:
        array = array_of("assignment to .data", value)
        if array.shape != self.shape or array.dtype != self.dtype:
            kind = ShapeError if array.shape != self.shape else DtypeError
            raise kind(
                "assignment to .data changes the tensor",
                expected=f"shape {self.shape}, {self.dtype}",
                got=f"shape {array.shape}, {array.dtype}",
                hint="make a new tensor, or convert the array first",
            )
        self._require_leaf("assign to .data of")
        self._assign(array if array is self._array else array.copy())

    def writable(self) -> Array:
        """The array itself, for writing in place; bumps ``version``.

        Examples
        --------
        >>> import tinygrad_seq as tgs
        >>> w = tgs.tensor([1.0, 2.0], requires_grad=True)
        >>> w.writable()[:] -= 1
        >>> w.numpy(), w.version
        (array([0., 1.], dtype=float32), 1)
        """
        self._require_leaf("write into")
        if self._array.flags.writeable:
            self._written()
        else:
            self._replace(self._array.copy())
            self.version += 1
        return self._array

    def _require_leaf(self, action: str) -> None:
        if self._node is not None and self._node.op is not None:
            raise GraphError(
                f"cannot {action} the result of {self._node}: the graph may need its value",
                expected="a leaf (a parameter, or a tensor you made)",
                hint="write to a copy: t.detach().clone()",
            )

    @property
    def name(self) -> str:
        """What messages and drawings call it; a module names its parameters."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        if not isinstance(value, str):
            raise ConfigError("a tensor's name", expected="text", got=f"a {type(value).__name__}")
        self._name = value
        if self._node is not None and self._node.op is None:
            self._node.known_as = value

    @property
    def grad(self) -> Array | None:
        """Gradient collected by :meth:`backward`: an array of the same shape and dtype."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            value = array_of(f"assignment to .grad of {self.name or 'a tensor'}", value)
            if value.shape != self.shape:
                raise ShapeError(
                    f"assignment to .grad of {self.name or 'a tensor'}",
                    expected=self.shape,
                    got=value.shape,
                    hint="a gradient has the shape of its tensor; None clears it",
                )
            value = value.astype(self.dtype, copy=False)
        self._grad = value

    @property
    def node(self) -> Node | None:
        """The graph node behind this tensor; None for a constant."""
        return self._node

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if flag("requires_grad", value) == self.requires_grad:
            return
        self._require_leaf("change requires_grad of")
        if self._node is not None:
            self._frozen, self._node = self._node, None  # hooks wait on it for the thaw
        elif hasattr(self, "_frozen"):
            self._node = self._frozen
        else:
            self._make_leaf()

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than by an operation."""
        return self._node is None or self._node.op is None

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Kind of number."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of entries."""
        return self._array.size

    def tag(self, role: str | None = None, *, state: str | None = None) -> Self:
        """Say what the tensor is to its step: drawings and flow know results by their roles.

        ``y.tag("logits")`` and ``l.tag("loss")`` are readouts, any other role is a part of a cell;
        ``h.tag(state="h")`` names what goes on to the next step.
        """
        said = role if state is None else state
        if not isinstance(said, str) or (role is not None and state is not None):
            raise ConfigError(
                "tag", expected='one name: tag("logits") or tag(state="h")', got=(role, state)
            )
        if self._node is not None:
            self._node.role = said
        return self

    def _note_origin(self, detached: Variable) -> None:
        """Note of a constant what it was detached from, for whoever draws both."""
        if self._node is not None and self._node.op is not None:
            detached._origin = origin_of(self._node)
        elif hasattr(self, "_origin"):
            detached._origin = self._origin

    def _make_leaf(self) -> None:
        if self.dtype.kind != "f":
            raise DtypeError(
                "requires_grad on a tensor that is not floating",
                expected="float32 or float64",
                got=self.dtype,
                hint="make it with dtype=np.float32",
            )
        node = Node(None, (), {}, self.shape, self.dtype, current_mode.get().scope)
        node.owner, node.known_as = weakref.ref(self), self._name
        self._node = node

    def _convert(self, dtype: np.dtype[Any]) -> None:
        """Take another floating dtype in place, as a write. The node stays, with its hooks."""
        self._require_leaf("convert")
        self._assign(self._array.astype(dtype))
        self.grad = self._grad
        node = getattr(self, "_frozen", self._node)
        if node is not None:
            node.dtype = dtype

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles carry: all but the graph, which a copy has no part in."""
        if not self.is_leaf:
            raise GraphError(
                f"cannot copy or pickle the result of {self._node}: its graph would be lost",
                expected="a leaf (a parameter, or a tensor you made)",
                hint="t.detach() for the values alone, t.clone() for a copy in the graph",
            )
        own: dict[str, Any] = getattr(self, "__dict__", {})
        kept = {"_array": self._array, "_grad": self._grad, "name": self.name}
        return {**own, **kept, "requires_grad": self.requires_grad}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._node = self._pin = self._base = None
        self.version = 0
        for name, value in state.items():
            # An array of its own, also for copy.copy.
            setattr(self, name, value.copy() if isinstance(value, np.ndarray) else value)

    def _live_pin(self) -> Pin | None:
        """The pin that some live graph holds on the memory of this variable, if any."""
        leaf = self if self._base is None else self._base
        return None if leaf._pin is None else leaf._pin()

    def _written(self) -> None:
        """Note that the array has been, or is about to be, written."""
        pin = self._live_pin()
        if pin is not None:
            pin.stale = True
        self._pin = None
        self.version += 1
        if self._base is not None:  # a view of a leaf: the leaf was written too
            self._base._pin = None
            self._base.version += 1

    def _assign(self, array: Array) -> None:
        """Take other values, as a write: of a view of a leaf, the leaf keeps its own."""
        if self._base is None:
            self._written()
        else:
            self.version += 1
        self._replace(array)

    def _replace(self, array: Array) -> None:
        """Take other memory: whoever looks into the old one keeps it, unchanged."""
        self._array = array
        self._pin = None
        self._base = None


def guarded(variable: Variable) -> Guarded | Array:
    """What a graph saves of a variable: its array, guarded if it lies in a leaf's memory.

    Intermediate results need no guard: nothing hands out a writable view of them.
    """
    leaf = variable._base
    if leaf is None:
        node = variable._node
        if node is not None and node.op is not None:
            return variable._array
        leaf = variable
    pin = leaf._live_pin()
    if pin is None:
        pin = Pin(leaf.name)
        leaf._pin = weakref.ref(pin)
    return Guarded(variable._array, pin)
