"""Recurrences: classes of uses that come around together, and the step of every use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.counts import Counted, count, turns
from tinygrad_seq.timeline.states import operands
from tinygrad_seq.timeline.uses import Before, Uses, is_pictured
from tinygrad_seq.timeline.within import told_apart

__all__ = ["Recurrence", "find_recurrences"]


class Recurrence(NamedTuple):
    """Weights that are used in turn: the classes of their uses, and at which step each use is."""

    length: int
    steps: dict[Node, int]
    swapping: bool = False
    """Whether they are chains side by side that take turns."""
    late: bool = False
    """Whether the first step does without a state."""


def find_recurrences(
    nodes: Sequence[Node], uses: Uses, detached: Before
) -> tuple[list[Recurrence], NDArray[np.bool_]]:
    """The recurrences of a graph, and which of them is reached by which (from, to).

    What was made of a recurrent weight is a result of the loop, and no weight.
    """
    several = {of: found for of, found in uses.items() if len(found) > 1 and not _known(found)}
    first = count(nodes, [*several.values()], detached)
    recurrent = {of.weight for c, of in enumerate(several) if first.again(c) and not of.leaves}
    results = {c for c, of in enumerate(several) if not of.leaves.isdisjoint(recurrent)}
    others = [found for of, found in uses.items() if of.weight not in recurrent]
    swapping = [group for group in turns(first) if _ranked(nodes, _depths(first, group), detached)]
    alone = [group for group in turns(first) if group not in swapping]
    parts = told_apart(nodes, first, alone, results, others, detached)
    counted = count(nodes, [part for part in parts if len(part) > 1], detached)
    recurrences: list[Recurrence] = []
    once = [c for c in range(len(counted.classes)) if not counted.again(c)]
    groups = turns(counted)
    for group in groups:
        depths = _depths(counted, group)
        inputs = [counted.classes[c] for c in once if counted.reached[c, group].any()]
        recurrences.append(_ranked(nodes, depths, detached) or _stepped(depths, inputs))
    member = np.zeros((len(groups), len(counted.classes)), int)
    for number, group in enumerate(groups):
        member[number, group] = 1
    return recurrences, member @ counted.reached @ member.T > 0


def _depths(counted: Counted, group: Sequence[int]) -> list[dict[Node, int]]:
    return [{node: counted.depth[node, c] - 1 for node in counted.classes[c]} for c in group]


def _known(uses: Sequence[Node]) -> bool:
    """Whether a layer says of all uses at which step they are, and of no two the same."""
    said = {n.scope.step for n in uses if is_pictured(n)} - {None}
    return len(said) == len(uses)


def _ranked(
    nodes: Sequence[Node], counted: Sequence[dict[Node, int]], detached: Before
) -> Recurrence | None:
    """The steps of states that swap places, ``a, b = f(b), g(a)``: several chains side by side.

    Each has a use of every other step, so counting finds half of the steps. But the classes are
    used strictly in turn, and every use needs one of the turn before.
    """
    length = max(map(len, counted))
    if length == 1 + max(max(steps.values()) for steps in counted):
        return None
    turn = sorted(counted, key=lambda steps: next(iter(steps)).seq)
    rank = {node: k for steps in turn for k, node in enumerate(steps)}
    places = [(node.seq, rank[node], place) for place, steps in enumerate(turn) for node in steps]
    if any(one[1:] >= two[1:] for one, two in pairwise(sorted(places))):
        return None
    last: dict[Node, int] = {}
    for node in nodes:
        behind = max((last.get(p, -1) for p in operands(node, detached) if p), default=-1)
        if node in rank and behind < rank[node] - 1:
            return None
        behind = max(behind, rank.get(node, -1))
        if behind >= 0:
            last[node] = behind
    return Recurrence(length, rank, True)


def _stepped(counted: Sequence[dict[Node, int]], others: Sequence[Sequence[Node]]) -> Recurrence:
    """The steps of uses that come around together.

    Classes that are there at every step, and equally often, count for themselves. Others, which
    begin later or leave steps out, stand between them in order of recording.
    """
    telling = [steps for steps in counted if len({*Counter(steps.values()).values()}) == 1]
    telling = telling or list(counted)  # else sequences end one by one
    length = 1 + max(max(steps.values()) for steps in telling)
    full = [steps for steps in telling if 1 + max(steps.values()) == length]
    found: dict[Node, int] = {}
    for steps in full:
        for node, step in steps.items():
            found[node] = max(step, found.get(node, 0))
    begin, end = [np.iinfo(np.int64).max] * length, [0] * length
    for node, step in found.items():
        begin[step], end[step] = min(begin[step], node.seq), max(end[step], node.seq)
    in_turn = all(e < b for e, b in zip(end, begin[1:], strict=False))
    first = _one_more(begin, others) if in_turn else None
    if first is not None:  # the first step does without a state
        found = {node: step + 1 for node, step in found.items()}
        found |= {node: step for step, node in enumerate(first)}
        begin, length = [node.seq for node in first], length + 1
    elif in_turn:
        _begin_with_inputs(begin, others)
    for steps in counted:
        for node, step in steps.items():
            if node not in found:
                at = int(np.searchsorted(begin, node.seq, side="right")) - 1 if in_turn else step
                found[node] = min(max(at, 0), length - 1)
    return Recurrence(length, found, late=first is not None)


def _one_more(begin: Sequence[int], others: Sequence[Sequence[Node]]) -> Sequence[Node] | None:
    """Uses of a weight of the input, if there is one more of them, before the loop's first."""
    for uses in others:
        first, *later = (node.seq for node in uses)
        if len(later) == len(begin) and first < begin[0]:
            before = zip([first, *begin], later, begin, strict=False)
            after = zip(begin, later, [*begin[1:], later[-1] + 1], strict=True)
            if any(all(one < seq < two for one, seq, two in way) for way in (before, after)):
                return uses
    return None


def _begin_with_inputs(begin: list[int], others: Sequence[Sequence[Node]]) -> None:
    """Let steps begin where their first weight is used, which may be one of the input's."""
    for uses in others:
        seqs = [node.seq for node in uses]
        if len(seqs) == len(begin) and seqs[0] < begin[0]:
            between = zip(begin, seqs[1:], begin[1:], strict=False)
            if all(one < seq < two for one, seq, two in between):
                begin[:] = seqs
