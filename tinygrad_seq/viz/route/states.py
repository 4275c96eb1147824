"""States on their way: straight roads through time, branches, loops, starts."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_seq.viz.graph.items import FOLDED, Edge, Item
from tinygrad_seq.viz.layout.columns import Column, RowKey, Spot
from tinygrad_seq.viz.layout.grid import GAP, LOOP, PAD, TRACK
from tinygrad_seq.viz.layout.labels import loop_name
from tinygrad_seq.viz.picture.shapes import Line, Point, Shape, Wire
from tinygrad_seq.viz.picture.style import subscript
from tinygrad_seq.viz.picture.words import item_look
from tinygrad_seq.viz.route.canvas import ASIDE, Canvas

__all__ = ["States"]


class States:
    """Draws the edges of states; several that come along one way are told apart."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas, self.grid, self.graph = canvas, canvas.grid, canvas.graph
        self._loops: dict[tuple[RowKey, int], int] = {}
        """How many over (1) and under (-1) a row so far."""
        self._bridges: dict[Column, int] = {}
        self._named: set[tuple[str, str, float]] = set()
        self._written: set[tuple[str, float, float]] = set()
        self._carried_in: set[str] = set()
        self._looped: dict[tuple[str, str, Spot], tuple[float, list[Point]]] = {}
        self._on_road: set[tuple[str, str, Spot]] = {
            (edge.tail, edge.kind, self.grid.where[edge.head])
            for edge in self.graph.edges.values()
            if edge.head in self.grid.where and self._enters_by_road(edge)
        }

    def draw(self, edge: Edge) -> bool:
        """Draw an edge, if it is one of a state on its way through time."""
        head, tail = self.graph.items[edge.head], self.graph.items[edge.tail]
        if self._held(edge, tail, head):
            self._hold(edge)
        elif self._branches_off(edge):
            self._branch(edge, tail)
        elif tail.kind in {"carried", "start"}:
            self._carried(edge, tail)
        elif head.kind == "begin":
            self._into_begin(edge)
        elif tail.kind == "begin" and edge.kind in self.graph.tracks:
            self._state(edge)
        elif not edge.delay:
            return False
        elif head.place.step == FOLDED and head.place.row == tail.place.row:
            self._round(edge)
        elif not self.graph.level.plain:
            self._state(edge)
        elif self.grid.column(edge.tail)[0] != self.grid.column(edge.head)[0]:
            self._bridge(edge)
        else:
            self._between_nodes(edge)
        return True

    def draw_back(self) -> None:
        """The gradients' way back along the roads within the blocks."""
        for (row, _), block in self.grid.blocks.items():
            plan = self.grid.plans.get(row[:2])
            for kind, track in self.graph.tracks.items():
                height = block.anchors[kind][1] if kind in block.anchors else math.inf
                up = bool(track) if plan is None else plan.roads.get(kind, 0) > 0
                for wire in block.wires:
                    ends = [wire.points[0], wire.tip or wire.points[-1]]
                    if not wire.dashed and all(abs(y - height) < 1 for _, y in ends):
                        self.canvas.back_along(wire, ends, ASIDE if up else -ASIDE)

    # -- what they have in common ---------------------------------------------------------------

    def _line(self, edge: Edge, corners: list[Point], pen: float = 2.0, **look: Any) -> Wire:
        look = {"dashed": edge.cut, "pen": pen, **look}
        if "label_at" in look:
            written = look["label"].text, *look["label_at"]
            if written in self._written:  # by another wire along the same way
                del look["label"], look["label_at"]
            self._written.add(written)
        return self.canvas.wire(edge, corners, self.canvas.theme.state(edge.kind), **look)

    def _name(self, edge: Edge, room: float) -> Line:
        """What a line from step to step is called: as the state that it comes from."""
        return Line(self._held_as(edge), 12).within(room)

    def _held_as(self, edge: Edge) -> str:
        """Which state of its tail goes along an edge: that of another cell may be called so."""
        tail = self.graph.items[edge.tail]
        held = [state for state in tail.states if state in tail.roles]
        return held[0] if held and edge.kind not in held else edge.kind

    def _ends(self, edge: Edge) -> tuple[Point, Point, int]:
        """Where a state leaves and arrives, and on which side its name goes."""
        start = self.grid.anchor(edge.tail, f"{self._held_as(edge)}+")
        return start, self.grid.anchor(edge.head, self.grid.entry(edge)), self._above(edge)

    def _above(self, edge: Edge) -> int:
        """1 where a state goes over the main one, -1 for that itself."""
        row = self.grid.where[edge.head][0]
        plan = self.grid.plans.get(row[:2])
        if plan is not None and edge.kind in plan.roads:
            return 1 if plan.roads[edge.kind] > 0 else -1
        return 1 if self.graph.tracks.get(edge.kind) else -1

    def _way(self, edge: Edge) -> int:
        """1 to the right, -1 to the left."""
        return -1 if self.grid.where[edge.head][0] in self.grid.backwards else 1

    def _side(self, edge: Edge) -> float:
        """Where a state comes into the frame of its next column."""
        return self.grid.frame(self.grid.column(edge.head))[self._way(edge) < 0]

    # -- into one cell --------------------------------------------------------------------------

    def _branches_off(self, edge: Edge) -> bool:
        """Whether the state goes on its road into the same block, and here beside it too."""
        if edge.kind not in self.graph.tracks or edge.head not in self.grid.where:
            return False
        key = (edge.tail, edge.kind, self.grid.where[edge.head])
        return not self._enters_by_road(edge) and key in self._on_road

    def _enters_by_road(self, edge: Edge) -> bool:
        block = self.grid.blocks[self.grid.where[edge.head]]
        return block.anchors.get(edge.kind) == block.anchor(edge.head, edge.kind)

    def _held(self, edge: Edge, tail: Item, head: Item) -> bool:
        """Whether a state is kept past the gates of a cell: that of a sequence that has ended."""
        return (
            not self.graph.level.plain
            and abs(edge.delay) == 1
            and tail.part in {"", edge.kind}
            and head.part == edge.kind
            and "where" in head.ops
            and tail.place.row == head.place.row
            and edge.kind in self.grid.blocks[self.grid.where[edge.head]].anchors  # has a road
            and head.place.row not in self.grid.plans  # it leads there straight
        )

    def _hold(self, edge: Edge) -> None:
        """From the road over or under the whole cell; where the road loops, from its lane."""
        row, _ = spot = self.grid.where[edge.head]
        block = self.grid.blocks[spot]
        state = next(shape for shape in block.shapes if shape.id == edge.head)
        y, height = self.grid.y[row]
        side = 1 if state.y > y else -1
        aside = state.width / 3  # what goes up from the state leaves in its middle
        rise = state.height / 2
        if state.form == "circle":
            rise = math.sqrt(rise**2 - aside**2)
        end = (state.x - aside, state.y + side * rise)
        corners = [(end[0], y + side * (height / 2 + 15)), end]
        if not self.graph.view.folds:
            x, lane = self._side(edge) + self._way(edge) * 5, y + side * (height / 2 + 7)
            corners = [(x, block.anchors[edge.kind][1]), (x, lane), (end[0], lane), end]
        self._line(edge, corners, 1.6, dashed=False)

    def _branch(self, edge: Edge, tail: Item) -> None:
        """From the road to another node of the block, along the inside of its frame."""
        block = self.grid.blocks[self.grid.where[edge.head]]
        x, road = self._side(edge) + self._way(edge) * 4, block.anchors[edge.kind][1]
        way = block.ways.get(f"{edge.kind} {edge.head}", [])
        corners = [*way, self.grid.anchor(edge.head, edge.kind)]
        before = tail.kind in {"carried", "start"}
        wire = self._line(
            edge,
            [(x, road), (x, corners[0][1]), *corners],
            1.8 if before else 2.2,
            dashed=edge.cut or tail.kind == "carried",
        )
        if before:
            wire.tail = self._start_name(tail, edge.kind)
        else:
            first = x, road + self._above(edge) * ASIDE
            self.canvas.gradient(edge, [first, (x, corners[0][1]), *corners])

    @staticmethod
    def _start_name(item: Item, kind: str) -> str:
        return item.id if item.kind == "carried" else f"{item.id}·{kind}"

    def _carried(self, edge: Edge, item: Item) -> None:
        """A state that comes in from before the first step."""
        end = self.grid.anchor(edge.head, self.grid.entry(edge))
        step = self.grid.where[edge.head][1]
        way, side = self._way(edge), self._side(edge)
        before = step - way if isinstance(step, int) else -1 if way > 0 else self.graph.length
        text = edge.kind + subscript(before)
        if item.kind == "start":
            text += f" = {item.note}"
        elif item.note == "zero":
            text += " = 0"
        axis, color = self.grid.column(edge.head)[0], self.canvas.theme.state(edge.kind)
        others = [column for column in self.grid.columns if column[0] == axis]
        later = (axis, step) not in {others[0 if way > 0 else -1], (axis, FOLDED)}
        line = Line(text, 9 if later and item.kind == "carried" else 12, color=color)
        width = line.width + 6
        x = side - way * ((44 if step == FOLDED else 24) + width / 2)
        if line.size < 12:  # between two columns
            x = side + way * (10 - width / 2)
        name = self._start_name(item, edge.kind)
        look = item_look(item, "carried")
        if name not in self._carried_in:
            shape = Shape(name, x, end[1], width, 16, [line], "text", **look)
            self.canvas.picture.shapes.append(shape)
        self._carried_in.add(name)
        constant = item.kind == "carried"
        wire = self._line(edge, [(x + way * width / 2, end[1]), end], 1.8, dashed=constant)
        wire.tail = name
        if constant and item.note in {"cut", "unknown"}:
            wire.label = Line("✂", 13)
            wire.label_at = (side - way * 12, end[1] + 9 * self._above(edge))

    # -- from column to column ------------------------------------------------------------------

    def _state(self, edge: Edge) -> None:
        """A state on its straight road to the next column."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        place = self.grid.columns
        boxes = self.canvas.lanes.boxes_before(head[0]) if tail[0] != head[0] else []
        blocked = any(abs(box.y - end[1]) < box.height / 2 + 3 for box in boxes)
        if abs(place[head] - place[tail]) != 1 or abs(start[1] - end[1]) >= 1 or blocked:
            self._far_state(edge)
            return
        label = self._name(edge, GAP if tail[0] == head[0] else GAP - 10)
        if edge.cut:
            label = Line(f"✂ {label.text}", 13)
        first, second = sorted([self.grid.frame(head), self.grid.frame(tail)])
        aside = above * (8 + (ASIDE if self.canvas.both else 0))
        if self.grid.passing > 1:  # others pass there
            aside = -8 * above
        x = (first[1] + second[0]) / 2 if tail[0] == head[0] else first[1] + 4 + label.width / 2
        look = {"label": label, "label_at": (x, end[1] + aside)}
        self._line(edge, [start, end], 2.2, **({} if self.graph.view.folds else look))
        self.canvas.gradient(edge, [start, end], above)

    def _into_begin(self, edge: Edge) -> None:
        """What a start is computed from: last states from its left, anything else from below."""
        grid, lanes = self.grid, self.canvas.lanes
        x, y = grid.anchor(edge.head, "h")
        (row, step), up = grid.where[edge.tail], grid.anchor(edge.tail, "up:")
        if step is None:
            low = grid.anchor(edge.head, "x:")
            corners = [up, (up[0], up[1] + 12), (low[0], up[1] + 12), low]
            self.canvas.wire(edge, corners if abs(up[0] - low[0]) > 1 else [up, low])
            return
        part = self.graph.items[edge.tail].part
        start = grid.anchor(edge.tail, f"{part}+" if part in self.graph.tracks else "h+")
        tail, head = grid.column(edge.tail), grid.column(edge.head)
        left = grid.frame(head)[0] - 12
        if row not in grid.backwards and grid.columns[head] - grid.columns[tail] == 1:
            level = abs(start[1] - y) < 1
            corners = [start, (x, y)] if level else [start, (left, start[1]), (left, y), (x, y)]
        else:  # the other direction ends at the first step: over everything to the right
            lane, y = grid.top(row) + 12, y + (2 * ASIDE if self.canvas.both else 7)
            free, boxes = lanes.level(edge, lane), lanes.boxes_before(head[0])
            out = min((box.x - box.width / 2 for box in boxes), default=left) - 10
            past = [] if abs(free - lane) < 1 else [(out, lane), (out, free)]
            corners = [up, (up[0], lane), *past, (left, free), (left, y), (x, y)]
        self.canvas.wire(edge, corners)
        self.canvas.gradient(edge, corners, -1)

    def _far_state(self, edge: Edge) -> None:
        """A state that skips steps or changes rows: along the gaps between the blocks."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        way = self._way(edge)
        if tail[0] < head[0] and self.grid.where[edge.tail][1] is not None and way > 0:
            self._climb(edge)
            return
        out = self.grid.frame(tail)[way > 0] + way * (9 + 5 * above)
        back = self._side(edge) - way * (9 + 5 * above)
        if abs(out - back) < GAP:
            corners = [start, (out, start[1]), (out, end[1]), end]
        else:
            lane = self._beside_row(edge, above)
            corners = [start, (out, start[1]), (out, lane), (back, lane), (back, end[1]), end]
        wire = self._line(edge, corners)
        self.canvas.gradient(edge, corners)
        if (edge.tail, edge.kind, out) not in self._named:
            wire.label = self._name(edge, GAP - PAD)
            right = out + max(8.0, wire.label.width / 2 + 3)
            rise, aside = start[1] - corners[2][1], above * (16.0 if self.canvas.both else 9.0)
            if abs(rise) >= 40:  # clear of the roads on the way
                aside = math.copysign(40, rise)
            wire.label_at = right, corners[2][1] + aside
            self._named.add((edge.tail, edge.kind, out))
        if self.grid.where[edge.head][1] == FOLDED and tail == head:  # round to a row below
            wire.label = Line(f"{edge.kind} {_delay(edge)}", 12)
            wire.label_at = (out - way * (wire.label.width / 2 + 6), corners[2][1] + above * 9)

    def _beside_row(self, edge: Edge, above: int) -> float:
        """Height over or under the row that a state goes to; apart if it passes others there."""
        (row, _), (tail, step) = (self.grid.where[end] for end in (edge.head, edge.tail))
        y, height = self.grid.y[row]
        passes = step % self.grid.passing if isinstance(step, int) and row == tail else 0
        return y + above * (height / 2 + 8 + TRACK * passes)

    def _climb(self, edge: Edge) -> None:
        """A state that a later time axis starts from: up beside the boxes of weights before it."""
        start, end, above = self._ends(edge)
        tail, head = self.grid.column(edge.tail), self.grid.column(edge.head)
        frame, lanes = self.grid.frame(head)[0], self.canvas.lanes
        if self.grid.columns[head] - self.grid.columns[tail] == 1:
            out, wanted = lanes.track(edge), end[1]
        else:
            out = self.grid.frame(tail)[1] + 9 + 5 * above
            wanted = self._beside_row(edge, above)
        level = lanes.level(edge, wanted)
        corners = [start, (out, start[1]), (out, level)]
        if abs(level - end[1]) >= 1:
            back = frame - 9 - 5 * above
            corners += [(back, level), (back, end[1])]
        label, aside = self._name(edge, GAP), ASIDE if self.canvas.both and above > 0 else 0
        at = frame - 22 - max(4.0, label.width / 2), level + 8 + aside
        self._line(edge, [*corners, end], label=label, label_at=at)
        self.canvas.gradient(edge, [*corners, end], above)

    def _between_nodes(self, edge: Edge) -> None:
        """A state between blocks whose nodes stand at any height: along the gap between them."""
        start, end, _ = self._ends(edge)
        left = self.grid.frame(self.grid.column(edge.head))[0] + PAD - GAP
        lane = left + GAP * {0: 0.64, 1: 0.36}.get(self.graph.tracks.get(edge.kind, 2), 0.5)
        corners = [start, (lane, start[1]), (lane, end[1]), end]
        if abs(start[1] - end[1]) < 1:
            corners = [start, end]
        at = lane + 7, (start[1] + end[1]) / 2
        self._line(edge, corners, label=self._name(edge, GAP), label_at=at)

    def _bridge(self, edge: Edge) -> None:
        """A state from one time axis to another at op level: over its row, then along the gap."""
        start, end = self.grid.anchor(edge.tail, "up:"), self.grid.anchor(edge.head, "h")
        column = self.grid.column(edge.head)
        count = self._bridges[column] = self._bridges.get(column, 0) + 1
        over = self.grid.top(self.grid.where[edge.tail][0]) + 4 + 6 * count
        gap = self.grid.frame(column)[0] - 8 * count
        self._line(edge, [start, (start[0], over), (gap, over), (gap, end[1]), end])

    def _round(self, edge: Edge) -> None:
        """A loop; of a state that several operations take in on one road, only one."""
        port = self.grid.entry(edge)
        taken = (edge.tail, port, self.grid.where[edge.head])
        inner = self.grid.blocks[taken[2]].inner.get(f"{port} {edge.head}")
        end = self.grid.anchor(edge.head, port)
        if inner is None or taken not in self._looped:
            self._looped[taken] = end[1], self._loop(edge)
            return
        road, way = self._looped[taken]
        corners = [(end[0] - self._way(edge) * 4, end[1])]
        if abs(road - end[1]) >= 1:  # no road leads there: from the delay, as the first one
            corners = [*way, (way[-1][0], end[1])]
        self._line(edge, [*corners, end], 2.2, dashed=False)

    def _loop(self, edge: Edge) -> list[Point]:
        """A state that comes round again through a delay; the way from that to the left."""
        start, end, above = self._ends(edge)
        row, _ = self.grid.where[edge.head]
        y, height = self.grid.y[row]
        more = self._loops.get((row, above), 0)  # h and a fed-back input, say
        plan = self.grid.plans.get(row[:2])
        if plan is not None and self.grid.entry(edge) in plan.roads:  # farther in, farther out
            road = above * plan.roads[edge.kind]
            more = sum(above * y > road for y in plan.roads.values())
        else:
            if plan is not None:  # outside those of the roads
                more += sum(above * y > 0 for y in plan.roads.values())
            self._loops[row, above] = self._loops.get((row, above), 0) + 1
        lane = y + above * (height / 2 + 15 + LOOP * more)
        left, right = self.grid.frame(self.grid.column(edge.head))
        wide = 45 if self.graph.level.plain and self._above(edge) < 0 else 19  # outside c's loop
        back, out = wide + 9 * more, wide + 20 * more + self.grid.beside_loops  # past other delays
        way = self._way(edge)
        left, right = (left - back, right + out) if way > 0 else (right + back, left - out)
        color = self.canvas.theme.state(edge.kind)
        text = Line(_delay(edge), 11, color=color)
        name = f"delay:{edge.tail}:{edge.kind}:{edge.head}"
        box = Shape(name, right, lane, 30, 19, [text], "square", stroke=color, pen=1.4)
        box.tooltip, box.classes = f"delay of {edge.delay} time step", "delay"
        self.canvas.picture.shapes.append(box)
        corners = [start, (right, start[1]), (right, lane - above * 9.5)]
        label = loop_name(edge.kind)
        first = self._line(edge, corners, 2.2, dashed=False, label=label)
        first.label_at = (right - way * (label.width / 2 + 17), start[1] + above * 8)
        if more:  # the first one's name stands there
            first.label_at = (right - way * (label.width / 2 + 20), lane + above * 9)
        corners = [(right - way * 15, lane), (left, lane)]
        second = self._line(edge, [*corners, (left, end[1]), end], 2.2, dashed=False)
        first.head = second.tail = name
        return corners


_POWERS = str.maketrans("+-0123456789", "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _delay(edge: Edge) -> str:
    """How many steps it takes, as the z-transform writes it."""
    return "z" + f"{-edge.delay:+d}".translate(_POWERS)
