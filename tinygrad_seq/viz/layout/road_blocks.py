"""The blocks of a cell without a picture: one for each step, with all wires inside it."""

from __future__ import annotations

from tinygrad_seq.viz.graph.items import Edge, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.layered import operation_shape
from tinygrad_seq.viz.layout.roads import Roads, entry_port, inside
from tinygrad_seq.viz.picture.shapes import Point, Shape, Wire
from tinygrad_seq.viz.picture.words import edge_look

__all__ = ["RoadBlocks"]

TURN = 8.0  # a wire that rises or falls by less does so on a slant


class RoadBlocks(Roads):
    """Draws the steps of a row where the plan says that everything stands."""

    def block(self, items: list[Item]) -> Block:
        """One step."""
        block = Block(self.width, self.height, [])
        twin = self.rows.twin
        here: dict[str, Shape] = {}
        for item in items:
            here[twin[item.id]] = shape = self._put(self.shapes[item.id], twin[item.id])
            block.shapes.append(shape)
        for state, height in self.roads.items():
            block.anchors[state] = self.gap[0], height
            end = here.get(self.on_road[state][-1])
            block.anchors[f"{state}+"] = end.outline(1, 0) if end else (self.width / 2, height)
        for item in items:
            self._connect(item, here, block)
        bottom = -self.height / 2
        block.anchors.setdefault("x:", (0.0, bottom))
        block.anchors.setdefault("w:", (self.gap[0] + 4, bottom))
        block.anchors["up:"] = (0.0, self.height / 2)
        return block

    def _put(self, shape: Shape, name: str) -> Shape:
        layer = self.layers.depth[name]
        shape.width, shape.height = self.sizes[name]
        shape.x, shape.y = (self.left[layer] + self.right[layer]) / 2, self.layers.x[name]
        return shape

    def _unrecorded(self, name: str, head: str, here: dict[str, Shape], block: Block) -> Shape:
        """What a step computes of constants alone, drawn as in the full step, but dashed."""
        item = self.members[name]
        of = f"constant:{self.graph.items[head].place}:{item.part}"
        shape = next((shape for shape in block.shapes if shape.id == of), None)
        if shape is None:
            shape = self._put(operation_shape(item, self.graph, self.style, []), name)
            shape.id, shape.dashed, shape.classes = of, True, "op constant"
            shape.tooltip = "computed of constants: not recorded"
            block.shapes.append(shape)
        if not any((wire.tail, wire.head) == (of, head) for wire in block.wires):
            twin = self.rows.twin[head]
            way = self._between(shape, here[twin], name, twin)
            look = {"tooltip": shape.tooltip, "classes": "edge-depth"}
            block.wires.append(Wire.along(of, head, way, self.style.theme.line, 1.2, 0.6, **look))
        return shape

    def _end(self, key: str, name: str) -> Point:
        """Where a wire meets the left of an operation."""
        layer = self.layers.depth[name]
        x = (self.left[layer] + self.right[layer] - self.sizes[name][0]) / 2
        return x, self.meets[key, name]

    def _led(
        self, ends: tuple[str, str], first: int, corners: list[Point], end: Point
    ) -> list[Point]:
        """From corners on, level through the layers from the first one, to an operation."""
        key, layer = ends[0], first
        for layer, y in enumerate(
            [*(self.layers.x[n] for n in self.layers.ways[ends]), end[1]], first
        ):
            before = corners[-1][1] if corners else y
            if abs(y - before) > TURN and ("out:", key) in self.climbing[layer]:
                x = self.track(layer, ("out:", key))
                corners += [(x, before), (x, y)]
            corners += [(self.left[layer] - 3, y), (self.right[layer] + 3, y)]
        del corners[-2:]
        left = [(self.left[layer], end[1])] if end[0] - self.left[layer] > 1 else []
        return [*corners, *left, end]

    def _connect(self, item: Item, here: dict[str, Shape], block: Block) -> None:
        """All wires to one operation, and its way up."""
        twin, depth, graph = self.rows.twin, self.layers.depth, self.graph
        name = twin[item.id]
        shape, layer = here[name], depth[name]
        top = self.height / 2
        for edge in graph.into(item.id):
            if inside(edge, graph):
                block.wires.append(self._wire(edge, here))
            elif edge.kind in graph.tracks or edge.delay:
                self._enter(edge, name, here, block)
        for port in ("x:", "w:"):
            self._from_below(port, item, here, block)
        if name in self.clear_above or name not in self.up:
            block.anchors[f"up: {item.id}"] = shape.x, top
            block.inner[f"up: {item.id}"] = [(shape.x, shape.y + shape.height / 2)]
        else:
            x = self.track(layer + 1, ("up:", name))
            y = shape.y + shape.height / 2 - 4  # clear of its road
            block.anchors[f"up: {item.id}"] = x, top
            block.inner[f"up: {item.id}"] = [(shape.x + shape.width / 2, y), (x, y)]

    def _from_below(self, port: str, item: Item, here: dict[str, Shape], block: Block) -> None:
        """The way of an input or of weights to an operation, or to what stands before it."""
        name, bottom = self.rows.twin[item.id], -self.height / 2
        shape = here[name]
        if (before := self.before(port, name, here)) is not None:
            name, shape = before, self._unrecorded(before, item.id, here, block)
            block.before[f"{port} {item.id}"] = shape.id
        if name in self.clear_below:
            x = shape.x + (-shape.width * 0.28 if port == "w:" else 0.0)
            block.anchors[f"{port} {item.id}"] = x, bottom
            if abs(shape.y - shape.height / 2 - bottom) >= 1:
                block.inner[f"{port} {item.id}"] = [(x, shape.y - shape.height / 2)]
        elif (port, name) in self.below:
            x, end = (
                self.track(self.layers.depth[name], self.source(port, name)),
                self._end(port, name),
            )
            block.anchors[f"{port} {item.id}"] = x, bottom
            block.inner[f"{port} {item.id}"] = [(x, end[1]), end]

    def _wire(self, edge: Edge, here: dict[str, Shape]) -> Wire:
        tail, head = self.rows.twin[edge.tail], self.rows.twin[edge.head]
        corners = self._between(here[tail], here[head], tail, head)
        state = next((k for k, road in self.on_road.items() if tail in road[-1:]), None)
        theme, look = self.style.theme, edge_look(edge)
        color = theme.line if state is None else theme.state(state)
        return Wire.along(edge.tail, edge.head, corners, color, 1.2, 0.6, **look)

    def _between(self, start: Shape, end: Shape, tail: str, head: str) -> list[Point]:
        """The way from one operation to another."""
        up = 1 if end.y > start.y else -1
        if self.layers.stands(tail, head) or {tail, head} <= {*self.upper}:
            return [start.outline(0, up), end.outline(0, -up)]
        if (tail, head) not in self.layers.ways:
            return [start.outline(1, 0), end.outline(-1, 0)]
        layer, y = self.layers.depth[tail], start.y
        corners = [start.outline(1, 0), (self.right[layer], y)]
        return _tidy(self._led((tail, head), layer + 1, corners, self._end(tail, head)))

    def _enter(
        self,
        edge: Edge,
        name: str,
        here: dict[str, Shape],
        block: Block,
    ) -> None:
        """A state's way from the left edge of the block to an operation."""
        port = entry_port(edge, self.graph)
        before = self.before(port, name, here)
        if before is not None:
            shape = self._unrecorded(before, edge.head, here, block)
            block.before[f"{port} {edge.head}"] = shape.id
        rest = self._way_in(port, before or name)
        if port not in self.roads:
            block.anchors[port] = self.gap[0], rest[0][1]
            block.anchors[f"{port} {edge.head}"] = block.anchors[port]
        block.inner[f"{port} {edge.head}"] = _tidy(rest)

    def _way_in(self, port: str, name: str) -> list[Point]:
        first, end = self.leaves[port, name], self._end(port, name)
        corners: list[Point] = []
        if port in self.roads and (port, "") in self.climbing[first]:
            way, road = self.layers.ways[port, name], self.roads[port]
            y = self.layers.x[way[0]] if way else end[1]
            if abs(y - road) > 1:
                x = self.track(first, (port, ""))
                corners = [(x, road), (x, y)]
        return self._led((port, name), first, corners, end)


def _tidy(corners: list[Point]) -> list[Point]:
    """Without corners that are none."""
    found = corners[:1]
    for index, (x, y) in enumerate(corners[1:], 1):
        last = index == len(corners) - 1
        if abs(x - found[-1][0]) + abs(y - found[-1][1]) < 0.5 and not last:
            continue
        level = len(found) > 1 and abs(found[-2][1] - found[-1][1]) < 0.01 > abs(y - found[-1][1])
        if level:
            found[-1] = x, y
        else:
            found.append((x, y))
    return found
