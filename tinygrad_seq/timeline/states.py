"""The states of a loop: what goes on from step to step, where it is taken in, where it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.uses import Before

__all__ = ["Loop", "Slot", "State", "find_states", "operands"]

_CARRYING = {"add", "subtract", "multiply"}

Slot = tuple[Node, int]
"""An operand of a node."""


@dataclass
class State:
    """What goes on from step to step: the nodes that it is, and the operands that take it."""

    tails: dict[Node, int] = field(default_factory=dict)
    """At every step one, the last included."""
    heads: list[Slot] = field(default_factory=list)
    straight: bool = False
    """Whether only products and sums are made of it on its way, as of an LSTM's c."""


@dataclass
class Loop:
    """One recurrence: what is computed in it, and its states, in order of recording."""

    length: int
    nodes: dict[Node, int] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    starts: list[Slot] = field(default_factory=list)
    """Operands that take a state from elsewhere than a step of the loop."""


def find_states(loop: Loop, signs: Mapping[Node, int], detached: Before) -> None:
    """Group what crosses from step to step: what is read at one place, or comes from one."""
    leader: dict[object, object] = {}

    def of(name: object) -> object:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    crossing: list[tuple[Node, Node, int]] = []
    for node, step in loop.nodes.items():
        for index, parent in enumerate(operands(node, detached)):
            if parent is not None and loop.nodes.get(parent, step) != step:
                crossing.append((parent, node, index))
                leader[of(("from", signs[parent]))] = of(("to", signs[node], index))
    states: dict[object, State] = {}
    for tail, node, index in sorted(crossing, key=lambda c: (c[0].seq, c[1].seq)):
        state = states.setdefault(of(("from", signs[tail])), State())
        state.tails[tail] = loop.nodes[tail]
        state.heads.append((node, index))
    slots = {
        (signs[node], index): state for state in states.values() for node, index in state.heads
    }
    for state in states.values():
        _add_last(state, loop, signs)
    taken = {head for state in states.values() for head in state.heads}
    for node in loop.nodes:
        for index in range(len(node.parents)):
            state_there = slots.get((signs[node], index))
            if state_there is not None and (node, index) not in taken:
                state_there.heads.append((node, index))
                loop.starts.append((node, index))
    loop.states = sorted(states.values(), key=lambda state: min(n.seq for n in state.tails))
    for state in loop.states:
        state.straight = _straight(state, loop)


def operands(node: Node, detached: Before) -> Sequence[Node | None]:
    """The operands of a node; in place of one that was detached, what it was detached from."""
    cut = detached.get(node)
    if cut is None:
        return node.parents
    return [cut.get(index, parent) for index, parent in enumerate(node.parents)]


def _add_last(state: State, loop: Loop, signs: Mapping[Node, int]) -> None:
    """The state of steps that none comes after: the last ones, of sequences of several lengths."""
    known, steps = {signs[node] for node in state.tails}, {*state.tails.values()}
    at_step = {(signs[node], step) for node, step in state.tails.items()}
    last: dict[int, Node] = {}
    for node, step in loop.nodes.items():
        if (signs[node], step) in at_step:
            state.tails[node] = step
        elif signs[node] in known and step not in steps:
            last[step] = node
    state.tails |= {node: step for step, node in last.items()}


def _straight(state: State, loop: Loop) -> bool:
    """Whether a state's way from step to step leads through products and sums only."""
    heads = {node for node, _ in state.heads}
    if any(node.op is None or node.op.name not in _CARRYING for node in heads):
        return False
    step = max(state.tails.values())
    waiting = [node for node, at in state.tails.items() if at == step]
    while waiting:
        node = waiting.pop()
        if node in heads:
            return True
        if node.op is not None and node.op.name in _CARRYING:
            waiting += [p for p in node.parents if p is not None and loop.nodes.get(p) == step]
    return False
