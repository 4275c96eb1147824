"""Sequences to learn from: text, vocabularies, parallel streams, yardsticks, long-lag tasks."""

from .grammars import Dyck, EmbeddedReber
from .ngram import ngram_cross_entropy, ngram_entropy
from .streams import Streams, Window
from .tasks import IGNORE, Adding, CopyMemory, TaskBatch, TemporalOrder
from .text import pydoc_topics, read_text, split_text
from .translation import AddNumbers, Dates, TaskPairs
from .vocabulary import UnknownPolicy, Vocabulary

__all__ = [
    "IGNORE",
    "AddNumbers",
    "Adding",
    "CopyMemory",
    "Dates",
    "Dyck",
    "EmbeddedReber",
    "Streams",
    "TaskBatch",
    "TaskPairs",
    "TemporalOrder",
    "UnknownPolicy",
    "Vocabulary",
    "Window",
    "ngram_cross_entropy",
    "ngram_entropy",
    "pydoc_topics",
    "read_text",
    "split_text",
]
