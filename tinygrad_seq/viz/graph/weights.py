"""Weights as the reader knows them: those of one layer in one box, each named once."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_seq.viz.graph.items import WEIGHT, Edge, Graph, Item, Place, Span

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
    bundles: dict[str, Item] = {}
    into: dict[str, str] = {}
    items: dict[str, Item] = {}
    for item in graph.items.values():
        if item.kind != "weight" or item.id not in rows:
            items[item.id] = item
            continue
        name = "weights:" + "+".join(sorted(map(str, rows[item.id])))
        bundle = bundles.get(name)
        if bundle is None:
            home = min(rows[item.id], key=str)
            bundle = items[name] = bundles[name] = Item(name, "weight", home, dtype=item.dtype)
        bundle.count += item.count
        if "" in item.gradients:
            _join(bundle, item.gradients[""])
        bundle.names += [(text, shape, uses[item.id]) for text, shape, *_ in item.names]
        into[item.id] = name
    for bundle in bundles.values():
        if "W" in bundle.gradients and bundle.gradients["W"].count < bundle.count:
            del bundle.gradients["W"]  # a sum that misses some would be no sum
    merged = replace(graph, items=items, edges={})
    for edge in graph.edges.values():
        tail = into.get(edge.tail, edge.tail)
        key = (tail, edge.head, edge.kind, edge.delay)
        known = merged.edges.get(key)
        if known is None:
            share = edge.contribution
            copy = (
                None if share is None else Span(share.low, share.high, share.count, share.squares)
            )
            merged.edges[key] = Edge(
                tail, edge.head, edge.kind, edge.delay, edge.cut, edge.count, copy, edge.alignment
            )
        else:
            known.count += edge.count
            if edge.contribution is not None and known.contribution is not None:
                known.contribution.add(edge.contribution)
    return merged


def _join(bundle: Item, span: Span) -> None:
    """Add one parameter's gradient to the norm of all of them."""
    known = bundle.gradients.get("W")
    squares = span.squares + (known.squares if known is not None else 0.0)
    count = span.count + (known.count if known is not None else 0)
    bundle.gradients["W"] = Span(squares**0.5, squares**0.5, count, squares)
