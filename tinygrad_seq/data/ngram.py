"""Yardsticks for a character model: what counting n-grams achieves on the same text.

Two different questions, both answered in bits per symbol:

* :func:`ngram_entropy` describes a text by itself: how uncertain the next symbol is to
  somebody who knows this very text's counts. It falls towards 0 as the order grows, because
  long contexts occur once; no model can be compared with it at high orders.
* :func:`ngram_cross_entropy` measures a prediction: counts from one text, evaluated on
  another. This is the number to hold a model's held-out bits per character against.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_seq.checks import count
from tinygrad_seq.data.vocabulary import code_points, flat_ids
from tinygrad_seq.errors import DataError

__all__ = ["ngram_cross_entropy", "ngram_entropy"]

Codes: TypeAlias = npt.NDArray[np.int64]
Sequence: TypeAlias = str | npt.NDArray[np.integer[Any]]


def ngram_entropy(text: Sequence, order: int) -> float:
    r"""Conditional entropy of a symbol given the `order` symbols before it, in bits.

    With :math:`c` counting in `text` itself,

    .. math:: H = -\frac{1}{M} \sum_{t \ge \text{order}} \log_2
              \frac{c(x_{t-\text{order}} \ldots x_t)}{c(x_{t-\text{order}} \ldots x_{t-1})}

    over the M positions that have a full context (a context is counted where a symbol
    follows it). Order 0 is the entropy of the symbol frequencies (Shannon 1948, section 7).

    Parameters
    ----------
    text : str or ndarray of int, shape (L,)
        Characters or ids.
    order : int
        Symbols of context, 0 or more.

    Returns
    -------
    float
        Bits per symbol, from 0 to the log2 of the number of distinct symbols.

    Raises
    ------
    DataError
        The text has no position with a full context.
    ConfigError
        `order` is no integer of 0 or more.

    Examples
    --------
    >>> from tinygrad_seq.data import ngram_entropy
    >>> ngram_entropy("abababab", 0), ngram_entropy("abababab", 1)
    (1.0, 0.0)
    """
    order = count(0)("ngram_entropy: order", order)
    codes = _dense(_sequence("ngram_entropy", text))
    if len(codes) <= order:
        raise DataError(
            f"ngram_entropy: the text is too short for order {order}",
            expected=f"at least {order + 1} symbols",
            got=f"{len(codes)} symbols",
            hint="use a longer text or a lower order",
        )
    *_, (context, gram) = _levels(codes, order)
    grams = np.bincount(gram[order:])
    contexts = np.bincount(context[order:])
    # Sum over positions, grouped: c(h, x) of them share log c(h, x), and likewise for h.
    bits = _sum_c_log_c(contexts) - _sum_c_log_c(grams)
    return max(bits / (len(codes) - order), 0.0)


def ngram_cross_entropy(
    train: Sequence, held_out: Sequence, order: int, *, symbols: int | None = None
) -> float:
    r"""Bits per symbol of `held_out` under an n-gram model counted on `train`.

    Contexts of all lengths up to `order` are interpolated by Witten and Bell's rule (1991,
    method C). With :math:`c(h)` the times context h was followed by a symbol in `train`,
    :math:`d(h)` by how many different ones, and h' the context without its oldest symbol,

    .. math:: P(x \mid h) = \frac{c(h x) + d(h)\, P(x \mid h')}{c(h) + d(h)},
              \qquad P(x \mid \text{nothing}) = \frac{1}{V},

    and :math:`P(x \mid h) = P(x \mid h')` where h never occurred. Every symbol of `held_out`
    is predicted, the first ones from the shorter contexts that there are; no context reaches
    back into `train`.

    Parameters
    ----------
    train, held_out : str or ndarray of int, shape (L,)
        Characters or ids, both of the same kind.
    order : int
        Symbols of context, 0 or more.
    symbols : int, optional
        V, the size of the alphabet. By default the number of distinct symbols in the two
        texts together, which is the vocabulary of a model made for both.

    Returns
    -------
    float
        Mean of ``-log2 P`` over `held_out`.

    Raises
    ------
    DataError
        A text is empty, or has more distinct symbols than `symbols`.
    ConfigError
        `order` is no integer of 0 or more.

    Examples
    --------
    >>> from tinygrad_seq.data import ngram_cross_entropy
    >>> round(ngram_cross_entropy("ab" * 50, "abababab", 0), 3)
    1.0
    >>> ngram_cross_entropy("ab" * 50, "abababab", 1) < 0.2
    True
    """
    where = "ngram_cross_entropy"
    order = count(0)(f"{where}: order", order)
    first, second = _sequence(where, train), _sequence(where, held_out)
    if isinstance(train, str) != isinstance(held_out, str):
        raise DataError(
            f"{where}: the two texts are of different kinds",
            expected="two str, or two arrays of ids",
            got=f"{type(train).__name__} and {type(held_out).__name__}",
        )
    codes = _dense(np.concatenate([first, second]))
    distinct = int(codes.max()) + 1
    if symbols is not None and count(1)(f"{where}: symbols", symbols) < distinct:
        raise DataError(
            f"{where}: the texts have more symbols than the alphabet",
            expected=f"symbols={distinct} or more",
            got=f"symbols={symbols}",
            hint="pass the length of the vocabulary, or leave `symbols` out",
        )
    boundary = len(first)
    probability = np.full(len(second), 1.0 / (symbols or distinct))
    for level, (context, gram) in enumerate(_levels(codes, order)):
        # Counting stays inside `train`, looking up inside `held_out`: a gram that spans the
        # boundary is in neither.
        seen = slice(level, boundary)
        asked = slice(boundary + level, None)
        grams = np.bincount(gram[seen], minlength=int(gram.max()) + 1)
        contexts = np.bincount(context[seen], minlength=int(context.max()) + 1)
        first_use = _first_uses(gram[seen])
        varieties = np.bincount(context[seen][first_use], minlength=len(contexts))
        c, d = contexts[context[asked]], varieties[context[asked]]
        lower = probability[level:]
        probability[level:] = np.where(
            c > 0, (grams[gram[asked]] + d * lower) / np.maximum(c + d, 1), lower
        )
    return float(-np.log2(probability).mean())


def _levels(codes: Codes, order: int) -> Iterator[tuple[Codes, Codes]]:
    """Number the contexts and the grams that end at each position, for lengths 0 to `order`.

    ``gram[t]`` names the last ``level + 1`` symbols up to t, ``context[t]`` the ``level`` ones
    before t. Entries at ``t < level`` mean nothing. Names are renumbered at each level, so a
    combined code stays below ``L * V`` and no order overflows.
    """
    size = int(codes.max()) + 1
    context = np.zeros_like(codes)
    gram = codes
    yield context, gram
    for _ in range(min(order, len(codes))):
        context = np.concatenate([gram[:1], gram[:-1]])
        gram = _dense(context * size + codes)
        yield context, gram


def _dense(codes: npt.NDArray[Any]) -> Codes:
    _, inverse = np.unique(codes, return_inverse=True)
    names: Codes = inverse.astype(np.int64, copy=False)
    return names


def _first_uses(codes: Codes) -> npt.NDArray[np.intp]:
    """Return one position for each distinct code."""
    if len(codes) == 0:
        return np.zeros(0, dtype=np.intp)
    position = np.full(int(codes.max()) + 1, -1, dtype=np.intp)
    position[codes] = np.arange(len(codes))
    return position[position >= 0]


def _sum_c_log_c(counts: npt.NDArray[np.intp]) -> float:
    positive = counts[counts > 0].astype(np.float64)
    return float((positive * np.log2(positive)).sum())


def _sequence(where: str, text: Sequence) -> npt.NDArray[Any]:
    ids = code_points(text) if isinstance(text, str) else text
    array = flat_ids(f"{where}: ids", ids)
    if array.size == 0:
        raise DataError(f"{where}: a text is empty", expected="at least one symbol")
    return array
