"""The demos run in their fast mode, say what they found, and leave a picture."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

DEMOS = Path(__file__).resolve().parents[1] / "demos"


def load(name):
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMOS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, tmp_path, capsys):
    """What the demo printed; its picture is checked to be one with something on it."""
    from matplotlib.image import imread

    path = tmp_path / "pictures" / f"{name}.png"
    assert load(name).main(["--fast", "--out", str(path)]) == 0
    picture = imread(path)
    assert picture.shape[0] > 300
    assert picture.shape[1] > 300
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 100
    printed = capsys.readouterr().out
    assert "Look for" in printed
    assert str(path) in printed
    return printed


def numbers_after(printed, label):
    (line,) = [line for line in printed.splitlines() if line.strip().startswith(label)]
    return [float(word) for word in line.strip().removeprefix(label).split()]


def test_tbptt(tmp_path, capsys):
    printed = run("tbptt", tmp_path, capsys)
    assert numbers_after(printed, "k2 = 1:") == [0.9, 0.18, 0.036]
    assert numbers_after(printed, "k2 = 2:") == [0.9, 0.36, 0.072]
    assert numbers_after(printed, "k2 = 3:") == [0.9, 0.36, 0.108]
    table = [line.split() for line in printed.splitlines() if line[:5].strip().isdigit()]
    errors = {(int(row[0]), int(row[1])): float(row[2]) for row in table}
    assert errors[4, 48] < 1e-12
    assert errors[48, 48] == 0.0
    assert errors[4, 4] > errors[4, 16] > errors[4, 32] > 1e-12


def test_clipping(tmp_path, capsys):
    printed = run("clipping", tmp_path, capsys)
    assert numbers_after(printed, "snippet") == [1.667, 1, 0.5, 0.1]
    norm_line = next(x for x in printed.splitlines() if x.startswith("by norm  "))
    assert [float(word) for word in norm_line.split()[2:]] == [3, 5, 5, 5]
    assert numbers_after(printed, "no clipping")[1] > 5  # thrown off the wall
    assert numbers_after(printed, "by norm, 0.1")[1] == pytest.approx(0.1)


def test_gradient_flow(tmp_path, capsys):
    printed = run("gradient_flow", tmp_path, capsys)
    lines = {line.strip() for line in printed.splitlines()}

    def verdict(start):
        (line,) = [line for line in lines if line.startswith(start)]
        return line

    assert "vanishes" in verdict("sigma_max 0.7")
    assert "explodes" in verdict("sigma_max 1.3, inputs of size 1e-08")
    assert "vanishes" in verdict("sigma_max 1.3, inputs of size 3")
    assert "vanishes" in verdict("RNN")
    assert "carried" in verdict("LSTM, forget bias 5")
