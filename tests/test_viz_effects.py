"""What a drawing leaves behind: nothing but text. And what that text says of every node."""

from __future__ import annotations

import gc
import inspect
import weakref
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import viz
from tinygrad_seq.engine.mode import current_mode
from tinygrad_seq.engine.node import nodes_behind


def run(draws: bool, fused: bool):
    """Two updates' worth of loss, gradients and dropout masks, with or without drawings between."""
    model = Model("LSTM", 2)
    model.rnn.dropout.p = 0.5
    found = []
    for _ in range(2):
        trace = viz.Trace()
        if fused:
            logits, state = model(tokens(6))
            loss = tgs.cross_entropy(logits, tokens(6))
        else:
            with tgs.composed(), tgs.observe(trace):
                logits, state = model(tokens(6))
                loss = tgs.cross_entropy(logits, tokens(6))
        for before in (True, False):
            if draws:
                for view in ("unrolled", "elided", "rolled"):
                    for level in ("module", "cell", "op"):
                        viz.draw([loss, state.h], view=view, level=level, trace=trace)
                viz.draw(loss, direction="both", depth=1).svg()
            if before:
                loss.backward()
        found += [loss.numpy(), *(p.grad.copy() for p in model.parameters())]
        modes = [module.training for module in model.modules()]
        found += [np.array(modes), *(p.numpy() for p in model.parameters())]
        model.zero_grad()
    return found, model


@pytest.mark.parametrize("fused", [True, False])
def test_a_run_with_drawings_in_it_is_the_same_run(fused):
    np.random.seed(3)  # noqa: NPY002  (the global state, which nothing may touch)
    mode, state = current_mode.get(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    plain, first = run(False, fused)
    drawn, second = run(True, fused)
    assert len(plain) == len(drawn) > 10
    for one, other in zip(plain, drawn, strict=True):
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
    for name, rng in first.generators().items():
        assert rng.bit_generator.state == second.generators()[name].bit_generator.state
    assert current_mode.get() is mode
    assert np.random.get_state()[1].tobytes() == state  # noqa: NPY002


def test_a_failed_drawing_changes_nothing_either():
    model, x = Model("RNN"), tokens(3)
    model.rnn.dropout.p = 0.5
    states = {name: rng.bit_generator.state for name, rng in model.generators().items()}
    mode = current_mode.get()

    def fails(out):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        viz.draw_model(model, x, loss=fails)
    assert current_mode.get() is mode
    assert {n: rng.bit_generator.state for n, rng in model.generators().items()} == states
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_no_array_outlives_its_graph_in_a_drawing(fused):
    model, trace = Model("LSTM", 1), viz.Trace()
    with tgs.observe(trace):
        if fused:
            loss = tgs.cross_entropy(model(tokens(4))[0], tokens(4))
        else:
            with tgs.composed():
                loss = tgs.cross_entropy(model(tokens(4))[0], tokens(4))
        loss.backward()
    arrays = [weakref.ref(p.data) for p in model.parameters() if p.data.base is None]
    arrays += [weakref.ref(p.grad) for p in model.parameters()]
    nodes = [weakref.ref(p.node) for p in model.parameters()] + [weakref.ref(loss.node)]
    drawings = [
        viz.draw(loss, view=view, level=level, trace=trace)
        for view in ("unrolled", "elided", "rolled")
        for level in ("module", "cell", "op")
    ]
    for drawing in drawings[:3]:
        assert drawing.html()
    del model, loss
    gc.collect()
    assert len(nodes) > 4 and not any(ref() is not None for ref in [*arrays, *nodes])
    assert all(drawing.dot for drawing in drawings) and trace.values


def titles(svg: str) -> dict[str, str]:
    """Tooltips of nodes by id, from the SVG's own title elements."""
    root = ET.fromstring(svg.encode())
    space = "{http://www.w3.org/2000/svg}"
    found = {}
    for group in root.iter(f"{space}g"):
        title = group.find(f"{space}title")
        if (group.get("id") or "").startswith("n:") and title is not None:
            found[group.get("id", "")[2:]] = title.text or ""
    return found


@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_tooltips_tell_operation_shape_norms_and_source_line(level):
    trace, model = viz.Trace(), Model("LSTM", 1)
    with tgs.composed(), tgs.observe(trace):
        logits, _ = model(tokens(3))
        loss = tgs.cross_entropy(logits, tokens(3))
        loss.backward()
    said = titles(viz.draw(loss, level=level, trace=trace).svg())
    name = {"module": "rnn[0]@1", "cell": "rnn[0]@1:h", "op": "rnn[0]@1:h"}[level]
    node = next(
        node for node in nodes_behind([loss.node]) if node.role == "h" and node.scope.step == 1
    )
    text = said[name]
    assert "multiply" in text  # h = o * tanh(c)
    assert "shape 2 × 3 float32" in text
    assert f"|h| = {trace.values[node.seq]:.3g}"[:10] in text
    assert f"|∂L/∂h| = {trace.gradients[node.seq]:.3g}"[:13] in text
    assert f"viz_models.py:{source_line()}" in text  # the innermost line outside the package


def source_line() -> int:
    """The line of the shared model that calls its recurrent layer."""
    lines, start = inspect.getsourcelines(Model.forward)
    return start + next(i for i, line in enumerate(lines) if "self.rnn(" in line)


def test_composed_loss_has_a_line_of_its_own():
    trace, model = viz.Trace(), Model("RNN", 1)
    loss, _ = composed_loss(model, 2, trace=trace)
    said = titles(viz.draw(loss, trace=trace).svg())
    lines, start = inspect.getsourcelines(composed_loss)
    line = start + next(i for i, text in enumerate(lines) if "cross_entropy(" in text)
    assert f"viz_models.py:{line}" in said["@1"]
    assert f"viz_models.py:{source_line()}" in said["rnn[0]@1"]
