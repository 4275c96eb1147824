"""What a reader expects to see although no node was recorded for it: inputs, carried states, cuts.

Constants leave no node. That a cell has an input, that its first step starts from a carried
state, or that a state was detached on the way, follows from what the other steps show.
"""

from __future__ import annotations

from collections.abc import Set

from tinygrad_seq.engine.node import Enters
from tinygrad_seq.viz.graph.alike import input_takers, rows_of_steps, state_takers
from tinygrad_seq.viz.graph.cells import entries
from tinygrad_seq.viz.graph.items import BAR, DEPTH, FOLDED, INPUT, Graph, Item, Place, Row

__all__ = ["Starts", "add_context"]

Starts = dict[tuple[Place, str], str]
"""What the constant is that a cell carries in as a state: ``"zero"``, ``"cut"`` off from something,
another ``"constant"``; ``""`` where it is not known."""
Entries = dict[Place, dict[str, "list[str]"]]


def add_context(graph: Graph, starts: Starts, told: Set[tuple[Row, str]]) -> None:
    """Add inputs, carried-in states and cuts to a graph of recorded items.

    In `told` are inputs and states of rows of which is known what enters: see :func:`enter`.
    """
    if graph.level.plain:
        return
    known = entries(graph)
    for steps in rows_of_steps(graph).values():
        taken = {INPUT: input_takers(steps, graph)}
        taken |= {kind: state_takers(steps, kind, graph) for kind in steps.items()[0].states}
        for place in steps.steps:
            for kind in taken.keys() - {INPUT}:
                if any(graph.items[name].zero for name in taken[kind][place]):
                    starts[place, kind] = "zero"
            known[place] = {name: taken[name][place] for name in taken if taken[name][place]}
    untold = {
        place: {name: parts[name] for name in parts if (place.row, name) not in told}
        for place, parts in known.items()
    }
    _add_inputs(graph, untold)
    _add_carried(graph, starts, untold, {row for row, _ in told})
    _mark_starts(graph)


def enter(graph: Graph, item: Item, enters: Enters, origin: Item | None) -> None:
    """Add a constant that enters an item: an input, or a state from before."""
    place = item.place
    if place.step is None or (place.step == BAR and origin is None):
        return
    if not enters.state:
        name = f"x:{place}"
        if place.step != BAR:
            graph.items.setdefault(name, Item(name, "input", place, "x"))
            graph.edge(name, item.id, INPUT, count=0)
        return
    if origin is not None and origin is not item:
        delay = 0 if origin.place.step is None else 1
        if isinstance(place.step, int) and isinstance(origin.place.step, int):
            delay = place.step - origin.place.step
        graph.edge(origin.id, item.id, enters.state, delay, 0).cut = True
        return
    if origin is not None and place.step == FOLDED:
        edge = graph.edge(item.id, item.id, enters.state, 1, 0)
        edge.cut = edge.count == 0  # else it is cut at some steps
        return
    columns = graph.axes[place.row].columns
    if origin is not None or place.step not in (columns[0], columns[-1]):
        return  # folded into one column, or started anew: nothing of the step before goes on
    if any(e.kind == enters.state and e.delay for e in graph.into(item.id)) and len(columns) > 1:
        return  # what is there a step later stands for two steps before it
    name = f"carried:{place.untimed}:{enters.state}"
    if name not in graph.items:
        known = enters.note in {"", "zero", "cut"}  # else the name of what is trained
        note, kind = enters.note or "constant", "carried" if known else "start"
        graph.items[name] = Item(name, kind, place, enters.state, note=note)
    delay = int(graph.items[name].kind == "carried")
    graph.edge(name, item.id, enters.state, delay, 0).cut = enters.note == "cut"


def _add_inputs(graph: Graph, known: Entries) -> None:
    fed = set()
    for edge in graph.edges.values():
        tail, head = graph.items[edge.tail], graph.items[edge.head]
        if edge.kind == DEPTH and tail.place != head.place:
            fed.add(head.place)
    for place, parts in known.items():
        if place in fed or place.step == BAR or INPUT not in parts:
            continue
        name = f"x:{place}"
        graph.items[name] = Item(name, "input", place, "x")
        for reader in parts[INPUT]:
            graph.edge(name, reader, INPUT, count=0)


def _add_carried(graph: Graph, starts: Starts, known: Entries, told: Set[Row]) -> None:
    """States that come in from before, as constants: detached ones, or zeros."""
    held: dict[Row, set[str]] = {}
    for item in graph.items.values():
        held.setdefault(item.place.row, set()).update(item.roles & graph.tracks.keys())
    kinds: dict[Row, dict[str, int]] = {row: {} for row, states in held.items() if states}
    arrived: set[tuple[Place, str]] = set()
    for edge in graph.edges.values():
        tail, head = graph.items[edge.tail].place, graph.items[edge.head].place
        if edge.kind in graph.tracks:
            arrived.add((head, edge.kind))
            if edge.delay and tail.row == head.row:
                kinds.setdefault(head.row, {}).setdefault(edge.kind, 1 if edge.delay > 0 else -1)
    for place, kind in starts:
        if place.row in kinds and (not graph.tracks[kind] or kind in held[place.row]):
            kinds[place.row].setdefault(kind, 1)
    for place, parts in known.items():
        for kind, sign in kinds.get(place.row, {}).items():
            if place.step == FOLDED:
                comes = (place, kind) in starts
            else:
                comes = place.step != BAR and (place, kind) not in arrived
            for entry in parts.get(kind, ()) if comes else ():
                unknown = "constant" if place.row in told else ""
                _carry_in(graph, place, kind, sign, entry, starts.get((place, kind), unknown))


def _carry_in(graph: Graph, place: Place, kind: str, sign: int, entry: str, start: str) -> None:
    before = _cell_before(graph, place, kind, sign)
    if before is not None:
        if start in {"cut", ""}:  # else it started anew: nothing of the step before goes on
            graph.edge(before, entry, kind, sign, 0).cut = True
        return
    name = f"carried:{place.untimed}:{kind}"
    if name in graph.items and graph.items[name].place != place:  # a constant in a later step too
        name = f"carried:{place}:{kind}"
    unknown = "unknown" if graph.items[entry].cell is None else ""
    note = start or unknown
    graph.items[name] = Item(name, "carried", place, kind, note=note)
    graph.edge(name, entry, kind, sign, 0).cut = note == "cut"


def _cell_before(graph: Graph, place: Place, kind: str, sign: int) -> str | None:
    """The item that holds a state one column earlier."""
    columns = graph.axes[place.row].columns
    if place.step not in columns or not isinstance(place.step, int):
        return None
    position = columns.index(place.step) - sign
    if not 0 <= position < len(columns):
        return None
    earlier = place._replace(step=columns[position])
    name = str(earlier) if graph.closes(place) or earlier.step == BAR else f"{earlier}:{kind}"
    return name if name in graph.items else None


def _mark_starts(graph: Graph) -> None:
    """Initial states that are trained stand before the first step, as zeros do.

    What computes one (from a vector, from an encoder's last states) has a column there.
    """
    for item in graph.items.values():
        edges = graph.out_of(item.id)
        feeds_states = edges and all(e.kind in graph.tracks and e.delay == 0 for e in edges)
        if item.place.step is not None or not feeds_states:
            continue
        tails = [graph.items[edge.tail] for edge in graph.into(item.id)]
        names = [name for tail in tails or [item] for name, *_ in tail.names]
        trained = all(tail.kind == "weight" for tail in tails)
        if trained and not item.computes:
            item.kind = "start"
            item.note = ", ".join(names) or "trained"
        else:
            item.kind = "begin"
