"""What a gradient rule is given, and what its contribution is brought to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.op import Rule, Want
from tinygrad_seq.engine.variable import Guarded

__all__ = ["Lift", "arguments", "saved_input", "unbroadcast"]

Lift = Callable[[Any, "Node | None"], Any]
"""Turns a saved array, and the node that it came from, into a variable."""


def unbroadcast(cotangent: Any, shape: tuple[int, ...]) -> Any:
    """Sum a cotangent down to `shape`: broadcasting, undone. The one place that does so.

    Works on arrays and, through NumPy's protocols, on variables.
    """
    wide = cotangent.shape
    extra = len(wide) - len(shape)
    if extra < 0:
        raise ValueError(f"{shape} has more axes than {wide}")
    summed = [axis for axis in range(extra) if wide[axis] != 1]
    for axis, size in enumerate(shape, extra):
        if size != wide[axis]:
            if size != 1:
                raise ValueError(f"{shape} does not broadcast to {wide}")
            summed.append(axis)
    if summed:
        cotangent = np.sum(cotangent, axis=tuple(summed), keepdims=True)
    return cotangent.reshape(shape) if extra else cotangent


def arguments(
    node: Node,
    rule: Rule,
    index: int = 0,
    lift: Lift | None = None,
    useful: set[Node] | None = None,
) -> list[Any]:
    """What `rule` of `node` asks for after the cotangent; `index` is the input it is for."""
    found: list[Any] = []
    for kind, key in rule.wants:
        if kind is Want.INPUT:
            found.append(saved_input(node, key, lift))
        elif kind is Want.PARAM:
            found.append(node.params[key])
        elif kind is Want.OUT:
            found.append(node.out if lift is None else lift(node.out, node))
        elif kind is Want.SHAPE:
            parent = node.parents[index]
            found.append(None if parent is None else parent.shape)
        elif kind is Want.RESIDUALS:
            found.append(node.residuals)
        elif kind is Want.NEEDS:
            found.append(
                tuple([p is not None and (useful is None or p in useful) for p in node.parents])
            )
        else:
            found.append([saved_input(node, i, lift) for i in range(len(node.parents))])
    return found


def saved_input(node: Node, index: int, lift: Lift | None) -> Any:
    """A saved input: the array, or under `lift` a variable standing for it."""
    assert node.inputs is not None
    value = node.inputs[index]
    if type(value) is Guarded:
        value = value.array
    return value if lift is None or value is None else lift(value, node.parents[index])
