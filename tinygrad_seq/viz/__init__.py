"""Drawings of recorded graphs in which time is a fact; texts coloured by what units do."""

from tinygrad_seq.viz.api import draw
from tinygrad_seq.viz.celltext import CellText, cell_text
from tinygrad_seq.viz.matrix import draw_alignment
from tinygrad_seq.viz.model import draw_model
from tinygrad_seq.viz.render import Drawing
from tinygrad_seq.viz.trace import Trace

__all__ = ["CellText", "Drawing", "Trace", "cell_text", "draw", "draw_alignment", "draw_model"]
