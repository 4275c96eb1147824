"""Any cell is drawn as what it says that it is: its title, its states, its gates, its picture."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import CELLS, MGUCell
from tinygrad_seq import nn, viz
from tinygrad_seq.timeline.picture import Slot, Template, gate, state
from tinygrad_seq.viz.graph.fold import build

each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
STEPS = 3


def loss_of(cell: Any, layers: int = 1, windows: int = 1) -> Any:
    """A loss over a layer of a cell, of one window or of several with the state cut between."""
    rng = np.random.default_rng(0)
    layer = nn.Recurrent(lambda size: cell(size, 4, rng=rng), 5, layers)
    model, x = nn.ManyToMany(layer, 5, rng=rng), rng.integers(0, 5, (STEPS, 2))
    state, losses = None, []
    with tgs.composed():
        for k in range(windows):
            with tgs.scope(start=k * STEPS):
                logits, state = model(x, state)
                losses.append(tgs.cross_entropy(logits, x))
            state = state.detach()
    return sum(losses)


def titles(loss: Any, **options: Any) -> str:
    return str(viz.draw(loss, **options).dot)


@each_cell
@pytest.mark.parametrize("level", ["module", "cell"])
@pytest.mark.parametrize("view", ["unrolled", "rolled"])
def test_its_states_and_no_others_go_from_step_to_step(cell: Any, level: str, view: str) -> None:
    graph = build([loss_of(cell, 2).node], view=view, level=level)
    carried = {edge.kind for edge in graph.edges.values() if edge.delay}
    assert carried == set(cell(5, 4, rng=np.random.default_rng(0)).states)


@each_cell
def test_its_title_stands_in_its_boxes(cell: Any) -> None:
    made = cell(5, 4, rng=np.random.default_rng(0))
    title = made.form().title
    text = titles(loss_of(cell, 2))
    assert text.count(f"<b>{title} 0</b>") == text.count(f"<b>{title} 1</b>") == STEPS
    others = {"RNN", "LSTM", "GRU", "MGU", "Peephole", "IRNN", "ThreeState"} - {title}
    assert not any(f"<b>{other} 0</b>" in text for other in others)


@each_cell
def test_a_start_is_no_cut_and_a_detach_is_one(cell: Any) -> None:
    assert "✂" not in titles(loss_of(cell))
    names = list(cell(5, 4, rng=np.random.default_rng(0)).states)
    text = titles(loss_of(cell, windows=2))
    assert all(f"✂ {name}" in text for name in names), names
    assert text.count("✂") - text.count("✂ in") <= 2 * len(names) + 1  # and one in the legend


@each_cell
def test_every_view_and_level_can_be_drawn(cell: Any) -> None:
    loss = loss_of(cell, 2, windows=2)
    for view in ("unrolled", "elided", "rolled"):
        for level in ("module", "cell", "op"):
            assert "digraph" in titles(loss, view=view, level=level)


class Pictured(MGUCell):
    """The same, with a picture: h on a straight road."""

    picture = Template(
        {
            "f": gate(-40, 20, "f"),
            "n": Slot(20, 20, 48, 24, "n  tanh", "squash_fill"),
            "h": state(70, -20, "h"),
            "sums": Slot(-20, -20, 60, 24, "W", "weight_fill"),
        },
        {},
        200,
        90,
        (0, 0),
        {"h": ("sums", "h")},
        affine="sums",
    )

    def forward(self, x: Any, h: Any) -> Any:
        z = (x @ self.weight_xh + self.bias + h @ self.weight_hh).tag("sums")
        f, n = tgs.split(z, 2, axis=-1)
        f, n = tgs.sigmoid(f).tag("f"), tgs.tanh(n).tag("n")
        return (h + (f * (n - h))).tag("h")


def test_a_picture_of_its_own_needs_all_its_parts() -> None:
    """Where an operation has no place in it, the cell is drawn in layers: nothing is left out."""
    graph = build([loss_of(Pictured).node], level="cell")
    parts = {item.part for item in graph.items.values() if item.place.step == 1}
    assert {"f", "n", "sums"} <= parts
    assert "digraph" in titles(loss_of(Pictured), level="cell")


class Small(MGUCell):
    """All of its operations have their place in its picture."""

    picture = Template(
        {"a": Slot(-52, 0, 100, 28, "own sums", "weight_fill"), "h": state(86, 0, "h")},
        {},
        214,
        50,
        (0, 0),
        {"h": ("a", "h")},
    )

    def forward(self, x: Any, h: Any) -> Any:
        size = self.hidden_size
        both = x @ self.weight_xh[:, :size] + h @ self.weight_hh[:, :size]
        return tgs.tanh((both + self.bias[:, :size]).tag("a"))


def test_a_picture_of_its_own_is_used() -> None:
    text = titles(loss_of(Small), level="cell")
    assert text.count('label="own sums"') == STEPS
    assert text.count("own sums") == titles(loss_of(Small, 2), level="cell").count("own sums") / 2


class Zoneout(MGUCell):
    """Some units keep what they had."""

    def forward(self, x: Any, h: Any) -> Any:
        return tgs.where(np.arange(self.hidden_size) % 2 == 0, h, super().forward(x, h))


@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell", "op"])
def test_a_cell_that_keeps_a_part_of_its_state_is_drawn(view: str, level: str) -> None:
    assert "digraph" in titles(loss_of(Zoneout, 2), view=view, level=level)


def test_a_loop_by_hand_is_titled_by_its_module_alone() -> None:
    """Nobody said what it is: it is no RNN, no LSTM and no GRU."""
    weight = tgs.tensor(np.eye(3), requires_grad=True)
    h: Any = np.ones((1, 3))
    for t in range(3):
        with tgs.scope(path="mine", step=t):
            h = tgs.tanh(h @ weight).tag("h")
    text = titles(h.sum())
    assert "<b>mine</b>" in text and "RNN" not in text


class TwoStates(nn.Cell):
    """Two states of any names."""

    def __init__(self, *names: str) -> None:
        super().__init__(2, dict.fromkeys(names, 2))
        self.affine = nn.Linear(2, 2, rng=np.random.default_rng(0))

    def forward(self, x: Any, state: Any) -> Any:
        first, second = state
        first = tgs.tanh(self.affine(x) + first + second)
        return first, 0.5 * second + first


@pytest.mark.parametrize("level", ["module", "cell", "op"])
@pytest.mark.parametrize("view", ["unrolled", "elided", "rolled"])
@pytest.mark.parametrize("names", [("x", "w"), ("weight", "depth"), ("up", "input"), ("c", "h")])
def test_a_state_may_have_any_name(names: tuple[str, str], level: str, view: str) -> None:
    def places(*names: str) -> list[str]:
        layer = nn.Recurrent(lambda size: TwoStates(*names), 2)
        drawing = viz.draw_model(layer, np.ones((6, 1, 2), np.float32), view=view, level=level)
        return sorted(re.findall(r'pos="[^"]*"', drawing.dot))

    assert places(*names) == places("p" * len(names[0]), "q" * len(names[1]))
