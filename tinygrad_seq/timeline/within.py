"""Several uses of a weight within a step: parts of their class, with one use at every step each.

In order of recording a step has so many uses that

- the depth of every use is that of the one a step before, and as much more for all;
- what the uses feed, within a few operations, is the same step by step;
- stages are the same: uses over which something is kept that led to the use before them already,
  and is added to what comes of them (of ``z + dt * f(z + dt / 2 * f(z))`` the outer f is one);
- as many stand between any two uses of a weight of the input.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from functools import cached_property
from itertools import pairwise

import numpy as np

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.counts import Counted, count
from tinygrad_seq.timeline.entries import is_look_up, kept_from
from tinygrad_seq.timeline.states import operands
from tinygrad_seq.timeline.uses import Before

__all__ = ["told_apart"]

_HOPS = 3
"""How far from a use is looked for what tells it from another one."""
_LEAST = 4
"""Uses of a class, from which on they are told apart."""


def told_apart(
    nodes: Sequence[Node],
    counted: Counted,
    groups: Sequence[Sequence[int]],
    but: Set[int],
    others: Sequence[Sequence[Node]],
    detached: Before,
) -> list[list[Node]]:
    """The counted classes; in place of one with several uses to a step, its parts.

    Parameters
    ----------
    nodes : sequence of Node
    counted : Counted
    groups : sequence
        Classes that take turns.
    but : set of int
        Classes that are left out.
    others : sequence
        Uses of weights that are not recurrent.
    detached : mapping
        By node and operand: what that was detached from.
    """
    telling = _Telling(nodes, counted, others, detached)
    periods: dict[int, int] = {}
    asked: list[tuple[list[int], bool, list[list[Node]]]] = []
    starts = {*but}
    """Also uses of what the first step begins with, again and again."""
    for group in groups:
        by_length: dict[int, list[int]] = {}
        for c in group:
            by_length.setdefault(len(counted.classes[c]), []).append(c)
        for length, alike in by_length.items():
            deepest = sorted(alike, key=lambda d: -max(counted.depths(d)))
            ways = [d for d in deepest if d not in but and length >= _LEAST]
            c, period = next(((d, p) for d in ways if (p := telling.period(d))), (alike[0], 1))
            if period == 1:
                continue
            if counted.depths(c)[-1] == length:
                periods |= dict.fromkeys(alike, period)
                starts |= {d for d in group if counted.within(d, c, period)}
            else:
                found = counted.classes[c]
                asked.append((alike, alike == group, [found[k::period] for k in range(period)]))
    doubtful = count(nodes, [part for *_, parts in asked for part in parts], detached)
    at = 0
    for alike, all_alike, parts in asked:
        if _are_parts(doubtful, range(at, at + len(parts)), all_alike):
            periods |= dict.fromkeys(alike, len(parts))
        at += len(parts)
    return [
        found[k :: periods.get(c, 1)]
        for c, found in enumerate(counted.classes)
        if c not in starts
        for k in range(periods.get(c, 1))
    ]


def _are_parts(counted: Counted, parts: range, all_alike: bool) -> bool:
    """Whether each has one use at every step, and all take turns.

    Or else, where all weights are used as often, whether of any two one leads to the other: they
    are those of layers that share their weights. Sequences side by side stay together.
    """
    if any(counted.depths(c) != [*range(1, len(counted.classes[c]) + 1)] for c in parts):
        return False
    leads = counted.reached[np.ix_(parts, parts)]
    return bool(leads.all() or (all_alike and (leads | leads.T).all()))


class _Telling:
    """How many uses of a class there are in a step."""

    def __init__(
        self,
        nodes: Sequence[Node],
        counted: Counted,
        others: Sequence[Sequence[Node]],
        detached: Before,
    ) -> None:
        self.nodes, self.counted, self.detached = nodes, counted, detached
        self.others = [found for found in others if len(found) > 1]
        self.added = self._added()

    def period(self, c: int) -> int:
        """The least number that fits, 1 if nothing tells; 0 if no number fits."""
        found, depths = self.counted.classes[c], self.counted.depths(c)
        base = next((p for p in _divisors(len(found)) if _rises(depths, p)), 0)
        if not base:
            return 0
        seqs = [node.seq for node in found]
        others = [other for other in self.others if other[0].seq < seqs[-1]]
        in_turn = [other for other in others if _in_turn(seqs, [node.seq for node in other])]
        if base == 1 and any(self._reads(other[-1], c) for other in in_turn):
            return 1
        stages = self._stages(c)
        staged = [stages[depth] for depth in depths]
        fitting = (p for p in _divisors(len(found)) if p % base == 0 and _staged(staged, p))
        period = next(fitting, base)
        if base > 1 or in_turn:
            return period
        given = [other for other in others if all(map(_takes_input, other))]
        block = _block(seqs, [[node.seq for node in other] for other in given])
        if block % period:
            return period
        return block or (period if period > 1 else _alternating(found, self.users))

    def _reads(self, node: Node, c: int) -> bool:
        """Whether a node depends on a class: what is read after every use is no stage."""
        behind = self.counted.behind.get(node)
        return behind is not None and bool(behind[c])

    @cached_property
    def users(self) -> Mapping[Node, Sequence[tuple[Node, int]]]:
        """What takes a node, and as which operand."""
        users: defaultdict[Node, list[tuple[Node, int]]] = defaultdict(list)
        for node in self.nodes:
            for index, parent in enumerate(operands(node, self.detached)):
                if parent is not None:
                    users[parent].append((node, index))
        return users

    def _added(self) -> Mapping[int, list[tuple[Node, Node]]]:
        """By class: what comes after a use, and with what it is added to after two more."""
        behind = self.counted.behind
        added: defaultdict[int, list[tuple[Node, Node]]] = defaultdict(list)
        for node in self.nodes:
            if node.op is None or not node.op.pointwise or len(node.parents) < 2:
                continue
            here = behind.get(node)
            for parent in operands(node, self.detached):
                there = None if parent is None else behind.get(parent)
                if parent is None or there is None or here is None or there is here:
                    continue
                for c in np.flatnonzero((here - there >= 2) & (there > 0)):
                    added[int(c)].append((parent, node))
        return added

    def _stages(self, c: int) -> Sequence[bool]:
        """By depth, whether a use is a stage."""
        behind, found = self.counted.behind, self.counted.classes[c]
        over = np.zeros(len(found) + 3, int)
        leading = self._leading(c) if self.added[c] else set()
        for kept, result in self.added[c]:
            origin: Node | None = kept
            while origin is not None and origin not in leading:
                origin = kept_from(origin)
            if origin is not None and behind[origin][c] == behind[kept][c]:
                over[behind[kept][c] + 2] += 1
                over[behind[result][c] + 1] -= 1
        return [bool(number) for number in np.cumsum(over)]

    def _leading(self, c: int) -> set[Node]:
        """What the next use after it depends on."""
        behind = self.counted.behind
        found = set[Node]()
        for use in self.counted.classes[c]:
            depth, waiting = self.counted.depth[use, c], [use]
            while waiting:
                for parent in operands(waiting.pop(), self.detached):
                    known = None if parent is None else behind.get(parent)
                    before = known is not None and known[c] == depth - 1
                    if before and parent is not None and parent not in found:
                        found.add(parent)
                        waiting.append(parent)
        return found


def _divisors(length: int) -> Iterable[int]:
    return (p for p in range(1, length // 2 + 1) if length % p == 0)


def _rises(depths: Sequence[int], period: int) -> bool:
    """Whether depths come again after a period, all as much higher."""
    rise = depths[period] - depths[0]
    later = zip(depths, depths[period:], strict=False)
    return rise > 0 and all(two - one == rise for one, two in later)


def _staged(stages: Sequence[bool], period: int) -> bool:
    """Whether steps begin with no stage, but have some; those of constants do not show."""
    one, *steps = (stages[k : k + period] for k in range(0, len(stages), period))
    full = steps[0]
    shown = all(there or not here for here, there in zip(one, full, strict=True))
    return any(full) and not full[0] and shown and all(step == full for step in steps)


def _in_turn(uses: Sequence[int], others: Sequence[int]) -> bool:
    """Whether between any two uses there is one of the others."""
    if len(uses) != len(others):
        return False
    first, second = (uses, others) if uses[0] < others[0] else (others, uses)
    in_turn = [seq for pair in zip(first, second, strict=True) for seq in pair]
    return all(one < two for one, two in pairwise(in_turn))


def _takes_input(node: Node) -> bool:
    return None in node.parents or is_look_up(node)


def _block(uses: Sequence[int], inputs: Sequence[Sequence[int]]) -> int:
    """How many uses stand between one use of an input's weight and the next; 0 if that differs."""
    found = set[int]()
    for seqs in inputs:
        period, rest = divmod(len(uses), len(seqs))
        places = [bisect_left(uses, seq) for seq in seqs]
        regular = all(two - one == period for one, two in pairwise(places))
        found.add(0 if rest or not regular or places[0] > period else period)
    return found.pop() if len(found) == 1 else 0


def _alternating(uses: Sequence[Node], users: Mapping[Node, Sequence[tuple[Node, int]]]) -> int:
    """How many uses differ in what they feed, and come again so from first to last."""
    labels: list[Hashable] = [() for _ in uses]
    ends: list[Node | None] = list(uses)
    of_class = {*uses}
    for _ in range(_HOPS):
        for k, node in enumerate(ends):
            near = users.get(node, ()) if node is not None else ()
            if len(near) != 1 or near[0][0] in of_class:
                ends[k] = None  # where ways part, steps may differ in who reads on
                continue
            ((user, index),) = near
            labels[k] = labels[k], user.op and user.op.name, index, _beside(user, index)
            ends[k] = user
        for period in _divisors(len(uses)) if len({*labels}) > 1 else ():
            if labels == labels[:period] * (len(uses) // period):
                return period
    return 1


def _beside(user: Node, index: int) -> tuple[int, ...]:
    """The leaves that a node takes besides."""
    if user.op is None or user.op.variadic:
        return ()
    others = [parent for i, parent in enumerate(user.parents) if i != index]
    return tuple(other.seq for other in others if other is not None and other.op is None)
