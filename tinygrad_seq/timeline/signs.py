"""Signs of nodes: equal for those that do the same at different steps."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.entries import index_parts

__all__ = ["Place", "signs_of"]

Place = tuple[int, int]
"""The number of a loop, and a step of it."""
_ANY, _LEAF = "", "leaf"


def signs_of(
    nodes: Sequence[Node],
    at: Mapping[Node, Place],
    last: Mapping[Node, NDArray[Any]],
    same: Mapping[Node, object] = MappingProxyType({}),
) -> dict[Node, int]:
    """The sign of every node that has a place.

    It says what the node does, to which weights and to which nodes of its step. What comes from
    another step may be anything: a state here is a constant there.

    Parameters
    ----------
    nodes : sequence of Node
        The oldest first.
    at : mapping
        Places of nodes.
    last : mapping
        By node, for each loop: the last step that it depends on.
    same : mapping, optional
        What is known to be the same, by node.
    """
    signing = _Signing(at, last)
    known: dict[object, int] = {}
    for node in nodes:
        if node in same:
            signing.signs[node] = known.setdefault(("same", same[node]), len(known))
        elif node in at:
            said = [at[node][0], _doing(node), signing.piece(node)]
            for index in range(len(node.parents)):
                kind = signing.kind(node, index)
                told = isinstance(kind, Node)
                said.append(signing.signs[kind] if told else ("", "" if kind == _LEAF else kind))
            signing.signs[node] = known.setdefault(tuple(said), len(known))
    signing.match()
    return signing.signs


class _Signing:
    def __init__(self, at: Mapping[Node, Place], last: Mapping[Node, NDArray[Any]]) -> None:
        self.at, self.last = at, last
        self.signs: dict[Node, int] = {}
        self.again: dict[int, int] = {}
        """Of a sign the one that stands for the same."""
        self.steps: defaultdict[object, set[Place]] = defaultdict(set)
        """By use of what is not of a step: where it is used so."""
        for node, place in at.items():
            for index, parent in enumerate(node.parents):
                if parent is not None and parent not in at:
                    self.steps[_use(node, index)].add(place)
                    self.steps[parent, _number(node)].add(place)

    def piece(self, node: Node) -> object:
        """Which piece of a weight a node is, by number; ``""`` of a step's part of data."""
        number, whole = _number(node), node.parents[0] if node.parents else None
        return number if whole not in self.at and len(self.steps[whole, number]) > 1 else ""

    def kind(self, node: Node, index: int) -> Any:
        """What an operand is: a node of the same step, a weight's number, or anything."""
        parent = node.parents[index]
        if parent is None:
            return _ANY
        if parent in self.at:
            return parent if self.at[parent] == self.at[node] else _ANY
        if len(self.steps[_use(node, index)]) > 1:
            return parent.seq
        return _LEAF if parent.op is None else _ANY  # a start, or an input

    def match(self) -> None:
        """Give equal signs to what differs from another step only where constants came in."""
        places: defaultdict[int, set[Place]] = defaultdict(set)
        doing: defaultdict[tuple[int, object], dict[int, dict[int, Node]]] = defaultdict(dict)
        """By loop and operation, at every step: a node of each sign."""
        for node, (number, step) in self.at.items():
            places[self.signs[node]].add((number, step))
            doing[number, _doing(node)].setdefault(step, {})[self.signs[node]] = node
        sorted_steps = {key: sorted(found) for key, found in doing.items()}
        done = set[int]()
        for node in sorted(self.at, key=lambda node: node.seq):
            sign = self.signs[node]
            if len(places[sign]) != 1 or sign in done:
                continue
            done.add(sign)
            (number, step), what = self.at[node], _doing(node)
            steps = sorted_steps[number, what]
            here = bisect_left(steps, step)
            for near in steps[max(here - 1, 0) : here] + steps[here + 1 : here + 2]:
                for other in doing[number, what][near].values():
                    if self.of(other) != self.of(node) and self._alike(node, other):
                        self.again[self.of(node)] = self.of(other)
        self.signs = {node: self.of(node) for node in self.signs}

    def of(self, node: Node) -> int:
        """The sign of a node, as it is known so far."""
        sign = self.signs[node]
        while sign in self.again:
            sign = self.again[sign]
        return sign

    def _alike(self, one: Node, two: Node) -> bool:
        """Whether two nodes that do the same do it to operands that may stand for each other."""
        if len(one.parents) != len(two.parents):
            return False
        weighed = apart = False
        for index in range(len(one.parents)):
            first, second = self.kind(one, index), self.kind(two, index)
            if isinstance(first, Node) and isinstance(second, Node):
                same = self.of(first) == self.of(second)
                told = self._made_here(first) or self._made_here(second)
                if not same and (told or self.piece(first) != self.piece(second)):
                    return False
                weighed = weighed or same
            elif first != second:
                known = _ANY not in (first, second)
                apart = apart or known or self._made_here(first) or self._made_here(second)
            elif first not in (_ANY, _LEAF):
                weighed = True
        multiplies = one.op is not None and one.op.product and not one.op.pointwise
        return weighed if multiplies else not apart

    def _made_here(self, node: Any) -> bool:
        """Whether an operand depends on a use at its own step: it stands for no constant."""
        if not isinstance(node, Node) or node not in self.last:
            return False
        number, step = self.at[node]
        return bool(self.last[node][number] >= step)


def _use(node: Node, index: int) -> object:
    """What is used of outside, and how."""
    parent = node.parents[index]
    assert parent is not None and node.op is not None
    return parent.seq, node.op.name, index


def _number(node: Node) -> str:
    """Of what is picked by a number alone, that."""
    if node.op is None or node.op.axes is not Axes.PICKED:
        return ""
    parts = index_parts(node)
    return repr(parts) if all(isinstance(part, (int, slice)) for part in parts) else ""


def _doing(node: Node) -> object:
    assert node.op is not None
    where = node.op.name, node.scope.path, node.scope.layer
    if node.op is ITEM:
        return *where, node.params["index"]
    if node.op.axes is Axes.PICKED:
        parts = index_parts(node)
        if all(isinstance(part, slice) for part in parts):
            return *where, repr(parts)
    return where
