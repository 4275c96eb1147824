"""Where the entries of a node come from: stacks, parts picked from them, pieces of a weight.

What an operation does to axes it says itself (:class:`~tinygrad_seq.engine.op.Axes`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.engine.tape import ITEM

__all__ = [
    "hands_on",
    "index_parts",
    "is_look_up",
    "keeps_steps",
    "kept_from",
    "leaf_behind",
    "looks_in",
    "only_parent",
    "part_of_operand",
    "pick",
    "picked",
    "piece",
    "stacked_steps",
]

_KEEPING = {Axes.KEPT, Axes.RESHAPED, Axes.MOVED, Axes.JOINED, Axes.CUT}
_MOST_SEEN = 144  # nodes between a memory and its stack


def only_parent(node: Node) -> Node | None:
    """The only recorded operand of a node, if there is one and not several."""
    parents = [parent for parent in node.parents if parent is not None]
    return parents[0] if len(parents) == 1 else None


def looks_in(node: Node) -> bool:
    """Whether a node is a view or a part of its operand."""
    return node.op is not None and (node.op.view or node.op is ITEM)


def hands_on(node: Node) -> bool:
    """Whether a node only hands on entries of its operands: views, parts, stacks."""
    joins = node.op is not None and node.op.axes in {Axes.STACKED, Axes.JOINED}
    return joins or looks_in(node)


def keeps_steps(node: Node) -> bool:
    """Whether every step that an operand has along an axis is there in the result too."""
    return node.op is not None and node.op.axes in _KEEPING


def kept_from(node: Node) -> Node | None:
    """The only recorded operand of a node whose entries stay in place, or are handed on."""
    pointwise = node.op is not None and node.op.pointwise
    return only_parent(node) if pointwise or hands_on(node) else None


def leaf_behind(node: Node | None) -> Node | None:
    """The leaf that a node is, or is a part or a view of."""
    while node is not None and node.op is not None:
        node = node.parents[0] if looks_in(node) else None
    return node


def piece(node: Node) -> Node | None:
    """The weight that a node is a piece of, split off."""
    whole = node.parents[0] if node.op is ITEM else None
    if whole is None or whole.op is None or whole.op.axes is not Axes.CUT:
        return None
    origin = whole.parents[0]
    return origin if origin is not None and origin.op is None else None


def part_of_operand(node: Node) -> bool:
    """Whether a node is a view of its operand, or a part that is said without looking at data."""
    if node.op is None:
        return False
    if node.op.axes is Axes.PICKED:
        return not any(isinstance(part, (np.ndarray, list)) for part in index_parts(node))
    return node.op is ITEM or node.op.axes in {Axes.CUT, Axes.RESHAPED, Axes.MOVED}


def index_parts(node: Node) -> tuple[Any, ...]:
    """What an indexing takes of each axis."""
    index = node.params["index"]
    return index if isinstance(index, tuple) else (index,)


def is_look_up(node: Node) -> bool:
    """Whether a node takes entries by arrays of numbers, as rows of an embedding."""
    if node.op is None or node.op.axes is not Axes.PICKED:
        return node.op is not None and node.op.name == "take"
    return any(np.ndim(part) > 0 for part in index_parts(node) if not isinstance(part, slice))


def pick(node: Node) -> tuple[Node, int] | None:
    """The stack, and the place in it, that a node only picks one part of; None for another node.

    ``stack(parts)[t]`` picks part t, and so does ``stack(parts).swapaxes(0, 1)[:, t]``; of
    stacks put together, windows of a sequence, it is a part of one.
    """
    if node.op is None or node.op.axes is not Axes.PICKED:
        return None
    *before, last = index_parts(node)
    if isinstance(last, np.ndarray) and last.ndim == 0 and last.dtype.kind in "iu":
        last = int(last)
    whole = isinstance(last, int) and not isinstance(last, bool)
    if not whole or not all(isinstance(part, slice) and part == slice(None) for part in before):
        return None
    stack, axis = node.parents[0], len(before)
    while stack is not None and stack.op is not None:
        how, params = stack.op.axes, stack.params
        if how is Axes.STACKED:
            there = params["axis"] % len(stack.shape) == axis
            return (stack, last % len(stack.parents)) if there else None
        if how is Axes.JOINED and params["axis"] % len(stack.shape) == axis:
            last %= stack.shape[axis]
            window = sum(int(point) <= last for point in params["points"])
            last -= int(params["points"][window - 1]) if window else 0
            stack = stack.parents[window]
        elif how is Axes.MOVED:
            axes = params["axes"]
            rest = [a for a in axes if a != axes[axis]]
            if rest != sorted(rest):
                return None  # not the part itself but its transpose
            stack, axis = stack.parents[0], axes[axis]
        else:
            return None
    return None


def picked(parent: Node | None) -> Node | None:
    """What was stacked, of an entry picked from a stack; of a piece of a weight, that weight."""
    while parent is not None:
        if (weight := piece(parent)) is not None:
            return weight
        place = pick(parent)
        if place is None:
            break
        parent = place[0].parents[place[1]]
    return parent


def stacked_steps(memory: Node, size: int) -> list[Node]:
    """The steps that a memory was stacked from, in its order; none where that is not certain."""
    found: list[Node] = []
    orders: set[tuple[int, ...]] = set()
    waiting, seen = [memory], {memory}
    while waiting and len(seen) < _MOST_SEEN:
        node = waiting.pop()
        if node.op is None:
            continue
        if node.op.axes is Axes.STACKED:
            parts = [part for part in node.parents if part and part.scope.step is not None]
            steps = tuple(part.scope.step or 0 for part in parts)
            if len(node.parents) == len(parts) == len(set(steps)) == size:
                orders.add(steps)
                found += parts
            continue
        if not keeps_steps(node):
            return []
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return found if len(orders) == 1 else []
