"""What enters a loop from outside at every step: no node is recorded for a constant."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.timeline.entries import is_look_up, leaf_behind, piece
from tinygrad_seq.timeline.loops import Timed
from tinygrad_seq.timeline.states import Loop, Slot

__all__ = ["given_at_steps", "inputs_of", "is_weight"]

_MULTIPLYING = {"matmul", "linear", "einsum"}


def inputs_of(loop: Loop, timed: Timed, taken: Set[Slot]) -> list[Slot]:
    """The operands of a loop's nodes that are inputs; those beyond the operands are indices.

    Factors of a weight, look-ups in one, constants joined with a state; where there are none and
    nothing recorded is read either, summands.

    Parameters
    ----------
    loop : Loop
    timed : Timed
    taken : set of (Node, int)
        Operands of which something else is known.
    """
    once = _used_at_one_step(loop, timed.users)
    picking = _picking(loop, timed.signs)
    read = any(p and p.op and p not in loop.nodes for node in loop.nodes for p in node.parents)
    found: list[Slot] = []
    for product in (True, False)[: 1 if read else 2]:
        for node in loop.nodes:
            index = _free(node, product, once - _starting(node, taken), node in picking)
            if index is not None and (node, index) not in taken:
                found.append((node, index))
        if found:
            break
    told = {loop.nodes[node] for node, _ in found}
    for node, step in loop.nodes.items() if found else ():  # [x; h] may be one constant
        multiplies = node.op is not None and node.op.name in _MULTIPLYING
        if step not in told and multiplies and None in node.parents and _weighed(node):
            found.append((node, len(node.parents) + 1))
    return found


def given_at_steps(loop: Loop, signs: Mapping[Node, int]) -> set[tuple[int, int]]:
    """Places where states are taken in, and constants at several steps: inputs then, not starts.

    So a decoder reads what it is given, and after a while what it said itself.
    """
    steps: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for node, index in loop.starts:
        constant = node.constant(index) if node.parents[index] is None else None
        if (
            constant is not None
            and not constant.zero
            and index not in getattr(node, "detached", {})
        ):
            steps[signs[node], index].add(loop.nodes[node])
    return {place for place, found in steps.items() if len(found) > 1}


def is_weight(node: Node | None) -> bool:
    """Whether a node is a leaf, or a part of one."""
    return node is not None and (leaf_behind(node) is not None or piece(node) is not None)


def _starting(node: Node, taken: Set[Slot]) -> set[Node]:
    """Operands of a node of which something else is known."""
    return {p for index, p in enumerate(node.parents) if p is not None and (node, index) in taken}


def _weighed(node: Node) -> bool:
    return any(map(is_weight, node.parents))


def _used_at_one_step(loop: Loop, users: Mapping[Node, Sequence[Node]]) -> set[Node]:
    """Leaves that enter one step only."""
    leaves = {p for node in loop.nodes for p in node.parents if p is not None and p.op is None}
    steps = {leaf: {loop.nodes.get(user) for user in users[leaf]} for leaf in leaves}
    return {leaf for leaf, found in steps.items() if len(found) == 1 and None not in found}


def _free(node: Node, product: bool, once: Set[Node], picks: bool) -> int | None:
    """The operand of a node that would be an input: a constant, or a leaf that is used once."""
    assert node.op is not None
    if product and (picks or is_look_up(node)):  # by what is no operand, but an index
        return 1 if is_weight(node.parents[0]) else None
    free = [index for index, p in enumerate(node.parents) if p is None or p in once]
    if len(free) != 1 or len(node.parents) < 2:
        return None
    (index,) = free
    if not product:
        return index if node.op.name == "add" else None
    if node.op.axes is Axes.JOINED:  # [x; h]
        return index
    others = [is_weight(p) for k, p in enumerate(node.parents) if k != index]
    multiplies = node.op.product or node.op.name in _MULTIPLYING
    return index if multiplies and all(others) else None


def _picking(loop: Loop, signs: Mapping[Node, int]) -> set[Node]:
    """What picks entries by numbers that differ from step to step: ``E[token]``, not ``U[0]``."""
    said: defaultdict[int, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    picks = [n for n in loop.nodes if n.op is not None and n.op.axes is Axes.PICKED]
    for node in picks:
        said[signs[node]][loop.nodes[node]].append(repr(node.params["index"]))
    differing = {sign for sign, by_step in said.items() if len({*map(tuple, by_step.values())}) > 1}
    return {node for node in picks if signs[node] in differing}
