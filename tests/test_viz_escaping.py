"""Names chosen by users are drawn literally, whatever is in them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz

NASTY = [
    '"><script>alert(1)</script>',
    "quote ' and \" and {brace|bar}",
    "back\\slash \\N \\G \\l \\n end\\",
    "&amp; &lt; &#60; & <b>bold</b>",
    "Zeitreihe ü, 時間, время, ⊙",
    "two\nlines\tand tab \x1b[31m",
    "[0]@1:h",
    "]]> --> <!-- <![CDATA[",
    "%s %d {0} $HOME",
]


def texts_of(svg: str) -> tuple[set[str], list[str]]:
    """All shown texts and tooltips, and all element names, of an SVG that must parse."""
    root = ET.fromstring(svg)
    shown = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    for element in root.iter():
        shown |= {value for key, value in element.attrib.items() if key.endswith("title")}
    shown = {text.replace("\xa0", " ") for text in shown}  # how Graphviz keeps two blanks apart
    return shown, [element.tag.rpartition("}")[2] for element in root.iter()]


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_names_of_modules_and_parameters_are_drawn_literally(name, level):
    cell = nn.LSTMCell(2, 3, rng=np.random.default_rng(0))
    for parameter in cell.parameters():
        parameter.name = f"{name}.{parameter.name}"
    state = None
    for t in range(2):
        with tgs.scope(path=name, layer=0, step=t):
            state = cell(np.ones((1, 2), np.float32), state)
    with tgs.scope(path=name):
        total = state[0].sum() * 2
    svg = viz.draw(total, level=level, weights="once").svg()
    shown, tags = texts_of(svg)
    flat = name.translate(dict.fromkeys(range(32), " "))
    assert any(flat.strip() in text for text in shown), shown
    assert "script" not in tags
    assert not any(tag.lower() in {"b", "image", "foreignobject"} for tag in tags)


@pytest.mark.parametrize("name", NASTY)
def test_names_in_a_graph_without_time_are_drawn_literally(name):
    w = tgs.tensor([1.0, 2.0], requires_grad=True)
    w.name = name
    shown, tags = texts_of(viz.draw((w * w).sum()).svg())
    assert name.translate(dict.fromkeys(range(32), " ")) in shown
    assert "script" not in tags
