"""What the graph is made of: one node per recorded operation, and one per leaf.

References run one way, from a result to what it was computed from, so a graph is freed by
reference counting alone: a variable holds its node, a node holds its parent nodes and the arrays
its rules asked for. A node never holds a variable (a leaf knows its own through a weak reference).
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Set
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.op import Axes, Op
from tinygrad_seq.engine.scope import Scope

__all__ = ["Array", "Constant", "Enters", "Node", "next_seq", "nodes_behind", "noted"]

Array = NDArray[Any]

next_seq = itertools.count().__next__
_seq = attrgetter("seq")

WEIGHTS = "weights"
"""The role of attention weights."""
MOST_SHOWN = 1_000_000  # entries


class Constant(NamedTuple):
    """What is told of a constant operand when its values are gone."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    zero: bool
    """Whether all its entries are 0: a state that starts anew, not one that was carried in."""


def noted(parents: tuple[Node | None, ...], inputs: tuple[Any, ...]) -> tuple[Constant | None, ...]:
    """What there is to tell of the constant arrays among the operands that a node saves."""
    found: list[Constant | None] = []
    for parent, saved in zip(parents, inputs, strict=False):
        if parent is not None or saved is None or isinstance(saved, (float, int)):
            found.append(None)
            continue
        array = np.asarray(getattr(saved, "array", saved))  # a leaf's is saved with a guard
        zero = array.size == 0 or (array.item(0) == 0 and not array.any())
        found.append(Constant(array.shape, array.dtype, zero))
    return tuple(found)


class Enters(NamedTuple):
    """What a reader is told of an operand: that it is an input of its step, or a state."""

    state: str = ""
    """Name of the state that it is; ``""`` of an input."""
    note: str = ""
    """``"zero"`` or ``"cut"``, of a constant that is known to be so."""
    origin: Node | None = None
    """What it was detached from."""


class Node:
    """One recorded operation, or (with ``op`` None) a leaf that gradients are collected for.

    ``seq`` grows with every node made, so descending ``seq`` is a valid backward order.
    ``inputs``, ``out`` and ``residuals`` are what the rules asked to be saved. ``parents`` has
    one entry per operand, None for a constant. ``hooks`` is not set before one is registered.

    Drawings read no saved values, for backward frees them. What is told of constants stays as a
    note in ``constants`` (not set before): see :meth:`constant`, and also :attr:`shown`.
    """

    __slots__ = (
        "__weakref__",
        "constants",
        "detached",
        "dtype",
        "enters",
        "figure",
        "freed",
        "hooks",
        "inputs",
        "kept",
        "known_as",
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

    constants: tuple[Constant | None, ...]
    detached: dict[int, Origin]  # what constant operands were detached from, if any
    enters: dict[int, Enters]  # by operand, or beyond them an index; set on copies for readers
    figure: float  # the number among the operands, if one is: the 1 of 1 - z
    hooks: dict[int, Callable[[Any], Any]]
    kept: Any  # attention weights that backward has freed; else not set
    known_as: str  # a leaf's name, when its tensor is gone; not set of an operation

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
        self.seq = next_seq()
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
        self.owner: weakref.ref[Any] | None = None
        self.freed = False
        told = op is not None and (scope.step is not None or op.twin is not None)
        if inputs and told and None in parents:
            self.constants = noted(parents, inputs)

    def constant(self, index: int) -> Constant | None:
        """What is known of a constant operand."""
        known = getattr(self, "constants", None)
        if known is None and self.inputs and None in self.parents:
            known = noted(self.parents, self.inputs)
        return known[index] if known else None

    @property
    def is_leaf(self) -> bool:
        """Whether gradients end here."""
        return self.op is None

    @property
    def name(self) -> str:
        """Name of the operation, or of the leaf's tensor."""
        if self.op is not None:
            return self.op.name
        return self.label or "leaf"

    @property
    def label(self) -> str:
        """Name of a leaf's tensor, also of one that is gone; ``""`` without one."""
        variable = self.owner() if self.owner is not None else None
        return variable.name if variable is not None else getattr(self, "known_as", "")

    @property
    def shown(self) -> Any:
        """Attention weights, unless there are too many; None of any other node.

        They are small beside what they look at, and stay as long as the graph does: a drawing
        shows them after backward too.
        """
        if self.role != WEIGHTS:
            return None
        values = getattr(self, "kept", None) if self.out is None else self.out
        return values if values is not None and values.size <= MOST_SHOWN else None

    def free(self) -> None:
        """Drop what was saved for backward; the structure stays, for drawings."""
        if self.role == WEIGHTS:
            self.kept = self.shown
        if self.inputs and None in self.parents and self.scope.step is None:
            self.constants = noted(self.parents, self.inputs)
        self.inputs = None
        self.out = None
        self.residuals = None
        self.freed = True

    def __str__(self) -> str:
        where = str(self.scope)
        return f"{self.name} ({where})" if where else self.name

    def __repr__(self) -> str:
        return f"<Node {self.seq} {self}, shape {self.shape}>"


Origin = tuple["weakref.ref[Node]", ...]
"""What a constant was detached from."""
_MOST_ORIGINS = 64


def origin_of(node: Node) -> Origin:
    """References to a node that is detached: to what it hands on the entries of.

    A state that comes out of a layer is a part of a stack that nobody else may hold; the steps in
    it live as long as their graph.
    """
    waiting, found = [node], list[Node]()
    while waiting and len(found) < _MOST_ORIGINS:
        node = waiting.pop()
        parents = [parent for parent in node.parents if parent is not None]
        if node.op is None:
            continue
        joins = node.op.view or node.op.axes in {Axes.STACKED, Axes.JOINED}
        if joins or any(p.op is not None and p.op.outputs != 1 for p in parents):
            waiting += parents
        else:
            found.append(node)
    return tuple([weakref.ref(node) for node in found])  # of a list: no spare tuples pile up


def nodes_behind(starts: Iterable[Node], stop: Set[Node] = frozenset()) -> list[Node]:
    """Every node reachable from `starts`, the oldest first; nodes of `stop` are not looked past."""
    stack = list(starts)
    found = set(stack)
    while stack:
        node = stack.pop()
        if node in stop:
            continue
        for parent in node.parents:
            if parent is not None and parent not in found:
                found.add(parent)
                stack.append(parent)
    return sorted(found, key=_seq)
