"""Which operations of one step are those of another: the steps of a cell without a picture.

A first step lacks what was computed of constants alone, so counting does not tell its operations;
what they are used by, and what they use, does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tinygrad_seq.viz.graph.items import BAR, DEPTH, WEIGHT, Graph, Item, Place, Row

__all__ = ["RowSteps", "input_takers", "rows_of_steps", "state_takers"]

_DRAWN = {"op", "output", "loss"}
_TAKES = {"matmul", "linear", "concatenate", "take", "stack", "einsum", "conv1d"}
"""Operations of which a constant operand is the input, not a figure in a formula."""


@dataclass
class RowSteps:
    """The steps of a row whose cell has no picture.

    Attributes
    ----------
    full : Place
        The step that has most operations, on fewest constants.
    steps : dict
        Items of every step.
    twin : dict
        By item the item of the full step that it is; of a step's own, itself.
    """

    full: Place
    steps: dict[Place, list[Item]]
    twin: dict[str, str] = field(default_factory=dict)

    def items(self) -> list[Item]:
        """Of the full step."""
        return self.steps[self.full]


def rows_of_steps(graph: Graph) -> dict[Row, RowSteps]:
    """Rows with states whose cell says nothing of its picture, at cell level."""
    if graph.level.closed or graph.level.plain:
        return {}
    places: dict[Row, dict[Place, list[Item]]] = {}
    pictured: set[Row] = set()
    held: set[Row] = set()
    for item in graph.items.values():
        place = item.place
        if item.kind not in _DRAWN or place.step in {None, BAR} or graph.closes(place):
            continue
        places.setdefault(place.row, {}).setdefault(place, []).append(item)
        if item.cell is not None and item.cell.picture is not None:
            pictured.add(place.row)
        if item.part in item.states:
            held.add(place.row)
    found: dict[Row, RowSteps] = {}
    for row, steps in places.items():
        if row in held and row not in pictured:
            full = max(steps, key=lambda place: _fullness(steps[place]))
            rows = found[row] = RowSteps(full, steps)
            for items in steps.values():
                rows.twin |= _matched(items, rows.items(), graph)
    return found


def _fullness(items: list[Item]) -> tuple[int, int]:
    """More operations, then fewer constants: a state is one in the first step."""
    return len(items), -sum(item.constants for item in items)


def _matched(items: list[Item], full: list[Item], graph: Graph) -> dict[str, str]:
    """The twin of every item of a step: the same parts, or what has most ends in common."""
    parts = {item.part: item for item in full}
    if [item.part for item in items] == [*parts]:
        return {item.id: parts[item.part].id for item in items}
    twins = {item.id: parts[item.part].id for item in items if _named(item) and item.part in parts}
    own = {item.id: item.part if _named(item) else "" for item in [*items, *full]}
    there = {item.id: item for item in full if item.id not in twins.values()}
    waiting = [item for item in reversed(items) if item.id not in twins]
    while waiting:  # those first of which most is known
        scores = [
            (_common(item, other, twins, own, graph), item.part == other.part, -k, other.id)
            for k, item in enumerate(waiting)
            for other in there.values()
            if {*item.ops} == {*other.ops}
        ]
        if not scores:
            break
        _, _, k, twin = max(scores)
        twins[waiting.pop(-k).id] = twin
        del there[twin]
    return {item.id: twins.get(item.id, item.id) for item in items}


def _common(
    item: Item, other: Item, twins: dict[str, str], own: dict[str, str], graph: Graph
) -> int:
    """How many ends two operations have in common, those that are known to be twins."""
    here, there = _ends(item, twins, own, graph), _ends(other, {}, own, graph)
    return 2 * len(here & there) - len(here - there)


def _ends(
    item: Item, twins: dict[str, str], own: dict[str, str], graph: Graph
) -> set[tuple[str, str]]:
    """What an item uses and what uses it: states of other steps by their names."""
    found: set[tuple[str, str]] = set()
    for edge in graph.into(item.id):
        if edge.kind == WEIGHT:
            found |= {("weight", name) for name in edge.names or [edge.tail]}
        elif edge.delay:
            found.add(("from", edge.kind))
        elif edge.tail in own:
            found.add(("uses", twins.get(edge.tail, edge.tail)))
    for edge in graph.out_of(item.id):
        if edge.delay:
            found.add(("to", edge.kind))
        elif edge.head in own:
            found.add(("used", twins.get(edge.head, edge.head)))
        else:
            found.add(("used", graph.items[edge.head].part))
    return found


def _named(item: Item) -> bool:
    """Whether the part is a word of the cell's, not an operation with its number."""
    return not item.part.rpartition(".")[2].isdigit()


def input_takers(rows: RowSteps, graph: Graph) -> dict[Place, list[str]]:
    """By step: the items that take what comes in from below, where a step tells which they are.

    What is computed of constants alone leaves no node: then it is what uses that.
    """
    takers = [item for item in rows.items() if item.constants and _TAKES & {*item.ops}]
    if not takers:
        takers = [item for item in rows.items() if item.constants and not _fed(item, graph)]
    names = {item.id for item in takers}
    first = [n for n in names if not any(edge.tail in names for edge in graph.into(n))]
    return _followed(rows, sorted(first), graph)


def state_takers(rows: RowSteps, kind: str, graph: Graph) -> dict[Place, list[str]]:
    """By step: the items that take a state in from the step before."""
    takers = [
        item.id
        for item in rows.items()
        if any(e.kind == kind and abs(e.delay) == 1 for e in graph.into(item.id))
    ]
    return _followed(rows, takers, graph)


def _fed(item: Item, graph: Graph) -> bool:
    return any(edge.kind != WEIGHT for edge in graph.into(item.id))


def _followed(rows: RowSteps, takers: list[str], graph: Graph) -> dict[Place, list[str]]:
    """The same items in every step; instead of one that is not there, what uses it."""
    found: dict[Place, list[str]] = {}
    for place, items in rows.steps.items():
        there = {rows.twin[item.id]: item for item in items}
        reached: dict[str, None] = {}
        waiting, seen = list(takers), set(takers)
        while waiting:
            name = waiting.pop(0)
            if name in there:
                if there[name].constants:
                    reached[there[name].id] = None
                continue
            for edge in graph.out_of(name):
                inner = edge.kind == DEPTH and graph.items[edge.head].place == rows.full
                if inner and edge.head not in seen:
                    seen.add(edge.head)
                    waiting.append(edge.head)
        found[place] = list(reached)
    return found
