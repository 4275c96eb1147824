"""The n-gram yardsticks, held against the formulas computed with dictionaries and fractions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.data import (
    Vocabulary,
    ngram_cross_entropy,
    ngram_entropy,
    pydoc_topics,
    split_text,
)
from tinygrad_seq.errors import ConfigError, DataError, DtypeError, ShapeError

FEW = st.text("abc", min_size=1, max_size=60)
ORDERS = st.integers(0, 5)


def naive_entropy(text, order):
    follow = defaultdict(Counter)
    for t in range(order, len(text)):
        follow[text[t - order : t]][text[t]] += 1
    total = sum(sum(counts.values()) for counts in follow.values())
    bits = 0.0
    for counts in follow.values():
        n = sum(counts.values())
        bits -= sum(c * math.log2(c / n) for c in counts.values())
    return bits / total


class NaiveModel:
    """Witten-Bell, recursively and exactly, straight from the formula."""

    def __init__(self, train, order, alphabet):
        self.order, self.alphabet = order, alphabet
        self.follow = defaultdict(Counter)
        for length in range(order + 1):
            for t in range(length, len(train)):
                self.follow[train[t - length : t]][train[t]] += 1

    def probability(self, symbol, context):
        shorter = self.probability(symbol, context[1:]) if context else Fraction(1, self.alphabet)
        counts = self.follow.get(context)
        if not counts:
            return shorter
        n, d = sum(counts.values()), len(counts)
        return (counts[symbol] + d * shorter) / (n + d)

    def bits(self, text):
        return [
            -math.log2(self.probability(text[t], text[max(0, t - self.order) : t]))
            for t in range(len(text))
        ]


@given(FEW, ORDERS)
def test_entropy_is_the_formula(text, order):
    if len(text) <= order:
        with pytest.raises(DataError, match=f"at least {order + 1} symbols"):
            ngram_entropy(text, order)
        return
    assert ngram_entropy(text, order) == pytest.approx(naive_entropy(text, order), abs=1e-12)


@given(FEW, FEW, ORDERS, st.one_of(st.none(), st.integers(3, 9)))
def test_cross_entropy_is_the_formula(train, held_out, order, symbols):
    alphabet = symbols or len(set(train + held_out))
    bits = NaiveModel(train, order, alphabet).bits(held_out)
    expected = sum(bits) / len(bits)
    got = ngram_cross_entropy(train, held_out, order, symbols=symbols)
    assert got == pytest.approx(expected, rel=1e-12)


@given(st.text(min_size=1, max_size=30), st.text(min_size=1, max_size=30), ORDERS)
def test_text_and_its_ids_give_the_same_numbers(train, held_out, order):
    vocabulary = Vocabulary.from_text(train + held_out)
    ids, other = vocabulary.encode(train), vocabulary.encode(held_out)
    assert ngram_cross_entropy(train, held_out, order) == ngram_cross_entropy(ids, other, order)
    if len(train) > order:
        assert ngram_entropy(train, order) == ngram_entropy(ids, order)


@given(FEW, st.text("abc", max_size=8), ORDERS)
def test_predicted_probabilities_add_up_to_one(train, context, order):
    def total(held_out):
        ids = Vocabulary("abcd").encode(held_out)
        known = Vocabulary("abcd").encode(train)
        return len(ids) * ngram_cross_entropy(known, ids, order, symbols=4) if len(ids) else 0.0

    before = total(context)
    probabilities = [2.0 ** (before - total(context + symbol)) for symbol in "abcd"]
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-9)
    assert min(probabilities) > 0.0  # "d" never occurs, and still may


@given(FEW.filter(lambda text: len(text) > 6))
def test_bounds(text):
    assert 0.0 <= ngram_entropy(text, 0) <= math.log2(len(set(text))) + 1e-12
    for order in range(5):
        # The best predictor in hindsight beats any smoothed one on its own text.
        model = NaiveModel(text, order, 3)
        smoothed = model.bits(text)[order:]
        assert ngram_entropy(text, order) <= sum(smoothed) / len(smoothed) + 1e-12


def test_known_values():
    assert ngram_entropy("aabb", 0) == 1.0
    assert ngram_entropy("aabb" * 8, 2) == 0.0
    assert ngram_entropy("a" * 9, 3) == 0.0
    # Order 0 by hand: c(a) = 3, c(b) = 1, d = 2, V = 2, so P(a) = 4/6, P(b) = 2/6.
    by_hand = -(math.log2(4 / 6) + math.log2(2 / 6)) / 2
    assert ngram_cross_entropy("aaab", "ab", 0) == pytest.approx(by_hand)
    # An alphabet of 16 symbols of which train has seen none: all its weight is on "a".
    assert ngram_cross_entropy("aaa", "b", 0, symbols=16) == pytest.approx(math.log2(16 * 4))


def test_high_orders_do_not_overflow():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 1000, 400)  # 1000 ** 31 would not fit any integer
    assert ngram_entropy(ids, 30) == 0.0
    assert ngram_cross_entropy(ids, ids, 30) < ngram_cross_entropy(ids, ids, 0)


def test_on_the_built_in_corpus():
    text = pydoc_topics()
    train, held_out = split_text(text)
    in_sample = [ngram_entropy(text, order) for order in range(4)]
    predicted = [ngram_cross_entropy(train, held_out, order) for order in (0, 3)]
    assert in_sample == sorted(in_sample, reverse=True)
    assert 4.4 < in_sample[0] < 5.0
    # What the char model's report shows as yardsticks; about 4.7 and 2.0 bits.
    assert abs(predicted[0] - in_sample[0]) < 0.3
    assert in_sample[3] < predicted[1] < 2.6


def test_the_oracle_catches_planted_mistakes():
    train, held_out, order = "abacabadabacaba", "abadacab", 2
    right = ngram_cross_entropy(train, held_out, order)
    model = NaiveModel(train, order, 4)
    assert right == pytest.approx(np.mean(model.bits(held_out)), rel=1e-12)
    # Counts that span the boundary; contexts that reach back into train; a lost backoff level.
    spanning = NaiveModel(train + held_out[:1], order, 4)
    assert abs(np.mean(spanning.bits(held_out)) - right) > 1e-6
    reaching = model.bits(train + held_out)[len(train) :]
    assert abs(np.mean(reaching) - right) > 1e-6
    model.follow = {context: c for context, c in model.follow.items() if len(context) != 1}
    assert abs(np.mean(model.bits(held_out)) - right) > 1e-6


def test_bad_input():
    for wrong in (-1, 1.5, True, None):
        with pytest.raises(ConfigError):
            ngram_entropy("abc", wrong)
        with pytest.raises(ConfigError):
            ngram_cross_entropy("abc", "abc", wrong)
    for empty in ("", np.zeros(0, int)):
        with pytest.raises(DataError, match="a text is empty"):
            ngram_entropy(empty, 0)
        with pytest.raises(DataError, match="a text is empty"):
            ngram_cross_entropy("abc", empty, 0)
    with pytest.raises(DataError, match="different kinds"):
        ngram_cross_entropy("abc", np.arange(3), 0)
    with pytest.raises(DataError, match="symbols=3 or more"):
        ngram_cross_entropy("abc", "abc", 0, symbols=2)
    with pytest.raises(DtypeError):
        ngram_entropy(np.zeros(3), 0)
    with pytest.raises(ShapeError):
        ngram_entropy(np.zeros((3, 3), int), 0)
