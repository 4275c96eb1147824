"""A drawing as the last line of a notebook cell shows itself inline."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

DRAWN = """
import numpy as np
import tinygrad_seq as tgs
from tinygrad_seq import nn, viz

lstm = nn.LSTM(3, 4, num_layers=2, rng=np.random.default_rng(0))
y, state = lstm(np.ones((4, 2, 3), np.float32))
y.sum().draw(view="rolled")
"""
SHOWN = """
for view in ("rolled", "elided"):
    y.sum().draw(view=view).show()
"""
WITHOUT_RENDERER = """
import importlib.util, shutil

shutil.which = importlib.util.find_spec = lambda *_: None
y.sum().draw(view="rolled")
"""


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A notebook client whose kernel reads no settings of the user's and leaves none behind."""
    if not os.environ.get("CI"):  # there the test extra is installed, and so this must run
        for name in ("nbformat", "nbclient", "ipykernel"):
            pytest.importorskip(name, reason=f"no {name} (pip install '.[test]' brings it)")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    import nbclient
    import nbformat

    cells = [nbformat.v4.new_code_cell(source) for source in (DRAWN, SHOWN, WITHOUT_RENDERER)]
    root = Path(__file__).resolve().parent.parent
    return nbclient.NotebookClient(
        nbformat.v4.new_notebook(cells=cells),
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(root)}},
    )


def test_drawing_shows_inline_in_a_real_notebook_run(client):
    client.execute()
    shown = [
        [output for output in cell.outputs if output.output_type == "execute_result"]
        for cell in client.nb.cells
    ]
    ((picture,), (), (text,)) = shown
    outputs = client.nb.cells[1].outputs
    assert [output.output_type for output in outputs] == ["display_data"] * 2
    assert all("image/svg+xml" in output.data for output in outputs)
    svg = ET.fromstring(picture.data["image/svg+xml"].encode())
    assert svg.tag.endswith("svg")
    assert "LSTM 1" in {"".join(element.itertext()) for element in svg.iter()}
    assert "<Drawing 'rolled graph" in picture.data["text/plain"]
    # Without a renderer the plain text stands alone, and the cell does not fail.
    assert list(text.data) == ["text/plain"]
    assert "<Drawing 'rolled graph" in text.data["text/plain"]
