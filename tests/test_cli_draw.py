"""``python -m tinygrad_seq draw``: any view of a trained model, and mistakes that cost nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_seq import charlm
from tinygrad_seq.charlm import commands
from tinygrad_seq.charlm.run import BEST, LAST
from tinygrad_seq.data import split_text

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def run_folder(tmp_path, monkeypatch):
    """A run of two small layers, saved as training would have saved it."""
    monkeypatch.chdir(tmp_path)
    Path("cat.txt").write_text("the cat sat on the mat and saw the dog.\n" * 100)
    options = charlm.CharOptions(text="cat.txt", hidden=5, layers=2, dropout=0.5, steps=1)
    prepared = charlm.CharRun(options)
    prepared.step = 1
    Path("runs/cat").mkdir(parents=True)
    for name in (BEST, LAST):
        prepared.save(f"runs/cat/{name}")
    return Path("runs/cat")


def draw(line):
    return commands.main(["draw", *line.split()])


def tree():
    return {str(p): p.read_bytes() for p in Path().rglob("*") if p.is_file()}


def test_default_drawing_goes_beside_the_checkpoint(run_folder, capsys):
    before = tree()
    assert draw("runs/cat") == 0
    assert "unrolled graph, module level, 5 time steps: runs/cat/unrolled-module.svg" in (
        capsys.readouterr().out.replace(os.sep, "/")
    )
    after = tree()
    text = after.pop(str(run_folder / "unrolled-module.svg")).decode("utf-8")
    assert after == before
    assert "LSTM 1" in text and "|∂L/∂h|" in text and "dropout" not in text
    assert draw(f"runs/cat/{LAST} --out again.svg") == 0
    assert Path("again.svg").read_text("utf-8") == text


def test_characters_are_those_that_were_read_and_came_next():
    text = split_text(Path("cat.txt").read_text(), charlm.CharOptions().validation)[1][:5]
    assert draw("runs/cat --steps 4 --characters --out a.gv") == 0
    dot = Path("a.gv").read_text("utf-8")
    for of, letters in (("x", text[:-1]), ("y", text[1:])):
        found = re.findall(rf'^\s*"label:{of}0@\d" .*? label="(.)"', dot, re.M)
        assert "".join(found) == letters.replace(" ", "␣").replace("\n", "↵")


@pytest.mark.parametrize(
    ("line", "shown", "hidden"),
    [
        ("--view rolled --level cell", ["z⁻¹", ">f  σ<"], []),
        ("--view elided --steps 30", ["30 time steps", "27 steps"], ["t = 17"]),
        ("--steps 2 --level op --weights labels", ["σ", "weight_hh_l1"], ["t = 2<"]),
        ("--steps 3 --title Cat --no-legend", [">Cat</text>"], ["log scale"]),
        ("--rankdir TB --font Courier --width 6", ['<svg width="432pt"', '"Courier,'], []),
        ("--direction both --theme dark", ["← gradient", "#14181d"], []),
        ("--direction both --level cell --steps 2", ["← gradient", ">f  σ<"], []),
        ("--depth 0", [">model<"], ["LSTM"]),
        ("--depth 1 --level cell", ["LSTM 1"], [">f  σ<"]),
        ("--no-gradients", ["LSTM 1"], ["∂L"]),
        ("--weights hidden", ["LSTM 1"], ["used 5 times"]),
    ],
)
def test_options_reach_the_drawing(line, shown, hidden):
    assert draw(f"runs/cat {line} --out a.gv") == 0
    assert draw(f"runs/cat {line} --out a.svg") == 0
    text = Path("a.svg").read_text("utf-8").replace("&#160;", " ").replace("\xa0", " ")
    dot = Path("a.gv").read_text("utf-8")
    assert dot.startswith("digraph")
    for part in shown:
        assert part in text or part in dot
    for part in hidden:
        assert part not in text and part not in dot


def test_every_format(capsys):
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF", "html": b"<!DOCTYPE"}
    for kind, start in starts.items():
        assert draw(f"runs/cat --steps 1 --out picture.{kind}") == 0
        assert Path(f"picture.{kind}").read_bytes().startswith(start)
    assert "1 time steps" not in capsys.readouterr().out


def test_text_is_what_the_model_reads():
    Path("dog.txt").write_text("dog")
    Path("odd.txt").write_text("dot")
    for name in ("dog", "odd"):
        assert draw(f"runs/cat --text {name}.txt --out {name}.gv") == 0
    one, other = (Path(f"{name}.gv").read_text("utf-8") for name in ("dog", "odd"))
    assert "2 time steps" in one and one != other  # other targets give other gradients


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nothing", "cannot be read"),
        ("runs", "no checkpoint"),
        ("cat.txt", "cannot be used"),
        ("runs/cat --out a.jpeg", ".svg, .png, .pdf, .html, .gv"),
        ("runs/cat --out a", "no suffix"),
        ("runs/cat --out no/folder/a.svg", "a folder that exists"),
        ("runs/cat --out runs.svg", "cannot be written"),
        ("runs/cat --steps 0", "--steps"),
        ("runs/cat --depth -1", "depth"),
        ("runs/cat --text none.txt", "no file"),
        ("runs/cat --text short.txt", "at least 2 characters"),
        ("runs/cat --text other.txt", "not in the vocabulary"),
        ("runs/cat --level op --steps 60", "view='elided'"),
    ],
)
def test_mistakes_are_explained_and_change_nothing(line, said, capsys):
    Path("short.txt").write_text("t")
    Path("other.txt").write_text("~~~~~~~~~~")
    Path("runs.svg").mkdir()
    before = tree()
    assert draw(line) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert "Traceback" not in captured.err and not captured.out
    assert tree() == before


def test_unknown_choices_are_named(capsys):
    for line in ("--view spiral", "--level atom", "--theme pink", "--steps two"):
        with pytest.raises(SystemExit) as exit_:
            draw(f"runs/cat {line}")
        assert exit_.value.code == 2
        assert line.split()[1] in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit):
        draw("--help")
    text = capsys.readouterr().out
    for option in ("out", "text", "steps", "view", "level", "depth", "direction", "weights"):
        assert f"--{option}" in text
    for word in ("rolled", "elided", "cell", "beside the checkpoint", ".html"):
        assert word in text


def test_without_a_renderer_the_dot_text_is_kept(run_folder, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert draw("runs/cat") == 2
    told = capsys.readouterr().err
    assert "pip install pygraphviz" in told and "unrolled-module.gv" in told
    assert (run_folder / "unrolled-module.gv").read_text("utf-8").startswith("digraph")
    assert not (run_folder / "unrolled-module.svg").exists()


def test_the_same_command_gives_the_same_bytes_in_another_process():
    texts = set()
    for seed in ("0", "7"):
        subprocess.run(
            [sys.executable, "-m", "tinygrad_seq", "draw", "runs/cat", "--out", f"{seed}.gv"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        )
        texts.add(Path(f"{seed}.gv").read_text("utf-8"))
    assert len(texts) == 1
