"""Parallel streams: every pair is a symbol and its successor, each exactly once, in order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq.data import Streams, split_text
from tinygrad_seq.errors import (
    ConfigError,
    DataError,
    DtypeError,
    IndexRangeError,
    ShapeError,
)


@st.composite
def layouts(draw):
    """(L, N, k) with at least one whole window."""
    streams = draw(st.integers(1, 6))
    k = draw(st.integers(1, 9))
    length = draw(st.integers(streams * (k + 1), streams * (k + 1) + 60))
    return length, streams, k


def naive_windows(ids, streams, k):
    """The layout spelled out position by position; ids[i] is i, so a token is its position."""
    length = len(ids) // streams
    found = []
    for begin in range(0, length - 1, k):
        steps = range(begin, min(begin + k, length - 1))
        found.append(
            (
                [[ids[n * length + t] for n in range(streams)] for t in steps],
                [[ids[n * length + t + 1] for n in range(streams)] for t in steps],
            )
        )
    return found


def check_windows(windows, length, streams):
    """The laws of the layout, over positions: what any correct set of windows satisfies."""
    per_stream = length // streams
    tokens = np.concatenate([tokens for tokens, _ in windows])
    targets = np.concatenate([targets for _, targets in windows])
    assert tokens.shape == targets.shape == (per_stream - 1, streams), "a wrong number of pairs"
    assert np.array_equal(targets, tokens + 1), "a target is not the next symbol"
    assert len(np.unique(targets)) == targets.size, "a target is used twice"
    assert np.array_equal(tokens // per_stream, targets // per_stream), "a target crosses streams"
    for before, after in pairwise(windows):
        assert np.array_equal(before[1][-1], after[0][0]), "a window does not continue the last"
    for n in range(streams):
        whole = [*tokens[:, n].tolist(), int(targets[-1, n])]
        assert whole == list(range(n * per_stream, (n + 1) * per_stream)), "a stream has a gap"


@given(layouts())
def test_windows_obey_the_laws_and_agree_with_the_naive_layout(layout):
    length, count, k = layout
    streams = Streams(np.arange(length), streams=count)
    windows = list(streams.windows(k))
    check_windows(windows, length, count)
    plain = [(tokens.tolist(), targets.tolist()) for tokens, targets in windows]
    assert plain == naive_windows(range(length), count, k)
    assert all(len(tokens) == k for tokens, _ in windows[:-1])
    assert 1 <= len(windows[-1].tokens) <= k
    assert len(windows) == streams.window_count(k)
    assert streams.unused == length - count * streams.length < count


@given(layouts())
def test_drop_last_leaves_out_only_a_short_window(layout):
    length, count, k = layout
    streams = Streams(np.arange(length), streams=count)
    every = [tokens.tolist() for tokens, _ in streams.windows(k)]
    whole = [tokens.tolist() for tokens, _ in streams.windows(k, drop_last=True)]
    assert whole == [tokens for tokens in every if len(tokens) == k]
    assert len(whole) == streams.window_count(k, drop_last=True)


@given(layouts(), st.booleans(), st.data())
def test_a_resumed_pass_is_the_rest_of_the_uninterrupted_one(layout, drop_last, data):
    length, count, k = layout
    streams = Streams(np.arange(length), streams=count)
    every = list(streams.windows(k, drop_last=drop_last))
    start = data.draw(st.integers(0, len(every)))
    rest = list(Streams(np.arange(length), count).windows(k, start=start, drop_last=drop_last))
    assert len(rest) == len(every) - start
    for resumed, original in zip(rest, every[start:], strict=True):
        assert np.array_equal(resumed.tokens, original.tokens)
        assert np.array_equal(resumed.targets, original.targets)


@given(layouts(), st.sampled_from([np.uint8, np.int16, np.int32, np.int64]))
def test_streams_keep_symbols_and_dtype(layout, dtype):
    length, count, k = layout
    ids = np.random.default_rng(length).integers(0, 100, length).astype(dtype)
    streams = Streams(ids, streams=count)
    rows = np.stack([streams.stream(n) for n in range(count)])
    assert rows.dtype == dtype
    assert np.array_equal(rows.reshape(-1), ids[: rows.size])
    tokens, targets = next(streams.windows(k))
    assert tokens.dtype == targets.dtype == dtype


@given(st.integers(40, 200), st.integers(1, 3), st.integers(1, 4))
def test_nothing_of_the_validation_part_is_seen_in_training(length, count, k):
    train, validation = split_text(np.arange(length), 0.5)
    seen = [
        {int(i) for window in Streams(part, count).windows(k) for a in window for i in a.flat}
        for part in (train, validation)
    ]
    assert not seen[0] & seen[1]


def test_windows_are_contiguous_read_only_and_independent_of_the_callers_array():
    ids = np.arange(40)
    streams = Streams(ids, streams=4)
    ids[:] = -1
    tokens, targets = next(streams.windows(5))
    assert tokens.flags.c_contiguous
    assert targets.flags.c_contiguous
    assert tokens.min() == 0
    for array in (tokens, targets, streams.stream(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def wrap_around(windows, ids):
    """What a rolled copy of the ids as targets would add: the first symbol after the last."""
    tokens, targets = windows[-1]
    first = windows[0][0][:1]
    return [*windows[:-1], (np.vstack([tokens, targets[-1:]]), np.vstack([targets, first]))]


@pytest.mark.parametrize(
    ("mistake", "law"),
    [
        (wrap_around, "a wrong number of pairs"),
        (lambda w, ids: [(tokens, tokens) for tokens, _ in w], "not the next symbol"),
        (lambda w, ids: [w[0], *w], "a wrong number of pairs"),
        (lambda w, ids: [w[1], w[0], *w[2:]], "does not continue"),
        (lambda w, ids: [(a[::-1], b[::-1]) for a, b in w], "does not continue"),
        (lambda w, ids: [(a[:, ::-1], b[:, ::-1]) for a, b in w], "has a gap"),
        (lambda w, ids: [(a % 8, b % 8) for a, b in w], "not the next symbol|used twice"),
        (lambda w, ids: [(a + 3, b + 3) for a, b in w], "crosses streams"),
    ],
)
def test_the_laws_catch_planted_mistakes(mistake, law):
    ids = np.arange(24)
    windows = [tuple(window) for window in Streams(ids, streams=2).windows(4)]
    check_windows(windows, 24, 2)
    with pytest.raises(AssertionError, match=law):
        check_windows(mistake(windows, ids), 24, 2)


@given(st.integers(1, 5), st.integers(2, 9), st.data())
def test_too_short_a_text_says_how_long_it_must_be(count, k, data):
    needed = count * (k + 1)
    streams = Streams(np.arange(data.draw(st.integers(2 * count, needed - 1))), count)
    with pytest.raises(DataError, match=f"at least {needed} symbols"):
        streams.windows(k)  # by the call itself, not by the first iteration
    assert len(next(Streams(np.arange(needed), count).windows(k)).tokens) == k


def test_streams_refuse_bad_input():
    with pytest.raises(DataError, match=r"too short for 3 streams[\s\S]*at least 6 symbols"):
        Streams(range(5), streams=3)
    with pytest.raises(DataError):
        Streams([])
    with pytest.raises(ShapeError):
        Streams(np.zeros((4, 4), int))
    with pytest.raises(DtypeError, match="encode the text first"):
        Streams(np.zeros(8))
    with pytest.raises(DtypeError):
        Streams(list("some text"))
    for wrong in (0, -1, 1.5, True, None):
        with pytest.raises(ConfigError):
            Streams(range(8), streams=wrong)
        with pytest.raises(ConfigError):
            Streams(range(8)).windows(wrong)
    for start in (-1, 5, 1.0):
        with pytest.raises(ConfigError, match="4 windows of 2 steps"):
            Streams(range(8)).windows(2, start=start)
    for n in (-1, 2):
        with pytest.raises(IndexRangeError):
            Streams(range(8), streams=2).stream(n)
    assert repr(Streams(range(9), streams=2)) == "Streams(streams=2, length=4, unused=1)"
