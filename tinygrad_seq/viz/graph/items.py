"""What a drawing is made of, apart from where it is put: items, typed edges, and their counts.

A :class:`Graph` is a quotient of the recorded graph: every recorded node belongs to exactly one
item (or is plumbing, counted apart), every recorded edge to one edge or to the inside of one item.
Views and levels differ only in which nodes share an item.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Union

from tinygrad_seq.engine.scope import CellForm
from tinygrad_seq.timeline.roles import STATES
from tinygrad_seq.viz.graph.views import BAR, BEGIN, FOLDED, Axis, Level, Step, View

__all__ = [
    "BAR",
    "BEGIN",
    "DEPTH",
    "FOLDED",
    "INPUT",
    "WEIGHT",
    "AttentionNote",
    "Edge",
    "Graph",
    "Item",
    "Place",
    "Row",
    "Span",
    "Step",
    "reaches",
    "shortened",
    "widen",
]

DEPTH, WEIGHT, INPUT = "depth-", "weight-", "input-"
"""Kinds of edges that no state can have the name of."""

Row = tuple[str, Union[int, None]]  # noqa: UP007
"""Module path and layer."""


_SAFE = {character: f"%{ord(character):02x}" for character in "%[]@:"}


class Place(NamedTuple):
    """Where in the model, and when; ``step`` None is outside time."""

    path: str = ""
    layer: int | None = None
    step: Step = None

    @property
    def row(self) -> Row:
        """Module and layer, whatever the time."""
        return self.path, self.layer

    @property
    def untimed(self) -> Place:
        """The same place, whatever the time."""
        return self._replace(step=None)

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"[{self.layer}]"
        step = "" if self.step is None else f"@{self.step}"
        path = self.path
        if not path.replace(".", "").replace("_", "").isalnum():
            path = "".join(_SAFE.get(character, character) for character in path)
        return f"{path}{layer}{step}"


def reaches(path: str, depth: int | None) -> bool:
    """Whether a module path is at least `depth` names deep; None is deeper than any."""
    return depth is not None and (len(path.split(".")) if path else 0) >= depth


def shortened(path: str, depth: int | None) -> str:
    """The first `depth` names of a module path."""
    return path if depth is None else ".".join(path.split(".")[:depth])


@dataclass(slots=True)
class Span:
    """The range of a number that several nodes have: a norm, an attention weight."""

    low: float
    high: float
    count: int = 1
    total: float = 0.0
    squares: float = 0.0
    """Sum of the squares."""

    @classmethod
    def of(cls, value: float) -> Span:
        """The span of one number."""
        return cls(value, value, 1, value, value * value)

    @property
    def mean(self) -> float:
        """Mean over all."""
        return self.total / self.count

    def add(self, other: Span) -> None:
        """Widen by another span."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.count += other.count
        self.total += other.total
        self.squares += other.squares


def widen(spans: dict[Any, Span], key: Any, span: Span) -> None:
    """Add a span to those by key."""
    if key in spans:
        spans[key].add(span)
    else:
        spans[key] = replace(span)


@dataclass(slots=True)
class Item:
    """One thing that is drawn: a cell, an operation, a weight, an input, a carried state.

    Attributes
    ----------
    id : str
        Stable: made from module path, layer, time step and role, never from memory or counters.
    kind : str
        ``"cell"``, ``"output"``, ``"loss"``, ``"module"``, ``"op"``, ``"weight"``,
        ``"input"``, ``"carried"``, ``"start"`` (a trained state), ``"begin"`` (what computes one)
        or ``"bar"``.
    count : int
        Recorded nodes that it stands for.
    first, last : int, optional
        The time steps that a bar hides, from and to.
    inner : set of str
        Names of modules called within the cell, a normalisation for instance.
    values, gradients : dict
        Norms by role (``"h"``, ``"c"``, ...; ``""`` for the last node without one).
    """

    id: str
    kind: str
    place: Place
    part: str = ""
    count: int = 0
    ops: dict[str, int] = field(default_factory=dict)
    roles: set[str] = field(default_factory=set)
    inner: set[str] = field(default_factory=set)
    first: int | None = None
    last: int | None = None
    shape: Any = None
    dtype: str = ""
    values: dict[str, Span] = field(default_factory=dict)
    gradients: dict[str, Span] = field(default_factory=dict)
    source: str = ""
    names: list[tuple[Any, ...]] = field(default_factory=list)
    note: str = ""
    heads: int = 0
    """Of an attention in several."""
    computes: bool = False
    """Whether it does more than hand on entries of its operands."""
    cell: CellForm | None = None
    """What the cell says of itself that its nodes are of."""
    constants: int = 0
    """Operands that left no node."""
    figures: dict[str, set[tuple[float, int]]] = field(default_factory=dict)
    """By operation: numbers among its operands, and the places that they stand at."""
    zero: bool = False
    """Whether one of these is known to be 0 in all its entries."""
    nested: bool = False
    """Whether nodes of modules inside that of its place are among them."""

    @property
    def states(self) -> tuple[str, ...]:
        """Names of states that there may be, the main one first."""
        return STATES if self.cell is None else self.cell.states

    def hide(self, step: int) -> None:
        """Note a time step that this item, a bar, hides."""
        self.first = step if self.first is None else min(self.first, step)
        self.last = step if self.last is None else max(self.last, step)


@dataclass(slots=True)
class Edge:
    """A typed edge between two items.

    Attributes
    ----------
    kind : str
        :data:`DEPTH`, :data:`WEIGHT`, :data:`INPUT`, or the state that it carries through time:
        its name, ``"h"``, or ``"state"``.
    delay : int
        Time steps between tail and head; 0 within a step.
    cut : bool
        Whether values go forward here while no gradient comes back.
    count : int
        Recorded edges that it stands for.
    alignment : dict
        Attention weights along it, by step of the query and step of the memory.
    names : list of str
        Of bundled weights, those that are used.
    """

    tail: str
    head: str
    kind: str
    delay: int = 0
    cut: bool = False
    count: int = 1
    contribution: Span | None = None
    alignment: dict[tuple[Step, Step], Span] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def contribute(self, share: Span) -> None:
        """Add what another use of a leaf adds to its gradient."""
        if self.contribution is None:
            self.contribution = replace(share)
        else:
            self.contribution.add(share)


class AttentionNote(NamedTuple):
    """Whose attention weights a graph shows."""

    sample: int
    batch: int
    heads: int
    head: int | None


EdgeKey = tuple[str, str, str, int]


@dataclass(slots=True)
class Graph:
    """Items and edges of one view, with the totals of what was recorded."""

    view: View
    level: Level
    depth: int | None = None
    axes: dict[Row, Axis] = field(default_factory=dict)
    """Where the steps of each row are drawn."""
    length: int = 0
    """T: time steps that were recorded."""
    start: int = 0
    """The first of them."""
    ends: dict[Row, tuple[int, int]] = field(default_factory=dict)
    """The first and the last of each row."""
    items: dict[str, Item] = field(default_factory=dict)
    edges: dict[EdgeKey, Edge] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    """Columns from left to right."""
    plumbing: int = 0
    """Recorded nodes that only pass entries on (a stack read step by step), not drawn."""
    inside: int = 0
    """Recorded edges inside items."""
    roots: list[str] = field(default_factory=list)
    tracks: dict[str, int] = field(default_factory=dict)
    """Names of states, and which of their cell's each is: 0 is the main one."""
    stateless: set[Row] = field(default_factory=set)
    """Rows that are closed at cell level."""
    attention: AttentionNote | None = None
    series: dict[tuple[str, str], dict[int, tuple[float | None, float | None]]] = field(
        default_factory=dict
    )
    """Traced norms of value and gradient by (row, role) and time step, hidden steps included."""
    _ends: dict[str, tuple[int, dict[str, list[Edge]]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def closes(self, place: Place) -> bool:
        """Whether everything at a place is one item.

        At module level, from `depth` on, and at cell level in modules without a state.
        """
        if place.row in self.stateless and place.step is not None:
            return True
        return self.level.closed or reaches(place.path, self.depth)

    def edge(self, tail: str, head: str, kind: str, delay: int = 0, count: int = 1) -> Edge:
        """Add `count` recorded edges between two items."""
        key = (tail, head, kind, delay)
        found = self.edges.get(key)
        if found is None:
            found = self.edges[key] = Edge(tail, head, kind, delay, count=count)
        else:
            found.count += count
        return found

    def into(self, head: str) -> list[Edge]:
        """Edges that end at an item."""
        return self._by_end("head").get(head, [])

    def out_of(self, tail: str) -> list[Edge]:
        """Edges that start at an item."""
        return self._by_end("tail").get(tail, [])

    def _by_end(self, end: str) -> dict[str, list[Edge]]:
        """Edges by their head or tail: anew when some were added."""
        count, found = self._ends.get(end, (0, {}))
        if count != len(self.edges):
            found = {}
            for edge in self.edges.values():
                found.setdefault(getattr(edge, end), []).append(edge)
            self._ends[end] = len(self.edges), found
        return found
