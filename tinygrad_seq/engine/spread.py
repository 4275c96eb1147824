"""A cotangent that need not be made: of vectors that were picked from a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array

__all__ = ["Spread"]


class Spread(NamedTuple):
    """What a rule may return for an operand that a look-up of rows has made.

    The table needs only the sums over all that was picked from each row, which may cost far less
    than the cotangent of what was picked.
    """

    whole: Callable[[], Array]
    """The cotangent of what was picked."""
    sums: Callable[[int], Array]
    """The cotangent of a table of so many rows."""
