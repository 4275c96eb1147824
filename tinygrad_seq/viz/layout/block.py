"""What stands at one row and one column of a grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tinygrad_seq.viz.picture.shapes import Point, Shape, Wire

__all__ = ["Block", "ports"]


@dataclass(slots=True)
class Block:
    """Shapes and the wires between them, around their own centre.

    Attributes
    ----------
    anchors : dict
        Where wires from elsewhere end: ``"x:"``, ``"w:"``, ``"m:"``, what another time axis made,
        and states, by name, come in, ``"up:"`` and states, ``"h+"``, go out, ``"w-"`` is the
        gradient's way back to the weights. A state without a port of its own takes that of h,
        a memory that of x.
        ``"port item"`` overrides a port for one item.
    ways : dict
        Corners on the way from the left of the block to an anchor that no straight line reaches.
    """

    width: float
    height: float
    shapes: list[Shape]
    wires: list[Wire] = field(default_factory=list)
    anchors: dict[str, Point] = field(default_factory=dict)
    ways: dict[str, list[Point]] = field(default_factory=dict)
    inner: dict[str, list[Point]] = field(default_factory=dict)
    """Corners from an anchor at the edge of the block on to its node: ``"h item"``, ``"x: item"``;
    and of ``"up: item"`` from the node to that anchor."""
    before: dict[str, str] = field(default_factory=dict)
    """The shape that a wire to ``"port item"`` meets, where that is not the item's own."""
    narrow: bool = False
    """Stands right above what feeds it, rather than in the middle of its column."""

    def place(self, x: float, y: float) -> None:
        """Move everything from the origin to a centre."""
        self._map(lambda point: (point[0] + x, point[1] + y))

    def mirror(self) -> None:
        """Swap left and right: for states that run from late to early."""
        self._map(lambda point: (-point[0], point[1]))

    def _map(self, to: Callable[[Point], Point]) -> None:
        for shape in self.shapes:
            shape.x, shape.y = to((shape.x, shape.y))
        for wire in self.wires:
            wire.points = [to(point) for point in wire.points]
            wire.tip = wire.tip and to(wire.tip)
            wire.label_at = wire.label_at and to(wire.label_at)
        self.anchors = {port: to(point) for port, point in self.anchors.items()}
        self.ways = {port: [to(point) for point in way] for port, way in self.ways.items()}
        self.inner = {port: [to(point) for point in way] for port, way in self.inner.items()}

    def anchor(self, item: str, port: str) -> Point:
        """The point where a wire meets an item."""
        side = "h+" if port[-1] == "+" else "h" if port not in {"up:", "w:", "m:"} else "x:"
        for key in (f"{port} {item}", port, f"{side} {item}", side, "x:"):  # of any other state
            if key in self.anchors:
                return self.anchors[key]
        return self.shapes[0].x, self.shapes[0].y


def ports(shape: Shape) -> dict[str, Point]:
    """Where wires meet a shape that takes everything: states pass from left to right."""
    left, right = shape.outline(-1, 0), shape.outline(1, 0)
    return {"x:": shape.outline(0, -1), "up:": shape.outline(0, 1), "h": left, "h+": right}
