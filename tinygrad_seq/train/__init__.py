"""Training: truncated backpropagation through time, character models, checkpoints, reports."""

from tinygrad_seq.train.bptt import BPTT, bptt, first_run, forward_steps
from tinygrad_seq.train.char_lm import CharLM
from tinygrad_seq.train.checkpoint import load_checkpoint, save_checkpoint
from tinygrad_seq.train.loop import Monitor, Outcome, fit
from tinygrad_seq.train.machine import Machine, machine
from tinygrad_seq.train.metrics import Evaluation, MetricsTable, evaluate, evaluating
from tinygrad_seq.train.options import PRESETS, CharOptions, learning_rate
from tinygrad_seq.train.report import draw_char_lm, write_report
from tinygrad_seq.train.run import CharRun, HeldOut, load_char_lm
from tinygrad_seq.train.sample import generate, sample
from tinygrad_seq.train.tasks import Progress, Verdict, judge, learn, task_loss, task_model
from tinygrad_seq.train.tbptt import TBPTT, StepReport, tbptt
from tinygrad_seq.train.truncation import (
    Comparison,
    Truncated,
    compare_truncations,
    truncated_bptt,
)

__all__ = [
    "BPTT",
    "PRESETS",
    "TBPTT",
    "CharLM",
    "CharOptions",
    "CharRun",
    "Comparison",
    "Evaluation",
    "HeldOut",
    "Machine",
    "MetricsTable",
    "Monitor",
    "Outcome",
    "Progress",
    "StepReport",
    "Truncated",
    "Verdict",
    "bptt",
    "compare_truncations",
    "draw_char_lm",
    "evaluate",
    "evaluating",
    "first_run",
    "fit",
    "forward_steps",
    "generate",
    "judge",
    "learn",
    "learning_rate",
    "load_char_lm",
    "load_checkpoint",
    "machine",
    "sample",
    "save_checkpoint",
    "task_loss",
    "task_model",
    "tbptt",
    "truncated_bptt",
    "write_report",
]
