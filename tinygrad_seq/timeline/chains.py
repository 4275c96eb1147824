"""Finding the recurrence in a recorded graph: which state came from which.

States are the nodes that their cell declares, or that a loop hands on, see
:func:`~tinygrad_seq.timeline.retold.retold`. Their order is read from the graph itself: the state
before h_t is the state of the same loop from which h_t was computed. So both directions of a
bidirectional layer, and windows run one after another, are each found as what they are.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from tinygrad_seq.engine.node import Node, nodes_behind
from tinygrad_seq.timeline.factors import find_factors
from tinygrad_seq.timeline.retold import retold
from tinygrad_seq.timeline.roles import hands_on_states, is_state, states_of

__all__ = ["Chain", "Step", "Weight", "find_chains"]


_FURTHEST_BACK = 4  # beyond, it is a memory of many steps that is looked at, and no state


@dataclass(slots=True)
class Step:
    """One time step: its states by name, the states they were computed from, what is between."""

    states: dict[str, Node]
    """The main one first; one that is a constant at this step is left out."""
    border: set[Node]
    inside: list[Node]

    @property
    def main(self) -> Node:
        """The main state."""
        return next(iter(self.states.values()))


class Weight(NamedTuple):
    """How a state is multiplied with a leaf."""

    gates: tuple[str, ...]
    """What their cell, or else the program's names, call the gates that its blocks are for."""
    part: tuple[int, int, int] | None
    """See :class:`~tinygrad_seq.timeline.factors.Product`."""


@dataclass(slots=True)
class Chain:
    """The steps of one recurrence in one direction, first step first."""

    name: str
    states: tuple[str, ...]
    """Their names, the main one first, without those that are kept from further back."""
    steps: list[Step]
    weights: dict[Node, Weight]
    """Leaves that a state is multiplied with as a matrix."""
    scales: dict[Node, None]
    """Leaves that it is multiplied with entry by entry: peepholes, gains, diagonal recurrences."""
    columns: bool
    """Whether weights stand on the left, so that sequences are columns."""


def find_chains(
    result: Node, recorded: Iterable[Node] = (), names: Mapping[Node, str] | None = None
) -> tuple[list[Chain], dict[Node, str]]:
    """The recurrences behind a result, in recording order, and what leaves are called.

    Also those that it was cut from, and those that were declared among what else was recorded.
    """
    nodes = _behind([result, *filter(is_state, recorded)])
    original = {node.seq: node for node in nodes}
    told = nodes_behind(retold(nodes, names))
    states = []
    for node in told:
        said = original[node.seq]
        if is_state(said) and said.scope.layer is not None:  # a layer has said all of it
            node.role, node.scope = said.role, said.scope
            states.append(node)
        elif is_state(node) and (is_state(said) or not hands_on_states(said)):
            states.append(node)
    found = _follow(states)
    within = _within(found)
    if within:
        found = _follow([node for node in states if node not in within])
    chains, count = [], Counter[str]()
    weights: defaultdict[Any, dict[Node, Weight]] = defaultdict(dict)
    scales: defaultdict[Any, dict[Node, None]] = defaultdict(dict)
    for steps in found:
        main = steps[0].main
        own, place = original[main.seq].scope, _place(main)
        name = (main.scope if own.path else own).place or next(iter(steps[0].states))
        count[name] += 1
        name += f" ({count[name]})" if count[name] > 1 else ""
        factors = find_factors([step.states.values() for step in steps], [s.inside for s in steps])
        for leaf, (product, part) in factors.weights.items():
            gates = _gates(original[product.seq], main) or factors.parts
            weights[place][original[leaf.seq]] = Weight(gates, part)
        scales[place] |= {original[leaf.seq]: None for leaf in factors.scales}
        steps = [_original(step, original) for step in steps]
        parts = tuple(dict.fromkeys(n for step in reversed(steps) for n in step.states))
        if original[main.seq].role is None:
            _look_back(steps)
        # One window may be too short to show what all of them are multiplied with.
        chains.append(Chain(name, parts, steps, weights[place], scales[place], factors.columns))
    return chains, {original[node.seq]: node.name for node in told if node.op is None}


def _look_back(steps: Sequence[Step]) -> None:
    """Where a step reads states of several steps before, all of them are its state."""
    at = {node: (t, name) for t, step in enumerate(steps) for name, node in step.states.items()}
    lags = Counter[str]()
    for t, step in enumerate(steps):
        for read, name in (at[node] for node in step.border if node in at):
            lags[name] = max(lags[name], t - read)
    if max(lags.values(), default=0) > _FURTHEST_BACK:
        return
    for t in reversed(range(len(steps))):
        for name, lag in lags.items():
            for k in range(1, min(lag, t + 1)):
                kept = steps[t - k].states.get(name)
                if kept is not None:
                    steps[t].states[f"{name}, {k} back"] = kept


def _behind(roots: list[Node]) -> list[Node]:
    """What there is behind some nodes, also behind what was detached."""
    while True:
        nodes = nodes_behind(roots)
        detached = (refs for node in nodes for refs in getattr(node, "detached", {}).values())
        new = {ref() for refs in detached for ref in refs}.difference(nodes, [None])
        if not new:
            return nodes
        roots += [node for node in new if node is not None]


def _gates(product: Node, main: Node) -> tuple[str, ...]:
    """What the cell of a product, or the one around it, calls its gates."""
    cells = product.scope.cell, main.scope.cell
    return next((cell.gates for cell in cells if cell is not None and cell.gates), ())


def _original(step: Step, original: Mapping[int, Node]) -> Step:
    return Step(
        {name: original[node.seq] for name, node in step.states.items()},
        {original[node.seq] for node in step.border},
        [original[node.seq] for node in step.inside],
    )


def _place(node: Node) -> tuple[Any, ...]:
    return node.scope.path, node.scope.layer, node.scope.cell


def _follow(states: Sequence[Node]) -> list[list[Step]]:
    """Follow every state back to the one before it."""
    present: defaultdict[Any, set[str | None]] = defaultdict(set)
    at_step: defaultdict[Any, list[Node]] = defaultdict(list)
    for node in states:
        _, layer, cell = _place(node)
        present[_place(node)].add(node.role)
        present[layer, cell].add(node.role)
        for step in (node.scope.step, ...):  # or at any
            at_step[layer, cell, step, node.role].append(node)
    known, chains = set(states), list[list[Step]]()
    ends: dict[Node, list[Step]] = {}  # last states of each chain so far
    for node in states:
        _, layer, cell = _place(node)
        names = [name for name in states_of(node) if name in present[layer, cell]]
        if node.role != names[0]:
            continue
        found = {names[0]: node}
        for name in names[1:] if node.scope.step is not None else ():
            step = node.scope.step if (layer, cell, None, name) not in at_step else ...
            near, mains = (at_step.get((layer, cell, step, n), []) for n in (name, names[0]))
            if name in present[_place(node)]:  # else a module inside of the cell has it
                near = [other for other in near if _place(other) == _place(node)]
            if len(near) == len(mains):
                found[name] = near[mains.index(node)]
            elif near:  # several where windows count their steps anew
                found[name] = min(near, key=lambda other: abs(other.seq - node.seq))
        now = _step(names, found, known)
        before = [n for n in now.border if n in ends and _is_before(n, now)]
        chain = ends[max(before, key=lambda n: n.seq)] if before else []
        if not before:
            chains.append(chain)
        for state in chain[-1].states.values() if chain else ():
            del ends[state]
        chain.append(now)
        ends |= dict.fromkeys(now.states.values(), chain)
    return chains


def _is_before(node: Node, step: Step) -> bool:
    """Whether a state may be one that a step goes on from, and is not one of another layer."""
    return _place(node) == _place(step.states.get(str(node.role), step.main))


def _step(names: Sequence[str], states: dict[str, Node], known: Set[Node]) -> Step:
    """Walk back from the states of a step to those before."""
    main = states[names[0]]
    border, inside = set[Node](), set(states.values())
    # Latest first: of two cells, the own one is met before the older one.
    heap = sorted((-node.seq, node) for node in inside)
    while heap:
        for parent in heapq.heappop(heap)[1].parents:
            if parent is None or parent in inside or parent in border:
                continue
            if parent in known:
                own = main.scope.step is None and _place(parent) == _place(main)
                if not own or parent.role in states:
                    border.add(parent)
                    continue
                states[str(parent.role)] = parent
            inside.add(parent)
            heapq.heappush(heap, (-parent.seq, parent))
    ordered = {name: states[name] for name in names if name in states}
    return Step(ordered, border, sorted(inside, key=lambda node: node.seq))


def _within(chains: Iterable[Iterable[Step]]) -> set[Node]:
    """States of cells inside of cells: no later step reads them, but the outer cell does."""
    inner, handed_on = set[Node](), set[Node]()
    for step in (step for chain in chains for step in chain):
        for node in step.border:
            if node.scope.step != step.main.scope.step:
                handed_on.add(node)
            elif _is_inside(node, step.main):
                inner |= {node}
    return inner - handed_on


def _is_inside(node: Node, outer: Node) -> bool:
    one, other = node.scope, outer.scope
    below = one.path == other.path or one.path.startswith(f"{other.path}." if other.path else "")
    return below and one.layer == other.layer and one.cell != other.cell
