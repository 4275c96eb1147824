"""Fused layers as their composed twins: the same graph, with a node per operation and time step.

The recorded graph is left alone; what depends on an expanded node is copied. Twins run on the
arrays that were saved, or on zeros of the same shapes where backward has freed them: a drawing
shows their structure, not their values.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.tape import ITEM, lift
from tinygrad_seq.engine.variable import Guarded
from tinygrad_seq.viz.walk import recorded_nodes

__all__ = ["expand_fused"]

LIMIT = 50_000_000  # entries of all results of a twin; beyond, the fused node is drawn as it is
_RESULTS_PER_OUTPUT = 20  # nodes per time step of a cell, about as large as its output


def expand_fused(roots: list[Node]) -> list[Node]:
    """Copies of `roots` with the fused nodes behind them expanded; themselves if none is."""
    nodes = recorded_nodes(roots)
    now: dict[Node, Node] = {}
    outputs: dict[Node, tuple[Node, ...]] = {}
    for node in nodes:
        parents = tuple(None if p is None else now.get(p, p) for p in node.parents)
        if node.op is ITEM and node.parents[0] in outputs:
            now[node] = outputs[node.parents[0]][node.params["index"]]
        elif _expandable(node) and (made := _run_twin(node, parents)) is not None:
            outputs[node] = made
            now[node] = made[0]
        elif parents != node.parents:
            now[node] = _copied(node, parents)
    return [now.get(root, root) for root in roots]


def _expandable(node: Node) -> bool:
    if node.op is None or node.op.twin is None:
        return False
    first = node.shape[0] if node.op.outputs != 1 else node.parents[0].shape  # type: ignore[union-attr]
    return int(np.prod(first, dtype=float)) * _RESULTS_PER_OUTPUT <= LIMIT


def _copied(node: Node, parents: tuple[Node | None, ...]) -> Node:
    copy = Node(node.op, parents, node.params, node.shape, node.dtype, node.scope)
    copy.role, copy.owner, copy.inputs, copy.out = node.role, node.owner, node.inputs, node.out
    return copy


def _run_twin(node: Node, parents: tuple[Node | None, ...]) -> tuple[Node, ...] | None:
    """The nodes of the twin's outputs; None if its operands cannot be told any more."""
    assert node.op is not None and node.op.twin is not None
    operands = _operands(node)
    if operands is None:
        return None
    lifted = [lift(array, parent) for array, parent in zip(operands, parents, strict=True)]
    token = current_mode.set(Mode(grad=True, composed=True, scope=node.scope))
    try:
        with np.errstate(all="ignore"):
            made = node.op.twin(*lifted, **node.params)
    finally:
        current_mode.reset(token)
    made = made if isinstance(made, tuple) else (made,)
    found = tuple(variable._node for variable in made)
    if node.role is not None and found[0] is not None and found[0].role is None:
        found[0].role = node.role
    return found if all(part is not None for part in found) else None


def _operands(node: Node) -> list[Any] | None:
    if node.inputs is not None:
        return [saved.array if type(saved) is Guarded else saved for saved in node.inputs]
    assert node.op is not None
    found: list[Any] = []
    for name, parent in zip(node.op.inputs, node.parents, strict=False):
        shape: Any = parent.shape if parent is not None else _constant_shape(node, name)
        if shape is None:
            return None
        # A constant input may have been tokens or vectors; either way its cell has one input.
        whole = parent is None and name == "x"
        found.append(np.zeros(shape, np.int64 if whole else node.dtype))
    return found if len(found) == len(node.parents) else None


def _constant_shape(node: Node, name: str) -> Any:
    """Shape of a freed constant operand of a recurrent sequence."""
    if not isinstance(node.shape, tuple) or not node.shape or not isinstance(node.shape[0], tuple):
        return None
    steps, batch, hidden = node.shape[0]
    return {"x": (steps, batch), "h0": (batch, hidden), "c0": (batch, hidden)}.get(name)
