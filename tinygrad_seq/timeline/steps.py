"""Along which axis of a result time runs, and which steps stand along it."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Axes
from tinygrad_seq.timeline.entries import index_parts

__all__ = ["time_steps"]

_HOPS = 64  # whole-sequence operations between a stack over time and what is asked about


def time_steps(x: Any) -> tuple[int, list[int]] | None:
    """Along which of its first two axes time runs, 0 for (T, N, ...), and the steps along it.

    The recorded graph tells: `x` comes from a stack of time steps, maybe transposed, cut or put
    together from several, by operations that keep these axes. None where nothing was recorded
    that would tell.
    """
    return _traced(getattr(x, "node", None), [0, 1], _HOPS)


def _traced(node: Node | None, axes: list[int], hops: int) -> tuple[int, list[int]] | None:
    """The answer for two axes of a node."""
    cuts: list[tuple[int, slice]] = []  # which of the axes, and what was taken of it
    for left in range(hops, 0, -1):
        if node is None or node.op is None or len(node.shape) < 2:
            return None
        op, params = node.op, node.params
        how = op.axes
        if how is Axes.STACKED:
            found = _stacked(node, axes)
            break
        if how is Axes.JOINED and params["axis"] % len(node.shape) in axes:
            found = _joined(node, axes, left - 1)
            break
        if how is Axes.MOVED:
            axes = [params["axes"][axis] for axis in axes]
            node = node.parents[0]
        elif how is Axes.LETTERED:
            node, *axes = _through_einsum(node, *axes)
        elif how is Axes.PICKED:
            parts = index_parts(node)
            if not all(isinstance(part, slice) for part in parts):
                return None
            cuts += [(axes.index(a), part) for a, part in enumerate(parts) if a in axes]
            node = node.parents[0]
        elif how is Axes.OTHER and op.moves:  # to other steps, perhaps
            return None
        else:
            node = _like(node, *axes)
    else:
        return None
    if found is None:
        return None
    which, steps = found
    for cut, part in reversed(cuts):
        if cut == which:
            steps = steps[part]
    return which, steps


def _stacked(node: Node, axes: list[int]) -> tuple[int, list[int]] | None:
    """The steps of a stack, if it is one over time along one of the axes."""
    axis = node.params["axis"] % len(node.shape)
    known = [None if part is None else part.scope.step for part in node.parents]
    counted = [(t, step) for t, step in enumerate(known) if step is not None]
    if axis not in axes or not counted:
        return None
    first = counted[0][1] - counted[0][0]  # constants have no step of their own
    return axes.index(axis), [first + t if step is None else step for t, step in enumerate(known)]


def _joined(node: Node, axes: list[int], hops: int) -> tuple[int, list[int]] | None:
    """The steps of windows one after the other, or of sequences side by side."""
    found = [_traced(part, axes, hops) for part in node.parents]
    known = [part for part in found if part is not None]
    if len(known) < len(found) or len({which for which, _ in known}) != 1:
        return None
    which, steps = known[0]
    if node.params["axis"] % len(node.shape) == axes[which]:
        steps = [step for _, part in known for step in part]
    elif any(part != steps for _, part in known):
        return None
    return which, steps


def _through_einsum(node: Node, first: int, second: int) -> tuple[Node | None, int, int]:
    """The operand that has the letters of two axes of the result, and where it has them."""
    left, out = node.params["spec"].split("->")
    for parent, term in zip(node.parents, left.split(","), strict=True):
        if parent is not None and out[first] in term and out[second] in term:
            return parent, term.index(out[first]), term.index(out[second])
    return None, first, second


def _like(node: Node, first: int, second: int) -> Node | None:
    """An operand that has as many axes as the result, and two of the same lengths."""
    for parent in node.parents:
        if parent is not None and parent.shape and isinstance(parent.shape[0], int):
            same = len(parent.shape) == len(node.shape)
            if same and all(parent.shape[a] == node.shape[a] for a in (first, second)):
                return parent
    return None
