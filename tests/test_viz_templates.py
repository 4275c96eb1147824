"""Pictures of cells are data: what lays one out knows no cell, part or state by name."""

from __future__ import annotations

import pytest

from tinygrad_seq.nn.cells import gru, lstm, rnn
from tinygrad_seq.timeline.picture import Port, Slot, Template, gate, sign, state
from tinygrad_seq.viz.graph.items import DEPTH, Edge, Item, Place, Span
from tinygrad_seq.viz.layout.templates import bar_roads, template_block, template_for
from tinygrad_seq.viz.picture.style import THEMES, HeatScale, Style

TEMPLATES = [rnn.PICTURE, lstm.PICTURE, lstm.PROJECTED, gru.PICTURE, gru.PICTURE_BEFORE]
MADE_UP = Template(
    {
        "blend": Slot(0, -50, 80, 20, "U x", "weight_fill"),
        "leak": gate(-30, 0, "leak"),
        "leak*m": sign(20, 0, "×"),
        "m": state(60, 50, "m"),
    },
    {"m": sign(0, 50, "+")},
    200,
    160,
    (10, 0),
    {"m": ("leak*m", "m")},
    {"w leak": Port((0, -1), 5)},
    affine="blend",
    output="m",
)
PARTS = ("blend", "leak", "m*leak", "m")  # a product may be recorded in either order
INNER = [("blend", "leak"), ("leak", "m*leak"), ("m*leak", "m"), ("blend", "m")]
STYLE = Style(THEMES["light"], HeatScale(0.1, 10.0, THEMES["light"].heat), "once", False)


def made_up(**norms: float):
    items = {part: Item(part, "op", Place("cell", 0, 3), part, ops={part: 1}) for part in PARTS}
    for part, norm in norms.items():
        items[part].gradients[part] = Span.of(norm)
    edges = [Edge(tail, head, DEPTH) for tail, head in INNER]
    return template_block(MADE_UP, list(items.values()), edges, STYLE)


def test_a_template_is_found_among_those_that_are_known():
    assert template_for(PARTS, TEMPLATES) is None
    assert template_for(PARTS, [*TEMPLATES, MADE_UP]) is MADE_UP
    assert template_for([*PARTS, "more"], [MADE_UP]) is None
    assert bar_roads({"m", "leak"}, TEMPLATES) == {}
    assert bar_roads({"m", "leak"}, [*TEMPLATES, MADE_UP]) == {"m": 0}


def test_parts_stand_where_their_slots_say():
    block = made_up()
    at = {shape.id: (shape.x, shape.y) for shape in block.shapes}
    assert at["blend"] == (-10, -50) and at["m*leak"] == (10, 0) and at["m·"] == (-10, 50)
    assert block.anchors["x:"] == (-10, -60) and block.anchors["up:"] == (50, 67)
    assert block.anchors["m"] == (0, 0) and block.anchors["m+"] == (67, 50)
    assert block.anchors["w: leak"] == (-35, -12)


def test_every_edge_is_drawn_and_states_are_led_on_their_road():
    wires = {(wire.tail, wire.head): wire for wire in made_up().wires}
    assert wires.keys() == {
        ("blend", "leak"),
        ("leak", "m*leak"),
        ("m*leak", "m·"),
        ("blend", "m·"),
        ("m·", "m"),
    }
    assert {ends for ends, wire in wires.items() if wire.road} == {("m*leak", "m·"), ("m·", "m")}


@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_a_state_is_coloured_by_its_gradient_norm(norm):
    shapes = {shape.id: shape for shape in made_up(m=norm).shapes}
    heat = STYLE.heat
    assert heat is not None and shapes["m"].fill == heat.color(norm)
    assert shapes["m#"].tooltip.startswith("|∂L/∂m| ")
