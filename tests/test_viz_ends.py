"""Every wire begins and ends at the border of what it is said to join, whatever reads whatever."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from demos.lab.by_hand import translator
from tests.drawn import astray, crossed, shared, wires
from tinygrad_seq import viz
from tinygrad_seq.viz.output.drawing import Drawing

H, N, T = 4, 2, 3
WAYS: list[dict[str, Any]] = [
    *({"level": level, "view": v} for level in ("module", "cell") for v in ("unrolled", "rolled")),
    *({"level": level, "direction": "both", "view": "elided"} for level in ("module", "cell")),
    *({"level": level, "rankdir": "TB"} for level in ("module", "cell")),
]


def leaves(count: int, *shape: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        tgs.tensor(rng.normal(0, 0.4, shape or (H, H)), requires_grad=True) for _ in range(count)
    ]


def attention(mix: str) -> Any:
    """A decoder that looks back at all states of an encoder."""
    u, v, w, c = leaves(4)
    h: Any = np.zeros((N, H))
    memory, total = [], 0
    for x in np.ones((4, N, H)):
        h = np.tanh(x + h @ u)
        memory.append(h)
    kept, s = np.stack(memory, axis=1), h
    for x in np.ones((T, N, H)):
        if mix == "einsum":
            weights = tgs.softmax(np.einsum("nsh,nh->ns", kept, s), axis=-1)
            context = np.einsum("ns,nsh->nh", weights, kept)
        else:
            weights = tgs.softmax((kept @ s[:, :, None])[:, :, 0], axis=-1).tag("weights")
            context = (weights[:, None, :] @ kept)[:, 0]
        s = np.tanh(x @ w + s @ v + context @ c)
        total = total + (s**2).mean()
    return total


def starts_that_others_read() -> Any:
    """A loop that starts from what the loss reads, too."""
    u, first = leaves(2)
    h = start = np.tanh(first[:N])
    for _ in range(T):
        h = (h / h.sum()) @ u
    return (h**2).mean() + start.sum()


def start_of_a_used_weight() -> Any:
    """A loop that starts from what is computed of a weight that its steps use, too."""
    u, v = leaves(2)
    h = (v - 0.1) @ v
    for _ in range(T):
        h = np.tanh(h @ u + v)
    return (h**2).mean()


def from_two_steps_back(ways: int = 2) -> Any:
    """Several operations that read a state from two steps back."""
    us, states = leaves(ways + 1), [np.zeros((N, H))] * 2
    for x in np.ones((5, N, H)):
        far: Any = sum(tgs.sigmoid(states[-2] @ u) for u in us[1:])
        states.append(np.tanh(x + states[-1] @ us[0]) * far)
    return (states[-1] ** 2).mean()  # type: ignore[attr-defined]


def shared_embedding() -> Any:
    """An encoder and a decoder that look words up in one table."""
    table, u, v, w = leaves(4)
    h: Any = np.zeros((N, H))
    total: Any = 0
    for word in np.ones((T, N), int):
        h = np.tanh(table[word] @ w + h @ u)
    for word in np.ones((T, N), int):
        h = np.tanh(table[word] + h @ v)
        total = total + (h**2).mean()
    return total


def constants_joined() -> Any:
    """A step whose first joins a constant to its input, and reads that again later on."""
    u, v = leaves(2, 2 * H, H)
    h: Any = np.zeros((N, H))
    for x in np.ones((T, N, H)):
        z = np.tanh(np.concatenate([x, h], axis=1) @ u)
        h = np.tanh(np.concatenate([z, x], axis=1) @ v + h)
    return (h**2).mean()


def four_states() -> Any:
    """A cell that carries more states than a box has room for."""
    us = leaves(4)
    states: list[Any] = [np.zeros((N, H))] * 4
    for x in np.ones((T, N, H)):
        states = [
            np.tanh(x + states[k] @ us[k] + states[k - 1]).tag(name)
            for k, name in enumerate("habc")
        ]
    return sum(((state**2).mean() for state in states), start=0)


PROGRAMS: dict[str, Callable[[], Any]] = {
    "attention by einsum": lambda: attention("einsum"),
    "attention by products": lambda: attention("products"),
    "translator": lambda: translator(4, 3)[0],
    "starts": starts_that_others_read,
    "a used weight": start_of_a_used_weight,
    "two steps back": from_two_steps_back,
    "constants": constants_joined,
    "a shared embedding": shared_embedding,
    "four states": four_states,
}


@pytest.mark.parametrize("options", WAYS, ids=lambda way: " ".join(map(str, way.values())))
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_wires_end_where_they_are_said_to(program: Any, options: dict[str, Any]) -> None:
    assert astray(viz.draw(program(), **options)) == set()


@pytest.mark.parametrize(
    "options", [*WAYS[:3], *WAYS[4:]], ids=lambda way: " ".join(map(str, way.values()))
)
def test_lines_of_different_weights_do_not_merge(options: dict[str, Any]) -> None:
    drawing = viz.draw(shared_embedding(), **options)
    assert shared(drawing) == set() and crossed(drawing) == set()
    title = r"(h and h 2|h 2 and h)"
    assert re.search(f">{title}<", drawing.dot) is not None


def test_an_end_in_empty_air_is_seen() -> None:
    drawing = viz.draw(attention("einsum"), level="cell")
    line = next(line for line in drawing.dot.splitlines() if 'pos="e,' in line)
    start = line.index('pos="e,')
    moved = line[:start] + 'pos="e,-999,-999' + line[line.index(" ", start) :]
    assert len(astray(Drawing(drawing.dot.replace(line, moved), "moved"))) == 1


def test_what_comes_from_a_memory_has_a_head_of_its_own() -> None:
    drawing = viz.draw(attention("einsum"))
    tips: dict[str, set[int]] = {}
    for wire in wires(drawing):
        if wire.head.startswith("h 2@"):
            tips.setdefault(wire.head, set()).add(round(wire.tip[0]))
    assert len(tips) == 3 and all(len(places) == 4 for places in tips.values())
