"""Random programs: the same NumPy text run on Tensors, on plain arrays and on the naive engine.

Needs hypothesis. Every instruction keeps its result bounded and smooth at what it is given, so
a program of any length stays away from overflow, poles and ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from tests.support.oracles import Scalar
from tinygrad_seq.engine.node import Array
from tinygrad_seq.testing.strategies import shapes

__all__ = ["INSTRUCTIONS", "Program", "Step", "programs"]

OFFSET = 0.013671
"""Where ``abs`` and ``maximum`` bend: neither drawn values nor their differences lie there."""


def _softmax(x: Any) -> Any:
    e = np.exp(np.tanh(x))
    return e / np.sum(e, axis=-1, keepdims=True)


def _last(x: Any) -> Any:
    return np.reshape(x, (-1,))[-1]


def _rows_of(x: Any, y: Any) -> Any:
    """``x @ y.T`` over whatever their last axes are, padded with zeros to a common length."""
    a, b = np.reshape(x, (-1,)), np.reshape(y, (-1,))
    size = min(a.shape[0], b.shape[0])
    return np.matmul(np.reshape(a[:size], (1, size)), np.reshape(np.tanh(b[:size]), (size, 1)))


def _hypot(x: Any, y: Any) -> Any:
    return np.hypot(x + 0 * y, 1 + y * y)  # of a number and a Scalar NumPy asks the first


ONE: dict[str, Callable[[Any], Any]] = {
    "np.tanh({})": np.tanh,
    "np.sin({})": np.sin,
    "np.cos({})": np.cos,
    "-{}": lambda x: -x,
    "np.exp(-{0} * {0})": lambda x: np.exp(-x * x),
    "np.sqrt(1 + {0} * {0})": lambda x: np.sqrt(1 + x * x),
    "np.log(1 + {0} * {0})": lambda x: np.log(1 + x * x),
    "np.square(np.sin({}))": lambda x: np.square(np.sin(x)),
    "np.abs({} - OFFSET)": lambda x: np.abs(x - OFFSET),
    "np.maximum({}, OFFSET)": lambda x: np.maximum(x, OFFSET),
    "0.5 * {} + 0.25": lambda x: 0.5 * x + 0.25,
    "np.sum({})": np.sum,
    "np.mean({}, axis=-1)": lambda x: np.mean(_row(x), axis=-1),
    "np.sum({}, axis=0, keepdims=True)": lambda x: np.sum(_row(x), axis=0, keepdims=True),
    "np.cumsum({}, axis=-1)": lambda x: np.cumsum(np.tanh(_row(x)), axis=-1),
    "np.transpose({})": np.transpose,
    "np.reshape({}, (-1,))": lambda x: np.reshape(x, (-1,)),
    "np.flip({}, 0)": lambda x: np.flip(_row(x), 0),
    "np.expand_dims({}, -1)": lambda x: np.expand_dims(x, -1) if x.ndim < 3 else x,
    "{}[0]": lambda x: _row(x)[0],
    "{}[[0, -1, 0]]": lambda x: _row(x)[np.array([0, -1, 0])],
    "{}[::-2]": lambda x: _row(x)[::-2],
    "last({})": _last,
    "softmax({})": lambda x: _softmax(_row(x)),
    "np.split({}, 1)[0]": lambda x: np.split(_row(x), 1)[0],
    "np.einsum('i->', ravel({}))": lambda x: np.einsum("i->", np.reshape(x, (-1,))),
    "np.roll({}, 1)": lambda x: np.roll(x, 1),
    "np.swapaxes({}, 0, -1)": lambda x: np.swapaxes(_row(x), 0, -1),
    "np.tril({})": lambda x: np.tril(_row(x)),
    "np.pad({}, 1)[..., :4]": lambda x: np.pad(_row(x), 1)[..., :4],
    "np.prod(np.tanh({}), axis=-1)": lambda x: np.prod(np.tanh(_row(x)), axis=-1),
    "np.cumprod(np.tanh({}), axis=-1)": lambda x: np.cumprod(np.tanh(_row(x)), axis=-1),
    "np.var({}, axis=-1)": lambda x: np.var(np.tanh(_row(x)), axis=-1),
    "np.where(checkered, {}, 0.0)": lambda x: np.where(_checkered(x.shape), x, 0.0),
}
TWO: dict[str, Callable[[Any, Any], Any]] = {
    "{} + {}": lambda x, y: _fit(x, y)[0] + _fit(x, y)[1],
    "{} - {}": lambda x, y: _fit(x, y)[0] - _fit(x, y)[1],
    "{} * np.tanh({})": lambda x, y: _fit(x, y)[0] * np.tanh(_fit(x, y)[1]),
    "{} / (1 + {1} * {1})": lambda x, y: _fit(x, y)[0] / (1 + _fit(x, y)[1] * _fit(x, y)[1]),
    "np.stack([sum({}), sum({})])": lambda x, y: np.stack([np.sum(x), np.sum(y)]),
    "np.hypot({}, 1 + {1} * {1})": lambda x, y: _hypot(*_fit(x, y)),
    "np.concatenate([ravel({}), ravel({})])": lambda x, y: np.concatenate(
        [np.reshape(x, (-1,)), np.reshape(y, (-1,))]
    )[:9],
    "rows({}) @ np.tanh(rows({}))": _rows_of,
}
INSTRUCTIONS: tuple[str, ...] = (*ONE, *TWO, "cut({})")
"""As text; ``cut`` is where the graph is cut: ``detach``."""


def _row(x: Any) -> Any:
    return np.reshape(x, (1,)) if x.ndim == 0 else x


def _fit(x: Any, y: Any) -> tuple[Any, Any]:
    """Two operands that broadcast: as they are, or each summed to a scalar."""
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return x, np.sum(y)
    return x, y


def _checkered(shape: tuple[int, ...]) -> Array:
    pattern: Array = np.arange(int(np.prod(shape, dtype=int))).reshape(shape) % 2 == 0
    return pattern


def _all_scalars(value: Any) -> Any:
    """On the naive engine, constants that NumPy mixed in become scalars as well."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "O":
        return value
    made = np.empty(value.shape, object)
    for index, part in np.ndenumerate(value):
        made[index] = part if isinstance(part, Scalar) else Scalar(part)
    return made


class Step(NamedTuple):
    """One instruction and the values it works on: inputs first, then earlier results."""

    instruction: str
    operands: tuple[int, ...]


class Program(NamedTuple):
    """A straight-line program over arrays; every value it makes counts in the result."""

    inputs: tuple[Array, ...]
    steps: tuple[Step, ...]

    def run(self, values: Sequence[Any], cut: Callable[[Any], Any]) -> Any:
        """The program's one number, for array-likes of any kind in place of the inputs."""
        pool = list(values)
        for instruction, operands in self.steps:
            given = [pool[i] for i in operands]
            if instruction in ONE:
                made = ONE[instruction](*given)
            elif instruction in TWO:
                made = TWO[instruction](*given)
            else:
                made = cut(*given)
            pool.append(_all_scalars(made) if hasattr(made, "ndim") else np.asarray(made))
        total: Any = 0.0
        for k, value in enumerate(pool):
            total = total + np.sum(value) * (0.5 + 0.25 * (k % 3))
        return total

    def __str__(self) -> str:
        lines = [f"v{k} = array of shape {x.shape}" for k, x in enumerate(self.inputs)]
        for k, (instruction, operands) in enumerate(self.steps, len(self.inputs)):
            lines.append(f"v{k} = " + instruction.format(*[f"v{i}" for i in operands]))
        return "\n".join(lines)


@st.composite
def programs(
    draw: Callable[[st.SearchStrategy[Any]], Any], max_inputs: int = 3, max_steps: int = 12
) -> Program:
    """Programs of one to `max_steps` instructions; later values are used more often."""
    count = draw(st.integers(1, max_inputs))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    inputs = tuple(np.asarray(rng.uniform(-1.5, 1.5, draw(shapes(0, 3)))) for _ in range(count))
    steps = []
    for made in range(draw(st.integers(1, max_steps))):
        instruction = draw(st.sampled_from(INSTRUCTIONS))
        arity = 2 if instruction in TWO else 1
        newest = count + made - 1
        operands = tuple(newest - draw(st.integers(0, newest)) for _ in range(arity))
        steps.append(Step(instruction, operands))
    return Program(inputs, tuple(steps))
