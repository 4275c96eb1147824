"""The demos run in their fast mode, say what they found, and leave a picture."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

DEMOS = Path(__file__).resolve().parents[1] / "demos"


def load(name, monkeypatch):
    monkeypatch.syspath_prepend(DEMOS)  # as when the script is run: demokit.py lies there
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMOS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def run(name, tmp_path, capsys, monkeypatch):
    """What the demo printed; its picture is checked to be one with something on it."""
    from matplotlib.image import imread

    path = tmp_path / "pictures" / f"{name}.png"
    assert load(name, monkeypatch).main(["--fast", "--out", str(path)]) == 0
    picture = imread(path)
    assert min(picture.shape[:2]) > 300
    levels = np.round(255 * picture[..., :3]).astype(np.uint32)
    colours = levels @ np.array([1, 256, 65536], np.uint32)  # one number each sorts at once
    assert len(np.unique(colours)) > 100
    printed = capsys.readouterr().out
    assert "Look for" in printed
    assert str(path) in printed
    return printed


def numbers_after(printed, label):
    (line,) = [line for line in printed.splitlines() if line.strip().startswith(label)]
    return [float(word) for word in line.strip().removeprefix(label).split()]


def test_tbptt(tmp_path, capsys, monkeypatch):
    printed = run("tbptt", tmp_path, capsys, monkeypatch)
    assert numbers_after(printed, "k2 = 1:") == [0.9, 0.18, 0.036]
    assert numbers_after(printed, "k2 = 2:") == [0.9, 0.36, 0.072]
    assert numbers_after(printed, "k2 = 3:") == [0.9, 0.36, 0.108]
    table = [line.split() for line in printed.splitlines() if line[:5].strip().isdigit()]
    errors = {(int(row[0]), int(row[1])): float(row[2]) for row in table}
    assert errors[4, 32] < 1e-12
    assert errors[32, 32] == 0.0
    assert errors[4, 4] > errors[4, 8] > errors[4, 16] > 1e-12


def test_clipping(tmp_path, capsys, monkeypatch):
    printed = run("clipping", tmp_path, capsys, monkeypatch)
    assert numbers_after(printed, "snippet") == [1.667, 1, 0.5, 0.1]
    norm_line = next(x for x in printed.splitlines() if x.startswith("by norm  "))
    assert [float(word) for word in norm_line.split()[2:]] == [3, 5, 5, 5]
    assert numbers_after(printed, "no clipping")[1] > 5  # thrown off the wall
    assert numbers_after(printed, "by norm, 0.1")[1] == pytest.approx(0.1)


def test_gradient_flow(tmp_path, capsys, monkeypatch):
    printed = run("gradient_flow", tmp_path, capsys, monkeypatch)
    lines = {line.strip() for line in printed.splitlines()}

    def verdict(start):
        (line,) = [line for line in lines if line.startswith(start)]
        return line

    assert "vanishes" in verdict("sigma_max 0.7")
    assert "explodes" in verdict("sigma_max 1.3, inputs of size 1e-08")
    assert "vanishes" in verdict("sigma_max 1.3, inputs of size 3")
    assert "vanishes" in verdict("sigma_max 0.9")  # by its rate, however few the steps
    assert "is carried" in verdict("sigma_max 1.0")
    assert "explodes" in verdict("sigma_max 1.1")
    assert "vanishes" in verdict("RNN  ")
    for line in lines:
        if found := re.search(r"(1%|100 times) after (\d+) steps", line):
            assert ("extrapolated" in line) == (int(found[2]) > 39)
    assert "carried" in verdict("LSTM, forget bias 5")


def test_long_lags(tmp_path, capsys, monkeypatch):
    printed = run("long_lags", tmp_path, capsys, monkeypatch)
    results = json.loads((tmp_path / "pictures" / "long_lags.json").read_text("utf-8"))
    assert len(results) == 3
    for title, curves in results.items():
        assert set(curves) == {"RNN", "LSTM", "LSTM chrono", "GRU chrono"}
        for name, curve in curves.items():
            best = min(loss for _, loss in curve)
            assert 0 < best < 1.5  # not even a good run gets below zero, nor a bad one far above 1
            (line,) = [x for x in printed.splitlines() if x.startswith(f"{title:32} {name:12} ")]
            assert line.endswith("sequences") == (best < 0.06)
        assert min(loss for _, loss in curves["LSTM"]) < 0.06


def percents(printed, label):
    (line,) = [line for line in printed.splitlines() if line.startswith(label)]
    return [float(word.rstrip("%:,")) for word in line.split() if word.rstrip(":,").endswith("%")]


def test_one_to_many(tmp_path, capsys, monkeypatch):
    printed = run("one_to_many", tmp_path, capsys, monkeypatch)
    sentences, words = percents(printed, "new images")
    assert sentences > 5  # one in 128 by chance
    assert words > 75
    shown = printed.split("Look for: ")[1]
    (never, _) = percents(printed, "pairs never shown")
    for share in (sentences, never):
        assert f"{share / 100:.0%} of " in shown
    assert "In the full run the first is nine in ten" in shown


def test_many_to_one(tmp_path, capsys, monkeypatch):
    printed = run("many_to_one", tmp_path, capsys, monkeypatch)
    after = percents(printed, "right after 39")
    assert min(after) > 60  # a third by chance
    said = re.search(r"told\s+right after 10 characters, (\d+)% after 39", printed)
    assert abs(int(said[1]) - sum(after) / 3) <= 1


def test_many_to_many(tmp_path, capsys, monkeypatch):
    printed = run("many_to_many", tmp_path, capsys, monkeypatch)
    (one_way,), (both,) = percents(printed, "left to right"), percents(printed, "both directions")
    assert both > one_way > 50
    assert f"{one_way}% from left to right and {both}% in both" in printed


def test_seq2seq_attention(tmp_path, capsys, monkeypatch):
    printed = run("seq2seq_attention", tmp_path, capsys, monkeypatch)
    assert percents(printed, "with attention")[0] > 80  # of dates never seen, whole and right
    assert percents(printed, "without")[0] < 10
    rows = [line.split() for line in printed.splitlines() if "=  " in line]
    assert len(rows) == 6
    assert "<svg" in (tmp_path / "pictures" / "seq2seq_attention-one.svg").read_text("utf-8")
    assert sum(greedy == beam for _, greedy, beam, *_ in rows) >= 5


def test_unrolled(tmp_path, capsys, monkeypatch):
    printed = run("unrolled", tmp_path, capsys, monkeypatch)
    after = printed.split("after training")[1].splitlines()[2:6]
    assert [line.split()[1] for line in after] == list("hell")
    assert [line.split()[-2] for line in after] == list("ello")
    assert "0 1 0 0" in after[0]  # h among e, h, l, o
    for name in ("unrolled-untrained.png", "unrolled-rolled.png", "unrolled-ops.png"):
        assert (tmp_path / "pictures" / name).stat().st_size > 10_000
    assert "<svg" in (tmp_path / "pictures" / "unrolled.html").read_text("utf-8")


def test_every_demo_is_run_here():
    names = {path.stem for path in DEMOS.glob("*.py")} - {"demokit", "gallery", "lecture"}
    elsewhere = {"char_lm"}  # tests/test_char_lm.py
    assert names - elsewhere == {
        name.removeprefix("test_")
        for name in globals()
        if name.startswith("test_") and "every" not in name
    }


@pytest.mark.skipif(shutil.which("make") is None, reason="make, which lists the demos, is missing")
def test_every_demo_that_make_runs_knows_the_fast_mode(capsys, monkeypatch):
    command = ["make", "--dry-run", "demos", "ARGS=--fast"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    asked = subprocess.run(
        command, cwd=DEMOS.parent, env=environment, capture_output=True, text=True, check=True
    )
    (listed,) = re.findall(r"for demo in ([^;]*);", asked.stdout)
    assert "$demo --fast" in asked.stdout
    names = [Path(name).stem for name in listed.split()]
    assert {"char_lm", "tbptt", "unrolled"} <= set(names)
    for name in names:
        with pytest.raises(SystemExit) as exit_:
            load(name, monkeypatch).main(["--fast", "--help"])
        assert exit_.value.code == 0
        assert "--fast" in capsys.readouterr().out
