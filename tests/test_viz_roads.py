"""Cells that have no picture of their own: states on straight roads, steps alike, wires apart."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import CELLS, MGUCell, PeepholeCell, ThreeStateCell
from tests.drawn import astray, boxes, covered, crossed, shared, steep, wires, written
from tests.test_viz_wirings import overlaps
from tinygrad_seq import nn, viz
from tinygrad_seq.viz.graph.expand import told
from tinygrad_seq.viz.graph.fold import build
from tinygrad_seq.viz.picture.style import THEMES

UNPICTURED = {name: cell for name, cell in CELLS.items() if cell.picture is None}


def run(cell: Any, layers: int = 1, steps: int = 3, both: bool = False) -> Any:
    rng = np.random.default_rng(0)
    options = {"bidirectional": both, "rng": rng}
    layer = nn.Recurrent(lambda size: cell(size, 4, rng=rng), 5, layers, **options)
    with tgs.composed():
        return layer(rng.normal(size=(steps, 2, 5)).astype("f"))[0].sum()


@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("both", [False, True], ids=["forward", "bidirectional"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_no_wire_runs_through_a_box_or_along_another_one(
    cell: Any, layers: int, both: bool, view: str, level: str
) -> None:
    loss = run(cell, layers, 6 if view == "elided" else 3, both)
    drawing = viz.draw(loss, view=view, level=level)
    assert crossed(drawing) == set()
    assert shared(drawing) == set()
    assert overlaps(drawing) == []
    assert covered(drawing) == set() and astray(drawing) == set()
    if cell in UNPICTURED.values():
        assert steep(drawing) == set()


@pytest.mark.parametrize("view", ["unrolled", "elided"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_gradients_have_ways_of_their_own(cell: Any, view: str) -> None:
    loss = run(cell, 2, 6 if view == "elided" else 3, both=True)
    drawing = viz.draw(loss, view=view, level="cell", direction="both")
    assert crossed(drawing) == set() and shared(drawing) == set()
    assert overlaps(drawing) == [] and astray(drawing) == set()
    back = {(wire.tail, wire.head) for wire in wires(drawing) if "gradient" in wire.classes}
    for state in cell(5, 4, rng=np.random.default_rng(0)).states:
        assert any(tail.startswith("[0]@1:") and head == f"[0]@0:{state}" for tail, head in back)
    assert any(tail.startswith("[0]@1:") and head.startswith("weights:") for tail, head in back)


def test_gradients_go_back_along_the_road_of_c() -> None:
    layer = nn.LSTM(5, 4, rng=np.random.default_rng(0))
    with tgs.composed():
        loss = layer(np.ones((3, 2, 5), "f"))[0].sum()
    drawing = viz.draw(loss, level="cell", direction="both")
    back = {wire.tail: wire.head for wire in wires(drawing) if "gradient" in wire.classes}
    places = {box.name: box for box in boxes(drawing)}
    tail, passed = "[0]@2:c", []
    while tail != "[0]@1:c":
        tail = back[tail]
        passed.append(tail)
    assert len(passed) == 3 and len({places[name].y for name in passed}) == 1


def test_wires_on_one_another_are_seen() -> None:
    drawing = viz.draw(run(MGUCell), level="cell")
    road = re.search(r'"[^"]*@0:h" -> "[^"]*@1:[^"]*" (\[pos="[^"]*)"', drawing.dot)
    assert road is not None and shared(drawing) == set()
    twice = drawing.dot.rstrip().removesuffix("}") + f'"a" -> "b" {road[1]}"];\n}}'
    assert {ends[:2] for ends in shared(viz.Drawing(twice, "twice"))} >= {("a", "b")}


@pytest.mark.parametrize("cell", UNPICTURED.values(), ids=UNPICTURED)
def test_states_are_roads_at_one_height(cell: Any) -> None:
    drawing = viz.draw(run(cell, steps=4), level="cell")
    places = {box.name: box for box in boxes(drawing)}
    for state in cell(5, 4, rng=np.random.default_rng(0)).states:
        heights = {places[f"[0]@{t}:{state}"].y for t in range(4)}
        assert len(heights) == 1
        for wire in wires(drawing):
            if wire.tail == f"[0]@1:{state}" and wire.head.startswith("[0]@2"):
                assert abs(wire.points[0][1] - heights.copy().pop()) < 0.5
                assert abs(wire.points[3][1] - wire.points[0][1]) < 0.5


@pytest.mark.parametrize("view", ["unrolled", "elided"])
@pytest.mark.parametrize("cell", UNPICTURED.values(), ids=UNPICTURED)
def test_equal_steps_are_drawn_equally(cell: Any, view: str) -> None:
    drawing = viz.draw(run(cell, steps=6), level="cell", view=view)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for box in boxes(drawing):
        if (said := re.fullmatch(r"\[0\]@(\d+):(.+)", box.name)) is not None:
            found.setdefault(said[1], {})[said[2]] = box.x, box.y
    last = found[max(found)]
    for parts in found.values():
        assert parts.keys() <= last.keys()
        moved = {round(x - last[part][0], 1) for part, (x, _) in parts.items()}
        assert len(moved) == 1 and all(last[part][1] == y for part, (_, y) in parts.items())


def test_what_lies_between_sums_and_products_runs_on_top() -> None:
    places = {box.name: box.y for box in boxes(viz.draw(run(PeepholeCell), level="cell"))}
    others = [y for name, y in places.items() if name.startswith("[0]@1:")]
    assert places["[0]@1:c"] == max(others) and places["[0]@1:h"] == min(others)


@pytest.mark.parametrize("cell", UNPICTURED.values(), ids=UNPICTURED)
def test_every_step_has_an_input(cell: Any) -> None:
    graph = build([run(cell, 2).node], level="cell")
    inputs = [item.place for item in graph.items.values() if item.kind == "input"]
    assert sorted(place.step for place in inputs) == [0, 1, 2]
    assert {place.layer for place in inputs} == {0}


def test_parts_of_weights_and_of_sums_are_no_operations() -> None:
    for cell in (PeepholeCell, MGUCell, ThreeStateCell):
        text = viz.draw(run(cell), level="cell").dot
        assert not re.search(r'label="(getitem|split|item|linear|concatenate|matmul)', text)


def test_a_weight_is_named_where_it_is_used() -> None:
    graph = build([run(PeepholeCell).node], level="cell")
    used = [e for e in graph.edges.values() if e.tail.endswith("peep")]
    assert len(used) == 9 and all("multiply" in graph.items[e.head].ops for e in used)
    text = viz.draw(run(PeepholeCell), level="cell").dot
    assert text.count("peep") - text.count("cell_l0.peep") >= 9
    assert "weight_hh" not in viz.draw(run(MGUCell), level="cell", weights="hidden").dot
    labels = viz.draw(run(MGUCell), level="cell", weights="labels")
    assert labels.dot.count("weight_hh") >= 6 and "weights:" not in labels.dot
    assert crossed(labels) == set() and overlaps(labels) == []


class TwoBack(nn.Cell):
    """Each state comes from that before the last, too."""

    def __init__(self) -> None:
        super().__init__(5, {"h": 4, "before": 4})
        self.affine = nn.Linear(5, 4, rng=np.random.default_rng(0))

    def forward(self, x: Any, state: Any) -> Any:
        h, before = state
        return tgs.tanh(self.affine(x) + h + tgs.sigmoid(before)), h * 1.0


def by_hand(kind: str, delay: int = 1, steps: int = 4) -> Any:
    """A loop that says its time and tags its states."""
    rng = np.random.default_rng(0)
    w, u = (nn.Parameter(rng.normal(size=(4, 16)).astype("f")) for _ in "wu")
    hs, c, x = [np.zeros((2, 4), "f")] * delay, np.zeros((2, 4), "f"), np.ones((2, 4), "f")
    for t in range(steps):
        with tgs.scope(step=t):
            z = x @ w + hs[-1] @ u
            if kind == "lstm":
                i, f, o, g = tgs.split(z, 4, axis=-1)
                c = (tgs.sigmoid(f) * c + tgs.sigmoid(i) * tgs.tanh(g)).tag("c")
                h = (tgs.sigmoid(o) * tgs.tanh(c)).tag("h")
            else:
                h = tgs.tanh(z[:, :4] + (hs[-delay] @ u)[:, 4:8]).tag("h")
            hs.append(h)
    return hs[-1].sum()


@pytest.mark.parametrize(
    ("view", "direction"),
    [
        *((view, "forward") for view in ("unrolled", "elided", "rolled")),
        *((view, "both") for view in ("unrolled", "elided")),
    ],
)
@pytest.mark.parametrize(
    "made",
    [
        lambda: by_hand("rnn"),
        lambda: by_hand("lstm", steps=6),
        lambda: by_hand("rnn", delay=2, steps=6),
        lambda: viz_model(TwoBack),
    ],
    ids=["rnn", "lstm", "delay", "two back"],
)
def test_loops_by_hand_are_drawn_as_cells_are(made: Any, view: str, direction: str) -> None:
    drawing = viz.draw(made(), view=view, level="cell", direction=direction)
    assert crossed(drawing) == set() and overlaps(drawing) == []
    assert shared(drawing) == set() and steep(drawing) == set()
    assert covered(drawing) == set() and astray(drawing) == set()


def test_gates_of_a_loop_stand_at_even_distances_between_the_roads() -> None:
    drawing = viz.draw(by_hand("lstm"), level="cell")
    places = {box.name.partition("@1:")[2]: box for box in boxes(drawing) if "@1:" in box.name}
    gates = [box for part, box in places.items() if part.startswith(("sigmoid", "tanh"))]
    column = sorted(box.y for box in gates if box.x == places["sigmoid.0"].x)
    apart = {round(b - a) for a, b in pairwise([places["h"].y, *column, places["c"].y])}
    assert len(column) == 4 and max(apart) - min(apart) < 10


def test_what_a_road_takes_stands_under_it_or_over_it() -> None:
    drawing = viz.draw(by_hand("lstm"), level="cell")
    upright = [w for w in wires(drawing) if len({round(x) for x, _ in w.points}) == 1]
    inner = {w.head.partition("@2:")[2] for w in upright if w.tail.partition("@2:")[2]}
    assert inner >= {"h", "c"}
    columns = {round(box.x) for box in boxes(drawing) if "@2:" in box.name}
    assert len(columns) == 5


def viz_model(cell: Any) -> Any:
    layer = nn.Recurrent(lambda size: cell(), 5)
    with tgs.composed():
        return layer(np.ones((4, 2, 5), "f"))[0].sum()


class Translator(nn.Module):
    """A decoder that starts from the last states of an encoder."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.encoder, self.decoder = (
            nn.Recurrent(lambda size: cell(size, 4, rng=rng), 5, rng=rng) for _ in range(2)
        )

    def forward(self, x: Any, y: Any) -> Any:
        return self.decoder(y, self.encoder(x)[1])[0]


@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("cell", UNPICTURED.values(), ids=UNPICTURED)
def test_states_of_an_encoder_go_on_along_the_roads_of_the_decoder(cell: Any, view: str) -> None:
    x, y = np.ones((3, 2, 5), "f"), np.ones((5, 2, 5), "f")
    drawing = viz.draw_model(Translator(cell), x, y, view=view, level="cell")
    assert crossed(drawing) == set() and shared(drawing) == set()
    assert overlaps(drawing) == [] and covered(drawing) == set()


def two_loops(steps: int) -> Any:
    """A writer that starts from a reader's last state, and names of some length."""
    rng = np.random.default_rng(0)
    we, ue, wd, ud = (tgs.tensor(rng.normal(size=(4, 4)), requires_grad=True) for _ in range(4))
    state_of_reader, loss = np.zeros((2, 4)), 0
    for x in np.ones((steps, 2, 4)):
        state_of_reader = np.tanh(x @ we + state_of_reader @ ue)
    state_of_writer = state_of_reader
    for x in np.ones((steps, 2, 4)):
        state_of_writer = np.tanh(x @ wd + state_of_writer @ ud)
        loss = loss + (state_of_writer**2).mean()
    return loss, {"state_of_reader": state_of_reader, "state_of_writer": state_of_writer}


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
def test_long_names_lie_on_nothing(view: str, direction: str) -> None:
    if view == "rolled" and direction == "both":
        return
    loss, names = two_loops(6)
    drawing = viz.draw(loss, view=view, level="cell", names=names, direction=direction)
    assert covered(drawing) == set() and crossed(drawing) == set()
    assert shared(drawing) == set() and steep(drawing) == set()
    assert "state state_of_reader" in drawing.dot  # whole where one points at it
    handed = [wire for wire in wires(drawing) if (wire.tail[:15], wire.head[:15]) == HANDED]
    (box,) = {box for box in boxes(drawing) if box.name == handed[0].tail}
    assert abs(handed[0].points[0][0] - box.x - box.width / 2) < 1
    assert any(text.name.startswith("state_") for text in written(drawing))


HANDED = "state_of_reader", "state_of_writer"


def test_what_is_handed_on_is_called_as_where_it_comes_from() -> None:
    loss, names = two_loops(3)
    short = dict(zip("rw", names.values(), strict=True))
    drawing = viz.draw(loss, level="cell", names=short)
    (handed,) = {w for w in wires_named(drawing) if w[0].startswith("r@2") and w[1].startswith("w")}
    assert handed[2] == "r"


def wires_named(drawing: viz.Drawing) -> set[tuple[str, ...]]:
    found = re.findall(r'"([^"]+)" -> "([^"]+)" .*?label="([^"]+)"', drawing.dot)
    return {tuple(ends) for ends in found}


@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
def test_a_context_at_every_step_comes_in_below_the_steps_that_read_it(view: str) -> None:
    rng = np.random.default_rng(0)
    u, v, c, out = (tgs.tensor(rng.normal(size=(4, 4)), requires_grad=True) for _ in range(4))
    h = s = np.zeros((2, 4))
    total: Any = 0
    for x in np.ones((5, 2, 4)):
        h = np.tanh(x + h @ u)
    for _ in range(5):
        s = np.tanh(s @ v + h @ c)
        total = total + ((s @ out) ** 2).mean()
    drawing = viz.draw(total, level="cell", view=view)
    assert crossed(drawing) == set() and covered(drawing) == set()


def test_states_from_two_steps_back_have_tracks_of_their_own() -> None:
    drawing = viz.draw(by_hand("rnn", delay=2, steps=6), level="cell")
    lowest: dict[str, float] = {}
    for wire in wires(drawing):
        step = re.fullmatch(r"h@(\d+):h", wire.tail)
        far = step is not None and f"h@{int(step[1]) + 2}:" in wire.head
        if step is not None and far:
            lowest[step[1]] = round(min(y for _, y in wire.points))
    assert len(lowest) == 4
    assert all(lowest[f"{t}"] != lowest[f"{t + 1}"] for t in range(3))


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("heads", [1, 3])
def test_what_a_first_step_makes_of_constants_is_drawn_as_in_later_ones(
    heads: int, direction: str
) -> None:
    rng = np.random.default_rng(0)
    ws = [tgs.tensor(rng.normal(size=(8, 4)), requires_grad=True) for _ in range(heads)]
    h: Any = np.zeros((2, 4))
    for x in np.ones((3, 2, 4)):
        z = np.concatenate([x, h], axis=1)
        h = np.tanh(sum(tgs.sigmoid(z @ w) for w in ws))
    drawing = viz.draw(h.sum(), level="cell", direction=direction)
    assert crossed(drawing) == set() and shared(drawing) == set()
    assert overlaps(drawing) == [] and covered(drawing) == set()
    joined = [line for line in drawing.dot.splitlines() if 'label="[ , ]"' in line]
    assert len(joined) == 3 and sum("dashed" in line for line in joined) == 1
    ends = {w.points[-1] for w in wires(drawing) if w.tail.startswith(("x:", "carried:"))}
    (first,) = {box for box in boxes(drawing) if box.name.startswith("constant:")}
    near = [abs(x - first.x) < first.width and abs(y - first.y) < 40 for x, y in ends]
    assert sum(near) == 2  # its x and its state


def test_gates_of_a_loop_have_the_colour_of_gates() -> None:
    w, h = nn.Parameter(np.eye(4, dtype="f")), np.zeros((2, 4), "f")
    for t in range(3):
        with tgs.scope(step=t):
            z = tgs.sigmoid(h @ w).tag("z")
            h = (z * h + tgs.tanh(h @ w).tag("n")).tag("h")
    drawn = re.findall(r'label="z = σ".*', viz.draw(h.sum(), level="cell").dot)
    assert len(drawn) == 3 and all(THEMES["light"].gate_fill in line for line in drawn)


@pytest.mark.parametrize("layers", [1, 2])
def test_inputs_of_a_joined_state_lead_into_what_joins_them_alone(layers: int) -> None:
    """At the first step the joined box is a constant, and x a part of what reads it."""

    class Joined(nn.Cell):
        def __init__(self, size: int) -> None:
            super().__init__(size, 4)
            self.sums = nn.Linear(size + 4, 4)

        def forward(self, x: Any, h: Any) -> Any:
            return 0.9 * h + 0.1 * tgs.tanh(self.sums(tgs.concatenate([x, h], axis=-1)))

    y, _ = nn.Recurrent(Joined, 3, num_layers=layers)(np.ones((5, 2, 3), np.float32))
    graph = build(told([y.sum().node], {}), view="rolled", level="cell")
    readers = [edge.head for edge in graph.edges.values() if graph.items[edge.tail].kind == "input"]
    assert [name.partition(":")[2] for name in readers] == ["concatenate.0"]
