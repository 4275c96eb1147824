"""Nodes of one place in layers by depth: for op level, and for cells that no template fits.

A small layered layout in Sugiyama's manner: layers by longest path, crossings reduced by
barycentres, long edges led through the layers between. State inputs stand leftmost and states
rightmost, so that the roads between time steps cross no node.
"""

from __future__ import annotations

from collections.abc import Mapping

from tinygrad_seq.timeline.roles import GATES, NEW, RESET, SQUASHED_CELL, UPDATE
from tinygrad_seq.viz.graph.items import WEIGHT, Edge, Graph, Item
from tinygrad_seq.viz.layout.block import Block, ports
from tinygrad_seq.viz.layout.sugiyama import Layers, depths
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire
from tinygrad_seq.viz.picture.style import Style, Theme, subscript
from tinygrad_seq.viz.picture.words import edge_look, item_look, norm_text

__all__ = ["layered_block", "operation_shape"]

SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "negative": "−",
    "matmul": "@",
    "sigmoid": "σ",
}
IN_CELLS = {**SYMBOLS, "linear": "@ +", "concatenate": "[ , ]", "power": "^"}
_GATES = (*GATES, RESET, UPDATE, NEW)
"""Of what says nothing of its gates."""
LAYER_GAP, NODE_GAP = 24.0, 12.0


def layered_block(items: list[Item], edges: list[Edge], graph: Graph, style: Style) -> Block:
    """Lay out the items of one place by the recorded edges between them."""
    fed, leaving = _state_parts(graph)
    shapes = {item.id: operation_shape(item, graph, style) for item in items}
    ends, widths = [(e.tail, e.head) for e in edges], {name: s.width for name, s in shapes.items()}
    layout = Layers(depths(list(shapes), ends), ends, widths, NODE_GAP)
    for item in items:
        part = item.place.row, item.part
        layout.ends[item.id] = -1 if part in fed else 1 if part in leaving else 0
    layout.settle()
    heights = [
        max((shapes[name].height for name in layer if name in shapes), default=0.0)
        for layer in layout.layers
    ]
    total = sum(heights) + LAYER_GAP * (len(heights) - 1)
    at: dict[str, Point] = {}
    y = -total / 2
    for layer, height in zip(layout.layers, heights, strict=True):
        at |= {name: (layout.x[name], y + height / 2) for name in layer}
        y += height + LAYER_GAP
    block = Block(layout.width(), total, list(shapes.values()))
    for name, shape in shapes.items():
        shape.x, shape.y = at[name]
        block.anchors |= {f"{port} {name}": point for port, point in ports(shape).items()}
        block.anchors[f"w: {name}"] = shape.x - shape.width * 0.3, shape.y - shape.height / 2
    for edge in edges:
        way = [at[name] for name in layout.ways[edge.tail, edge.head]]
        block.wires.append(_wire(edge, shapes[edge.tail], way, shapes[edge.head], style.theme))
    return block


Part = tuple[tuple[str, "int | None"], str]


def _state_parts(graph: Graph) -> tuple[set[Part], set[Part]]:
    """Parts that states enter and leave at some step: they stand alike at every step."""
    fed, leaving = set(), set()
    for edge in graph.edges.values():
        if edge.delay:
            tail, head = graph.items[edge.tail], graph.items[edge.head]
            fed.add((head.place.row, head.part))
            leaving.add((tail.place.row, tail.part))
    return fed, leaving


def operation_shape(
    item: Item, graph: Graph, style: Style, names: list[str] | None = None
) -> Shape:
    """One operation, with the names of the weights that it uses, or that labels are to tell."""
    theme = style.theme
    chain = [op for op in item.ops if op not in {"item", "split"}] or list(item.ops)
    symbols = SYMBOLS if names is None else IN_CELLS
    symbol = ", ".join(_symbol(op, symbols, item) for op in chain)
    role = min(item.roles, default="")
    state = role in item.states
    name = role + subscript(item.place.step) if state else role
    lines = [Line(f"{name} = {symbol}" if name else symbol, 11, bold=bool(name))]
    fill = theme.output_fill if role else theme.box
    gates = (() if item.cell is None else item.cell.gates) or _GATES
    squashes = names is not None and not state and {*item.ops} & {"sigmoid", "tanh"}
    if role in (SQUASHED_CELL, *gates) or squashes:
        fill = theme.squash_fill if "tanh" in item.ops else theme.gate_fill
    look = item_look(item, f"op {role}".strip())
    shape = Shape(item.id, 0, 0, 0, 0, lines, fill=fill, **look)
    if state:
        shape.fill, shape.stroke = theme.state_fill(role), theme.state(role)
        span = item.gradients.get(role)
        if style.heat is not None and span is not None and span.count == 1:
            lines.append(Line(norm_text(role, span), 9))
        style.paint(shape, span)
    if names:
        lines.append(Line(", ".join(names), 8, color=theme.weight))
    elif names is None and style.weights == "labels":
        used = [graph.items[e.tail] for e in graph.into(item.id) if e.kind == WEIGHT]
        names = [name.rpartition(".")[2] for item_ in used for name, *_ in item_.names]
        lines += [Line(text, 9, color=theme.weight) for text in names]
    shape.width = max(26.0, *(line.width + 10 for line in lines))
    shape.height = sum(line.height for line in lines) + 6
    return shape


def _symbol(op: str, symbols: Mapping[str, str], item: Item) -> str:
    """The sign of an operation, with the number that it takes: ``1 −``."""
    figures = [*item.figures.get(op, ())]
    if op not in symbols or len(figures) != 1:
        return symbols.get(op, op)
    (figure, place), sign = figures[0], symbols[op]
    number = f"{figure:g}".replace("-", "−")
    return f"{sign} {number}" if place else f"{number} {sign}"


def _wire(edge: Edge, tail: Shape, way: list[Point], head: Shape, theme: Theme) -> Wire:
    start = tail.outline(0, 1)
    last = way[-1] if way else start
    reach = max(min(last[0] - head.x, head.width * 0.3), -head.width * 0.3)
    corners = [start, *way, (head.x + reach, head.y - head.height / 2)]
    return Wire.along(edge.tail, edge.head, corners, theme.line, 1.1, 0.6, **edge_look(edge))
