"""Making sequences from a model of the next token: greedy, by temperature, by beam search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.checks import (
    callable_of,
    count,
    generator_of,
    index_of,
    non_negative,
    number,
    require_room,
    size,
)
from tinygrad_seq.engine.mode import no_grad
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.numeric import log_softmax
from tinygrad_seq.nn.state import select_rows
from tinygrad_seq.tensor import Tensor

__all__ = ["Generated", "beam_search", "beams_of", "generate"]

MOST_BEAMS = 10_000

Step = Callable[[Array, Any], tuple[Tensor, Any]]
"""``step(tokens (N,), state) -> (logits (N, V), state)``."""


class Generated(NamedTuple):
    """Sequences that a model made."""

    tokens: Array
    """(T, N) integers; after its end a row holds the end token."""
    lengths: Array
    """(N,) tokens of every row, the end token included."""
    log_probability: Array
    """(N,) natural logarithm of the probability of every row up to its length, at temperature 1."""


def _lengths(tokens: Array, end: int) -> Array:
    """Tokens of every row of (T, N) up to its first end token, that included."""
    ended = tokens == end
    return np.where(ended.any(axis=0), ended.argmax(axis=0) + 1, len(tokens))


def generate(
    step: Step,
    state: Any,
    rows: int,
    start: int,
    *,
    end: int | None = None,
    max_steps: int = 100,
    temperature: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Generated:
    """Take the likeliest token each time (temperature 0), or draw one.

    Parameters
    ----------
    step : callable
        ``step(tokens (N,), state) -> (logits (N, V), state)``.
    state
        Where to start, whatever `step` takes.
    rows : int
        N, the number of sequences.
    start, end : int
        Token fed first; token that ends a row (None: all rows run to `max_steps`).
    max_steps : int
        Longest sequence.
    temperature : float
        Logits are divided by it before drawing; 0 takes the likeliest.
    rng : numpy.random.Generator, optional
        Needed to draw.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> count = lambda tokens, state: (tgs.one_hot((tokens + 1) % 5, 5), state)
    >>> nn.generate(count, None, 1, start=0, end=4).tokens[:, 0]
    array([1, 2, 3, 4])
    """
    start, rows, max_steps = _checked("generate", step, start, end, rows=rows, max_steps=max_steps)
    temperature = non_negative("generate: temperature", temperature)
    if rng is not None:
        generator_of("generate: rng", rng)
    if temperature > 0 and rng is None:
        raise ConfigError(
            "generate: drawing tokens needs a source of randomness",
            hint="pass rng=np.random.default_rng(seed), or temperature=0",
        )
    end = -1 if end is None else end  # no token
    current = np.full(rows, start)
    running = np.ones(rows, bool)
    total = np.zeros(rows)
    made = []
    with no_grad():
        for _ in range(max_steps):
            scores, state = _stepped("generate", step(current, state), rows)
            if temperature == 0 or rng is None:
                picked = scores.argmax(axis=-1)
            else:  # the largest of logits plus Gumbel noise is a draw from the softmax
                picked = (scores / temperature + rng.gumbel(size=scores.shape)).argmax(axis=-1)
            current = np.where(running, picked, end)
            total += np.where(running, scores[np.arange(rows), current], 0.0)
            made.append(current)
            running &= current != end
            if not running.any():
                break
    tokens = np.stack(made)
    return Generated(tokens, _lengths(tokens, end), total)


def beam_search(
    step: Step,
    state: Any,
    rows: int,
    start: int,
    *,
    end: int,
    width: int = 5,
    max_steps: int = 100,
    length_penalty: float = 0.0,
) -> Generated:
    """Keep the `width` likeliest beginnings of every row, and return the best whole sequence.

    Parameters
    ----------
    step : callable
        ``step(tokens (N * width,), state) -> (logits, state)``: row n's beams are rows
        ``n * width .. (n + 1) * width - 1``.
    state
        Of N * width rows (see :func:`~tinygrad_seq.nn.select_rows`).
    rows : int
        N.
    start, end : int
        Token fed first; token that ends a sequence.
    width : int
        Beginnings kept. 1 is greedy; enough for all beginnings is exact.
    max_steps : int
        Longest sequence.
    length_penalty : float
        Whole sequences are compared by log-probability / length ** length_penalty; 0 compares
        probabilities, 1 the mean per token (Wu et al., 2016, have a smoother form).
    """
    start, rows, max_steps = _checked(
        "beam_search", step, start, end, rows=rows, max_steps=max_steps
    )
    index_of("beam_search: end", end)
    width = len(beams_of(rows, width)) // rows
    length_penalty = number()("beam_search: length_penalty", length_penalty)
    scores = np.full((rows, width), -np.inf)
    scores[:, 0] = 0.0  # all beams start alike: only one counts
    tokens = np.full((0, rows, width), end)
    current = np.full((rows, width), start)
    running = np.ones((rows, width), bool)
    with no_grad():
        for _ in range(max_steps):
            flat, state = _stepped("beam_search", step(current.reshape(-1), state), rows * width)
            next_scores = flat.reshape(rows, width, -1)
            vocabulary = next_scores.shape[-1]
            if not 0 <= end < vocabulary:
                expected = f"0 <= token < {vocabulary}"
                raise IndexRangeError("beam_search: end", expected=expected, got=end)
            next_scores[~running] = -np.inf
            next_scores[~running, end] = 0.0  # what has ended stays as it is
            totals = (scores[:, :, None] + next_scores).reshape(rows, -1)
            best = np.argsort(-totals, axis=1, kind="stable")[:, :width]
            parents, current = best // vocabulary, best % vocabulary
            scores = np.take_along_axis(totals, best, axis=1)
            running = np.take_along_axis(running, parents, axis=1) & (current != end)
            tokens = np.take_along_axis(tokens, parents[None], axis=2)
            tokens = np.concatenate([tokens, current[None]])
            if not running.any():
                break
            state = select_rows(state, (np.arange(rows)[:, None] * width + parents).reshape(-1))
    lengths = _lengths(tokens.reshape(len(tokens), -1), end).reshape(rows, width)
    chosen = (scores / lengths.astype(float) ** length_penalty).argmax(axis=1)
    pick = np.arange(rows), chosen
    kept = lengths[pick]
    return Generated(tokens[: kept.max(), pick[0], pick[1]], kept, scores[pick])


def beams_of(rows: int, width: Any) -> Array:
    """The row that each of rows * width beams belongs to."""
    return np.repeat(np.arange(rows), count(1, MOST_BEAMS)("beam_search: width", width))


def _checked(owner: str, step: Any, start: Any, end: Any, **counts: Any) -> tuple[int, ...]:
    """The first token and the counts, as integers."""
    callable_of(f"{owner}: step", step, "step(tokens (N,), state) -> (logits (N, V), state)")
    if end is not None:
        index_of(f"{owner}: end", end)
    found = [size(f"{owner}: {name}", value) for name, value in counts.items()]
    require_room(f"{owner}: rows", found[0])
    return index_of(f"{owner}: start", start), *found


def _stepped(owner: str, found: Any, rows: int) -> tuple[Array, Any]:
    """What a step has returned: log-probabilities (rows, V) of its logits, and a state."""
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], Tensor):
        raise ConfigError(
            f"{owner}: what step returns",
            expected="(logits, state), logits a Tensor (N, V)",
            got=type(found).__name__,
        )
    logits = found[0]
    if logits.ndim != 2 or len(logits) != rows or not logits.size:
        raise ShapeError(
            f"{owner}: the logits of a step", expected=f"({rows}, V)", got=logits.shape
        )
    return log_softmax(logits.numpy().astype(np.float64)), found[1]
