"""Weights and their uses: a weight that is used again downstream of its own last use makes time.

A weight is a leaf, or what was made of leaves alone before it was used (``U.T``, a normalised
matrix). Its uses are told apart by what they do with it: ``E[token]`` and ``h @ E.T`` of a tied
embedding are two classes of uses. For every class the uses are counted along paths of dependence;
a count beyond 1 is a recurrence, and the count of a use says at which step it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.entries import is_look_up
from tinygrad_seq.timeline.roles import RESERVED, is_state

__all__ = [
    "Before",
    "Class",
    "Uses",
    "find_uses",
    "is_pictured",
    "tagged_states",
]

_MADE_IN = 6
"""Operations within which a weight may be made of leaves: beyond, it is data."""
_LOOKING = {Axes.PICKED, Axes.CUT, Axes.MOVED, Axes.RESHAPED}
_JOINING = {Axes.STACKED, Axes.JOINED}


class Class(NamedTuple):
    """What is done with a weight."""

    weight: Node
    how: tuple[Any, ...]
    """Views and parts of it that are taken first."""
    op: str
    operand: int
    leaves: frozenset[Node]
    """What the weight was made of, if it is no leaf."""


Uses = dict[Class, list[Node]]
Before = Mapping[Node, Mapping[int, Node]]
"""By node and operand: what that was detached from."""


def find_uses(nodes: Sequence[Node]) -> Uses:
    """The uses of every weight by class, in order of recording."""
    uses: defaultdict[Class, list[Node]] = defaultdict(list)
    weights: dict[Node, _Weight] = {}
    """Of all that is a weight, or a piece or a view of one."""
    first: dict[Hashable, Node] = {}
    """Of what is made of weights at every step anew, the first."""
    for node in nodes:
        op = node.op
        if op is None:
            weights[node] = _Weight(node)
            continue
        if op.axes in _JOINING:
            continue
        known = [None if parent is None else weights.get(parent) for parent in node.parents]
        if not any(known):
            continue
        only = known[0] if len(known) == 1 else None
        if only is not None and _looks(node):
            weights[node] = only._replace(how=(*only.how, op.name, _said(node.params)))
            continue
        for index, found in enumerate(known):
            if found is not None:
                uses[Class(found.weight, found.how, op.name, index, found.leaves)].append(node)
        if _is_made(node, known):
            of = [found for found in known if found is not None]
            doing = op.name, _said(node.params), tuple((w.weight, w.how) for w in of)
            made = _Weight.made(first.setdefault(doing, node), of)
            if made.operations <= _MADE_IN:
                weights[node] = made
    return uses


def tagged_states(nodes: Sequence[Node]) -> Uses:
    """Results with a role by that: a state comes round again as a weight is used again."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        telling = node.role not in RESERVED or is_state(node)
        if node.role is not None and telling and not is_pictured(node):
            found.setdefault(node.role, []).append(node)
    return {Class(of[0], (role,), "", 0, frozenset()): of for role, of in found.items()}


class _Weight(NamedTuple):
    weight: Node
    how: tuple[Any, ...] = ()
    operations: int = 0
    leaves: frozenset[Node] = frozenset()

    @classmethod
    def made(cls, node: Node, of: Sequence[_Weight]) -> _Weight:
        leaves = frozenset[Node]().union(*(w.leaves or {w.weight} for w in of))
        return cls(node, (), 1 + max(w.operations for w in of), leaves)


def _looks(node: Node) -> bool:
    """Whether a node is a part or a view of its operand, or a function of each entry."""
    op = node.op
    assert op is not None
    if is_look_up(node):  # a use
        return False
    return op is ITEM or op.view or op.axes in _LOOKING or op.pointwise


def _is_made(node: Node, known: Sequence[Any]) -> bool:
    """Whether a node was made of weights alone."""
    assert node.op is not None
    if node.op.axes is Axes.PICKED:
        return False
    for parent, found in zip(node.parents, known, strict=True):
        scaled = parent is None and node.op.pointwise
        if found is None and not scaled:
            return False
        if parent is not None and None in node.parents and parent.shape != node.shape:
            return False  # a row beside rows of data
    return True


def _said(params: Mapping[str, Any]) -> Hashable:
    return tuple((name, repr(value)) for name, value in sorted(params.items()))


def is_pictured(node: Node) -> bool:
    """Whether a node is of a layer whose cell has a picture, and needs nothing found of it."""
    cell = node.scope.cell
    return node.scope.layer is not None and cell is not None and cell.picture is not None
