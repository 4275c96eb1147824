"""What is known of nodes before they are visited: who uses them.

Uses of an entry of a stack over time are kept apart, in four bytes an entry: a readout that runs
after a layer has all its T edges into that layer open at once.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinygrad_seq.viz.graph.grouping import Key, User
    from tinygrad_seq.viz.graph.items import Span

__all__ = ["Pending", "Picks", "Use"]


class Use(NamedTuple):
    """A use of a node: by which item, at which step, and what kind of edge it is."""

    key: Key
    step: int | None
    relative: bool
    """Whether `step` is counted from the node's own: uses at all steps are then alike."""
    stepped: bool
    """Whether the user, or something after it, has a time step."""
    edge: tuple[str, str, int]
    """Id of the user's item, kind and delay of the edge."""


class Pending:
    """The edges out of a node that is not visited yet."""

    __slots__ = ("edges", "feeds_steps", "single", "users")

    def __init__(self) -> None:
        self.edges: dict[tuple[str, str, int], tuple[int, Span | None]] = {}
        self.single: User | None = None
        self.users = 0
        """Different users: 0, 1, or 2 for more."""
        self.feeds_steps = False

    def add(self, use: Use, own_step: int | None, share: Span | None = None) -> None:
        """Take note of a use; `own_step` is that of the node itself."""
        step = use.step
        if use.relative and step is not None and own_step is not None:
            step += own_step
        user = (use.key, step)
        count, span = self.edges.get(use.edge, (0, None))
        if share is not None:
            if span is None:
                span = share
            else:
                span.add(share)
        self.edges[use.edge] = (count + 1, span)
        self.feeds_steps = self.feeds_steps or use.stepped
        if self.users == 0:
            self.single, self.users = user, 1
        elif self.users == 1 and user != self.single:
            self.single, self.users = None, 2


class Picks:
    """Uses of the entries of one stack, by position."""

    __slots__ = ("_first", "_known", "_more", "_numbers")

    def __init__(self, length: int, known: list[Use], numbers: dict[Use, int]) -> None:
        self._known, self._numbers = known, numbers  # shared: equal uses are one object
        self._first = array("I", bytes(4 * length))
        self._more: dict[int, list[int]] = {}

    def add(self, index: int, use: Use) -> None:
        """Take note of a use of the entry at `index`."""
        number = self._numbers.get(use)
        if number is None:
            self._known.append(use)
            number = self._numbers[use] = len(self._known)  # from 1: 0 is none
        if self._first[index] == 0:
            self._first[index] = number
        else:
            self._more.setdefault(index, []).append(number)

    def take(self, index: int) -> list[Use]:
        """The uses of the entry at `index`."""
        first = self._first[index]
        numbers = [first, *self._more.pop(index, [])] if first else []
        return [self._known[number - 1] for number in numbers]
