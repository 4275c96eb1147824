"""Initial values.

Functions take a ``numpy.random.Generator`` and return an array; one whose name ends in ``_``
writes to a layer instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.kernels.gates import gate

if TYPE_CHECKING:
    from tinygrad_seq.nn.stack import Recurrent

__all__ = ["chrono_", "generator", "glorot_uniform", "normal", "orthogonal", "uniform"]


def generator(rng: Any, owner: str) -> np.random.Generator:
    """The generator given, or a new one for None.

    A seed is refused: layers that are all given the same one would start alike.
    """
    if rng is None:
        return np.random.default_rng()
    if not isinstance(rng, np.random.Generator):
        raise ConfigError(
            f"{owner}: rng",
            expected="a numpy.random.Generator, the same one for all layers",
            got=repr(rng),
            hint="rng = np.random.default_rng(0)",
        )
    return rng


def uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float, dtype: Any) -> Array:
    """Uniform between -bound and bound."""
    return rng.uniform(-bound, bound, shape).astype(dtype)


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: Any) -> Array:
    """Normal with mean 0 and the given standard deviation."""
    return (std * rng.standard_normal(shape)).astype(dtype)


def glorot_uniform(
    rng: np.random.Generator, fan_in: int, fan_out: int, blocks: int = 1, dtype: Any = np.float32
) -> Array:
    """Uniform within sqrt(6 / (fan_in + fan_out)), for a (fan_in, blocks * fan_out) weight.

    Each of the `blocks` (the gates of an LSTM) is scaled as a matrix of its own. Source:
    Glorot and Bengio, 2010.
    """
    bound = float(np.sqrt(6.0 / (fan_in + fan_out)))
    return uniform(rng, (fan_in, blocks * fan_out), bound, dtype)


def orthogonal(
    rng: np.random.Generator, size: int, blocks: int = 1, dtype: Any = np.float32
) -> Array:
    """`blocks` random orthogonal (size, size) matrices side by side.

    From the QR decomposition of a normal matrix, with the signs of R's diagonal moved into Q
    so that the distribution is uniform (Saxe et al., 2013). Each gate gets a block of its own.

    Examples
    --------
    >>> q = orthogonal(np.random.default_rng(0), 4, dtype=np.float64)
    >>> bool(np.allclose(q @ q.T, np.eye(4)))
    True
    """
    parts = []
    for _ in range(blocks):
        q, r = np.linalg.qr(rng.standard_normal((size, size)))
        parts.append(q * np.sign(np.diag(r)))
    return np.concatenate(parts, axis=1).astype(dtype)


def chrono_(layer: Recurrent[Any], longest: float, rng: np.random.Generator) -> None:
    """Start the units of an LSTM or GRU with time constants from 2 to `longest` steps.

    A gate that keeps the share ``sigma(b)`` of a state forgets at the rate ``1 / (1 + e^b)`` per
    step. Its bias b is set to ``log u``, u uniform in [1, longest - 1]: f of an LSTM, with -b for
    i, so that what is kept long also fills slowly; z of a GRU. Source: Tallec and Ollivier, 2018.

    Parameters
    ----------
    layer : LSTM or GRU
        Any number of layers, in one direction or both; its biases are written to.
    longest : float
        About the longest lag of the task, in steps; more than 2.
    rng : numpy.random.Generator

    Raises
    ------
    ConfigError
        If `longest` is 2 or less, or the layer has no gates.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> gru = nn.GRU(3, 500, rng=rng)
    >>> nn.init.chrono_(gru, 100.0, rng)
    >>> constants = 1 + np.exp(gru.bias_l0.numpy()[500:1000])
    >>> bool(2 <= constants.min() < 5 and 95 < constants.max() < 100.1)
    True
    """
    if not longest > 2:
        raise ConfigError("chrono_: longest", expected="more than 2 steps", got=longest)
    if layer.gates == 1:
        raise ConfigError("chrono_: layer", expected="an LSTM or a GRU", got=type(layer).__name__)
    hidden = layer.hidden_size
    for k in range(layer.num_layers):
        for reverse in range(layer.directions):
            *_, parameter = layer.layer_weights(k, bool(reverse))
            bias = np.log(rng.uniform(1.0, longest - 1.0, hidden))
            values = parameter.numpy()
            if layer.gates == 3:
                values[hidden : 2 * hidden] = bias  # r, z, n
            else:
                values[gate("f", hidden)], values[gate("i", hidden)] = bias, -bias
            parameter.data = values


if not TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.INITIALISERS)
