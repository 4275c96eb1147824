"""Each time axis is elided by its own length: an encoder's last step is never hidden."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.drawn import boxes, crossed
from tests.test_viz_shapes import overlaps
from tests.viz_models import Model, composed_loss
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.errors import RenderError
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import BAR, FOLDED
from tinygrad_seq.viz.graph.survey import Survey
from tinygrad_seq.viz.graph.views import VIEWS, Axis, View

LEVELS = ("module", "cell", "op")


@cache
def translate(source, target, kind=nn.LSTM, layers=1, attention=None, attend="after"):
    """Model and loss of an encoder and a decoder of these lengths."""
    rng = np.random.default_rng(0)
    memory = None if attention is None else 4
    reads = kind(6 if attend == "after" else 10, 4, layers, rng=rng)
    decoder = nn.Decoder(reads, None, attention, memory, attend=attend, rng=rng)
    model = nn.Seq2Seq(kind(5, 4, layers, rng=rng), decoder, rng=rng)
    x, y = (np.arange(2 * steps).reshape(steps, 2) % 5 for steps in (source, target))
    with tgs.composed():
        return model, tgs.cross_entropy(model(x, y).logits, y)


def cells_of(graph, top):
    """Items of the recurrent layer in the encoder or decoder that have a time step."""
    return [
        item
        for item in graph.items.values()
        if item.place.path.partition(".")[0] == top
        and item.place.layer == 0
        and item.place.step is not None
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("source", "target"), [(50, 30), (7, 12), (12, 4), (4, 12), (12, 12)])
def test_every_axis_keeps_its_own_first_two_and_last_steps(source, target, level):
    _, loss = translate(source, target)
    graph = build([loss.node], view="elided", level=level)
    for top, length in (("encoder", source), ("decoder", target)):
        wanted = [0, 1, BAR, length - 1] if length > 4 else list(range(length))
        cells = cells_of(graph, top)
        assert list(dict.fromkeys(item.place.step for item in cells)) == wanted
        bars = {(item.first, item.last) for item in cells if item.place.step == BAR}
        assert bars == ({(2, length - 2)} if length > 4 else set())


@pytest.mark.parametrize(("source", "target"), [(50, 30), (12, 4), (7, 12)])
def test_the_bridge_leaves_the_last_step_of_the_encoder(source, target):
    _, loss = translate(source, target, layers=2)
    graph = build([loss.node], view="elided")
    bridges = {
        (edge.tail, edge.head, edge.kind, edge.delay)
        for edge in graph.edges.values()
        if edge.tail.startswith("encoder") and edge.head.startswith("decoder")
    }
    assert bridges == {
        (f"encoder[{layer}]@{source - 1}", f"decoder.recurrent[{layer}]@0", kind, 1 - source)
        for layer in range(2)
        for kind in "hc"
    }
    dot = viz.draw(loss, view="elided").dot
    assert f"t = 2 … {source - 2}" in dot
    assert ("t = 2 … " + str(target - 2) in dot) == (target > 4)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("depth", [None, 0])
def test_nodes_and_edges_add_up_on_axes_of_different_lengths(level, depth):
    _, loss = translate(7, 9, attention=nn.DotAttention())
    nodes = nodes_behind([loss.node])
    edges = sum(parent is not None for node in nodes for parent in node.parents)
    for view in ("unrolled", "elided", "rolled"):
        graph = build([loss.node], view=view, level=level, depth=depth)
        assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
        assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges
        viz.draw(loss, view=view, level=level, depth=depth)


@pytest.mark.parametrize("level", LEVELS)
def test_size_of_a_translator_does_not_depend_on_its_lengths(level):
    sizes = set()
    for source, target in ((6, 9), (40, 5), (17, 17)):
        _, loss = translate(source, target, attention=nn.DotAttention())
        graph = build([loss.node], view="elided", level=level)
        sizes.add((len(graph.items), len(graph.edges)))
    assert len(sizes) == 1


def test_independent_encoders_of_different_lengths_stand_beside_one_another():
    rng = np.random.default_rng(0)

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.RNN(3, 2, rng=rng) for _ in range(2))

        def forward(self, x, y):
            return (self.one(x)[1].h * self.two(y)[1].h).sum()

    model = Pair()
    for lengths, apart in (((9, 6), True), ((6, 9), True), ((7, 7), False), ((3, 9), True)):
        with tgs.composed():
            loss = model(*(np.ones((steps, 2, 3), np.float32) for steps in lengths))
        dot = viz.draw(loss, view="elided").dot
        assert ("cluster_axis1-t0" in dot) == apart
        for steps in lengths:
            if steps > 4:
                assert f"t = 2 … {steps - 2}" in dot


def test_the_page_says_which_steps_a_column_of_either_axis_stands_for():
    _, loss = translate(8, 6)
    panels = viz.draw(loss, view="elided")._data["panels"]
    assert panels == {
        **{f"p:t{t}": (t, t) for t in (0, 1, 7)},
        "p:tbar": (2, 6),
        **{f"p:axis1-t{t}": (t, t) for t in (0, 1, 5)},
        "p:axis1-tbar": (2, 4),
    }


def test_a_short_axis_is_shown_whole_and_axes_clash_where_one_hides_what_another_shows():
    elided = VIEWS["elided"].axis
    assert elided([0, 1, 2, 3]).columns == [0, 1, 2, 3]
    long, short = elided([0, 1, 2, 3, 4, 99]), elided([0, 1, 2])
    assert long.columns == [0, 1, BAR, 99]
    assert [long.shown(t) for t in (1, 2, 98, 99)] == [1, BAR, BAR, 99]
    assert long.clashes(short) and short.clashes(long)
    assert not long.clashes(elided([0, 99])) and not long.clashes(long)


def test_axes_share_columns_only_where_their_bars_hide_the_same():
    elided = VIEWS["elided"].axis
    first, more = elided([*range(10)]), elided([*range(10, 20)])
    assert first.clashes(more) and more.clashes(first)
    before, after = elided([0, 1]), elided([10, 11, 12])
    assert more.clashes(before) and before.clashes(more)
    assert not first.clashes(after) and not after.clashes(first)
    assert not before.clashes(after)


@pytest.mark.parametrize("level", LEVELS)
def test_a_view_of_one_s_own_is_a_line(level, monkeypatch):
    """Nothing but the view itself knows what becomes of the steps: the first two, then all else."""
    brief = View("brief", lambda steps: Axis(tuple(steps[:2]), BAR if steps[2:] else None))
    monkeypatch.setitem(VIEWS, "brief", brief)
    loss, _ = composed_loss(Model("LSTM", 2), 6)
    graph = build([loss.node], view="brief", level=level)
    assert graph.steps == [0, 1, BAR]
    assert sum(i.count for i in graph.items.values()) + graph.plumbing == len(
        Survey([loss.node]).nodes
    )
    drawing = viz.draw(loss, view="brief", level=level)
    assert drawing.title == f"brief graph, {level} level, 6 time steps"
    assert "2 … 5" in drawing.dot
    with pytest.raises(RenderError, match="view='brief'"):
        viz.draw(loss, level=level, max_items=3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kept", [[0], [0, 5], [0, 1, 5], [3], [0, 4, 5], [4, 5]], ids=str)
def test_a_bar_stands_where_its_steps_are(kept, level, monkeypatch):
    some = View("some", lambda steps: Axis(tuple(steps[k] for k in kept), BAR))
    monkeypatch.setitem(VIEWS, "some", some)
    loss, _ = composed_loss(Model("RNN", 1), 6)
    columns = build([loss.node], view="some", level=level).steps
    assert [step for step in columns if step != BAR] == kept
    inside = [k for k, (a, b) in enumerate(pairwise(kept), 1) if b - a > 1]
    assert columns.index(BAR) == (inside[0] if inside else len(kept))


class Continued(nn.Module):
    """A decoder that counts its steps on from the encoder's last."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.encoder, self.decoder = (nn.GRU(3, 4, rng=rng) for _ in range(2))

    def forward(self, x, y):
        _, h = self.encoder(x)
        with tgs.scope(start=len(x)):
            return self.decoder(y, h)[0]


def continued(source, target, named=True):
    """Frames of its elided drawing from left to right, (left, bottom, label), and the drawing."""
    model = Continued()
    for parameter in model.parameters() if not named else ():
        parameter.name = ""
    with tgs.composed():
        y = model(np.zeros((source, 1), int), np.zeros((target, 1), int))
    drawing = viz.draw(y, view="elided")
    pattern = r'graph \[bb="([-\d.]+),([-\d.]+),[^"]*", lp=[^\n]*\n\s*label="([^"]*)"'
    found = re.findall(pattern, drawing.dot)
    return sorted((float(x), float(low), label) for x, low, label in found), drawing


@pytest.mark.parametrize(
    ("source", "target", "columns"),
    [
        (2, 10, "0, 1, 2, 3, 4 … 10, 11"),
        (10, 10, "0, 1, 2 … 8, 9, 10, 11, 12 … 18, 19"),
        (10, 3, "0, 1, 2 … 8, 9, 10, 11, 12"),
    ],
)
def test_a_decoder_that_counts_on_stands_after_its_encoder(source, target, columns):
    frames, drawing = continued(source, target)
    assert ", ".join(label.partition("t = ")[2] for *_, label in frames) == columns
    assert overlaps(drawing) == []
    apart = "cluster_axis1" in drawing.dot
    assert apart == (target > 4)


@pytest.mark.parametrize(("source", "target"), [(2, 10), (10, 10)])
def test_weights_without_names_are_numbered_in_order_of_use(source, target):
    _, drawing = continued(source, target, named=False)
    assert overlaps(drawing) == []
    assert {*re.findall(r">(W\d+) ", drawing.dot)} == {f"W{k}" for k in range(1, 9)}
    assert "leaf" not in drawing.dot


def test_columns_are_shared_only_if_all_rows_on_them_agree():
    rng = np.random.default_rng(0)

    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.once, self.one, self.two = (nn.RNN(3, 2, rng=rng) for _ in range(3))

        def forward(self, *inputs):
            layers = (self.once, self.one, self.two)
            ends = [layer(x)[1].h for layer, x in zip(layers, inputs, strict=True)]
            return (ends[0] * ends[1] * ends[2]).sum()

    with tgs.composed():
        loss = Three()(*(np.ones((steps, 2, 3), np.float32) for steps in (1, 9, 6)))
    dot = viz.draw(loss, view="elided").dot
    assert all(f"t = 2 … {last}" in dot for last in (7, 4))


def test_rolled_and_unrolled_views_know_no_bar():
    loss, _ = composed_loss(Model("LSTM", 2), 7)
    assert build([loss.node]).steps == list(range(7))
    assert build([loss.node], view="rolled").steps == [FOLDED]


@cache
def attentive(memory=nn.DotAttention, layers=1):
    model, loss = translate(3, 4, layers=layers, attention=memory())
    return model, loss


def additive():
    return nn.AdditiveAttention(4, 4, 3, rng=np.random.default_rng(0))


@pytest.mark.parametrize("view", ["unrolled", "rolled"])
@pytest.mark.parametrize("layers", [1, 2])
def test_at_op_level_the_decoder_stands_beside_the_encoder(layers, view):
    _model, loss = translate(3, 4, layers=layers)
    drawing = viz.draw(loss, view=view, level="op")
    assert overlaps(drawing) == []
    ends = {"encoder": [], "decoder.recurrent": []}
    for box in boxes(drawing):
        path = box.name.partition("[")[0]
        if path in ends and box.name.startswith(f"{path}[0]@"):
            ends[path] += [box.x - box.width / 2, box.x + box.width / 2]
    assert max(ends["encoder"]) < min(ends["decoder.recurrent"])
    states = re.findall(
        r'"decoder\.recurrent@[^"]+" -> "[^"]+@[0t]:[^"]*"[^\n]*edge-([hc])', drawing.dot
    )
    assert sorted(states) == sorted("hc" * layers)
    through = {name for *_, name in crossed(drawing)}
    assert {name for name in through if "stack" not in name} == set()


@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("memory", [nn.DotAttention, additive])
@pytest.mark.parametrize("attend", ["after", "feeding", "before"])
def test_no_wire_of_a_translator_runs_through_a_box(attend, memory, level, view):
    for layers in (1, 2):
        _model, loss = translate(3, 4, layers=layers, attention=memory(), attend=attend)
        drawing = viz.draw(loss, view=view, level=level)
        assert any(box.name == "weights:decoder.combine" for box in boxes(drawing))
        assert crossed(drawing) == set()


@pytest.mark.parametrize("attend", ["feeding", "before"])
def test_a_state_through_a_box_of_weights_would_be_seen(attend):
    _model, loss = translate(3, 4, attention=nn.DotAttention(), attend=attend)
    drawing = viz.draw(loss)
    level = next(b for b in boxes(drawing) if b.name == "decoder.recurrent[0]@0").y
    box = next(b for b in boxes(drawing) if b.name == "weights:decoder.combine")
    at = rf"\g<1>{box.x:.1f},{level:.1f}"
    moved = re.sub(r'("weights:decoder\.combine" \[pos=")[^"]+', at, drawing.dot)
    found = crossed(viz.Drawing(moved, "moved"))
    assert ("encoder[0]@2", "decoder.recurrent[0]@0", box.name) in found


@pytest.mark.parametrize("attend", ["after", "feeding", "before"])
def test_no_gradient_of_a_translator_runs_through_a_box(attend):
    _model, loss = translate(3, 4, attention=additive(), attend=attend)
    drawing = viz.draw(loss, direction="both")
    assert crossed(drawing) == set()
    box = next(box for box in boxes(drawing) if box.name == "weights:decoder.attention")
    back = re.findall(r'-> "weights:decoder\.attention" \[pos="e,([-\d.]+),([-\d.]+)', drawing.dot)
    assert len(back) == 5  # from every step, and from the memory
    for x, y in back:
        assert float(x) == pytest.approx(box.x + box.width / 2, abs=0.5)
        assert abs(float(y) - box.y) < box.height / 2


@pytest.mark.parametrize("attend", ["after", "feeding", "before"])
def test_a_prepared_memory_is_named_as_the_attention_s(attend):
    _model, loss = translate(3, 4, attention=additive(), attend=attend)
    drawing = viz.draw(loss)
    assert "attention: memory" in drawing.dot
    names = {box.name for box in boxes(drawing)}
    assert "weights:decoder" not in names and "decoder:before" not in names


@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("attend", ["after", "feeding", "before"])
def test_a_rolled_memory_is_left_at_its_right_edge(attend, level):
    _model, loss = translate(3, 4, attention=additive(), attend=attend)
    drawing = viz.draw(loss, view="rolled", level=level)
    right = {box.name: box.x + box.width / 2 for box in boxes(drawing)}
    pattern = r'"([^"]+:before)" -> "decoder\.attention@t" \[pos="(?:e,\S+ )?([-\d.]+),'
    starts = re.findall(pattern, drawing.dot)
    assert {name for name, _ in starts} == {"encoder[0]:before", "decoder.attention:before"}
    for name, x in starts:
        assert float(x) == pytest.approx(right[name], abs=0.5)


@pytest.mark.parametrize(("attend", "label"), [("feeding", "state"), ("before", "h")])
def test_a_state_that_leads_to_several_places_is_named_once(attend, label):
    _model, loss = translate(3, 12, attention=nn.DotAttention(), attend=attend)
    drawing = viz.draw(loss, view="elided")
    tail = "decoder.combine@bar" if label == "state" else "decoder.recurrent[0]@bar"
    head = "decoder.read@" if label == "state" else "decoder.attention@"
    lines = [
        line for line in drawing.dot.splitlines() if line.strip().startswith(f'"{tail}" -> "{head}')
    ]
    assert len(lines) == 2
    assert sum(f'label="{label}"' in line for line in lines) == 1


def test_a_wire_through_a_box_would_be_seen():
    _model, loss = attentive()
    drawing = viz.draw(loss)
    first, second = (b for b in boxes(drawing) if b.name in {"encoder[0]@1", "encoder[0]@2"})
    between = rf"\g<1>{(first.x + second.x) / 2:.1f},{first.y:.1f}"
    moved = re.sub(r'("decoder\.recurrent\[0\]@3" \[pos=")[^"]+', between, drawing.dot)
    found = crossed(viz.Drawing(moved, "moved"))
    assert ("encoder[0]@1", "encoder[0]@2", "decoder.recurrent[0]@3") in found


def test_attention_is_named_by_what_it_does():
    _model, loss = attentive(additive)
    assert "attention: memory" in viz.draw(loss).dot
    heads = nn.MultiheadAttention(6, 2, rng=np.random.default_rng(0))
    x = np.ones((4, 2, 6), np.float32)
    drawing = viz.draw_model(lambda q: heads(q, q, q)[0], x)
    assert "multi-head attention, 2 heads" in drawing.dot


@pytest.mark.parametrize("view", ["unrolled", "rolled"])
@pytest.mark.parametrize(("kind", "states"), [(nn.RNN, 1), (nn.GRU, 1), (nn.LSTM, 2)])
def test_the_state_of_an_ended_sequence_passes_beside_its_cell(kind, states, view):
    layer = kind(3, 4, rng=np.random.default_rng(0))
    x = np.ones((3, 2, 3), np.float32)
    options = {"keywords": {"lengths": [3, 1]}, "level": "cell", "view": view}
    drawing = viz.draw_model(layer, x, **options)
    assert overlaps(drawing) == []
    assert crossed(drawing) == set()
    if view == "rolled":
        assert drawing.dot.count('label="z⁻¹"') == states
