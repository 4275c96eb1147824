"""Layers by time: positions of our own for every view that has time steps.

Columns are time steps, rows are layers (and whatever spans all steps), blocks stand where they
cross. A block knows its anchors: where its states and its inputs enter and leave.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_seq.viz.block import Block
from tinygrad_seq.viz.ir import BAR, FOLDED, WEIGHT, Edge, Graph, Item, Place, Step
from tinygrad_seq.viz.picture import Line, Panel, Picture, Point, Shape, Wire, route
from tinygrad_seq.viz.style import Theme, shape_text, subscript
from tinygrad_seq.viz.words import edge_tooltip, item_tooltip

__all__ = ["Grid", "RowKey"]

RowKey = tuple[str, "int | None", str]
"""Module path, layer, and for what spans all time steps its item."""


BlockMaker = Callable[[list[Item], Place], Block]
"""Makes the block of a place from its items."""

GAP = 52.0  # between columns: room for the names of the states
PAD = 11.0  # between a block and the frame of its time step


class Grid:
    """Builds the picture of a graph with time steps.

    Parameters
    ----------
    graph : Graph
        With bundled weights.
    blocks : callable
        Makes the block of a place from its items.
    """

    def __init__(self, graph: Graph, blocks: BlockMaker, theme: Theme, weights: str) -> None:
        self.graph, self.theme, self.weights = graph, theme, weights
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

    def _sort_items(self) -> None:
        for item in self.graph.items.values():
            if item.kind in {"weight", "carried", "input"}:
                continue
            spanning = item.place.step is None
            row = (item.place.path, item.place.layer, item.id if spanning else "")
            if row not in self.rows:
                self.rows.append(row)
            self.members.setdefault((row, item.place.step), []).append(item)

    # -- positions ------------------------------------------------------------------------------

    def arrange(self) -> Picture:
        """Put everything in its place."""
        self._place_columns()
        self._place_rows()
        for (row, step), block in self.blocks.items():
            if step is None:
                self._stretch(block)
                left, right = self._extent()
                block.place((left + right) / 2, self.y[row][0])
            else:
                block.place(self.x[step][0], self.y[row][0])
        self._add_panels()
        for block in self.blocks.values():
            self.picture.shapes += block.shapes
        self._add_inputs()
        for block in self.blocks.values():
            self.picture.wires += block.wires
        for edge in self.graph.edges.values():
            self._add_wire(edge)
        if self.weights == "once":
            self._add_weights()
        return self.picture

    def _place_columns(self) -> None:
        x = 0.0
        for step in self.graph.steps:
            width = max(
                (block.width for (_, s), block in self.blocks.items() if s == step), default=40.0
            )
            self.x[step] = (x + width / 2, width)
            x += width + GAP

    def _place_rows(self) -> None:
        y = 0.0
        for row in self.rows:
            height = max(block.height for (r, _), block in self.blocks.items() if r == row)
            if self.y:
                y += self._gap_below(row)
            self.y[row] = (y + height / 2, height)
            y += height

    def _gap_below(self, row: RowKey) -> float:
        """Room under a row: more where its weights come in."""
        weighted = self.weights == "once" and any(
            edge.kind == WEIGHT and self.where.get(edge.head, ((), 0))[0] == row
            for edge in self.graph.edges.values()
        )
        looped = self.graph.view == "rolled" and not row[2]
        return (52.0 if weighted else 34.0) + (26.0 if looped else 0.0)

    def _extent(self) -> Point:
        """Left and right of all columns."""
        first, last = self.graph.steps[0], self.graph.steps[-1]
        return (
            self.x[first][0] - self.x[first][1] / 2,
            self.x[last][0] + self.x[last][1] / 2,
        )

    def _stretch(self, block: Block) -> None:
        """Make what spans all time steps as wide as they are."""
        left, right = self._extent()
        for shape in block.shapes:
            shape.width = max(shape.width, right - left)

    # -- what stands around the blocks ----------------------------------------------------------

    def _add_panels(self) -> None:
        stepped = [row for row in self.rows if not row[2]]
        low = min(self.y[row][0] - self.y[row][1] / 2 for row in stepped)
        high = max(self.y[row][0] + self.y[row][1] / 2 for row in stepped)
        self.low, self.high = low, high
        for step in self.graph.steps:
            x, width = self.x[step]
            panel = Panel(
                f"t{step}",
                x - width / 2 - PAD,
                low - 84,
                x + width / 2 + PAD,
                high + 14,
                self._step_label(step),
                dashed=step == BAR,
            )
            for (_, s), block in self.blocks.items():
                if s == step:
                    panel.members += [shape.id for shape in block.shapes]
            self.picture.panels.append(panel)

    def _step_label(self, step: Step) -> str:
        if step == FOLDED:
            return f"every t, {self.graph.length} steps"
        if step == BAR:
            shown = [s for s in self.graph.steps if isinstance(s, int)]
            before = [s for s in shown if self.graph.steps.index(s) < self.graph.steps.index(BAR)]
            after = [s for s in shown if s not in before]
            return f"t = {max(before) + 1} … {min(after) - 1}"
        return f"t = {step}"

    def _add_inputs(self) -> None:
        for item in self.graph.items.values():
            if item.kind != "input":
                continue
            (edge,) = self.graph.out_of(item.id)
            x, y = self._anchor(edge.head, "x")
            shape = Shape(
                item.id,
                x,
                min(self.low - 50, y - 40),
                24,
                20,
                [Line("x" + subscript(item.place.step), 13)],
                form="text",
                tooltip=item_tooltip(item),
                classes="input",
            )
            self.picture.shapes.append(shape)
            self._panel_of(item.place.step).members.append(item.id)

    def _panel_of(self, step: Step) -> Panel:
        return self.picture.panels[self.graph.steps.index(step)]

    # -- wires between blocks -------------------------------------------------------------------

    def _add_wire(self, edge: Edge) -> None:
        if edge.kind == WEIGHT:
            return
        head, tail = self.graph.items[edge.head], self.graph.items[edge.tail]
        if tail.kind == "carried":
            self._carried(edge, tail)
        elif tail.kind == "input":
            self._input(edge, tail)
        elif edge.delay and head.place.step == FOLDED:
            self._loop(edge)
        elif edge.delay:
            self._state(edge)
        elif self.where[edge.tail] != self.where[edge.head]:
            self._depth(edge)

    def _anchor(self, item: str, port: str) -> Point:
        return self.blocks[self.where[item]].anchor(item, port)

    def _state_color(self, kind: str) -> str:
        return {"h": self.theme.h, "c": self.theme.c}.get(kind, self.theme.line)

    def _wire(self, edge: Edge, corners: list[Point], **options: object) -> Wire:
        points, tip = route(corners)
        wire = Wire(
            edge.tail,
            edge.head,
            points,
            tip,
            self.theme.line,
            tooltip=edge_tooltip(edge),
            classes=f"edge-{edge.kind}",
        )
        for key, value in options.items():
            setattr(wire, key, value)
        self.picture.wires.append(wire)
        return wire

    def _state(self, edge: Edge) -> None:
        """A state on its straight road to the next column."""
        color = self._state_color(edge.kind)
        kind = edge.kind if edge.kind in {"h", "c"} else "h"
        start = self._anchor(edge.tail, kind + "+")
        end = self._anchor(edge.head, kind)
        column = self.x[self.where[edge.head][1]]
        middle = (column[0] - column[1] / 2 - GAP / 2, end[1])
        label = Line(("✂ " if edge.cut else "") + edge.kind, 11)
        above = 8 if kind == "c" else -8
        self._wire(
            edge,
            [start, end],
            color=color,
            pen=2.2,
            dashed=edge.cut,
            label=label,
            label_at=(middle[0], middle[1] + above),
        )

    def _carried(self, edge: Edge, item: Item) -> None:
        """A state that comes in from before the first step."""
        color = self._state_color(edge.kind)
        end = self._anchor(edge.head, edge.kind)
        left = self.x[item.place.step][0] - self.x[item.place.step][1] / 2 - PAD
        zero = item.note == "zero"
        name = edge.kind + (subscript(-1) if item.place.step != FOLDED else "₋₁")
        text = f"{name} = 0" if zero else name
        width = 9.0 * len(text)
        x = left - (44 if item.place.step == FOLDED else 24) - width / 2
        self.picture.shapes.append(
            Shape(
                item.id,
                x,
                end[1],
                width,
                16,
                [Line(text, 11, color=color)],
                form="text",
                tooltip=item_tooltip(item),
                classes="carried",
            )
        )
        wire = self._wire(edge, [(x + width / 2, end[1]), end], color=color, pen=1.8, dashed=True)
        if not zero:
            wire.label = Line("✂", 13)
            wire.label_at = (left - 12, end[1] + (8 if edge.kind == "c" else -8))

    def _input(self, edge: Edge, item: Item) -> None:
        shape = next(s for s in self.picture.shapes if s.id == item.id)
        end = self._anchor(edge.head, "x")
        self._wire(edge, [(shape.x, shape.y + 9), end])

    def _depth(self, edge: Edge) -> None:
        """Up to the next row; along the gap below it where the two are not above one another."""
        head_row, head_step = self.where[edge.head]
        tail_row, tail_step = self.where[edge.tail]
        if head_step is None and tail_step is not None:
            start = self._anchor(edge.tail, "up")
            y, height = self.y[head_row]
            side = -1 if self.y[tail_row][0] < y else 1
            self._wire(edge, [start, (start[0], y + side * height / 2)])
            return
        if tail_step is None and head_step is not None:
            end = self._anchor(edge.head, "x")
            y, height = self.y[tail_row]
            self._wire(edge, [(end[0], y + height / 2), end])
            return
        start, end = self._anchor(edge.tail, "up"), self._anchor(edge.head, "x")
        if abs(start[0] - end[0]) < 1:
            self._wire(edge, [start, end])
            return
        y, height = self.y[tail_row]
        lane = y + height / 2 + 12
        self._wire(edge, [start, (start[0], lane), (end[0], lane), end])

    def _loop(self, edge: Edge) -> None:
        """A state that comes round again through a delay of one step."""
        color = self._state_color(edge.kind)
        kind = edge.kind if edge.kind in {"h", "c"} else "h"
        start = self._anchor(edge.tail, kind + "+")
        end = self._anchor(edge.head, kind)
        row, step = self.where[edge.head]
        x, width = self.x[step]
        y, height = self.y[row]
        above = 1 if kind == "c" else -1
        lane = y + above * (height / 2 + 15)
        right, left = x + width / 2 + 30, x - width / 2 - 30
        delay = f"{edge.kind}·z:{edge.head}"
        text = "z⁻¹" if edge.delay == 1 else f"z^-{edge.delay}"
        self.picture.shapes.append(
            Shape(
                delay,
                right,
                lane,
                30,
                19,
                [Line(text, 11, color=color)],
                form="square",
                stroke=color,
                pen=1.4,
                tooltip=f"delay of {edge.delay} time step",
                classes="delay",
            )
        )
        first, tip = route([start, (right, start[1]), (right, lane - above * 9.5)])
        self.picture.wires.append(
            Wire(
                edge.tail,
                delay,
                first,
                tip,
                color,
                2.2,
                label=Line(edge.kind, 11),
                label_at=(x + width / 2 + 17, start[1] + above * 8),
                tooltip=edge_tooltip(edge),
                classes=f"edge-{edge.kind}",
            )
        )
        second, tip = route([(right - 15, lane), (left, lane), (left, end[1]), end])
        self.picture.wires.append(
            Wire(
                delay,
                edge.head,
                second,
                tip,
                color,
                2.2,
                tooltip=edge_tooltip(edge),
                classes=f"edge-{edge.kind}",
            )
        )

    # -- weights --------------------------------------------------------------------------------

    def _add_weights(self) -> None:
        left = self._extent()[0] - PAD
        for item in [i for i in self.graph.items.values() if i.kind == "weight"]:
            edges = [e for e in self.graph.out_of(item.id) if e.head in self.where]
            if not edges:
                continue
            lines = weight_lines(item, self.theme)
            width = max(line.width for line in lines) + 10
            height = sum(line.height for line in lines) + 8
            row = self.where[edges[0].head][0]
            rail = self._rail(row)
            center = left - 34 - width / 2
            self.picture.shapes.append(
                Shape(
                    item.id,
                    center,
                    rail,
                    width,
                    height,
                    lines,
                    fill=self.theme.weight_fill,
                    stroke=self.theme.weight,
                    tooltip=item_tooltip(item),
                    classes="weight",
                )
            )
            for edge in edges:
                self._weight_wire(edge, (center + width / 2, rail), left)

    def _rail(self, row: RowKey) -> float:
        """Height of the line that a row's weights run along."""
        y, height = self.y[row]
        return y - height / 2 - (40 if self.graph.view == "rolled" else 27)

    def _weight_wire(self, edge: Edge, start: Point, left: float) -> None:
        row, step = self.where[edge.head]
        rail = self._rail(row)
        if step is None:
            y, height = self.y[row]
            end: Point = (self._extent()[0] + 18, y - height / 2)
        else:
            end = self._anchor(edge.head, "w")
        corners = [start]
        if abs(rail - start[1]) > 1:
            corners += [(left - 20, start[1]), (left - 20, rail)]
        self._wire(edge, [*corners, (end[0], rail), end], color=self.theme.weight, pen=1.3)


def weight_lines(item: Item, theme: Theme) -> list[Line]:
    """The label of a bundle of weights: whose, which, and how often each is used."""
    place = item.place
    owner = place.path + ("" if place.layer is None else f", layer {place.layer}")
    prefix = place.path + "."
    lines = [Line(owner or "weights", 10, bold=True, color=theme.weight)]
    for name, shape, *_ in item.names:
        short = name.removeprefix(prefix)
        lines.append(Line(f"{short}  {shape_text(shape)}", 9))
    counts = {uses for _, _, uses in item.names}
    often = " or ".join(str(count) for count in sorted(counts))
    lines.append(Line(f"used {often} time{'s' if counts != {1} else ''}", 9, color=theme.faint))
    return lines
