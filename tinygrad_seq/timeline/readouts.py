"""Outputs and losses: what is at a step, not of the loop, and has a counterpart at another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.timeline.axes import Aligned
from tinygrad_seq.timeline.signs import Place

__all__ = ["Readouts"]


@dataclass
class Readouts:
    """Finds what is read out.

    Attributes
    ----------
    at : mapping
        Places of nodes.
    inside : set of Node
        Those that are of a loop.
    users : mapping
        What takes a node.
    signs : mapping
        Equal for nodes that do the same at different steps.
    aligned : sequence of Aligned
        Of each loop how its steps lie on an axis.
    sums : set of Node
        What was declared to be at a step, but adds up over several: filled by :meth:`found`.
    """

    at: Mapping[Node, Place]
    inside: Set[Node]
    users: Mapping[Node, Sequence[Node]]
    signs: Mapping[Node, int]
    aligned: Sequence[Aligned]
    sums: set[Node] = field(default_factory=set)

    def found(self, nodes: Sequence[Node]) -> dict[Node, Place]:
        """The readouts among nodes, and where they are."""
        outside = [node for node in nodes if node in self.at and node not in self.inside]
        summing = self._summing(outside)
        found: dict[Node, Place] = {}
        for node in outside:
            declared = node.scope.step is not None
            said = node.scope.layer is not None or node.role is not None  # it is something else
            if not (declared and said) and self._adds_up(node, found, summing):
                if declared:
                    self.sums.add(node)
                continue
            found[node] = self.at[node]
        for node in reversed([*found]):  # 0 + the first of them
            users = {*self.users[node]}
            if None in node.parents and users and users <= self.sums and _adds(node):
                self.sums.add(node)
                del found[node]
        self._move_on(found)
        steps: defaultdict[int, set[int]] = defaultdict(set)
        for node, (_, step) in found.items():
            steps[self.signs[node]].add(step)
        kept: dict[Node, Place] = {}
        for node, place in found.items():
            alone = len(steps[self.signs[node]]) == 1
            gone = any(parent in found and parent not in kept for parent in node.parents)
            if node.scope.step is not None or not (alone or gone):
                kept[node] = place
        return kept

    def _summing(self, outside: Sequence[Node]) -> set[int]:
        """Signs of what is made of its like, step after step, or of two alike, once: sums."""
        steps: defaultdict[int, set[int]] = defaultdict(set)
        for node in outside:
            steps[self.signs[node]].add(self.at[node][1])
        bits: dict[int, int] = {}
        behind: dict[Node, int] = {}
        found = set[int]()
        for node in outside:
            made_of = 0
            for parent in node.parents:
                made_of |= behind.get(parent, 0) if parent is not None else 0
            own = bits.setdefault(self.signs[node], 1 << len(bits))
            kinds = [self.signs[p] for p in node.parents if p is not None and p in behind]
            two = len(steps[self.signs[node]]) == 1 and len({*kinds}) < len(kinds)
            if two or made_of & own:
                found.add(self.signs[node])
            behind[node] = made_of | own
        return found

    def _adds_up(self, node: Node, found: Mapping[Node, Place], summing: Set[int]) -> bool:
        """Whether a node is made of several steps for all of them, or of what is."""
        assert node.op is not None
        joins = node.op.axes in {Axes.STACKED, Axes.JOINED}
        kinds = Counter(self.signs[p] for p in node.parents if p is not None and p in self.at)
        here = self._on(node)
        for parent in node.parents:
            if parent is None or parent not in self.at:
                continue
            there, outside = self._on(parent), parent not in self.inside
            if there[0] != here[0]:  # a memory, say
                continue
            if outside and parent not in found:
                return True
            if there == here:
                continue
            if joins and kinds[self.signs[parent]] > 1:
                return True
            if outside and len(self.users[parent]) == 1 and self.signs[node] in summing:
                return True
        return False

    def _on(self, node: Node) -> tuple[int, int]:
        number, step = self.at[node]
        return self.aligned[number].on(step)

    def _move_on(self, found: dict[Node, Place]) -> None:
        """What is read off a state for the next step alone, as a prior is, is of that step."""
        reading = set[Node]()
        for node in found:
            near = (p for p in node.parents if p is not None and self.at.get(p) == self.at[node])
            if any(parent in self.inside or parent in reading for parent in near):
                reading.add(node)
        alike: defaultdict[int, list[Node]] = defaultdict(list)
        for node in reversed([*found]):
            if node in reading and node.scope.step is None:
                alike[self.signs[node]].append(node)
        for nodes in alike.values():
            later: dict[Node, Place] = {}
            for node in nodes:
                number, step = found[node]
                inside = {u: self.at[u] for u in self.users[node] if u in self.inside}
                places = [found.get(user, inside.get(user)) for user in self.users[node]]
                steps = [place[1] for place in places if place is not None and place[0] == number]
                if not steps or len(steps) < len(places) or min(steps) <= step:
                    break
                later[node] = number, min(steps)
            else:
                found |= later


def _adds(node: Node) -> bool:
    return node.op is not None and node.op.name in {"add", "subtract"}
