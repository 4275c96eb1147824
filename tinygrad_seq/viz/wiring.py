"""The wires between blocks: states as roads through time, depth upwards, weights along rails."""

from __future__ import annotations

from typing import Any

from tinygrad_seq.viz.columns import Column, RowKey
from tinygrad_seq.viz.detour import around
from tinygrad_seq.viz.fan import fan
from tinygrad_seq.viz.grid import GAP, PAD, Grid
from tinygrad_seq.viz.ir import FOLDED, WEIGHT, Edge, Item, Step
from tinygrad_seq.viz.picture import Line, Point, Shape, Wire, route
from tinygrad_seq.viz.style import Theme, number, subscript
from tinygrad_seq.viz.weights import weight_boxes
from tinygrad_seq.viz.words import edge_tooltip, item_tooltip

__all__ = ["Wiring"]

ASIDE = 7.0  # between a forward wire and its gradient


class Wiring:
    """Adds wires, and the shapes that only wires need, to a grid's picture.

    Parameters
    ----------
    grid : Grid
    theme : Theme
    weights : {"once", "labels", "hidden"}
        Shared weights as one box each, as pale labels at every use, or not at all.
    both : bool
        Draw the gradient beside every wire that one comes back along.
    """

    def __init__(self, grid: Grid, theme: Theme, weights: str, both: bool) -> None:
        self.grid, self.theme, self.weights, self.both = grid, theme, weights, both
        self.graph, self.picture = grid.graph, grid.picture
        self._roads: dict[str, int] = {}
        self._on_road: set[tuple[str, str, tuple[RowKey, Step]]] = set()

    def connect(self) -> None:
        """Draw every edge between blocks."""
        for edge in self.graph.edges.values():
            if edge.kind != WEIGHT:
                self._connect(edge)
        if self.weights == "once":
            for item, row, box in weight_boxes(self.grid, self.theme, self.both):
                self._weights(item, row, box)
        elif self.weights == "labels" and self.graph.level != "op":
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
            number_ = self._roads.setdefault(road, len(self._roads))
            for name in (edge.tail, edge.head, road_of(edge)):
                on.setdefault(name, set()).add(f"road-{number_}")
        for shape in self.picture.shapes:
            names = on.get(shape.id.removesuffix("·").removesuffix("#"), set())
            shape.classes = " ".join([shape.classes, *sorted(names)]).strip()
        for wire in self.picture.wires:
            names = on.get(wire.road, set())
            wire.classes = " ".join([wire.classes, *sorted(names)]).strip()

    def _connect(self, edge: Edge) -> None:
        head, tail = self.graph.items[edge.head], self.graph.items[edge.tail]
        if self._branches_off(edge):
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
        elif edge.delay and head.place.step == FOLDED and head.place.row == tail.place.row:
            self._loop(edge)
        elif edge.delay and self.graph.level == "op":
            self._state_by_lanes(edge)
        elif edge.delay:
            self._state(edge)
        elif self.grid.where[edge.tail] != self.grid.where[edge.head]:
            self._depth(edge)

    # -- helpers --------------------------------------------------------------------------------

    def _wire(self, edge: Edge, corners: list[Point], **options: Any) -> Wire:
        points, tip = route(corners)
        options.setdefault("color", self.theme.line)
        wire = Wire(edge.tail, edge.head, points, tip, **options)
        wire.road = road_of(edge)
        wire.tooltip, wire.classes = edge_tooltip(edge), f"edge-{edge.kind}"
        self.picture.wires.append(wire)
        return wire

    def _gradient(self, edge: Edge, corners: list[Point], side: float = 1.0) -> None:
        """The way back along a wire, a little aside; none where the gradient is cut."""
        if not self.both or edge.cut:
            return
        (x, _), (u, v) = corners[0], corners[-1]
        if len(corners) == 2 and abs(corners[0][1] - v) < 1:
            moved = [(a, b + side * ASIDE) for a, b in corners]
        else:
            turn = ASIDE if u <= x else -ASIDE
            inner = [(a + ASIDE, b + turn) for a, b in corners[1:-1]]
            moved = [(x + ASIDE, corners[0][1]), *inner, (u + ASIDE, v)]
        points, tip = route(moved[::-1], arrow=0.6)
        wire = Wire(edge.head, edge.tail, points, tip, self.theme.gradient, 1.3, arrow=0.6)
        wire.tooltip, wire.classes = f"gradient of: {edge_tooltip(edge)}", "gradient"
        wire.road = road_of(edge)
        self.picture.wires.append(wire)

    def _color(self, kind: str) -> str:
        return {"h": self.theme.h, "c": self.theme.c}.get(kind, self.theme.line)

    def _frame(self, column: Column) -> Point:
        """Left and right of a column's frame."""
        x, width = self.grid.x[column]
        return x - width / 2 - PAD, x + width / 2 + PAD

    # -- states ---------------------------------------------------------------------------------

    def _branches_off(self, edge: Edge) -> bool:
        """Whether the state goes on its road into the same block, and here beside it too."""
        if edge.kind not in {"h", "c"} or edge.head not in self.grid.where:
            return False
        if not self._on_road:
            self._on_road = {
                (e.tail, e.kind, self.grid.where[e.head])
                for e in self.graph.edges.values()
                if e.head in self.grid.where and self._enters_by_road(e)
            }
        key = (edge.tail, edge.kind, self.grid.where[edge.head])
        return not self._enters_by_road(edge) and key in self._on_road

    def _enters_by_road(self, edge: Edge) -> bool:
        block = self.grid.blocks[self.grid.where[edge.head]]
        return block.anchors.get(edge.kind) == block.anchor(edge.head, edge.kind)

    def _branch(self, edge: Edge, tail: Item) -> None:
        """From the road to another node of the block, along the inside of its frame."""
        where = self.grid.where[edge.head]
        way = -1 if where[0] in self.grid.backwards else 1
        x = self._frame(self.grid.column(edge.head))[way < 0] + way * 4
        end = self.grid.anchor(edge.head, edge.kind)
        corners = [*self.grid.way(edge.head, edge.kind), end]
        road = self.grid.blocks[where].anchors[edge.kind][1]
        before = tail.kind in {"carried", "start"}
        wire = self._wire(
            edge,
            [(x, road), (x, corners[0][1]), *corners],
            color=self._color(edge.kind),
            pen=1.8 if before else 2.2,
            dashed=edge.cut or tail.kind == "carried",
        )
        if before:
            wire.tail = self._start_name(tail, edge.kind)

    @staticmethod
    def _start_name(item: Item, kind: str) -> str:
        return item.id if item.kind == "carried" else f"{item.id}·{kind}"

    def _ends(self, edge: Edge) -> tuple[Point, Point, int]:
        """Where a state leaves and arrives, and on which side its name goes."""
        kind = "c" if edge.kind == "c" else "h"
        start = self.grid.anchor(edge.tail, kind + "+")
        return start, self.grid.anchor(edge.head, kind), 1 if kind == "c" else -1

    def _state(self, edge: Edge) -> None:
        """A state on its straight road to the next column."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        place = {column: index for index, column in enumerate(self.grid.columns)}
        if abs(place[head] - place[tail]) != 1 or abs(start[1] - end[1]) >= 1:
            self._far_state(edge)
            return
        label = Line(f"✂ {edge.kind}" if edge.cut else edge.kind, 12 if edge.cut else 11)
        first, second = sorted([self._frame(head), self._frame(tail)])
        middle = (first[1] + second[0]) / 2
        color = self._color(edge.kind)
        aside = ASIDE if self.both else 0
        self._wire(
            edge,
            [start, end],
            color=color,
            pen=2.2,
            dashed=edge.cut,
            label=label,
            label_at=(middle, end[1] + above * (8 + aside)),
        )
        self._gradient(edge, [start, end], above)

    def _far_state(self, edge: Edge) -> None:
        """A state that skips steps or changes rows: along the gaps between the blocks."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        way = -1 if self.grid.where[edge.head][0] in self.grid.backwards else 1
        out = self._frame(tail)[way > 0] + way * (9 + 5 * above)
        back = self._frame(head)[way < 0] - way * (9 + 5 * above)
        if abs(out - back) < GAP:
            corners = [start, (out, start[1]), (out, end[1]), end]
        else:
            y, height = self.grid.y[self.grid.where[edge.head][0]]
            lane = y + above * (height / 2 + 8)
            corners = [start, (out, start[1]), (out, lane), (back, lane), (back, end[1]), end]
        wire = self._wire(edge, corners, color=self._color(edge.kind), pen=2.0, dashed=edge.cut)
        wire.label = Line(edge.kind, 11)
        wire.label_at = (out + 8, (start[1] + corners[2][1]) / 2)

    def _state_by_lanes(self, edge: Edge) -> None:
        """A state between blocks whose nodes stand at any height: along the gap between them."""
        start, end, _ = self._ends(edge)
        left = self._frame(self.grid.column(edge.head))[0] + PAD - GAP
        lane = left + GAP * {"c": 0.36, "h": 0.64}.get(edge.kind, 0.5)
        corners = [start, (lane, start[1]), (lane, end[1]), end]
        straight = abs(start[1] - end[1]) < 1
        self._wire(
            edge,
            [start, end] if straight else corners,
            color=self._color(edge.kind),
            pen=2.0,
            dashed=edge.cut,
            label=Line(edge.kind, 11),
            label_at=(lane + 7, (start[1] + end[1]) / 2),
        )

    def _carried(self, edge: Edge, item: Item) -> None:
        """A state that comes in from before the first step."""
        end = self.grid.anchor(edge.head, edge.kind)
        row, step = self.grid.where[edge.head]
        way = -1 if row in self.grid.backwards else 1
        side = self._frame(self.grid.column(edge.head))[way < 0]
        color = self._color(edge.kind)
        before = -1 if way > 0 else step + 1 if isinstance(step, int) else self.graph.length
        text = edge.kind + subscript(before)
        if item.kind == "start":
            text += f" = {item.note}"
        elif item.note == "zero":
            text += " = 0"
        line = Line(text, 11, color=color)
        width = line.width + 6
        x = side - way * ((44 if step == FOLDED else 24) + width / 2)
        name = self._start_name(item, edge.kind)
        shape = Shape(name, x, end[1], width, 16, [line], "text", tooltip=item_tooltip(item))
        shape.classes = "carried"
        self.picture.shapes.append(shape)
        start = (x + way * width / 2, end[1])
        wire = self._wire(edge, [start, end], color=color, pen=1.8)
        wire.tail, wire.dashed = name, item.kind == "carried"
        if item.kind == "carried" and item.note != "zero":
            wire.label = Line("✂", 13)
            wire.label_at = (side - way * 12, end[1] + (9 if edge.kind == "c" else -9))

    def _loop(self, edge: Edge) -> None:
        """A state that comes round again through a delay of one step."""
        start, end, above = self._ends(edge)
        row, _ = self.grid.where[edge.head]
        y, height = self.grid.y[row]
        lane = y + above * (height / 2 + 15)
        left, right = self._frame(self.grid.column(edge.head))
        wide = 45 if self.graph.level == "op" and edge.kind == "h" else 19  # outside c's loop
        left, right = left - wide, right + wide
        way = -1 if row in self.grid.backwards else 1
        if way < 0:
            left, right = right, left
        color, classes = self._color(edge.kind), f"edge-{edge.kind}"
        delay = f"delay:{edge.tail}:{edge.kind}:{edge.head}"
        text = Line("z" + {1: "⁻¹", -1: "⁺¹"}.get(edge.delay, f"^{-edge.delay}"), 11, color=color)
        box = Shape(delay, right, lane, 30, 19, [text], "square", stroke=color, pen=1.4)
        box.tooltip, box.classes = f"delay of {edge.delay} time step", "delay"
        self.picture.shapes.append(box)
        points, tip = route([start, (right, start[1]), (right, lane - above * 9.5)])
        first = Wire(edge.tail, delay, points, tip, color, 2.2, tooltip=edge_tooltip(edge))
        first.label, first.label_at = Line(edge.kind, 11), (right - way * 13, start[1] + above * 8)
        points, tip = route([(right - way * 15, lane), (left, lane), (left, end[1]), end])
        second = Wire(delay, edge.head, points, tip, color, 2.2, tooltip=edge_tooltip(edge))
        first.classes = second.classes = classes
        first.road = second.road = road_of(edge)
        self.picture.wires += [first, second]

    # -- depth ----------------------------------------------------------------------------------

    def _depth(self, edge: Edge) -> None:
        """Up to the next row; along the gap below it where the two are not above one another."""
        head_row, head_step = self.grid.where[edge.head]
        tail_row, tail_step = self.grid.where[edge.tail]
        start, end = self.grid.anchor(edge.tail, "up"), self.grid.anchor(edge.head, "x")
        y, height = self.grid.y[tail_row]
        corners = [start, end]
        if head_step is None and tail_step is None:
            pass
        elif head_step is None:
            other, tall = self.grid.y[head_row]
            corners = [start, (start[0], other - tall / 2)]
            if other < y:  # a module that is closed may read its own steps below them
                corners = [(start[0] + 16, y - height / 2), (start[0] + 16, other + tall / 2)]
        elif tail_step is None:
            left, right = self.grid.extent(tail_row)
            if left <= end[0] <= right:
                corners = [(end[0], y + height / 2), end]
            else:  # a memory that a later time axis reads: along the gap below the reader
                lane = self.grid.y[head_row][0] - self.grid.y[head_row][1] / 2 - 14
                out = right + PAD + 12
                corners = [(right, y), (out, y), (out, lane), *self._entry(edge, lane, "w", -1)]
        elif abs(start[0] - end[0]) >= 1 or self._deep(edge):
            lane = y + height / 2 + (27 if self.graph.view == "rolled" else 12)
            corners = [start, (start[0], lane), *self._entry(edge, lane, "x", 1)]
        if head_step is not None or tail_step is not None:
            here = edge.head if head_step is not None else edge.tail
            corners = around(self.grid, edge, self.grid.column(here), corners)
        if edge.alignment:
            self.picture.wires += fan(self.grid, edge, self.theme)
        else:
            self._wire(edge, corners)
        self._gradient(edge, corners)

    def _deep(self, edge: Edge) -> bool:
        """Whether an edge ends at a node that others of its block stand below."""
        block = self.grid.blocks[self.grid.where[edge.head]]
        bottom = self.grid.y[self.grid.where[edge.head][0]][0] - block.height / 2
        return self.grid.anchor(edge.head, "x")[1] > bottom + 20

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
            if edge.head in self.grid.where:
                self._weight_wire(edge, start, self.grid.start(row))

    def _weight_wire(self, edge: Edge, start: Point, left: float) -> None:
        row, step = self.grid.where[edge.head]
        rail = self.grid.rail(row)
        if step is None:
            y, height = self.grid.y[row]
            end: Point = (self.grid.extent(row)[0] + 18, y - height / 2)
        else:
            end = self.grid.anchor(edge.head, "w")
        corners = [start]
        if abs(rail - start[1]) > 1:
            corners += [(left - 20, start[1]), (left - 20, rail)]
        self._wire(edge, [*corners, (end[0], rail), end], color=self.theme.weight, pen=1.3)
        if self.both:
            self._contribution(edge, start, rail)

    def _contribution(self, edge: Edge, start: Point, rail: float) -> None:
        """What a time step adds to the gradient of the shared weights, flowing back to them."""
        lower = rail - 9
        x, top = self.grid.anchor(edge.head, "w-")
        corners = [(x, top), (x, lower), (start[0], lower)]
        points, tip = route(corners, arrow=0.6)
        wire = Wire(edge.head, edge.tail, points, tip, self.theme.gradient, 1.3, arrow=0.6)
        wire.tooltip, wire.classes = f"gradient of: {edge_tooltip(edge)}", "gradient"
        wire.road = road_of(edge)
        hidden = self.graph.items[edge.head].kind == "bar"  # norms of many steps have no sum
        if edge.contribution is not None and not hidden:
            share = edge.contribution.squares**0.5
            wire.label = Line(f"+{number(share)}", 9)
            # Left of what comes up into the block, so that no line runs through the figure.
            right = self.grid.anchor(edge.head, "x")[0] - 5
            wire.label_at = (min(x + 8, right - wire.label.width / 2), lower - 8)
        self.picture.wires.append(wire)

    def _weight_labels(self) -> None:
        """A pale name of the weights at every use."""
        names: dict[str, str] = {}
        for edge in self.graph.edges.values():
            if edge.kind == WEIGHT and edge.head in self.grid.where:
                name = names.setdefault(edge.tail, "W" + subscript(len(names)))
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


def road_of(edge: Edge) -> str:
    """Names an edge among the things that lie along one state or weight."""
    return f"{edge.tail}>{edge.head}:{edge.kind}"
