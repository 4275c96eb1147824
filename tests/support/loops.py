"""Recurrent programs as people write them by hand, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_seq as tgs

__all__ = ["CELLS", "Program", "programs", "run"]

N, IN, H, V = 2, 3, 4, 5


class Weights:
    """Leaves by name, made where they are first asked for."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.known: dict[str, Any] = {}

    def __call__(self, name: str, *shape: int) -> Any:
        if name not in self.known:
            values = self.rng.standard_normal(shape) * 0.3
            self.known[name] = tgs.tensor(values, requires_grad=True)
        return self.known[name]


def vanilla(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    return (np.tanh(xs(k + "W", H) + h @ w(k + "U", H, H) + w(k + "b", H)),)


def bare(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    return (np.tanh(h @ w(k + "U", H, H) + xs(k + "W", H)),)


def lstm(w: Weights, k: str, xs: Any, state: Any) -> Any:
    h, c = state
    z = xs(k + "W", 4 * H) + h @ w(k + "U", H, 4 * H) + w(k + "b", 4 * H)
    i, f, g, o = np.split(z, 4, axis=-1)
    c = tgs.sigmoid(f) * c + tgs.sigmoid(i) * np.tanh(g)
    return tgs.sigmoid(o) * np.tanh(c), c


def mgu(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    f = tgs.sigmoid(xs(k + "Wf", H) + h @ w(k + "Uf", H, H))
    n = np.tanh(xs(k + "Wn", H) + (f * h) @ w(k + "Un", H, H) + w(k + "bn", H))
    return ((1 - f) * h + f * n,)


def peephole(w: Weights, k: str, xs: Any, state: Any) -> Any:
    h, c = state
    gates = [
        xs(k + "W" + name, H) + h @ w(k + "U" + name, H, H) + c * w(k + "p" + name, H)
        for name in "ifo"
    ]
    i, f, o = map(tgs.sigmoid, gates)
    c = f * c + i * np.tanh(xs(k + "Wg", H) + h @ w(k + "Ug", H, H))
    return o * np.tanh(c), c


def twice(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    u = w(k + "U", H, H)
    return (np.tanh(tgs.relu(h @ u + xs(k + "W", H)) @ u),)


def two_back(w: Weights, k: str, xs: Any, state: Any) -> Any:
    one, two = state
    now = np.tanh(xs(k + "W", H) + one @ w(k + "U", H, H) + two @ w(k + "U2", H, H))
    return now, one


def jordan(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (y,) = state
    h = np.tanh(xs(k + "W", H) + y @ w(k + "U", H, H) + w(k + "b", H))
    return (tgs.sigmoid(h @ w(k + "V", H, H) + w(k + "c", H)),)


def turned(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    return (np.tanh(xs(k + "W", H) + h @ w(k + "U", H, H).T),)


def masked(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    mask = (np.arange(H) % 2).astype(float)
    return (np.tanh(xs(k + "W", H) + (h * mask) @ w(k + "U", H, H) + w(k + "b", H)),)


def joined(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    z = np.concatenate([xs("", 0), h], axis=-1)
    return (np.tanh(z @ w(k + "WU", z.shape[-1], H) + w(k + "b", H)),)


def skipping(w: Weights, k: str, xs: Any, state: Any) -> Any:
    (h,) = state
    kept = (np.arange(N) > 0)[:, None]
    new = np.tanh(xs(k + "W", H) + h @ w(k + "U", H, H))
    return (np.where(kept, new, h),)


CELLS: dict[str, tuple[Callable[..., Any], int]] = {
    cell.__name__: (cell, states)
    for cell, states in [
        (vanilla, 1),
        (bare, 1),
        (lstm, 2),
        (mgu, 1),
        (peephole, 2),
        (twice, 1),
        (two_back, 2),
        (jordan, 1),
        (turned, 1),
        (masked, 1),
        (joined, 1),
        (skipping, 1),
    ]
}


@dataclass(frozen=True)
class Program:
    """What a drawn program does."""

    cells: tuple[str, ...]
    """Of its layers, the lowest first."""
    steps: int
    inputs: str
    """``"rows"``, ``"tokens"``, ``"leaves"``, ``"at once"`` (projected before the loop)."""
    start: str
    """``"zeros"``, ``"ones"``, ``"trained"`` or ``"computed"``."""
    reads: str
    """``"each"``, ``"last"``, ``"stack"`` or ``"mean"``."""
    cut: int
    """The step before which the states are detached, if every step is read; 0 for none."""
    by_layer: bool
    """Whether a layer runs over all steps before the next one does."""


programs = st.builds(
    Program,
    cells=st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=2).map(tuple),
    steps=st.integers(2, 5),
    inputs=st.sampled_from(["rows", "tokens", "leaves", "at once"]),
    start=st.sampled_from(["zeros", "ones", "trained", "computed"]),
    reads=st.sampled_from(["each", "last", "stack", "mean"]),
    cut=st.integers(0, 3),
    by_layer=st.booleans(),
)


@dataclass
class Run:
    """What a program left: its loss, and its states by layer and step."""

    loss: Any = None
    states: dict[tuple[int, int], tuple[Any, ...]] = field(default_factory=dict)
    weights: dict[str, Any] = field(default_factory=dict)


def run(program: Program, declared: bool) -> Run:
    """Run a program, with its steps declared or not."""
    w, made = Weights(), Run()
    at = (lambda t: tgs.scope(step=t)) if declared else (lambda t: nullcontext())
    rows = w.rng.standard_normal((program.steps, N, IN))
    tokens = w.rng.integers(0, V, (program.steps, N))
    leaves = [tgs.tensor(row, requires_grad=True) for row in rows]
    states = [_started(program, w, k) for k in range(len(program.cells))]
    before: dict[str, Any] = {}

    def given(k: int, t: int, below: Any) -> Callable[[str, int], Any]:
        def project(name: str, size: int) -> Any:
            if k:
                return below if not name else below @ w(name, H, size)
            if not name:
                return rows[t]
            if program.inputs == "tokens":
                return w(name, V, size)[tokens[t]]
            if program.inputs == "at once":
                if name not in before:
                    before[name] = rows @ w(name, IN, size)
                return before[name][t]
            x = leaves[t] if program.inputs == "leaves" else rows[t]
            return x @ w(name, IN, size)

        return project

    def step(k: int, t: int, below: Any) -> Any:
        state = states[k]
        if t == program.cut and t and program.reads in {"each", "stack"}:
            state = tuple(part.detach() if isinstance(part, tgs.Tensor) else part for part in state)
        cell = CELLS[program.cells[k]][0]
        states[k] = made.states[k, t] = cell(w, f"{k}", given(k, t, below), state)
        return states[k][0]

    if program.inputs == "at once":
        for name, size in _projected(program):
            given(0, 0, None)(name, size)
    outputs: list[Any] = [None] * program.steps
    order = (
        [(k, t) for k in range(len(program.cells)) for t in range(program.steps)]
        if program.by_layer
        else [(k, t) for t in range(program.steps) for k in range(len(program.cells))]
    )
    losses: list[Any] = []
    for k, t in order:
        with at(t):
            outputs[t] = step(k, t, outputs[t])
            if k == len(program.cells) - 1 and program.reads in {"each", "stack"}:
                outputs[t] = outputs[t] @ w("D", H, V) + w("d", V)
                if program.reads == "each":
                    losses.append(tgs.cross_entropy(outputs[t], tokens[t]))
    made.loss = _loss(program, w, outputs, losses, tokens)
    made.weights = w.known
    return made


def _projected(program: Program) -> list[tuple[str, int]]:
    names: list[tuple[str, int]] = []

    def note(name: str, size: int) -> Any:
        if name:
            names.append((name, size))
        return np.zeros((N, size or IN))

    cell, count = CELLS[program.cells[0]]
    cell(Weights(), "0", note, (np.zeros((N, H)),) * count)
    return names


def _started(program: Program, w: Weights, k: int) -> Any:
    _, count = CELLS[program.cells[k]]
    made = []
    for s in range(count):
        if program.start == "trained":
            made.append(w(f"start{k}{s}", N, H))
        elif program.start == "computed":
            made.append(np.tanh(w.rng.standard_normal((N, IN)) @ w(f"bridge{k}{s}", IN, H)))
        else:
            made.append((np.zeros if program.start == "zeros" else np.ones)((N, H)))
    return tuple(made)


def _loss(program: Program, w: Weights, outputs: Any, losses: Any, tokens: Any) -> Any:
    if program.reads == "each":
        total = losses[0]
        for loss in losses[1:]:
            total = total + loss
        return total / len(losses)
    if program.reads == "stack":
        return tgs.cross_entropy(tgs.stack(outputs), tokens)
    if program.reads == "mean":
        return (tgs.stack(outputs).mean(axis=0) @ w("D", H, 1)).sum()
    return ((outputs[-1] @ w("D", H, 1)) ** 2).mean()
