"""Laws of the views: every one is a quotient of what was recorded, and counts stay true."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.viz_models import MODELS, Model, composed_loss, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import BAR, DEPTH, FOLDED, WEIGHT

models = st.sampled_from(sorted(MODELS))
levels = st.sampled_from(["module", "cell", "op"])
views = st.sampled_from(["unrolled", "elided", "rolled"])


def graph_of(loss, **options):
    return build([loss.node], **options)


def modulo_t(name: str, steps: int) -> str:
    """An item's id with its time step replaced."""
    for t in reversed(range(steps)):
        name = name.replace(f"@{t}:", f"@{FOLDED}:")
        if name.endswith(f"@{t}"):
            name = name.removesuffix(f"@{t}") + f"@{FOLDED}"
    return name


@given(models, levels, views, st.integers(1, 7))
def test_every_recorded_node_and_edge_is_counted_once(name, level, view, steps):
    loss, _ = composed_loss(Model(*MODELS[name]), steps)
    graph = graph_of(loss, level=level, view=view)
    nodes = nodes_behind([loss.node])
    assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
    edges = sum(parent is not None for node in nodes for parent in node.parents)
    assert sum(edge.count for edge in graph.edges.values()) + graph.inside == edges


@given(models, levels, st.integers(1, 6))
def test_rolled_is_unrolled_modulo_t(name, level, steps):
    loss, _ = composed_loss(Model(*MODELS[name]), steps)
    unrolled = graph_of(loss, level=level, view="unrolled")
    rolled = graph_of(loss, level=level, view="rolled")
    folded: dict[tuple[str, str, str, int], int] = {}
    for edge in unrolled.edges.values():
        ends = modulo_t(edge.tail, steps), modulo_t(edge.head, steps)
        key = (*ends, edge.kind, edge.delay)
        folded[key] = folded.get(key, 0) + edge.count
    recorded = {key: edge.count for key, edge in rolled.edges.items() if edge.count}
    assert {key: count for key, count in folded.items() if count} == recorded
    counts: dict[str, int] = {}
    for item in unrolled.items.values():
        if item.count:
            counts[modulo_t(item.id, steps)] = counts.get(modulo_t(item.id, steps), 0) + item.count
    assert counts == {item.id: item.count for item in rolled.items.values() if item.count}


@given(models, levels, st.integers(5, 9))
def test_a_bar_counts_what_it_hides(name, level, steps):
    loss, _ = composed_loss(Model(*MODELS[name]), steps)
    unrolled = graph_of(loss, level=level, view="unrolled")
    elided = graph_of(loss, level=level, view="elided")
    assert elided.steps == [0, 1, BAR, steps - 1]
    for item in elided.items.values():
        if item.place.step == BAR:
            hidden = [
                other
                for other in unrolled.items.values()
                if other.place.row == item.place.row
                and isinstance(other.place.step, int)
                and 2 <= other.place.step < steps - 1
            ]
            assert item.count == sum(other.count for other in hidden)
        elif item.id in unrolled.items:
            assert item.count == unrolled.items[item.id].count


def test_a_bar_spans_the_norms_it_hides():
    trace = viz.Trace()
    loss, _ = composed_loss(Model("LSTM", 2), 8, trace=trace)
    unrolled = graph_of(loss, view="unrolled", trace=trace)
    elided = graph_of(loss, view="elided", trace=trace)
    for layer in range(2):
        for role in ("h", "c"):
            norms = [unrolled.items[f"rnn[{layer}]@{t}"].gradients[role].high for t in range(2, 7)]
            span = elided.items[f"rnn[{layer}]@{BAR}"].gradients[role]
            assert (span.low, span.high, span.count) == (min(norms), max(norms), 5)
            assert span.squares == pytest.approx(np.sum(np.square(norms)))


@given(st.integers(5, 12), st.integers(13, 30), levels)
def test_size_of_an_elided_view_does_not_depend_on_length(short, long, level):
    sizes = []
    for steps in (short, long):
        loss, _ = composed_loss(Model("LSTM", 2), steps)
        graph = graph_of(loss, level=level, view="elided")
        sizes.append((len(graph.items), len(graph.edges)))
    assert sizes[0] == sizes[1]


@given(models, st.integers(1, 5))
def test_at_op_level_every_recorded_edge_is_there_exactly_once(name, steps):
    loss, _ = composed_loss(Model(*MODELS[name]), steps)
    nodes = nodes_behind([loss.node])
    graph = graph_of(loss, level="op")
    assert len(graph.items) == len(nodes)
    assert graph.plumbing == graph.inside == 0
    expected: dict[tuple[str, str], int] = {}
    ids = dict(zip((node.seq for node in nodes), graph.items, strict=True))
    for node in nodes:
        for parent in node.parents:
            if parent is not None:
                key = (ids[parent.seq], ids[node.seq])
                expected[key] = expected.get(key, 0) + 1
    found: dict[tuple[str, str], int] = {}
    for edge in graph.edges.values():
        found[edge.tail, edge.head] = found.get((edge.tail, edge.head), 0) + edge.count
    assert found == expected


@given(models, levels, views)
def test_edges_are_found_by_their_ends(name, level, view):
    loss, _ = composed_loss(Model(*MODELS[name]), 3)
    graph = graph_of(loss, level=level, view=view)

    def check():
        for item in graph.items:
            assert graph.into(item) == [e for e in graph.edges.values() if e.head == item]
            assert graph.out_of(item) == [e for e in graph.edges.values() if e.tail == item]

    check()
    first, *_, last = graph.items
    graph.edge(last, first, "h", 9)  # one that was not there when they were last asked for
    check()


@given(models, levels, views)
def test_each_parameter_is_one_item_used_at_every_step(name, level, view):
    model = Model(*MODELS[name])
    loss, _ = composed_loss(model, 6)
    graph = graph_of(loss, level=level, view=view)
    names = [item.names[0][0] for item in graph.items.values() if item.kind == "weight"]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    for item in graph.items.values():
        if item.kind == "weight":
            assert sum(edge.count for edge in graph.out_of(item.id)) == 6


def test_layers_hang_on_one_another_step_by_step():
    loss, _ = composed_loss(Model("LSTM", 2), 3)
    graph = graph_of(loss)
    depth = {(e.tail, e.head) for e in graph.edges.values() if e.kind == DEPTH}
    for t in range(3):
        assert (f"rnn[0]@{t}", f"rnn[1]@{t}") in depth
        assert (f"rnn[1]@{t}", f"head@{t}") in depth
    states = {(e.tail, e.head, e.kind) for e in graph.edges.values() if e.delay and e.count}
    assert states == {
        (f"rnn[{layer}]@{t}", f"rnn[{layer}]@{t + 1}", kind)
        for layer in range(2)
        for t in range(2)
        for kind in "hc"
    }


@given(models, levels, views)
def test_ids_are_stable_from_one_run_to_the_next(name, level, view):
    texts = []
    for _ in range(2):
        loss, _ = composed_loss(Model(*MODELS[name]), 6)
        texts.append(viz.draw(loss, view=view, level=level).dot)
        tgs.tensor(1.0, requires_grad=True)  # shifts the engine's counter
    assert texts[0] == texts[1]


def test_a_fused_run_draws_like_a_composed_one():
    model = Model("LSTM", 2)
    loss, _ = composed_loss(model, 4)
    logits, _ = model(tokens(4))
    fused = tgs.cross_entropy(logits, tokens(4))
    wanted = viz.draw(loss, weights="hidden", view="rolled").dot
    assert "rnn[1]@t" in viz.draw(fused, view="rolled").dot
    before = viz.draw(fused, level="cell").dot
    fused.backward()
    assert viz.draw(fused, level="cell").dot.count("rnn[1]@3:") == before.count("rnn[1]@3:") > 0
    assert wanted.count("z⁻¹") == viz.draw(fused, view="rolled").dot.count("z⁻¹")


def test_expanding_leaves_the_recorded_graph_alone():
    model = Model("RNN", 2)
    logits, _ = model(tokens(4))
    loss = tgs.cross_entropy(logits, tokens(4))
    before = [(n.seq, n.name, n.parents, n.freed) for n in nodes_behind([loss.node])]
    viz.draw(loss, level="op", view="elided")
    assert [(n.seq, n.name, n.parents, n.freed) for n in nodes_behind([loss.node])] == before
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_detached_state_is_drawn_as_a_cut_and_zeros_as_zeros():
    model = Model("LSTM", 1)
    loss, state = composed_loss(model, 3)
    notes = {i.part: i.note for i in graph_of(loss).items.values() if i.kind == "carried"}
    assert notes == {"h": "zero", "c": "zero"}
    loss, _ = composed_loss(model, 3, state.detach())
    graph = graph_of(loss)
    notes = {i.part: i.note for i in graph.items.values() if i.kind == "carried"}
    assert notes == {"h": "cut", "c": "cut"}
    assert "✂" in viz.draw(loss).dot
    loss.backward()
    assert "✂" in viz.draw(loss).dot


def test_state_that_is_not_detached_runs_on_without_a_cut():
    cell = nn.LSTMCell(3, 4, rng=np.random.default_rng(0))
    x = np.ones((4, 2, 3), np.float32)
    for cut_at in (None, 2):
        state = None
        losses = []
        for t in range(4):
            if t == cut_at:
                state = nn.detach(state)
            with tgs.scope(path="cell", layer=0, step=t):
                state = cell(x[t], state)
            losses.append(state[0].sum())
        graph = graph_of(tgs.stack(losses).sum())
        cuts = {(e.tail, e.head, e.kind) for e in graph.edges.values() if e.cut}
        first, second = "cell[0]@1", "cell[0]@2"
        assert cuts == (set() if cut_at is None else {(first, second, k) for k in "hc"})


def test_contributions_of_the_steps_add_up_to_the_weight_gradient():
    """Norms cannot be added, but arrays can: the trace sees each step's own share."""
    from tinygrad_seq.viz.trace import leaf_contribution

    model = Model("LSTM", 1)
    shares: dict[int, np.ndarray] = {}

    class Listener:
        def recorded(self, node, value):
            pass

        def received(self, node, cotangent):
            for index, parent in enumerate(node.parents):
                if parent is not None and parent.is_leaf:
                    part = leaf_contribution(node, index, cotangent)
                    shares[parent.seq] = shares.get(parent.seq, 0) + part

    with tgs.composed(), tgs.observe(Listener()):
        logits, _ = model(tokens(5))
        tgs.cross_entropy(logits, tokens(5)).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            shares[parameter.node.seq], parameter.grad, atol=1e-6, err_msg=name
        )


def test_weight_edges_carry_the_norm_of_their_contribution():
    trace = viz.Trace()
    model = Model("RNN", 1)
    loss, _ = composed_loss(model, 4, trace=trace)
    graph = graph_of(loss, trace=trace)
    edges = [edge for edge in graph.edges.values() if edge.kind == WEIGHT]
    assert len(edges) == 5 * 4
    for edge in edges:
        assert edge.contribution is not None
        starts_from_zero = edge.tail == "weight:rnn.weight_hh_l0" and edge.head == "rnn[0]@0"
        assert (edge.contribution.high == 0) == starts_from_zero


def test_a_trace_keeps_no_array():
    """What it holds on to does not grow with the arrays that went by."""
    kept = []
    for hidden in (4, 128):
        model, trace = Model("LSTM", 1, hidden=hidden), viz.Trace()
        composed_loss(model, 3, trace=trace)
        tracemalloc.start()
        composed_loss(model, 3, trace=trace)
        model.zero_grad()
        gc.collect()
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert abs(kept[1] - kept[0]) < 10_000  # one (2, 512) array alone would be 4 kB a node


@pytest.mark.parametrize(
    ("view", "level"),
    [("elided", "module"), ("elided", "op"), ("rolled", "cell"), ("rolled", "op")],
)
def test_memory_to_draw_a_short_view_is_a_small_part_of_the_graph(view, level):
    """Less than 300 bytes for a recorded node, which itself takes some 580."""
    model = Model("LSTM", 2)
    extra = []
    for steps in (50, 200):
        loss, _ = composed_loss(model, steps)
        viz.draw(loss, view=view, level=level)  # what is kept for good is there now
        gc.collect()
        tracemalloc.start()
        viz.draw(loss, view=view, level=level)
        extra.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert extra[1] - extra[0] < 150 * 45 * 300


def test_two_parameters_of_one_name_stay_two():
    cells = [nn.RNNCell(2, 2, rng=np.random.default_rng(k)) for k in range(2)]
    x = np.ones((1, 2), np.float32)
    total = cells[0](x).sum() + cells[1](x).sum()
    names = {item.id for item in graph_of(total).items.values() if item.kind == "weight"}
    assert len(names) == 6
    assert {name for name in names if name.endswith("~2")} == {
        "weight:weight_xh~2",
        "weight:weight_hh~2",
        "weight:bias~2",
    }


def test_paths_that_look_like_places_do_not_collide():
    w = tgs.tensor([1.0], requires_grad=True)
    with tgs.scope(path="a", layer=0, step=1):
        first = w * 2
    with tgs.scope(path="a[0]@1"):
        second = first * 3
    graph = graph_of(second)
    assert len([item for item in graph.items.values() if item.kind not in {"weight", "input"}]) == 2


def test_layers_that_run_backwards_in_time_get_arrows_to_the_left():
    cell = nn.RNNCell(2, 3, rng=np.random.default_rng(0))
    x, h, out = np.ones((3, 1, 2), np.float32), None, []
    for t in reversed(range(3)):
        with tgs.scope(path="back", layer=0, step=t):
            h = cell(x[t], h)
        out.append(h)
    loss = tgs.stack(out[::-1]).sum()
    graph = graph_of(loss)
    delays = {edge.delay for edge in graph.edges.values() if edge.kind == "h" and edge.count}
    assert delays == {-1}
    (carried,) = [item for item in graph.items.values() if item.kind == "carried"]
    assert carried.place.step == 2  # it starts at the last step
    assert "h₃ = 0" in viz.draw(loss).dot
    assert "z⁺¹" in viz.draw(loss, view="rolled").dot
    for level in ("module", "cell", "op"):
        for view in ("unrolled", "rolled"):
            assert viz.draw(loss, level=level, view=view).svg()
