"""Studies beside the package: generated tasks, clipping rules and truncations to compare.

What the demos and the pages show and nobody trains with. It is part of the source, not of what is
installed: from its root, ``from demos.lab import Adding``; in a demo, ``from lab import Adding``.
"""

from .clip_rules import clip_grad_adaptive_, clip_grad_norm_each_, clip_grad_squared_norm_
from .grammars import Dyck, EmbeddedReber
from .learning import Progress, Verdict, judge, learn, task_loss, task_model
from .tasks import IGNORE, Adding, CopyMemory, TaskBatch, TemporalOrder
from .translation import AddNumbers, Dates, TaskPairs
from .truncation import Comparison, Truncated, compare_truncations, truncated_bptt

__all__ = [
    "IGNORE",
    "AddNumbers",
    "Adding",
    "Comparison",
    "CopyMemory",
    "Dates",
    "Dyck",
    "EmbeddedReber",
    "Progress",
    "TaskBatch",
    "TaskPairs",
    "TemporalOrder",
    "Truncated",
    "Verdict",
    "clip_grad_adaptive_",
    "clip_grad_norm_each_",
    "clip_grad_squared_norm_",
    "compare_truncations",
    "judge",
    "learn",
    "task_loss",
    "task_model",
    "truncated_bptt",
]
