"""TBPTT(k1, k2) as a trainer: gradients that go back further than one update."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from demos.lab import truncated_bptt
from tests.test_tbptt import char_model, random_windows, scalar_gradients
from tinygrad_seq import optim, train
from tinygrad_seq.errors import ConfigError


@pytest.mark.parametrize(("k2", "expected"), [(2, 0.072), (3, 0.108), (7, 0.108)])
def test_scalar_recurrence_with_two_numbers(k2, expected):
    assert scalar_gradients(3, k=1, k2=k2) == pytest.approx([0.9, 0.36, expected], rel=1e-14)


@given(
    kind=st.sampled_from(["rnn", "lstm", "gru"]),
    k=st.integers(1, 4),
    times=st.integers(2, 4),
    pieces=st.integers(2, 6),
    count=st.integers(1, 2),
    reset=st.booleans(),
)
def test_gradients_that_go_back_further_than_one_update(kind, k, times, pieces, count, reset):
    """Against the bare method with the updates written out; the parameters move in between."""
    rows = np.array([True, False]) if reset else None
    windows = [(*pair, rows) for pair in random_windows(count, k * pieces, 2)]
    ours, theirs = (char_model(kind=kind, layers=2) for _ in range(2))
    optimizer = optim.SGD(theirs.parameters(), lr=0.3)
    losses = []
    for part in truncated_bptt(theirs, windows, k, k * times):
        optim.clip_grad_norm_(theirs.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(part.loss)
    updates = train.tbptt(
        ours,
        windows,
        optim.SGD(ours.parameters(), lr=0.3),
        k=k,
        k2=k * times,
        clip_norm=0.5,
    )
    np.testing.assert_allclose([report.loss for report in updates], losses, rtol=1e-12)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value, rtol=0, atol=1e-12)
    ordinary = char_model(kind=kind, layers=2)
    list(train.tbptt(ordinary, windows, optim.SGD(ordinary.parameters(), lr=0.3), k=k))
    assert not all(
        np.allclose(ordinary.state_dict()[name], value, rtol=0, atol=1e-9)
        for name, value in theirs.state_dict().items()
    )


def test_what_lies_behind_is_held_no_longer_than_needed():
    """Pieces that fall out of reach are let go, and a piece that is left out is not kept."""
    model = char_model(layers=1)
    windows = random_windows(7, 3, 2)
    updates = train.tbptt(model, windows, optim.SGD(model.parameters(), lr=0.1), k=3, k2=9)
    held = []
    for _ in updates:
        held.append([each.piece.inputs.shape[0] for each in updates._past])
        assert not any(part.requires_grad for each in updates._past for part in each.state or ())
    assert held == [[3], [3, 3], *[[3, 3, 3]] * 5]

    def lost(outputs, targets):
        loss = tgs.cross_entropy(outputs, targets)
        return loss * np.nan if next(calls) == 2 else loss

    calls = itertools.count()
    updates = train.tbptt(
        model,
        windows,
        optim.SGD(model.parameters(), lr=0.1),
        k=3,
        k2=9,
        loss=lost,
        nonfinite="skip",
    )
    skipped = [(report.skipped, len(updates._past)) for report in updates]
    assert skipped == [(False, 1), (False, 2), (True, 2), *[(False, 3)] * 4]


@pytest.mark.parametrize(("k", "k2"), [(3, 4), (3, 2), (3, 0), (3, True), (3, 6.0), (3, "6")])
def test_a_reach_that_is_no_whole_number_of_pieces_is_refused(k, k2):
    model = char_model()
    with pytest.raises(ConfigError, match="multiple of k = 3"):
        train.tbptt(model, [], optim.SGD(model.parameters(), lr=0.1), k=k, k2=k2)
