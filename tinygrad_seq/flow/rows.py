"""How the states of a program lie in their arrays: which axis is that of the sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.timeline.chains import Chain, Step

__all__ = ["Rows", "rows_of"]

_TRIED = 4  # steps
Back = Callable[[Mapping[Node, Array], "list[Node]"], Mapping[Node, Array]]


@dataclass(frozen=True)
class Rows:
    """States as rows, one for each sequence, however the program has them."""

    axes: dict[str, int | None]
    """By state the axis of the sequences; None where there is one sequence, without an axis."""
    count: int
    """N."""
    widths: tuple[int, ...]
    """Entries that each state has of one sequence."""

    def width(self, name: str) -> int:
        """Of one state."""
        return self.widths[list(self.axes).index(name)]

    def of(self, name: str, array: Array) -> Array:
        """A state-shaped array as (N, H) in float64."""
        values, axis = np.asarray(array, np.float64), self.axes[name]
        if axis is None:
            return values.reshape(1, -1)
        return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)

    def seeds(self, name: str, node: Node) -> Iterator[Array]:
        """Of every entry in turn a cotangent that is 1 there in all sequences, and 0 elsewhere."""
        axis, shape = self.axes[name], node.shape
        for unit in range(self.width(name)):
            seed = np.zeros(shape, node.dtype)
            rows = seed.reshape(1, *shape) if axis is None else np.moveaxis(seed, axis, 0)
            place: Any = np.unravel_index(unit, rows.shape[1:])
            rows[(slice(None), *place)] = 1.0
            yield seed


def rows_of(chain: Chain, back: Back) -> Rows:
    """The axis along which sequences do not read one another, in all states of a chain.

    A vector is one sequence. Of an array the first axis is tried first, the last one where
    weights multiply from the left. `back` carries cotangents from states to those before.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    order = dict.fromkeys(name for step in reversed(chain.steps) for name in step.states)
    for step in chain.steps:
        for name, node in step.states.items():
            shapes[name] = max(shapes.get(name, node.shape), node.shape)
    shapes = {name: shapes[name] for name in order}
    main = next(iter(shapes.values()))
    last = list(pairwise(chain.steps[-_TRIED - 1 :]))
    tried = list(range(len(main))) if len(main) > 1 else []
    for axis in reversed(tried) if chain.columns else tried:
        axes = _along(axis, main, shapes)
        if axes is not None and not any(_mixes(before, step, axes, back) for before, step in last):
            break
    else:
        axes = dict.fromkeys(shapes)
    counts = [1 if axis is None else shapes[name][axis] for name, axis in axes.items()]
    sizes = [prod(shape) for shape in shapes.values()]
    widths = tuple(size // max(n, 1) for size, n in zip(sizes, counts, strict=True))
    return Rows(axes, counts[0], widths)


def _along(
    axis: int, main: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int | None] | None:
    """The same axis of all states; of a vector its only one, if that has the length for it."""
    found: dict[str, int | None] = {}
    for name, shape in shapes.items():
        found[name] = axis if len(shape) == len(main) else 0
        if not shape or len(shape) <= (found[name] or 0) or shape[found[name] or 0] != main[axis]:
            return None
    return found


def _mixes(before: Step, step: Step, axes: Mapping[str, int | None], back: Back) -> bool:
    """Whether a sequence of a step reads another one of the step before."""
    for name, node in step.states.items():
        axis = axes[name] or 0
        for row in {0, node.shape[axis] - 1} if node.shape[axis] > 1 else ():
            seed = np.zeros(node.shape, node.dtype)
            there = np.moveaxis(seed, axis, 0)[row]
            there[...] = np.cos(np.arange(there.size)).reshape(there.shape)
            reached = back({node: seed}, list(before.states.values()))
            for other, source in before.states.items():
                if source in reached:
                    rows = np.moveaxis(reached[source], axes[other] or 0, 0)
                    if rows[np.arange(len(rows)) != row].any():
                        return True
    return False
