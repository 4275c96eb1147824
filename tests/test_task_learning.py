"""Tasks that must be learnt, at short lags, in seconds, from fixed seeds; and one that must not.

Training goes on until the task counts as learnt; the limits are far from what these seeds need,
so that another BLAS does not fail them.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

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
    judge,
    learn,
    task_model,
)
from tinygrad_seq import nn, optim
from tinygrad_seq.errors import ConfigError


def fresh(task, count=500):
    return task.batch(count, np.random.default_rng(99))


def recurrent(task, *, kind=nn.LSTM, hidden=24):
    rng = np.random.default_rng(0)
    return task_model(task, kind(task.input_size, hidden, rng=rng), rng=rng)


def updates(task, model, *, lr=1e-2, **options):
    optimizer = optim.Adam(model.parameters(), lr=lr)
    return learn(task, model, optimizer, np.random.default_rng(1), batch=32, **options)


def learnt(task, model, *, below, limit=1000, lr=1e-2):
    """Train until the loss is `below` so much of the trivial loss."""
    for now in itertools.islice(updates(task, model, lr=lr, recent=320), limit):
        if now.full and now.loss < below * task.trivial_loss:
            return model
    raise AssertionError(f"{task} is not learnt: {now}")


def test_adding():
    task = Adding(12)
    model = learnt(task, recurrent(task), below=0.1)
    assert judge(task, model, fresh(task)).loss < 0.15 * task.trivial_loss


def test_copy_memory():
    task = CopyMemory(4, symbols=4, width=2)
    model = learnt(task, recurrent(task), below=0.2)
    assert judge(task, model, fresh(task)).right.mean() > 0.9  # 1/16 by guessing


class Forgetful(nn.Module):
    """Every step of the model inside starts from zeros: nothing can be remembered."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, inputs):
        logits, _ = self.inner(inputs.reshape(1, -1))
        return tgs.reshape(logits, (*inputs.shape, -1))


def test_copy_memory_cannot_be_learnt_without_carrying_the_state():
    task = CopyMemory(4, symbols=4, width=2)
    model = Forgetful(recurrent(task))
    *_, last = itertools.islice(updates(task, model, recent=320), 200)
    assert last.loss < 0.6 * math.log(task.output_size)  # it does learn that most is blank
    assert judge(task, model, fresh(task)).loss > 0.95 * task.trivial_loss


def test_temporal_order():
    task = TemporalOrder(20)
    model = learnt(task, recurrent(task, hidden=16), below=0.1)
    assert judge(task, model, fresh(task)).right.mean() > 0.95


def test_gates_that_start_with_long_time_constants_learn_a_long_lag():
    """With biases of 0, three seeds of three learn nothing of this from ten times as much."""
    task = TemporalOrder(100)
    model = recurrent(task, kind=nn.GRU, hidden=16)
    nn.init.chrono_(model.recurrent, 100, np.random.default_rng(2))
    learnt(task, model, below=0.3, limit=400)


def test_embedded_reber():
    """The last T or P, right half the time by guessing; and no illegal symbol anywhere."""
    task = EmbeddedReber()
    model = learnt(task, recurrent(task, hidden=16), below=0.1, lr=2e-2)
    batch = fresh(task)
    assert judge(task, model, batch).right.mean() > 0.97
    logits, targets = model(batch.inputs)[0].numpy(), batch.targets
    chosen = np.take_along_axis(logits, np.where(targets == IGNORE, 0, targets)[..., None], -1)
    better = (logits > chosen).sum(-1)  # every symbol is among the two likeliest
    assert (better[targets != IGNORE] < 2).mean() > 0.97


def test_dyck_brackets_are_closed_by_kind():
    task = Dyck(12, kinds=2, max_depth=3)
    model = learnt(task, recurrent(task), below=0.2)
    logits, targets = model(fresh(task).inputs)[0].numpy(), fresh(task).targets
    closing = task.closing(targets)
    kinds = logits[..., 2:].argmax(-1)
    assert (kinds[closing] == targets[closing] - 2).mean() > 0.9  # 1/2 by guessing


@pytest.mark.parametrize("reverse", [False, True])
def test_sums_of_two_digits(reverse):
    task = AddNumbers(1, reverse)
    model = learnt(task, recurrent(task, hidden=32), below=0.15)
    assert judge(task, model, fresh(task)).right.mean() > 0.9


def test_pairs_through_an_encoder_and_a_decoder():
    task, rng = AddNumbers(1), np.random.default_rng(0)
    attention = nn.AdditiveAttention(24, 24, 16, rng=rng)
    decoder = nn.Decoder(nn.GRU(task.output_size, 24, rng=rng), None, attention, rng=rng)
    model = nn.Seq2Seq(nn.GRU(task.input_size, 24, rng=rng), decoder, rng=rng)
    learnt(task, model, below=0.07, lr=2e-2)
    pairs = task.pairs(200, np.random.default_rng(99))
    assert judge(task, model, pairs).right.mean() > 0.85
    made = model.generate(pairs.sources, 0, lengths=pairs.lengths, max_steps=len(pairs.targets))
    assert (made.tokens == pairs.targets).all(axis=0).mean() > 0.85


# -- what is judged ------------------------------------------------------------------------------


class Says(nn.Module):
    """Always the same answers."""

    def __init__(self, answers):
        super().__init__()
        self.answers = tgs.tensor(answers)

    def forward(self, inputs):
        return self.answers


def logits_for(targets, classes, margin):
    """Answers that favour the targets by so many nats."""
    return margin * np.eye(classes)[np.where(targets == IGNORE, 0, targets)]


CLASSED = [
    CopyMemory(7),
    TemporalOrder(40),
    EmbeddedReber(),
    Dyck(12, kinds=3),
    AddNumbers(2),
    Dates(),
]


@pytest.mark.parametrize("task", CLASSED, ids=str)
def test_right_answers_are_worth_everything_and_one_wrong_one_a_sequence(task):
    batch = fresh(task, 40)
    perfect = logits_for(batch.targets, task.output_size, 60.0)
    verdict = judge(task, Says(perfect), batch)
    assert verdict.right.shape == (40,)
    assert verdict.right.all()
    assert 0 <= verdict.loss < 1e-12
    asked = task.closing(batch.targets) if hasattr(task, "closing") else batch.targets != IGNORE
    place = (3,) if asked.ndim == 1 else (int(np.flatnonzero(asked[:, 3])[-1]), 3)
    wrong = batch.targets[place] - 1 if batch.targets[place] else 1
    if isinstance(task, Dyck):  # another kind of closing bracket
        wrong = task.kinds + (batch.targets[place] - task.kinds + 1) % task.kinds
    perfect[place] = 0.0
    perfect[(*place, wrong)] = 60.0
    found = judge(task, Says(perfect), batch)
    assert (~found.right).sum() == 1
    assert not found.right[3]
    assert found.loss == pytest.approx(60.0 / asked.sum())


@pytest.mark.parametrize("task", [TemporalOrder(40), EmbeddedReber(), Dyck(12, kinds=3)], ids=str)
def test_even_odds_are_worth_the_trivial_loss(task):
    batch = fresh(task)
    logits = np.zeros((*batch.targets.shape, task.output_size))
    if isinstance(task, EmbeddedReber):
        logits[..., [0, 3, 4, 5, 6]] = -1e3  # it must be T or P
    if isinstance(task, Dyck):
        logits[..., : task.kinds] = 5.0  # whether a bracket closes is not what is judged
    assert judge(task, Says(logits), batch).loss == pytest.approx(task.trivial_loss)


def test_sums_are_right_if_they_are_off_by_little():
    task = Adding(20)
    batch = fresh(task, 4)
    off = np.array([0.0, 0.07, -0.07, 0.09])
    verdict = judge(task, Says((batch.targets + off)[:, None]), batch)
    np.testing.assert_array_equal(verdict.right, [True, True, True, False])
    assert verdict.loss == pytest.approx((off**2).mean(), rel=1e-4)


def test_progress_is_the_mean_over_the_most_recent_sequences():
    task = AddNumbers(1)
    seen = [
        [*itertools.islice(updates(task, recurrent(task), recent=recent), 12)] for recent in (1, 96)
    ]
    each, mean = seen
    assert [now.sequences for now in mean] == [32 * k for k in range(1, 13)]
    assert [now.full for now in mean] == [False, False] + [True] * 10
    assert each[0].loss == pytest.approx(math.log(task.output_size), rel=0.15)  # not trained yet
    for k in range(12):
        window = each[max(0, k - 2) : k + 1]
        assert mean[k].loss == pytest.approx(np.mean([now.loss for now in window]))
        assert mean[k].right == pytest.approx(np.mean([now.right for now in window]))
    with pytest.raises(ConfigError, match=r"recent[\s\S]*positive integer"):
        next(updates(task, recurrent(task), recent=0))


def test_a_streak_ends_with_a_mistake():
    task = TemporalOrder(20)
    streak, rises, falls = 0, 0, 0
    for now in itertools.islice(updates(task, recurrent(task, hidden=16), recent=1), 250):
        assert now.streak == (streak + 32 if now.right == 1.0 else 0)
        rises, falls = rises + (now.streak > streak), falls + (now.streak < streak)
        streak = now.streak
    assert rises > 20
    assert falls > 0
