"""What is written by hand is drawn as our layers are."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.loops import Program, programs, run
from tinygrad_seq import nn, viz
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.viz.graph.expand import told
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.graph.items import Graph
from tinygrad_seq.viz.graph.weights import bundle_weights

T, N, V, H = 4, 2, 5, 4
VIEWS, LEVELS = ("unrolled", "elided", "rolled"), ("module", "cell", "op")


def graph_of(loss: Any, **options: Any) -> Graph:
    return build(told([loss.node], {}), **options)


# -- the same models, by layer and by hand -------------------------------------------------------


def rnn(layer: Any, x: Any, state: Any) -> Any:
    (h,) = state
    return (np.tanh(layer.weight_xh_l0[x] + h @ layer.weight_hh_l0 + layer.bias_l0),)


def lstm(layer: Any, x: Any, state: Any) -> Any:
    h, c = state
    z = layer.weight_xh_l0[x] + h @ layer.weight_hh_l0 + layer.bias_l0
    i, f, o, g = np.split(z, 4, axis=1)
    c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
    return tgs.sigmoid(o) * np.tanh(c), c


def gru(layer: Any, x: Any, state: Any) -> Any:
    (h,) = state
    wr, wz, wn = np.split(layer.weight_xh_l0, 3, axis=1)
    ur, uz, un = np.split(layer.weight_hh_l0, 3, axis=1)
    br, bz, bn = np.split(layer.bias_l0, 3)
    r = tgs.sigmoid(wr[x] + h @ ur + br)
    z = tgs.sigmoid(wz[x] + h @ uz + bz)
    n = np.tanh(wn[x] + bn + r * (h @ un + layer.bias_hn_l0))
    return ((1 - z) * n + z * h,)


MODELS = {"RNN": (rnn, 1), "LSTM": (lstm, 2), "GRU": (gru, 1)}


def both(kind: str) -> tuple[Any, Any]:
    """The loss of a layer's run, and of the same by hand."""
    cell, states = MODELS[kind]
    rng = np.random.default_rng(0)
    model = nn.ManyToMany(getattr(nn, kind)(V, H, rng=rng), V, rng=rng)
    layer, head = model.recurrent, model.head
    x, targets = rng.integers(0, V, (2, T, N))
    with tgs.composed():
        ours = tgs.cross_entropy(model(x)[0], targets)
    state, ys = (np.zeros((N, H), np.float32),) * states, []
    for x_t in x:
        state = cell(layer, x_t, state)
        ys.append(state[0] @ head.weight + head.bias)
    return ours, tgs.cross_entropy(tgs.stack(ys), targets)


def structure(graph: Graph) -> tuple[Any, ...]:
    """What a reader sees, names left out: rows, columns, states, weights and where they lead."""
    graph = bundle_weights(graph)
    rows: dict[Any, int] = {}
    for item in graph.items.values():
        if item.place.step is not None:
            rows.setdefault(item.place.row, len(rows))

    def seen(name: str) -> Any:
        item = graph.items[name]
        shapes = sorted(shape for _, shape, _ in item.names) if item.kind == "weight" else ()
        return item.kind, rows.get(item.place.row), item.place.step, item.note, tuple(shapes)

    things = sorted(map(str, map(seen, graph.items)))
    lines = [(seen(e.tail), seen(e.head), e.kind, e.delay, e.cut) for e in graph.edges.values()]
    return graph.steps, things, sorted(map(str, lines))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", MODELS)
def test_a_model_by_hand_is_drawn_as_the_layer_is(kind: str, view: str) -> None:
    ours, by_hand = both(kind)
    assert float(ours) == pytest.approx(float(by_hand), rel=1e-6)
    pictures = [structure(graph_of(loss, view=view)) for loss in (ours, by_hand)]
    assert pictures[0] == pictures[1]


# -- random programs -----------------------------------------------------------------------------


@given(programs, st.sampled_from(VIEWS), st.sampled_from(LEVELS))
def test_every_program_is_drawn_and_its_counts_are_true(
    program: Program, view: str, level: str
) -> None:
    loss = run(program, False).loss
    nodes = nodes_behind(told([loss.node], {}))
    graph = graph_of(loss, view=view, level=level)
    links = sum(parent is not None for node in nodes for parent in node.parents)
    assert sum(item.count for item in graph.items.values()) + graph.plumbing == len(nodes)
    assert sum(edge.count for edge in graph.edges.values()) + graph.inside == links
    assert loss.draw(view=view, level=level).dot


def _reached(program: Program) -> bool:
    return program.cut < program.steps and program.reads in {"each", "stack"}


@given(programs, st.sampled_from(LEVELS[:2]))
def test_a_cut_is_drawn_where_states_were_detached_and_nowhere_else(
    program: Program, level: str
) -> None:
    graph = graph_of(run(program, False).loss, level=level)
    cuts = [graph.items[edge.head].place.step for edge in graph.edges.values() if edge.cut]
    meant = {program.cut} - {0} if _reached(program) else set()
    carried = {step + 1 for step in meant} if "two_back" in program.cells else set()  # read twice
    assert meant <= {*cuts} <= meant | carried


@given(programs)
def test_columns_are_the_steps_and_each_cell_has_its_row(program: Program) -> None:
    graph = graph_of(run(program, False).loss)
    cells = [item.place for item in graph.items.values() if item.kind == "cell"]
    assert sorted({place.step for place in cells}) == [*range(program.steps)]
    assert len({place.row for place in cells}) == len(program.cells)


@given(programs, st.sampled_from(["zeros", "trained", "computed"]))
def test_starts_are_what_they_are(program: Program, start: str) -> None:
    program = Program(program.cells, program.steps, "rows", start, "each", 0, program.by_layer)
    graph = graph_of(run(program, False).loss)
    kinds = {item.kind for item in graph.items.values()} & {"carried", "start", "begin"}
    plain = not {"masked", "joined", "skipping"} & {*program.cells}
    if plain:
        assert kinds == {{"zeros": "carried", "trained": "start", "computed": "begin"}[start]}
    assert not any(edge.cut for edge in graph.edges.values())


# -- names ---------------------------------------------------------------------------------------


def lecture(steps: int, names: bool = True) -> str:
    rng = np.random.default_rng(0)
    Wxh, Whh, Why = (
        tgs.tensor(rng.standard_normal(shape) * 0.3, requires_grad=True)
        for shape in ((H, V), (H, H), (V, H))
    )
    s, loss = np.zeros((H, 1)), 0
    for t in range(steps):
        a = Wxh @ np.eye(V)[:, [t % V]] + Whh @ s
        s = np.tanh(a)
        y = Why @ s
        loss = loss - np.log(tgs.softmax(y, axis=0)[t % V, 0])
    return str(loss.draw(names=locals() if names else None, level="cell").dot)  # type: ignore[attr-defined]


def test_variables_name_weights_states_and_results_at_every_step() -> None:
    dot = lecture(3)
    assert all(re.search(rf">{name}\b", dot) for name in ("Wxh", "Whh", "Why"))
    for t in "₀₁₂":
        assert f'label="s{t} = tanh"' in dot
    assert dot.count('label="a = +"') == 3
    assert "s₋₁ = 0" in dot


def test_what_has_no_name_is_numbered() -> None:
    dot = lecture(3, names=False)
    assert all(f">W{k} " in dot for k in (1, 2, 3)) and "W4" not in dot
    assert 'label="leaf' not in dot and "h₀ = tanh" in dot


@pytest.mark.parametrize("wrong", [3, ["Wxh"], "Wxh"])
def test_names_are_a_mapping(wrong: Any) -> None:
    w = tgs.tensor([1.0], requires_grad=True)
    with pytest.raises(tgs.errors.ConfigError, match=r"names=locals\(\)"):
        (w * 2).draw(names=wrong)


def test_what_locals_holds_besides_is_no_matter() -> None:
    w = tgs.tensor([1.0], requires_grad=True)
    others: dict[Any, Any] = {"np": np, "x": 3, "hs": [w], 5: w, "w": w, "f": Callable}
    assert "w" in (w * 2).draw(names=others).dot


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (lambda z: 1 - z, "1 −"),
        (lambda z: z - 1, "− 1"),
        (lambda z: 2 * z, "2 ×"),
        (lambda z: z * -0.5, "× −0.5"),
        (lambda z: z / 3, "÷ 3"),
        (lambda z: z + 0.25, "+ 0.25"),
        (lambda z: z**2, "^ 2"),
        (lambda z: z * np.ones((N, H)), "×"),
    ],
)
def test_numbers_in_a_formula_are_drawn_also_after_backward(
    formula: Any, said: str, view: str
) -> None:
    u, h = tgs.tensor(np.eye(H) / 2, requires_grad=True), np.zeros((N, H))
    for _ in range(6):
        h = np.tanh(formula(tgs.sigmoid(np.ones((N, H)) + h @ u)))
    loss = h.sum()
    before = viz.draw(loss, view=view, level="cell").dot
    loss.backward()
    assert viz.draw(loss, view=view, level="cell").dot == before
    columns = {"unrolled": 6, "elided": 3, "rolled": 1}[view]
    assert before.count(f'label="{said}"') == columns


# -- loops over what is here ---------------------------------------------------------------------


def tokens(steps: int) -> Any:
    return np.random.default_rng(1).integers(0, V, (steps, N))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_loop_over_a_cell_is_drawn_as_its_layer(kind: str, level: str) -> None:
    rng = np.random.default_rng(0)
    layer, x = getattr(nn, kind)(V, H, rng=rng), tokens(3)
    cell, state, ys = layer.cell_at(0), None, []
    for x_t in x:
        state = cell(x_t, state)
        ys.append(state[0] if kind == "LSTM" else state)  # type: ignore[index]
    by_hand = tgs.stack(ys).sum()
    ours = layer(x)[0].sum()
    pictures = [structure(graph_of(loss, level=level)) for loss in (ours, by_hand)]
    assert pictures[0][0] == pictures[1][0] == [0, 1, 2]
    if level == "module":
        assert pictures[0] == pictures[1]


@pytest.mark.parametrize("length", [1, 2])
def test_windows_of_a_layer_stand_one_after_the_other(length: int) -> None:
    lstm, x, state, total = nn.LSTM(V, H, rng=np.random.default_rng(0)), tokens(6), None, 0
    for start in range(0, 6, length):
        y, state = lstm(x[start : start + length], state)
        total = total + y.sum()
    drawing = viz.draw(total)
    assert drawing.title == "unrolled graph, module level, 6 time steps"
    assert "✂" not in drawing.dot


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("fused", [True, False])
def test_windows_with_a_detach_stand_one_after_the_other(
    kind: str, layers: int, fused: bool
) -> None:
    layer = getattr(nn, kind)(V, H, layers, rng=np.random.default_rng(0))
    x, state, total = tokens(6), None, 0
    for start in (0, 2, 4):
        with nullcontext() if fused else tgs.composed():
            y, state = layer(x[start : start + 2], state)
        total = total + y.sum()
        state = state.detach()  # type: ignore[attr-defined]
    graph = graph_of(total)
    assert graph.steps == [*range(6)]
    cuts = {graph.items[edge.head].place.step for edge in graph.edges.values() if edge.cut}
    assert cuts == {2, 4}


def test_a_constant_that_was_not_detached_is_no_cut() -> None:
    rnn, x = nn.RNN(V, H, rng=np.random.default_rng(0)), tokens(3)
    for start in (np.zeros, np.ones):
        y, _ = rnn(x, start((1, N, H), np.float32))
        assert "✂" not in viz.draw(y.sum()).dot
    y, _ = rnn(x, tgs.tensor(np.ones((1, N, H)), requires_grad=True).astype(np.float32).detach())
    assert "✂" in viz.draw(y.sum()).dot


# -- declared time -------------------------------------------------------------------------------


def test_steps_declared_by_hand_stand_and_are_drawn_alike() -> None:
    u, w = (tgs.tensor(np.eye(H) / 2, requires_grad=True) for _ in range(2))
    pictures = []
    for steps in (tgs.steps(np.ones((3, N, H)), 5), enumerate(np.ones((3, N, H)))):
        h = np.zeros((N, H))
        for _, x in steps:
            h = np.tanh(x @ w + h @ u)
        pictures.append(viz.draw((h**2).mean()).dot)
    assert [{*re.findall(r'"t = (\d)"', dot)} for dot in pictures] == [{*"567"}, {*"012"}]
    places = [re.findall(r' pos="([^"]*)"', dot) for dot in pictures]
    assert places[0] == places[1]


def test_a_loop_left_early_ends_its_steps() -> None:
    w = tgs.tensor([1.0], requires_grad=True)
    for t, _ in tgs.steps(range(9)):
        if t == 3:
            break
    assert (w * 2).node.scope.step is None


def test_states_are_named_by_tags() -> None:
    u = tgs.tensor(np.eye(H) / 2, requires_grad=True)
    h = np.ones((N, H))
    for _ in range(3):
        h = np.tanh(h @ u).tag(state="memory")
    assert "memory₀" in h.sum().draw(level="cell").dot


def test_outputs_are_called_as_their_variable_and_those_of_two_loops_stay_two() -> None:
    shapes = (H, H), (H, H), (H, V), (H, V)
    u, v, d, e = (tgs.tensor(np.eye(*shape) / 2, requires_grad=True) for shape in shapes)
    h, total = np.ones((N, H)), 0
    for t in range(3):
        h = np.tanh(h @ u)
        o = h @ d
        total = total + tgs.cross_entropy(o, tokens(3)[t])
    for t in range(3):
        h = np.tanh(h @ v)
        q = h @ e
        total = total + tgs.cross_entropy(q, tokens(3)[t])
    names = viz.draw(total, names={"o": o, "q": q, "d": d, "e": e}).dot
    assert re.search(r">o<", names) and re.search(r">q<", names)
    graph = graph_of(total)
    kinds = [item.kind for item in graph.items.values()]
    assert kinds.count("output") == kinds.count("loss") == kinds.count("cell") == 6


def test_a_sum_within_declared_steps_is_a_sum_over_t() -> None:
    u, d = (tgs.tensor(np.eye(H) / 2, requires_grad=True) for _ in range(2))
    h, total = np.ones((N, H)), 0
    for _ in tgs.steps(range(3)):
        h = np.tanh(h @ u)
        total = total + ((h @ d) ** 2).mean()
    drawing = viz.draw(total)
    assert "L = sum over t" in drawing.dot and ">state<" not in drawing.dot


def test_a_context_at_every_step_is_no_state() -> None:
    u, v, c = (tgs.tensor(np.eye(H) / 2, requires_grad=True) for _ in range(3))
    h = s = np.zeros((N, H))
    for _ in range(3):
        h = np.tanh(np.ones((N, H)) + h @ u)
    for _ in range(3):
        s = np.tanh(s @ v + h @ c)
    graph = graph_of(s.sum())
    rows = {item.place.row for item in graph.items.values() if item.kind == "cell"}
    assert len(rows) == 2
    ends = [(graph.items[e.tail], graph.items[e.head], e) for e in graph.edges.values()]
    read = [
        edge for a, b, edge in ends if a.kind == b.kind == "cell" and a.place.row != b.place.row
    ]
    assert len(read) == 3 and all(edge.kind == "depth-" for edge in read)


def classifier(steps: int) -> dict[str, Any]:
    """An LSTM of which only the end is read."""
    rng = np.random.default_rng(0)
    w, u, b, d = (
        tgs.tensor(rng.standard_normal(shape), requires_grad=True)
        for shape in ((3, 4 * H), (H, 4 * H), (4 * H,), (H, V))
    )
    h = c = np.zeros((N, H))
    for _ in range(steps):
        i, f, g, o = np.split(np.ones((N, 3)) @ w + h @ u + b, 4, axis=1)
        c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
        h = tgs.sigmoid(o) * np.tanh(c)
    scores = h @ d
    loss = tgs.cross_entropy(scores, np.arange(N))
    return locals()


@pytest.mark.parametrize("level", LEVELS[:2])
def test_what_is_read_once_at_the_end_is_no_part_of_the_loss(level: str) -> None:
    made = classifier(3)
    graph = graph_of(made["loss"], level=level)
    assert [i.shape for i in graph.items.values() if i.place.row == ("y", None)] == [(N, V)]
    assert '"scores' in made["loss"].draw(level=level, names=made).dot


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_that_comes_again_has_no_steps_to_count(view: str) -> None:
    drawing = classifier(1)["loss"].draw(view=view)
    assert drawing.title == "graph, op level, no time steps"
    assert "sigmoid" in drawing.dot


def test_titles_count_the_steps_of_every_axis() -> None:
    leaf = [tgs.tensor(np.eye(H), requires_grad=True) for _ in range(3)]
    h = np.ones((N, H))
    for _ in range(5):
        h = np.tanh(h @ leaf[0])
    for _ in range(3):
        h = np.tanh(h @ leaf[1])
    for view in VIEWS:
        title = (h @ leaf[2]).sum().draw(view=view).title
        assert title == f"{view} graph, module level, 5 + 3 time steps"


def test_labels_of_weights_are_their_names() -> None:
    made = classifier(3)
    text = made["loss"].draw(weights="labels", names=made).dot
    assert 'label="w … b"' not in text and text.count('label="w, u, b"') == 3
    text = classifier(3)["loss"].draw(weights="labels").dot
    assert text.count('label="W1 … W3"') == 3 and "W₀" not in text
