"""Layers by time: positions of our own for every view that has time steps.

Columns are time steps, rows are layers (and whatever spans all steps), blocks stand where they
cross. What is between the blocks is led by :mod:`tinygrad_seq.viz.route.depth`.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_seq.viz.graph.items import (
    BAR,
    BEGIN,
    DEPTH,
    FOLDED,
    WEIGHT,
    Edge,
    Graph,
    Item,
    Place,
    Step,
)
from tinygrad_seq.viz.graph.views import in_order
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.layout.columns import Column, RowKey, ordered, segments, spanned, told_apart
from tinygrad_seq.viz.picture.shapes import Line, Panel, Picture, Point, Shape
from tinygrad_seq.viz.picture.style import subscript
from tinygrad_seq.viz.picture.words import item_tooltip

__all__ = ["GAP", "PAD", "TRACK", "Grid"]

BlockMaker = Callable[[list[Item], Place], Block]
"""Makes the block of a place from its items."""

GAP = 52.0  # between columns: room for the names of the states
AXIS_GAP = 60.0  # more between two time axes, beside the second one's weights
FAN, LONG_FAN = 100.0, 140.0  # from a memory up to what attends to it; from another time axis
CARRIED = 70.0  # beside an axis on which states come in from the right
TRACK = 8.0  # between states that climb side by side from one time axis to the next
TRACKS = 4  # so many fit in the gap anyway
PAD = 14.0  # between a block and the frame of its time step


class Grid:
    """Positions of the blocks of a graph that has time steps.

    Parameters
    ----------
    graph : Graph
        With bundled weights.
    blocks : callable
        Makes the block of a place from its items.
    margin : float
        Width of the widest box of shared weights, for which room is left beside a second time
        axis, and for their lines under the rows; 0 for none.
    double : bool
        Leave room for gradients beside them.

    Attributes
    ----------
    x, y : dict
        Centre and width of every column, centre and height of every row.
    order : dict
        Number of every column, from left to right.
    standing : dict
        Rows and blocks of every column.
    backwards : set
        Rows whose states run from late to early; their blocks are mirrored.
    """

    def __init__(
        self, graph: Graph, blocks: BlockMaker, *, margin: float = 0.0, double: bool = False
    ) -> None:
        self.graph, self.margin, self.double = graph, margin, double
        self.picture = Picture()
        self.inputs: dict[str, Shape] = {}
        self.panels: dict[Column, Panel] = {}
        self.members: dict[tuple[RowKey, Step], list[Item]] = {}
        self.rows: list[RowKey] = []
        self._sort_items()
        self.blocks: dict[tuple[RowKey, Step], Block] = {
            key: blocks(items, Place(key[0][0], key[0][1], key[1]))
            for key, items in self.members.items()
        }
        self.where: dict[str, tuple[RowKey, Step]] = {
            item.id: key for key, items in self.members.items() for item in items
        }
        self.rows = ordered(self.rows, graph, self.where)
        self.segment = told_apart(segments(graph, self.where), graph, self.where)
        self.columns: list[Column] = []
        for number in sorted(set(self.segment.values())):
            steps = {step for row, step in self.blocks if self.segment[row] == number}
            begin = [BEGIN] if BEGIN in steps else []
            self.columns += [(number, step) for step in [*begin, *in_order(steps)]]
        self.order = {column: place for place, column in enumerate(self.columns)}
        self.spans = spanned(graph, self.where, self.columns, self.segment)
        self.backwards = {
            self.where[edge.head][0]
            for edge in graph.edges.values()
            if edge.delay < 0
            and edge.tail in self.where
            and self.where[edge.head][0] == self.where[edge.tail][0]
        }
        for (row, _), block in self.blocks.items():
            if row in self.backwards:
                block.mirror()
        self.x: dict[Column, tuple[float, float]] = {}
        self.y: dict[RowKey, tuple[float, float]] = {}
        self.weighted = {
            self.where[edge.head][0]
            for edge in graph.edges.values()
            if edge.kind == WEIGHT and edge.head in self.where
        }
        self.fans = [edge for edge in graph.edges.values() if self.fanned(edge)]
        self.standing: dict[Column, list[tuple[RowKey, Block]]] = {}
        for (row, step), block in self.blocks.items():
            self.standing.setdefault((self.segment[row], step), []).append((row, block))
        self._arrange()

    def _sort_items(self) -> None:
        rows: dict[RowKey, None] = {}
        for item in self.graph.items.values():
            if item.kind not in {"weight", "carried", "input", "start", "begin"}:
                spanning = item.place.step is None
                row = (item.place.path, item.place.layer, item.id if spanning else "")
                rows[row] = None
                self.members.setdefault((row, item.place.step), []).append(item)
        self.rows = list(rows)
        for item in self.graph.items.values():
            if item.kind == "begin":
                first = self.graph.items[self.graph.out_of(item.id)[0].head].place
                self.members.setdefault(((*first.row, ""), BEGIN), []).append(item)

    def fanned(self, edge: Edge) -> bool:
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

    def way(self, item: str, port: str) -> list[Point]:
        """Corners between the left of a block and the point where a wire meets an item."""
        return self.blocks[self.where[item]].ways.get(f"{port} {item}", [])

    def column(self, item: str) -> Column:
        """The column of an item that has a time step."""
        row, step = self.where[item]
        return self.segment[row], step

    def extent(self, row: RowKey) -> Point:
        """Left and right of what a row spans, without frames."""
        columns = self.spans[row]
        (left, first), (right, last) = self.x[columns[0]], self.x[columns[-1]]
        return left - first / 2, right + last / 2

    def fan_floor(self, edge: Edge) -> float:
        """Height at which lines of attention start: above all that spans the memory's steps."""
        memory, reader = self.where[edge.tail][0], self.where[edge.head][0]
        return max(
            y + height / 2
            for row, (y, height) in self.y.items()
            if row == memory
            or (
                row[2]
                and self.segment[row] == self.segment[memory]
                and self.y[memory][0] < y < self.y[reader][0]
            )
        )

    def start(self, row: RowKey) -> float:
        """Left of the frame of the first column on a row's time axis."""
        first = next((c for c in self.columns if c[0] == self.segment[row]), self.columns[0])
        x, width = self.x[first]
        return x - width / 2 - PAD

    def rail(self, row: RowKey) -> float:
        """Height of the line that a row's weights run along."""
        y, height = self.y[row]
        return y - height / 2 - self._drop

    # -- positions ------------------------------------------------------------------------------

    def _arrange(self) -> None:
        self._place_columns()
        self._place_rows()
        below = self._straight_up()
        for row in self.rows:
            for (r, step), block in self.blocks.items():
                if r != row:
                    continue
                y = self.y[row][0]
                if step is None:
                    left, right = self.extent(row)
                    self._stretch(block, right - left)
                    block.place((left + right) / 2, y)
                elif block.narrow and (row, step) in below:
                    block.place(self.anchor(below[row, step], "up")[0], y)
                else:
                    block.place(self.x[self.segment[row], step][0], y)
        self._add_panels()
        for block in self.blocks.values():
            self.picture.shapes += block.shapes
        self._add_inputs()
        for block in self.blocks.values():
            self.picture.wires += block.wires

    def _straight_up(self) -> dict[tuple[RowKey, Step], str]:
        """What feeds a place from below in its own column: narrow blocks stand right above it."""
        found = {}
        for edge in self.graph.edges.values():
            if edge.kind == DEPTH and edge.tail in self.where and edge.head in self.where:
                tail, head = self.where[edge.tail], self.where[edge.head]
                if tail[1] == head[1] and tail[0] != head[0]:
                    found[head] = edge.tail
        return found

    def _place_columns(self) -> None:
        widths: dict[Column, float] = {}
        for (row, step), block in self.blocks.items():
            if step is not None:
                column: Column = (self.segment[row], step)
                least = self.margin if step == BEGIN else 40.0  # its weights stand above it
                widths[column] = max(widths.get(column, least), block.width)
        x = 0.0
        for index, (number, step) in enumerate(self.columns):
            column = (number, step)
            if index and number != self.columns[index - 1][0]:
                x += AXIS_GAP + self.margin if self.margin else GAP
                x += TRACK * max(0, len(self.climbing(number)) - TRACKS)
                x += self._wider(self.columns[index - 1], widths)
                x += GAP if self.graph.view.folds else 0.0
                x += CARRIED if self.backwards else 0.0
            self.x[column] = (x + widths[column] / 2, widths[column])
            x += widths[column] + GAP

    def climbing(self, number: int) -> list[tuple[str, str]]:
        """Node and kind of what earlier time axes hand to this one; each has a track of its own."""
        found = {
            (edge.tail, edge.kind if edge.delay else "memory"): None
            for edge in self.graph.edges.values()
            if edge.kind != WEIGHT
            and edge.tail in self.where
            and edge.head in self.where
            and self.column(edge.tail)[0] < self.column(edge.head)[0] == number
            and (self.double or not self.fanned(edge))
        }
        return list(found)

    def _wider(self, last: Column, widths: dict[Column, float]) -> float:
        """How far what spans all steps of a time axis reaches beyond its last column."""
        steps = [c for c in self.columns if c[0] == last[0]]
        room = sum(widths[column] for column in steps) + GAP * (len(steps) - 1) + 2 * PAD
        spanning = [
            block.width
            for (row, step), block in self.blocks.items()
            if step is None and self.segment[row] == last[0]
        ]
        return max(0.0, (max(spanning, default=0.0) - room) / 2)

    def _place_rows(self) -> None:
        heights: dict[RowKey, float] = {}
        for (row, _), block in self.blocks.items():
            heights[row] = max(heights.get(row, 0.0), block.height)
        tops: dict[int, float] = {}
        for row in self.rows:
            number = self.segment[row]
            y = tops[number] + self._gap_below(row) if number in tops else 0.0
            for edge in self.fans:
                if self.where[edge.head][0] == row:
                    axis = self.segment[self.where[edge.tail][0]]
                    y = max(y, tops[axis] + (FAN if axis == number else LONG_FAN))
            self.y[row] = (y + heights[row] / 2, heights[row])
            tops[number] = y + heights[row]

    @property
    def _drop(self) -> float:
        """How far below a row its weights run: lower where other wires pass beside the box."""
        return 40.0 if self.graph.view.folds or len(set(self.segment.values())) > 1 else 27.0

    def _gap_below(self, row: RowKey) -> float:
        """Room under a row: more where its weights come in, and where states loop."""
        gap = 34.0
        if self.margin and row in self.weighted:
            gap = self._drop + (41.0 if self.double else 25.0)
        axis = self.segment[row]
        lowest = next((r for r in self.rows if self.segment[r] == axis and not r[2]), None)
        if row == lowest:  # what spans all steps stands below the frames
            return self._under() + 20.0
        if self.graph.view.folds and not row[2]:  # two delays fit between two rows
            return max(gap + 13.0, 62.0)
        return gap

    @staticmethod
    def _stretch(block: Block, width: float) -> None:
        """Make what spans all time steps as wide as they are."""
        for shape in block.shapes:
            shape.width = max(shape.width, width)

    # -- what stands around the blocks ----------------------------------------------------------

    def _add_panels(self) -> None:
        stepped = [row for row in self.rows if not row[2]]
        self.low = min(self.y[row][0] - self.y[row][1] / 2 for row in stepped)
        self.floor = self.low - self._under()
        tops: dict[int, float] = {}
        for row in stepped:
            axis, (y, height) = self.segment[row], self.y[row]
            tops[axis] = max(tops.get(axis, y), y + height / 2)
        for column in self.columns:
            x, width = self.x[column]
            left, right = x - width / 2 - PAD, x + width / 2 + PAD
            number, step = column
            if step == BEGIN:
                continue
            name = f"t{step}" if number == 0 else f"axis{number}-t{step}"
            panel = Panel(name, left, self.floor, right, tops[number] + 14, "", step == BAR)
            panel.steps = self._extent(step, number)
            panel.label = self._step_label(step, panel.steps)
            named = self._axis_name(number) + panel.label
            aside = 3.4 * len(named) + 8 if self._crossed() else 0.0
            if 6.6 * len(named) + 2 * aside < right - left:
                panel.label = named
            if self._crossed():
                panel.aside = 3.4 * len(panel.label) + 8
            for _, block in self.standing[column]:
                panel.members += [shape.id for shape in block.shapes]
            self.picture.panels.append(panel)
            self.panels[column] = panel

    def _crossed(self) -> bool:
        """Whether wires come up through the frames from what spans all steps below them."""
        return bool(self.rows[0][2]) and not self.graph.level.plain

    def _under(self) -> float:
        """Room within the frames under the lowest row: weights, inputs and the time."""
        if self.graph.level.plain:
            return 74.0 if self.margin else 44.0
        inputs = any(item.kind == "input" for item in self.graph.items.values())
        return (84.0 if inputs else self._drop + 35.0) + (10.0 if self.double else 0.0)

    def _axis_name(self, number: int) -> str:
        """Whose time it is, where there are several."""
        if len(set(self.segment.values())) == 1:
            return ""
        names = {
            n: next((r[0] for r in self.rows if self.segment[r] == n and not r[2]), "")
            for n in self.segment.values()
        }
        tops = [name.partition(".")[0] for name in names.values()]
        short = names[number].partition(".")[0]
        name = short if tops.count(short) == 1 else names[number]
        return f"{name}: " if name else ""

    def _extent(self, step: Step, axis: int) -> tuple[int, int]:
        """First and last time step that a column stands for."""
        if isinstance(step, int):
            return step, step
        if step == FOLDED:
            return self.graph.start, self.graph.start + self.graph.length - 1
        hidden = [
            item
            for (row, s), items in self.members.items()
            for item in items
            if s == BAR and self.segment[row] == axis
        ]
        first = [item.first for item in hidden if item.first is not None]
        last = [item.last for item in hidden if item.last is not None]
        whole = self.graph.start, self.graph.start + self.graph.length - 1
        return min(first, default=whole[0]), max(last, default=whole[1])

    def _step_label(self, step: Step, steps: tuple[int, int]) -> str:
        if step == FOLDED:
            several = len(set(self.segment.values())) > 1
            return "every t" if several else f"every t of {self.graph.length}"
        first, last = steps
        return f"t = {first} … {last}" if first < last else f"t = {first}"

    def _add_inputs(self) -> None:
        for item in self.graph.items.values():
            if item.kind != "input":
                continue
            head = self._fed_by(item).head
            x, y = self.anchor(head, "x")
            line = Line("x" + subscript(item.place.step), 13)
            low = min(self.floor + 34, y - 40)
            known = self._input_at(x, low)
            if known is None:
                known = Shape(item.id, x, low, 24, 20, [line], "text", tooltip=item_tooltip(item))
                known.classes = "input"
                self.picture.shapes.append(known)
                self.panels[self.column(head)].members.append(item.id)
            self.inputs[item.id] = known

    def _input_at(self, x: float, y: float) -> Shape | None:
        """The input that stands there already: that of another direction, say."""
        for shape in self.inputs.values():
            if abs(shape.x - x) < 20 and abs(shape.y - y) < 16:
                return shape
        return None

    def _fed_by(self, item: Item) -> Edge:
        (edge,) = self.graph.out_of(item.id)
        return edge
