"""Walks back through a recorded graph: what is left of a gradient, step by step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping

import numpy as np

from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.kernels.numeric import norm

__all__ = [
    "Fences",
    "Recorder",
    "back",
    "cell_decay_of",
    "decay_of",
    "direct_parts",
    "fences_of",
    "ratios_of",
    "size_of",
    "value_at",
]

States = list[dict[str, Node]]
Fences = list[list[Node]]
"""Nodes at which walks back from a step end."""


class Recorder:
    """Listens to a run: keeps every node's value while it is not yet known which are states."""

    def __init__(self) -> None:
        self.values: dict[Node, Array] = {}
        self.several: dict[Node, list[Array]] = {}
        """Of operations with several outputs, each in turn."""
        self.cotangents: dict[Node, Array] = {}
        self.wanted: set[Node] = set()

    def recorded(self, node: Node, value: Array) -> None:
        """Keep a node and its value (the tag of a node is put on after it is recorded)."""
        if node.op is not None and node.op.outputs == 1:
            self.values[node] = value
        elif node.op is not None:
            self.several.setdefault(node, []).append(value)

    def value(self, node: Node) -> Array:
        """The value of a node that was recorded."""
        if node.op is not ITEM:
            return self.values[node]
        whole = node.parents[0]
        assert whole is not None
        index: int = node.params["index"]
        return self.several[whole][index]

    def keep(self, states: set[Node]) -> None:
        """Keep the values of states alone, and ask for their cotangents."""
        self.values, self.several = {node: self.value(node) for node in states}, {}
        self.wanted = states

    def received(self, node: Node, cotangent: Array) -> None:
        """Keep the complete cotangent of a node that was asked for."""
        if node in self.wanted:
            self.cotangents[node] = np.array(cotangent)


def back(starts: Mapping[Node, Array], wanted: Iterable[Node]) -> dict[Node, Array]:
    """Cotangents of the wanted nodes, taken as independent of one another."""
    return backpropagate(starts.items(), wanted, retain_graph=True, partial=True)


def value_at(found: Mapping[Node, Array], node: Node) -> Array:
    """What was found of a node; zeros without it."""
    return found[node] if node in found else np.zeros(node.shape, node.dtype)


def fences_of(states: States, known: Iterable[Node]) -> Fences:
    """Of every step all states that are older than those of the step before.

    No way leads back to the step before through them, so that walks may end there.
    """
    ordered = sorted(known, key=lambda node: node.seq)
    older = [[node.seq for node in step.values()] for step in states[:-1]]
    ends = [bisect_left(ordered, min(seqs), key=lambda node: node.seq) for seqs in older]
    return [[], *(ordered[:end] for end in ends)]


def direct_parts(
    states: States, own: Container[str], fences: Fences, found: Mapping[Node, Array]
) -> list[dict[Node, Array]]:
    """Of dL/ds_t of every state the part that comes through no other state of its step.

    Together they are the gradient with respect to all of them as parts of one state. To what is
    kept from further back it comes through the next step.
    """
    direct: list[dict[Node, Array]] = []
    for step, before, fence in zip(states, [{}, *states], fences, strict=False):
        mine = [node for name, node in step.items() if name in own]
        direct.append({node: value_at(found, node) for node in mine})
        for node in mine:
            others = [other for other in mine if other is not node]
            if node not in found or not others:
                continue
            through = back({node: found[node]}, (*others, *before.values(), *fence))
            for other in others:
                if other in through:
                    direct[-1][other] = direct[-1][other] - through[other]
    for t in reversed(range(len(states))):
        kept = [node for name, node in states[t].items() if name not in own]
        last = t + 1 == len(states)
        after = carried(states[t], direct[t + 1], fences[t + 1]) if kept and not last else {}
        direct[t] |= {node: value_at(after, node) for node in kept}
    return direct


def size_of(parts: Iterable[Array]) -> float:
    """Norm of all parts together."""
    joined = np.concatenate([np.ravel(part) for part in parts]).astype(np.float64)
    return float(norm(joined))


def carried(
    before: Mapping[str, Node], u: Mapping[Node, Array], fence: list[Node]
) -> dict[Node, Array]:
    """``J^T u``: the gradient u of a state, carried one step back."""
    found = back(u, (*before.values(), *fence))
    return {node: value_at(found, node) for node in before.values()}


def decay_of(states: States, direct: list[dict[Node, Array]], fences: Fences) -> Array:
    """What is left of the last gradient of a state, after every step back."""
    return _sizes_going_back(direct, lambda t, u: carried(states[t - 1], u, fences[t]))


def cell_decay_of(states: States, found: dict[Node, Array], cell: str, fences: Fences) -> Array:
    """The same of one part of it, along that part alone."""

    def one_step_back(t: int, u: dict[Node, Array]) -> dict[Node, Array]:
        reached = carried(states[t - 1], u, fences[t])  # what goes by h stops there
        return {node: reached[node] for name, node in states[t - 1].items() if name == cell}

    cells = [[node for name, node in step.items() if name == cell] for step in states]
    starts = [{node: value_at(found, node) for node in step} for step in cells]
    return _sizes_going_back(starts, one_step_back)


def _sizes_going_back(
    starts: list[dict[Node, Array]],
    one_step_back: Callable[[int, dict[Node, Array]], dict[Node, Array]],
) -> Array:
    """Norm of the last start that is not zero as it is carried back, over its own norm."""
    last = max((t for t, u in enumerate(starts) if u and size_of(u.values()) > 0), default=-1)
    if last < 0:
        return np.zeros(1)
    u, found = starts[last], [1.0]
    for t in range(last, 0, -1):
        size = size_of(u.values()) if u else 0.0
        if size == 0.0:
            found.append(0.0)
            continue
        # Rescaled at every step: what vanishes must not vanish for want of digits.
        u = one_step_back(t, {n: (part / size).astype(part.dtype) for n, part in u.items()})
        found.append(found[-1] * size_of(u.values()) if u else 0.0)
    return np.array(found)


def ratios_of(states: States, direct: list[dict[Node, Array]], fences: Fences) -> Array:
    """Pascanu's ratio of every step; NaN where no gradient is."""
    found = np.full(len(states) - 1, np.nan)
    for t, u in enumerate(direct[1:], 1):
        size = size_of(u.values())
        if size > 0:
            found[t - 1] = size_of(carried(states[t - 1], u, fences[t]).values()) / size
    return found
