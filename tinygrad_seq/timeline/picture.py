"""How the picture of a cell is described: every part in its place, the states on straight roads.

Plain data, in points with y upwards; whoever writes a cell may describe its picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Port", "Slot", "Template", "gate", "sign", "state"]


class Slot(NamedTuple):
    """Where a part stands, and how it looks.

    Attributes
    ----------
    fill : str
        The meaning of its colour: a name of a theme's.
    normed : (int, str, float, float), optional
        Of how many normalisations within the part on they are said in some other way: text, width
        (0 for the same) and size then.
    renamed : tuple of str
        Operations that are said in place of the text, where they were recorded.
    state : bool
        Whether it is a state of the cell: of the text's name, with the time step below.
    """

    x: float
    y: float
    width: float
    height: float
    text: str
    fill: str
    form: str = "box"
    size: float = 12.0
    normed: tuple[int, str, float, float] | None = None
    renamed: tuple[str, ...] = ()
    state: bool = False


class Port(NamedTuple):
    """Where a line enters a part: on the side that a direction points to, moved by `aside`.

    `lane` is the height at which the line comes, where no straight one reaches the part.
    """

    direction: tuple[float, float]
    aside: float = 0.0
    lane: float | None = None


class Template(NamedTuple):
    """A cell's picture.

    Attributes
    ----------
    slots : dict
        Of all parts.
    glyphs : dict
        Signs of a state's last operation, by the state; they stand before it on its road.
    center : (x, y)
        Of the whole.
    roads : dict
        By state: the part that it enters first on its road, and the part that it leaves from.
    ports : dict
        Where else lines come in: ``"h part"`` a state, ``"w part"`` weights.
    affine, output : str
        The part that takes the input and the weights, and the part that goes up.
    """

    slots: Mapping[str, Slot]
    glyphs: Mapping[str, Slot]
    width: float
    height: float
    center: tuple[float, float]
    roads: Mapping[str, tuple[str, str]]
    ports: Mapping[str, Port] = {}
    affine: str = "a"
    output: str = "h"

    def part(self, name: str) -> str:
        """The slot of a part; the factors of a product may be in another order."""
        turned = "*".join(reversed(name.split("*")))
        return turned if name not in self.slots and turned in self.slots else name


def sign(x: float, y: float, text: str) -> Slot:
    """A small round sign: a product, a sum."""
    return Slot(x, y, 20, 20, text, "box", "circle")


def gate(x: float, y: float, name: str) -> Slot:
    """A gate: between 0 and 1."""
    return Slot(x, y, 34, 24, f"{name}  σ", "gate_fill")


def state(x: float, y: float, name: str) -> Slot:
    """A state, in its colour."""
    return Slot(x, y, 34, 34, name, "", "circle", 15.0, state=True)
