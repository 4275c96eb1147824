"""Real-time recurrent learning of a layer of any cell: what backward is held to.

The steps of our own cells are written down once more in :data:`~.rtrl.EQUATIONS`. Any other cell
is its own step, called with its parameters replaced: what is judged then is the way back through
the steps, not the rules within one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, instance_of, sequence_of, shown
from tinygrad_seq.engine.mode import no_grad
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, IndexRangeError, ShapeError
from tinygrad_seq.nn import Cell, Module, Recurrent
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.testing.layercheck import replaced
from tinygrad_seq.testing.numeric import central_slopes
from tinygrad_seq.testing.rtrl import COMPLEX_STEP, EQUATIONS, Step, rtrl
from tinygrad_seq.testing.subject import Subject

__all__ = ["MAX_UNITS", "layer_step", "rtrl_layer"]

MAX_UNITS = 8
"""Units in a part of the state that :func:`rtrl_layer` takes: beyond, the oracle gets slow."""

KINKED = {"relu", "maximum", "minimum", "clip", "max", "min"}
"""Of complex numbers NumPy takes these by the real part: away from the kink the step is right."""

CellStep = Callable[..., tuple[Any, Sequence[Any]]]
"""``(weights, x_t, *states) -> (output, states)``, all vectors."""


def rtrl_layer(
    layer: Module, x: Any, cotangents: Array, state: Sequence[Array] | None = None
) -> dict[str, Array]:
    """Gradients of ``sum(cotangents * y)`` to a recurrent layer's parameters, carried forward.

    ``y (T, N, output_size)`` are the layer's outputs; for a cell, its output at every step. The
    equations of our cells are written down here once more, from their docstrings; any other cell
    (of your own, or with ``proj_size`` or ``layer_norm``) is called for one step at a time.

    Parameters
    ----------
    layer : Cell or Recurrent
        float64, at most 8 units in a part of the state; in one direction, without
        ``trainable_state``. Dropout is not applied.
    x : (T, N, I) floats or (T, N) integer tokens
    cotangents : (T, N, output_size)
    state : sequence of arrays, optional
        The parts of the state, each (layers, N, size); zeros by default.

    Returns
    -------
    dict
        By parameter name.

    Raises
    ------
    ConfigError
        For layers that are too large, or of another kind.
    ShapeError
        For cotangents of another shape than the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> from tinygrad_seq.testing import rtrl_layer
    >>> rng = np.random.default_rng(0)
    >>> gru, x = nn.GRU(2, 3, rng=rng, dtype=np.float64), rng.standard_normal((6, 4, 2))
    >>> c = rng.standard_normal((6, 4, 3))
    >>> (gru(x)[0] * c).sum().backward()
    >>> exact = rtrl_layer(gru, x, c)
    >>> bool(np.allclose(gru.weight_hh_l0.grad, exact["weight_hh_l0"], rtol=1e-11, atol=1e-13))
    True
    """
    cells = _cells("rtrl_layer: layer", layer)
    sizes, depth, outputs = list(cells[0].states.values()), len(cells), cells[-1].output_size
    weights = {name: parameter.numpy() for name, parameter in layer.named_parameters()}
    if max(sizes) > MAX_UNITS or any(w.dtype != np.float64 for w in weights.values()):
        raise ConfigError(
            "rtrl_layer: layer",
            expected=f"float64, at most {MAX_UNITS} hidden units",
            got=f"{cells[0].dtype}, {max(sizes)} units",
        )
    x, cotangents = array_of("rtrl_layer: x", x), array_of("rtrl_layer: cotangents", cotangents)
    size, tokens = cells[0].input_size, x.dtype.kind in "iu"
    if x.ndim + tokens != 3 or 0 in x.shape or not (tokens or x.shape[-1] == size):
        raise ShapeError("rtrl_layer: x", expected=f"(T, N, {size}) or (T, N)", got=x.shape)
    if tokens and not (x.min() >= 0 and x.max() < size):
        raise IndexRangeError("rtrl_layer: x", expected=f"0 <= id < {size}", got=x.max())
    wanted: Any = (*x.shape[:2], outputs)
    if cotangents.shape != wanted:
        raise ShapeError("rtrl_layer: cotangents", expected=wanted, got=cotangents.shape)
    shapes = [(depth, x.shape[1], length) for length in sizes]
    given = [np.zeros(shape) for shape in shapes]
    if state is not None:
        parts = sequence_of("state", state, "arrays")
        given = [array_of("rtrl_layer: state", part) for part in parts]
    if [part.size for part in given] != [np.prod(shape) for shape in shapes]:
        raise ShapeError(
            "rtrl_layer: state",
            expected=", ".join(map(str, shapes)),
            got=[part.shape for part in given],
        )
    starts = [part.reshape(shape) for part, shape in zip(given, shapes, strict=True)]
    tail = [np.zeros(outputs)] if cells[-1].own_output else []
    first = sum(sizes) * (depth if tail else depth - 1)  # where the output stands in the state

    def loss(_: Any, s: Any, c: Any) -> Any:
        return np.sum(s[first : first + outputs] * c)

    step = layer_step(layer)
    total = {name: np.zeros(w.shape) for name, w in weights.items()}
    for row in range(x.shape[1]):
        start = np.concatenate([*(part[k, row] for k in range(depth) for part in starts), *tail])
        found = rtrl(step, loss, weights, x[:, row], cotangents[:, row], start)
        for name, gradient in found.gradients.items():
            total[name] += gradient
    return total


def layer_step(layer: Module, prefix: str = "") -> Step:
    """The step of a recurrent layer, or of a cell, for :func:`rtrl`.

    The state is that of every layer, part after part: of one layer of an LSTM, h and then c.
    Where the cells have an output of their own, that of the last layer follows. The weights are
    found under the names of the layer's parameters, after `prefix`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> cell = nn.RNNCell(2, 3, rng=np.random.default_rng(0), dtype=np.float64)
    >>> weights = {name: p.numpy() for name, p in cell.named_parameters()}
    >>> after = layer_step(cell)(weights, np.ones(2), np.zeros(3))
    >>> bool(np.allclose(after, cell(np.ones((1, 2))).data[0]))
    True
    """
    instance_of("layer_step: prefix", prefix, str)
    cells = _cells("layer_step: layer", layer)
    names = {id(parameter): name for name, parameter in layer.named_parameters()}
    keys = [
        {own: prefix + names[id(parameter)] for own, parameter in cell.named_parameters()}
        for cell in cells
    ]
    steps = [_cell_step(cell) for cell in cells]
    ends = np.cumsum([size for cell in cells for size in cell.states.values()])

    def step(w: Mapping[str, Any], x: Any, s: Any) -> Any:
        rest = iter(np.split(s, ends))
        found: list[Any] = []
        for cell, one, own in zip(cells, steps, keys, strict=True):
            before = [next(rest) for _ in cell.states]
            x, after = one({name: w[key] for name, key in own.items()}, x, *before)
            found += after
        return np.concatenate([*found, x] if cells[-1].own_output else found)

    return step


def _cells(what: str, layer: Module) -> list[Cell]:
    """The cells of a layer in one direction, from the first layer up."""
    instance_of(what, layer, Module)
    if isinstance(layer, Cell):
        return [layer]
    if isinstance(layer, Recurrent) and not (layer.bidirectional or layer.trainable_state):
        return [layer.cell_at(k) for k in range(layer.num_layers)]
    raise ConfigError(
        what,
        expected="an nn.Cell, or an nn.Recurrent of cells in one direction, without "
        "trainable_state",
        got=shown(layer),
        hint="for other equations, write the step and call rtrl",
    )


def _cell_step(cell: Cell) -> CellStep:
    """The equations of our cells, or else the cell itself."""
    names = {name for name, _ in cell.named_parameters()} - {"bias_hn"}
    known = EQUATIONS.get((type(cell), getattr(cell, "nonlinearity", None)))
    if known is None or names != {"weight_xh", "weight_hh", "bias"}:
        return _Itself(cell)

    def step(w: Mapping[str, Any], x: Any, *states: Any) -> tuple[Any, Sequence[Any]]:
        after = known(w, x, *states)
        return after[0], after

    return step


class _Itself:
    """A cell as a step on vectors, which may be complex by a small imaginary part."""

    def __init__(self, cell: Cell) -> None:
        self.cell = copy.deepcopy(cell)
        self.cell.eval()
        self.parameters = dict(self.cell.named_parameters())
        self.analytic: bool | None = None

    def __call__(self, w: Mapping[str, Any], x: Any, *states: Any) -> tuple[Any, Sequence[Any]]:
        if np.asarray(x).dtype.kind in "iu" and not self.cell.reads_tokens:
            x = np.eye(self.cell.input_size)[x]
        values = [np.asarray(value) for value in (x, *states, *(w[n] for n in self.parameters))]
        floats = [k for k, value in enumerate(values) if value.dtype.kind not in "iu"]
        if not any(np.iscomplexobj(value) for value in values):
            return self._split(self._numbers(values))
        if self.analytic is None:
            at = [np.real(value) for value in values]
            rng = np.random.default_rng(0)
            subject = Subject("rtrl_layer", self._run, at, floats, rng, list(self.cell.states))
            self.analytic = subject.is_analytic(KINKED)
        if self.analytic:
            made = [v.astype(np.complex128) if k in floats else v for k, v in enumerate(values)]
            return self._split(self._numbers(made))

        def along(h: float) -> Array:
            """At a distance along the direction of the imaginary parts."""
            moved = [
                v.real + h * (v.imag / COMPLEX_STEP) if k in floats else v
                for k, v in enumerate(values)
            ]
            return self._numbers(moved)

        slope = central_slopes(along, 1e-9)
        return self._split(along(0.0) + 1j * COMPLEX_STEP * slope)

    def _run(self, *values: Any) -> list[Any]:
        """Output and states, one row each, of tensors or arrays of one row's numbers."""
        count = len(self.cell.states) + 1
        x, *states = (value[None] for value in values[:count])
        weights = dict(zip(self.parameters, values[count:], strict=True))
        with replaced(self.cell, self.parameters, weights):
            output, after = self.cell.stepper(1)(x, *states)
        return [output, *after]

    def _numbers(self, values: Sequence[Any]) -> Array:
        with no_grad():
            made = [v if v.dtype.kind in "iu" else Tensor._wrap(v, None) for v in values]
            return np.concatenate([part._array[0] for part in self._run(*made)])

    def _split(self, vector: Array) -> tuple[Any, Sequence[Any]]:
        sizes = [self.cell.output_size, *self.cell.states.values()]
        output, *after = np.split(vector, np.cumsum(sizes)[:-1])
        return output, after
