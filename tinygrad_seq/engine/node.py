"""What the graph is made of: nodes, the variables they produce, and the pins that guard values.

References run one way, from a result to what it was computed from, so a graph is freed by
reference counting alone: a variable holds its node, a node holds its parent nodes and the arrays
its rules asked for. A node never holds a variable (a leaf knows its own through a weak reference).
"""

from __future__ import annotations

import itertools
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.mode import Scope

if TYPE_CHECKING:
    from tinygrad_seq.engine.op import Op

__all__ = ["Array", "Guarded", "Node", "Pin", "Variable", "guarded"]

Array = NDArray[Any]

_next_seq = itertools.count().__next__


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


class Node:
    """One recorded operation, or (with ``op`` None) a leaf that gradients are collected for.

    ``seq`` grows with every node made, so descending ``seq`` is a valid backward order.
    ``inputs``, ``out`` and ``residuals`` are what the rules asked to be saved. ``parents`` has
    one entry per operand, None for a constant.
    """

    __slots__ = (
        "__weakref__",
        "dtype",
        "freed",
        "inputs",
        "op",
        "out",
        "owner",
        "params",
        "parents",
        "residuals",
        "role",
        "scope",
        "seq",
        "shape",
    )

    def __init__(
        self,
        op: Op | None,
        parents: tuple[Node | None, ...],
        params: dict[str, Any],
        shape: Any,
        dtype: np.dtype[Any],
        scope: Scope,
        inputs: tuple[Any, ...] | None = None,
        out: Any = None,
        residuals: Any = None,
    ) -> None:
        self.seq = _next_seq()
        self.op = op
        self.parents = parents
        self.params = params
        self.shape = shape
        self.dtype = dtype
        self.scope = scope
        self.inputs = inputs
        self.out = out
        self.residuals = residuals
        self.role: str | None = None
        self.owner: weakref.ref[Variable] | None = None
        self.freed = False

    @property
    def is_leaf(self) -> bool:
        """Whether gradients end here."""
        return self.op is None

    @property
    def name(self) -> str:
        """Name of the operation, or of the leaf's tensor."""
        if self.op is not None:
            return self.op.name
        variable = self.owner() if self.owner is not None else None
        return (variable.name if variable is not None else "") or "leaf"

    def free(self) -> None:
        """Drop what was saved for backward; the structure stays, for drawings."""
        self.inputs = None
        self.out = None
        self.residuals = None
        self.freed = True

    def __str__(self) -> str:
        where = str(self.scope)
        return f"{self.name} ({where})" if where else self.name

    def __repr__(self) -> str:
        return f"<Node {self.seq} {self}, shape {self.shape}>"


class Variable:
    """An array and its place in the graph: what the engine sees of a Tensor."""

    __slots__ = ("__weakref__", "_base", "_data", "_grad", "_node", "_pin", "name", "version")

    _data: Array
    _node: Node | None
    _grad: Array | None
    _pin: weakref.ref[Pin] | None
    _base: Variable | None
    name: str
    version: int

    @classmethod
    def _wrap(cls, data: Array, node: Node | None) -> Variable:
        """Make a variable around an array, without copying or checking."""
        made = cls.__new__(cls)
        made._data = data
        made._node = node
        made._grad = None
        made._pin = None
        made._base = None
        made.name = ""
        made.version = 0
        return made

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

    def _replace(self, array: Array) -> None:
        """Take other memory: whoever looks into the old one keeps it, unchanged."""
        self._data = array
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
            return variable._data
        leaf = variable
    pin = leaf._live_pin()
    if pin is None:
        pin = Pin(leaf.name)
        leaf._pin = weakref.ref(pin)
    return Guarded(variable._data, pin)
