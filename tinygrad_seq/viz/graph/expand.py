"""Fused layers as their composed twins: the same graph, with a node per operation and time step.

The recorded graph is left alone; what depends on an expanded node is copied. Twins run on made-up
arrays of the same shapes, never on those that were saved: a drawing shows their structure, not
their values, and is the same when backward has freed them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import numpy as np

from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.node import Node, Origin, next_seq, nodes_behind, noted
from tinygrad_seq.engine.tape import ITEM, detached, lift
from tinygrad_seq.timeline.retold import retold

__all__ = ["expand_fused", "told"]

LIMIT = 50_000_000  # entries of all results of a twin; beyond, the fused node is drawn as it is
_RESULTS_PER_OUTPUT = 20  # nodes per time step of a cell, about as large as its output


def expand_fused(roots: list[Node]) -> list[Node]:
    """Copies of `roots` with the fused nodes behind them expanded; themselves if none is."""
    now = _expanded(roots, lambda node: True)
    return [now.get(root, root) for root in roots]


def told(roots: list[Node], names: Mapping[Node, str]) -> list[Node]:
    """The graph with a node for every operation, and with the time that was found in it.

    Layers are expanded first, for what they do in loops; losses last, since they ask for time.
    """
    now = _expanded(roots, lambda node: node.op is not None and node.op.outputs != 1)
    named = {now.get(node, node): name for node, name in names.items()}
    return expand_fused(retold([now.get(root, root) for root in roots], named))


def _expanded(roots: list[Node], which: Callable[[Node], bool]) -> dict[Node, Node]:
    """By node behind `roots` what stands in its place, where those in question are expanded."""
    nodes = nodes_behind(roots)
    now: dict[Node, Node] = {}
    outputs: dict[Node, tuple[Node, ...]] = {}
    for node in nodes:
        parents = tuple(None if p is None else now.get(p, p) for p in node.parents)
        if node.op is ITEM and node.parents[0] in outputs:
            now[node] = outputs[node.parents[0]][node.params["index"]]
        elif _expandable(node) and which(node) and (made := _run_twin(node, parents, now)):
            outputs[node] = made
            now[node] = made[0]
        elif parents != node.parents:
            now[node] = _copied(node, parents, now)
    return now


def _expandable(node: Node) -> bool:
    """Whether there is a twin that needs nothing but operands.

    That of a checkpoint, with any number of them, runs the user's function, once.
    """
    if node.op is None or node.op.twin is None or node.op.variadic:
        return False
    first = node.shape[0] if node.op.outputs != 1 else node.parents[0].shape  # type: ignore[union-attr]
    return int(np.prod(first, dtype=float)) * _RESULTS_PER_OUTPUT <= LIMIT


def _copied(node: Node, parents: tuple[Node | None, ...], now: Mapping[Node, Node]) -> Node:
    made = copy(node)
    made.seq, made.parents = next_seq(), parents
    if node.inputs and None in node.parents and not hasattr(node, "constants"):
        made.constants = noted(node.parents, node.inputs)
    made.inputs, made.residuals, made.out = None, None, node.shown
    if hasattr(node, "enters"):
        made.enters = {
            index: one._replace(origin=now.get(one.origin, one.origin)) if one.origin else one
            for index, one in node.enters.items()
        }
    if hasattr(node, "detached"):
        made.detached = {index: _now(origin, now) for index, origin in node.detached.items()}
    return made


def _now(origin: Origin, now: Mapping[Node, Node]) -> Origin:
    there = [node for ref in origin if (node := ref()) is not None]
    return tuple(weakref.ref(now.get(node, node)) for node in there)


def _run_twin(
    node: Node, parents: tuple[Node | None, ...], now: Mapping[Node, Node]
) -> tuple[Node, ...] | None:
    """The nodes of the twin's outputs; None if one of them has none."""
    assert node.op is not None and node.op.twin is not None
    operands = _operands(node)
    lifted = [lift(array, parent) for array, parent in zip(operands, parents, strict=True)]
    for index, origin in getattr(node, "detached", {}).items():
        lifted[index] = detached(operands[index], _now(origin, now))
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


def _operands(node: Node) -> list[Any]:
    """Arrays of the shapes and kinds of the operands; zero where a constant was known to be."""
    known = getattr(node, "constants", (None,) * len(node.parents))
    found: list[Any] = []
    for parent, constant in zip(node.parents, known, strict=True):
        if parent is not None:
            found.append(np.zeros(parent.shape, node.dtype))
            continue
        assert constant is not None  # a fused operation saves all its operands
        one = constant.dtype.kind == "f" and not constant.zero
        found.append(np.full(constant.shape, int(one), constant.dtype))
    return found
