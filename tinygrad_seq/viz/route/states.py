"""States on their way: straight roads through time, branches, loops, starts."""

from __future__ import annotations

import math

from tinygrad_seq.viz.graph.items import FOLDED, Edge, Item
from tinygrad_seq.viz.layout.grid import GAP, PAD
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire, route
from tinygrad_seq.viz.picture.style import subscript
from tinygrad_seq.viz.picture.words import edge_tooltip, item_tooltip
from tinygrad_seq.viz.route.wires import ASIDE, Wires, road_of

__all__ = ["Roads"]


class Roads(Wires):
    """The wires of states."""

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

    def _held(self, edge: Edge) -> bool:
        """Whether a state is kept past the gates of a cell: that of a sequence that has ended."""
        tail, head = self.graph.items[edge.tail], self.graph.items[edge.head]
        return (
            not self.graph.level.plain
            and abs(edge.delay) == 1
            and tail.part in {"", edge.kind}
            and head.part == edge.kind
            and tail.place.row == head.place.row
        )

    def _hold(self, edge: Edge) -> None:
        """From the road over or under the whole cell; where the road loops, from its lane."""
        where = self.grid.where[edge.head]
        block = self.grid.blocks[where]
        state = next(shape for shape in block.shapes if shape.id == edge.head)
        y, height = self.grid.y[where[0]]
        side = 1 if state.y > y else -1
        aside = state.width / 3  # what goes up from the state leaves in its middle
        end = (state.x - aside, state.y + side * math.sqrt(state.height**2 / 4 - aside**2))
        if self.graph.view.folds:
            corners = [(end[0], y + side * (height / 2 + 15)), end]
        else:
            way = -1 if where[0] in self.grid.backwards else 1
            x = self._frame(self.grid.column(edge.head))[way < 0] + way * 5
            lane = y + side * (height / 2 + 7)
            corners = [(x, block.anchors[edge.kind][1]), (x, lane), (end[0], lane), end]
        self._wire(edge, corners, color=self._color(edge.kind), pen=1.6)

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
        place = self.grid.order
        if abs(place[head] - place[tail]) != 1 or abs(start[1] - end[1]) >= 1:
            self._far_state(edge)
            return
        label = Line(f"✂ {edge.kind}" if edge.cut else edge.kind, 13 if edge.cut else 12)
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

    def _into_begin(self, edge: Edge) -> None:
        """What a start is computed from: last states from its left, anything else from below."""
        x, y = self.grid.anchor(edge.head, "h")
        row, step = self.grid.where[edge.tail]
        if step is None:
            up = self.grid.anchor(edge.tail, "up")
            low = self.grid.anchor(edge.head, "x")
            corners = [up, (up[0], up[1] + 12), (low[0], up[1] + 12), low]
            self._wire(edge, corners if abs(up[0] - low[0]) > 1 else [up, low])
            return
        place = self.grid.order
        part = "c+" if self.graph.items[edge.tail].part == "c" else "h+"
        start = self.grid.anchor(edge.tail, part)
        beside = place[self.grid.column(edge.head)] - place[self.grid.column(edge.tail)] == 1
        left = self._frame(self.grid.column(edge.head))[0] - 12
        if row not in self.grid.backwards and beside:
            level = abs(start[1] - y) < 1
            corners = [start, (x, y)] if level else [start, (left, start[1]), (left, y), (x, y)]
        else:  # the other direction ends at the first step: over everything to the right
            up, (middle, height) = self.grid.anchor(edge.tail, "up"), self.grid.y[row]
            lane, y = middle + height / 2 + 12, y + 7
            corners = [up, (up[0], lane), (left, lane), (left, y), (x, y)]
        self._wire(edge, corners)
        self._gradient(edge, corners)

    def _far_state(self, edge: Edge) -> None:
        """A state that skips steps or changes rows: along the gaps between the blocks."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        way = -1 if self.grid.where[edge.head][0] in self.grid.backwards else 1
        if tail[0] < head[0] and self.grid.where[edge.tail][1] is not None and way > 0:
            self._climb(edge)
            return
        out = self._frame(tail)[way > 0] + way * (9 + 5 * above)
        back = self._frame(head)[way < 0] - way * (9 + 5 * above)
        if abs(out - back) < GAP:
            corners = [start, (out, start[1]), (out, end[1]), end]
        else:
            y, height = self.grid.y[self.grid.where[edge.head][0]]
            lane = y + above * (height / 2 + 8)
            corners = [start, (out, start[1]), (out, lane), (back, lane), (back, end[1]), end]
        wire = self._wire(edge, corners, color=self._color(edge.kind), pen=2.0, dashed=edge.cut)
        if (edge.tail, edge.kind, out) not in self._named:
            wire.label = Line(edge.kind, 12)
            right = out + max(8.0, wire.label.width / 2 + 3)
            rise = start[1] - corners[2][1]  # near the end, clear of the roads on the way
            wire.label_at = (right, corners[2][1] + math.copysign(min(40, abs(rise) / 2), rise))
            self._named.add((edge.tail, edge.kind, out))
        if self.grid.where[edge.head][1] == FOLDED and tail == head:  # round to a row below
            wire.label = Line(f"{edge.kind} {_delay(edge)}", 12)
            wire.label_at = (out - way * (wire.label.width / 2 + 6), corners[2][1] + above * 9)

    def _climb(self, edge: Edge) -> None:
        """A state that a later time axis starts from: up beside the boxes of weights before it."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        frame = self._frame(head)[0]
        if self.grid.order[head] - self.grid.order[tail] == 1:
            out, wanted = self._track(edge), end[1]
        else:
            y, height = self.grid.y[self.grid.where[edge.head][0]]
            out, wanted = self._frame(tail)[1] + 9 + 5 * above, y + above * (height / 2 + 8)
        level = self._level(edge, wanted)
        corners = [start, (out, start[1]), (out, level)]
        if abs(level - end[1]) >= 1:
            back = frame - 9 - 5 * above
            corners += [(back, level), (back, end[1])]
        wire = self._wire(
            edge, [*corners, end], color=self._color(edge.kind), pen=2.0, dashed=edge.cut
        )
        wire.label = Line(edge.kind, 12)
        aside = ASIDE if self.both and above < 0 else 0
        wire.label_at = (frame - 26, level + above * (8 + aside))
        self._gradient(edge, [*corners, end], above)

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
            label=Line(edge.kind, 12),
            label_at=(lane + 7, (start[1] + end[1]) / 2),
        )

    def _bridge(self, edge: Edge) -> None:
        """A state from one time axis to another at op level: over its row, then along the gap."""
        start, end = self.grid.anchor(edge.tail, "up"), self.grid.anchor(edge.head, "h")
        several = self._bridges.setdefault(self.grid.column(edge.head), [])
        several.append(edge)
        y, height = self.grid.y[self.grid.where[edge.tail][0]]
        over = y + height / 2 + 4 + 6 * len(several)
        gap = self._frame(self.grid.column(edge.head))[0] - 8 * len(several)
        corners = [start, (start[0], over), (gap, over), (gap, end[1]), end]
        self._wire(edge, corners, color=self._color(edge.kind), pen=2.0, dashed=edge.cut)

    def _carried(self, edge: Edge, item: Item) -> None:
        """A state that comes in from before the first step."""
        end = self.grid.anchor(edge.head, edge.kind)
        row, step = self.grid.where[edge.head]
        way = -1 if row in self.grid.backwards else 1
        side = self._frame(self.grid.column(edge.head))[way < 0]
        color = self._color(edge.kind)
        before = step - way if isinstance(step, int) else -1 if way > 0 else self.graph.length
        text = edge.kind + subscript(before)
        if item.kind == "start":
            text += f" = {item.note}"
        elif item.note == "zero":
            text += " = 0"
        line = Line(text, 12, color=color)
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
        several = self._loops.setdefault((row, above), [])
        several.append(edge)  # h and a fed-back input, say, or one state to several nodes
        more = len(several) - 1
        lane = y + above * (height / 2 + 15 + 26 * more)
        left, right = self._frame(self.grid.column(edge.head))
        wide = 45 if self.graph.level.plain and edge.kind == "h" else 19  # outside c's loop
        back, out = wide + 9 * more, wide + 20 * more  # out past the other loops' delays
        way = -1 if row in self.grid.backwards else 1
        left, right = (left - back, right + out) if way > 0 else (right + back, left - out)
        color, classes = self._color(edge.kind), f"edge-{edge.kind}"
        delay = f"delay:{edge.tail}:{edge.kind}:{edge.head}"
        text = Line(_delay(edge), 11, color=color)
        box = Shape(delay, right, lane, 30, 19, [text], "square", stroke=color, pen=1.4)
        box.tooltip, box.classes = f"delay of {edge.delay} time step", "delay"
        self.picture.shapes.append(box)
        points, tip = route([start, (right, start[1]), (right, lane - above * 9.5)])
        first = Wire(edge.tail, delay, points, tip, color, 2.2, tooltip=edge_tooltip(edge))
        first.label, first.label_at = Line(edge.kind, 12), (right - way * 13, start[1] + above * 8)
        if more:  # the first one's name stands there
            first.label_at = (right - way * (first.label.width / 2 + 20), lane + above * 9)
        points, tip = route([(right - way * 15, lane), (left, lane), (left, end[1]), end])
        second = Wire(delay, edge.head, points, tip, color, 2.2, tooltip=edge_tooltip(edge))
        first.classes = second.classes = classes
        first.road = second.road = road_of(edge)
        self.picture.wires += [first, second]


def _delay(edge: Edge) -> str:
    """How many steps it takes, as the z-transform writes it."""
    return "z" + {1: "⁻¹", -1: "⁺¹"}.get(edge.delay, f"^{-edge.delay}")
