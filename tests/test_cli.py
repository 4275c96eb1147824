"""The command line: what it writes, what it says, and that a mistake costs nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_seq import charlm, train
from tinygrad_seq.charlm import commands
from tinygrad_seq.charlm.commands import words
from tinygrad_seq.charlm.run import LAST

ROOT = Path(__file__).resolve().parents[1]
SMALL = "--hidden 5 --layers 1 --seq-length 6 --batch 2 --steps 6 --evals 2 --sample-length 15"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder to stand in, with a text."""
    monkeypatch.chdir(tmp_path)
    Path("cat.txt").write_text("the cat sat on the mat and saw the dog.\n" * 100)
    return tmp_path


def run(line):
    return commands.main(line.split())


def tree():
    """Every file with its content."""
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


def test_train_then_sample(capsys):
    assert run(f"train --text cat.txt {SMALL}") == 0
    place = Path("runs/cat-lstm-1x5")
    made = {path.name for path in place.iterdir()}
    assert {LAST, "best.safetensors", "metrics.csv", "samples.txt", "summary.json"} <= made
    assert {"report.html", "cells.html", "loss.png", "unrolled.svg"} <= made
    assert '<a href="cells.html">' in (place / "report.html").read_text("utf-8")
    said = capsys.readouterr().out
    for part in ("BLAS", "parameters", "order-0", "order-3", "bits/char", str(place)):
        assert part in said or part.lower() in said.lower()
    summary = json.loads((place / "summary.json").read_text())
    assert f"{summary['held_out_bits']:.3f}" in said
    assert summary["steps"] == 6 and summary["options"]["text"] == "cat.txt"

    before = tree()
    line = f"sample {place} --length 30 --seed 3 --prime the"
    assert run(line) == 0
    first = capsys.readouterr().out
    assert first.startswith("the") and len(first) == 3 + 30 + 1
    run(line)
    assert capsys.readouterr().out == first
    run(f"sample {place / LAST} --length 0")
    assert capsys.readouterr().out == "\n"
    assert tree() == before


def test_cells_of_a_run(capsys):
    run(f"train --text cat.txt --model gru {SMALL} --run-name cat")
    place = Path("runs/cat/cells.html")
    of_the_report = place.read_bytes()
    place.unlink()
    capsys.readouterr()
    assert run("cells runs/cat --length 150 --horizon 9") == 0
    said = capsys.readouterr().out
    assert "150 characters" in said and str(place) in said
    assert "position in the line" in said and "rnn.l0" in said
    assert len(place.read_bytes()) < len(of_the_report)
    Path("other.txt").write_text("a mat. " * 9)
    of_the_run = place.read_bytes()
    assert run("cells runs/cat --text other.txt") == 0
    assert "cells-other.html" in capsys.readouterr().out
    assert "other.txt" in Path("runs/cat/cells-other.html").read_text("utf-8")
    assert place.read_bytes() == of_the_run  # its report links to units on that page
    assert run(f"cells runs/cat/{LAST} --text other.txt --out o.html --target likeliest") == 0
    page = Path("o.html").read_text("utf-8")
    assert "other.txt" in page and "log p of the likeliest next character" in page
    before = tree()
    Path("strange.txt").write_text("a Mat")
    for line, complaint in (
        ("--text strange.txt", "'M'"),
        ("--text missing.txt", "missing.txt"),
        ("--length 1", "at least 2"),
        ("--horizon -1", "horizon"),
        ("--out nowhere/x.html", "folder that exists"),
        ("--out x.svg", ".html"),
    ):
        assert run(f"cells runs/cat {line}") == 2
        assert complaint in capsys.readouterr().err
    assert run("cells runs/none") == 2
    Path("strange.txt").unlink()
    assert tree() == before


def test_the_second_run_of_the_same_kind_gets_a_folder_of_its_own():
    for _ in range(3):
        assert run(f"train --text cat.txt {SMALL} --quiet") == 0
    assert {p.name for p in Path("runs").iterdir()} == {
        f"cat-lstm-1x5{n}" for n in ("", "-2", "-3")
    }


def test_the_default_text_is_python_s_own(capsys):
    assert run(f"train {SMALL} --steps 1 --run-name own") == 0
    assert "pydoc_data.topics" in capsys.readouterr().out


def test_interrupted_then_resumed(capsys, monkeypatch):
    real = charlm.CharRun.evaluate

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        return real(self)

    with monkeypatch.context() as patched:
        patched.setattr(charlm.CharRun, "evaluate", interrupted)
        assert run(f"train --text cat.txt {SMALL} --steps 8 --run-name r --eval-every 4") == 130
    said = capsys.readouterr().out
    assert "stopped after 4 updates" in said
    line = said.strip().splitlines()[-1].split("python -m tinygrad_seq ")[1]
    assert run(line) == 0
    assert "resumed after 4 updates" in capsys.readouterr().out
    assert run(f"train --text cat.txt {SMALL} --steps 8 --run-name whole --eval-every 4") == 0
    one, other = (train.load_checkpoint(f"runs/{name}/{LAST}") for name in ("r", "whole"))
    for name, value in one["model"].items():
        assert value.tobytes() == other["model"][name].tobytes()
    steps = [
        train.MetricsTable.column(f"runs/{n}/metrics.csv", "step", "held_out_nats")
        for n in ("r", "whole")
    ]
    assert steps[0] == steps[1]


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal to a process")
def test_ctrl_c_in_a_real_process(folder):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tinygrad_seq",
            "train",
            "--text",
            "cat.txt",
            "--run-name",
            "r",
            *SMALL.split(),
            "--steps",
            "1000000",
            "--eval-every",
            "5",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "held out" in line and line.startswith("step"):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "saved to" in out
    assert "Traceback" not in err
    assert charlm.CharRun.resume("runs/r").step > 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("train --text none.txt", "no file"),
        ("train --text runs", "directory"),
        ("train --text empty.txt", "empty"),
        ("train --text latin1.txt", "UTF-8"),
        ("train --text short.txt", "too short"),
        ("train --text cat.txt --batch 2000", "too short"),
        ("train --text cat.txt --seq-length 5000", "shorter than one window"),
        ("train --text one.txt", "one symbol alone"),
        ("train --text cat.txt --batch 2000", "--batch of at most 1800"),
        ("train --text cat.txt --seq-length 5000", "--seq-length of at most 111"),
        ("train --text cat.txt --prime ~", "--prime"),
        ("train --text cat.txt --validation 1.5", "validation"),
        ("train --text cat.txt --validation 100000", "too short"),
        ("train --text cat.txt --hidden 0", "error: --hidden is out of range\n"),
        ("train --text cat.txt --eval-every 0", "error: --eval-every is out of range\n"),
        ("train --text cat.txt --dropout 1", "dropout"),
        ("train --text cat.txt --lr -1", "lr"),
        ("train --text cat.txt --lr nan", "lr"),
        ("train --text cat.txt --steps 0", "steps"),
        ("train --text cat.txt --prime ~", "not in the vocabulary"),
        ("train --text cat.txt --preset tolstoy", "preset"),
        ("train --text cat.txt --run-name a/b", "plain name"),
        ("train --text cat.txt --run-name a --out b", "one of them"),
        ("train --text cat.txt --out cat.txt", "is a file"),
        ("train --text cat.txt --run-name taken", "another run"),
        ("train --resume nothing", "cannot be read"),
        ("train --resume runs", "no checkpoint"),
        ("train --resume cat.txt", "cannot be used"),
        ("train --resume runs/taken", "complete"),
        ("train --resume runs/taken --hidden 9", "hidden"),
        ("train --resume runs/taken --preset default", "preset"),
        ("train --resume runs/taken --steps 99 --text short.txt", "too short"),
        ("train --resume runs/taken --steps 99 --text other.txt", "another text"),
        ("sample nothing", "cannot be read"),
        ("sample nothing", "expected: the folder of a run"),
        ("sample runs/take", "try: runs/taken"),
        ("sample runs/taken --prime 日本", "leave it out of --prime"),
        ("cells runs/taken --text latin.txt", "another --text"),
        ("draw runs/taken --text latin.txt", "another --text"),
        ("sample runs/taken --temperature -1", "temperature"),
        ("sample runs/taken --length -1", "length"),
        ("sample runs/taken --prime ~", "not in the vocabulary"),
        ("sample runs/taken --seed -1", "seed"),
        ("sample runs/damaged", "cannot be used"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(line, said, capsys):
    Path("empty.txt").write_text("")
    Path("latin1.txt").write_bytes(b"caf\xe9 " * 100)
    Path("short.txt").write_text("abc")
    Path("one.txt").write_text("a" * 5000)
    Path("latin.txt").write_text("~~~~~~~~~~")
    Path("other.txt").write_text("the cat sat on the mat and saw the dog.\n" * 101)
    prepared = charlm.CharRun(
        charlm.CharOptions(text="cat.txt", hidden=3, layers=1, seq_length=6, batch=2, steps=1)
    )
    prepared.step = 1
    Path("runs/taken").mkdir(parents=True)
    prepared.save(f"runs/taken/{LAST}")
    Path("runs/damaged").mkdir()
    content = Path(f"runs/taken/{LAST}").read_bytes()
    Path(f"runs/damaged/{LAST}").write_bytes(content[:-3] + b"abc")
    before, folders = tree(), sorted(Path().rglob("*"))

    assert run(line) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert not captured.out  # nothing was announced
    for foreign in (
        "Traceback",
        "Errno",
        "save_checkpoint",
        "option ",
        "unknown=",
        "quantities=",
    ):
        assert foreign not in captured.err
    assert tree() == before
    assert sorted(Path().rglob("*")) == folders


@pytest.mark.parametrize(
    "line", ["", "train --hiden 3", "train --model transformer", "train --steps 1.5"]
)
def test_argparse_says_what_it_does_not_know(line, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(line)
    assert exit_.value.code == 2
    assert "usage:" in capsys.readouterr().err
    assert list(tree()) == ["cat.txt"]


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("trian", "train; "),
        ("smaple runs/x", "sample; "),
        ("zzz", ""),
        ("train --model lsmt", "lstm; "),
    ],
)
def test_a_misspelt_command_or_choice_is_answered_with_the_nearest(line, near, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(line)
    assert exit_.value.code == 2
    *_, wrong, advice = capsys.readouterr().err.splitlines()
    assert wrong.startswith("error: argument ")
    assert "invalid choice: " in wrong
    assert advice.startswith(f"  try: {near}python -m tinygrad_seq")
    assert list(tree()) == ["cat.txt"]


@pytest.mark.parametrize(
    ("line", "command", "near"),
    [
        ("train --minuts 3", "train", "--minutes"),
        ("train --modl=gru", "train", "--model"),
        ("train --run-nam x", "train", "--run-name"),
        ("sample runs/x --tempreature 1", "sample", "--temperature"),
        ("cells runs/x --zzz", "cells", ""),
    ],
)
def test_a_misspelt_option_is_answered_by_its_command(line, command, near, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(line)
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"usage: python -m tinygrad_seq {command}")
    *_, wrong, advice = said.splitlines()
    assert wrong.startswith("error: unrecognized arguments: --")
    start = f"  try: {near}; " if near else "  try: "
    assert advice == f"{start}python -m tinygrad_seq {command} --help"
    assert list(tree()) == ["cat.txt"]


def test_a_page_too_large_is_answered_with_an_option(capsys, monkeypatch):
    run(f"train --text cat.txt {SMALL} --run-name cat")
    monkeypatch.setattr("tinygrad_seq.celltext.page.MAX_BYTES", 10)
    monkeypatch.setattr("tinygrad_seq.celltext.cell_text", None)  # the text is not read
    capsys.readouterr()
    assert run("cells runs/cat --length 30 --out big.html") == 2
    said = capsys.readouterr().err
    assert "too large" in said and "--length" in said and "quantities=" not in said
    assert not Path("big.html").exists()


def test_what_is_said_at_the_end_can_be_typed(folder, capsys, monkeypatch):
    environment = folder / "my env" / "bin" / "python"
    environment.parent.mkdir(parents=True)
    environment.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(environment))
    assert run(f"train --text cat.txt {SMALL} --out r") == 0
    said = capsys.readouterr().out
    typed = shlex.quote(str(Path("my env/bin/python")))
    assert f"let it write: {typed} -m tinygrad_seq sample r\n" in said
    assert f"draw it: {typed} -m tinygrad_seq draw r " in said
    monkeypatch.setenv("PATH", str(environment.parent))
    assert words.own_command() == "python -m tinygrad_seq"
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.chdir(ROOT)
    assert words.own_command() == f"{shlex.quote(str(environment))} -m tinygrad_seq"


def test_a_missing_package_is_a_message(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    Path("run").mkdir()
    Path("run", LAST).write_bytes(b"anything")
    assert run("sample run") == 2
    said = capsys.readouterr().err
    assert "the package safetensors is missing" in said
    assert "try: the Python of that environment" in said and "pip install safetensors" in said


def test_a_missing_module_of_our_own_is_not_excused(monkeypatch):
    def broken(_):
        raise ModuleNotFoundError("no such module", name="tinygrad_seq.lost")

    with pytest.raises(ModuleNotFoundError):
        commands.guarded(broken, None)


def test_a_run_that_diverges_says_so_and_keeps_its_checkpoint(capsys, monkeypatch):
    real = charlm.CharRun.set_learning_rate

    def poison(self):
        if self.step == 5:
            self.model.head.bias.writable()[:] = float("nan")
        return real(self)

    monkeypatch.setattr(charlm.CharRun, "set_learning_rate", poison)
    assert run(f"train --text cat.txt {SMALL} --eval-every 2 --run-name r") == 2
    assert "not finite" in capsys.readouterr().err
    assert charlm.CharRun.resume("runs/r").step == 4


def test_help_lists_every_option(capsys):
    with pytest.raises(SystemExit):
        run("train --help")
    text = capsys.readouterr().out
    for name in charlm.CharOptions().to_dict():
        assert f"--{name.replace('_', '-')}" in text
    for preset in charlm.PRESETS:
        assert preset in text
    assert "bound method" not in text and "<" not in text


def test_python_m_runs_it():
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_seq", "--version"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("tinygrad_seq ")


def test_threads_are_told_and_left_alone(capsys, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert str(charlm.machine()).endswith("OPENBLAS_NUM_THREADS=1")
    assert charlm.machine().hint(128) == ""
    for name in list(os.environ):
        if name.endswith("_NUM_THREADS"):
            monkeypatch.delenv(name)
    environment = dict(os.environ)
    found = charlm.machine()
    assert "not set" in str(found)
    quiet = found._replace(cores=2, load=0.3)
    assert "OPENBLAS_NUM_THREADS=1" in quiet.hint(128)
    assert quiet.hint(256) == ""
    assert "load 3.0" in quiet._replace(load=3.0).hint(256)
    assert found._replace(cores=1).hint(128) == ""
    assert dict(os.environ) == environment
