"""Time down the page: a finished picture transposed, its text upright.

What ran along x, time, then runs down along y; what was stacked along y stands side by side. The
picture is laid out and routed before, so no box lies on another and no wire runs through one. To
keep that while text stays upright, both axes are stretched, piece by piece: where anything stands,
by as much as it needs to be as wide upright as it was high, and the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_seq.viz.picture.shapes import (
    ARROW,
    Panel,
    Picture,
    Point,
    Shape,
    Wire,
    straight,
    towards,
)

__all__ = ["turn"]

AROUND = 12.0  # around the text in a box
LEAST = 0.3  # what is left at least of a step's width, where its text needs less
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
    needs = [_of_shape(shape) for name, shape in shapes.items() if name not in owners]
    needs += [need for wire in picture.wires for need in _of_label(wire)]
    needs += map(_of_panel, picture.panels)
    across = _Scale(((n.y, n.height, n.wide) for n in needs), 1.0)
    along = _Scale(((n.x, n.width, n.high) for n in needs if n.high), LEAST)

    def to(point: Point) -> Point:
        return across(point[1]), -along(point[0])

    lying = {name: (s.x, s.y, s.width, s.height) for name, s in shapes.items()}
    for name, shape in shapes.items():
        if name not in owners:
            left, bottom, right, top = _turned(to, *lying[name])
            shape.x, shape.y = to((shape.x, shape.y))
            if shape.form in {"box", "square"}:  # lines end anywhere along their sides
                shape.x, shape.y = (left + right) / 2, (bottom + top) / 2
                shape.width, shape.height = right - left, top - bottom
    for name, owner in owners.items():  # stays where it is on its owner
        shape, (_, y, _, _) = shapes[name], lying[owner.id]
        shape.x, shape.y = owner.x, owner.y + shape.y - y
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


def _of_label(wire: Wire) -> list[_Need]:
    if wire.label is None or wire.label_at is None:
        return []
    width, height = wire.label.width, 1.2 * wire.label.size
    return [_Need(*wire.label_at, width, height, width, height)]


def _of_panel(panel: Panel) -> _Need:
    middle, (low, high) = (panel.left + panel.right) / 2, STRIP
    wide = 6.6 * len(panel.label) + 16
    return _Need(middle, panel.bottom + (low + high) / 2, 1.0, high - low, wide, 0.0)


def _turned(
    to: Callable[[Point], Point], x: float, y: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a box."""
    left, top = to((x - width / 2, y - height / 2))
    right, bottom = to((x + width / 2, y + height / 2))
    return left, bottom, right, top


def _turn_panel(panel: Panel, to: Callable[[Point], Point]) -> None:
    (low, high), bottom = STRIP, panel.bottom
    left, top = to((panel.left, bottom))
    right, panel.bottom = to((panel.right, panel.top))
    panel.left, panel.right, panel.top = left, right, top
    middle = (panel.bottom + top) / 2 + (BESIDE if panel.aside else 0.0)
    panel.label_at = (to((0.0, bottom + low))[0] + to((0.0, bottom + high))[0]) / 2, middle


def _circle_at(
    wire: Wire, name: str, shapes: dict[str, Shape], lying: Mapping[str, tuple[float, ...]]
) -> Shape | None:
    """The circle that a wire starts or ends at; or else none: boxes are as large as their place."""
    ends = wire.points[0], wire.tip or wire.points[-1]
    for known in (name, f"{name}·"):
        if known in shapes and shapes[known].form == "circle":
            x, y, width, _ = lying[known]
            if any(math.dist((x, y), end) < width / 2 + 2 for end in ends):
                return shapes[known]
    return None


def _turn_wire(
    wire: Wire, to: Callable[[Point], Point], tail: Shape | None, head: Shape | None
) -> None:
    wire.points = points = [to(point) for point in wire.points]
    if wire.label_at is not None:
        wire.label_at = to(wire.label_at)
    if wire.tip is None:
        return
    tip = to(wire.tip)
    if tail is not None:
        points[0] = _met(tail, points[0], points[3] if len(points) > 4 else tip)
    if head is not None:
        tip = _met(head, tip, points[-4])
    wire.tip = tip
    points[-1] = towards(tip, points[-4], ARROW * wire.arrow)
    points[1:4] = straight(points[0], points[3])
    points[-3:] = straight(points[-4], points[-1])


def _met(circle: Shape, end: Point, other: Point) -> Point:
    """Where a line that ended near a circle, from another point, meets it now."""
    x, y, reach = circle.x, circle.y, circle.width / 2
    dx, dy = end[0] - x, end[1] - y
    if abs(end[1] - other[1]) < 0.5 and abs(dy) < reach:
        return x + math.copysign(math.sqrt(reach**2 - dy**2), dx), end[1]
    if abs(end[0] - other[0]) < 0.5 and abs(dx) < reach:
        return end[0], y + math.copysign(math.sqrt(reach**2 - dx**2), dy)
    return circle.outline(other[0] - x, other[1] - y)
