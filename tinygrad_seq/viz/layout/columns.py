"""Which rows share a time axis: an encoder's steps come before its decoder's."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_seq.viz.graph.items import BEGIN, Edge, Graph, Step
from tinygrad_seq.viz.graph.views import Axis

__all__ = ["Column", "Link", "RowKey", "Spot", "ordered", "segments", "spanned", "told_apart"]

RowKey = tuple[str, "int | None", str]
"""Module path, layer, and for what spans all time steps its item."""
Spot = tuple[RowKey, Step]
"""Where an item stands: row and time step."""
Column = tuple[int, Step]
"""Time axis and time step."""
Link = tuple[Edge, Spot, Spot]
"""An edge between two items that have a spot, and these."""


def segments(rows: Iterable[RowKey], links: list[Link]) -> dict[RowKey, int]:
    """Number of the time axis of every row.

    A row whose early steps need late steps of another row (a decoder that starts from an
    encoder's last state) lives on a later axis; everything else shares one.
    """
    found = dict.fromkeys(rows, 0)
    apart: dict[tuple[RowKey, RowKey], int] = {}
    for edge, (tail, before), (head, after) in links:
        if tail != head:
            back = before is not None and after is not None and edge.delay < 0
            later = int(back or (after == BEGIN and before is not None))
            apart[tail, head] = max(apart.get((tail, head), 0), later)
    for _ in found:  # as many rounds as rows settle any chain; a cycle stops there
        for (tail, head), step in apart.items():
            found[head] = max(found[head], min(found[tail] + step, len(found)))
    fed = {head for _, head in apart}
    for row in found:
        heads = [found[head] for tail, head in apart if tail == row]
        if row not in fed and row[2] and heads:
            found[row] = min(heads)
    return found


def told_apart(found: dict[RowKey, int], graph: Graph, links: list[Link]) -> dict[RowKey, int]:
    """Axes once more, those that are shortened differently beside one another."""
    kinds: dict[int, list[set[Axis]]] = {}
    places: dict[RowKey, tuple[int, int]] = {}
    for row, number in found.items():
        axis = None if row[2] else graph.axes[row[:2]]
        if axis is not None:
            several = kinds.setdefault(number, [])
            fitting = (n for n, others in enumerate(several) if not any(map(axis.clashes, others)))
            place = next(fitting, len(several))
            if place == len(several):
                several.append(set())
            several[place].add(axis)
            places[row] = number, place
    for row, number in found.items():
        if row not in places:
            ends = [(tail[0], head[0]) for _, tail, head in links]
            near = [b if a == row else a for a, b in ends if row in {a, b}]
            known = [places[other] for other in near if other in places]
            places[row] = min((p for p in known if p[0] == number), default=(number, 0))
    numbers = {place: index for index, place in enumerate(sorted(set(places.values())))}
    return {row: numbers[place] for row, place in places.items()}


def spanned(
    links: list[Link], columns: list[Column], segment: dict[RowKey, int]
) -> dict[RowKey, list[Column]]:
    """Columns that a row outside time has to do with, directly or through others like it."""
    near: dict[RowKey, set[RowKey | Column]] = {}
    for _, *ends in links:
        for (row, step), (other, there) in (ends, ends[::-1]):
            if step is None and segment[row] == segment[other]:
                own: RowKey | Column = other if there is None else (segment[other], there)
                near.setdefault(row, set()).add(own)
    found: dict[RowKey, list[Column]] = {}
    for row in segment:
        reached: set[Column] = set()
        seen, stack = {row}, [row]
        while stack:
            for link in near.get(stack.pop(), ()):
                if len(link) == 2:
                    reached.add(link)
                elif link not in seen:
                    seen.add(link)
                    stack.append(link)
        own_columns = [column for column in columns if column[0] == segment[row]]
        found[row] = [c for c in own_columns if c in reached] or own_columns or columns
    return found


def ordered(rows: list[RowKey], links: list[Link]) -> list[RowKey]:
    """Rows from bottom to top: what feeds a row within a time step stands below it.

    Otherwise in the order in which they were recorded; cycles are left in that order too.
    """
    below: dict[RowKey, set[RowKey]] = {row: set() for row in rows}
    for edge, (tail, _), (head, _) in links:
        if not edge.delay and tail != head:
            below[head].add(tail)
    done: dict[RowKey, None] = {}
    while len(done) < len(rows):
        waiting = [row for row in rows if row not in done]
        ready = (row for row in waiting if below[row] <= done.keys())
        done[next(ready, waiting[0])] = None
    return list(done)
