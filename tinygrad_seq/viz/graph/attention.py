"""What attention looked at: recorded weights, and the time steps that they belong to.

A node with the role ``"weights"`` holds (N, T, S) or (N, heads, T, S) entries: how much each of T
queries takes from each of S steps of a memory; or (N, S), of one query. Whose time steps these S
are is read off the graph: behind the memory stands a ``stack`` of S recorded steps. Where there is
none, nothing is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_seq.errors import ConfigError
from tinygrad_seq.timeline.entries import keeps_steps, kept_from, only_parent, stacked_steps
from tinygrad_seq.timeline.roles import WEIGHTS
from tinygrad_seq.viz.graph.items import Span, Step, widen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_seq.engine.node import Array, Node
    from tinygrad_seq.viz.trace import Trace

__all__ = ["Aligned", "Reader", "picked_weights"]

_HOPS = 12


class Aligned(NamedTuple):
    """What one recorded look-up tells."""

    memory: Node
    """What the weights average, where it comes into the look-up's own scope."""
    weights: dict[tuple[Step, Step], Span]
    """By query step (None where the look-up's own time step says it) and step of the memory."""
    parts: list[tuple[Node, Step]]
    """The steps of the memory one by one, and where they are drawn."""
    heads: int
    """1 without heads."""
    batch: int

    def at(self, step: Step) -> dict[tuple[Step, Step], Span]:
        """The weights of one drawn step of the memory."""
        return {steps: weight for steps, weight in self.weights.items() if steps[1] == step}


class Reader:
    """Reads look-ups off recorded nodes.

    Parameters
    ----------
    trace : Trace, optional
        Where weights are found that are too many for the graph to keep.
    shown : callable
        Maps a node with a time step, or a node and another step of its row, to the step that it
        is drawn at.
    sample : int
        Which sequence of the batch.
    head : int, optional
        Which head; by default the mean of all.
    """

    def __init__(
        self, trace: Trace | None, shown: Callable[..., Step], sample: int, head: int | None
    ) -> None:
        self.trace, self.shown, self.sample, self.head = trace, shown, sample, head

    def read(self, node: Node) -> Aligned | None:
        """The look-up that a node is, if it averages a memory by weights that are known."""
        if node.op is None or not node.op.product or len(node.parents) != 2:
            return None
        (weights, other), (first, second) = map(_behind, node.parents), node.parents
        memory = second if other is None else first
        values = self._values(weights or other)
        if memory is None or values is None or (weights and other):
            return None
        parts = [(part, self.shown(part)) for part in stacked_steps(memory, values.shape[-1])]
        rows = picked_weights(values, self.sample, self.head, "draw")
        stepped = node.scope.step is not None
        if not parts or (stepped and len(rows) != 1):
            return None
        steps = {part.scope.step: place for part, place in parts}
        own = parts[0][0] if len(rows) == len(steps) else node  # a memory that looks at itself
        table: dict[tuple[Step, Step], Span] = {}
        for t, row in enumerate(rows):
            query = None if stepped else self.shown(own, t)
            sums: dict[Step, float] = {}
            for place, weight in zip(steps.values(), row.tolist(), strict=True):
                sums[place] = sums.get(place, 0.0) + weight
            for place, weight in sums.items():
                widen(table, (query, place), Span.of(weight))
        heads = values.shape[1] if values.ndim == 4 else 1
        return Aligned(_outside(memory, node), table, parts, heads, len(values))

    def _values(self, weights: Node | None) -> Array | None:
        if weights is None:
            return None
        values: Any = weights.shown
        if values is None and self.trace is not None:
            values = self.trace.weights.get(weights.seq)
        if values is not None and values.ndim == 2:  # of one query, (N, S)
            values = values[:, None]
        return values if values is not None and values.ndim in {3, 4} else None


def picked_weights(values: Array, sample: int, head: int | None, caller: str) -> Array:
    """(T, S) of a sequence and a head of weights (N, T, S) or (N, heads, T, S)."""
    if not 0 <= sample < len(values):
        raise ConfigError(f"{caller}: sample", expected=f"0 <= sample < {len(values)}", got=sample)
    rows = values[sample]
    if rows.ndim == 3:
        if head is not None and not 0 <= head < len(rows):
            raise ConfigError(f"{caller}: head", expected=f"0 <= head < {len(rows)}", got=head)
        rows = rows.mean(axis=0) if head is None else rows[head]
    return np.asarray(rows, np.float64)


def _behind(node: Node | None) -> Node | None:
    """The weights that an operand is, perhaps turned, or thinned out by dropout."""
    for _ in range(_HOPS):
        if node is None or node.role == WEIGHTS:
            return node
        node = kept_from(node)
    return None


def _outside(memory: Node, look_up: Node) -> Node:
    """The memory before the look-up turned it for itself."""
    while memory.scope == look_up.scope and keeps_steps(memory):
        before = only_parent(memory)
        if before is None:
            break
        memory = before
    return memory
