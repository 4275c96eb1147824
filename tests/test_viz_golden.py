"""DOT goldens of every view and level, of cuts, heat, gradients and closed modules, per model.

What changes in a drawing shows up as a diff in review.

``UPDATE_GOLDENS=1 pytest tests/test_viz_golden.py`` writes them anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.viz_models import MODELS, Model, composed_loss
from tinygrad_seq import viz
from tinygrad_seq.engine.node import nodes_behind

FOLDER = Path(__file__).parent / "golden"
STEPS = {"unrolled": 3, "elided": 8, "rolled": 3}
CASES = [
    (name, view, level)
    for name in ("rnn", "rnn2", "lstm")
    for view in STEPS
    for level in ("module", "cell", "op")
]


class Clipped(NamedTuple):
    """What a clipping might have reported."""

    norm: float = 2.5
    factor: float = 0.4


EXTRAS: dict[str, dict[str, Any]] = {
    "truncated": {"steps": 2, "windows": 2},
    "heat": {"traced": True, "clip": Clipped()},
    "cell-heat": {"traced": True, "level": "cell"},
    "elided-heat": {"traced": True, "steps": 8, "view": "elided"},
    "both": {"traced": True, "direction": "both", "windows": 2},
    "labels": {"weights": "labels", "theme": "dark"},
    "closed": {"depth": 0},
}


def check(name: str, text: str) -> None:
    path = FOLDER / f"{name}.gv"
    if os.environ.get("UPDATE_GOLDENS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no golden {path.name}: make it with UPDATE_GOLDENS=1"
    assert text == path.read_text(encoding="utf-8"), (
        f"{path.name} differs; if that is meant, write it anew with UPDATE_GOLDENS=1"
    )


@pytest.mark.parametrize(("name", "view", "level"), CASES)
def test_drawing_is_the_golden_one(name, view, level):
    model = Model(*MODELS[name])
    loss, _ = composed_loss(model, STEPS[view])
    check(f"{name}-{view}-{level}", viz.draw(loss, view=view, level=level).dot)


def made_up_trace(loss) -> viz.Trace:
    """Norms by position: the same on every machine, as measured ones would not be."""
    trace = viz.Trace()
    for index, node in enumerate(nodes_behind([loss.node])):
        trace.gradients[node.seq] = 1.05**index / 100
        for parent in node.parents:
            if parent is not None and parent.is_leaf:
                trace.contributions[node.seq, parent.seq] = index / 1000
    return trace


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("name", ["rnn", "rnn2", "lstm"])
def test_what_is_drawn_beside_the_graph_is_the_golden_one(name, extra):
    options = dict(EXTRAS[extra])
    steps, traced = options.pop("steps", 3), options.pop("traced", False)
    model, state = Model(*MODELS[name]), None
    for _ in range(options.pop("windows", 1)):
        loss, state = composed_loss(model, steps, None if state is None else state.detach())
    trace = made_up_trace(loss) if traced else None
    check(f"{name}-{extra}", viz.draw(loss, trace=trace, **options).dot)


def test_gradients_beside_the_forward_pass_are_the_golden_ones():
    model = Model("LSTM", 2)
    loss, state = composed_loss(model, 3)
    loss, _ = composed_loss(model, 3, state.detach())
    drawing = viz.draw(loss, direction="both", trace=made_up_trace(loss))
    check("lstm2-unrolled-module-both", drawing.dot)


def test_drawing_is_the_same_in_every_process():
    code = (
        "from tests.viz_models import *; from tinygrad_seq import viz\n"
        "import sys, hashlib\n"
        "model = Model('LSTM', 2)\n"
        "loss, _ = composed_loss(model, 6)\n"
        "text = ''.join(viz.draw(loss, view=v, level=l).dot"
        " for v in ('unrolled', 'elided', 'rolled') for l in ('module', 'cell', 'op'))\n"
        "x = tokens(6)\n"
        "text += viz.draw_model(model, x, loss=lambda out: tgs.cross_entropy(out[0], x)).dot\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        digests.add(done.stdout)
    assert len(digests) == 1
