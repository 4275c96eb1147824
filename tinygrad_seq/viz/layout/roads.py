"""Cells that have no picture of their own: operations in layers between straight roads of states.

Time goes on to the right within a step too. Every state is a road at one height through all
columns: those that only products and sums lie on run on top, the others below, and the rest stands
between them in Sugiyama's layers. Between two layers there is a gap in which wires climb, so that
none runs through an operation; all steps of a row are laid out as the fullest one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise

from tinygrad_seq.viz.graph.alike import RowSteps
from tinygrad_seq.viz.graph.items import DEPTH, WEIGHT, Edge, Graph, Item
from tinygrad_seq.viz.layout.boxes import circle
from tinygrad_seq.viz.layout.layered import operation_shape
from tinygrad_seq.viz.layout.sugiyama import Layers
from tinygrad_seq.viz.picture.shapes import Point, Shape
from tinygrad_seq.viz.picture.style import Style

__all__ = ["Roads", "entry_port", "inside"]

GAP, TRACK = 22.0, 7.0  # between layers; more for each wire that climbs there
ABOVE = 12.0  # between operations of a layer
ROAD = 18.0  # between a road and what stands beside it
_STRAIGHT = {"add", "subtract", "multiply", "divide", "negative", "where"}
"""What may lie on a road on top."""


def entry_port(edge: Edge, graph: Graph) -> str:
    """How a state comes into a step: on its road, or from farther away on a way of its own."""
    tail, head = graph.items[edge.tail], graph.items[edge.head]
    if tail.place.row != head.place.row and tail.kind not in {"carried", "start", "begin"}:
        own = edge.delay < 0 and edge.kind in head.states  # the last of an encoder, say
    else:
        own = abs(edge.delay) <= 1
    return edge.kind if own else f"{edge.kind}^{edge.delay}"


@dataclass
class Roads:
    """Where everything stands in each step of a row; names are those of the fullest step.

    Attributes
    ----------
    roads : dict
        Height of every state's road.
    """

    rows: RowSteps
    graph: Graph
    style: Style
    roads: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.edges: dict[tuple[str, str], None] = {}
        self.entries: dict[tuple[str, str], None] = {}
        self.below: dict[tuple[str, str], None] = {}
        self.up: dict[str, None] = {}
        self.shapes: dict[str, Shape] = {}
        self.sizes: dict[str, Point] = {}
        self.members = {item.id: item for item in self.rows.items()}
        self._collect(self.rows.items())
        for items in self.rows.steps.values():
            self._collect(items)
        self._settle()

    # -- what there is --------------------------------------------------------------------------

    def _collect(self, items: list[Item]) -> None:
        """Note sizes, edges, and where wires come in and go out, by the names of the full step."""
        twin = self.rows.twin
        here = {twin[item.id] for item in items}
        for item in items:
            name = twin[item.id]
            self.members.setdefault(name, item)
            names = [] if self.style.weights == "hidden" else self._weights(item)
            given = item.kind in {"output", "loss"}
            theme = self.style.theme
            shape = (
                circle(item, theme)
                if given
                else operation_shape(item, self.graph, self.style, names)
            )
            self.shapes[item.id] = shape
            width, height = self.sizes.get(name, (0.0, 0.0))
            self.sizes[name] = max(width, shape.width), max(height, shape.height)
            for edge in self.graph.into(item.id):
                tail = self.graph.items[edge.tail]
                if inside(edge, self.graph):
                    self.edges[twin[edge.tail], name] = None
                elif edge.kind in self.graph.tracks or edge.delay:
                    port = entry_port(edge, self.graph)
                    if self.instead(port, name, here) is None:
                        self.entries[port, name] = None
                elif edge.kind == WEIGHT and self.style.weights != "once" and not given:
                    continue  # said in the box
                elif edge.kind == WEIGHT:
                    self.below["w:", name] = None
                elif tail.place != item.place or tail.kind == "input":
                    self.below["x:", name] = None
            for edge in self.graph.out_of(item.id):
                if not edge.delay and self.graph.items[edge.head].place != item.place:
                    self.up[name] = None

    def instead(self, port: str, name: str, here: Collection[str]) -> str | None:
        """What stands between a state and an operation in the full step, but not in another."""
        if (port, name) in self.entries:
            return None
        between = (each for entry, each in self.entries if entry == port and each not in here)
        return next((each for each in between if (each, name) in self.edges), None)

    def _weights(self, item: Item) -> list[str]:
        """Which weights an operation uses, in a word each."""
        known = [edge for edge in self.graph.into(item.id) if edge.kind == WEIGHT]
        if not known:
            return []
        every = [name.split(".") for e in known for name, *_ in self.graph.items[e.tail].names]
        same = 0
        while len({*(name[same] if same < len(name) - 1 else "" for name in every)} - {""}) == 1:
            if any(same >= len(name) - 1 for name in every):
                break
            same += 1
        used = [name.split(".") for edge in known for name in edge.names]
        return [*dict.fromkeys(name[same] if same < len(name) else name[-1] for name in used)]

    def _straight(self, state: str) -> list[str] | None:
        """The shortest way of a state through products and sums, the state itself at its end."""
        ends = {name for name, item in self.members.items() if item.part == state}
        waiting = [[name] for port, name in self.entries if port == state]
        seen = {way[0] for way in waiting}
        while waiting:
            way = waiting.pop(0)
            item = self.members.get(way[-1])
            if item is None or not {*item.ops} <= _STRAIGHT:
                continue
            if way[-1] in ends:
                return way
            if item.part in item.states:
                continue
            for tail, head in self.edges:
                if tail == way[-1] and head not in seen:
                    seen.add(head)
                    waiting.append([*way, head])
        return None

    # -- where it stands ------------------------------------------------------------------------

    def _settle(self) -> None:
        self.upper = [
            n for kind in ("output", "loss") for n, m in self.members.items() if m.kind == kind
        ]
        names = [name for name in self.members if name not in self.upper]
        states = {
            item.part: name for name, item in self.members.items() if item.part in item.states
        }
        order = next(iter(self.members.values())).states
        self.lying: dict[str, list[str]] = {}
        ways = {state: self._straight(state) for state in order if state in states}
        self.on_road: dict[str, list[str]] = {k: way or [states[k]] for k, way in ways.items()}
        top = [state for state, way in ways.items() if way]
        low = [state for state, way in ways.items() if not way]
        self.layers = Layers(
            names,
            [ends for ends in self.edges if not {*ends} & {*self.upper}],
            {name: size[1] for name, size in self.sizes.items()},
            ABOVE,
            last=states.values(),
        )
        self._lead_up()
        self._lead_entries()
        for state, way in self.on_road.items():
            between = [self.layers.ways[ends] for ends in pairwise(way)]
            self.lying[state] = [*way, *(dummy for dummies in between for dummy in dummies)]
        on_roads = {name for names in self.lying.values() for name in names} | {*self.upper}
        beside = [[n for n in layer if n not in on_roads] for layer in self.layers.layers]
        reach = max(self.layers.room(layer) for layer in beside) / 2
        pinned = dict.fromkeys(self.upper, reach + ROAD)
        for side, states in ((1.0, top), (-1.0, low)):
            for state in states:
                pinned |= dict.fromkeys(self.lying[state], side * (reach + ROAD))
        self.layers.settle(pinned, reach)
        self._place_across(top, low)
        self._place_along()

    def _lead_up(self) -> None:
        """What is given out stands above all, in a column of its own."""
        layers = self.layers
        for name in self.upper:
            layers.depth[name] = len(layers.layers)
            layers.up[name], layers.down[name] = [], []
        for tail, head in self.edges:
            if head in self.upper and tail not in self.upper:
                layers.lead(tail, head, layers.depth[tail] + 1)

    def _lead_entries(self) -> None:
        """Where what comes in leaves its road: before its layer, or earlier if the road ends."""
        depth = self.layers.depth
        self.leaves: dict[tuple[str, str], int] = {}
        for port, name in self.entries:
            road = self.on_road.get(port)
            if road is None:  # a way of its own, from the left
                self.layers.lead(port, name, 0)
                self.leaves[port, name] = 0
                continue
            until = min(depth[each] for each in road)
            self.leaves[port, name] = first = min(until, depth[name])
            self.layers.lead(port, name, first)

    def _place_across(self, top: list[str], low: list[str]) -> None:
        """Heights: layers in the middle, roads above and below all of them."""
        free = [name for layer in self.layers.layers for name in layer]
        widths, y = self.layers.widths, self.layers.x
        for side, states in ((1, top), (-1, low[::-1])):
            edge = max((side * y[n] + widths[n] / 2 for n in free), default=-ROAD)
            for state in states:
                half = max([4.0, *(self.sizes[name][1] / 2 for name in self.on_road[state])])
                edge += ROAD + half
                self.roads[state] = side * edge
                for name in self.lying[state]:
                    y[name] = side * edge
                edge += half
            for name in self.upper if side > 0 else ():
                height = self.sizes[name][1]
                y[name] = edge + ROAD + height / 2
                edge += ROAD + height
        bounds = [
            y[n] + s * widths[n] / 2 for n in [*free, *(m for m in self.members)] for s in (1, -1)
        ]
        bounds += [*self.roads.values()]
        middle, self.height = (max(bounds) + min(bounds)) / 2, max(bounds) - min(bounds)
        self.roads = {state: height - middle for state, height in self.roads.items()}
        for name in y:
            y[name] -= middle

    def _place_along(self) -> None:
        """Places from left to right: layers as wide as their widest, gaps as what climbs there."""
        self.climbing: dict[int, dict[tuple[str, str], None]] = defaultdict(dict)
        depth, y = self.layers.depth, self.layers.x
        stacks: dict[int, list[str]] = defaultdict(list)
        for name in self.members:
            stacks[depth[name]].append(name)
        for stack in stacks.values():
            stack.sort(key=lambda name: y[name])
        self.clear_below = {stack[0] for stack in stacks.values()}
        self.clear_above = {stack[-1] for stack in stacks.values()}
        for port, name in self.below:
            if name not in self.clear_below:
                self.climbing[depth[name]][port, name] = None
        for (port, name), layer in self.leaves.items():
            if port in self.on_road and abs(self.after(port, name) - self.roads[port]) > 1:
                self.climbing[layer][port, ""] = None
        for name in self.up:
            if name not in self.clear_above:
                self.climbing[depth[name] + 1]["up:", name] = None
        self.left: list[float] = []
        self.right: list[float] = []
        self.gap: list[float] = []
        x = 0.0
        for number in range(len(self.layers.layers) + bool(self.upper) + 1):
            self.gap.append(x)
            x += self._room(number)
            width = max((self.sizes[name][0] for name in stacks[number]), default=0.0)
            self.left.append(x)
            x += width
            self.right.append(x)
        self.width, half = x, x / 2
        for places in (self.left, self.right, self.gap):
            places[:] = [place - half for place in places]

    def _room(self, gap: int) -> float:
        outer = gap in {0, len(self.layers.layers) + bool(self.upper)}
        count = len(self.climbing[gap])
        if outer and not count:
            return 4.0
        return (12.0 if outer else GAP) + TRACK * count

    def after(self, port: str, name: str) -> float:
        """The height at which a way goes on when it has left its road."""
        way = self.layers.ways[port, name]
        return self.layers.x[way[0] if way else name]

    def track(self, gap: int, key: tuple[str, str]) -> float:
        """Where a wire climbs in a gap."""
        number = list(self.climbing[gap]).index(key)
        return self.gap[gap] + 6.0 + TRACK * (number + 0.5)


def inside(edge: Edge, graph: Graph) -> bool:
    """Whether an edge leads from one operation of a step to another."""
    tail, head = graph.items[edge.tail], graph.items[edge.head]
    drawn = tail.kind in {"op", "output", "loss"}
    return drawn and not edge.delay and edge.kind == DEPTH and tail.place == head.place
