"""Sequences to learn from: text, vocabularies, parallel streams, yardsticks."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from tinygrad_seq import elsewhere as _elsewhere

from .ngram import ngram_cross_entropy, ngram_entropy
from .streams import Streams, Window
from .text import pydoc_topics, read_text, split_text
from .vocabulary import UnknownPolicy, Vocabulary

__all__ = [
    "Streams",
    "UnknownPolicy",
    "Vocabulary",
    "Window",
    "ngram_cross_entropy",
    "ngram_entropy",
    "pydoc_topics",
    "read_text",
    "split_text",
]

if not _TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.DATA)
