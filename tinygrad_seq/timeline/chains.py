"""Finding the recurrence in a recorded graph: which state came from which.

States are the nodes with the roles that their cell declares, else those tagged ``h`` (and, beside
them, ``c``). Their order is read from the graph itself: the state before h_t is the state of the
same layer from which h_t was computed. So both directions of a bidirectional layer, windows run
one after another, and loops of one's own are each found as what they are.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.entries import leaf_behind
from tinygrad_seq.timeline.roles import is_state, states_of

__all__ = ["Chain", "Step", "find_chains"]


@dataclass(slots=True)
class Step:
    """One time step: its state, the states it was computed from, and the nodes in between."""

    states: tuple[Node, ...]  # the main one first: h, or h and c
    border: set[Node]
    inside: list[Node]


@dataclass(slots=True)
class Chain:
    """The steps of one layer in one direction, first step first."""

    name: str
    steps: list[Step]
    gates: tuple[str, ...] = ()  # as their cell names them
    weights: list[Node] = field(default_factory=list)  # leaves that multiply the state before


def find_chains(recorded: Iterable[Node]) -> list[Chain]:
    """Follow every tagged state back to the one before it; chains come in recording order."""
    states = sorted((n for n in recorded if is_state(n)), key=lambda node: node.seq)
    known = dict.fromkeys(states)
    beside = _beside(states)
    chains: list[Chain] = []
    ends: dict[Node, Chain] = {}  # last h of each chain so far
    for node in states:
        if node.role != states_of(node)[0]:
            continue
        step = _step(node, known.keys(), beside.get(node, ()))
        before = [n for n in step.border if n in ends and _place(n) == _place(node)]
        if before:
            chain = ends.pop(max(before, key=lambda n: n.seq))
        else:
            cell = node.scope.cell
            chain = Chain(_name(node, chains), [], () if cell is None else cell.gates)
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


def _beside(states: list[Node]) -> dict[Node, list[Node]]:
    """Of every main state the others of its step, where the step is known."""
    found: dict[Node, list[Node]] = {}
    places: dict[object, dict[str, list[Node]]] = {}
    for node in states:
        if node.scope.step is not None and node.role is not None:
            place = places.setdefault((_place(node), node.scope.step), {})
            place.setdefault(node.role, []).append(node)
    for place in places.values():
        main, *others = states_of(next(iter(place.values()))[0])
        for node in place.get(main, ()):  # several where windows count their steps anew
            near = [
                min(place[r], key=lambda n: abs(n.seq - node.seq)) for r in others if r in place
            ]
            found[node] = near
    return found


def _step(h: Node, known: Collection[Node], beside: Iterable[Node]) -> Step:
    """Walk back from h, and from the other states of its step, to the states before."""
    cells = list(beside)
    border, inside = set[Node](), {h, *cells}
    # Latest first: of two cells, the own one is met before the older one.
    heap = sorted((-node.seq, node) for node in inside)
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
    if c.role == states_of(h)[0] or cells or _place(c) != _place(h):
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
