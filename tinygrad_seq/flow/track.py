"""One layer's gradient through time: per step, over lags, and exactly (Jacobians)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinygrad_seq.checks import choice, index_of
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.errors import ConfigError, GraphError, IndexRangeError
from tinygrad_seq.flow.rows import Rows, rows_of
from tinygrad_seq.flow.spectrum import Spectrum, lyapunov_exponents, recurrent_spectra
from tinygrad_seq.flow.walks import (
    Fences,
    Recorder,
    back,
    cell_decay_of,
    decay_of,
    direct_parts,
    fences_of,
    ratios_of,
    size_of,
    value_at,
)
from tinygrad_seq.timeline.chains import Chain
from tinygrad_seq.timeline.roles import CELL

__all__ = ["FADED", "Track", "make_track"]

FADED = 0.01
"""What is left when a gradient counts as vanished; its inverse, when it counts as exploded."""


@dataclass(frozen=True, repr=False)
class Track:
    r"""How the gradient flows back through one recurrent layer (in one direction).

    The state of a step is s_t = h_t, or (h_t, c_t) where there is a cell, or whatever parts a cell
    of your own has: h is then the first, c the one called so, or else the second. T steps, N
    sequences, H units, which stand in rows here however the program has them: columns (H, N) are
    turned, one vector (H,) is one row, and states of more axes are flattened, sequence by
    sequence. S is H, 2H, or the sum over all parts; where a step reads h of several steps before,
    these are parts, too. Of sequences that are there at some steps only, the others hold zeros; a
    state that is a constant at some step is NaN there.

    Attributes
    ----------
    name : str
        Module path and layer: ``"rnn.l0"``; of a loop of your own the name of its state, ``"h"``.
    h, c : ndarray (T, N, H)
        The states; c is None without a cell.
    dh, dc : ndarray (T, N, H)
        dL/dh_t and dL/dc_t, complete: by every way from the state to the loss.
    decay : ndarray (K + 1,)
        Entry k: norm of the gradient of the last state that the loss depends on, carried k
        steps back (``|| J^T ... J^T u ||``), over its norm ``|| u ||``. 1 at k = 0; K = T - 1
        where the loss reads the last step.
    cell_decay : ndarray (K + 1,) or None
        The same for dL/dc of the last such step along the cells alone, from c_t to c_{t-1}
        past h: what the forget gates leave of it, ``|| f_{T-1} * ... * f_{T-k} * u ||`` over
        ``|| u ||`` in an LSTM. It is the road that a gradient takes unharmed, as through the
        identity of a residual connection, where the forget gates are open. None without a cell.
    ratios : ndarray (T - 1,)
        Pascanu's ratio of each step, ``|| u_{t+1} J_{t+1} || / || u_{t+1} ||`` with u_t = dL/ds_t
        and J_{t+1} = ds_{t+1}/ds_t (Pascanu, Mikolov and Bengio 2013, eq. 10): below 1 the step
        shrinks the gradient that is there. NaN where none is.
    weights : dict
        The recurrent weights by name: what multiplies h_{t-1}, or what was made of it, as a matrix.
    scales : dict
        What multiplies it entry by entry: diagonal recurrences, peepholes, gains.
    weight_gradients : dict
        dL/dW of each of them, complete.
    """

    name: str
    states: tuple[str, ...]
    h: Array
    c: Array | None
    dh: Array
    dc: Array | None
    decay: Array
    cell_decay: Array | None
    ratios: Array
    weights: dict[str, Array]
    scales: dict[str, Array]
    weight_gradients: dict[str, Array]
    _chain: Chain
    _leaves: dict[str, Node]
    _direct: list[dict[Node, Array]]
    _rows: Rows
    _fences: Fences

    def __repr__(self) -> str:
        n, size = self.h.shape[1:]
        return (
            f"<Track {self.name!r}: {self.steps} steps, {n} x {size} units, "
            f"the gradient {self.verdict}>"
        )

    @property
    def steps(self) -> int:
        """T."""
        return len(self.dh)

    @property
    def dh_norm(self) -> Array:
        """Norm of dL/dh_t over batch and units, (T,)."""
        return _norms(self.dh)

    @property
    def dc_norm(self) -> Array | None:
        """Norm of dL/dc_t over batch and units, (T,); None without a cell."""
        return None if self.dc is None else _norms(self.dc)

    @property
    def rate(self) -> float:
        """Growth of the carried gradient per step, the geometric mean; 0 if it is cut off."""
        return _rate(self.decay)

    @property
    def cell_rate(self) -> float | None:
        """The same along the cells alone; None without a cell."""
        return None if self.cell_decay is None else _rate(self.cell_decay)

    @property
    def verdict(self) -> str:
        """``"vanishes"``, ``"explodes"`` or ``"is carried"`` over this sequence.

        Vanishes: 1% or less is left of the last gradient at the start; explodes: it has grown
        a hundredfold.
        """
        last = self.decay[-1]
        if not np.isfinite(last) or last >= 1 / FADED:
            return "explodes"
        return "vanishes" if last <= FADED else "is carried"

    @property
    def horizon(self) -> float:
        """Steps back until 1%, or a hundredfold, of the gradient is left.

        Read off `decay` where it gets there for good, else extrapolated at `rate`; infinite
        at rate 1.
        """
        outside = (self.decay <= FADED) | (self.decay >= 1 / FADED) | ~np.isfinite(self.decay)
        if outside[-1]:
            return float(np.flatnonzero(~outside)[-1] + 1)
        growth = abs(np.log(self.rate))
        return float(-np.log(FADED) / growth) if growth > 0 else float("inf")

    def spectra(self, weight: str | None = None) -> dict[str, Spectrum]:
        """Spectrum of each (H, H) block of the recurrent weight, by gate (``""`` without gates).

        Parameters
        ----------
        weight : str, optional
            Which one, where a cell has several.
        """
        name = self._weight(weight, self.weights)
        used, matrix = self._chain.weights[self._leaves[name]], self.weights[name]
        if used.part is not None:  # of a weight for [x, h] what multiplies h
            length, *ends = used.part
            axis = int(self._chain.columns)
            axis = axis if matrix.shape[axis] == length else 1 - axis
            matrix = np.moveaxis(np.moveaxis(matrix, axis, 0)[slice(*ends)], 0, axis)
        return recurrent_spectra(matrix, used.gates, self._rows.widths)

    def contribution(self, t: int, weight: str | None = None) -> Array:
        """What step t adds to dL/dW of a recurrent weight, or scale: ``h_{t-1}^T dL/dz_t``.

        Over all steps they sum to ``weight_gradients``: the notes' "each block's gradient adds
        up in W".
        """
        name = self._weight(weight, self.weights or self.scales)
        t = index_of("contribution: t", t)
        if not -self.steps <= t < self.steps:
            raise IndexRangeError("contribution: t", expected=f"0 to {self.steps - 1}", got=repr(t))
        leaf, step = self._leaves[name], self._chain.steps[t]
        own = (node for part, node in step.states.items() if part in self._chain.states)
        starts = {node: self._direct[t][node] for node in own}
        found: Array | None = back(starts, (*step.border, leaf)).get(leaf)
        return np.zeros_like(self.weight_gradients[name]) if found is None else found

    def contribution_norms(self, weight: str | None = None) -> Array:
        """Norm of :meth:`contribution` of every step, (T,)."""
        parts = (self.contribution(t, weight) for t in range(self.steps))
        return np.array([float(np.linalg.norm(part.astype(np.float64))) for part in parts])

    def jacobians(self) -> Array:
        """Exact step Jacobians ds_t/ds_{t-1}, (T - 1, N, S, S), by S backward walks per step.

        Entry t - 1 belongs to step t; rows are outputs: ``J[i, j] = ds_t[i] / ds_{t-1}[j]``. With
        a cell, h comes before c, and the c-c block is what passes along the cell path alone
        (for the LSTM the diagonal of the forget gate). The sequences of a batch must not read
        one another.
        """
        return self._jacobians

    @cached_property
    def _jacobians(self) -> Array:
        rows = self._rows
        ends = dict(zip(self.states, np.cumsum([0, *rows.widths]), strict=False))
        size = sum(rows.widths)
        found = np.zeros((self.steps - 1, rows.count, size, size))
        for t in range(1, self.steps):
            before, now = self._chain.steps[t - 1].states, self._chain.steps[t].states
            for name, node in now.items():
                for i, seed in enumerate(rows.seeds(name, node)):
                    reached = back({node: seed}, (*before.values(), *self._fences[t]))
                    for other, source in before.items():
                        if source in reached:
                            row = rows.of(other, reached[source])
                            start = ends[other]
                            columns = slice(start, start + row.shape[1])
                            found[t - 1, : len(row), ends[name] + i, columns] = row
        return found

    def step_singular_values(self) -> Array:
        """Singular values of every step Jacobian, (T - 1, N, S), largest first.

        Those of their products: :func:`~tinygrad_seq.flow.product_singular_values`.
        """
        values: Array = np.linalg.svd(self.jacobians(), compute_uv=False)
        return values

    def lyapunov(self) -> Array:
        """Growth rates of the state's perturbations over this sequence, (N, S), nats per step.

        See :func:`~tinygrad_seq.flow.lyapunov_exponents`: the largest above 0 means explosion,
        below 0 vanishing.
        """
        return lyapunov_exponents(self.jacobians())

    def _weight(self, name: str | None, offered: dict[str, Array]) -> str:
        if name is None and len(offered) == 1:
            return next(iter(offered))
        known = {**self.weights, **self.scales}
        if not known:
            raise ConfigError(f"{self.name}: no recurrent weight", expected="a layer with one")
        return str(choice(*known)(f"{self.name}: which recurrent weight?", name))


def make_track(
    chain: Chain, recorder: Recorder, gradients: dict[Node, Array], names: dict[Node, str]
) -> Track:
    """Measure one chain; the graph must be kept (it is walked again for Jacobians)."""
    found = recorder.cotangents
    states = [step.states for step in chain.steps]
    rows = rows_of(chain, back)
    parts = list(rows.axes)
    leaves = {names[leaf]: leaf for leaf in (*chain.weights, *chain.scales) if leaf in gradients}
    weights = {name: leaf for name, leaf in leaves.items() if leaf in chain.weights}

    def gathered(name: str, source: Callable[[Node], Array], other: float = 0.0) -> Array:
        made = np.full((len(states), rows.count, rows.width(name)), other)
        for t, step in enumerate(states):
            if name in step:
                each = rows.of(name, source(step[name]))
                made[t, : len(each)], made[t, len(each) :] = each, 0.0
        return made

    others = chain.states[1:]
    cell = CELL if CELL in others else others[0] if others else None
    fences = fences_of(states, recorder.wanted)
    direct = direct_parts(states, chain.states, fences, found)
    return Track(
        chain.name,
        tuple(parts),
        gathered(parts[0], recorder.value, np.nan),
        None if cell is None else gathered(cell, recorder.value, np.nan),
        gathered(parts[0], lambda node: value_at(found, node)),
        None if cell is None else gathered(cell, lambda node: value_at(found, node)),
        decay_of(states, direct, fences),
        None if cell is None else cell_decay_of(states, found, cell, fences),
        ratios_of(states, direct, fences),
        {name: _value(leaf) for name, leaf in weights.items()},
        {name: _value(leaf) for name, leaf in leaves.items() if name not in weights},
        {name: gradients[leaf] for name, leaf in leaves.items()},
        chain,
        leaves,
        direct,
        rows,
        fences,
    )


def _value(leaf: Node) -> Array:
    tensor = leaf.owner() if leaf.owner is not None else None
    if tensor is None:
        raise GraphError(
            "gradient_flow: a recurrent weight is gone",
            expected="a model that outlives the run",
            got="one that was made inside it",
            hint="make the model first, and use it in run()",
        )
    return np.array(tensor.data)


def _rate(decay: Array) -> float:
    lags = len(decay) - 1
    return float(decay[-1] ** (1 / lags)) if lags else 1.0


def _norms(array: Array) -> Array:
    return np.array([size_of([step]) for step in array])
