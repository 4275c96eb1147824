"""A drawing as the last line of a notebook cell shows itself inline."""

from __future__ import annotations

from pathlib import Path

import pytest

SOURCE = """
import numpy as np
import tinygrad_seq as tgs
from tinygrad_seq import nn, viz

lstm = nn.LSTM(3, 4, num_layers=2, rng=np.random.default_rng(0))
y, state = lstm(np.ones((4, 2, 3), np.float32))
y.sum().draw(view="rolled")
"""


def test_drawing_shows_inline_in_a_real_notebook_run():
    nbformat = pytest.importorskip("nbformat", reason="no notebook stack (pip install nbclient)")
    nbclient = pytest.importorskip("nbclient", reason="no notebook stack (pip install nbclient)")
    pytest.importorskip("ipykernel", reason="no notebook kernel (pip install ipykernel)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    root = Path(__file__).resolve().parent.parent
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(root)}}
    )
    client.execute()
    (output,) = [o for o in notebook.cells[0].outputs if o.output_type == "execute_result"]
    picture = output.data["image/svg+xml"]
    assert "LSTM 1" in picture
    assert picture.rstrip().endswith("</svg>")
    assert "<Drawing 'rolled graph" in output.data["text/plain"]
