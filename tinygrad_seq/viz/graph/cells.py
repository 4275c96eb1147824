"""What is told of a cell by the roles of its nodes: its parts, and where it takes its states in.

All that the drawing knows of kinds of cells stands here and, for their shapes, in
`layout/templates.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.timeline import roles
from tinygrad_seq.timeline.entries import piece
from tinygrad_seq.viz.graph.items import INPUT

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Node
    from tinygrad_seq.viz.graph.items import Graph, Place

__all__ = ["carries_in", "entries", "part_of", "slot_of", "starts_from", "state_of"]

# Roles that stand for the untagged nodes leading up to them.
_ABSORBING = {roles.SUM, roles.NEW, roles.SQUASHED_CELL, roles.LOGITS, roles.LOSS}
_SUMMED = {roles.SUM, roles.FROM_INPUT, roles.FROM_STATE}  # one part: all affine maps of a cell
_REMEMBERED = {f"{roles.FORGET}*{roles.CELL}", f"{roles.CELL}*{roles.FORGET}"}
_PORTS = {"linear": INPUT, "take": INPUT, "matmul": roles.STATE}
"""Which port of a cell an operation is that keeps an item of its own."""


def _does(node: Node, name: str) -> bool:
    return node.op is not None and node.op.name == name


def part_of(node: Node, serves: str | None) -> str | None:
    """The part of a cell that a node belongs to; None if it is one by itself.

    `serves` is the part that the node's only user belongs to, if that is of the same step.
    """
    cell = node.scope.cell
    if cell is not None and cell.picture is None:  # its own words: nothing is known of the rest
        own = node.role or state_of(node)
        return serves if own is None and serves in {roles.LOGITS, roles.LOSS} else own
    if node.role:
        return roles.SUM if node.role in _SUMMED else node.role
    operands = [parent for parent in node.parents if parent is not None]
    if _does(node, "split") and operands and operands[0].role in _SUMMED:
        return roles.SUM
    if serves is not None:
        starts_anew = _does(node, "where") and any(map(roles.is_state, operands))
        if serves in _ABSORBING or node.op is ITEM or (starts_anew and serves in _REMEMBERED):
            return serves
    state = state_of(node)
    if state is not None:
        return state
    said = [(parent.role or "") if parent else "" for parent in node.parents]
    gates, second = roles.GATES if cell is None else cell.gates, roles.states_of(node)[-1]
    if _does(node, "multiply") and {*said} & {*gates}:
        # Named by what is multiplied; a constant beside a gate is the carried state.
        return "*".join(role or second for role in said)
    if _does(node, "subtract") and None in node.parents:
        return next((f"1-{role}" for role in said if role in gates), None)
    return None


def state_of(node: Node) -> str | None:
    """The state that a node is, also where only rows whose sequence goes on get a new one."""
    if roles.is_state(node):
        return node.role
    for operand in node.parents if _does(node, "where") else ():
        known = operand is not None and (roles.is_state(operand) or _does(operand, "where"))
        if operand is not None and known and operand.scope == node.scope:
            return state_of(operand)
    return None


def starts_from(node: Node) -> bool:
    """Whether the operand of a cell's node that comes from outside time is its first state."""
    if _does(node, "matmul"):  # inputs come in by linear or take
        weight = node.parents[1]
        known = weight is not None and (weight.op is None or piece(weight) is not None)
        return known and node.role in {None, roles.FROM_STATE}
    said = {parent.role for parent in node.parents if parent is not None}
    return node.role in {roles.KEPT, roles.RESTART} or roles.FORGET in said


def carries_in(node: Node) -> bool:
    """Whether a constant operand of a cell's node is a state that it starts from."""
    cell = node.scope.cell
    if cell is not None and cell.picture is None:
        return False  # it might be anything
    takes = _does(node, "matmul") or _does(node, "multiply")
    return takes and node.role in {None, roles.FROM_STATE}


def slot_of(node: Node) -> str | None:
    """Which state an operand of a cell's first operation is: c is multiplied, h is projected.

    None where the cell has other states.
    """
    multiplied = _does(node, "multiply") and node.role is None
    # A GRU multiplies h too, in products that have a role.
    found = roles.CELL if multiplied else roles.STATE
    return found if found in roles.states_of(node) else None


def entries(graph: Graph) -> dict[Place, dict[str, list[str]]]:
    """By cell: the items that take input and states in; first the one on the state's road."""
    found: dict[Place, dict[str, list[str]]] = {}
    for item in graph.items.values():
        place = item.place
        if place.step is None or item.kind in {"weight", "carried", "input"}:
            continue
        parts = found.setdefault(place, {})
        if graph.closes(place) or item.kind == "bar":
            if item.states[0] in item.roles or item.kind == "bar":
                parts |= {name: [item.id] for name in item.states}
                found[place] = parts
            parts.setdefault(INPUT, [item.id])
        elif item.part == roles.SUM:
            parts.setdefault(roles.STATE, []).append(item.id)
            parts[INPUT] = [item.id]
        elif item.part in _REMEMBERED:
            parts[roles.CELL] = [item.id]
        elif item.part == roles.KEPT:
            parts.setdefault(roles.STATE, []).insert(0, item.id)
        elif item.part == roles.INNER and (reset := f"{place}:{roles.RESTART}") in graph.items:
            parts.setdefault(roles.STATE, []).append(reset)  # a GRU's gate that acts on h itself
    for item in graph.items.values():  # where input and state are not added up into one z
        parts, port = found.get(item.place, {}), _PORTS.get(item.part.partition(".")[0])
        if port is not None and parts.keys() & {INPUT, roles.STATE}:
            parts[port] = [item.id]
    return found
