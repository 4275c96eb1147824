"""What is said about items and edges: when they are pointed at, and in boxes of weights."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.viz.graph.items import DEPTH, INPUT, WEIGHT, Edge, Item, Span
from tinygrad_seq.viz.picture.shapes import Line
from tinygrad_seq.viz.picture.style import Theme, number, shape_text

__all__ = ["edge_look", "item_look", "item_tooltip", "norm_text", "span_text", "weight_lines"]


def span_text(span: Span) -> str:
    """A norm, or the range of several."""
    if span.count == 1 or span.low == span.high:
        return number(span.low)
    return f"{number(span.low)} … {number(span.high)}"


def norm_text(role: str, span: Span) -> str:
    """The gradient norm of a state."""
    return f"|∂L/∂{role}| {span_text(span)}"


def item_tooltip(item: Item) -> str:
    """Operation, shape, norms and source line, in one line of text."""
    step = item.place.step
    where = _owner(item) + ([f"t = {step}"] if isinstance(step, int) else [])
    if item.kind == "weight":
        return "; ".join(f"{name} ({shape_text(shape)})" for name, shape, *_ in item.names)
    if item.kind in {"input", "carried", "start"}:
        came = {"zero": "starts at zero", "cut": "carried in, its gradient cut off"}
        said = {
            "input": ["input"],
            "carried": [f"state {item.part}", came.get(item.note, "carried in as a constant")],
            "start": [f"state at the start: {item.note}"],
        }
        return ", ".join([*said[item.kind], *where])
    ops = ", ".join(f"{count} {name}" if count > 1 else name for name, count in item.ops.items())
    parts = [", ".join(where)] if where else []
    parts.append(f"{item.count} recorded nodes: {ops}" if item.count > 1 else ops)
    if shape_text(item.shape):
        parts.append(f"shape {shape_text(item.shape)} {item.dtype}")
    for symbol, spans in (("", item.values), ("∂L/∂", item.gradients)):
        parts += [
            f"|{symbol}{role or 'out'}| = {span_text(spans[role])}"
            for role in dict.fromkeys((*item.states, item.part, ""))
            if role in spans and (role or len(spans) == 1)
        ]
    if item.source:
        parts.append(item.source)
    return " | ".join(parts)


def item_look(item: Item, classes: str) -> dict[str, Any]:
    """Tooltip and classes of a shape."""
    return {"tooltip": item_tooltip(item), "classes": classes}


def edge_look(edge: Edge) -> dict[str, Any]:
    """Tooltip and class of a wire: kind, delay and counts of the edge."""
    known = {DEPTH: "to the next layer", WEIGHT: "weight", INPUT: "input", "state": "state"}
    parts = [known.get(edge.kind, f"state {edge.kind}")]
    if edge.delay:
        parts.append(f"{edge.delay:+d} step")
    if edge.cut:
        parts.append("value goes on, gradient stops")
    if edge.count > 1:
        parts.append(f"{edge.count} recorded edges")
    if edge.kind == WEIGHT and edge.contribution is not None:
        parts.append(f"adds |dL/dW| {span_text(edge.contribution)}")
    return {"tooltip": ", ".join(parts), "classes": f"edge-{edge.kind.rstrip('-')}"}


def weight_lines(item: Item, theme: Theme, both: bool = False) -> list[Line]:
    """Whose weights they are, which, and how often each is used."""
    owner = item.note or ", ".join(_owner(item))
    lines = [Line(owner or "weights", 10, bold=True, color=theme.weight)]
    for name, shape, *_ in item.names:
        lines.append(Line(f"{_below(item.place.path, name)}  {shape_text(shape)}".rstrip(), 9))
    counts = sorted({uses for _, _, uses in item.names})
    often = " or ".join(f"{count:,}" for count in counts) + (" time" if counts == [1] else " times")
    lines.append(Line(f"used {often}", 9, color=theme.faint))
    if both:
        total = item.gradients.get("W")
        text = "dL/dW: their sum" if total is None else f"|dL/dW| {number(total.high)}"
        lines.append(Line(text, 9, color=theme.gradient))
    return lines


def _owner(item: Item) -> list[str]:
    """Module and layer."""
    path, layer = item.place.row
    return ([path] if path else []) + ([] if layer is None else [f"layer {layer}"])


def _below(path: str, name: str) -> str:
    """A parameter's name without the part of its path that its box's title says already."""
    ours, theirs = path.split("."), name.split(".")
    same = 0
    while same < min(len(ours), len(theirs) - 1) and ours[same] == theirs[same]:
        same += 1
    return ".".join(theirs[same:])
