"""Loops that nobody declared: which step every node is of, and what goes from step to step.

A use of a recurrent weight is at the step that :mod:`~tinygrad_seq.timeline.uses` counts. Every
other node takes its step from there: within a loop, and after it, the last one that it depends on;
before it (what is made of an input), the one that it feeds. What has no counterpart at another step
is outside time, and so is what adds up over steps. Steps that are declared stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.axes import Aligned, align
from tinygrad_seq.timeline.entries import index_parts
from tinygrad_seq.timeline.uses import Before, Recurrence, find_recurrences, find_uses

__all__ = ["Loop", "Place", "State", "Timed", "find_loops"]

_NEVER = np.iinfo(np.int32).max
_CARRYING = {"add", "subtract", "multiply"}

Place = tuple[int, int]
"""The number of a loop, and a step of it."""
Slot = tuple[Node, int]
"""An operand of a node."""


@dataclass
class State:
    """What goes on from step to step: the nodes that it is, and the operands that take it."""

    tails: dict[Node, int] = field(default_factory=dict)
    """At every step one, the last included."""
    heads: list[Slot] = field(default_factory=list)
    straight: bool = False
    """Whether only products and sums are made of it on its way, as of an LSTM's c."""


@dataclass
class Loop:
    """One recurrence: what is computed in it, and its states, in order of recording."""

    length: int
    nodes: dict[Node, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    starts: list[Slot] = field(default_factory=list)
    """Operands that take a state from elsewhere than a step of the loop."""


@dataclass
class Timed:
    """The loops of a graph, and what is at their steps without being part of them."""

    loops: list[Loop]
    readouts: dict[Node, Place]
    aligned: list[Aligned]
    """Of each loop the time axis that it shares with others, and how its steps lie on it."""
    users: Mapping[Node, Sequence[Node]]
    signs: Mapping[Node, int]
    """Equal for nodes that do the same at different steps."""


def find_loops(nodes: Sequence[Node], detached: Before) -> Timed:
    """Find the loops of recorded nodes, oldest first.

    Parameters
    ----------
    nodes : sequence of Node
    detached : mapping
        By node and operand: what that was detached from.
    """
    found, reached = find_recurrences(nodes, find_uses(nodes), detached)
    if not found:
        return Timed([], {}, [], {}, {})
    return _Loops(nodes, detached, found, reached).timed()


_Steps = defaultdict[object, set[Place]]
"""By use of what is not of a step: where it is used so."""


class _Loops:
    def __init__(
        self,
        nodes: Sequence[Node],
        detached: Before,
        found: list[Recurrence],
        reached: NDArray[np.bool_],
    ) -> None:
        self.nodes = [node for node in nodes if node.op is not None]
        self.found = [_declared(one) for one in found]
        self.final = [max(one.steps.values()) for one in self.found]
        self.reached, self.detached = reached, detached
        self.users: defaultdict[Node, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for parent in (*node.parents, *detached.get(node, {}).values()):
                if parent is not None:
                    self.users[parent].append(node)
        self.at: dict[Node, Place] = {}
        self.inside: set[Node] = set()
        """Nodes of the loops themselves."""
        self.feeding: list[Node] = []
        """What is made for a step without depending on any, the newest first."""
        self.after: list[Node] = []
        """What comes after a loop, the newest first: some of it is made for another one."""
        self.signs: dict[Node, int] = {}
        """Equal for nodes that do the same at different steps."""

    def timed(self) -> Timed:
        """Everything, in turn."""
        self._place()
        self._sign()
        self._move_on(self.inside)
        self._sign()
        self._tell_ends()
        self._move_on({node for node in self.at if self.inside & {*self.users[node]}})
        aligned = align(self._pairs(), [found.length for found in self.found])
        for number, found in enumerate(self.found):
            if any(node.scope.step is not None for node in found.steps):
                aligned[number] = Aligned(len(self.found) + number)
        self._place_shared(aligned)
        self._sign()
        self._drop_single()
        readouts = self._readouts()
        loops = [Loop(found.length) for found in self.found]
        for node in self.nodes:
            if node in self.inside:
                number, step = self.at[node]
                loops[number].nodes[node] = step
        for loop in loops:
            _find_states(loop, self.signs, self.detached)
        return Timed(loops, readouts, aligned, self.users, self.signs)

    # -- steps -----------------------------------------------------------------------------------

    def _place(self) -> None:
        """The loop and the step of every node that there is one for."""
        last = self.last = self._swept(self.nodes, forward=True)
        fed = self._swept(self.nodes[::-1], forward=False)
        for node in reversed(self.nodes):
            before, after = last.get(node), fed.get(node)
            behind = [] if before is None else [int(r) for r in np.flatnonzero(before >= 0)]
            ahead = [] if after is None else [int(r) for r in np.flatnonzero(after != _NEVER)]
            within = [r for r in behind if r in ahead]
            if within and before is not None:
                self._put(node, within[0], int(before[within[0]]))
                self.inside.add(node)
            elif behind and before is not None:
                loop = self._ends(behind, first=False)[-1]
                self._put(node, loop, int(before[loop]))
                self.after.append(node)
            else:
                self._place_feeding(node)

    def _put(self, node: Node, loop: int, step: int) -> None:
        declared = node.scope.step
        self.at[node] = loop, step if declared is None else declared

    def _swept(self, nodes: Iterable[Node], forward: bool) -> dict[Node, NDArray[np.int32]]:
        """By node, for each loop: the last step that it depends on, or the first that it feeds."""
        own: defaultdict[Node, list[Place]] = defaultdict(list)
        for number, found in enumerate(self.found):
            for node, step in found.steps.items():
                own[node].append((number, step))
        empty = np.full(len(self.found), -1 if forward else _NEVER, np.int32)
        join = np.maximum if forward else np.minimum
        reached: dict[Node, NDArray[np.int32]] = {}
        found_at: dict[Node, NDArray[np.int32]] = {}
        for node in nodes:
            near = _operands(node, self.detached) if forward else self.users[node]
            joined: NDArray[np.int32] | None = None
            for other in near:
                known = None if other is None else reached.get(other)
                if known is not None and known is not joined:
                    joined = known if joined is None else join(joined, known)
            passed = joined
            if node in own:
                passed = (empty if joined is None else joined).copy()
                for number, step in own[node]:
                    passed[number] = join(passed[number], step)
            if passed is not None:
                reached[node] = passed
            told = passed if forward else joined
            if told is not None:
                found_at[node] = told
        return found_at

    def _ends(self, loops: list[int], first: bool) -> list[int]:
        """Of some loops those that none of them leads to, or that lead to none of them."""
        way = self.reached if first else self.reached.T
        return [r for r in loops if not any(way[q, r] for q in loops if q != r)]

    def _place_feeding(self, node: Node) -> None:
        """A node before any use: at the step that it feeds, if that is one."""
        places = {self.at.get(user) for user in self.users[node]}
        place = places.pop() if len(places) == 1 else None
        if place is not None:
            self._put(node, *place)
            self.feeding.append(node)

    def _place_shared(self, aligned: list[Aligned]) -> None:
        """What feeds several loops is at their step, where they agree on one, of the first."""
        for node in reversed(self.nodes):
            if node in self.at:
                continue
            places = [self.at.get(user) for user in self.users[node]]
            known = [place for place in places if place is not None]
            if len(known) == len(places) > 1:
                there = {(aligned[r].axis, aligned[r].step(step)) for r, step in known}
                if len(there) == 1:
                    self.at[node] = min(known)

    def _move_on(self, among: set[Node]) -> None:
        """What is made of a state for the next step alone is of that step.

        Nothing is made of the last state: that tells it from the state itself.
        """
        moved = set[Node]()
        final = {
            (number, self.signs[node])
            for node, (number, step) in self.at.items()
            if step == self.final[number]
        }
        for node in reversed(self.nodes):
            if node not in among or node.scope.step is not None:
                continue
            number, step = self.at[node]
            places = [self.at.get(user) for user in self.users[node]]
            later = [p[1] for p in places if p is not None and p[0] == number]
            if len(later) == len(places) and min(later) > step:
                if (number, self.signs[node]) not in final:
                    self.at[node] = number, min(later)
                    moved.add(node)
        self.inside |= moved

    # -- what does the same at other steps -------------------------------------------------------

    def _sign(self) -> None:
        known: dict[object, int] = {}
        steps: _Steps = defaultdict(set)
        for node in self.at:
            for index, parent in enumerate(node.parents):
                if parent is not None and parent not in self.at:
                    steps[_use(node, index)].add(self.at[node])
        self.signs = {}
        for node in self.nodes:
            place = self.at.get(node)
            if place is None:
                continue
            said = [place[0], _doing(node)]
            for index in range(len(node.parents)):
                kind = self._kind(node, index, steps)
                kind = "" if kind == "leaf" else kind
                said.append(self.signs[kind] if isinstance(kind, Node) else ("w", kind))
            self.signs[node] = known.setdefault(tuple(said), len(known))
        self._match(steps)

    def _match(self, steps: _Steps) -> None:
        """Equal signs for what differs from another step only where constants came in."""
        alone: defaultdict[int, set[Place]] = defaultdict(set)
        by_place: defaultdict[Place, list[Node]] = defaultdict(list)
        for node, place in self.at.items():
            alone[self.signs[node]].add(place)
            by_place[place].append(node)
        again: dict[int, int] = {}

        def of(node: Node) -> int:
            sign = self.signs[node]
            while sign in again:
                sign = again[sign]
            return sign

        def alike(one: Node, two: Node) -> bool:
            if of(one) == of(two):
                return True
            if _doing(one) != _doing(two) or len(one.parents) != len(two.parents):
                return False
            weighed = apart = False
            for index in range(len(one.parents)):
                first, second = self._kind(one, index, steps), self._kind(two, index, steps)
                weighed = weighed or (first == second and first not in ("", "leaf"))
                if isinstance(first, Node) and isinstance(second, Node):
                    if not alike(first, second):
                        return False
                    weighed = True
                elif first != second and ("" not in (first, second) or self._made_here(first, second)):
                    apart = True
            multiplies = one.op is not None and one.op.product and not one.op.pointwise
            return weighed if multiplies else not apart

        for node in sorted(self.at, key=lambda node: node.seq):
            number, step = self.at[node]
            if len(alone[self.signs[node]]) == 1:
                near = by_place[number, step - 1] + by_place[number, step + 1]
                for other in near:
                    if of(other) != of(node) and alike(node, other):
                        again[of(node)] = of(other)
        self.signs = {node: of(node) for node in self.signs}

    def _made_here(self, *kinds: Any) -> bool:
        """Whether one of two operands depends on a use at its own step, and so is no constant's."""
        for node in kinds:
            if isinstance(node, Node) and node in self.last:
                number, step = self.at[node]
                if self.last[node][number] >= step:
                    return True
        return False

    def _kind(self, node: Node, index: int, steps: _Steps) -> Any:
        """What an operand is: a node of the same step, a leaf, or "" for anything."""
        parent = node.parents[index]
        if parent is None:
            return ""
        if parent in self.at:
            return parent if self.at[parent] == self.at[node] else ""
        if len(steps[_use(node, index)]) > 1:  # a weight
            return parent.seq
        return "leaf" if parent.op is None else ""  # a start, or an input

    def _tell_ends(self) -> None:
        """The last step has no use after it: what does there as others do is of the loop."""
        within = {self.signs[node] for node in self.inside}
        for node in self.at:
            if self.signs[node] in within:
                self.inside.add(node)
        for node in self.after:
            users = self.users[node]
            places = {self.at[user] for user in users if user in self.inside}
            made_for = len(places) == 1 and all(user in self.inside for user in users)
            if node not in self.inside and made_for:
                self._put(node, *places.pop())
                self.inside.add(node)
                self.feeding.append(node)
        for node in sorted(self.feeding, key=lambda node: -node.seq):
            if any(user in self.inside for user in self.users[node]):
                self.inside.add(node)

    def _drop_single(self) -> None:
        """What is made for one step only is made before: a start."""
        steps: defaultdict[int, set[int]] = defaultdict(set)
        for node, (_, step) in self.at.items():
            steps[self.signs[node]].add(step)
        for node in self.feeding:
            alone = len(steps[self.signs[node]]) == 1 or any(u not in self.at for u in self.users[node])
            if alone and node.scope.step is None:
                del self.at[node]
                self.inside.discard(node)

    def _pairs(self) -> dict[tuple[int, int], set[tuple[int, int]]]:
        """Which steps of one loop meet which steps of another: by one reading the other, or both
        being read together."""
        pairs: defaultdict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
        for node, place in self.at.items():
            if node.op is not None and node.op.axes is Axes.STACKED:
                continue
            met = {self.at[parent] for parent in node.parents if parent in self.at}
            met = met | {place} if node in self.inside else met
            for one, a in met:
                for two, b in met:
                    if one < two:
                        pairs[one, two].add((a, b))
        return pairs

    def _readouts(self) -> dict[Node, Place]:
        """What is at a step without being of the loop, and has a counterpart at another."""
        found: dict[Node, Place] = {}
        for node in self.nodes:
            place = self.at.get(node)
            if place is None or node in self.inside:
                continue
            if node.scope.step is None and self._adds_up(node, place, found):
                continue
            found[node] = place
        steps: defaultdict[int, set[int]] = defaultdict(set)
        for node, (_, step) in found.items():
            steps[self.signs[node]].add(step)
        kept: dict[Node, Place] = {}
        for node, place in found.items():
            alone = len(steps[self.signs[node]]) == 1
            outside = any(parent in found and parent not in kept for parent in node.parents)
            if node.scope.step is not None or not (alone or outside):
                kept[node] = place
        return kept

    def _adds_up(self, node: Node, place: Place, found: dict[Node, Place]) -> bool:
        """Whether a node is made of several steps, or of what is."""
        assert node.op is not None
        joins = node.op.axes in {Axes.STACKED, Axes.JOINED}
        for parent in node.parents:
            if parent is None or parent.op is None or parent not in self.at:
                continue
            there = self.at[parent]
            if parent not in self.inside and parent not in found:
                return True
            if there == place or (there[0] != place[0] and not joins):
                continue
            if joins or (parent not in self.inside and len(self.users[parent]) == 1):
                return True
        return False


def _use(node: Node, index: int) -> object:
    """What is used of outside, and how."""
    parent = node.parents[index]
    assert parent is not None and node.op is not None
    return parent.seq, node.op.name, index


def _declared(found: Recurrence) -> Recurrence:
    """With steps that were declared in place of those counted."""
    steps = {
        node: step if node.scope.step is None else node.scope.step
        for node, step in found.steps.items()
    }
    return found._replace(steps=steps)


def _doing(node: Node) -> object:
    assert node.op is not None
    if node.op is ITEM:
        return node.op.name, node.params["index"]
    if node.op.axes is Axes.PICKED:
        parts = index_parts(node)
        if all(isinstance(part, slice) for part in parts):
            return node.op.name, repr(parts)
    return node.op.name


def _find_states(loop: Loop, signs: dict[Node, int], detached: Before) -> None:
    """Group what crosses from step to step: what is read at one place, or comes from one."""
    leader: dict[object, object] = {}

    def of(name: object) -> object:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    crossing: list[tuple[Node, Node, int]] = []
    for node, step in loop.nodes.items():
        for index, parent in enumerate(_operands(node, detached)):
            if parent is not None and loop.nodes.get(parent, step) != step:
                crossing.append((parent, node, index))
                leader[of(("from", signs[parent]))] = of(("to", signs[node], index))
    states: dict[object, State] = {}
    for tail, node, index in sorted(crossing, key=lambda c: (c[0].seq, c[1].seq)):
        state = states.setdefault(of(("from", signs[tail])), State())
        state.tails[tail] = loop.nodes[tail]
        state.heads.append((node, index))
    slots = {
        (signs[node], index): state for state in states.values() for node, index in state.heads
    }
    for state in states.values():
        _add_last(state, loop, signs)
    taken = {head for state in states.values() for head in state.heads}
    for node in loop.nodes:
        for index in range(len(node.parents)):
            state_there = slots.get((signs[node], index))
            if state_there is not None and (node, index) not in taken:
                state_there.heads.append((node, index))
                loop.starts.append((node, index))
    loop.states = sorted(states.values(), key=lambda state: min(n.seq for n in state.tails))
    for state in loop.states:
        state.straight = _straight(state, loop)


def _operands(node: Node, detached: Before) -> Sequence[Node | None]:
    """The operands of a node; in place of one that was detached, what it was detached from."""
    cut = detached.get(node)
    if cut is None:
        return node.parents
    return [cut.get(index, parent) for index, parent in enumerate(node.parents)]


def _add_last(state: State, loop: Loop, signs: dict[Node, int]) -> None:
    """The state of steps that none comes after."""
    known, steps = {signs[node] for node in state.tails}, {*state.tails.values()}
    ends: dict[int, Node] = {}
    for node, step in loop.nodes.items():
        if signs[node] in known and step not in steps:
            ends[step] = node
    state.tails |= {node: step for step, node in ends.items()}


def _straight(state: State, loop: Loop) -> bool:
    """Whether a state's way from step to step leads through products and sums only."""
    heads = {node for node, _ in state.heads}
    if any(node.op is None or node.op.name not in _CARRYING for node in heads):
        return False
    step = max(state.tails.values())
    waiting = [node for node, at in state.tails.items() if at == step]
    while waiting:
        node = waiting.pop()
        if node in heads:
            return True
        if node.op is not None and node.op.name in _CARRYING:
            waiting += [p for p in node.parents if p is not None and loop.nodes.get(p) == step]
    return False
