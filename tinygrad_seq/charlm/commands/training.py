"""``train``: the options of a training run, what it says at its start and at its end."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from tinygrad_seq import charlm
from tinygrad_seq.charlm.commands.words import Parser, own_command, told
from tinygrad_seq.charlm.loop import SAMPLES, require_startable
from tinygrad_seq.charlm.options import BUDGETS, GROUPS
from tinygrad_seq.charlm.report import REPORT_FILES
from tinygrad_seq.charlm.run import LAST
from tinygrad_seq.checks import instance_of, path_of
from tinygrad_seq.errors import ConfigError

__all__ = ["TRAIN", "announce", "finish", "folder_of", "open_run", "train_parser"]


def train_parser(description: str) -> argparse.ArgumentParser:
    """A parser for the options of a training run, for scripts that run one."""
    parser = Parser(description=description)
    _train_options(parser)
    return parser


def _train_options(parser: argparse.ArgumentParser) -> None:
    """All options; one that is not given is absent, so that a preset or a checkpoint decides."""
    kinds = {"int": int, "float": float}
    group: Any = parser
    for option in fields(charlm.CharOptions):
        if option.name in GROUPS:
            group = parser.add_argument_group(GROUPS[option.name])
        if option.name == "seq_length":
            said = f"start from other defaults: {', '.join(charlm.PRESETS)}"
            group.add_argument("--preset", default=argparse.SUPPRESS, help=said, metavar="NAME")
        said = told(option.metadata["help"], option.default)
        kind = kinds.get(str(option.type).partition(" ")[0])
        how = {"type": kind, "default": argparse.SUPPRESS, "help": said, **option.metadata["how"]}
        group.add_argument("--" + option.name.replace("_", "-"), **how)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")

    group = parser.add_argument_group("files")
    group.add_argument("--run-name", metavar="NAME", help="results go to runs/NAME")
    group.add_argument("--out", metavar="FOLDER", help="results go to FOLDER")
    group.add_argument("--resume", metavar="RUN", help="continue a run: its folder or checkpoint")


def open_run(options: argparse.Namespace) -> charlm.CharRun:
    """The run that parsed options ask for, new or resumed; nothing is written."""
    instance_of("open_run: options", options, argparse.Namespace)
    names = {option.name for option in fields(charlm.CharOptions)}
    given = {name: value for name, value in vars(options).items() if name in names}
    if options.resume is None:
        preset = getattr(options, "preset", "default")
        return charlm.CharRun(charlm.CharOptions.preset(preset, **given))
    if hasattr(options, "preset"):
        raise ConfigError(
            "--preset with --resume", hint="a resumed run keeps its options: leave the preset out"
        )
    return charlm.CharRun.resume(options.resume, **given)


def folder_of(options: argparse.Namespace, run: charlm.CharRun) -> Path:
    """Where the results of a run go; refused if another run's are there."""
    instance_of("folder_of: options", options, argparse.Namespace)
    instance_of("folder_of: run", run, charlm.CharRun)
    folder = _folder_of(options, run)
    require_startable(folder, run)
    return folder


def _folder_of(options: argparse.Namespace, run: charlm.CharRun) -> Path:
    """The folder asked for; a name that nobody chose never meets an older run."""
    if options.out is not None and options.run_name is not None:
        raise ConfigError("--out and --run-name", hint="give one of them")
    if options.out is not None:
        return Path(options.out)
    if options.run_name is not None:
        name = options.run_name
        if Path(name).name != name or name in ("", ".", ".."):
            raise ConfigError(
                "--run-name", expected="a plain name", got=repr(name), hint="--out takes a path"
            )
        return Path("runs", name)
    if options.resume is not None:
        given = Path(options.resume)
        return given if given.is_dir() else given.parent
    source = Path(run.options.text).stem if run.options.text is not None else "pydoc"
    base = f"{source}-{run.options.model}-{run.options.layers}x{run.options.hidden}"
    number = 1
    while (folder := Path("runs", base if number == 1 else f"{base}-{number}")).exists():
        number += 1
    return folder


def _train(options: argparse.Namespace) -> int:
    run = open_run(options)
    folder = folder_of(options, run)
    announce(run, folder)
    outcome = charlm.fit(run, folder, bar=False if options.quiet else None)
    return finish(run, folder, outcome)


def announce(run: charlm.CharRun, folder: Path) -> None:
    """Say what is about to happen, on what machine."""
    instance_of("announce: run", run, charlm.CharRun)
    folder = path_of("announce: folder", folder)
    options = run.options
    source = options.text or "the language reference in Python (pydoc_data.topics)"
    print(
        f"text     {source}: {len(run.train_text):,} characters to learn, "
        f"{len(run.held_out_text):,} held out, {len(run.vocabulary)} symbols"
    )
    print(
        f"model    {options.model.upper()}, {options.layers} x {options.hidden}, "
        f"{run.model.num_parameters():,} parameters"
    )
    budget = {name: getattr(options, name) for name in BUDGETS}
    length = ", ".join(f"{value:g} {name}" for name, value in budget.items() if value is not None)
    begun = f", resumed after {run.step} updates" if run.step else ""
    print(
        f"run      {length}{begun}; {options.batch} streams, windows of {options.seq_length}, "
        f"{run.windows_per_epoch} windows to an epoch"
    )
    found = charlm.machine()
    print(f"machine  {found}")
    if hint := found.hint(options.hidden):
        print(hint)
    print(f"results  {folder}", flush=True)


def finish(run: charlm.CharRun, folder: Path, outcome: charlm.Outcome) -> int:
    """Write the report of a run and say how it went; returns the exit status."""
    instance_of("finish: run", run, charlm.CharRun)
    folder = path_of("finish: folder", folder)
    instance_of("finish: outcome", outcome, charlm.Outcome)
    if outcome.held_out is None:
        print(f"stopped after {run.step} updates; saved to {folder / LAST}")
        print(f"continue with: {own_command()} train --resume {shlex.quote(str(folder))}")
        return 128 + outcome.stopped_by
    summary, problems = charlm.write_report(run, folder, outcome.held_out)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    rows = [("all symbols equally likely", summary["uniform_bits"])]
    rows += [(f"order-{n} n-gram model", bits) for n, bits in summary["ngram_bits"].items()]
    rows += [
        ("this model, state reset every 64", summary["held_out_reset_every_64_bits"]),
        ("this model, state carried", summary["held_out_bits"]),
    ]
    print("\nheld-out text                        bits/char")
    for name, bits in rows:
        print(f"  {name:<34} {bits:9.3f}")
    print(
        f"  ({summary['held_out_nats']:.4f} nats carried, "
        f"{summary['held_out_reset_every_64_nats']:.4f} reset; {run.step} updates, "
        f"{run.epoch:.2f} epochs, {run.seconds:.0f} s)"
    )
    if run.options.minutes is not None and run.options.steps is None:
        print(f"  (the clock set the pace; for the same schedule by updates: --steps {run.step})")
    made = [
        name for name in (*REPORT_FILES, "metrics.csv", SAMPLES, LAST) if (folder / name).exists()
    ]
    print(f"\nresults in {folder}: {', '.join(made)}")
    print(f"let it write: {own_command()} sample {shlex.quote(str(folder))}")
    print(f"draw it: {own_command()} draw {shlex.quote(str(folder))} --view rolled --level cell")
    return 0


TRAIN = "train a character model; results go to runs/NAME", _train_options, _train
