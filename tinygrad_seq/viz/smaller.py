"""Advice to who asked for more than can be drawn: what helps depends on what the graph has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from tinygrad_seq.errors import RenderError
from tinygrad_seq.viz.graph.items import Graph, Item, reaches, shortened
from tinygrad_seq.viz.graph.views import VIEWS, Level, View

__all__ = ["check_columns", "check_size", "ways_to_shrink"]

_OWN = {"weight", "input", "carried", "start", "begin"}
"""Kinds of items that no level and no depth puts together with others."""
_DRAWABLE = 10_000  # items that a renderer may still lay out


def check_columns(view: View, level: Level, steps: list[int], both: bool, max_items: int) -> None:
    """Refuse a view that has more columns than items are allowed: a column has one at least."""
    columns = len(view.axis(steps).columns)
    if columns > max_items:
        hint = " or ".join(f"draw(view={other.name!r})" for other in _shorter(view, both))
        hint = hint or f"draw(direction='forward', view={list(VIEWS)[-1]!r})"
        _refuse(columns, True, len(steps), level, max_items, hint)


def _shorter(view: View, both: bool) -> list[View]:
    """Views with fewer columns than this one; the way of the gradients needs several."""
    views = list(VIEWS.values())
    return [other for other in views[views.index(view) + 1 :] if not (both and other.folds)]


def check_size(graph: Graph, both: bool, weights: str, max_items: int) -> None:
    """Refuse a graph of too many items, and say which options make it small enough."""
    count = len(_drawn(graph, weights))
    if count > max_items:
        hint = ways_to_shrink(graph, both, weights, max_items)
        if count <= _DRAWABLE:
            hint += f", or allow it: max_items={count}"
        _refuse(count, False, graph.length, graph.level, max_items, hint)


def _drawn(graph: Graph, weights: str) -> list[Item]:
    hidden = weights == "hidden"
    return [item for item in graph.items.values() if not (hidden and item.kind == "weight")]


def _refuse(count: int, more: bool, steps: int, level: Level, max_items: int, hint: str) -> None:
    time = f"{steps:,} time step{'' if steps == 1 else 's'}" if steps else "no time steps"
    raise RenderError(
        f"draw: {count:,} items{' or more' if more else ''}, too many for a reader or a renderer",
        expected=f"at most max_items={max_items:,}",
        got=f"{time}, at {level.name} level",
        hint=hint,
    )


def ways_to_shrink(graph: Graph, both: bool, weights: str, goal: float | None = None) -> str:
    """The options with which this graph comes to no more than `goal` items, in words.

    By default half of what it has: for a renderer that is too slow.
    """
    items = _drawn(graph, weights)
    goal = len(items) / 2 if goal is None else goal
    ways = [f"draw({option})" for option in _options(graph, both, items, goal)]
    if not ways and weights != "hidden":
        items = _drawn(graph, "hidden")
        more = [f", {option}" for option in _options(graph, both, items, goal)]
        ways = [f"draw(weights='hidden'{also})" for also in ([""] if len(items) <= goal else more)]
    return ", or ".join(
        ways or ["draw an earlier result or a smaller program: less lies behind it"]
    )


def _options(graph: Graph, both: bool, items: list[Item], goal: float) -> list[str]:
    """Those of which each by itself is enough."""
    views = _shorter(graph.view, both) if graph.steps else []
    found = [f"view={view.name!r}" for view in views if _count_in(view, items) <= goal]
    if not graph.level.closed and _at_module_level(graph, items) <= goal:
        found.append("level='module'")
    deepest = max((item.place.path.count(".") + 1 for item in items if item.place.path), default=0)
    most = deepest if graph.depth is None else min(deepest, graph.depth - 1)
    for depth in range(most, -1, -1) if deepest else ():  # there are modules
        if len({_closed(item, depth) for item in items}) <= goal:
            found.append(f"depth={depth}")
            break
    return found


def _at_any_time(item: Item) -> Hashable:
    return item.place._replace(step=None), item.part, item.kind


def _count_in(view: View, items: list[Item]) -> int:
    timed = Counter(_at_any_time(item) for item in items if item.place.step is not None)
    timeless = len(items) - sum(timed.values())
    return timeless + sum(len(view.axis([*range(count)]).columns) for count in timed.values())


def _at_module_level(graph: Graph, items: list[Item]) -> int:
    """At most so many; op level has no inputs and no carried states, which module level adds."""
    places = {item.place for item in items if item.place.step is not None}
    added = len(places) + 2 * len({place.row for place in places}) if graph.level.plain else 0
    return len(set(map(_of_module, items))) + added


def _of_module(item: Item) -> Hashable:
    """What stands for an item at module level: its module, then, unless it is of none."""
    named = item.place.path or item.place.layer is not None or item.place.step is not None
    return item.place if named and item.kind not in _OWN else item.id


def _closed(item: Item, depth: int) -> Hashable:
    """What stands for an item where modules are closed from a depth on."""
    if item.kind in _OWN or not reaches(item.place.path, depth):
        return item.id
    path = shortened(item.place.path, depth)
    own = path == item.place.path
    return path, item.place.layer if own else None, item.place.step
