"""Uses counted along paths of dependence, class by class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.engine.node import Node
from tinygrad_seq.timeline.uses import Before

__all__ = ["Counted", "count", "turns"]


@dataclass
class Counted:
    """How many uses of each class lead up to every node."""

    classes: Sequence[list[Node]]
    """Uses in order of recording."""
    depth: dict[tuple[Node, int], int] = field(default_factory=dict)
    """By use and class, how many lead up to it, itself included."""
    behind: dict[Node, NDArray[np.int32]] = field(default_factory=dict)
    """By node how many of each class lead up to it, itself included."""
    reached: NDArray[np.bool_] = field(init=False)
    """Which class leads to which (from, to)."""

    def __post_init__(self) -> None:
        self.reached = np.zeros((len(self.classes),) * 2, bool)

    def again(self, c: int) -> bool:
        """Whether a class comes after itself."""
        return bool(self.reached[c, c])

    def depths(self, c: int) -> list[int]:
        """The depths of a class's uses."""
        return [self.depth[node, c] for node in self.classes[c]]

    def within(self, c: int, other: int, uses: int) -> bool:
        """Whether all uses of a class come before so many of another and the next."""
        return bool(self.behind[self.classes[c][-1]][other] <= uses)


def count(nodes: Sequence[Node], classes: Sequence[list[Node]], detached: Before) -> Counted:
    """Count the uses of classes; what was detached counts on."""
    of: defaultdict[Node, list[int]] = defaultdict(list)
    for c, found in enumerate(classes):
        for node in found:
            of[node].append(c)
    counted = Counted(classes)
    behind = counted.behind
    for node in nodes if classes else ():
        before: NDArray[np.int32] | None = None
        for parent in (*node.parents, *detached.get(node, {}).values()):
            known = None if parent is None else behind.get(parent)
            if known is not None and known is not before:
                before = known if before is None else np.maximum(before, known)
        if node in of:
            before = np.zeros(len(classes), np.int32) if before is None else before
            after = before.copy()
            for c in of[node]:
                counted.reached[:, c] |= before > 0
                counted.depth[node, c] = after[c] = int(before[c]) + 1
            before = after
        if before is not None:
            behind[node] = before
    return counted


def turns(counted: Counted) -> list[list[int]]:
    """Classes that come after themselves, together with those that they take turns with."""
    mutual = counted.reached & counted.reached.T
    groups: list[list[int]] = []
    for c in np.flatnonzero(np.diagonal(mutual)):
        near = [g for g in groups if mutual[c, g].any()]
        groups = [g for g in groups if g not in near]
        groups.append(sorted([int(c), *(d for g in near for d in g)]))
    return groups
