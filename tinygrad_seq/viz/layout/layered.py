"""Nodes of one place in layers by depth: for op level, and for cells that no template fits.

A small layered layout in Sugiyama's manner: layers by longest path, crossings reduced by
barycentres, long edges led through the layers between. State inputs stand leftmost and states
rightmost, so that the roads between time steps cross no node.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tinygrad_seq.timeline.roles import GATES, SQUASHED_CELL
from tinygrad_seq.viz.graph.items import WEIGHT, Edge, Graph, Item
from tinygrad_seq.viz.layout.block import Block, ports
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire
from tinygrad_seq.viz.picture.style import Style, Theme, subscript
from tinygrad_seq.viz.picture.words import edge_look, item_look, norm_text

__all__ = ["layered_block"]

SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "negative": "−",
    "matmul": "@",
    "sigmoid": "σ",
}
LAYER_GAP, NODE_GAP, DUMMY = 24.0, 12.0, 10.0
SWEEPS = 8


def layered_block(items: list[Item], edges: list[Edge], graph: Graph, style: Style) -> Block:
    """Lay out the items of one place by the recorded edges between them."""
    fed, leaving = _state_parts(graph)
    shapes = {item.id: _shape(item, graph, style) for item in items}
    layout = _Layers(list(shapes), edges, {name: s.width for name, s in shapes.items()})
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


def _shape(item: Item, graph: Graph, style: Style) -> Shape:
    theme = style.theme
    chain = [op for op in item.ops if op not in {"item", "split"}] or list(item.ops)
    symbol = ", ".join(SYMBOLS.get(op, op) for op in chain)
    role = min(item.roles, default="")
    state = role in item.states
    name = role + subscript(item.place.step) if state else role
    lines = [Line(f"{name} = {symbol}" if name else symbol, 11, bold=bool(name))]
    fill = theme.output_fill if role else theme.box
    if role in (SQUASHED_CELL, *(GATES if item.cell is None else item.cell.gates)):
        fill = theme.squash_fill if "tanh" in item.ops else theme.gate_fill
    look = item_look(item, f"op {role}".strip())
    shape = Shape(item.id, 0, 0, 0, 0, lines, fill=fill, **look)
    if state:
        shape.fill, shape.stroke = theme.state_fill(role), theme.state(role)
        span = item.gradients.get(role)
        if style.heat is not None and span is not None and span.count == 1:
            lines.append(Line(norm_text(role, span), 9))
        style.paint(shape, span)
    if style.weights == "labels":
        used = [graph.items[e.tail] for e in graph.into(item.id) if e.kind == WEIGHT]
        names = [name.rpartition(".")[2] for item_ in used for name, *_ in item_.names]
        lines += [Line(text, 9, color=theme.weight) for text in names]
    shape.width = max(26.0, *(line.width + 10 for line in lines))
    shape.height = sum(line.height for line in lines) + 6
    return shape


def _wire(edge: Edge, tail: Shape, way: list[Point], head: Shape, theme: Theme) -> Wire:
    start = tail.outline(0, 1)
    last = way[-1] if way else start
    reach = max(min(last[0] - head.x, head.width * 0.3), -head.width * 0.3)
    corners = [start, *way, (head.x + reach, head.y - head.height / 2)]
    return Wire.along(edge.tail, edge.head, corners, theme.line, 1.1, 0.6, **edge_look(edge))


class _Layers:
    """Layers of names, with dummies where an edge passes through."""

    def __init__(self, names: list[str], edges: list[Edge], widths: dict[str, float]) -> None:
        self.widths = dict(widths)
        self.up: dict[str, list[str]] = {name: [] for name in names}
        self.down: dict[str, list[str]] = {name: [] for name in names}
        self.ways: dict[tuple[str, str], list[str]] = {}
        self.x: dict[str, float] = {}
        self.ends: dict[str, int] = {}
        """-1 or 1 of names that must stand at the left or right end of their layer."""
        for edge in edges:
            self._join(edge.tail, edge.head)
        depth = self._depths(names)
        self.layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
        for name in names:
            self.layers[depth[name]].append(name)
            self.up[name], self.down[name] = [], []
        for edge in edges:
            low, way = edge.tail, []
            for layer in range(depth[edge.tail] + 1, depth[edge.head]):
                dummy = f"{edge.tail}>{edge.head}@{layer}"
                self.layers[layer].append(dummy)
                self.widths[dummy] = DUMMY
                self.up[dummy], self.down[dummy] = [], []
                self._join(low, dummy)
                way.append(dummy)
                low = dummy
            self._join(low, edge.head)
            self.ways[edge.tail, edge.head] = way

    def _join(self, low: str, high: str) -> None:
        self.up[low].append(high)
        self.down[high].append(low)

    def _depths(self, names: list[str]) -> dict[str, int]:
        """Layer of every name: sources sink to just below what needs them."""
        depth = dict.fromkeys(names, 0)
        for _ in names:  # as many rounds as any chain is long; a cycle stops there
            settled = True
            for name in names:
                deeper = max((depth[tail] + 1 for tail in self.down[name]), default=0)
                if depth[name] < deeper < len(names):
                    depth[name], settled = deeper, False
            if settled:
                break
        for name in reversed(names):
            if not self.down[name] and self.up[name]:
                depth[name] = min(depth[head] for head in self.up[name]) - 1
        return depth

    def settle(self) -> None:
        """Order the layers, then give every name its x."""
        place = {name: float(i) for layer in self.layers for i, name in enumerate(layer)}
        for layer, near in self._sweeps():
            layer.sort(key=lambda name: (self.ends.get(name, 0), _middle(name, near, place)))
            for index, name in enumerate(layer):
                place[name] = index - (len(layer) - 1) / 2
        for layer in self.layers:
            x = 0.0
            for name in layer:
                self.x[name] = x + self.widths[name] / 2
                x += self.widths[name] + NODE_GAP
            for name in layer:
                self.x[name] -= (x - NODE_GAP) / 2
        for layer, near in self._sweeps():
            self._align(layer, near)
        middle = (self._edge(-1) + self._edge(1)) / 2
        for name in self.x:
            self.x[name] -= middle

    def _sweeps(self) -> Iterator[tuple[list[str], dict[str, list[str]]]]:
        """Every layer, and what it is to be near to: upwards, downwards, and so on."""
        for _ in range(SWEEPS // 2):
            yield from ((layer, self.down) for layer in self.layers)
            yield from ((layer, self.up) for layer in reversed(self.layers))

    def _align(self, layer: list[str], near: dict[str, list[str]]) -> None:
        """Move names towards their neighbours' middle, keeping order and distances."""
        goals = [_middle(name, near, self.x) for name in layer]
        from_left, from_right = list(goals), list(goals)
        gaps = [(self.widths[a] + self.widths[b]) / 2 + NODE_GAP for a, b in pairwise(layer)]
        for i, gap in enumerate(gaps):
            from_left[i + 1] = max(goals[i + 1], from_left[i] + gap)
        for i in reversed(range(len(gaps))):
            from_right[i] = min(goals[i], from_right[i + 1] - gaps[i])
        for name, low, high in zip(layer, from_right, from_left, strict=True):
            self.x[name] = (low + high) / 2

    def _edge(self, side: int) -> float:
        return side * max(side * self.x[n] + self.widths[n] / 2 for n in self.x)

    def width(self) -> float:
        """Of the widest layer."""
        return self._edge(1) - self._edge(-1)


def _middle(name: str, near: dict[str, list[str]], x: dict[str, float]) -> float:
    """Mean place of the neighbours of a name; its own if it has none."""
    others = near[name]
    return sum(x[other] for other in others) / len(others) if others else x[name]
