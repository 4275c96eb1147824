"""Drawings: what every one of them must be, whatever it shows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import ConfigError, GraphError, RenderError


class Model(nn.Module):
    """Tokens to logits through a recurrent layer and a readout."""

    def __init__(self, kind: str = "LSTM", layers: int = 1, vocab: int = 5, hidden: int = 3):
        super().__init__()
        rng = np.random.default_rng(0)
        self.rnn = getattr(nn, kind)(vocab, hidden, num_layers=layers, rng=rng)
        self.head = nn.Linear(hidden, vocab, rng=rng)

    def forward(self, tokens, state=None):
        y, state = self.rnn(tokens, state)
        return self.head(y), state


def tokens(steps: int, batch: int = 2, vocab: int = 5) -> np.ndarray:
    return np.random.default_rng(1).integers(0, vocab, (steps, batch))


def composed_loss(model: Model, steps: int, state=None, trace=None):
    with tgs.composed():
        if trace is None:
            logits, last = model(tokens(steps), state)
            return tgs.cross_entropy(logits, tokens(steps)), last
        with tgs.observe(trace):
            logits, last = model(tokens(steps), state)
            loss = tgs.cross_entropy(logits, tokens(steps))
            loss.backward()
            return loss, last


def test_an_unrolled_lstm_has_a_column_per_step_and_each_cell_once():
    loss, _ = composed_loss(Model(layers=2), 3)
    text = viz.draw(loss).dot
    assert [text.count(f'subgraph "cluster_t{t}"') for t in range(4)] == [1, 1, 1, 0]
    for layer in range(2):
        for t in range(3):
            assert text.count(f'\n  "rnn[{layer}]@{t}" [') == 1


def test_drawing_renders_to_every_format(tmp_path):
    loss, _ = composed_loss(Model(), 2)
    drawing = loss.draw()
    assert drawing.save(tmp_path / "a.svg").read_text("utf-8").rstrip().endswith("</svg>")
    assert drawing.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert drawing.save(tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    assert drawing.save(tmp_path / "a.gv").read_text("utf-8") == drawing.dot
    assert "LSTM 0" in drawing._repr_svg_()


def test_unknown_suffix_names_the_known_ones(tmp_path):
    loss, _ = composed_loss(Model(), 2)
    with pytest.raises(ConfigError, match=r"\.svg, \.png, \.pdf, \.gv"):
        loss.draw().save(tmp_path / "a.jpeg")


def test_a_constant_cannot_be_drawn():
    with pytest.raises(GraphError, match="nothing was recorded"):
        viz.draw(tgs.tensor([1.0]))


def test_no_renderer_names_both_cures_and_keeps_the_dot_text(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    loss, _ = composed_loss(Model(), 2)
    drawing = loss.draw()
    with pytest.raises(RenderError, match=r"pip install pygraphviz.*or install Graphviz") as caught:
        drawing.save(tmp_path / "a.svg")
    assert "a.gv" in str(caught.value)
    assert (tmp_path / "a.gv").read_text("utf-8") == drawing.dot
    assert not (tmp_path / "a.svg").exists()
    assert drawing._repr_svg_() is None


def test_drawing_holds_no_node_and_no_tensor():
    import gc
    import weakref

    loss, _ = composed_loss(Model(), 2)
    node = weakref.ref(loss.node)
    drawing = loss.draw()
    del loss
    gc.collect()
    assert node() is None
    assert drawing.dot


def test_drawing_changes_nothing():
    model = Model()
    model.rnn.dropout.p = 0.5
    x = tokens(3)
    before = {name: value.copy() for name, value in model.state_dict().items()}
    states = {name: rng.bit_generator.state for name, rng in model.generators().items()}
    mode = tgs.engine.mode.current_mode.get()
    viz.draw_model(model, x, loss=lambda out: tgs.cross_entropy(out[0], x))
    assert tgs.engine.mode.current_mode.get() == mode
    assert all(p.grad is None for p in model.parameters())
    assert {name: rng.bit_generator.state for name, rng in model.generators().items()} == states
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_importing_viz_loads_no_renderer():
    code = (
        "import sys, tinygrad_seq.viz; "
        "print([m for m in ('graphviz', 'pygraphviz', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
