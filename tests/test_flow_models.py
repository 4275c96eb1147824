"""Which recurrences gradient flow finds: layers, loops of one's own, windows, directions."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import CELLS, T, inputs, layer_of
from tinygrad_seq import flow, nn
from tinygrad_seq.nn import init

F64 = np.float64


def orthogonal(seed, size):
    return init.orthogonal(np.random.default_rng(seed), size, dtype=F64)


def layer(kind, layers):
    return kind(3, 4, num_layers=layers, rng=np.random.default_rng(0), dtype=F64)


def test_windows_in_a_row_are_one_track_and_a_cut_makes_two():
    lstm = layer(nn.LSTM, 2)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))

    def run(cut):
        _, state = lstm(x)
        y, _ = lstm(x, state.detach() if cut else state)
        return y.sum()

    joined = flow.gradient_flow(lambda: run(False))
    assert [(t.name, t.steps) for t in joined.tracks.values()] == [("l0", 8), ("l1", 8)]
    cut = flow.gradient_flow(lambda: run(True))
    assert {t.name: t.steps for t in cut.tracks.values()} == {
        "l0": 4,
        "l1": 4,
        "l0 (2)": 4,
        "l1 (2)": 4,
    }
    assert not cut["l0"].dh.any()
    assert np.isnan(cut["l0"].ratios).all()
    np.testing.assert_array_equal(cut["l0 (2)"].dh, joined["l0"].dh[4:])


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_layer_called_step_by_step_is_what_it_is_at_once(cell):
    rnn, x = layer_of(cell, num_layers=2), inputs(3)

    def run(size):
        state = None
        for t in range(0, T, size):
            y, state = rnn(x[t : t + size], state)
        return y[-1].sum() + sum(part.sum() for part in state)

    one, whole = (flow.gradient_flow(lambda size=size: run(size)) for size in (1, T))
    assert list(one.tracks) == list(whole.tracks) == ["l0", "l1"]
    for name, track in one.tracks.items():
        assert track.states == tuple(rnn.state_sizes)
        np.testing.assert_allclose(track.jacobians(), whole[name].jacobians(), atol=1e-14)
        np.testing.assert_allclose(track.decay, whole[name].decay, rtol=1e-12)


def test_cells_in_a_loop_of_ones_own():
    cell = nn.LSTMCell(3, 4, rng=np.random.default_rng(0), dtype=F64)
    fused = nn.LSTM(3, 4, rng=np.random.default_rng(0), dtype=F64)
    x = np.random.default_rng(0).normal(size=(6, 2, 3))

    def run():
        state = None
        for x_t in x:
            state = cell(x_t, state)
        return state[0].sum()

    own = flow.gradient_flow(run).tracks["h"]
    same = flow.gradient_flow(lambda: fused(x)[0][-1].sum())["l0"]
    for name in ("h", "c", "dh", "dc", "decay", "ratios"):
        np.testing.assert_allclose(getattr(own, name), getattr(same, name), atol=1e-14)
    np.testing.assert_allclose(own.jacobians(), same.jacobians(), atol=1e-14)


@pytest.mark.parametrize("options", [{"reset_after": False}, {"reset_after": True}])
def test_both_directions_are_tracks_of_their_own(options):
    gru = nn.GRU(
        3, 4, num_layers=2, bidirectional=True, rng=np.random.default_rng(0), dtype=F64, **options
    )
    x, a = np.random.default_rng(0).normal(size=(2, 7, 2, 8))
    found = flow.gradient_flow(lambda: (gru(x[..., :3])[0] * a).sum())
    assert sorted(found.tracks) == ["l0", "l1", "reverse.l0", "reverse.l1"]
    for name, track in found.tracks.items():
        weight = f"weight_hh_{name[-2:]}" + ("_reverse" if "reverse" in name else "")
        assert list(track.weights) == [weight]
        total = sum(track.contribution(t) for t in range(7))
        np.testing.assert_allclose(total, found.gradients[weight], rtol=0, atol=1e-12)
        assert track.jacobians().shape == (6, 2, 4, 4)
    ahead, back = found["l1"].dh, found["reverse.l1"].dh  # each in the order it runs in
    np.testing.assert_allclose(ahead[-1], a[-1, :, :4], atol=1e-15)
    np.testing.assert_allclose(back[-1], a[0, :, 4:], atol=1e-15)


def test_a_weight_shared_by_two_layers_is_told_apart():
    """Tied layers: what a step of one layer adds holds nothing of the other's."""
    w = tgs.tensor(orthogonal(0, 3), requires_grad=True)
    x = np.random.default_rng(0).normal(size=(5, 1, 3))

    def run():
        low = high = tgs.tensor(np.zeros((1, 3)))
        for x_t in x:
            with tgs.scope(layer=0):
                low = tgs.tanh(low @ w + x_t).tag("h")
            with tgs.scope(layer=1):
                high = tgs.tanh(high @ w + low).tag("h")
        return (high**2).sum()

    found = flow.gradient_flow(run)
    parts = [found[name].contribution(t) for name in ("l0", "l1") for t in range(5)]
    np.testing.assert_allclose(sum(parts), found.gradients["W1"], rtol=0, atol=1e-13)


def test_a_scalar_recurrence():
    w = tgs.tensor(np.array(0.2), requires_grad=True)
    w.name = "w"

    def run():
        x = tgs.tensor(np.array(0.9))
        for _ in range(3):
            x = (w * x).tag("h")
        return x

    found = flow.gradient_flow(run)
    track = found["h"]
    np.testing.assert_allclose([track.contribution(t) for t in range(3)], [0.036] * 3)
    assert found.gradients["w"] == pytest.approx(0.108)
    np.testing.assert_allclose(track.decay, [1, 0.2, 0.04])


def test_a_loss_that_reads_an_earlier_step():
    rnn = layer(nn.RNN, 1)
    x = np.random.default_rng(0).normal(size=(9, 1, 3))
    track = flow.gradient_flow(lambda: rnn(x)[0][5].sum())["l0"]
    assert len(track.decay) == 6
    assert not track.dh[6:].any()
    assert track.dh[5].any()
    assert np.isnan(track.ratios[5:]).all()


def test_float32_does_not_vanish_for_want_of_digits():
    rnn = nn.RNN(2, 3, rng=np.random.default_rng(0))
    rnn.weight_hh_l0.writable()[:] *= np.float32(0.3)
    x = np.zeros((120, 1, 2), np.float32)
    track = flow.gradient_flow(lambda: rnn(x)[0][-1].sum())["l0"]
    assert track.rate == pytest.approx(0.3, rel=1e-5)  # 0.3 ** 119 = 6e-63
    assert not track.dh[0].any()  # what training sees
