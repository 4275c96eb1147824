"""Generated tasks: well formed, drawn as stated, and of the stated trivial loss."""

from __future__ import annotations

import datetime as dt
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from demos.lab import (
    IGNORE,
    Adding,
    AddNumbers,
    CopyMemory,
    Dates,
    Dyck,
    EmbeddedReber,
    TemporalOrder,
)
from tinygrad_seq.errors import ConfigError, DataError

TASKS = [
    Adding(30),
    CopyMemory(7),
    TemporalOrder(40),
    TemporalOrder(40, marks=3),
    EmbeddedReber(),
    Dyck(12),
    AddNumbers(3),
    Dates(),
]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_every_task_is_reproducible_and_within_its_vocabulary(task):
    one, same, other = (task.batch(16, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.inputs, same.inputs)
    np.testing.assert_array_equal(one.targets, same.targets)
    assert one.inputs.shape != other.inputs.shape or (one.inputs != other.inputs).any()
    assert one.inputs.shape[1] == 16
    if one.inputs.dtype.kind == "i":
        assert one.inputs.min() >= 0
        assert one.inputs.max() < task.input_size
        asked = one.targets[one.targets != IGNORE]
        assert asked.min() >= 0
        assert asked.max() < task.output_size
    with pytest.raises(ConfigError):
        task.batch(0, rng())


# -- trivial predictors ------------------------------------------------------------------------


def test_adding_one_sixth():
    targets = Adding(50).batch(200_000, rng()).targets.astype(np.float64)
    errors = (targets - 1.0) ** 2
    spread = errors.std() / np.sqrt(errors.size)
    assert abs(errors.mean() - 1 / 6) < 5 * spread
    assert spread < 1e-3
    assert Adding.trivial_loss == 1 / 6
    assert (errors.mean(), targets.mean()) != (0, 0)
    for guess in (0.9, 1.1):  # no other constant does better
        assert ((targets - guess) ** 2).mean() > errors.mean()


@pytest.mark.parametrize(("lag", "published"), [(100, 0.1733), (200, 0.0945), (500, 0.0400)])
def test_copy_ten_ln_eight_over_t_plus_twenty(lag, published):
    task = CopyMemory(lag)
    inputs, targets = task.batch(20, rng())
    assert inputs.shape == (lag + 20, 20)
    logits = np.zeros((*targets.shape, task.output_size))  # blank, until answers are due
    logits[: lag + 10, :, 1:] = -1e3
    logits[lag + 10 :, :, 0] = -1e3
    loss = tgs.cross_entropy(tgs.tensor(logits), targets).item()
    assert loss == pytest.approx(task.trivial_loss, rel=1e-12)
    assert loss == pytest.approx(10 * math.log(8) / (lag + 20), rel=1e-12)
    assert loss == pytest.approx(published, abs=5e-5)


def chi_squared(counts, chances):
    """Pearson's statistic in standard deviations above its mean."""
    expected = np.sum(counts) * np.asarray(chances)
    freedom = len(counts) - 1
    return (np.sum((counts - expected) ** 2 / expected) - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("marks", [2, 3])
def test_every_temporal_order_is_equally_likely(marks):
    task = TemporalOrder(60, marks)
    targets = task.batch(40_000, rng()).targets
    counts = np.bincount(targets, minlength=task.output_size)
    assert chi_squared(counts, np.full(2**marks, 1 / 2**marks)) < 5
    assert task.trivial_loss == pytest.approx(math.log(2**marks))


def test_reber_closes_with_either_symbol():
    task = EmbeddedReber()
    inputs, targets = task.batch(20_000, rng())
    closing = task.closing(targets)
    assert (closing.sum(axis=0) == 1).all()
    np.testing.assert_array_equal(targets.T[closing.T], inputs[1])
    counts = np.bincount(targets[closing], minlength=7)
    assert counts[[1, 2]].sum() == 20_000
    assert chi_squared(counts[[1, 2]], [0.5, 0.5]) < 5
    assert task.trivial_loss == math.log(2)


def test_closing_brackets_are_of_every_kind_alike():
    task = Dyck(20, kinds=3)
    targets = task.batch(5000, rng()).targets
    counts = np.bincount(targets[task.closing(targets)] - 3)
    assert np.abs(counts / counts.sum() - 1 / 3).max() < 0.02
    assert task.trivial_loss == math.log(3)


def chain_entropy(strings):
    """Nats per symbol of predicting each symbol from those before, from all strings there are."""
    total = 0.0
    for k in range(len(strings[0])):
        for length, sign in ((k, -1), (k + 1, 1)):
            _, counts = np.unique([s[:length] for s in strings], return_counts=True)
            p = counts / counts.sum()
            total -= sign * (p * np.log(p)).sum()
    return total / len(strings[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_the_trivial_loss_of_adding_numbers(reverse):
    answers = [f"{a + b:03d}" for a in range(100) for b in range(100)]
    answers = [a[::-1] for a in answers] if reverse else answers
    assert AddNumbers(2, reverse).trivial_loss == pytest.approx(chain_entropy(answers), rel=1e-12)


def test_the_trivial_loss_of_dates():
    start = dt.date(1999, 1, 1)
    days = [(start + dt.timedelta(k)).isoformat() for k in range(365 + 366)]
    assert Dates(1999, 2000).trivial_loss == pytest.approx(chain_entropy(days), rel=1e-12)


# -- form --------------------------------------------------------------------------------------


@given(length=st.integers(2, 60), seed=st.integers(0, 99))
def test_adding_marks_one_step_in_each_half(length, seed):
    inputs, targets = Adding(length).batch(8, rng(seed))
    marks = inputs[..., 1]
    assert inputs.dtype == targets.dtype == np.float32
    np.testing.assert_array_equal(marks[: length // 2].sum(axis=0), 1)
    np.testing.assert_array_equal(marks[length // 2 :].sum(axis=0), 1)
    for n in range(8):
        assert targets[n] == pytest.approx(inputs[marks[:, n] == 1, n, 0].sum())


@given(lag=st.integers(1, 20), symbols=st.integers(1, 9), width=st.integers(1, 10))
def test_copy_asks_for_what_it_showed(lag, symbols, width):
    task = CopyMemory(lag, symbols, width)
    inputs, targets = task.batch(3, rng())
    assert len(inputs) == len(targets) == task.length == lag + 2 * width
    np.testing.assert_array_equal(targets[-width:], inputs[:width])
    assert not targets[:-width].any()
    assert ((inputs[:width] >= 1) & (inputs[:width] <= symbols)).all()
    delimiter = inputs == symbols + 1
    np.testing.assert_array_equal(np.argmax(delimiter, axis=0), width + lag - 1)
    assert (delimiter.sum(axis=0) == 1).all()
    assert not inputs[width : width + lag - 1].any()


@given(length=st.integers(20, 120), marks=st.sampled_from([2, 3]), seed=st.integers(0, 99))
def test_temporal_order_says_which_marks_came_in_order(length, marks, seed):
    task = TemporalOrder(length, marks)
    inputs, targets = task.batch(6, rng(seed))
    assert inputs.shape == (length, 6)
    for tokens, answer in zip(inputs.T, targets, strict=True):
        word = "".join(task.SYMBOLS[token] for token in tokens)
        assert re.fullmatch(r"E[abcdXY]*B", word)
        found = re.sub("[^XY]", "", word)
        assert len(found) == marks
        assert int(found.replace("X", "0").replace("Y", "1"), 2) == answer
        first = re.search("[XY]", word).start()
        assert 0.1 * length - 0.5 <= first < 0.2 * length + 0.5


def test_temporal_order_at_length_100_has_the_published_places():
    inputs, _ = TemporalOrder(100).batch(5000, rng())
    places = np.sort(np.argsort(inputs < 6, axis=0, kind="stable")[:2], axis=0)
    assert (places.min(axis=1) == [10, 50]).all()
    assert (places.max(axis=1) == [19, 59]).all()


REBER = re.compile(r"B(T|P)B(TS*X(XT*VP)*(S|XT*VV)|PT*V(PXT*V)*(PS|V))E\1E")


def reber_strings(count):
    task = EmbeddedReber()
    source = rng()
    return task, [task.string(source) for _ in range(count)]


def test_reber_strings_are_of_the_grammar():
    task, strings = reber_strings(2000)
    for string in strings:
        legal = task.legal(string)
        assert len(legal) == len(string) - 1
        assert all(symbol in options for symbol, options in zip(string[1:], legal, strict=True))
        assert re.fullmatch("B([TP])B[TSXPV]+E[TP]E", string)
        assert REBER.fullmatch(string), string  # the diagram, written out by hand
    assert min(map(len, strings)) == 9
    assert max(map(len, strings)) > 20


@pytest.mark.parametrize(
    "wrong", ["", "BTBTXSEPE", "BTBTXXETE", "BTBTXSTE", "BTBTXSEETE", "TBTXSET", "BXBTXSEXE"]
)
def test_strings_outside_the_grammar_are_refused(wrong):
    with pytest.raises(DataError):
        EmbeddedReber().legal(wrong)
    assert not REBER.fullmatch(wrong)


def test_a_batch_of_strings_asks_for_each_next_symbol():
    task = EmbeddedReber()
    inputs, targets = task.batch(30, rng(3))
    source = rng(3)
    for n in range(30):
        tokens = task.encode(task.string(source))
        size = len(tokens) - 1
        np.testing.assert_array_equal(inputs[:size, n], tokens[:-1])
        np.testing.assert_array_equal(targets[:size, n], tokens[1:])
        assert (targets[size:, n] == IGNORE).all()


@given(
    half=st.integers(1, 15),
    kinds=st.integers(1, 4),
    deepest=st.one_of(st.none(), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_dyck_words_are_well_nested(half, kinds, deepest, seed):
    task = Dyck(2 * half, kinds, deepest)
    inputs, targets = task.batch(3, rng(seed))
    words = np.concatenate([inputs, targets[-1:]])
    np.testing.assert_array_equal(words[1:], targets)
    depth = task.depth(words)
    assert (depth[-1] == 0).all()
    assert depth.max() <= (deepest or half)
    for word in words.T:
        text = "".join("abcdABCD"[t if t < kinds else t - kinds + 4] for t in word)
        while text:
            shorter = re.sub("aA|bB|cC|dD", "", text)
            assert shorter != text
            text = shorter


@given(digits=st.integers(1, 6), reverse=st.booleans(), seed=st.integers(0, 999))
def test_sums_are_right(digits, reverse, seed):
    task = AddNumbers(digits, reverse)
    question, answer = task.pair(rng(seed))
    a, b = map(int, question.removesuffix("=").split("+"))
    assert int(answer[::-1] if reverse else answer) == a + b
    assert (len(question), len(answer)) == (2 * digits + 2, digits + 1)
    sources, lengths, targets = task.pairs(4, rng(seed))
    assert task.decode(sources[:, 0]) == question
    assert task.decode(targets[:, 0]) == answer
    assert (lengths == len(question)).all()


def test_dates_are_right():
    task, source = Dates(1950, 2050), rng()
    months = "January February March April May June July August September October November December"
    seen = set()
    for _ in range(2000):
        question, answer = task.pair(source)
        date = dt.date.fromisoformat(answer)
        assert 1950 <= date.year <= 2050
        text = question.removesuffix("=")
        seen.add(re.sub("[A-Za-z]+", "w", re.sub("[0-9]+", "9", text)))
        if "." in text:
            assert text == f"{date.day:02d}.{date.month:02d}.{date.year}"
            continue
        month = months.split()[date.month - 1][:3]
        assert month in {word[:3] for word in re.findall("[A-Z][a-z]+", text)}
        assert {str(date.day), str(date.year)} <= set(re.findall("[0-9]+", text))
        day_name = re.search("(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", text)
        if day_name:
            names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
            assert day_name[0] == names[date.weekday()]
        ordinal = re.search("[0-9]+(st|nd|rd|th)", text)
        if ordinal:
            assert ordinal[1] == {1: "st", 2: "nd", 3: "rd"}.get(
                date.day % 10 if not 11 <= date.day <= 13 else 0, "th"
            )
    assert len(seen) == 6


@pytest.mark.parametrize("task", [AddNumbers(2), Dates()], ids=str)
def test_a_stream_asks_for_the_answer_alone(task):
    inputs, targets = task.batch(20, rng(7))
    sources, lengths, answers = task.pairs(20, rng(7))
    for n in range(20):
        question, answer = task.decode(sources[: lengths[n], n]), task.decode(answers[:, n])
        asked = targets[:, n] != IGNORE
        assert task.decode(targets[asked, n]) == answer
        assert asked[-len(answer) :].all()
        assert asked.sum() == len(answer)
        assert task.decode(inputs[:, n]) == question + answer[:-1]
        assert task.decode(inputs[asked, n]) == "=" + answer[:-1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Adding(1),
        lambda: Adding(2.5),
        lambda: CopyMemory(0),
        lambda: TemporalOrder(19),
        lambda: TemporalOrder(100, marks=4),
        lambda: Dyck(7),
        lambda: Dyck(8, max_depth=0),
        lambda: AddNumbers(7),
        lambda: Dates(2000, 1999),
        lambda: Dates(99, 100),
        lambda: Dates(2000, 9999),
    ],
)
def test_impossible_tasks_are_refused(make):
    with pytest.raises(ConfigError):
        make()
