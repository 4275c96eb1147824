"""Where and when an operation was recorded, for whoever reads the nodes."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["CellForm", "Scope"]


class CellForm(NamedTuple):
    """The names that a cell goes by: nodes recorded in it carry them in their scope."""

    title: str
    """What a reader calls it, ``"LSTM"``."""
    states: tuple[str, ...]
    """Names of what goes from step to step, ``("h", "c")``; also the roles of their nodes."""
    gates: tuple[str, ...] = ()
    """Names of the blocks of columns of its gate weights, in their order."""
    picture: Any = None
    """Where its parts stand in a drawing; None where nothing is known of them."""

    def __hash__(self) -> int:  # a picture need not have one
        return hash((self.title, self.states, self.gates))


class Scope(NamedTuple):
    """Where in a model, and when in a sequence, an operation was recorded."""

    path: str = ""
    """Dotted module path, ``""`` outside any module."""
    layer: int | None = None
    """Layer of a stacked recurrent module."""
    step: int | None = None
    """Time step t of an unrolled sequence."""
    start: int = 0
    """Time step at which sequences begin that run step by step here."""
    cell: CellForm | None = None
    """What the recurrent cell says of itself that the operation is part of."""
    module: str = ""
    """Class of the module at `path`."""

    @property
    def place(self) -> str:
        """Module path and layer in short, ``"rnn.l0"``; ``""`` where there are none."""
        layer = "" if self.layer is None else f"l{self.layer}"
        return ".".join(part for part in (self.path, layer) if part)

    def __str__(self) -> str:
        parts = [f"module {self.path}"] if self.path else []
        if self.layer is not None:
            parts.append(f"layer {self.layer}")
        if self.step is not None:
            parts.append(f"t = {self.step}")
        return ", ".join(parts)
