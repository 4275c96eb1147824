"""What a drawing may want to know beyond the structure: norms of values and gradients, sources.

A :class:`Trace` listens to the engine while a model runs. It keeps a few numbers per node and no
array but attention weights, which are few beside what they look at, up to a bound.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, instance_of
from tinygrad_seq.engine.node import WEIGHTS, Array, Node
from tinygrad_seq.engine.rules import arguments, unbroadcast
from tinygrad_seq.kernels import numeric

__all__ = ["Trace", "checked_trace", "leaf_contribution", "norm"]

MOST_WEIGHTS = 4_000_000
_PACKAGE = str(Path(__file__).resolve().parents[1]) + os.sep


def norm(array: Array) -> float:
    """Euclidean norm that neither overflows nor underflows, computed in double precision."""
    with np.errstate(all="ignore"):  # beside an infinity
        return float(numeric.norm(np.asarray(array, np.float64)))


class Trace:
    """Listens to recording and to backward; give it to ``tgs.observe`` and then to ``draw``.

    Attributes
    ----------
    values, gradients : dict
        Norm of the output, and of the complete cotangent, of every node by its ``seq``.
    contributions : dict
        Norm of what each use of a leaf adds to the leaf's gradient, by ``(use, leaf)``.
    weights : dict
        Attention weights (N, T, S) or (N, heads, T, S) by the ``seq`` of the node that made them,
        the first 4 million entries; those of later nodes are not kept.
    sources : dict
        ``file:line`` outside the package where the node was recorded.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> from tinygrad_seq import viz
    >>> w, trace = tgs.tensor([3.0, 4.0], requires_grad=True), viz.Trace()
    >>> with tgs.observe(trace):
    ...     doubled = w * 2
    ...     doubled.sum().backward()
    >>> trace.values[doubled.node.seq]
    10.0
    >>> trace.contributions[doubled.node.seq, w.node.seq]
    2.8284271247461903
    """

    def __init__(self) -> None:
        self.values: dict[int, float] = {}
        self.gradients: dict[int, float] = {}
        self.contributions: dict[tuple[int, int], float] = {}
        self.weights: dict[int, Array] = {}
        self._room = MOST_WEIGHTS
        self.sources: dict[int, str] = {}

    def recorded(self, node: Node, value: Array) -> None:
        """Note a node's value (for several outputs, joined) and where it was written."""
        value = array_of("Trace.recorded: value", value)
        seq = _seq(node)
        self.values[seq] = math.hypot(self.values.get(seq, 0.0), norm(value))
        if node.seq not in self.sources:
            self.sources[node.seq] = _caller()
            for parent in node.parents:
                if parent is not None and parent.role == WEIGHTS:
                    self._keep_weights(parent)

    def _keep_weights(self, node: Node) -> None:
        """Copy attention weights; by the time that they are used they are known to be such."""
        if node.seq in self.weights or node.out is None or node.out.size > self._room:
            return
        self.weights[node.seq] = node.out.copy()
        self._room -= node.out.size

    def received(self, node: Node, cotangent: Array) -> None:
        """Note a node's complete cotangent, and what its leaves get from this use of them.

        A leaf's own gradient is complete only at the end of backward: see :meth:`collected`.
        """
        _seq(node)
        if node.is_leaf:
            return
        cotangent = array_of("Trace.received: cotangent", cotangent)
        self.gradients[node.seq] = math.hypot(self.gradients.get(node.seq, 0.0), norm(cotangent))
        for index, parent in enumerate(node.parents):
            if parent is not None and parent.is_leaf:
                part = leaf_contribution(node, index, cotangent)
                if part is not None:
                    self.contributions[node.seq, parent.seq] = norm(part)

    def collected(self, leaf: Node, gradient: Array) -> None:
        """Note the complete gradient of a leaf."""
        self.gradients[_seq(leaf)] = norm(array_of("Trace.collected: gradient", gradient))


def _seq(node: Node) -> int:
    return instance_of("Trace: node", node, Node, hint="tensor.node").seq


def checked_trace(trace: Any) -> Trace | None:
    """What was given as a trace, if it is one."""
    hint = "a viz.Trace that listened to the run: with tgs.observe(trace): ..."
    return None if trace is None else instance_of("draw: trace", trace, Trace, hint=hint)


def leaf_contribution(node: Node, index: int, cotangent: Array) -> Array | None:
    """What this use of a leaf adds to the leaf's gradient; None where no rule tells it alone."""
    op, leaf = node.op, node.parents[index]
    if op is None or leaf is None or op.joint is not None or op.outputs != 1 or node.freed:
        return None
    rule = op.rules[index]
    if rule is None:
        return None
    contribution = rule.fn(cotangent, *arguments(node, rule, index))
    part: Array = unbroadcast(np.asarray(contribution), leaf.shape)
    return part


def _caller() -> str:
    """``file:line`` of the innermost frame outside the package."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        if frame.f_back is None:
            break
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
