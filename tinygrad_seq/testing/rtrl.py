"""Real-time recurrent learning: exact gradients carried forward, without ever going back.

The influence of every weight on the state, ``P_t = d s_t / d w``, is carried along with the state::

    P_t = (d s_t / d s_{t-1}) P_{t-1} + (direct) d s_t / d w
    d L / d w = sum over t of (d L_t / d s_t) P_t + (direct) d L_t / d w

(Williams and Zipser, *A Learning Algorithm for Continually Running Fully Recurrent Neural
Networks*, 1989.) The derivatives of one step are complex steps, right to the last digit. So this
oracle shares nothing with backpropagation through time: no tape, no rule, no order of summation.
Full BPTT equals it; truncated BPTT does not. Memory and time grow with a power of the number of
units: it is for small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq.checks import array_of, callable_of, instance_of, sequence_of, shown
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn import Cell, GRUCell, LSTMCell, RNNCell

__all__ = ["COMPLEX_STEP", "EQUATIONS", "Forward", "Step", "rtrl"]

COMPLEX_STEP = 1e-20

Step = Callable[[Mapping[str, Any], Any, Any], Any]
"""``step(weights, x_t, state) -> state``, states being vectors."""
Loss = Callable[[Mapping[str, Any], Any, Any], Any]
"""``loss(weights, state, target_t) -> number``: what step t adds to the loss."""


class Forward(NamedTuple):
    """What :func:`rtrl` computes."""

    value: float
    """The loss, summed over the steps."""
    gradients: dict[str, Array]
    """Its gradient to every weight."""
    state: Array
    """The last state."""


def rtrl(
    step: Step,
    loss: Loss,
    weights: Mapping[str, Array],
    inputs: Iterable[Any],
    targets: Iterable[Any],
    state: Array,
) -> Forward:
    """Loss and gradients of a recurrence, by forward-mode differentiation through time.

    Parameters
    ----------
    step : callable
        ``step(weights, x_t, state) -> state``, in NumPy. It must hold for complex numbers, as
        arithmetic, exponentials and products do (``abs`` and ``max`` do not).
    loss : callable
        ``loss(weights, state, target_t) -> number``, likewise.
    weights : dict of arrays
        float64.
    inputs, targets : iterable
        One of each per step.
    state : vector
        What to start from.

    Returns
    -------
    Forward
        ``value``, ``gradients`` by name, and the last ``state``.

    Examples
    --------
    The state x_t = w x_{t-1}, whose slope to w at step 3 is 3 w**2 x_0:

    >>> found = rtrl(
    ...     lambda p, x, s: p["w"] * s,
    ...     lambda p, s, last: s[0] if last else 0.0,
    ...     {"w": np.array(0.2)},
    ...     range(3),
    ...     [False, False, True],
    ...     np.array([0.9]),
    ... )
    >>> round(float(found.gradients["w"]), 12)
    0.108
    """
    callable_of("rtrl: step", step, "step(weights, x_t, state) -> state")
    callable_of("rtrl: loss", loss, "loss(weights, state, target_t) -> number")
    weights = _floats(weights)
    names = list(weights)
    shapes = [weights[name].shape for name in names]
    flat = np.concatenate([np.reshape(weights[name], -1) for name in names])
    ends = np.cumsum([int(np.prod(shape, dtype=int)) for shape in shapes])

    def named(vector: Array) -> dict[str, Any]:
        parts = np.split(vector, ends[:-1])
        return {
            name: part.reshape(shape)
            for name, part, shape in zip(names, parts, shapes, strict=True)
        }

    state = np.array(array_of("rtrl: state", state), np.float64)
    steps = sequence_of("rtrl: inputs", inputs, "one for each step")
    ends_of_steps = sequence_of("rtrl: targets", targets, "one for each step")
    if len(steps) != len(ends_of_steps) or state.ndim != 1 or not state.size:
        raise ShapeError(
            "rtrl: inputs, targets and state",
            expected="as many targets as inputs, and a vector",
            got=f"{len(steps)}, {len(ends_of_steps)} and shape {state.shape}",
        )
    step = _giving("rtrl: what step returns", step, state.shape)
    loss = _giving("rtrl: what loss returns", loss, ())
    held = named(flat)
    influence = np.zeros((state.size, flat.size))
    gradient, value = np.zeros(flat.size), 0.0
    for x, target in zip(steps, ends_of_steps, strict=True):
        influence = _slopes(lambda s, x: step(held, x, s), state, x) @ influence
        influence += _slopes(lambda w, x, s: step(named(w), x, s), flat, x, state)
        state = np.asarray(_real("step", step(held, x, state)))
        value += float(_real("loss", loss(held, state, target)))
        to_state = _slopes(lambda s, y: loss(held, s, y), state, target)[0]
        direct = _slopes(lambda w, s, y: loss(named(w), s, y), flat, state, target)[0]
        gradient += to_state @ influence + direct
    return Forward(value, named(gradient), state)


def _floats(weights: Any) -> dict[str, Array]:
    """Weights by name, float64."""
    given = dict(instance_of("rtrl: weights", weights, Mapping))
    if not given:
        raise ConfigError("rtrl: weights", expected="at least one array")
    return {
        name: array_of(f"rtrl: weight {shown(name)}", w).astype(np.float64)
        for name, w in given.items()
    }


def _giving(what: str, function: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    """The function, whose results are refused unless they are numbers of this shape."""

    def checked(*given: Any) -> Any:
        found = function(*given)
        number = isinstance(found, (int, float, complex, np.generic, np.ndarray))
        if not number or np.shape(found) != shape or np.asarray(found).dtype.kind not in "biufc":
            raise ConfigError(what, expected=f"numbers of shape {shape}", got=shown(found))
        return found

    return checked


def _real(name: str, found: Any) -> Any:
    if np.iscomplexobj(found):
        what = f"rtrl: what {name} returns"
        raise ConfigError(what, expected="real numbers of real ones", got=shown(found))
    return found


def _slopes(function: Callable[..., Any], at: Array, *rest: Any) -> Array:
    """Jacobian (outputs, entries of `at`) of an analytic function, one complex step a column."""
    columns = []
    for k in range(at.size):
        moved = at.astype(np.complex128)
        moved[k] += COMPLEX_STEP * 1j
        columns.append(np.reshape(np.imag(function(moved, *rest)) / COMPLEX_STEP, -1))
    return np.stack(columns, axis=-1)


def _inputs(w: Mapping[str, Any], x: Any) -> Any:
    """The product x W_xh, or of a token its row, and b."""
    token = np.asarray(x).dtype.kind in "iu"
    return (w["weight_xh"][x] if token else x @ w["weight_xh"]) + w["bias"]


def _logistic(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def _rnn_tanh(w: Mapping[str, Any], x: Any, h: Any) -> tuple[Any]:
    return (np.tanh(_inputs(w, x) + h @ w["weight_hh"]),)


def _rnn_relu(w: Mapping[str, Any], x: Any, h: Any) -> tuple[Any]:
    z = _inputs(w, x) + h @ w["weight_hh"]
    return (z * (z.real > 0),)


def _lstm(w: Mapping[str, Any], x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    i, f, o, g = np.split(_inputs(w, x) + h @ w["weight_hh"], 4)
    c = _logistic(f) * c + _logistic(i) * np.tanh(g)
    return _logistic(o) * np.tanh(c), c


def _gru(w: Mapping[str, Any], x: Any, h: Any) -> tuple[Any]:
    xr, xz, xn = np.split(_inputs(w, x), 3)
    wr, wz, wn = np.split(w["weight_hh"], 3, axis=1)
    r, z = _logistic(xr + h @ wr), _logistic(xz + h @ wz)
    inner = r * (h @ wn + w["bias_hn"]) if "bias_hn" in w else (r * h) @ wn
    return ((1 - z) * np.tanh(xn + inner) + z * h,)


EQUATIONS: dict[tuple[type[Cell], Any], Callable[..., tuple[Any, ...]]] = {
    (RNNCell, "tanh"): _rnn_tanh,
    (RNNCell, "relu"): _rnn_relu,
    (LSTMCell, None): _lstm,
    (GRUCell, None): _gru,
}
"""One step of the cells of this package with their plain options, by class and nonlinearity.

``equations(weights, x_t, *states) -> states`` of vectors, written down here once more from the
docstrings of the cells."""
