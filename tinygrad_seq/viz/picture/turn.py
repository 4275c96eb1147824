"""Time down the page: a finished picture transposed, its text upright.

What ran along x, time, then runs down along y; what was stacked along y stands side by side. The
picture is laid out and routed before, so no box lies on another and no wire runs through one. To
keep that while text stays upright, both axes are stretched, piece by piece: where anything stands,
by as much as it needs to be as wide upright as it was high, and the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tinygrad_seq.viz.picture.shapes import Panel, Picture, Point, Shape, Wire, corners_of, rounded

__all__ = ["turn"]

AROUND = 12.0  # around the text in a box
LEAST = 0.3  # what is left at least of a step's width, where its text needs less
ROUND = 8.0  # of a box's corners, which no line ends at
STRIP = 2.0, 24.0  # over the lower end of a panel: where its label stands
BESIDE = 12.0  # from the middle of a step to its label, where a wire comes in


class _Need(NamedTuple):
    """A box around a point as it lies now, and how wide and high it must be upright, if at all."""

    x: float
    y: float
    width: float
    height: float
    wide: float
    high: float


class _Scale:
    """An axis stretched so that every stretch of it gets the length that it needs."""

    def __init__(self, needs: Iterable[tuple[float, float, float]], least: float) -> None:
        known = [(need / size, at - size / 2, at + size / 2) for at, size, need in needs if size]
        ends = [0.0, 1.0, *(end for _, *both in known for end in both)]
        self.ends = np.unique(ends)
        density = np.ones(len(self.ends) - 1)
        for share, start, end in sorted(known):  # the greatest last
            first, last = np.searchsorted(self.ends, [start, end])
            density[first:last] = max(share, least)
        self.places = np.concatenate([[0.0], np.cumsum(density * np.diff(self.ends))])

    def __call__(self, x: float) -> float:
        beyond = min(x - self.ends[0], 0.0) + max(x - self.ends[-1], 0.0)
        return float(np.interp(x, self.ends, self.places) + beyond)


def turn(picture: Picture) -> None:
    """Let time run down the page."""
    shapes = {shape.id: shape for shape in picture.shapes}
    owners = {name: owner for name in shapes if (owner := _owner(name, shapes)) is not None}
    lying = {name: _of_shape(shape) for name, shape in shapes.items()}
    needs = [need for name, need in lying.items() if name not in owners]
    needs += [need for wire in picture.wires for need in _of_label(wire)]
    needs += map(_of_panel, picture.panels)
    across = _Scale(((n.y, n.height, n.wide) for n in needs), 1.0)
    along = _Scale(((n.x, n.width, n.high) for n in needs if n.high), LEAST)

    def to(point: Point) -> Point:
        return across(point[1]), -along(point[0])

    ends: dict[str, list[Point]] = {}
    for wire in picture.wires:
        ends.setdefault(wire.tail, []).append(wire.points[0])
        ends.setdefault(wire.head, []).append(wire.tip or wire.points[-1])
    for name in lying.keys() - owners.keys():
        _stand(shapes[name], lying[name], to, ends.get(name, []))
    for name, owner in owners.items():  # stays where it is on its owner
        shape = shapes[name]
        shape.x, shape.y = owner.x, owner.y + shape.y - lying[owner.id].y
        shape.width = owner.width - 2
    for wire in picture.wires:
        tail, head = (_circle_at(wire, end, shapes, lying) for end in (wire.tail, wire.head))
        _turn_wire(wire, to, tail, head)
    for panel in picture.panels:
        _turn_panel(panel, to)


def _owner(name: str, shapes: dict[str, Shape]) -> Shape | None:
    """The box that a shape is a stripe of, if it is."""
    stripe, owner = shapes[name], shapes.get(name.partition("#")[0])
    return owner if "#" in name and stripe.form == "square" else None


def _of_shape(shape: Shape) -> _Need:
    wide, high = shape.width, shape.height
    if shape.form == "box" and shape.lines:  # as large as its text, not as the lines that it meets
        wide = min(wide, max(line.width for line in shape.lines) + AROUND)
        high = min(high, sum(line.height for line in shape.lines) + AROUND)
    if "spanning" in shape.classes.split():  # leaves the room between the steps as it is
        high = 0.0
    return _Need(shape.x, shape.y, shape.width, shape.height, wide, high)


def _stand(shape: Shape, lay: _Need, to: Callable[[Point], Point], ends: list[Point]) -> None:
    """Put a shape where it stands upright: a box as large as its place where lines end at it."""
    left, top = to((lay.x - lay.width / 2, lay.y - lay.height / 2))
    right, bottom = to((lay.x + lay.width / 2, lay.y + lay.height / 2))
    shape.x, shape.y = to((lay.x, lay.y))
    if shape.form not in {"box", "square"}:
        return
    aside = not lay.high or any(abs(abs(y - lay.y) - lay.height / 2) < 2 for _, y in ends)
    above = not lay.high or any(abs(abs(x - lay.x) - lay.width / 2) < 2 for x, _ in ends)
    xs, ys = zip(*map(to, ends), strict=True) if ends else ((), ())
    shape.x, shape.width = _side(left, right, shape.x, lay.wide, xs, aside)
    shape.y, shape.height = _side(bottom, top, shape.y, lay.high, ys, above)


def _side(
    low: float, high: float, middle: float, size: float, ends: Iterable[float], whole: bool
) -> tuple[float, float]:
    """Middle and length of a box's side: of the whole place, or of what text and lines need."""
    reach = max([size / 2, *(abs(end - middle) + ROUND for end in ends)])
    if whole or middle - reach < low or high < middle + reach:
        return (low + high) / 2, high - low
    return middle, 2 * reach


def _of_label(wire: Wire) -> list[_Need]:
    if wire.label is None or wire.label_at is None:
        return []
    width, height = wire.label.width, 1.2 * wire.label.size
    return [_Need(*wire.label_at, width, height, width, height)]


def _of_panel(panel: Panel) -> _Need:
    middle, (low, high) = (panel.left + panel.right) / 2, STRIP
    wide = 6.6 * len(panel.label) + 16
    return _Need(middle, panel.bottom + (low + high) / 2, 1.0, high - low, wide, 0.0)


def _turn_panel(panel: Panel, to: Callable[[Point], Point]) -> None:
    (low, high), bottom = STRIP, panel.bottom
    left, top = to((panel.left, bottom))
    right, panel.bottom = to((panel.right, panel.top))
    panel.left, panel.right, panel.top = left, right, top
    middle = (panel.bottom + top) / 2 + (BESIDE if panel.aside else 0.0)
    panel.label_at = (to((0.0, bottom + low))[0] + to((0.0, bottom + high))[0]) / 2, middle


def _circle_at(
    wire: Wire, name: str, shapes: dict[str, Shape], lying: dict[str, _Need]
) -> Shape | None:
    """The circle that a wire starts or ends at; or else none: boxes are as large as their place."""
    ends = wire.points[0], wire.tip or wire.points[-1]
    for known in (name, f"{name}·"):
        if known in shapes and shapes[known].form == "circle":
            circle = lying[known]
            if any(math.dist(circle[:2], end) < circle.width / 2 + 2 for end in ends):
                return shapes[known]
    return None


def _turn_wire(
    wire: Wire, to: Callable[[Point], Point], tail: Shape | None, head: Shape | None
) -> None:
    if wire.label_at is not None:
        wire.label_at = to(wire.label_at)
    if wire.tip is None:  # a curve
        wire.points = [to(point) for point in wire.points]
        if head is not None:
            x, y = wire.points[-2]
            wire.points[-1] = head.outline(x - head.x, y - head.y)
        return
    corners = [to(corner) for corner in corners_of(wire.points, wire.tip)]
    if tail is not None:
        corners[0] = _met(tail, corners[0], corners[1])
    if head is not None:
        corners[-1] = _met(head, corners[-1], corners[-2])
    wire.points, wire.tip = rounded(corners, wire.arrow), corners[-1]


def _met(circle: Shape, end: Point, other: Point) -> Point:
    """Where a line that ended near a circle, from another point, meets it now."""
    x, y, reach = circle.x, circle.y, circle.width / 2
    dx, dy = end[0] - x, end[1] - y
    if abs(end[1] - other[1]) < 0.5 and abs(dy) < reach:
        return x + math.copysign(math.sqrt(reach**2 - dy**2), dx), end[1]
    if abs(end[0] - other[0]) < 0.5 and abs(dx) < reach:
        return end[0], y + math.copysign(math.sqrt(reach**2 - dx**2), dy)
    return circle.outline(other[0] - x, other[1] - y)
