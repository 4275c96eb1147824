"""Drawings: what every one of them must be, whatever it shows."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import viz
from tinygrad_seq.errors import ConfigError, GraphError, RenderError
from tinygrad_seq.viz.picture.style import number


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
    with pytest.raises(ConfigError, match=r"\.svg, \.png, \.pdf, \.html, \.gv"):
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


def test_too_many_items_are_refused_with_advice():
    loss, _ = composed_loss(Model(), 40)
    with pytest.raises(RenderError, match=r"items(.|\n)*max_items=100(.|\n)*view='elided'"):
        viz.draw(loss, max_items=100)
    assert viz.draw(loss, view="elided", max_items=100).dot
    with pytest.raises(RenderError, match=r"40 items or more(.|\n)*40 time steps"):
        viz.draw(loss, max_items=39)  # told by the steps alone


@pytest.mark.parametrize(
    ("option", "value"),
    [("view", "spiral"), ("level", "atom"), ("theme", "pink"), ("weights", "all")],
)
def test_unknown_options_name_the_known_ones(option, value):
    loss, _ = composed_loss(Model(), 2)
    with pytest.raises(ConfigError, match=f"draw: {option}(.|\n)*expected: '"):
        viz.draw(loss, **{option: value})


def test_gradients_beside_need_room():
    loss, _ = composed_loss(Model(), 2)
    for refused in ({"level": "op"}, {"level": "cell", "view": "rolled"}):
        with pytest.raises(ConfigError, match="level='module' or 'cell'"):
            viz.draw(loss, direction="both", **refused)


def test_model_without_a_loss_is_drawn_from_its_outputs():
    drawing = viz.draw_model(Model("RNN", 2), tokens(3), view="rolled")
    assert drawing.dot.count('class="delay"') == 2
    assert "∂L" not in drawing.dot


def test_model_with_a_loss_shows_gradient_norms():
    x = tokens(3)
    model = Model("LSTM", 1)
    text = viz.draw_model(model, x, loss=lambda out: tgs.cross_entropy(out[0], x)).dot
    assert text.count("|∂L/∂c|") >= 3
    assert "gradient norm, log scale" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_heat_is_legible_everywhere_on_the_scale(theme):
    from tinygrad_seq.viz.picture.style import THEMES, HeatScale, _contrast

    colors = THEMES[theme]
    heat = HeatScale(1e-4, 1.0, colors.heat)
    steps = np.logspace(-4, 0, 50)
    assert min(_contrast(heat.color(v), heat.text(v)) for v in steps) >= 4.5
    inks = (colors.h, colors.c, colors.weight, colors.gradient, colors.attention)
    for ink in (*inks, colors.ink, colors.faint):
        assert _contrast(ink, colors.background) >= 4.5


def test_clipping_is_drawn_as_before_factor_after():
    from tinygrad_seq import optim

    model, trace = Model("RNN"), viz.Trace()
    loss, _ = composed_loss(model, 3, trace=trace)
    report = optim.clip_grad_norm_(model.parameters(), 0.1)
    text = viz.draw(loss, trace=trace, clip=report).dot
    assert report.factor < 1
    assert f"clipped: |g| before {number(report.norm)}" in text
    assert f"× {number(report.factor)} = after 0.100" in text
    before, after = (
        float(re.search(rf'width=([\d.]+), .*tooltip="{word}: ', text)[1])
        for word in ("before", "after")
    )
    assert after / before == pytest.approx(report.factor, abs=0.01)
    kept = optim.clip_grad_norm_(model.parameters(), 10.0)
    assert "not clipped: |g| = 0.100" in viz.draw(loss, trace=trace, clip=kept).dot


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.02, "0.0200"), (0.00812, "0.0081"), (0.1, "0.100"), (1.0, "1.00"),
     (12.345, "12.3"), (640.0, "640"), (1234.0, "1.2e3"), (0.00019, "1.9e-4"),
     (float("inf"), "inf")],
)  # fmt: skip
def test_norms_read_alike_in_a_row(value, text):
    assert number(value) == text


def test_weights_drawn_as_labels_are_named_in_the_key():
    model = Model("LSTM", 2)  # held: leaves know their names while it lives
    loss, _ = composed_loss(model, 3)
    text = viz.draw(loss, weights="labels").dot
    assert 'label="W₁: rnn, layer 1 (weight_xh_l1, weight_hh_l1, bias_l1)"' in text
    assert 'label="W₂: head (weight, bias)"' in text
    assert text.count('label="W₂"') == 3
    assert "W₀" not in viz.draw(loss).dot + viz.draw(loss, weights="hidden").dot
