"""A run of the character model: watched without being touched, stopped cleanly, resumed exactly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_seq import charlm, train
from tinygrad_seq.charlm.loop import METRICS, SAMPLES
from tinygrad_seq.charlm.run import BEST, LAST
from tinygrad_seq.errors import CheckpointError, ConfigError

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the cat sat on the mat; the dog sat on the log.\n" * 12


def options(**changes):
    small = {
        "hidden": 6,
        "layers": 2,
        "dropout": 0.3,
        "seq_length": 7,
        "batch": 3,
        "steps": 12,
        "minutes": None,
        "sample_length": 20,
    }
    return charlm.CharOptions(**{**small, **changes})


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def new_run(text_file, **changes):
    return charlm.CharRun(options(text=text_file, **changes))


def advance(run, steps):
    """So many updates, without anything around them."""
    losses, updates = [], run.updates()
    for _ in range(steps):
        run.set_learning_rate()
        report = next(updates)
        run.step, run.state = report.step, updates.state
        losses.append(report.loss)
    return losses


# -- the run ---------------------------------------------------------------------------------------


def test_windows_go_through_the_text_pass_after_pass(text_file):
    run = new_run(text_file)
    count = run.windows_per_epoch
    windows = [window for window, _ in zip(run.windows(), range(2 * count + 1), strict=False)]
    resets = [i for i, (_, _, reset) in enumerate(windows) if reset is not None]
    assert resets == [count, 2 * count]
    np.testing.assert_array_equal(windows[0][0], windows[count][0])
    read = "".join(run.vocabulary.decode(tokens[:, 1]) for tokens, _, _ in windows[:count])
    assert read in run.train_text
    run.step = count + 2
    tokens, targets, reset = next(run.windows())
    np.testing.assert_array_equal(tokens, windows[2][0])
    np.testing.assert_array_equal(targets, windows[2][1])
    assert reset is None


def test_watching_changes_nothing(text_file, tmp_path):
    """Losses with and without validation, samples and checkpoints are the same to the bit."""
    quiet = advance(new_run(text_file), 12)
    watched = new_run(text_file, eval_every=1, prime="the ")
    losses = []

    class Listening(charlm.Monitor):
        def record(self, report, state):
            losses.append(report.loss)
            super().record(report, state)

    updates = watched.updates()
    with Listening(watched, tmp_path / "run", say=lambda _: None, bar=False) as monitor:
        while monitor.goes_on():
            watched.set_learning_rate()
            monitor.record(next(updates), updates.state)
    assert losses == quiet
    assert (tmp_path / "run" / SAMPLES).read_text().count("=== step") == 12


def test_fit_leaves_checkpoints_metrics_and_samples(text_file, tmp_path):
    run = new_run(text_file, steps=25, evals=5)
    said = []
    outcome = charlm.fit(run, tmp_path / "run", say=said.append, bar=False)
    assert outcome.stopped_by == 0
    assert sum("held out" in line for line in said) == 5
    rows = train.MetricsTable.read(tmp_path / "run" / METRICS)
    curve = [(int(r["step"]), float(r["held_out_nats"])) for r in rows if r["held_out_nats"]]
    assert [step for step, _ in curve] == [5, 10, 15, 20, 25]
    assert [int(r["step"]) for r in rows if r["train_nats"]] == [10, 20, 25]
    assert curve[-1][1] == pytest.approx(outcome.held_out.carried.nats, rel=1e-5)
    assert run.best == pytest.approx(min(nats for _, nats in curve), rel=1e-5)
    for name in (BEST, LAST):
        _, vocabulary, saved = charlm.load_char_lm(tmp_path / "run" / name)
        assert vocabulary == run.vocabulary and saved == run.options
    best, _, _ = charlm.load_char_lm(tmp_path / "run")
    assert train.evaluate(best, run.held_out_ids).nats == pytest.approx(run.best, rel=1e-12)
    assert not best.training


def test_a_time_budget_ends_the_run_and_takes_the_rate_to_zero(text_file, tmp_path):
    """By a clock of our own: each look at it is a second."""
    run = new_run(text_file, steps=None, minutes=1.0, evals=1)
    seconds = iter(range(10_000))
    rates = []
    updates = run.updates()
    with charlm.Monitor(
        run, tmp_path / "run", say=lambda _: None, bar=False, clock=lambda: next(seconds)
    ) as monitor:
        while monitor.goes_on():
            rates.append(run.set_learning_rate())
            monitor.record(next(updates), updates.state)
    assert run.seconds == 60 and run.step == 60
    assert rates[0] == run.options.lr
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.01 * rates[0]


def test_slow_validations_leave_the_time_to_training(text_file, tmp_path, monkeypatch):
    """On a machine where a validation takes 25 s and an update 1 s, ten in five minutes would
    be most of the run."""
    now = [0.0]
    real = charlm.CharRun.evaluate

    def slow(self):
        now[0] += 25
        return real(self)

    def clock():
        return now[0]

    monkeypatch.setattr(charlm.CharRun, "evaluate", slow)
    run = new_run(text_file, steps=None, minutes=5.0, evals=10)
    updates, said = run.updates(), []
    with charlm.Monitor(run, tmp_path / "run", say=said.append, bar=False, clock=clock) as monitor:
        while monitor.goes_on():
            now[0] += 1
            monitor.record(next(updates), updates.state)
    assert run.seconds == 300
    assert run.step == 250  # one after 30 s, one after 250 s of training, the last after the end
    assert sum("held out" in line for line in said) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_a_checkpoint(text_file, tmp_path, number):
    run = new_run(text_file, eval_every=4)
    before = signal.getsignal(number)

    def say(line):
        if "held out" in line:
            signal.raise_signal(number)

    outcome = charlm.fit(run, tmp_path / "run", say=say, bar=False)
    assert signal.getsignal(number) == before
    assert outcome.stopped_by == number and outcome.held_out is None
    assert run.step == 4
    resumed = charlm.CharRun.resume(tmp_path / "run")
    assert resumed.step == 4
    assert advance(resumed, 8) == advance(new_run(text_file), 12)[4:]


def test_a_second_signal_interrupts_at_once(text_file, tmp_path):
    run = new_run(text_file, eval_every=4)

    def say(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        charlm.fit(run, tmp_path / "run", say=say, bar=False)
    assert charlm.CharRun.resume(tmp_path / "run").step == 4


def test_a_run_that_fails_leaves_its_last_checkpoint(text_file, tmp_path):
    run = new_run(text_file, eval_every=5)
    real = run.set_learning_rate

    def fail_at_eight():
        return 1 / 0 if run.step == 8 else real()

    run.set_learning_rate = fail_at_eight
    with pytest.raises(ZeroDivisionError):
        charlm.fit(run, tmp_path / "run", say=lambda _: None, bar=False)
    assert charlm.CharRun.resume(tmp_path / "run").step == 5


def test_a_new_run_never_writes_over_another(text_file, tmp_path):
    charlm.fit(new_run(text_file, steps=1), tmp_path / "run", say=lambda _: None, bar=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ConfigError, match="another run"):
        charlm.fit(new_run(text_file), tmp_path / "run")
    other = new_run(text_file)
    advance(other, 2)
    other.save(tmp_path / LAST)
    with pytest.raises(ConfigError, match="another run"):
        charlm.fit(charlm.CharRun.resume(tmp_path / LAST), tmp_path / "run")
    finished = charlm.CharRun.resume(tmp_path / "run")
    with pytest.raises(ConfigError, match="complete"):
        charlm.fit(finished, tmp_path / "run")
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}


# -- resume ----------------------------------------------------------------------------------------

RESUME = """
import json, sys
from tinygrad_seq import charlm, train
from tinygrad_seq.errors import CheckpointError
folder, steps, kind, optimizer, schedule = json.loads(sys.argv[1])
path = folder + "/c.safetensors"
try:
    run = charlm.CharRun.resume(path)
except CheckpointError:
    run = charlm.CharRun(charlm.CharOptions(
        text=folder + "/text.txt", model=kind, optimizer=optimizer, schedule=schedule, hidden=6,
        layers=2, dropout=0.4, seq_length=9, batch=4, steps=20, minutes=None, lr_decay_after=1))
losses, updates = [], run.updates()
for _ in range(steps):
    run.set_learning_rate()
    report = next(updates)
    run.step, run.state = report.step, updates.state
    losses.append([report.loss.hex(), report.grad_norm.hex(), report.lr.hex()])
run.save(path)
print(json.dumps(losses))
"""


def in_new_process(folder, steps, recipe, hash_seed):
    arguments = json.dumps([str(folder), steps, *recipe])
    done = subprocess.run(
        [sys.executable, "-c", RESUME, arguments],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "recipe",
    [("lstm", "adam", "cosine"), ("rnn", "sgd", "decay"), ("gru", "rmsprop", "constant")],
    ids="-".join,
)
def test_resume_means_resume(tmp_path, recipe):
    """20 updates equal 10, a save, a new process under another hash seed, and 10 more."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        (folder / "text.txt").write_text(TEXT)  # 15 windows to a pass: the second begins within
    expected = in_new_process(whole, 20, recipe, 1)
    first, second = (in_new_process(parts, 10, recipe, seed) for seed in (2, 3))
    assert first + second == expected
    one, other = (train.load_checkpoint(f / "c.safetensors") for f in (whole, parts))
    assert one["step"] == other["step"] == 20
    for name, value in one["model"].items():
        np.testing.assert_array_equal(value, other["model"][name], err_msg=name)
    for name, value in one["optimizer"].items():
        np.testing.assert_array_equal(value, other["optimizer"][name], err_msg=name)
    assert one["state"].h.numpy().tobytes() == other["state"].h.numpy().tobytes()
    assert one["vocabulary"] == other["vocabulary"]


def test_a_resumed_run_continues_the_table_and_drops_what_lies_beyond(text_file, tmp_path):
    folder = tmp_path / "run"
    run = new_run(text_file, steps=20)
    advance(run, 10)
    folder.mkdir()
    run.save(folder / LAST)
    table = train.MetricsTable(folder / METRICS, ("step", "train_nats"))
    for step in (5, 10, 15):
        table.write({"step": step, "train_nats": 1.0})
    charlm.fit(charlm.CharRun.resume(folder), folder, say=lambda _: None, bar=False)
    steps, _ = train.MetricsTable.column(folder / METRICS, "step", "train_nats")
    assert steps == [5, 10, 20]


def test_what_may_and_may_not_change_on_resume(text_file, tmp_path):
    run = new_run(text_file)
    advance(run, 3)
    run.save(tmp_path / LAST)
    longer = charlm.CharRun.resume(tmp_path, steps=30, temperature=0.5, hidden=6)
    assert (longer.options.steps, longer.options.temperature) == (30, 0.5)
    by_time = charlm.CharRun.resume(tmp_path, minutes=1.0)
    assert (by_time.options.steps, by_time.options.minutes) == (None, 1.0)
    with pytest.raises(ConfigError, match="hidden"):
        charlm.CharRun.resume(tmp_path, hidden=7)
    Path(text_file).write_text(TEXT + "x")
    with pytest.raises(CheckpointError, match="another text"):
        charlm.CharRun.resume(tmp_path)


def test_checkpoints_of_other_things_are_refused(tmp_path, text_file):
    run = new_run(text_file)
    run.save(tmp_path / LAST)
    saved = train.load_checkpoint(tmp_path / LAST)
    for name, change in {
        "kind": "seq2seq",
        "options": {"hiden": 3},
        "model": {},
        "optimizer": {},
        "generators": {},
        "vocabulary": "{}",
    }.items():
        train.save_checkpoint(tmp_path / LAST, {**saved, name: change})
        with pytest.raises((CheckpointError, ConfigError)):
            charlm.CharRun.resume(tmp_path)
        if name in ("kind", "options", "model", "vocabulary"):
            with pytest.raises(CheckpointError):
                charlm.load_char_lm(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        charlm.load_char_lm(tmp_path / "empty")
