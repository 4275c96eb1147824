"""Layers by time: positions of our own for every view that has time steps.

Columns are time steps, rows are layers (and whatever spans all steps), blocks stand where they
cross. What is between the blocks is led by :mod:`tinygrad_seq.viz.route`.
"""

from __future__ import annotations

import math

from tinygrad_seq.viz.graph.items import BEGIN, DEPTH, INPUT, WEIGHT, Edge, Graph, Item, Place
from tinygrad_seq.viz.graph.views import in_order
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.boxes import weight_box
from tinygrad_seq.viz.layout.columns import (
    Column,
    Link,
    RowKey,
    Spot,
    ordered,
    segments,
    spanned,
    told_apart,
)
from tinygrad_seq.viz.layout.labels import LABEL, Axes, StepLabels, loop_name
from tinygrad_seq.viz.layout.places import block_of, road_plans
from tinygrad_seq.viz.layout.roads import entry_port
from tinygrad_seq.viz.picture.shapes import Point
from tinygrad_seq.viz.picture.style import Style

__all__ = ["GAP", "LOOP", "PAD", "TRACK", "Grid"]

GAP = 52.0  # between columns: room for the names of the states
AXIS_GAP = 60.0  # more between two time axes, beside the second one's weights
NEAR, FAR = 100.0, 140.0  # from a memory up to what attends to it; from another time axis
CARRIED = 70.0  # beside an axis on which states come in from the right
TRACK = 8.0  # between states that climb side by side from one time axis to the next
TRACKS = 4  # so many fit in the gap anyway
LOOPED = 15.0  # so wide a name fits beside a loop anyway
LOOP = 26.0  # between delays of several states on one side of a row
PAD = 14.0  # between a block and the frame of its time step


class Grid:
    """Positions of the blocks of a graph that has time steps.

    Parameters
    ----------
    graph : Graph
        With bundled weights.
    style : Style

    Attributes
    ----------
    x, y : dict
        Centre and width of every column, centre and height of every row.
    columns : dict
        Number of every column, from left to right.
    standing : dict
        Rows and blocks of every column.
    backwards : set
        Rows whose states run from late to early; their blocks are mirrored.
    margin : float
        Width of the widest box of shared weights, for which room is left beside a second time
        axis, and for their lines under the rows; 0 for none.
    labels : StepLabels
        What a reader wrote at the time steps.
    passing : int
        How many states of one row may lie beside it at once, on their way past other steps.
    beside_loops : float
        More room beside loops than a short name of a state needs.
    """

    def __init__(self, graph: Graph, style: Style) -> None:
        self.graph, self.style = graph, style
        self.margin = 0.0
        if style.weights == "once":  # there may be none: their lines then have room for nothing
            bundles = [item for item in graph.items.values() if item.kind == "weight"]
            self.margin = max((weight_box(item, style).width for item in bundles), default=1.0)
        self.members = self._members()
        self.where: dict[str, Spot] = {
            item.id: spot for spot, items in self.members.items() for item in items
        }
        self.links: list[Link] = [
            (edge, self.where[edge.tail], self.where[edge.head])
            for edge in graph.edges.values()
            if edge.kind != WEIGHT and edge.tail in self.where and edge.head in self.where
        ]
        self.backwards = {
            head for edge, (tail, _), (head, _) in self.links if edge.delay < 0 and head == tail
        }
        self.blocks: dict[Spot, Block] = {}
        self.plans = road_plans(graph, style)
        for (row, step), items in self.members.items():
            block = block_of(items, Place(row[0], row[1], step), graph, style, self.plans)
            self.blocks[row, step] = block
            if row in self.backwards:
                block.mirror()
        self.rows = ordered(list(dict.fromkeys(row for row, _ in self.members)), self.links)
        self.segment = segments((row for row, _ in self.members), self.links)
        self.segment = told_apart(self.segment, graph, self.links)
        self.columns: dict[Column, int] = {}
        for number in sorted(set(self.segment.values())):
            steps = {step for row, step in self.blocks if self.segment[row] == number}
            for step in ([BEGIN] if BEGIN in steps else []) + in_order(steps):
                self.columns[number, step] = len(self.columns)
        self.spans = spanned(self.links, list(self.columns), self.segment)
        past = [abs(e.delay) for e, tail, head in self.links if e.delay and tail[0] == head[0]]
        self.passing = 1 if graph.view.folds else min(max(past, default=1), TRACKS)
        self.beside_loops = self._beside_loops()
        self.weighted: dict[RowKey, list[str]] = {}
        for edge in sorted(graph.edges.values(), key=self._nearness):
            if edge.kind == WEIGHT and self._runs_under(edge.tail) and edge.head in self.where:
                known = self.weighted.setdefault(self.where[edge.head][0], [])
                known += [edge.tail] if edge.tail not in known else []
        self.standing: dict[Column, list[tuple[RowKey, Block]]] = {}
        for (row, step), block in self.blocks.items():
            self.standing.setdefault((self.segment[row], step), []).append((row, block))
        self.axes = Axes(graph, self.members, self.rows, self.segment, list(self.columns))
        self.labels = StepLabels(self.axes, style)
        self.x = self._place_columns()
        self.y = self._place_rows()
        self._place_blocks()

    def _members(self) -> dict[Spot, list[Item]]:
        """What stands where; last what computes the state that a time axis starts from."""
        found: dict[Spot, list[Item]] = {}
        begin: list[Item] = []
        for item in self.graph.items.values():
            if item.kind == "begin":
                begin.append(item)
            elif item.kind not in {"weight", "carried", "input", "start"}:
                row = (*item.place.row, item.id if item.place.step is None else "")
                found.setdefault((row, item.place.step), []).append(item)
        for item in begin:
            first = self.graph.items[self.graph.out_of(item.id)[0].head].place
            found.setdefault(((*first.row, ""), BEGIN), []).append(item)
        return found

    def attends(self, edge: Edge) -> bool:
        """Whether an edge is drawn as lines of attention: up from a memory to what looks at it.

        A closed model stands below the memory that it makes and reads itself.
        """
        if not edge.alignment or edge.head not in self.where:
            return False
        memory, reader = (self.rows.index(self.where[end][0]) for end in (edge.tail, edge.head))
        return memory < reader

    def anchor(self, item: str, port: str) -> Point:
        """Where a wire meets an item."""
        return self.blocks[self.where[item]].anchor(item, port)

    def whole(self, edge: Edge, corners: list[Point]) -> list[Point]:
        """A way between two blocks with what of it is inside them."""
        for end, port in ((edge.head, self.entry(edge)), (edge.tail, "up:")):
            block = self.blocks.get(self.where[end]) if end in self.where else None
            way = [] if block is None else block.inner.get(f"{port} {end}", [])
            if not way:
                continue
            meets = self.anchor(end, port)
            if end == edge.head and math.dist(meets, corners[-1]) < 0.5:
                corners = corners + way
            elif end == edge.tail and math.dist(meets, corners[0]) < 0.5:
                corners = way + corners
        return corners

    def met(self, edge: Edge) -> str:
        """The shape that an edge leads to."""
        block = self.blocks.get(self.where[edge.head]) if edge.head in self.where else None
        known = {} if block is None else block.before
        return known.get(f"{self.entry(edge)} {edge.head}", edge.head) if known else edge.head

    def entry(self, edge: Edge) -> str:
        """The port of the block that an edge comes to."""
        if edge.kind in {DEPTH, INPUT}:
            return "x:"
        if edge.kind == WEIGHT:
            return "w:"
        block = self.blocks[self.where[edge.head]]
        port = entry_port(edge, self.graph)
        return port if f"{port} {edge.head}" in block.inner else edge.kind

    def column(self, item: str) -> Column:
        """The column of an item that has a time step."""
        row, step = self.where[item]
        return self.segment[row], step

    def frame(self, column: Column) -> Point:
        """Left and right of a column's frame."""
        x, width = self.x[column]
        return x - width / 2 - PAD, x + width / 2 + PAD

    def extent(self, row: RowKey) -> Point:
        """Left and right of what a row spans, without frames."""
        columns = self.spans[row]
        (left, first), (right, last) = self.x[columns[0]], self.x[columns[-1]]
        return left - first / 2, right + last / 2

    def spanning(self, axis: int) -> list[Block]:
        """What stands outside the time steps of an axis."""
        return [block for _, block in self.standing.get((axis, None), [])]

    def start(self, row: RowKey) -> float:
        """Left of the frame of the first column on a row's time axis."""
        first = next(
            (c for c in self.columns if c[0] == self.segment[row]), next(iter(self.columns))
        )
        return self.frame(first)[0]

    def bottom(self, row: RowKey) -> float:
        """Height of a row's lower end."""
        return self.y[row][0] - self.y[row][1] / 2

    def top(self, row: RowKey) -> float:
        """Height of a row's upper end."""
        return self.y[row][0] + self.y[row][1] / 2

    def rail(self, row: RowKey, bundle: str = "") -> float:
        """Height of the line that a row's weights run along, those of a bundle."""
        low = self.bottom(row) - self._drop - self._loops(row, -1)
        return low + (self.rank(row, bundle) * self._apart if bundle else 0.0)

    def rank(self, row: RowKey, bundle: str) -> int:
        """How many other bundles of weights run along under a row below one of them."""
        return self.weighted[row].index(bundle)

    def _runs_under(self, bundle: str) -> bool:
        """Whether weights run along under rows: not those of what a time axis begins with."""
        spots = [self.where.get(edge.head) for edge in self.graph.out_of(bundle)]
        return any(spot is not None and spot[1] != BEGIN for spot in spots)

    def _nearness(self, edge: Edge) -> tuple[bool, int]:
        """First, lowest, are weights that stand beside an earlier time axis."""
        if edge.kind != WEIGHT or edge.head not in self.where:
            return False, 0
        heads = [
            self.where[e.head][0] for e in self.graph.out_of(edge.tail) if e.head in self.where
        ]
        first, row = self.segment[heads[0]], self.where[edge.head][0]
        return self.segment[row] <= first, [*self.graph.items].index(edge.tail)

    @property
    def _apart(self) -> float:
        """Between the lines of two bundles of weights: their gradients lie beside them."""
        return 18.0 if self.style.both else TRACK

    def under(self) -> float:
        """Room within the frames under the lowest row: weights, inputs and the time."""
        if self.graph.level.plain:
            return 74.0 if self.margin else 44.0
        inputs = any(item.kind == "input" for item in self.graph.items.values())
        room = self._drop + 35.0
        if inputs:
            room = 84.0 + self.label_room + self._passed + self._several
        room += max(self._loops(row, -1) for row in self.rows)
        return room + (10.0 if self.style.both else 0.0)

    @property
    def label_room(self) -> float:
        """Room for the labels under the inputs."""
        return LABEL if self.labels.inputs else 0.0

    def climbing(self, number: int) -> list[tuple[str, str]]:
        """Node and kind of what earlier time axes hand to this one; each has a track of its own."""
        found = {
            (edge.tail, edge.kind if edge.delay else "memory"): None
            for edge, (tail, _), (head, _) in self.links
            if self.segment[tail] < self.segment[head] == number
            and (self.style.both or not self.attends(edge))
        }
        return list(found)

    def _place_blocks(self) -> None:
        straight_up = {  # what feeds a place from below in its own column
            head: edge.tail
            for edge, tail, head in self.links
            if edge.kind == DEPTH and tail[1] == head[1] and tail[0] != head[0]
        }
        for spot, block in sorted(
            self.blocks.items(), key=lambda pair: self.rows.index(pair[0][0])
        ):
            row, step = spot
            if step is None:  # as wide as all time steps
                left, right = self.extent(row)
                for shape in block.shapes:
                    shape.width = max(shape.width, right - left)
                x = (left + right) / 2
            elif block.narrow and spot in straight_up:
                x = self.anchor(straight_up[spot], "up:")[0]
            else:
                x = self.x[self.segment[row], step][0]
            block.place(x, self.y[row][0])

    def _place_columns(self) -> dict[Column, tuple[float, float]]:
        widths: dict[Column, float] = {}
        for column in self.columns:
            least = self.margin if column[1] == BEGIN else 40.0  # its weights stand above it
            least = max(least, self.labels.width(column))
            widths[column] = max(least, *(block.width for _, block in self.standing[column]))
        found: dict[Column, tuple[float, float]] = {}
        x, before = 0.0, next(iter(self.columns))[0]
        for (number, step), width in widths.items():
            if number != before:
                x += AXIS_GAP + self.margin if self.margin else GAP
                fitting = 2 if self.graph.view.folds else TRACKS  # delays stand there, too
                x += TRACK * max(0, len(self.climbing(number)) - fitting)
                x += self._wider(before, widths)
                x += GAP + self.beside_loops if self.graph.view.folds else 0.0
                x += CARRIED if self.backwards else 0.0
            before = number
            found[number, step] = (x + width / 2, width)
            x += width + GAP
        return found

    def _wider(self, axis: int, widths: dict[Column, float]) -> float:
        """How far what spans all steps of a time axis reaches beyond its last column."""
        steps = [width for column, width in widths.items() if column[0] == axis]
        room = sum(steps) + GAP * (len(steps) - 1) + 2 * PAD
        return max([0.0, *((block.width - room) / 2 for block in self.spanning(axis))])

    def _place_rows(self) -> dict[RowKey, tuple[float, float]]:
        heights: dict[RowKey, float] = {}
        for (row, _), block in self.blocks.items():
            heights[row] = max(heights.get(row, 0.0), block.height)
        found: dict[RowKey, tuple[float, float]] = {}
        tops: dict[int, float] = {}
        for row in self.rows:
            number = self.segment[row]
            y = tops[number] + self._gap_below(row) if number in tops else 0.0
            for edge, (memory, _), (reader, _) in self.links:
                if reader == row and self.attends(edge):
                    axis = self.segment[memory]
                    y = max(y, tops[axis] + (NEAR if axis == number else FAR))
            found[row] = (y + heights[row] / 2, heights[row])
            tops[number] = y + heights[row]
        return found

    @property
    def _drop(self) -> float:
        """How far below a row its weights run: lower where other wires pass beside the box."""
        wide = self.graph.view.folds or len(set(self.segment.values())) > 1
        return (40.0 if wide else 27.0) + self._passed + self._several

    @property
    def _several(self) -> float:
        """Room under a row for the lines of all bundles of weights but one."""
        return self._apart * max([0, *(len(known) - 1 for known in self.weighted.values())])

    @property
    def _passed(self) -> float:
        """Room under a row for states that pass other steps there."""
        return TRACK * self.passing if self.passing > 1 else 0.0

    def _beside_loops(self) -> float:
        """More room beside a row where the name of a state that loops is long."""
        loops = {e.kind for e, tail, head in self.links if e.delay and tail == head}
        longest = max((loop_name(kind).width for kind in loops), default=0.0)
        return max(0.0, longest - LOOPED) if self.graph.view.folds else 0.0

    def _loops(self, row: RowKey, side: int) -> float:
        """Room for the delays of all states but the first over (1) or under (-1) a row."""
        if row[2] or not self.graph.view.folds:
            return 0.0
        plan, tracks = self.plans.get(row[:2]), self.graph.tracks
        roads = {} if plan is None else plan.roads
        loops = {
            (edge.kind, edge.delay)
            for edge, tail, head in self.links
            if edge.delay and tail == head and head[0] == row
        }
        heights = [roads.get(kind, 1.0 if tracks.get(kind) else -1.0) for kind, _ in loops]
        sides = [y * side > 0 for y in heights]
        return LOOP * max(0, sum(sides) - 1)

    def _gap_below(self, row: RowKey) -> float:
        """Room under a row: more where its weights come in, and where states loop."""
        gap = 34.0
        if self.margin and row in self.weighted:
            gap = self._drop + (41.0 if self.style.both else 25.0)
        axis = self.segment[row]
        lowest = next((r for r in self.rows if self.segment[r] == axis and not r[2]), None)
        if row == lowest:  # what spans all steps stands below the frames
            return self.under() + 20.0
        under = [r for r in self.rows[: self.rows.index(row)] if self.segment[r] == axis]
        room = self._loops(row, -1) + (self._loops(under[-1], 1) if under else 0.0)
        if self.graph.view.folds and not row[2]:  # two delays fit between two rows
            return max(gap + 13.0, 62.0) + room
        return gap + room
