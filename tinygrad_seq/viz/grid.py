"""Layers by time: positions of our own for every view that has time steps.

Columns are time steps, rows are layers (and whatever spans all steps), blocks stand where they
cross. What is between the blocks is led by :mod:`tinygrad_seq.viz.wiring`.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_seq.viz.block import Block
from tinygrad_seq.viz.ir import BAR, DEPTH, FOLDED, WEIGHT, Edge, Graph, Item, Place, Step
from tinygrad_seq.viz.picture import Line, Panel, Picture, Point, Shape
from tinygrad_seq.viz.style import subscript
from tinygrad_seq.viz.words import item_tooltip

__all__ = ["GAP", "PAD", "Grid", "RowKey"]

RowKey = tuple[str, "int | None", str]
"""Module path, layer, and for what spans all time steps its item."""
BlockMaker = Callable[[list[Item], Place], Block]
"""Makes the block of a place from its items."""

GAP = 52.0  # between columns: room for the names of the states
PAD = 11.0  # between a block and the frame of its time step


class Grid:
    """Positions of the blocks of a graph that has time steps.

    Parameters
    ----------
    graph : Graph
        With bundled weights.
    blocks : callable
        Makes the block of a place from its items.
    rails : bool
        Leave room for the lines of shared weights under the rows that have some.
    double : bool
        Leave room for gradients beside them.

    Attributes
    ----------
    x, y : dict
        Centre and width of every column, centre and height of every row.
    """

    def __init__(
        self, graph: Graph, blocks: BlockMaker, *, rails: bool = True, double: bool = False
    ) -> None:
        self.graph, self.rails, self.double = graph, rails, double
        self.picture = Picture()
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
        self.x: dict[Step, tuple[float, float]] = {}
        self.y: dict[RowKey, tuple[float, float]] = {}
        self.weighted = {
            self.where[edge.head][0]
            for edge in graph.edges.values()
            if edge.kind == WEIGHT and edge.head in self.where
        }
        self._arrange()

    def _sort_items(self) -> None:
        rows: dict[RowKey, None] = {}
        for item in self.graph.items.values():
            if item.kind not in {"weight", "carried", "input"}:
                spanning = item.place.step is None
                row = (item.place.path, item.place.layer, item.id if spanning else "")
                rows[row] = None
                self.members.setdefault((row, item.place.step), []).append(item)
        self.rows = list(rows)

    def anchor(self, item: str, port: str) -> Point:
        """Where a wire meets an item."""
        return self.blocks[self.where[item]].anchor(item, port)

    def extent(self) -> Point:
        """Left and right of all columns, without their frames."""
        first, last = self.graph.steps[0], self.graph.steps[-1]
        return (
            self.x[first][0] - self.x[first][1] / 2,
            self.x[last][0] + self.x[last][1] / 2,
        )

    def rail(self, row: RowKey) -> float:
        """Height of the line that a row's weights run along."""
        y, height = self.y[row]
        return y - height / 2 - (40 if self.graph.view == "rolled" else 27)

    # -- positions ------------------------------------------------------------------------------

    def _arrange(self) -> None:
        self._place_columns()
        self._place_rows()
        below = self._straight_up()
        for row in self.rows:
            for (r, step), block in self.blocks.items():
                if r != row:
                    continue
                if step is None:
                    left, right = self.extent()
                    self._stretch(block, right - left)
                    block.place((left + right) / 2, self.y[row][0])
                    continue
                x = self.x[step][0]
                if block.narrow and (row, step) in below:
                    x = self.anchor(below[row, step], "up")[0]
                block.place(x, self.y[row][0])
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
        widths: dict[Step, float] = {}
        for (_, step), block in self.blocks.items():
            widths[step] = max(widths.get(step, 40.0), block.width)
        x = 0.0
        for step in self.graph.steps:
            self.x[step] = (x + widths[step] / 2, widths[step])
            x += widths[step] + GAP

    def _place_rows(self) -> None:
        heights: dict[RowKey, float] = {}
        for (row, _), block in self.blocks.items():
            heights[row] = max(heights.get(row, 0.0), block.height)
        y = 0.0
        for row in self.rows:
            if self.y:
                y += self._gap_below(row)
            self.y[row] = (y + heights[row] / 2, heights[row])
            y += heights[row]

    def _gap_below(self, row: RowKey) -> float:
        """Room under a row: more where its weights come in, and where states loop."""
        gap = 34.0
        if self.rails and row in self.weighted:
            gap = 68.0 if self.double else 52.0
        return gap + (26.0 if self.graph.view == "rolled" and not row[2] else 0.0)

    @staticmethod
    def _stretch(block: Block, width: float) -> None:
        """Make what spans all time steps as wide as they are."""
        for shape in block.shapes:
            shape.width = max(shape.width, width)

    # -- what stands around the blocks ----------------------------------------------------------

    def _add_panels(self) -> None:
        stepped = [row for row in self.rows if not row[2]]
        self.low = min(self.y[row][0] - self.y[row][1] / 2 for row in stepped)
        high = max(self.y[row][0] + self.y[row][1] / 2 for row in stepped)
        under = 84 if self.graph.level != "op" else 74 if self.rails else 44
        under += 10 if self.double else 0
        self.floor = self.low - under
        for step in self.graph.steps:
            x, width = self.x[step]
            left, right = x - width / 2 - PAD, x + width / 2 + PAD
            label = self._step_label(step)
            panel = Panel(f"t{step}", left, self.floor, right, high + 14, label, step == BAR)
            for (_, s), block in self.blocks.items():
                if s == step:
                    panel.members += [shape.id for shape in block.shapes]
            self.picture.panels.append(panel)

    def _step_label(self, step: Step) -> str:
        steps = self.graph.steps
        if step == FOLDED:
            return f"every t of {self.graph.length}"
        if step == BAR:
            place = steps.index(BAR)
            before, after = steps[place - 1], steps[place + 1]
            assert isinstance(before, int) and isinstance(after, int)
            return f"t = {before + 1} … {after - 1}"
        return f"t = {step}"

    def _add_inputs(self) -> None:
        for item in self.graph.items.values():
            if item.kind != "input":
                continue
            x, y = self.anchor(self._fed_by(item).head, "x")
            line = Line("x" + subscript(item.place.step), 13)
            low = min(self.floor + 34, y - 40)
            self.picture.shapes.append(
                Shape(item.id, x, low, 24, 20, [line], "text", tooltip=item_tooltip(item))
            )
            self.picture.shapes[-1].classes = "input"
            panel = self.picture.panels[self.graph.steps.index(item.place.step)]
            panel.members.append(item.id)

    def _fed_by(self, item: Item) -> Edge:
        (edge,) = self.graph.out_of(item.id)
        return edge
