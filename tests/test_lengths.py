"""Lengths and resets: padding never matters, and a batch equals its rows run one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.kernels import both_kernels  # noqa: F401
from tests.support.recurrent import KINDS, make_layer
from tinygrad_seq import nn
from tinygrad_seq.errors import DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.plan import make_plan

CLOSE = {"rtol": 1e-10, "atol": 1e-12}
FEWER = settings(max_examples=max(settings.default.max_examples // 5, 1))


class Case:
    """A drawn layer with a ragged batch, and a loss that reads every output."""

    def __init__(self, kind, steps, batch, layers, both, tokens, seed):
        self.rng = np.random.default_rng(seed)
        self.steps, self.batch = steps, batch
        self.layer = make_layer(kind, 3, 2, layers, self.rng, bidirectional=both)
        count = layers * self.layer.directions
        self.starts = [self.rng.standard_normal((count, batch, 2)) for _ in self.fields]
        shape = (steps, batch)
        self.x = self.rng.integers(0, 3, shape) if tokens else self.rng.standard_normal((*shape, 3))
        self.lengths = self.rng.integers(0, steps + 1, batch)
        self.reset = self.rng.random(shape) < 0.3
        self.dy = self.rng.standard_normal((steps, batch, 2 * self.layer.directions))
        self.dstates = [self.rng.standard_normal(s.shape) for s in self.starts]

    @property
    def fields(self):
        return self.layer.state_type._fields

    def run(self, x=None, rows=slice(None), steps=None, **options):
        """Outputs and gradients: y, last states, then of parameters, starts and x."""
        x = self.x if x is None else x
        tokens = x.dtype.kind == "i"
        x = x if tokens else tgs.tensor(x, requires_grad=True)
        starts = [tgs.tensor(s[:, rows], requires_grad=True) for s in self.starts]
        y, state = self.layer(x, self.layer.state_type(*starts), **options)
        loss = (y * self.dy[: len(y), rows]).sum()
        loss += sum((p * d[:, rows]).sum() for p, d in zip(state, self.dstates, strict=True))
        wanted = [*self.layer.parameters(), *starts, *([] if tokens else [x])]
        found = tgs.grad(loss, wanted, allow_unused=True)
        gradients = [
            np.zeros(w.shape) if g is None else g.numpy()
            for w, g in zip(wanted, found, strict=True)
        ]
        count = len(list(self.layer.parameters()))
        return Result(
            y.numpy(),
            [p.numpy() for p in state],
            gradients[:count],
            gradients[count : count + len(starts)],
            None if tokens else gradients[-1],
        )


class Result:
    def __init__(self, y, state, dweights, dstarts, dx):
        self.y, self.state, self.dweights, self.dstarts, self.dx = y, state, dweights, dstarts, dx

    def arrays(self):
        last = [] if self.dx is None else [self.dx]
        return [self.y, *self.state, *self.dweights, *self.dstarts, *last]


@st.composite
def cases(draw, kinds=KINDS):
    return Case(
        draw(st.sampled_from(kinds)),
        draw(st.integers(2, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 2)),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(0, 2**16)),
    )


def same(a, b, exactly=False):
    for one, other in zip(a.arrays(), b.arrays(), strict=True):
        if exactly:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, **CLOSE)


@FEWER
@given(cases(), st.booleans())
def test_a_padded_batch_equals_each_row_alone(case, with_reset):
    """The oracle: every row cut to its length, and at its resets, and run by itself."""
    reset = case.reset if with_reset else None
    whole = case.run(lengths=case.lengths, reset=reset)
    total = [np.zeros_like(g) for g in whole.dweights]
    for n, length in enumerate(case.lengths):
        rows = slice(n, n + 1)
        assert not whole.y[length:, n].any()
        if whole.dx is not None:
            assert not whole.dx[length:, n].any()  # exactly 0
        if length == 0:
            for part, start, d, given_d in zip(
                whole.state, case.starts, whole.dstarts, case.dstates, strict=True
            ):
                np.testing.assert_array_equal(part[:, n], start[:, n])
                np.testing.assert_array_equal(d[:, n], given_d[:, n])
            continue
        cut = None if reset is None else reset[:length, rows]
        alone = case.run(case.x[:length, rows], rows, reset=cut)
        np.testing.assert_allclose(whole.y[:length, rows], alone.y, **CLOSE)
        for a, b in zip(whole.state, alone.state, strict=True):
            np.testing.assert_allclose(a[:, rows], b, **CLOSE)
        for a, b in zip(whole.dstarts, alone.dstarts, strict=True):
            np.testing.assert_allclose(a[:, rows], b, **CLOSE)
        if whole.dx is not None:
            np.testing.assert_allclose(whole.dx[:length, rows], alone.dx, **CLOSE)
        for sum_, part in zip(total, alone.dweights, strict=True):
            sum_ += part
    for a, b in zip(whole.dweights, total, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@FEWER
@given(cases(), st.integers(1, 3))
@example(Case("tanh", 5, 1, 1, False, False, 0), 3)  # T passes the length that pays for a copy
def test_more_padding_with_any_garbage_changes_nothing(case, more):
    plain = case.run(lengths=case.lengths)
    shape = (case.steps + more, *case.x.shape[1:])
    garbage = np.full(shape, -7) if case.x.dtype.kind == "i" else np.full(shape, np.nan)
    for n, length in enumerate(case.lengths):
        garbage[:length, n] = case.x[:length, n]
    case.dy = np.concatenate([case.dy, np.ones((more, *case.dy.shape[1:]))])
    padded = case.run(garbage, lengths=case.lengths)
    assert not padded.y[case.steps :].any()
    if padded.dx is not None:
        assert not padded.dx[case.steps :].any()
        padded.dx = padded.dx[: case.steps]
    padded.y = padded.y[: case.steps]
    same(plain, padded, exactly=case.lengths.min() < case.steps)  # the same products


@FEWER
@given(cases())
def test_garbage_does_not_reach_the_composed_twin_either(case):
    garbage = np.array(case.x)
    for n, length in enumerate(case.lengths):
        garbage[length:, n] = -7 if case.x.dtype.kind == "i" else np.nan
    fused = case.run(garbage, lengths=case.lengths, reset=case.reset)
    with tgs.composed():
        composed = case.run(garbage, lengths=case.lengths, reset=case.reset)
    same(fused, composed)


@FEWER
@given(cases())
def test_the_order_of_the_batch_does_not_matter(case):
    plain = case.run(lengths=case.lengths, reset=case.reset)
    order = case.rng.permutation(case.batch)
    case.starts = [s[:, order] for s in case.starts]
    case.dstates = [s[:, order] for s in case.dstates]
    case.dy = case.dy[:, order]
    mixed = case.run(case.x[:, order], lengths=case.lengths[order], reset=case.reset[:, order])
    back = np.argsort(order)
    mixed.y = mixed.y[:, back]
    mixed.state = [s[:, back] for s in mixed.state]
    mixed.dstarts = [s[:, back] for s in mixed.dstarts]
    mixed.dx = None if mixed.dx is None else mixed.dx[:, back]
    same(plain, mixed)


@FEWER
@given(cases())
def test_full_lengths_and_no_resets_are_the_plain_run(case):
    full = np.full(case.batch, case.steps)
    none = np.zeros((case.steps, case.batch), bool)
    same(case.run(), case.run(lengths=full, reset=none), exactly=True)


@FEWER
@given(cases(), st.integers(1, 4))
def test_a_reset_of_all_rows_is_two_runs_from_zero(case, at):
    """Piece by piece in either direction: nothing crosses the start."""
    at = min(at, case.steps - 1)
    case = Case("gru", case.steps, case.batch, 1, True, False, int(case.lengths.sum()))
    reset = np.zeros((case.steps, case.batch), bool)
    reset[at] = True
    whole = case.run(reset=reset)
    y1, s1 = case.layer(case.x[:at], nn.GRUState(tgs.tensor(_kept(case.starts[0], 0))))
    y2, s2 = case.layer(case.x[at:], nn.GRUState(tgs.tensor(_kept(case.starts[0], 1))))
    np.testing.assert_allclose(whole.y, np.concatenate([y1.numpy(), y2.numpy()]), **CLOSE)
    np.testing.assert_allclose(whole.state[0][0], s2.h.numpy()[0], **CLOSE)
    np.testing.assert_allclose(whole.state[0][1], s1.h.numpy()[1], **CLOSE)


def _kept(state, direction):
    """The initial states with one direction's kept, and the other's at zero."""
    out = np.zeros_like(state)
    out[direction] = state[direction]
    return out


@FEWER
@given(cases())
def test_reset_rows_of_the_first_step(case):
    """reset=(N,) equals zeroing the rows of the carried state by hand."""
    case = Case("lstm", case.steps, case.batch, 2, False, False, int(case.lengths.sum()))
    rows = case.rng.random(case.batch) < 0.5
    short = case.run(reset=rows)
    for part in short.dstarts:
        assert not part[:, rows].any()
    case.starts = [np.where(rows[:, None], 0, s) for s in case.starts]
    by_hand = case.run()
    np.testing.assert_array_equal(short.y, by_hand.y)
    for a, b in zip(short.dweights, by_hand.dweights, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


@FEWER
@given(cases())
def test_second_order_with_lengths_and_resets(case):
    def penalty():
        x = case.x if case.x.dtype.kind == "i" else tgs.tensor(case.x)
        y, _ = case.layer(x, lengths=case.lengths, reset=case.reset)
        weights = list(case.layer.parameters())
        first = tgs.grad((y * y).sum(), weights, create_graph=True, allow_unused=True)
        reached = [(g * g).sum() for g in first if g is not None and g.requires_grad]
        if not reached:
            return []
        found = tgs.grad(reached, weights, allow_unused=True)
        return [
            np.zeros(w.shape) if g is None else g.numpy()
            for w, g in zip(weights, found, strict=True)
        ]

    fused = penalty()
    with tgs.composed():
        composed = penalty()
    for a, b in zip(fused, composed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@FEWER
@given(cases(("lstm", "gru", "gru_before")), st.integers(1, 7))
def test_recomputation_changes_nothing(case, every):
    for options in ({}, {"lengths": case.lengths, "reset": case.reset}):
        case.layer.checkpoint = False
        plain = case.run(**options)
        case.layer.checkpoint = every
        again = case.run(**options)
        same(plain, again)
    case.layer.checkpoint = case.steps  # one group: the same products, the same bits
    once = case.run()
    case.layer.checkpoint = False
    same(case.run(), once, exactly=True)


def test_batch_first_and_unbatched_lengths():
    rng = np.random.default_rng(0)
    layer = make_layer("lstm", 3, 4, 2, rng, bidirectional=True)
    x = rng.standard_normal((5, 3, 3))
    lengths, reset = [4, 0, 5], rng.random((5, 3)) < 0.4
    y, state = layer(x, lengths=lengths, reset=reset)
    single, last = layer(x[:, 0], lengths=4, reset=reset[:, 0])
    np.testing.assert_allclose(single.numpy(), y.numpy()[:, 0], **CLOSE)
    np.testing.assert_allclose(last.c.numpy(), state.c.numpy()[:, 0], **CLOSE)
    layer.batch_first = True
    flipped, state2 = layer(x.swapaxes(0, 1), lengths=lengths, reset=reset.T)
    np.testing.assert_array_equal(flipped.numpy(), y.numpy().swapaxes(0, 1))
    np.testing.assert_array_equal(state2.h.numpy(), state.h.numpy())


def test_packing_visits_each_valid_place_once():
    lengths = np.array([2, 0, 5, 3])
    for reverse in (False, True):
        plan = make_plan(5, 4, lengths, reverse=reverse)
        valid = np.flatnonzero((np.arange(5)[:, None] < lengths).reshape(-1))
        np.testing.assert_array_equal(np.sort(plan.places), valid)
        sizes = [len(s.at) * s.rows for g in plan.groups for s in g.segments]
        assert sum(sizes) == lengths.sum()


BAD = [
    ({"lengths": [1, 2]}, ShapeError, r"one per row, \(3,\)"),
    ({"lengths": [1.0, 2.0, 3.0]}, DtypeError, "integers"),
    ({"lengths": [1, 2, 6]}, IndexRangeError, "0 <= length <= 5"),
    ({"lengths": [1, -1, 3]}, IndexRangeError, "0 <= length <= 5"),
    ({"reset": [1, 0, 1]}, DtypeError, "booleans"),
    ({"reset": np.zeros((3, 5), bool)}, ShapeError, r"\(5, 3\)"),
]


@pytest.mark.parametrize(("options", "error", "said"), BAD)
def test_bad_lengths_and_resets_are_explained(options, error, said):
    layer = nn.GRU(3, 4, rng=np.random.default_rng(0))
    with pytest.raises(error, match=said):
        layer(np.zeros((5, 3), int), **options)
