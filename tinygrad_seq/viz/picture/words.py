"""What the drawings say about an item or an edge when it is pointed at."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import WEIGHT, Edge, Item, Span
from tinygrad_seq.viz.picture.style import number, shape_text

__all__ = ["edge_tooltip", "item_tooltip", "span_text"]


def span_text(span: Span) -> str:
    """A norm, or the range of several."""
    if span.count == 1 or span.low == span.high:
        return number(span.low)
    return f"{number(span.low)} … {number(span.high)}"


def item_tooltip(item: Item) -> str:
    """Operation, shape, norms and source line, in one line of text."""
    place = item.place
    where = [place.path] if place.path else []
    if place.layer is not None:
        where.append(f"layer {place.layer}")
    if isinstance(place.step, int) and item.kind != "weight":
        where.append(f"t = {place.step}")
    if item.kind == "input":
        return ", ".join(["input", *where])
    if item.kind == "carried":
        said = {"zero": "starts at zero", "cut": "carried in, its gradient cut off"}
        return ", ".join(
            [f"state {item.part}", said.get(item.note, "carried in as a constant"), *where]
        )
    if item.kind == "start":
        return ", ".join([f"state at the start: {item.note}", *where])
    if item.kind == "weight":
        names = [f"{name} ({shape_text(shape)})" for name, shape, *_ in item.names]
        return "; ".join(names)
    ops = ", ".join(f"{count} {name}" if count > 1 else name for name, count in item.ops.items())
    parts = [", ".join(where)] if where else []
    parts.append(f"{item.count} recorded nodes: {ops}" if item.count > 1 else ops)
    if shape_text(item.shape):
        parts.append(f"shape {shape_text(item.shape)} {item.dtype}")
    for symbol, spans in (("", item.values), ("∂L/∂", item.gradients)):
        for role in ("h", "c", item.part, ""):
            if role in spans and (role or len(spans) == 1):
                text = f"|{symbol}{role or 'out'}| = {span_text(spans[role])}"
                if text not in parts:
                    parts.append(text)
    if item.source:
        parts.append(item.source)
    return " | ".join(parts)


def edge_tooltip(edge: Edge) -> str:
    """Kind, delay and counts of an edge."""
    kind = {"h": "state h", "c": "state c", "depth": "to the next layer"}.get(edge.kind, edge.kind)
    parts = [kind]
    if edge.delay:
        parts.append(f"{edge.delay:+d} step")
    if edge.cut:
        parts.append("value goes on, gradient stops")
    if edge.count > 1:
        parts.append(f"{edge.count} recorded edges")
    if edge.kind == WEIGHT and edge.contribution is not None:
        parts.append(f"adds |dL/dW| {span_text(edge.contribution)}")
    return ", ".join(parts)
