"""Weights as the reader knows them: those of one layer in one box, each named once."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_seq.viz.graph.items import WEIGHT, Graph, Item, Place, Span, widen

__all__ = ["bundle_weights"]


def bundle_weights(graph: Graph) -> Graph:
    """Merge weight items that the same rows use; uses of each parameter stay counted.

    Pure: the given graph is not changed. The names of a merged item are
    ``(name, shape, number of uses)``.
    """
    rows: dict[str, set[Place]] = {}
    uses: dict[str, int] = {}
    for edge in graph.edges.values():
        if edge.kind == WEIGHT:
            head = graph.items[edge.head].place
            rows.setdefault(edge.tail, set()).add(Place(head.path, head.layer))
            uses[edge.tail] = uses.get(edge.tail, 0) + edge.count
    into: dict[str, str] = {}
    merged = replace(graph, items={}, edges={})
    for item in graph.items.values():
        if item.kind != "weight" or item.id not in rows:
            merged.items[item.id] = item
            continue
        name = into[item.id] = "weights:" + "+".join(sorted(map(str, rows[item.id])))
        if name not in merged.items:
            home = min(rows[item.id], key=str)
            merged.items[name] = Item(name, "weight", home, dtype=item.dtype)
        bundle = merged.items[name]
        bundle.count += item.count
        if "" in item.gradients:
            widen(bundle.gradients, "W", item.gradients[""])
        bundle.names += [(text, shape, uses[item.id]) for text, shape, *_ in item.names]
    for name in {*into.values()}:
        bundle = merged.items[name]
        whole = bundle.gradients.pop("W", None)
        if whole is not None and whole.count == bundle.count:  # else it would be no sum
            bundle.gradients["W"] = Span.of(whole.squares**0.5)
    for edge in graph.edges.values():
        tail = into.get(edge.tail, edge.tail)
        known = merged.edges.get((tail, edge.head, edge.kind, edge.delay))
        if known is None:
            share = edge.contribution and replace(edge.contribution)
            known = replace(edge, tail=tail, contribution=share)
            merged.edges[tail, edge.head, edge.kind, edge.delay] = known
            continue
        known.count += edge.count
        if edge.contribution is not None and known.contribution is not None:
            known.contribution.add(edge.contribution)
    return merged
