"""Character models: their options, training runs, reports, samples and the command line."""

from tinygrad_seq.charlm.loop import Monitor, Outcome, fit
from tinygrad_seq.charlm.machine import Machine, machine
from tinygrad_seq.charlm.model import CharLM
from tinygrad_seq.charlm.options import PRESETS, CharOptions, learning_rate
from tinygrad_seq.charlm.report import draw_char_lm, write_report
from tinygrad_seq.charlm.run import CharRun, HeldOut, load_char_lm
from tinygrad_seq.charlm.sample import generate, sample

__all__ = [
    "PRESETS",
    "CharLM",
    "CharOptions",
    "CharRun",
    "HeldOut",
    "Machine",
    "Monitor",
    "Outcome",
    "draw_char_lm",
    "fit",
    "generate",
    "learning_rate",
    "load_char_lm",
    "machine",
    "sample",
    "write_report",
]
