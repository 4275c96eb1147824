"""The wires between blocks: states as roads through time, depth upwards, weights along rails."""

from __future__ import annotations

from itertools import pairwise

from tinygrad_seq.viz.graph.items import BEGIN, FOLDED, WEIGHT, Edge, Item, Step
from tinygrad_seq.viz.layout.columns import RowKey
from tinygrad_seq.viz.layout.grid import PAD
from tinygrad_seq.viz.layout.weight_boxes import weight_boxes
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire, route
from tinygrad_seq.viz.picture.style import number, subscript
from tinygrad_seq.viz.picture.words import edge_tooltip, item_tooltip
from tinygrad_seq.viz.route.attention import fan
from tinygrad_seq.viz.route.lanes import around
from tinygrad_seq.viz.route.states import Roads
from tinygrad_seq.viz.route.wires import road_of

__all__ = ["Wiring"]


class Wiring(Roads):
    """Adds wires, and the shapes that only wires need, to a grid's picture."""

    def connect(self) -> None:
        """Draw every edge between blocks."""
        if self.weights == "once":
            self._boxes = weight_boxes(self.grid, self.theme, self.both)
        for edge in self.graph.edges.values():
            if edge.kind != WEIGHT:
                self._connect(edge)
        if self.weights == "once":
            for item, row, box in self._boxes:
                self._weights(item, row, box)
        elif self.weights == "labels" and not self.graph.level.plain:
            self._weight_labels()
        self._name_roads()

    def _name_roads(self) -> None:
        """Give everything along one state or one weight a common class, for pages to follow."""
        on: dict[str, set[str]] = {}
        for edge in self.graph.edges.values():
            if edge.kind == WEIGHT:
                road = edge.tail
            elif edge.delay:
                place = self.graph.items[edge.head].place
                road = f"{edge.kind} of {place.path} {place.layer}"
            else:
                continue
            number_ = self._road_numbers.setdefault(road, len(self._road_numbers))
            for name in (edge.tail, edge.head, road_of(edge)):
                on.setdefault(name, set()).add(f"road-{number_}")
        for item in self.graph.items.values():  # the last states lead nowhere, but lie on it too
            for kind in item.roles & {"h", "c"}:
                road = f"{kind} of {item.place.path} {item.place.layer}"
                if road in self._road_numbers and item.place.step is not None:
                    for name in (item.id, f"{item.id}#{kind}"):
                        on.setdefault(name, set()).add(f"road-{self._road_numbers[road]}")
        for shape in self.picture.shapes:
            names = on.get(shape.id.removesuffix("·").removesuffix("#"), set())
            shape.classes = " ".join([shape.classes, *sorted(names)]).strip()
        for wire in self.picture.wires:
            names = on.get(wire.road, set())
            wire.classes = " ".join([wire.classes, *sorted(names)]).strip()

    def _connect(self, edge: Edge) -> None:
        head, tail = self.graph.items[edge.head], self.graph.items[edge.tail]
        if self._held(edge):
            self._hold(edge)
        elif self._branches_off(edge):
            self._branch(edge, tail)
        elif tail.kind in {"carried", "start"}:
            self._carried(edge, tail)
        elif head.kind == "start":
            return  # named in the label of the start
        elif tail.kind == "input":
            shape = self.grid.inputs[tail.id]
            way = [(shape.x, shape.y + 9), self.grid.anchor(edge.head, "x")]
            way = around(self.grid, edge, self.grid.column(edge.head), way)
            self._wire(edge, way).tail = shape.id
        elif head.kind == "begin":
            self._into_begin(edge)
        elif tail.kind == "begin" and edge.kind in {"h", "c"}:
            self._state(edge)
        elif edge.delay and head.place.step == FOLDED and head.place.row == tail.place.row:
            self._loop(edge)
        elif edge.delay and self.graph.level.plain:
            if self.grid.column(edge.tail)[0] != self.grid.column(edge.head)[0]:
                self._bridge(edge)
            else:
                self._state_by_lanes(edge)
        elif edge.delay:
            self._state(edge)
        elif self.grid.where[edge.tail] != self.grid.where[edge.head]:
            self._depth(edge)

    # -- depth ----------------------------------------------------------------------------------

    def _depth(self, edge: Edge) -> None:
        """Up to the next row; along the gap below it where the two are not above one another."""
        head_row, head_step = self.grid.where[edge.head]
        tail_row, tail_step = self.grid.where[edge.tail]
        fanned = self.grid.fanned(edge)
        if fanned:
            self.picture.wires += fan(self.grid, edge, self.theme)
            if not self.both:
                return
        start, end = self.grid.anchor(edge.tail, "up"), self.grid.anchor(edge.head, "x")
        y, height = self.grid.y[tail_row]
        corners = [start, end]
        if head_step is None and tail_step is None:
            pass
        elif head_step is None:
            other, tall = self.grid.y[head_row]
            corners = self._exit(edge, other - tall / 2)
            if other < y:  # a module that is closed may read its own steps below them
                corners = [(start[0] + 16, y - height / 2), (start[0] + 16, other + tall / 2)]
        elif tail_step is None:
            left, right = self.grid.extent(tail_row)
            if left <= end[0] <= right:
                corners = [(end[0], y + height / 2), end]
            else:  # a memory that a later time axis reads: along the gap below the reader
                lane = self.grid.y[head_row][0] - self.grid.y[head_row][1] / 2 - 14
                box = self.grid.blocks[tail_row, None].shapes[0]
                right = max(right, box.x + box.width / 2)  # at least as wide as its name
                out, level = self._track(edge), self._level(edge, lane)
                leave = level if abs(level - y) < 6 else y  # no kink for a hair's breadth
                corners = [(right, leave), (out, leave), (out, level)]
                if level != lane:
                    back = self.grid.start(head_row) - 8
                    corners += [(back, level), (back, lane)]
                corners += self._entry(edge, lane, "w", -1)
        elif abs(start[0] - end[0]) >= 1 or self._deep(edge):
            lane = y + height / 2 + (27 if self.graph.view.folds else 12)
            corners = [start, (start[0], lane), *self._entry(edge, lane, "x", 1)]
        if head_step is not None or tail_step is not None:
            here = edge.head if head_step is not None else edge.tail
            corners = around(self.grid, edge, self.grid.column(here), corners)
        if not fanned:
            self._wire(edge, corners)
        self._gradient(edge, corners)

    def _deep(self, edge: Edge) -> bool:
        """Whether an edge ends at a node that others of its block stand below."""
        block = self.grid.blocks[self.grid.where[edge.head]]
        bottom = self.grid.y[self.grid.where[edge.head][0]][0] - block.height / 2
        return self.grid.anchor(edge.head, "x")[1] > bottom + 20

    def _exit(self, edge: Edge, top: float) -> list[Point]:
        """From a node up to what spans its column: past the side of what stands above it."""
        (x, y), block = self.grid.anchor(edge.tail, "up"), self.grid.blocks[self._at(edge.tail)]
        above = [s for s in block.shapes if s.y > y and abs(s.x - x) < s.width / 2 + 3]
        if not above or not self.graph.level.plain:
            return [(x, y), (x, top)]
        right = self._frame(self.grid.column(edge.tail))[1] - PAD
        out = self.grid.anchor(edge.tail, "h+")
        beside = [s for s in block.shapes if s.x > out[0] and abs(s.y - out[1]) < s.height / 2]
        first = [(x, y), (x, y + 8), (right + 5, y + 8)] if beside else [out, (right + 5, out[1])]
        return [*first, (right + 5, top - 9), (right - 12, top - 9), (right - 12, top)]

    def _at(self, item: str) -> tuple[RowKey, Step]:
        return self.grid.where[item]

    def _entry(self, edge: Edge, lane: float, port: str, side: int) -> list[Point]:
        """From a lane below a block to one of its nodes: from below, or round the block's side."""
        if not self._deep(edge):
            end = self.grid.anchor(edge.head, port)
            return [(end[0], lane), end]
        block = self.grid.blocks[self.grid.where[edge.head]]
        xs = [shape.x + side * shape.width / 2 for shape in block.shapes]
        x = (max(xs) if side > 0 else min(xs)) + side * 8
        end = self.grid.anchor(edge.head, "h+" if side > 0 else "h")
        return [(x, lane), (x, end[1]), end]

    # -- weights --------------------------------------------------------------------------------

    def _weights(self, item: Item, row: RowKey, box: Shape) -> None:
        """A box for a bundle of weights, and a line from it to every use."""
        self.picture.shapes.append(box)
        start = (box.x + box.width / 2, box.y)
        for edge in self.graph.out_of(item.id):
            if edge.head not in self.grid.where:
                continue
            if self.grid.where[edge.head][1] == BEGIN:
                x, top = self.grid.anchor(edge.head, "up")
                corners = [(x, box.y - box.height / 2), (x, top)]
                self._wire(edge, corners, color=self.theme.weight, pen=1.3)
                self._gradient(edge, corners)
            else:
                self._weight_wire(edge, start, row)

    def _weight_wire(self, edge: Edge, start: Point, beside: RowKey) -> None:
        row, step = self.grid.where[edge.head]
        later = self.grid.segment[row] > self.grid.segment[beside]  # past the first axis, then up
        left = self.grid.start(row if later else beside)
        rail = self.grid.rail(row)
        if step is None:
            y, height = self.grid.y[row]
            end: Point = (self.grid.extent(row)[0] + 18, y - height / 2)
        else:
            end = self.grid.anchor(edge.head, "w")
        corners = [start]
        level = self._level(edge, start[1]) if later else start[1]
        if abs(level - start[1]) > 1:  # round the boxes of the later axis
            x = self._boxes_left(self.grid.segment[row], left - 14) - 6
            corners += [(x, start[1]), (x, level), (left - 20, level), (left - 20, rail)]
        elif abs(rail - start[1]) > 1:
            corners += [(left - 20, start[1]), (left - 20, rail)]
        self._wire(edge, [*corners, (end[0], rail), end], color=self.theme.weight, pen=1.3)
        if self.both:
            self._contribution(edge, start, rail, corners[1:] if later else [])

    def _contribution(self, edge: Edge, start: Point, rail: float, way: list[Point]) -> None:
        """What a time step adds to the gradient of the shared weights, flowing back to them."""
        lower = rail - 9
        x, top = self.grid.anchor(edge.head, "w-")
        back = [(start[0], (way[0][1] if way else rail) - 9)]
        for (u, v), (_, w) in pairwise(way):
            side = 9 if w > v else -9
            back += [(u + side, v - 9), (u + side, w - 9)] if abs(v - w) > 1 else []
        corners = [(x, top), (x, lower), *back[::-1]]
        points, tip = route(corners, arrow=0.6)
        wire = Wire(edge.head, edge.tail, points, tip, self.theme.gradient, 1.3, arrow=0.6)
        wire.tooltip, wire.classes = f"gradient of: {edge_tooltip(edge)}", "gradient"
        wire.road = road_of(edge)
        hidden = self.graph.items[edge.head].kind == "bar"  # norms of many steps have no sum
        if edge.contribution is not None and not hidden:
            share = edge.contribution.squares**0.5
            wire.label = Line(f"+{number(share)}", 9)
            # Left of what comes up into the block, so that no line runs through the figure.
            right = self.grid.anchor(edge.head, "x")[0] - 14
            wire.label_at = (min(x + 8, right - wire.label.width / 2), lower - 8)
        self.picture.wires.append(wire)

    def _weight_labels(self) -> None:
        """A pale name of the weights at every use."""
        for edge in self.graph.edges.values():
            if edge.kind == WEIGHT and edge.head in self.grid.where:
                number_ = len(self.weight_names)
                name = self.weight_names.setdefault(edge.tail, "W" + subscript(number_))
                if self.grid.where[edge.head][1] is not None:
                    self._weight_label(edge, name)

    def _weight_label(self, edge: Edge, name: str) -> None:
        end = self.grid.anchor(edge.head, "w")
        low = end[1] - 24
        line = Line(name, 10, color=self.theme.faint)
        shape = Shape(f"{edge.tail}>{edge.head}", end[0], low, 22, 14, [line], "text")
        shape.tooltip = item_tooltip(self.graph.items[edge.tail])
        shape.classes = "weight"
        self.picture.shapes.append(shape)
        points, tip = route([(end[0], low + 7), end], arrow=0.5)
        wire = Wire(shape.id, edge.head, points, tip, self.theme.faint, 0.9, arrow=0.5)
        wire.tooltip, wire.classes = edge_tooltip(edge), "edge-weight"
        self.picture.wires.append(wire)
