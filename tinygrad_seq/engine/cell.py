"""What a recurrent cell says of itself, for whoever reads the nodes that it recorded."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["CellForm"]


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
