"""What stands at one row and one column of a grid."""

from __future__ import annotations

from dataclasses import dataclass, field

from tinygrad_seq.viz.picture.shapes import Point, Shape, Wire

__all__ = ["Block"]


@dataclass(slots=True)
class Block:
    """Shapes and the wires between them, around their own centre.

    Attributes
    ----------
    anchors : dict
        Where wires from elsewhere end: ``"x"``, ``"h"``, ``"c"``, ``"w"`` come in, ``"up"``,
        ``"h+"``, ``"c+"`` go out, ``"w-"`` is the gradient's way back to the weights.
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
    narrow: bool = False
    """Stands right above what feeds it, rather than in the middle of its column."""

    def place(self, x: float, y: float) -> None:
        """Move everything from the origin to a centre."""
        for shape in self.shapes:
            shape.x, shape.y = shape.x + x, shape.y + y
        for wire in self.wires:
            wire.points = [(u + x, v + y) for u, v in wire.points]
            wire.tip = None if wire.tip is None else (wire.tip[0] + x, wire.tip[1] + y)
            if wire.label_at is not None:
                wire.label_at = (wire.label_at[0] + x, wire.label_at[1] + y)
        self.anchors = {port: (u + x, v + y) for port, (u, v) in self.anchors.items()}
        self.ways = {
            port: [(u + x, v + y) for u, v in corners] for port, corners in self.ways.items()
        }

    def mirror(self) -> None:
        """Swap left and right: for states that run from late to early."""
        for shape in self.shapes:
            shape.x = -shape.x
        for wire in self.wires:
            wire.points = [(-x, y) for x, y in wire.points]
            wire.tip = None if wire.tip is None else (-wire.tip[0], wire.tip[1])
            if wire.label_at is not None:
                wire.label_at = (-wire.label_at[0], wire.label_at[1])
        self.anchors = {port: (-x, y) for port, (x, y) in self.anchors.items()}
        self.ways = {port: [(-x, y) for x, y in corners] for port, corners in self.ways.items()}

    def anchor(self, item: str, port: str) -> Point:
        """The point where a wire meets an item."""
        for key in (f"{port} {item}", port, "x"):
            if key in self.anchors:
                return self.anchors[key]
        return self.shapes[0].x, self.shapes[0].y
