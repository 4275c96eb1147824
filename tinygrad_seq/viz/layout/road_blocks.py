"""The blocks of a cell without a picture: one for each step, with all wires inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tinygrad_seq.viz.graph.items import Edge, Item
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.roads import Roads, entry_port, inside
from tinygrad_seq.viz.picture.shapes import Point, Shape, Wire
from tinygrad_seq.viz.picture.words import edge_look

__all__ = ["RoadBlocks"]

Ends = Mapping[tuple[str, str], Point]
"""By what comes and what it comes to: where it meets it."""


class RoadBlocks(Roads):
    """Draws the steps of a row where the plan says that everything stands."""

    def block(self, items: list[Item]) -> Block:
        """One step."""
        block = Block(self.width, self.height, [])
        twin, depth, y = self.rows.twin, self.layers.depth, self.layers.x
        here: dict[str, Shape] = {}
        for item in items:
            name = twin[item.id]
            shape = self.shapes[item.id]
            shape.width, shape.height = self.sizes[name]
            shape.x = (self.left[depth[name]] + self.right[depth[name]]) / 2
            shape.y = y[name]
            here[name] = shape
            block.shapes.append(shape)
        for state, height in self.roads.items():
            block.anchors[state] = self.gap[0], height
            end = here.get(self.on_road[state][-1])
            block.anchors[f"{state}+"] = end.outline(1, 0) if end else (self.width / 2, height)
        ends = self._ends()
        for item in items:
            self._connect(item, here, ends, block)
        bottom = -self.height / 2
        block.anchors.setdefault("x:", (0.0, bottom))
        block.anchors.setdefault("w:", (self.gap[0] + 4, bottom))
        block.anchors["up:"] = (0.0, self.height / 2)
        return block

    def _ends(self) -> dict[tuple[str, str], Point]:
        """Where each wire meets the left of an operation: none two at one place."""
        found: dict[tuple[str, str], Point] = {}
        for name in self.members:
            (width, height), layer = self.sizes[name], self.layers.depth[name]
            x, y = (self.left[layer] + self.right[layer] - width) / 2, self.layers.x[name]
            comes: dict[str, float] = {}
            for tail, head in self.edges:
                if head == name and (tail, head) in self.layers.ways:
                    comes[tail] = self._before(tail, name)
            for port, head in self.entries:
                if head == name:
                    straight = port in self.roads and not self.layers.ways[port, name]
                    comes[port] = self.roads[port] if straight else self.after(port, name)
            for port, head in self.below:
                if head == name and name not in self.clear_below:
                    comes[port] = -self.height
            order = sorted(comes, key=lambda key: comes[key])
            step = min(8.0, (height - 6) / max(len(order) - 1, 1))
            level = [k for k, key in enumerate(order) if abs(comes[key] - y) < 1]
            middle = level[0] if level else (len(order) - 1) / 2  # what comes level stays so
            for k, key in enumerate(order):
                aside = min(max(step * (k - middle), 2 - height / 2), height / 2 - 2)
                found[key, name] = x, y + aside
        return found

    def _before(self, tail: str, head: str) -> float:
        way = self.layers.ways[tail, head]
        return self.layers.x[way[-1] if way else tail]

    def _through(self, way: Iterable[str], first: int) -> list[Point]:
        """Level through every layer that a way passes."""
        points: list[Point] = []
        for layer, dummy in enumerate(way, first):
            y = self.layers.x[dummy]
            points += [(self.left[layer] - 3, y), (self.right[layer] + 3, y)]
        return points

    def _connect(self, item: Item, here: dict[str, Shape], ends: Ends, block: Block) -> None:
        """All wires to one operation, and its way up."""
        twin, depth, graph = self.rows.twin, self.layers.depth, self.graph
        name = twin[item.id]
        shape, layer = here[name], depth[name]
        top, bottom = self.height / 2, -self.height / 2
        for edge in graph.into(item.id):
            if inside(edge, graph):
                block.wires.append(self._wire(edge, here, ends))
            elif edge.kind in graph.tracks or edge.delay:
                self._enter(edge, name, here, ends, block)
        for port in ("x:", "w:"):
            if name in self.clear_below:
                x = shape.x + (-shape.width * 0.28 if port == "w:" else 0.0)
                if abs(shape.y - shape.height / 2 - bottom) < 1:
                    block.anchors[f"{port} {item.id}"] = x, bottom
                    continue
                block.anchors[f"{port} {item.id}"] = x, bottom
                block.inner[f"{port} {item.id}"] = [(x, shape.y - shape.height / 2)]
            elif (port, name) in self.below:
                x = self.track(layer, (port, name))
                end = ends[port, name]
                block.anchors[f"{port} {item.id}"] = x, bottom
                block.inner[f"{port} {item.id}"] = [(x, end[1]), end]
        if name in self.clear_above or name not in self.up:
            block.anchors[f"up: {item.id}"] = shape.x, top
            block.inner[f"up: {item.id}"] = [(shape.x, shape.y + shape.height / 2)]
        else:
            x, y = self.track(layer + 1, ("up:", name)), shape.y + shape.height / 4
            block.anchors[f"up: {item.id}"] = x, top
            block.inner[f"up: {item.id}"] = [(shape.x + shape.width / 2, y), (x, y)]

    def _wire(self, edge: Edge, here: dict[str, Shape], ends: Ends) -> Wire:
        twin, theme = self.rows.twin, self.style.theme
        tail, head = twin[edge.tail], twin[edge.head]
        start = here[tail]
        corners = [start.outline(1, 0)]
        if (tail, head) in self.layers.ways:
            corners += self._way_on(tail, head, start.y, ends)
        elif {tail, head} <= {*self.upper}:
            corners = [start.outline(0, 1), here[head].outline(0, -1)]
        else:
            corners.append(here[head].outline(-1, 0))
        state = next((k for k, road in self.on_road.items() if tail in road[-1:]), None)
        color = theme.line if state is None else theme.state(state)
        look = edge_look(edge)
        return Wire.along(edge.tail, edge.head, _tidy(corners), color, 1.2, 0.6, **look)

    def _enter(
        self,
        edge: Edge,
        name: str,
        here: Mapping[str, Shape],
        ends: Ends,
        block: Block,
    ) -> None:
        """A state's way from the left edge of the block to an operation."""
        port = entry_port(edge, self.graph)
        between = self.instead(port, name, here)
        rest = self._way_in(port, between or name, ends)
        if between is not None:
            rest += self._way_on(between, name, self.layers.x[between], ends)
        if port not in self.roads:
            block.anchors[port] = self.gap[0], rest[0][1]
            block.anchors[f"{port} {edge.head}"] = block.anchors[port]
        block.inner[f"{port} {edge.head}"] = _tidy(rest)

    def _way_in(self, port: str, name: str, ends: Ends) -> list[Point]:
        first, way = self.leaves[port, name], self.layers.ways[port, name]
        end, left = ends[port, name], self.left[self.layers.depth[name]]
        through = self._through(way, first)
        rest = [*through, (left, end[1]), end] if end[0] - left > 1 else [*through, end]
        climbs = port in self.roads and (port, "") in self.climbing[first]
        if climbs and abs(rest[0][1] - self.roads[port]) > 1:
            x = self.track(first, (port, ""))
            rest = [(x, self.roads[port]), (x, rest[0][1]), *rest]
        return rest

    def _way_on(self, tail: str, head: str, y: float, ends: Ends) -> list[Point]:
        """From the right of the layer of one operation to another."""
        layer, way = self.layers.depth[tail], self.layers.ways[tail, head]
        corners = [(self.right[layer], y), *self._through(way, layer + 1)]
        end, left = ends[tail, head], self.left[self.layers.depth[head]]
        if end[0] - left > 1:
            corners.append((left, end[1]))
        return [*corners, end]


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
