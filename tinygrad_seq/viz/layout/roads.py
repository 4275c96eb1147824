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
from tinygrad_seq.viz.layout.sugiyama import Layers, depths
from tinygrad_seq.viz.layout.tracks import tracks
from tinygrad_seq.viz.picture.shapes import Point, Shape
from tinygrad_seq.viz.picture.style import Style

__all__ = ["Roads", "entry_port", "inside"]

LEVEL, SLANTED = 14.0, 22.0  # between layers, if all wires are level there, or if some are not
TRACK = 7.0  # more for each wire that climbs there
LEAST, STEEP = 5.0, 30.0  # a wire that rises or falls by less is level, one by more climbs
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
        self.below: dict[tuple[str, str], set[str]] = {}
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
                    if self.before(port, name, here) is None:
                        self.entries[port, name] = None
                elif edge.kind == WEIGHT and self.style.weights != "once" and not given:
                    continue  # said in the box
                elif edge.kind == WEIGHT:
                    self.below.setdefault(("w:", name), set()).add(edge.tail)
                elif tail.place == item.place and tail.kind != "input":
                    continue
                elif tail.kind != "input" or self.before("x:", name, here) is None:
                    self.below.setdefault(("x:", name), set()).add(f"{tail.kind} {tail.place.row}")
            for edge in self.graph.out_of(item.id):
                if not edge.delay and self.graph.items[edge.head].place != item.place:
                    self.up[name] = None

    def before(self, port: str, name: str, here: Collection[str]) -> str | None:
        """What stands between what comes in and an operation, in the full step but not in this."""
        known = self.below if port in {"x:", "w:"} else self.entries
        if (port, name) in known:
            return None
        between = (each for entry, each in known if entry == port and each not in here)
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
        given = [
            n for kind in ("output", "loss") for n, m in self.members.items() if m.kind == kind
        ]
        used = {tail for tail, head in self.edges if head not in given}
        self.upper = [name for name in given if name not in used]
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
        self.layers = self._stand(names, [*states.values()], top[:1], low[-1:])
        self._lead_up()
        self._lead_entries()
        for state, way in self.on_road.items():
            between = [self.layers.ways[ends] for ends in pairwise(way)]
            self.lying[state] = [*way, *(dummy for dummies in between for dummy in dummies)]
        on_roads = {name for names in self.lying.values() for name in names} | {*self.upper}
        beside = [[n for n in layer if n not in on_roads] for layer in self.layers.layers]
        reach = max(self.layers.room(layer) for layer in beside) / 2
        pinned = dict.fromkeys(self.upper, reach + ROAD)
        for side, beyond in ((1.0, top), (-1.0, low)):
            for state in beyond:
                pinned |= dict.fromkeys(self.lying[state], side * (reach + ROAD))
        self.layers.settle(pinned, reach)
        self._place_across(top, low)
        self._place_along()

    def _stand(
        self, names: list[str], last: Collection[str], top: list[str], low: list[str]
    ) -> Layers:
        """In layers, as few as there can be if what a road takes or gives stands right beside it.

        In each layer that is one operation at most on each road next to the others.
        """
        edges = [ends for ends in self.edges if not {*ends} & {*self.upper}]
        sides = {n: side for side, k in ((1, top), (-1, low)) for s in k for n in self.on_road[s]}
        lying = {name for names in self.on_road.values() for name in names}
        depth = depths(names, edges, last)
        beside: dict[tuple[str, str], str] = {}
        for ends in sorted(edges, key=lambda ends: depth[ends[0]]):
            free = [name for name in ends if name not in lying]
            if len(free) == 1 and {*ends} & {*sides} and free[0] not in beside.values():
                tried = beside | {ends: free[0]}
                trial = depths(names, edges, last, tried)
                standing = {
                    (trial[tail], sides[tail if name == head else head])
                    for (tail, head), name in tried.items()
                    if trial[tail] == trial[head]
                }
                shorter = sum(trial.values()) < sum(depth.values())
                if shorter and len(standing) == len(tried):
                    depth, beside = trial, tried
        heights = {name: size[1] for name, size in self.sizes.items()}
        layers = Layers(depth, edges, heights, ABOVE)
        for (tail, head), name in beside.items():
            layers.ends[name] = sides[tail if name == head else head]
        return layers

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
        self.climbing: dict[int, dict[tuple[str, str], int]] = defaultdict(dict)
        depth, y = self.layers.depth, self.layers.x
        stacks: dict[int, list[str]] = defaultdict(list)
        for name in self.members:
            stacks[depth[name]].append(name)
        for stack in stacks.values():
            stack.sort(key=lambda name: y[name])
        self.clear_below = {stack[0] for stack in stacks.values()}
        self.clear_above = {stack[-1] for stack in stacks.values()}
        self.meets = self._meets()
        for name in self.up:
            if name not in self.clear_above:
                self._climbs(depth[name] + 1, ("up:", name))
        self._turn()
        for port, name in self.below:
            if name not in self.clear_below:
                self._climbs(depth[name], self.source(port, name))
        for (port, name), layer in self.leaves.items():
            if port in self.on_road and abs(self.after(port, name) - self.roads[port]) > 1:
                self._climbs(layer, (port, ""))
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

    def _climbs(self, gap: int, key: tuple[str, str]) -> None:
        """Give a wire a track of its own, right of all others."""
        climbing = self.climbing[gap]
        climbing.setdefault(key, max(climbing.values(), default=-1) + 1)

    def _turn(self) -> None:
        """Lead what would be steep straight up or down, all that leaves one operation together."""
        layers = self.layers
        runs: dict[int, dict[str, list[float]]] = defaultdict(dict)
        for (tail, head), way in layers.ways.items():
            if layers.stands(tail, head):
                continue
            inner = tail in self.members
            gap = layers.depth[tail] + 1 if inner else self.leaves[tail, head] + 1
            heights = [layers.x[name] for name in ([tail, *way] if inner else way)]
            for number, (y, after) in enumerate(pairwise([*heights, self.meets[tail, head]]), gap):
                runs[number].setdefault(tail, [y]).append(after)
        self.slanted: set[int] = set()
        for gap, beside in runs.items():
            steep = {n: ys for n, ys in beside.items() if max(ys) - min(ys) > STEEP}
            first = max(self.climbing[gap].values(), default=-1) + 1
            for name, number in tracks(steep).items():
                self.climbing[gap]["out:", name] = first + number
            if any(max(ys) - min(ys) > LEAST for n, ys in beside.items() if n not in steep):
                self.slanted.add(gap)

    def _meets(self) -> dict[tuple[str, str], float]:
        """Heights at which wires meet the left of an operation: none two at one place."""
        found: dict[tuple[str, str], float] = {}
        x = self.layers.x
        comes: dict[str, dict[str, float]] = defaultdict(dict)
        for (tail, head), way in self.layers.ways.items():
            straight = tail in self.roads and not way
            if tail in self.members and not self.layers.stands(tail, head):
                comes[head][tail] = x[way[-1] if way else tail]
            elif tail not in self.members:
                comes[head][tail] = self.roads[tail] if straight else self.after(tail, head)
        for port, name in self.below:
            if name not in self.clear_below:
                comes[name][port] = -self.height
        for name, ways in comes.items():
            height, y = self.sizes[name][1], x[name]
            order = sorted(ways, key=lambda key: ways[key])
            step = min(8.0, (height - 6) / max(len(order) - 1, 1))
            most = (height / 2 - 2) / max(step, 1.0)
            level = [k for k, key in enumerate(order) if abs(ways[key] - y) < 1]
            middle = level[0] if level else (len(order) - 1) / 2  # what comes level stays so
            middle = max(min(middle, most), len(order) - 1 - most)
            found |= {(key, name): y + step * (k - middle) for k, key in enumerate(order)}
        return found

    def _room(self, gap: int) -> float:
        outer = gap in {0, len(self.layers.layers) + bool(self.upper)}
        count = max(self.climbing[gap].values(), default=-1) + 1
        if outer and not count:
            return 4.0
        alone = SLANTED if gap in self.slanted else LEVEL
        return max(12.0 + TRACK * count, 0.0 if outer else alone)

    def source(self, port: str, name: str) -> tuple[str, str]:
        """What comes from below to an operation: the same to several climbs once."""
        return port, " ".join(sorted(self.below[port, name]))

    def after(self, port: str, name: str) -> float:
        """The height at which a way goes on when it has left its road."""
        way = self.layers.ways[port, name]
        return self.layers.x[way[0] if way else name]

    def track(self, gap: int, key: tuple[str, str]) -> float:
        """Where a wire climbs in a gap."""
        return self.gap[gap] + 4.0 + TRACK * (self.climbing[gap][key] + 0.5)


def inside(edge: Edge, graph: Graph) -> bool:
    """Whether an edge leads from one operation of a step to another."""
    tail, head = graph.items[edge.tail], graph.items[edge.head]
    drawn = tail.kind in {"op", "output", "loss"}
    return drawn and not edge.delay and edge.kind == DEPTH and tail.place == head.place
