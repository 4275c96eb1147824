"""Weights as the reader knows them: those of one layer in one box, each named once."""

from __future__ import annotations

from dataclasses import replace

from tinygrad_seq.viz.graph.items import Graph, Item, Span, widen

__all__ = ["bundle_weights"]


def bundle_weights(graph: Graph) -> Graph:
    """Merge weight items that the same rows use; uses of each parameter stay counted.

    Pure: the given graph is not changed. The names of a merged item are
    ``(name, shape, number of uses)``.
    """
    into: dict[str, str] = {}
    merged = replace(graph, items={}, edges={})
    for item in graph.items.values():
        used = graph.out_of(item.id)
        if item.kind != "weight" or not used:
            alone = item.kind == "weight"  # drawn for itself
            merged.items[item.id] = replace(item, kind="module") if alone else item
            continue
        rows = sorted({graph.items[edge.head].place.untimed for edge in used}, key=str)
        name = into[item.id] = "weights:" + "+".join(map(str, rows))
        bundle = merged.items.setdefault(name, Item(name, "weight", rows[0], dtype=item.dtype))
        paths = [row.path for row in rows]
        if all(paths) and len({*paths}) == len(paths) == 2:
            bundle.note = " and ".join(paths)
        bundle.count += item.count
        if "" in item.gradients:
            widen(bundle.gradients, "W", item.gradients[""])
        uses = sum(edge.count for edge in used)
        bundle.names += [(text, shape, uses) for text, shape, *_ in item.names]
    for name in {*into.values()}:
        bundle = merged.items[name]
        whole = bundle.gradients.pop("W", None)
        if whole is not None and whole.count == bundle.count:  # else it would be no sum
            bundle.gradients["W"] = Span.of(whole.squares**0.5)
    for key, edge in graph.edges.items():
        if edge.tail not in into:
            merged.edges[key] = edge
            continue
        known = merged.edge(into[edge.tail], edge.head, edge.kind, edge.delay, edge.count)
        known.names += [name for name, *_ in graph.items[edge.tail].names]
        if edge.contribution is not None:
            known.contribute(edge.contribution)
    return merged
