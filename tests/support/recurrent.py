"""Recurrent problems: a layer of any kind with inputs, a state, and what rows of a batch may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import GRU, LSTM, RNN

__all__ = ["KINDS", "RecurrentProblem", "make_layer", "recurrent_problems"]

KINDS = ("tanh", "relu", "lstm", "gru", "gru_before")
"""The recurrent layers: two vanilla ones, the LSTM, and the GRU's two variants."""


def make_layer(
    kind: str,
    inputs: int,
    hidden: int,
    layers: int = 1,
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Any:
    """A float64 layer of one of :data:`KINDS`, with biases drawn too.

    Examples
    --------
    >>> make_layer("gru_before", 2, 3).reset_after
    False
    """
    if kind not in KINDS:
        raise ConfigError("make_layer: kind", expected=KINDS, got=repr(kind))
    rng = np.random.default_rng() if rng is None else rng
    options = {"rng": rng, "dtype": np.float64, **options}
    layer: Any
    if kind == "lstm":
        layer = LSTM(inputs, hidden, layers, **options)
    elif kind in ("gru", "gru_before"):
        layer = GRU(inputs, hidden, layers, reset_after=kind == "gru", **options)
    else:
        layer = RNN(inputs, hidden, layers, kind, **options)
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            parameter.data = rng.standard_normal(parameter.shape).astype(parameter.dtype)
    return layer


@dataclass(frozen=True)
class RecurrentProblem:
    """A layer, inputs and a state, all drawn from one seed; its repr makes it again.

    Examples
    --------
    >>> problem = RecurrentProblem("lstm", steps=4, batch=3, ragged=True)
    >>> y, state = problem.run()
    >>> y.shape, len(problem.options["lengths"])
    ((4, 3, 2), 3)
    >>> from tinygrad_seq.testing import check_layer
    >>> print(check_layer(problem.layer, problem.x, problem.state, call=problem.call).method)
    complex
    """

    kind: str = "lstm"
    steps: int = 3
    batch: int = 2
    inputs: int = 2
    hidden: int = 2
    layers: int = 1
    both: bool = False
    """Whether the layer runs in both directions."""
    tokens: bool = False
    """Whether x holds integer tokens (T, N) instead of floats (T, N, I)."""
    ragged: bool = False
    """Whether rows have lengths, from 0 to T; what lies beyond them is drawn like the rest."""
    resets: bool = False
    """Whether rows start anew here and there."""
    seed: int = 0
    layer: Any = field(init=False, repr=False, compare=False)
    x: Array = field(init=False, repr=False, compare=False)
    state: tuple[Array, ...] = field(init=False, repr=False, compare=False)
    """h, or h and c, each (layers * directions, N, H)."""
    options: dict[str, Any] = field(init=False, repr=False, compare=False)
    """``lengths`` and ``reset``, where they are asked for."""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        layer = make_layer(
            self.kind, self.inputs, self.hidden, self.layers, rng, bidirectional=self.both
        )
        if self.kind == "relu":
            # An orthogonal matrix of one entry is 1 or -1. A step may then undo the one before it
            # to the last bit, and stand on the kink.
            for name, parameter in layer.named_parameters():
                if name.startswith("weight_hh"):
                    parameter.data = 0.75 * parameter.data
        shape = (self.steps, self.batch)
        x: Array = rng.standard_normal((*shape, self.inputs))
        if self.tokens:
            x = rng.integers(0, self.inputs, shape)
        size = (self.layers * layer.directions, self.batch, self.hidden)
        parts = [rng.standard_normal(size) for _ in layer.state_type._fields]
        options: dict[str, Any] = {}
        if self.ragged:
            options["lengths"] = rng.integers(0, self.steps + 1, self.batch)
        if self.resets:
            options["reset"] = rng.random(shape) < 0.3
        made = {"layer": layer, "x": x, "state": layer.state_type(*parts), "options": options}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def call(self, layer: Any, x: Any, state: Any) -> Any:
        """The layer's outputs and last state, under this problem's options."""
        return layer(x, state, **self.options)

    def run(self) -> Any:
        """The outputs (T, N, directions * H) and the last state."""
        return self.call(self.layer, self.x, self.state)


def recurrent_problems(
    kinds: Sequence[str] = KINDS, max_steps: int = 5, max_side: int = 3, max_layers: int = 2
) -> st.SearchStrategy[RecurrentProblem]:
    """Recurrent configurations of every kind, with at least two steps.

    One layer or several, one direction or both, tokens or floats, lengths, resets.

    Examples
    --------
    >>> from hypothesis import find
    >>> problem = find(recurrent_problems(), lambda p: p.both and p.ragged)
    >>> problem.kind, problem.steps, problem.batch, problem.layers, problem.resets
    ('tanh', 2, 1, 1, False)
    """
    side = st.integers(1, max_side)
    return st.builds(
        RecurrentProblem,
        kind=st.sampled_from(kinds),
        steps=st.integers(2, max_steps),
        batch=side,
        inputs=side,
        hidden=side,
        layers=st.integers(1, max_layers),
        both=st.booleans(),
        tokens=st.booleans(),
        ragged=st.booleans(),
        resets=st.booleans(),
        seed=st.integers(0, 2**16),
    )
