"""Colours stay apart for everyone: lines, as colour blindness of three kinds shows them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tinygrad_seq.viz.picture.style import THEMES, HeatScale, _contrast, see_through

LINES = ("h", "c", "weight", "gradient", "attention", "line")
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
SEEN = {
    "all colours": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(color: str, sight: str) -> np.ndarray:
    """CIELAB of a colour as it is seen."""
    seen = np.clip(np.asarray(SEEN[sight]) @ linear(color), 0, 1)
    ratio = XYZ @ seen / XYZ.sum(axis=1)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(first: str, second: str, sight: str) -> float:
    return float(np.linalg.norm(lab(first, sight) - lab(second, sight)))


def test_the_measure_knows_what_colour_blindness_confuses():
    assert difference("#000000", "#ffffff", "deuteranopia") == pytest.approx(100, abs=0.5)
    pair = "#00705a", "#a3195b"  # a green and a magenta that look alike to one man in sixteen
    assert difference(*pair, "all colours") > 70
    assert difference(*pair, "deuteranopia") < 5


@pytest.mark.parametrize("sight", SEEN)
@pytest.mark.parametrize("theme", THEMES)
def test_lines_of_different_meaning_are_told_apart(theme, sight):
    colors = THEMES[theme]
    for first, second in itertools.combinations(LINES, 2):
        apart = difference(getattr(colors, first), getattr(colors, second), sight)
        assert apart >= 20, (first, second)  # about 2 is just noticed side by side


@pytest.mark.parametrize("theme", THEMES)
def test_lines_and_names_stand_out_from_every_background(theme):
    colors = THEMES[theme]
    for name in (*LINES, "ink", "faint"):
        for behind in (colors.background, colors.panel):
            assert _contrast(getattr(colors, name), behind) >= 4.5, (name, behind)
    fills = (colors.weight_fill, colors.gate_fill, colors.squash_fill, colors.output_fill)
    for fill in (*fills, colors.loss_fill, colors.h_fill, colors.c_fill, colors.box):
        assert _contrast(colors.ink, fill) >= 7, fill
    assert _contrast(colors.weight, colors.weight_fill) >= 4.5


@pytest.mark.parametrize("sight", SEEN)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("scale", ["heat", "alignment"])
def test_scales_rise_steadily_in_lightness_for_everyone(scale, theme, sight):
    shades = HeatScale(0.0, 1.0, getattr(THEMES[theme], scale), log=False)
    lightness = [lab(shades.color(v), sight)[0] for v in np.linspace(0, 1, 30)]
    steps = np.diff(lightness)
    assert (steps < 0.1).all() if lightness[0] > 50 else (steps > -0.1).all()
    assert abs(lightness[-1] - lightness[0]) > 40


def test_opacity_is_two_hexadecimal_digits():
    assert [see_through("#010203", share) for share in (-1, 0, 0.5, 1, 2)] == [
        "#01020300",
        "#01020300",
        "#01020380",
        "#010203ff",
        "#010203ff",
    ]
