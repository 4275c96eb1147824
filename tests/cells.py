"""All public cells and layers of ours, and cells that nobody fused, as a user's own may look."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn
from tinygrad_seq.nn.cells.gated import GatedCell
from tinygrad_seq.nn.flat import FlatRecurrent


class MGUCell(nn.Cell):
    """The minimal gated unit (Zhou et al., 2016): one gate, one state."""

    gates = ("f", "n")
    keeps = {"f": -1.0}  # noqa: RUF012  (as a user would write it)

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any, dtype: Any = np.float32):
        super().__init__(input_size, hidden_size)
        self.weight_xh = weight(rng, input_size, 2 * hidden_size, dtype)
        self.weight_hh = weight(rng, hidden_size, 2 * hidden_size, dtype)
        self.bias = weight(rng, 1, 2 * hidden_size, dtype)

    def forward(self, x: Any, h: Any) -> Any:
        size = self.hidden_size
        xf, xn = tgs.split(x @ self.weight_xh + self.bias, 2, axis=-1)
        f = tgs.sigmoid(xf + h @ self.weight_hh[:, :size]).tag("f")
        n = tgs.tanh(xn + (f * h) @ self.weight_hh[:, size:]).tag("n")
        return ((1 - f) * h + f * n).tag("h")


class PeepholeCell(nn.Cell):
    """An LSTM whose gates see the cell state (Gers and Schmidhuber, 2000), from Linear layers."""

    gates = ("i", "f", "o", "g")

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any, dtype: Any = np.float32):
        super().__init__(input_size, {"h": hidden_size, "c": hidden_size})
        both = input_size + hidden_size
        self.all = nn.Linear(both, 4 * hidden_size, rng=rng, dtype=dtype)
        self.peep = weight(rng, 3, hidden_size, dtype)

    def forward(self, x: Any, state: Any) -> Any:
        h, c = state
        i, f, o, g = tgs.split(self.all(tgs.concatenate([x, h], axis=-1)), 4, axis=-1)
        i, f = tgs.sigmoid(i + c * self.peep[0]), tgs.sigmoid(f + c * self.peep[1])
        c = f * c + i * tgs.tanh(g)
        return tgs.sigmoid(o + c * self.peep[2]) * tgs.tanh(c), c


class IRNNCell(nn.Cell):
    """A rectified RNN that starts as the identity (Le et al., 2015)."""

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any, dtype: Any = np.float32):
        super().__init__(input_size, hidden_size)
        self.weight_xh = weight(rng, input_size, hidden_size, dtype)
        self.weight_hh = nn.Parameter(np.eye(hidden_size, dtype=dtype))
        self.bias = nn.Parameter(np.full(hidden_size, 3.0, dtype))  # off the kink

    def forward(self, x: Any, h: Any) -> Any:
        return tgs.relu(x @ self.weight_xh + h @ self.weight_hh + self.bias)


class ThreeStateCell(nn.Cell):
    """Three states of different lengths and an output of its own."""

    def __init__(self, input_size: int, hidden_size: int, *, rng: Any, dtype: Any = np.float32):
        sizes = {"fast": hidden_size, "slow": hidden_size + 1, "count": 1}
        super().__init__(input_size, sizes, output_size=hidden_size + 2)
        self.quick = nn.Linear(input_size + hidden_size, hidden_size, rng=rng, dtype=dtype)
        self.lazy = nn.Linear(hidden_size + 1, hidden_size + 1, rng=rng, dtype=dtype)
        self.read = nn.Linear(2 * hidden_size + 2, hidden_size + 2, rng=rng, dtype=dtype)

    def forward(self, x: Any, state: Any) -> Any:
        fast, slow, count = state
        fast = tgs.tanh(self.quick(tgs.concatenate([x, fast], axis=-1)))
        count = 0.5 * count + 0.1 * fast[:, :1]
        slow = 0.9 * slow + 0.1 * tgs.tanh(self.lazy(tgs.concatenate([fast, count], axis=-1)))
        return self.read(tgs.concatenate([fast, slow, count], axis=-1)), (fast, slow, count)


def weight(rng: Any, rows: int, columns: int, dtype: Any) -> nn.Parameter:
    return nn.Parameter(rng.uniform(-0.5, 0.5, (rows, columns)).astype(dtype))


def public(*bases: type) -> dict[str, Any]:
    """What nn has of some kinds, by name."""
    kinds = {name: getattr(nn, name) for name in nn.__all__}
    return {n: k for n, k in kinds.items() if inspect.isclass(k) and issubclass(k, bases)}


OURS, FLAT = public(GatedCell), public(FlatRecurrent)
"""Cells with a kernel, and the layers of them: a new one is tested by being public."""
CELLS = {
    **{cell.__name__: cell for cell in (MGUCell, PeepholeCell, IRNNCell, ThreeStateCell)},
    **OURS,
}
"""By name: four that come without a kernel, and ours."""

SIZE, H, T, N = 2, 2, 4, 3


def layer_of(
    cell: Any, seed: int = 0, dtype: Any = np.float64, size: int = SIZE, **options: Any
) -> Any:
    rng = np.random.default_rng(seed)
    layer = nn.Recurrent(lambda size: cell(size, H, rng=rng, dtype=dtype), SIZE, rng=rng, **options)
    for parameter in layer.parameters():  # biases too
        noise = 0.1 * rng.standard_normal(parameter.shape)
        parameter.data = parameter.numpy() + noise.astype(dtype)
    return layer


def inputs(seed: int, steps: int = T) -> Any:
    return np.random.default_rng(seed).uniform(-1, 1, (steps, N, SIZE))


def value_of(part: Any) -> Any:
    return part.numpy() if isinstance(part, tgs.Tensor) else part
