"""The loop around the updates: progress, validation, samples, checkpoints, and stopping cleanly."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tinygrad_seq.charlm.run import BEST, LAST, CharRun, HeldOut
from tinygrad_seq.checks import callable_of, flag, instance_of, path_of
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.train.metrics import MetricsTable
from tinygrad_seq.train.tbptt import StepReport

__all__ = ["Monitor", "Outcome", "fit", "require_startable"]

_LOSS, _PACE = ("train_nats", "train_bits"), ("skipped", "tokens_per_second")
_NORMS = ("grad_norm", "grad_norm_after", "clip_factor")
_HELD_OUT = ("held_out_nats", "held_out_bits", "held_out_reset_nats", "held_out_reset_bits")
COLUMNS = ("step", "epoch", "seconds", "lr", *_LOSS, *_NORMS, *_PACE, *_HELD_OUT)
METRICS, SAMPLES = "metrics.csv", "samples.txt"
_ROW_EVERY = 10  # updates
_SHARE_OF_CHECKS = 0.1  # of a time budget, at most, that validations and samples may take


class Outcome(NamedTuple):
    """How a run ended."""

    held_out: HeldOut | None
    """The last validation; None for an interrupted run."""
    stopped_by: int
    """The signal that ended the run early, 0 for none."""


def fit(
    run: CharRun,
    folder: str | os.PathLike[str],
    *,
    say: Callable[[str], None] | None = None,
    bar: bool | None = None,
) -> Outcome:
    """Train until the run's budget is used up, or Ctrl-C; everything lands in `folder`.

    Parameters
    ----------
    run : CharRun
        A new run, or a resumed one.
    folder : path-like
        Gets checkpoints, metrics.csv and samples.txt. A new run refuses a folder that holds
        another one's checkpoint.
    say : callable, optional
        Is given each line for the user; by default they are written around the progress bar.
    bar : bool, optional
        Whether to show a progress bar; by default where standard error is a terminal.

    Examples
    --------
    >>> import tempfile
    >>> from tinygrad_seq import charlm, train
    >>> run = charlm.CharRun(charlm.CharOptions(hidden=8, layers=1, steps=2, minutes=None, evals=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = charlm.fit(run, folder, say=lambda line: None, bar=False)
    >>> outcome.stopped_by, outcome.held_out.carried.nats < 4.7
    (0, True)
    """
    watched = Monitor(run, folder, say=say, bar=bar)
    updates = run.updates()
    with watched as monitor:
        while monitor.goes_on():
            run.set_learning_rate()
            report = next(updates)
            monitor.record(report, updates.state)
    return monitor.outcome


class Monitor:
    """Watches a run: call `record` after every update, while `goes_on`.

    It keeps the run's counters, shows progress, validates, writes samples and metrics, and saves
    checkpoints. Inside its ``with`` block Ctrl-C (or SIGTERM) ends the run after the update in
    progress, with a checkpoint; a second one interrupts at once. Nothing it does reaches the
    training: losses are the same to the bit however often it validates and samples.

    Parameters
    ----------
    run, folder, say, bar
        See :func:`fit`.
    clock : callable
        Seconds, rising.
    """

    def __init__(
        self,
        run: CharRun,
        folder: str | os.PathLike[str],
        *,
        say: Callable[[str], None] | None = None,
        bar: bool | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.run = instance_of("Monitor: run", run, CharRun)
        self.folder = path_of("Monitor: folder", folder)
        if say is not None:
            callable_of("Monitor: say", say, "a function of a line")
        if bar is not None:
            flag("Monitor: bar", bar)
        callable_of("Monitor: clock", clock, "a function that gives seconds")
        self.outcome = Outcome(None, 0)
        self._say = say
        self._show_bar = bar
        self._clock = clock
        self._stopped_by = 0
        self._smooth = math.nan
        self._recent: list[StepReport] = []
        self._seconds_before = run.seconds
        self._last_check = run.progress
        self._checking = 0.0  # seconds
        self._began: float | None = None
        require_startable(self.folder, run)

    # -- the with block ---------------------------------------------------------------------------

    def __enter__(self) -> Monitor:
        from tqdm import tqdm

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{str(self.folder)!r} cannot be made", expected="a folder", got=str(error)
            ) from error
        kept = None if self.run.origin is None else self.run.step
        self._table = MetricsTable(self.folder / METRICS, COLUMNS, keep_until=kept)
        self._bar = tqdm(
            total=1000,
            initial=int(1000 * min(self.run.progress, 1.0)),
            desc=f"step {self.run.step}",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=None if self._show_bar is None else not self._show_bar,
            miniters=0,
            leave=False,
        )
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._asked_to_stop)
        self._began = self._clock()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._bar.close()

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Note the first SIGINT or SIGTERM; the second interrupts at once."""
        if self._stopped_by:
            raise KeyboardInterrupt
        self._stopped_by = number

    def _finish(self) -> None:
        self._write_row()
        if self._stopped_by and self.run.progress < 1:
            self.run.save(self.folder / LAST)
            self.outcome = Outcome(None, self._stopped_by)
        else:
            self.outcome = Outcome(self._check(), 0)

    # -- after every update -----------------------------------------------------------------------

    def goes_on(self) -> bool:
        """Whether there is budget left and nobody has asked to stop."""
        return self.run.progress < 1 and not self._stopped_by

    def record(self, report: StepReport, state: Any) -> None:
        """Take note of an update and the state it left; validate and save when it is time."""
        began = self._begun("record")
        instance_of("Monitor.record: report", report, StepReport)
        run = self.run
        run.step, run.state = report.step, state
        run.seconds = self._seconds_before + self._clock() - began
        self._recent.append(report)
        if report.skipped:
            self.say(f"step {report.step}: update left out, {report.problem}")
        else:
            old = report.loss if math.isnan(self._smooth) else self._smooth
            self._smooth = 0.95 * old + 0.05 * report.loss
        self._show(report)
        if run.step % _ROW_EVERY == 0:
            self._write_row()
        if run.progress < 1 and self._time_to_check():
            before = self._clock()
            self._check()
            self._checking += self._clock() - before
            run.seconds = self._seconds_before + self._clock() - began

    def say(self, line: str) -> None:
        """Write a line for the user, clear of the progress bar."""
        instance_of("Monitor.say: line", line, str)
        if self._say is not None:
            self._say(line)
        else:
            self._begun("say")
            self._bar.write(line, file=sys.stdout)

    def _begun(self, method: str) -> float:
        """When the with block was entered."""
        if self._began is None:
            raise ConfigError(
                f"Monitor.{method}: outside of its with block", hint="with monitor: ..."
            )
        return self._began

    # -- parts ------------------------------------------------------------------------------------

    def _time_to_check(self) -> bool:
        options = self.run.options
        if options.eval_every is not None:
            return self.run.step % options.eval_every == 0
        before, now = self._last_check, self.run.progress
        if int(now * options.evals) == int(before * options.evals):
            return False
        trained = self._clock() - self._begun("record") - self._checking
        if options.minutes is not None and self._checking > _SHARE_OF_CHECKS * trained:
            return False  # a slow machine: let training catch up before the next
        self._last_check = now
        return True

    def _check(self) -> HeldOut:
        """Validate, sample, save: none of it touches what training goes on from."""
        run = self.run
        found = run.evaluate()
        carried, reset = found
        if run.best is None or carried.nats < run.best:
            run.best = carried.nats
            run.save(self.folder / BEST)
        run.save(self.folder / LAST)
        values = (carried.nats, carried.bits, reset.nats, reset.bits)
        self._table.write({**self._where(), **dict(zip(_HELD_OUT, values, strict=True))})
        self.say(
            f"step {run.step:5d}  epoch {run.epoch:.2f}  {_minutes(run.seconds)}  "
            f"train {self._smooth:.3f} nats  held out {carried.nats:.3f} nats = "
            f"{carried.bits:.3f} bits/char  (reset every 64: {reset.nats:.3f} nats)"
        )
        self._sample()
        return found

    def _sample(self) -> None:
        text = self.run.sample()
        with (self.folder / SAMPLES).open("a", encoding="utf-8", errors="replace") as file:
            options = self.run.options
            file.write(f"=== step {self.run.step}, temperature {options.temperature:g}\n{text}\n\n")
        for line in text[:200].strip("\n").splitlines()[:4]:
            self.say(f"    | {line}")

    def _write_row(self) -> None:
        """One row for the updates since the last: mean loss, the last of everything else."""
        if not self._recent:
            return
        recent, self._recent = self._recent, []
        losses = [report.loss for report in recent if not report.skipped]
        last = recent[-1]
        seconds = sum(report.tokens / report.tokens_per_second for report in recent)
        row = {
            **self._where(),
            **{name: getattr(last, name) for name in ("lr", *_NORMS)},
            "skipped": sum(report.skipped for report in recent),
            "tokens_per_second": sum(report.tokens for report in recent) / seconds,
        }
        if losses:
            mean = math.fsum(losses) / len(losses)
            row |= {"train_nats": mean, "train_bits": mean / math.log(2)}
        self._table.write(row)

    def _where(self) -> dict[str, Any]:
        run = self.run
        return {"step": run.step, "epoch": run.epoch, "seconds": run.seconds}

    def _show(self, report: StepReport) -> None:
        bar = self._bar
        if bar.disable:
            return
        bar.set_description_str(f"step {report.step}", refresh=False)
        bits = self._smooth / math.log(2)
        bar.set_postfix_str(
            f"loss {self._smooth:.3f}, {bits:.2f} bits/char, {report.tokens_per_second:,.0f} tok/s",
            refresh=False,
        )
        bar.update(int(1000 * min(self.run.progress, 1.0)) - bar.n)


def require_startable(folder: Path, run: CharRun) -> None:
    """Refuse a run that is complete, and a folder that holds another run.

    Raises
    ------
    ConfigError
    """
    if run.progress >= 1:
        raise ConfigError(
            f"the run is complete: {run.step} updates, {_minutes(run.seconds)} minutes",
            expected="a run with something left to do",
            hint="give it more: --steps, --epochs or --minutes count from its very beginning",
        )
    try:
        is_file = folder.exists() and not folder.is_dir()
    except (OSError, ValueError) as error:  # no path at all: too long, a NUL
        raise ConfigError(
            f"{str(folder)[:100]!r} is no path", expected="a folder for the run", got=str(error)
        ) from error
    if is_file:
        raise ConfigError(f"{str(folder)!r} is a file", expected="a folder for the run")
    own = run.origin is not None and run.origin.parent == folder.resolve()
    if (folder / LAST).exists() and not own:
        raise ConfigError(
            f"{str(folder)!r} holds another run",
            expected="a folder without a checkpoint",
            got=str(folder / LAST),
            hint=f"choose another name, or continue that run: --resume {folder}",
        )


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
