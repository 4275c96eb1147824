"""Weights as the reader knows them: those of one layer in one box, each named once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tinygrad_seq.viz.graph.alike import rows_of_steps
from tinygrad_seq.viz.graph.items import DEPTH, WEIGHT, Graph, Item, Row, Span, widen

__all__ = ["bundle_weights", "serves_steps"]


def bundle_weights(graph: Graph) -> Graph:
    """Merge weight items that the same rows use; uses of each parameter stay counted.

    Pure: the given graph is not changed. The names of a merged item are
    ``(name, shape, number of uses)``.
    """
    into: dict[str, str] = {}
    steps = rows_of_steps(graph)
    merged = replace(graph, items={}, edges={})
    for item in graph.items.values():
        used = graph.out_of(item.id)
        unnamed = item.kind == "leaf" and serves_steps(item, steps, graph)
        if not used or not (item.kind == "weight" or unnamed):
            merged.items[item.id] = item
            continue
        rows = sorted({graph.items[edge.head].place.untimed for edge in used}, key=str)
        name = into[item.id] = "weights:" + "+".join(map(str, rows))
        bundle = merged.items.setdefault(name, Item(name, "weight", rows[0], dtype=item.dtype))
        bundle.count += item.count
        if "" in item.gradients:
            widen(bundle.gradients, "W", item.gradients[""])
        uses = sum(edge.count for edge in used)
        bundle.names += [(_name(item, text), shape, uses) for text, shape, *_ in item.names]
    for name in {*into.values()}:
        bundle = merged.items[name]
        whole = bundle.gradients.pop("W", None)
        if whole is not None and whole.count == bundle.count:  # else it would be no sum
            bundle.gradients["W"] = Span.of(whole.squares**0.5)
    for key, edge in graph.edges.items():
        if edge.tail not in into:
            merged.edges[key] = edge
            continue
        known = merged.edge(into[edge.tail], edge.head, WEIGHT, edge.delay, edge.count)
        tail = graph.items[edge.tail]
        known.names += [_name(tail, name) for name, *_ in tail.names]
        if edge.contribution is not None:
            known.contribute(edge.contribution)
    return merged


def serves_steps(item: Item, steps: Collection[Row], graph: Graph) -> bool:
    """Whether a leaf without a name is a weight of a loop: several times the same in its steps."""
    used = graph.out_of(item.id)
    heads = [graph.items[edge.head].place for edge in used]
    inside = all(head.row in steps and head.step is not None for head in heads)
    plain = all(edge.kind == DEPTH and not edge.delay for edge in used)
    return inside and plain and sum(edge.count for edge in used) > 1


def _name(item: Item, text: str) -> str:
    """A weight's name; of one that has none, its number among those."""
    return text if item.kind == "weight" else item.id.replace("leaf:", "W")
