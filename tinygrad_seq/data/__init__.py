"""Sequences to learn from: text, its vocabulary, parallel streams, and yardsticks."""

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
