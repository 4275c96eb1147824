"""Loops that nobody declared: which step every node is of, and what goes from step to step.

A use of a recurrent weight is at the step that the recurrence found for it counts. Every
other node takes its step from there: within a loop, and after it, the last one that it depends on;
before it (what is made of an input), the one that it feeds. What has no counterpart at another step
is outside time, and so is what adds up over steps. Steps that are declared stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.timeline.axes import Aligned, align
from tinygrad_seq.timeline.entries import looks_in
from tinygrad_seq.timeline.readouts import Readouts
from tinygrad_seq.timeline.recurrences import Recurrence, find_recurrences
from tinygrad_seq.timeline.signs import Place, signs_of
from tinygrad_seq.timeline.states import Loop, find_states, operands
from tinygrad_seq.timeline.uses import Before, find_uses, tagged_states

__all__ = ["Timed", "find_loops"]

_NEVER = 2**62


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
    recounted: Set[int]
    """Loops whose declared steps begin again, and so are counted on."""
    sums: Set[Node] = frozenset()
    """What was declared to be at a step, but adds up over several."""


def find_loops(nodes: Sequence[Node], detached: Before) -> Timed:
    """Find the loops of recorded nodes, oldest first.

    Parameters
    ----------
    nodes : sequence of Node
    detached : mapping
        By node and operand: what that was detached from.
    """
    found, reached = find_recurrences(nodes, find_uses(nodes), detached)
    if not found:  # of a recurrence without a weight only what was tagged tells
        found, reached = find_recurrences(nodes, tagged_states(nodes), detached)
    if not found:
        return Timed([], {}, [], {}, {}, set())
    return _Loops(nodes, detached, found, reached).timed()


class _Loops:
    def __init__(
        self,
        nodes: Sequence[Node],
        detached: Before,
        found: list[Recurrence],
        reached: NDArray[np.bool_],
    ) -> None:
        self.nodes = [node for node in nodes if node.op is not None]
        self.recounted = {k for k, one in enumerate(found) if _begins_again(one)}
        """Loops over a layer that counts from 0 at every call."""
        self.found = [one if k in self.recounted else _declared(one) for k, one in enumerate(found)]
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
        self.signs = signs_of(self.nodes, self.at, self.last)
        self._move_on(self.inside)
        for node in reversed(self.nodes):
            if node not in self.at:
                self._place_feeding(node)
        self.signs = signs_of(self.nodes, self.at, self.last)
        self._tell_ends()
        self._move_on({node for node in self.at if self.inside & {*self.users[node]}})
        lengths = [found.length for found in self.found]
        aligned = align(self._pairs(), lengths, self.reached)
        for number, found in enumerate(self.found):
            declared = any(node.scope.step is not None for node in found.steps)
            if declared and number not in self.recounted:
                aligned[number] = Aligned(len(self.found) + number)
        self._place_shared(aligned)
        self.signs = signs_of(self.nodes, self.at, self.last)
        self._drop_single()
        self._place_handed_on()
        loops = [Loop(found.length) for found in self.found]
        for node in self.nodes:
            if node in self.inside:
                number, step = self.at[node]
                loops[number].nodes[node] = step
        same: dict[Node, object] = {}
        """States are the same at every step, also where the first is made in another way."""
        for number, loop in enumerate(loops):
            find_states(loop, self.signs, self.detached)
            for k, state in enumerate(loop.states):
                same |= dict.fromkeys(state.tails, (number, k))
        self.signs = signs_of(self.nodes, self.at, self.last, same)
        reading = Readouts(self.at, self.inside, self.users, self.signs, aligned)
        readouts = reading.found(self.nodes)
        return Timed(loops, readouts, aligned, self.users, self.signs, self.recounted, reading.sums)

    # -- steps -----------------------------------------------------------------------------------

    def _place(self) -> None:
        """The loop and the step of every node that there is one for."""
        last = self.last = self._swept(self.nodes, forward=True)
        fed = self._swept(self.nodes[::-1], forward=False)
        for node in reversed(self.nodes):
            before, after = last.get(node), fed.get(node)
            if before is None or before.max() < 0:
                self._place_feeding(node)
                continue
            behind = np.flatnonzero(before >= 0)
            within = behind[after[behind] != _NEVER] if after is not None else behind[:0]
            loop = int(within[0] if len(within) else self._newest(behind))
            self._put(node, loop, int(before[loop]))
            if len(within):
                self.inside.add(node)
            else:
                self.after.append(node)

    def _put(self, node: Node, loop: int, step: int) -> None:
        declared = None if loop in self.recounted else node.scope.step
        self.at[node] = loop, step if declared is None else declared

    def _swept(self, nodes: Iterable[Node], forward: bool) -> dict[Node, NDArray[np.int64]]:
        """By node, for each loop: the last step that it depends on, or the first that it feeds."""
        own: defaultdict[Node, list[Place]] = defaultdict(list)
        for number, found in enumerate(self.found):
            for node, step in found.steps.items():
                own[node].append((number, step))
        empty = np.full(len(self.found), -1 if forward else _NEVER, np.int64)
        join = np.maximum if forward else np.minimum
        reached: dict[Node, NDArray[np.int64]] = {}
        found_at: dict[Node, NDArray[np.int64]] = {}
        for node in nodes:
            near = operands(node, self.detached) if forward else self.users[node]
            joined: NDArray[np.int64] | None = None
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

    def _newest(self, loops: NDArray[np.intp]) -> int:
        """Of some loops the last of those that lead to none of the others."""
        ends = (
            loops[self.reached[np.ix_(loops, loops)].sum(axis=1) == 1] if len(loops) > 1 else loops
        )
        return int(ends[-1] if len(ends) else loops[-1])

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
            if known and len(known) == len(places):
                there = {aligned[number].on(step) for number, step in known}
                if len(there) == 1:
                    self.at[node] = min(known)

    def _place_handed_on(self) -> None:
        """What is made of an input for its step and later ones is of the first of these.

        That is so if there is one at every step: else it is made before.
        """
        made: dict[Node, Place] = {}
        for node in reversed(self.nodes):
            if node not in self.at and node.scope.step is None:
                places = [self.at.get(user, made.get(user)) for user in self.users[node]]
                known = [place for place in places if place is not None]
                if len(known) == len(places) and len({number for number, _ in known}) == 1:
                    made[node] = min(known)
        if len({*made.values()}) < 2:
            return
        signs = signs_of(self.nodes, self.at | made, self.last)
        steps: defaultdict[int, list[Place]] = defaultdict(list)
        for node, place in (self.at | made).items():
            steps[signs[node]].append(place)
        for node, place in made.items():  # the newest first
            found = steps[signs[node]]
            again = len(found) == len({*found}) > 1
            if again and all(user in self.at for user in self.users[node]):
                self.at[node] = place
                if any(user in self.inside for user in self.users[node]):
                    self.inside.add(node)
        self.signs |= {node: sign for node, sign in signs.items() if node in self.at}

    def _move_on(self, among: set[Node]) -> None:
        """What is made of a state for the next step alone is of that step.

        Nothing is made of the last state: that tells it from the state itself.
        """
        moved = set[Node]()
        final = {
            self.signs[node]
            for node, (number, step) in self.at.items()
            if step == self.final[number]
        }
        state_like = self._fed_at_once(final)
        at_their_step = self._used_in(final)
        again = {self.signs[node] for node, (_, step) in self.at.items() if step != 0}
        for node in reversed(self.nodes):
            if node not in among or node in at_their_step:
                continue
            number, step = self.at[node]
            if node.scope.step is not None and number not in self.recounted:
                continue
            places = [self.at.get(user) for user in self.users[node]]
            later = [p[1] for p in places if p is not None and p[0] == number]
            passing = len(later) == len(places) and min(later) > step
            own = self.signs[node] not in final and node not in state_like
            if step == 0 and self.found[number].late:  # its first state is made in its own way
                own = own and self.signs[node] in again
            if passing and (own or looks_in(node)):
                self.at[node] = number, min(later)
                moved.add(node)
        self.inside |= moved

    def _used_in(self, final: set[int]) -> set[Node]:
        """Of states that swap places what the last step lacks, as nothing reads it any more."""
        uses = set[Node]().union(*(one.steps for one in self.found if one.swapping))
        found = set[Node]()
        for node in self.nodes if uses else ():
            if node in self.at and self.signs[node] not in final:
                made = (p in found and self.at[p] == self.at[node] for p in node.parents if p)
                if node in uses or any(made):
                    found.add(node)
        return found

    def _fed_at_once(self, final: set[int]) -> set[Node]:
        """Nodes in a state's place: elsewhere what they feed takes what is there at last."""
        feeding: defaultdict[tuple[int, int], set[Node]] = defaultdict(set)
        for node, place in self.at.items():
            for index, parent in enumerate(node.parents):
                if parent in self.at and self.at[parent] != place:
                    feeding[self.signs[node], index].add(parent)
        beside = [nodes for nodes in feeding.values() if final & {self.signs[n] for n in nodes}]
        states = {self.signs[node] for nodes in beside for node in nodes} & final
        return {
            node
            for node in set[Node]().union(*beside)
            if not states & {self.signs[p] for p in node.parents if p in self.at}
        }

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
            alone = len(steps[self.signs[node]]) == 1 or any(
                u not in self.at for u in self.users[node]
            )
            if alone and node.scope.step is None:
                del self.at[node]
                self.inside.discard(node)

    def _pairs(self) -> dict[tuple[int, int], set[tuple[int, int]]]:
        """Which steps of one loop meet which of another: one reads the other, or both are read."""
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


def _begins_again(found: Recurrence) -> bool:
    """Whether declared steps repeat along the way, window after window."""
    said: dict[int, set[int]] = {}
    for node, step in found.steps.items():
        if node.scope.step is not None and node.scope.layer is not None:
            said.setdefault(node.scope.step, set()).add(step)
    return any(len(steps) > 1 for steps in said.values())


def _declared(found: Recurrence) -> Recurrence:
    """With steps that were declared in place of those counted."""
    steps = {
        node: step if (said := node.scope.step) is None or abs(said) >= _NEVER else said
        for node, step in found.steps.items()
    }
    return found._replace(steps=steps)
