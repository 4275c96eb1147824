"""What a test can see of a drawing: boxes that overlap, and boxes that wires run through."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import NamedTuple

from tinygrad_seq import viz


class Box(NamedTuple):
    """A shape around its centre."""

    name: str
    x: float
    y: float
    width: float
    height: float


def boxes(drawing: viz.Drawing) -> list[Box]:
    """All shapes, in points."""
    pattern = r'^\s*"([^"]+)" \[pos="([-\d.]+),([-\d.]+)", width=([\d.]+), height=([\d.]+)'
    return [
        Box(name, float(x), float(y), 72 * float(width), 72 * float(height))
        for name, x, y, width, height in re.findall(pattern, drawing.dot, re.M)
    ]


def crossed(drawing: viz.Drawing) -> set[tuple[str, str, str]]:
    """Tail and head of wires that run through a box of something else, and that box.

    Lines of attention are left out: they are drawn behind all boxes.
    """
    known = [box for box in boxes(drawing) if not box.name.startswith("key:")]
    found = set()
    for tail, head, _, points, _ in wires(drawing):
        for x, y in _along(points):
            for box in known:
                inside = abs(x - box.x) < box.width / 2 - 2 and abs(y - box.y) < box.height / 2 - 2
                own = box.name.partition("#")[0] in {tail, head}
                if inside and not own:
                    found.add((tail, head, box.name))
    return found


def looked_through(drawing: viz.Drawing) -> set[str]:
    """Boxes of weights that lines of attention run behind."""
    weights = [box for box in boxes(drawing) if box.name.startswith("weights:")]
    return {
        box.name
        for wire in wires(drawing, attention=True)
        for x, y in _along(wire.points)
        for box in weights
        if abs(x - box.x) < box.width / 2 and abs(y - box.y) < box.height / 2
    }


class Wire(NamedTuple):
    """An arrow: its ends, what it is said to be, its way, and the tip of its head."""

    tail: str
    head: str
    classes: frozenset[str]
    points: list[tuple[float, float]]
    tip: tuple[float, float]


def wires(drawing: viz.Drawing, attention: bool = False) -> list[Wire]:
    """All wires, or all lines of attention: they are drawn behind all boxes."""
    found = []
    pattern = r'^\s*"([^"]+)" -> "([^"]+)" \[pos="([^"]*)"(.*)$'
    for tail, head, way, rest in re.findall(pattern, drawing.dot, re.M):
        said = re.search(r'class="([^"]*)"', rest)
        classes = frozenset(said[1].split() if said else ())
        if ("edge-attention" in classes) != attention:
            continue
        numbers = re.findall(r"(?:^| )([-\d.]+),([-\d.]+)", way)
        points = [(float(x), float(y)) for x, y in numbers]
        ahead = re.match(r"e,([-\d.]+),([-\d.]+)", way)
        tip = (float(ahead[1]), float(ahead[2])) if ahead else points[-1]
        found.append(Wire(tail, head, classes, points, tip))
    return found


def astray(drawing: viz.Drawing) -> set[tuple[str, str, str]]:
    """Ends of wires, and which of the two lies at no border of its node.

    A way may begin on another one from the same node, and a gradient end on another one to it.
    """
    places: dict[str, list[Box]] = {}
    for box in boxes(drawing):
        for name in {box.name, box.name.partition("#")[0], box.name.partition("·")[0]}:
            places.setdefault(name, []).append(box)
    known = [*wires(drawing), *wires(drawing, attention=True)]
    found = set()
    for wire in known:
        for end, point in (("tail", wire.points[0]), ("head", wire.tip)):
            name: str = getattr(wire, end)
            if any(_meets(point, box) for box in places.get(name, [])):
                continue
            joins = end == "tail" or "gradient" in wire.classes
            owned = name, f"delay:{name}:"
            others = (each for each in known if each is not wire)
            ways = (_along(each.points) for each in others if getattr(each, end).startswith(owned))
            if not (joins and any(math.dist(point, at) < 9 for way in ways for at in way)):
                found.add((wire.tail, wire.head, end))
    return found


def _meets(point: tuple[float, float], box: Box, most: float = 3.0) -> bool:
    """Whether a point lies at the border of a box, or beside a word."""
    x, y = abs(point[0] - box.x) - box.width / 2, abs(point[1] - box.y) - box.height / 2
    outside, inside = math.hypot(max(x, 0), max(y, 0)), -max(x, y)
    if box.width == box.height:  # a circle
        inside = min(inside, abs(math.dist(point, (box.x, box.y)) - box.width / 2))
    word = box.name.startswith(("x:", "carried:", "weight:"))
    return max(outside, 0.0 if word else inside) < (8 * most if word else most)


def shared(drawing: viz.Drawing, most: float = 8.0) -> set[tuple[str, str, str, str]]:
    """Ends of two wires of different meaning that lie on one another for more than a few points.

    What leaves one node means one thing, and so do gradients that come back to it, and what lies
    along one state or weight.
    """
    level: dict[tuple[bool, int], list[tuple[float, float, Wire]]] = {}
    for wire in wires(drawing):
        for (x, y), (u, v) in pairwise(wire.points[::3]):
            for across, at, start, end in ((True, y, x, u), (False, x, y, v)):
                if abs((v - y) if across else (u - x)) < 0.5:
                    key = across, round(at)
                    level.setdefault(key, []).append((min(start, end), max(start, end), wire))
    found = set()
    for (across, at), runs in level.items():
        near = runs + level.get((across, at + 1), [])
        for low, high, one in runs:
            for start, end, other in near:
                both = one.classes & other.classes
                same = one.tail == other.tail or any(c.startswith("road-") for c in both)
                same |= "gradient" in both and one.head == other.head
                if same or min(high, end) - max(low, start) <= most:
                    continue
                found.add((one.tail, one.head, other.tail, other.head))
    return found


def written(drawing: viz.Drawing) -> list[Box]:
    """What is written beside wires, as boxes around the letters."""
    pattern = r'label="([^"]+)", fontsize=([\d.]+).*? lp="([-\d.]+),([-\d.]+)"'
    return [
        Box(text, float(x), float(y), 0.5 * float(size) * len(text), 0.7 * float(size))
        for line in drawing.dot.splitlines()
        if " -> " in line
        for text, size, x, y in re.findall(pattern, line)
    ]


def covered(drawing: viz.Drawing) -> set[tuple[str, str]]:
    """Names beside wires that lie on one another, or on a box."""
    labels = written(drawing)
    known = [box for box in boxes(drawing) if not box.name.startswith("key:")]
    return {
        (one.name, other.name)
        for number, one in enumerate(labels)
        for other in [*known, *labels[:number]]
        if abs(one.x - other.x) < (one.width + other.width) / 2
        and abs(one.y - other.y) < (one.height + other.height) / 2
    }


def steep(drawing: viz.Drawing, most: float = 31.0) -> set[tuple[str, str]]:
    """Ends of wires that rise or fall by more on one slant, neither level nor straight up."""
    found = set()
    for wire in wires(drawing):
        for (x, y), (u, v) in pairwise(wire.points[::3]):
            if abs(x - u) > 1 and abs(y - v) > most:
                found.add((wire.tail, wire.head))
    return found


def _along(points: list[tuple[float, float]], pieces: int = 12) -> list[tuple[float, float]]:
    """Points on a chain of cubic curves."""
    found = []
    for start in range(0, len(points) - 3, 3):
        a, b, c, d = points[start : start + 4]
        for index in range(pieces + 1):
            s = index / pieces
            parts = (1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s * s * (1 - s), s**3
            x, y = (sum(p * q[i] for p, q in zip(parts, (a, b, c, d), strict=True)) for i in (0, 1))
            found.append((x, y))
    return found
