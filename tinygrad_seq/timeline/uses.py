"""Weights and their uses: a weight that is used again downstream of its own last use makes time.

A weight is a leaf, or what was made of leaves alone before it was used (``U.T``, a normalised
matrix). Its uses are told apart by what they do with it: ``E[token]`` and ``h @ E.T`` of a tied
embedding are two classes of uses. For every class the uses are counted along paths of dependence;
a count beyond 1 is a recurrence, and the count of a use says at which step it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline.entries import is_look_up
from tinygrad_seq.timeline.roles import RESERVED, is_state

__all__ = [
    "Before",
    "Recurrence",
    "Uses",
    "find_recurrences",
    "find_uses",
    "is_pictured",
    "tagged_states",
]

_MADE_IN = 6
"""Operations within which a weight may be made of leaves: beyond, it is data."""
_HOPS = 3
"""How far from a use is looked for what tells it from another use within a step."""
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
Counts = NDArray[np.int32]


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


class Recurrence(NamedTuple):
    """Weights that are used in turn: the classes of their uses, and at which step each use is."""

    length: int
    steps: dict[Node, int]


def find_recurrences(
    nodes: Sequence[Node], uses: Uses, detached: Before
) -> tuple[list[Recurrence], NDArray[np.bool_]]:
    """The recurrences of a graph, and which of them is reached by which (from, to).

    What was made of a recurrent weight is a result of the loop, and no weight.
    """
    several = {of: [found] for of, found in uses.items() if len(found) > 1 and not _known(found)}
    depth, reached = _count(nodes, [found for (found,) in several.values()], detached)
    recurrent = set[Node]()
    chained: Uses = {}
    """Classes of which every use depends on the one before: maybe several to a step, but where
    weights of the input are used as often."""
    for c, (of, (found,)) in enumerate(several.items()):
        if reached[c, c]:
            recurrent |= set() if of.leaves else {of.weight}
            if max(depth[node, c] for node in found) == len(found):
                chained[of] = found
    several = {of: found for of, found in several.items() if of.leaves.isdisjoint(recurrent)}
    others = [found for of, found in uses.items() if of.weight not in recurrent]
    often = {
        of: found
        for of, found in chained.items()
        if of in several and not any(_in_turn(found, other) for other in others)
    }
    several |= _told_apart(nodes, often, detached)
    classes = [part for parts in several.values() for part in parts if len(part) > 1]
    depth, reached = _count(nodes, classes, detached)
    again = [c for c in range(len(classes)) if reached[c, c]]
    groups: list[list[int]] = []
    for c in again:
        turns = [g for g in groups if any(reached[d, c] and reached[c, d] for d in g)]
        groups = [g for g in groups if g not in turns]
        groups.append(sorted([c, *(d for g in turns for d in g)]))
    recurrences: list[Recurrence] = []
    inputs = [part for c, part in enumerate(classes) if not reached[c, c]]
    for group in groups:
        counted = [{node: depth[node, c] - 1 for node in classes[c]} for c in group]
        recurrences.append(_stepped(counted, inputs))
    leads = [[reached[np.ix_(one, two)].any() for two in groups] for one in groups]
    return recurrences, np.array(leads, bool)


def is_pictured(node: Node) -> bool:
    """Whether a node is of a layer whose cell has a picture, and needs nothing found of it."""
    cell = node.scope.cell
    return node.scope.layer is not None and cell is not None and cell.picture is not None


def _known(uses: Sequence[Node]) -> bool:
    """Whether a layer says of all uses at which step they are, and of no two the same."""
    said = {n.scope.step for n in uses if is_pictured(n)} - {None}
    return len(said) == len(uses)


def _count(
    nodes: Sequence[Node], classes: Sequence[Sequence[Node]], detached: Before
) -> tuple[dict[tuple[Node, int], int], NDArray[np.bool_]]:
    """How many uses of a class lead up to each use, itself included; what reaches what."""
    of: defaultdict[Node, list[int]] = defaultdict(list)
    for c, found in enumerate(classes):
        for node in found:
            of[node].append(c)
    depth: dict[tuple[Node, int], int] = {}
    reached = np.zeros((len(classes), len(classes)), bool)
    counts: dict[Node, Counts] = {}
    for node in nodes if classes else ():
        before: Counts | None = None
        for parent in (*node.parents, *detached.get(node, {}).values()):
            known = None if parent is None else counts.get(parent)
            if known is not None and known is not before:
                before = known if before is None else np.maximum(before, known)
        if node in of:
            before = np.zeros(len(classes), np.int32) if before is None else before
            after = before.copy()
            for c in of[node]:
                reached[:, c] |= before > 0
                depth[node, c] = after[c] = int(before[c]) + 1
            before = after
        if before is not None:
            counts[node] = before
    return depth, reached


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
    return Recurrence(length, found)


def _one_more(begin: Sequence[int], others: Sequence[Sequence[Node]]) -> Sequence[Node] | None:
    """Uses of a weight of the input, if there is one more of them, before the loop's first."""
    for uses in others:
        seqs = [node.seq for node in uses]
        if len(seqs) == len(begin) + 1 and seqs[1] < begin[0]:
            between = zip(begin, seqs[2:], begin[1:], strict=False)
            if all(one < seq < two for one, seq, two in between):
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


def _in_turn(uses: Sequence[Node], others: Sequence[Node]) -> bool:
    """Whether between any two uses there is one of the others."""
    if len(uses) != len(others):
        return False
    first, second = sorted([uses, others], key=lambda found: found[0].seq)
    pairs = zip(first, second, [*first[1:], None], strict=True)
    return all(a.seq < b.seq and (c is None or b.seq < c.seq) for a, b, c in pairs)


def _told_apart(
    nodes: Sequence[Node], chained: Uses, detached: Before
) -> dict[Class, list[list[Node]]]:
    """Classes of which every step has one use: those of two within a step are told apart.

    What a use feeds tells, if that makes the uses of a class alternate from first to last.
    """
    several = {of: found for of, found in chained.items() if len(found) >= 4}
    users = _users(nodes, detached) if several else {}
    return {of: _alternating(found, users) for of, found in several.items()}


def _users(nodes: Sequence[Node], detached: Before) -> defaultdict[Node, list[tuple[Node, int]]]:
    users: defaultdict[Node, list[tuple[Node, int]]] = defaultdict(list)
    for node in nodes:
        known = detached.get(node, {})
        for index, parent in enumerate(node.parents):
            parent = known.get(index, parent)
            if parent is not None:
                users[parent].append((node, index))
    return users


def _alternating(
    uses: list[Node], users: Mapping[Node, Sequence[tuple[Node, int]]]
) -> list[list[Node]]:
    labels: list[Hashable] = [() for _ in uses]
    ends: list[Node | None] = list(uses)
    of_class = set(uses)
    for _ in range(_HOPS):
        for k, node in enumerate(ends):
            near = users.get(node, ()) if node is not None else ()
            if len(near) != 1 or near[0][0] in of_class:
                ends[k] = None  # where ways part, steps may differ in who reads on
                continue
            ((user, index),) = near
            labels[k] = labels[k], user.op and user.op.name, index, _beside(user, index)
            ends[k] = user
        for period in range(2, len(uses) // 2 + 1) if len(set(labels)) > 1 else ():
            times, rest = divmod(len(uses), period)
            if not rest and labels == labels[:period] * times:
                return [uses[k::period] for k in range(period)]
    return [uses]


def _beside(user: Node, index: int) -> tuple[int, ...]:
    """The leaves that a node takes besides."""
    if user.op is None or user.op.variadic:
        return ()
    others = [parent for i, parent in enumerate(user.parents) if i != index]
    return tuple(other.seq for other in others if other is not None and other.op is None)
