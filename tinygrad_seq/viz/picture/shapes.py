"""A drawing with everything in its place: shapes, wires and panels in points, y upwards."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any
from unicodedata import east_asian_width

__all__ = [
    "LEADING",
    "TITLE",
    "Line",
    "Panel",
    "Picture",
    "Point",
    "Shape",
    "Wire",
    "corners_of",
    "rounded",
]

Point = tuple[float, float]
LEADING = 1.45
"""Distance of lines over font size."""
TITLE = 18.0
"""Font size of a title over a picture."""
ARROW = 10.0  # points, the length of an arrow head of size 1
_BEND = 0.55  # how far towards a corner the control points of its curve lie


@dataclass(slots=True)
class Line:
    """One line of a label."""

    text: str
    size: float = 10.0
    bold: bool = False
    color: str = ""

    @property
    def width(self) -> float:
        """Room to leave for it, in points: on the wide side, since fonts differ by viewer."""
        letters = len(self.text)
        if not self.text.isascii():  # signs of Chinese, Japanese and Korean take twice the room
            letters += sum(east_asian_width(letter) in "WF" for letter in self.text)
        return letters * self.size * (0.66 if self.bold else 0.6)

    def within(self, room: float) -> Line:
        """The same if it fits, else its beginning and an ellipsis."""
        if self.width > room:
            self.text = self.text[: max(1, int(len(self.text) * room / self.width) - 1)] + "…"
        return self

    @property
    def height(self) -> float:
        """Distance to the next line."""
        return round(self.size * LEADING)


@dataclass(slots=True)
class Shape:
    """A node: a box, a circle or bare text around its centre."""

    id: str
    x: float
    y: float
    width: float
    height: float
    lines: list[Line]
    form: str = "box"
    fill: str = ""
    stroke: str = ""
    pen: float = 1.0
    dashed: bool = False
    tooltip: str = ""
    classes: str = ""

    @classmethod
    def around(cls, name: str, lines: list[Line], aside: float, above: float, **look: Any) -> Shape:
        """A shape around text, with so much more room in all beside it and above it."""
        width, height = max(line.width for line in lines), sum(line.height for line in lines)
        return cls(name, 0, 0, width + aside, height + above, lines, **look)

    def outline(self, dx: float, dy: float) -> Point:
        """Where a line from the centre in some direction leaves it."""
        if self.form == "circle":
            reach = self.width / 2 / math.hypot(dx, dy)
        else:
            reach = min(
                self.width / 2 / abs(dx) if dx else math.inf,
                self.height / 2 / abs(dy) if dy else math.inf,
            )
        return self.x + dx * reach, self.y + dy * reach


@dataclass(slots=True)
class Wire:
    """An edge along a chain of cubic Bezier curves (3 n + 1 points, the tip apart)."""

    tail: str
    head: str
    points: list[Point]
    tip: Point | None
    color: str
    pen: float = 1.2
    dashed: bool = False
    label: Line | None = None
    label_at: Point | None = None
    tooltip: str = ""
    classes: str = ""
    arrow: float = 0.7
    road: str = ""
    """The edge it stands for, among those that follow one state or weight."""

    @classmethod
    def along(
        cls,
        tail: str,
        head: str,
        corners: list[Point],
        color: str,
        pen: float = 1.2,
        arrow: float = 0.7,
        **look: Any,
    ) -> Wire:
        """A wire along straight runs with rounded corners."""
        points = rounded(corners, arrow)
        return cls(tail, head, points, corners[-1], color, pen, arrow=arrow, **look)


@dataclass(slots=True)
class Panel:
    """A frame behind a group of shapes: a time step."""

    id: str
    left: float
    bottom: float
    right: float
    top: float
    label: str = ""
    dashed: bool = False
    members: list[str] = field(default_factory=list)
    aside: float = 0.0
    """How far right of the middle the label stands."""
    label_at: Point | None = None
    """Where it stands instead: by default near the lower end."""
    steps: tuple[int, int] = (0, -1)
    """First and last time step that it stands for."""


@dataclass(slots=True)
class Picture:
    """Everything that a renderer paints, in painting order."""

    panels: list[Panel] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    title: str = ""
    free: bool = False
    """Without positions: Graphviz's own ranks decide (graphs without time steps)."""

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right and top of everything."""
        points = [point for wire in self.wires for point in wire.points]
        for shape in self.shapes:
            half_w, half_h = shape.width / 2, shape.height / 2
            points += [(shape.x - half_w, shape.y - half_h), (shape.x + half_w, shape.y + half_h)]
        for panel in self.panels:
            points += [(panel.left, panel.bottom), (panel.right, panel.top)]
        xs, ys = zip(*points, strict=True) if points else ((0.0,), (0.0,))
        return min(xs), min(ys), max(xs), max(ys)


def rounded(corners: list[Point], arrow: float, radius: float = 8.0) -> list[Point]:
    """Bezier points along straight runs with rounded corners, short of the arrow head."""
    corners = [*corners[:-1], _towards(corners[-1], corners[-2], ARROW * arrow)]
    points: list[Point] = [corners[0]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        reach = min(radius, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        start, end = _towards(corner, before, reach), _towards(corner, after, reach)
        points += _straight(points[-1], start)
        points += [
            _towards(start, corner, reach * _BEND),
            _towards(end, corner, reach * _BEND),
            end,
        ]
    return points + _straight(points[-1], corners[-1])


def corners_of(points: list[Point], tip: Point) -> list[Point]:
    """What :func:`rounded` was given."""
    turns = [
        (start[0] + (bend[0] - start[0]) / _BEND, start[1] + (bend[1] - start[1]) / _BEND)
        for start, bend in zip(points[3:-3:6], points[4:-2:6], strict=True)
    ]
    return [points[0], *turns, tip]


def _towards(start: Point, goal: Point, length: float) -> Point:
    whole = math.dist(start, goal)
    share = min(length / whole, 1.0) if whole else 0.0
    return start[0] + (goal[0] - start[0]) * share, start[1] + (goal[1] - start[1]) * share


def _straight(start: Point, end: Point) -> list[Point]:
    (x, y), (u, v) = start, end
    return [(x + (u - x) / 3, y + (v - y) / 3), (x + 2 * (u - x) / 3, y + 2 * (v - y) / 3), end]
