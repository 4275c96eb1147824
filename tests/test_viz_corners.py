"""Corners of drawings: what is rarely drawn must still be drawn right, or refused clearly."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import ConfigError, GraphError
from tinygrad_seq.viz import trace as tracing
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.weights import bundle_weights
from tinygrad_seq.viz.layout.block import Block
from tinygrad_seq.viz.picture.shapes import Line, Shape, Wire
from tinygrad_seq.viz.picture.style import HeatScale


def test_a_block_moves_and_mirrors_with_all_that_is_in_it():
    shape = Shape("a", 1.0, 2.0, 10, 10, [])
    wire = Wire("a", "b", [(0.0, 0.0), (5.0, 1.0)], (6.0, 1.0), "black", label=Line("h"))
    wire.label_at = (3.0, 4.0)
    plain = Wire("a", "b", [(1.0, 1.0)], None, "black")
    block = Block(10, 10, [shape], [wire, plain], {"x:": (0.0, -5.0)})
    block.place(100.0, 10.0)
    assert (shape.x, shape.y) == (101.0, 12.0)
    assert wire.points == [(100.0, 10.0), (105.0, 11.0)]
    assert wire.tip == (106.0, 11.0) and wire.label_at == (103.0, 14.0)
    assert plain.tip is None and plain.points == [(101.0, 11.0)]
    assert block.anchor("a", "x:") == block.anchor("a", "no such port") == (100.0, 5.0)
    block.mirror()
    assert (shape.x, wire.tip, wire.label_at) == (-101.0, (-106.0, 11.0), (-103.0, 14.0))
    assert block.anchors["x:"] == (-100.0, 5.0)


def test_heat_places_zero_infinity_and_nan_at_its_ends():
    heat = HeatScale(1e-3, 10.0, ("#ffffff", "#000000"))
    assert [heat.position(v) for v in (0.0, 1e-9, 1e9)] == [0.0, 0.0, 1.0]
    assert heat.position(math.inf) == heat.position(math.nan) == 1.0
    assert heat.position(0.1) == pytest.approx(0.5)
    assert HeatScale(2.0, 2.0, ("#ffffff", "#000000")).position(2.0) == 0.5


def test_empty_arrays_have_a_norm():
    w, trace = tgs.tensor(np.ones((0, 3), np.float32), requires_grad=True), viz.Trace()
    with tgs.observe(trace):
        y = w * 2
    assert trace.values[y.node.seq] == 0.0


def test_sources_end_at_the_outermost_frame():
    """A program that is all package (a command) names its own start rather than nothing."""
    scope = {"caller": tracing._caller}
    code = "def inner():\n    return caller()\ndef outer():\n    return inner()\nfound = outer()\n"
    exec(compile(code, tracing._PACKAGE + "made_up.py", "exec"), scope)
    assert scope["found"].startswith("test_viz_corners.py:")


def test_no_rule_alone_tells_what_a_fused_use_adds():
    model, trace = Model("RNN", 1), viz.Trace()
    with tgs.observe(trace):
        logits, _ = model(tokens(3))
        tgs.cross_entropy(logits, tokens(3)).backward()
    leaves = {leaf for _, leaf in trace.contributions}
    assert leaves == {model.head.weight.node.seq, model.head.bias.node.seq}


def test_norm_of_all_weights_is_left_out_when_some_are_not_known():
    trace, model = viz.Trace(), Model("RNN", 1)
    loss, _ = composed_loss(model, 3, trace=trace)
    norms = []
    for parameter in (model.rnn.weight_xh_l0, model.rnn.weight_hh_l0, model.rnn.bias_l0):
        bundled = bundle_weights(build([loss.node], trace=trace))
        norms.append(bundled.items["weights:rnn[0]"].gradients.get("W"))
        trace.collected(parameter.node, parameter.grad)
    bundled = bundle_weights(build([loss.node], trace=trace))
    assert norms == [None, None, None]
    parts = [np.linalg.norm(p.grad) for p in model.rnn.parameters()]
    total = bundled.items["weights:rnn[0]"].gradients["W"]
    assert total.high == pytest.approx(np.linalg.norm(parts), rel=1e-6)


def test_modules_without_time_are_named_in_their_boxes():
    rng = np.random.default_rng(0)
    net = nn.Sequential([nn.Linear(3, 4, rng=rng), nn.Linear(4, 2, rng=rng)])
    text = viz.draw(net(np.ones((2, 3), np.float32)).sum()).dot
    assert ">linear<" in text and ">0<" in text and ">1<" in text
    assert "layout=nop2" not in text  # Graphviz ranks it


def test_a_freed_layer_with_constant_weights_is_drawn_step_by_step():
    layer = nn.RNN(3, 4, rng=np.random.default_rng(0))
    _, weight_hh, bias = layer.layer_weights(0)
    frozen = np.ones((3, 4), np.float32)
    x, h0 = np.ones((5, 2, 3), np.float32), np.zeros((2, 4), np.float32)
    y, _ = tgs.rnn_sequence(x, h0, frozen, weight_hh, bias)
    loss = y.sum()
    assert build_steps(loss) == 5
    loss.backward()
    assert build_steps(loss) == 5


def build_steps(loss) -> int:
    return viz.draw(loss, level="cell").dot.count('subgraph "cluster_t')


def test_repr_says_what_it_is():
    loss, _ = composed_loss(Model(), 2)
    drawing = loss.draw(view="rolled")
    assert repr(drawing) == (
        f"<Drawing 'rolled graph, module level, 2 time steps', {len(drawing.dot):,} "
        "characters of DOT>"
    )


def test_a_place_that_cannot_be_written_to_is_refused_clearly(tmp_path):
    loss, _ = composed_loss(Model(), 2)
    with pytest.raises(ConfigError, match="cannot be written"):
        loss.draw().save(tmp_path / "no" / "such" / "folder.gv")


class Talkative(nn.Module):
    """Returns words and arrays beside its tensors."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(3, 4, rng=np.random.default_rng(0))

    def forward(self, x):
        y, state = self.rnn(x)
        return {"name": "talkative", "raw": np.ones(3), "y": (y, state), "none": None}


def test_models_may_return_anything_beside_tensors():
    drawing = viz.draw_model(Talkative(), np.ones((3, 2, 3), np.float32))
    assert '"rnn[0]@2"' in drawing.dot


def test_a_loss_that_depends_on_nothing_is_refused_clearly():
    with pytest.raises(GraphError, match="nothing was recorded"):
        viz.draw_model(Model(), tokens(2), loss=lambda out: tgs.tensor(1.0))
