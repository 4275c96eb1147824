"""Writing text with a trained character model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_seq import nn
from tinygrad_seq.checks import count, instance_of, non_negative
from tinygrad_seq.data import Vocabulary
from tinygrad_seq.train.metrics import evaluating

__all__ = ["generate", "sample"]


def sample(
    model: nn.Module,
    vocabulary: Vocabulary,
    length: int = 500,
    *,
    prime: str = "",
    temperature: float = 1.0,
    rng: np.random.Generator | None = None,
) -> str:
    r"""Continue `prime` by `length` characters; see :func:`generate`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import data, charlm, train
    >>> vocabulary = data.Vocabulary("ab\n")
    >>> model = charlm.CharLM(3, hidden=4, layers=1, rng=np.random.default_rng(0))
    >>> len(charlm.sample(model, vocabulary, 20, prime="ab", rng=np.random.default_rng(1)))
    20
    """
    made = _characters(model, vocabulary, length, prime, temperature, rng)
    with evaluating(model):
        return "".join(made)


def generate(
    model: nn.Module,
    vocabulary: Vocabulary,
    length: int = 500,
    *,
    prime: str = "",
    temperature: float = 1.0,
    rng: np.random.Generator | None = None,
) -> Iterator[str]:
    r"""Yield characters one at a time, each drawn from ``softmax(logits / temperature)``.

    Parameters
    ----------
    model : Module
        ``model(tokens, state) -> (logits, state)``. Its mode and its generators are untouched,
        and it starts from a state of its own.
    vocabulary : Vocabulary
        The one that the model was trained with.
    length : int
        Characters to write.
    prime : str
        Text to read first. If empty, a line break stands for it, or the first symbol where the
        vocabulary has no line break.
    temperature : float
        Below 1 bolder guesses, above 1 more variety; 0 always takes the likeliest character.
    rng : numpy.random.Generator, optional
        Source of the draws; a fresh one by default.

    Raises
    ------
    ConfigError
        For a negative or non-finite temperature, or a negative length: at the call.
    DataError
        If the vocabulary lacks a character of `prime`.
    """
    made = _characters(model, vocabulary, length, prime, temperature, rng)

    def one_by_one() -> Iterator[str]:
        while True:
            # The model is in evaluation mode for this call alone: between two characters the
            # caller may train it.
            with evaluating(model):
                character = next(made, None)
            if character is None:
                return
            yield character

    return one_by_one()


def _characters(
    model: nn.Module,
    vocabulary: Vocabulary,
    length: int,
    prime: str,
    temperature: float,
    rng: np.random.Generator | None,
) -> Iterator[str]:
    """Check all at the call; the characters of a model in evaluation mode."""
    instance_of("sample: model", model, nn.Module)
    instance_of("sample: vocabulary", vocabulary, Vocabulary)
    instance_of("sample: prime", prime, str)
    temperature = non_negative("sample: temperature", temperature)
    length = count(0)("sample: length", length)
    start = prime or ("\n" if "\n" in vocabulary else vocabulary.symbols[0])
    ids = vocabulary.encode(start)
    if not len(ids):  # a vocabulary that skips what it does not know may skip it all
        ids = np.zeros(1, np.int32)
    rng = nn.init.generator(rng, "sample")

    def characters(ids: Any) -> Iterator[str]:
        state = None
        for _ in range(length):
            logits, state = model(ids[:, None], state)
            ids = np.array([_draw(logits.data[-1, 0], temperature, rng)])
            yield vocabulary.symbols[ids[0]]

    return characters(ids)


def _draw(logits: Any, temperature: float, rng: np.random.Generator) -> int:
    """An id drawn from softmax(logits / temperature), in float64."""
    scores = logits.astype(np.float64)
    if temperature == 0:
        return int(scores.argmax())
    scores = (scores - scores.max()) / temperature
    cumulative = np.exp(scores).cumsum()
    drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
    return int(min(drawn, len(scores) - 1))
