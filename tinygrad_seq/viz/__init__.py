"""Drawings of recorded graphs in which time is a fact."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.viz.api import draw
from tinygrad_seq.viz.model import draw_model
from tinygrad_seq.viz.output.attention_matrix import draw_alignment
from tinygrad_seq.viz.output.drawing import Drawing
from tinygrad_seq.viz.trace import Trace

__all__ = ["Drawing", "Trace", "draw", "draw_alignment", "draw_model"]

if not _TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.DRAWING)
