"""Nodes of one place in layers by depth: for op level, and for cells that no template fits.

A small layered layout in Sugiyama's manner: layers by longest path, crossings reduced by
barycentres, long edges led through the layers between. State inputs stand leftmost and states
rightmost, so that the roads between time steps cross no node.
"""

from __future__ import annotations

from itertools import pairwise

from tinygrad_seq.viz.graph.items import WEIGHT, Edge, Graph, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.picture.shapes import Line, Shape, Wire, route
from tinygrad_seq.viz.picture.style import HeatScale, Theme, number, subscript
from tinygrad_seq.viz.picture.words import edge_tooltip, item_tooltip

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


def layered_block(
    items: list[Item],
    edges: list[Edge],
    graph: Graph,
    theme: Theme,
    heat: HeatScale | None,
    weights: str,
) -> Block:
    """Lay out the items of one place by the recorded edges between them."""
    fed, leaving = _state_parts(graph)
    shapes = {item.id: _shape(item, graph, theme, heat, weights) for item in items}
    layout = _Layers(list(shapes), edges, {name: s.width for name, s in shapes.items()})
    layout.pin(
        left=[item.id for item in items if (item.place.row, item.part) in fed],
        right=[item.id for item in items if (item.place.row, item.part) in leaving],
    )
    layout.settle()
    heights = [
        max([shapes[name].height for name in layer if name in shapes], default=0.0)
        for layer in layout.layers
    ]
    total = sum(heights) + LAYER_GAP * (len(heights) - 1)
    y = -total / 2
    for layer, height in zip(layout.layers, heights, strict=True):
        for name in layer:
            layout.y[name] = y + height / 2
            if name in shapes:
                shapes[name].x, shapes[name].y = layout.x[name], y + height / 2
        y += height + LAYER_GAP
    wires = [_wire(edge, shapes, layout, theme) for edge in edges]
    anchors = {}
    for name, shape in shapes.items():
        half_w, half_h = shape.width / 2, shape.height / 2
        for port, point in {
            "x": (shape.x, shape.y - half_h),
            "w": (shape.x - half_w * 0.6, shape.y - half_h),
            "up": (shape.x, shape.y + half_h),
            "h": (shape.x - half_w, shape.y),
            "c": (shape.x - half_w, shape.y),
            "h+": (shape.x + half_w, shape.y),
            "c+": (shape.x + half_w, shape.y),
        }.items():
            anchors[f"{port} {name}"] = point
    return Block(layout.width(), total, list(shapes.values()), wires, anchors)


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


def _shape(item: Item, graph: Graph, theme: Theme, heat: HeatScale | None, weights: str) -> Shape:
    chain = [op for op in item.ops if op not in {"item", "split"}] or list(item.ops)
    symbol = ", ".join(SYMBOLS.get(op, op) for op in chain)
    role = min(item.roles, default="")
    state = role in {"h", "c"}
    name = role + subscript(item.place.step) if state else role
    lines = [Line(f"{name} = {symbol}" if name else symbol, 11, bold=bool(name))]
    fill, stroke = theme.box, theme.line
    if state:
        fill, stroke = (theme.h_fill, theme.h) if role == "h" else (theme.c_fill, theme.c)
    elif role in {"i", "f", "o"}:
        fill = theme.gate_fill
    elif role:
        fill = theme.squash_fill if role in {"g", "tanh_c"} else theme.output_fill
    span = item.gradients.get(role) if state else None
    if heat is not None and span is not None and span.count == 1:
        lines.append(Line(f"|∂L/∂{role}| {number(span.high)}", 9))
        fill = heat.color(span.high)
        for line in lines:
            line.color = heat.text(span.high)
    if weights == "labels":
        used = [graph.items[e.tail] for e in graph.into(item.id) if e.kind == WEIGHT]
        names = [name.rpartition(".")[2] for item_ in used for name, *_ in item_.names]
        lines += [Line(text, 9, color=theme.weight) for text in names]
    width = max(26.0, *(line.width + 10 for line in lines))
    height = sum(line.height for line in lines) + 6
    shape = Shape(item.id, 0, 0, width, height, lines, fill=fill, stroke=stroke)
    shape.tooltip, shape.classes = item_tooltip(item), f"op {role}".strip()
    return shape


def _wire(edge: Edge, shapes: dict[str, Shape], layout: _Layers, theme: Theme) -> Wire:
    tail, head = shapes[edge.tail], shapes[edge.head]
    start = (tail.x, tail.y + tail.height / 2)
    way = [(layout.x[name], layout.y[name]) for name in layout.ways.get(_key(edge), [])]
    last = way[-1] if way else start
    reach = max(min(last[0] - head.x, head.width * 0.3), -head.width * 0.3)
    end = (head.x + reach, head.y - head.height / 2)
    points, tip = route([start, *way, end], arrow=0.6)
    wire = Wire(edge.tail, edge.head, points, tip, theme.line, 1.1, arrow=0.6)
    wire.tooltip, wire.classes = edge_tooltip(edge), f"edge-{edge.kind}"
    return wire


Key = tuple[str, str]


def _key(edge: Edge) -> Key:
    return edge.tail, edge.head


class _Layers:
    """Layers of names, with dummies where an edge passes through."""

    def __init__(self, names: list[str], edges: list[Edge], widths: dict[str, float]) -> None:
        self.widths = dict(widths)
        self.up: dict[str, list[str]] = {name: [] for name in names}
        self.down: dict[str, list[str]] = {name: [] for name in names}
        self.ways: dict[Key, list[str]] = {}
        self.x: dict[str, float] = {}
        self.y: dict[str, float] = {}
        self._left: set[str] = set()
        self._right: set[str] = set()
        depth = self._depths(names, edges)
        self.layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
        for name in names:
            self.layers[depth[name]].append(name)
        for edge in edges:
            self._connect(edge, depth)

    @staticmethod
    def _depths(names: list[str], edges: list[Edge]) -> dict[str, int]:
        """Layer of every name: sources sink to just below what needs them."""
        before: dict[str, list[str]] = {name: [] for name in names}
        after: dict[str, list[str]] = {name: [] for name in names}
        for edge in edges:
            before[edge.head].append(edge.tail)
            after[edge.tail].append(edge.head)
        depth = dict.fromkeys(names, 0)
        for _ in names:  # as many rounds as any chain is long; a cycle stops there
            settled = True
            for name in names:
                deeper = max((depth[tail] + 1 for tail in before[name]), default=0)
                if depth[name] < deeper < len(names):
                    depth[name], settled = deeper, False
            if settled:
                break
        for name in reversed(names):
            if not before[name] and after[name]:
                depth[name] = min(depth[head] for head in after[name]) - 1
        return depth

    def _connect(self, edge: Edge, depth: dict[str, int]) -> None:
        low = edge.tail
        way = []
        for layer in range(depth[edge.tail] + 1, depth[edge.head]):
            dummy = f"{edge.tail}>{edge.head}@{layer}"
            self.layers[layer].append(dummy)
            self.widths[dummy] = DUMMY
            self.up[dummy], self.down[dummy] = [], []
            self.up[low].append(dummy)
            self.down[dummy].append(low)
            way.append(dummy)
            low = dummy
        self.up[low].append(edge.head)
        self.down[edge.head].append(low)
        self.ways[_key(edge)] = way

    def pin(self, left: list[str], right: list[str]) -> None:
        """Names that must stand at an end of their layer."""
        self._left, self._right = set(left), set(right)

    def settle(self) -> None:
        """Order the layers, then give every name its x."""
        place = {name: float(i) for layer in self.layers for i, name in enumerate(layer)}
        for sweep in range(SWEEPS):
            upwards = sweep % 2 == 0
            near = self.down if upwards else self.up
            for layer in self.layers if upwards else reversed(self.layers):
                layer.sort(key=lambda name: self._rank(name, near[name], place))
                for index, name in enumerate(layer):
                    place[name] = index - (len(layer) - 1) / 2
        self._place()

    def _rank(self, name: str, near: list[str], place: dict[str, float]) -> tuple[int, float]:
        end = -1 if name in self._left else 1 if name in self._right else 0
        mean = sum(place[other] for other in near) / len(near) if near else place[name]
        return end, mean

    def _place(self) -> None:
        for layer in self.layers:
            x = 0.0
            for name in layer:
                self.x[name] = x + self.widths[name] / 2
                x += self.widths[name] + NODE_GAP
            for name in layer:
                self.x[name] -= (x - NODE_GAP) / 2
        for sweep in range(SWEEPS):
            upwards = sweep % 2 == 0
            for layer in self.layers if upwards else reversed(self.layers):
                self._align(layer, self.down if upwards else self.up)
        middle = (self._edge(-1) + self._edge(1)) / 2
        for name in self.x:
            self.x[name] -= middle

    def _align(self, layer: list[str], near: dict[str, list[str]]) -> None:
        """Move names towards their neighbours' middle, keeping order and distances."""
        goals = [
            sum(self.x[other] for other in near[name]) / len(near[name])
            if near[name]
            else self.x[name]
            for name in layer
        ]
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
