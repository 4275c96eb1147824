"""Names in layers by depth, in Sugiyama's manner: few crossings, no edge through a name.

Layers by longest path, crossings reduced by barycentres, long edges led through the layers
between. What a place along a layer is, across or up, whoever asks decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import pairwise
from math import inf

__all__ = ["Layers", "depths"]

DUMMY = 4.0
SWEEPS = 8


def depths(
    names: list[str],
    edges: Iterable[tuple[str, str]],
    last: Collection[str] = (),
    upright: Collection[tuple[str, str]] = (),
) -> dict[str, int]:
    """Layer of every name: sources sink to just below what needs them.

    Parameters
    ----------
    names : list of str
    edges : iterable of (tail, head)
    last : collection of str
        Names without a head that stand in the last layer, however early they could.
    upright : collection of (tail, head)
        Edges that need no layer of their own.
    """
    up: dict[str, dict[str, int]] = {name: {} for name in names}
    down: dict[str, dict[str, int]] = {name: {} for name in names}
    for tail, head in edges:
        up[tail][head] = down[head][tail] = 0 if (tail, head) in upright else 1
    depth = dict.fromkeys(names, 0)
    for _ in names:  # as many rounds as any chain is long; a cycle stops there
        settled = True
        for name in names:
            deeper = max((depth[tail] + far for tail, far in down[name].items()), default=0)
            if depth[name] < deeper < len(names):
                depth[name], settled = deeper, False
        if settled:
            break
    for name in reversed(names):
        if not down[name] and up[name]:
            depth[name] = min(depth[head] - far for head, far in up[name].items())
    deepest = max(depth.values(), default=0)
    return depth | {name: deepest for name in last if not up[name]}


class Layers:
    """Layers of names, with dummies where an edge passes through.

    Parameters
    ----------
    depth : dict
        Layer of every name.
    edges : iterable of (tail, head)
        Those within a layer lead along it.
    sizes : dict
        Room that names need along their layer.
    gap : float
        Between names of one layer.

    Attributes
    ----------
    ways : dict
        Dummies of every edge.
    x : dict
        Place along the layer of every name and dummy, once settled.
    ends : dict
        -1 or 1 of names that must stand first or last in their layer.
    """

    def __init__(
        self,
        depth: dict[str, int],
        edges: Iterable[tuple[str, str]],
        sizes: dict[str, float],
        gap: float,
    ) -> None:
        self.depth, self.widths, self.gap = depth, dict(sizes), gap
        self.up: dict[str, list[str]] = {name: [] for name in depth}
        self.down: dict[str, list[str]] = {name: [] for name in depth}
        self.ways: dict[tuple[str, str], list[str]] = {}
        self.x: dict[str, float] = {}
        self.ends: dict[str, int] = {}
        self.layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
        for name, layer in depth.items():
            self.layers[layer].append(name)
        for tail, head in edges:
            self._lead(tail, head, depth[tail] + 1, tail)

    def lead(self, key: str, head: str, first: int) -> None:
        """Lead what comes from outside through the layers from the first one up to a name."""
        self._lead(key, head, first, None)

    def _lead(self, key: str, head: str, first: int, low: str | None) -> None:
        way = self.ways[key, head] = []
        for layer in range(first, self.depth[head]):
            dummy = f"{key}>{head}@{layer}"
            self.layers[layer].append(dummy)
            self.widths[dummy] = DUMMY
            self.up[dummy], self.down[dummy] = [], []
            if low is not None:
                self._join(low, dummy)
            way.append(dummy)
            low = dummy
        if low is not None:
            self._join(low, head)

    def _join(self, low: str, high: str) -> None:
        self.up[low].append(high)
        self.down[high].append(low)

    def stands(self, tail: str, head: str) -> bool:
        """Whether an edge leads along its layer."""
        return self.depth.get(tail) == self.depth[head]

    def settle(self, pinned: dict[str, float] | None = None, reach: float = inf) -> None:
        """Order the layers, then give every name its place; those that are pinned have one.

        No layer reaches farther to either side than `reach`, which is enough for the fullest one.
        """
        self.x = dict(pinned or {})
        self.layers = [[name for name in layer if name not in self.x] for layer in self.layers]
        place = {name: float(i) for layer in self.layers for i, name in enumerate(layer)}
        place |= self.x
        for layer, near in self._sweeps():
            layer.sort(key=lambda name: (self.ends.get(name, 0), _middle(name, near, place)))
            for index, name in enumerate(layer):
                place[name] = index - (len(layer) - 1) / 2
        for layer in self.layers:
            x = 0.0
            for name in layer:
                self.x[name] = x + self.widths[name] / 2
                x += self.widths[name] + self.gap
            for name in layer:
                self.x[name] -= (x - self.gap) / 2
        for layer, near in self._sweeps():
            self._align(layer, near, reach)
        free = [name for layer in self.layers for name in layer]
        middle = (self._edge(-1, free) + self._edge(1, free)) / 2 if free else 0.0
        for name in free:
            self.x[name] -= middle

    def _sweeps(self) -> Iterator[tuple[list[str], dict[str, list[str]]]]:
        """Every layer, and what it is to be near to: upwards, downwards, and so on."""
        for _ in range(SWEEPS // 2):
            yield from ((layer, self.down) for layer in self.layers)
            yield from ((layer, self.up) for layer in reversed(self.layers))

    def _align(self, layer: list[str], near: dict[str, list[str]], reach: float) -> None:
        """Move names towards their neighbours' middle, keeping order, distances and bounds."""
        goals = [_middle(name, near, self.x) for name in layer]
        from_left, from_right = list(goals), list(goals)
        gaps = [(self.widths[a] + self.widths[b]) / 2 + self.gap for a, b in pairwise(layer)]
        for i, gap in enumerate(gaps):
            from_left[i + 1] = max(goals[i + 1], from_left[i] + gap)
        for i in reversed(range(len(gaps))):
            from_right[i] = min(goals[i], from_right[i + 1] - gaps[i])
        before, after = 0.0, self.room(layer)
        for name, low, high in zip(layer, from_right, from_left, strict=True):
            half = self.widths[name] / 2
            least, most = before + half - reach, reach - (after - half)
            self.x[name] = max(min((low + high) / 2, most), least)
            before += 2 * half + self.gap
            after -= 2 * half + self.gap

    def room(self, layer: list[str]) -> float:
        """What the names of a layer need side by side."""
        return sum(self.widths[name] for name in layer) + self.gap * (len(layer) - 1)

    def _edge(self, side: int, names: Iterable[str]) -> float:
        return side * max(side * self.x[n] + self.widths[n] / 2 for n in names)

    def width(self) -> float:
        """Of the widest layer."""
        free = [name for layer in self.layers for name in layer]
        return self._edge(1, free) - self._edge(-1, free) if free else 0.0


def _middle(name: str, near: dict[str, list[str]], x: dict[str, float]) -> float:
    """Mean place of the neighbours of a name; its own if it has none."""
    others = near[name]
    return sum(x[other] for other in others) / len(others) if others else x[name]
