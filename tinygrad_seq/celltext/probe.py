"""Which results of a step are states that nobody declared: found in a short run of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_seq.engine.node import Array, Node, nodes_behind
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.timeline.retold import retold
from tinygrad_seq.timeline.roles import hands_on_states
from tinygrad_seq.transforms.nest import leaves, map_nest

__all__ = ["carried", "found_states"]

_STEPS = 4
Told = dict[int, Node]
"""By its place in the recording of a step what is said of a node."""


def found_states(
    model: Callable[..., tuple[Tensor, Any]], ids: Array, take: Callable[[], Sequence[Node]]
) -> tuple[Told, Told]:
    """The states of loops written by hand, at the first step and at all others.

    Parameters
    ----------
    model : callable
    ids : integer array (T,)
    take : callable
        Gives the nodes that were recorded since it was last called.
    """
    roots: list[Node] = []
    steps: list[Sequence[Node]] = []
    state: Any = None
    for t in range(min(_STEPS, len(ids))):
        logits, state = model(ids[t : t + 1, None], state)
        results = [part for part in (logits, *leaves(state)) if isinstance(part, Tensor)]
        roots += [part.node for part in results if part.node is not None]
        steps.append(take())
    told = {node.seq: node for node in nodes_behind(retold(dict.fromkeys(roots)))}

    def states(step: Sequence[Node]) -> Told:
        known = {
            k: told[n.seq]
            for k, n in enumerate(step)
            if n.role is None and n.seq in told and not hands_on_states(n)
        }
        return {
            k: node
            for k, node in known.items()
            if node.scope.cell is not None and node.role in node.scope.cell.states
        }

    return states(steps[0]), states(steps[-1])


def carried(state: Any) -> Any:
    """A state as a start of its own, from which everything is recorded as from a result."""
    return map_nest(_started, state)


def _started(part: Any) -> Any:
    if not isinstance(part, Tensor):
        return part
    return Tensor(part.data, requires_grad=part.dtype.kind == "f")
