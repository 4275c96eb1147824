"""Finding the recurrence in a recorded graph: which state came from which.

States are the nodes tagged ``h`` (and, beside them, ``c``). Their order is read from the graph
itself: the state before h_t is the state of the same layer from which h_t was computed. So both
directions of a bidirectional layer, windows run one after another, and loops of one's own are
each found as what they are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.entries import leaf_behind
from tinygrad_seq.timeline.roles import CELL, STATE, STATES

__all__ = ["Chain", "Step", "find_chains"]


@dataclass(slots=True)
class Step:
    """One time step: its state, the states it was computed from, and the nodes in between."""

    states: tuple[Node, ...]  # h, or h and c
    border: set[Node]
    inside: list[Node]


@dataclass(slots=True)
class Chain:
    """The steps of one layer in one direction, first step first."""

    name: str
    steps: list[Step]
    weights: list[Node] = field(default_factory=list)  # leaves that multiply the state before


def find_chains(recorded: Iterable[Node]) -> list[Chain]:
    """Follow every tagged state back to the one before it; chains come in recording order."""
    states = sorted((n for n in recorded if n.role in STATES), key=lambda node: node.seq)
    known = set(states)
    chains: list[Chain] = []
    ends: dict[Node, Chain] = {}  # last h of each chain so far
    for node in states:
        if node.role != STATE:
            continue
        step = _step(node, known)
        before = [n for n in step.border if n in ends and _place(n) == _place(node)]
        if before:
            chain = ends.pop(max(before, key=lambda n: n.seq))
        else:
            chain = Chain(_name(node, chains), [])
            chains.append(chain)
        chain.steps.append(step)
        ends[node] = chain
    for chain in chains:
        _find_weights(chain)
    return chains


def _place(node: Node) -> tuple[str, int | None]:
    return node.scope.path, node.scope.layer


def _name(node: Node, chains: list[Chain]) -> str:
    name = node.scope.place or "h"
    others = sum(chain.name.split(" ")[0] == name for chain in chains)
    return f"{name} ({others + 1})" if others else name


def _step(h: Node, known: set[Node]) -> Step:
    """Walk back from h (and from the c it reads in the same step) to the states before."""
    border, inside, cells = set[Node](), {h}, list[Node]()
    heap = [(-h.seq, h)]  # latest first: of two cells, the own one is met before the older one
    while heap:
        for parent in heapq.heappop(heap)[1].parents:
            if parent is None or parent in inside or parent in border:
                continue
            if parent in known:
                if not _is_own_cell(parent, h, cells):
                    border.add(parent)
                    continue
                cells.append(parent)
            inside.add(parent)
            heapq.heappush(heap, (-parent.seq, parent))
    return Step((h, *cells), border, sorted(inside, key=lambda node: node.seq))


def _is_own_cell(c: Node, h: Node, cells: list[Node]) -> bool:
    """Whether c is the cell of h's own step: steps that are tagged tell, else it is the latest."""
    if c.role != CELL or cells or _place(c) != _place(h):
        return False
    return h.scope.step is None or c.scope.step == h.scope.step


def _find_weights(chain: Chain) -> None:
    """Note the leaves that are multiplied with what was made of the state before."""
    found: dict[Node, None] = {}
    for before, step in zip(chain.steps, chain.steps[1:], strict=False):
        reached = set(before.states)
        for node in step.inside:
            from_state = [parent in reached for parent in node.parents]
            if not any(from_state):
                continue
            reached.add(node)
            if node.op is not None and node.op.product:
                for parent in node.parents[:2]:  # a third one is a bias
                    leaf = None if parent in reached else leaf_behind(parent)
                    if leaf is not None:
                        found[leaf] = None
    chain.weights = list(found)
