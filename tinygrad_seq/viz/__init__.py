"""Drawings of recorded graphs in which time is a fact, not a guess."""

from tinygrad_seq.viz.api import draw, draw_model
from tinygrad_seq.viz.render import Drawing
from tinygrad_seq.viz.trace import Trace

__all__ = ["Drawing", "Trace", "draw", "draw_model"]
