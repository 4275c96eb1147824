"""Initial values.

Functions take a ``numpy.random.Generator`` and return an array; one whose name ends in ``_``
writes to a layer instead.
"""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq import elsewhere as _elsewhere
from tinygrad_seq.checks import (
    count,
    float_dtype,
    generator_of,
    instance_of,
    number,
    require_room,
    sequence_of,
)
from tinygrad_seq.checks import size as size_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError

if TYPE_CHECKING:
    from tinygrad_seq.nn.recurrent import Recurrent

__all__ = ["chrono_", "generator", "glorot_uniform", "normal", "orthogonal", "uniform"]


def generator(rng: Any, owner: str) -> np.random.Generator:
    """The generator given, or a new one for None.

    A seed is refused: layers that are all given the same one would start alike.
    """
    owner = instance_of("generator: owner", owner, str)
    return np.random.default_rng() if rng is None else generator_of(f"{owner}: rng", rng)


def uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float, dtype: Any) -> Array:
    """Uniform between -bound and bound."""
    bound = abs(_SPREAD("uniform: bound", bound))  # -0.0 would be no interval
    return _drawn("uniform", rng, shape, dtype, lambda sizes: rng.uniform(-bound, bound, sizes))


def normal(rng: np.random.Generator, shape: tuple[int, ...], std: float, dtype: Any) -> Array:
    """Normal with mean 0 and the given standard deviation."""
    std = _SPREAD("normal: std", std)
    return _drawn("normal", rng, shape, dtype, lambda sizes: std * rng.standard_normal(sizes))


_SPREAD = number(0.0, 1e30)


def _drawn(
    owner: str, rng: Any, shape: Any, dtype: Any, draw: Callable[[tuple[int, ...]], Array]
) -> Array:
    """Draw an array, once everything is known to be right: what is refused draws nothing."""
    generator_of(f"{owner}: rng", rng)
    dtype = float_dtype(owner, dtype)
    given = (shape,) if isinstance(shape, Integral) else sequence_of(owner, shape, "sizes")
    sizes = tuple(count(0)(f"{owner}: shape", length) for length in given)
    require_room(f"{owner}: shape", *sizes)
    try:
        return draw(sizes).astype(dtype)
    except MemoryError as error:
        raise ConfigError(f"{owner}: shape {sizes}", got=str(error)) from error


def glorot_uniform(
    rng: np.random.Generator, fan_in: int, fan_out: int, blocks: int = 1, dtype: Any = np.float32
) -> Array:
    """Uniform within sqrt(6 / (fan_in + fan_out)), for a (fan_in, blocks * fan_out) weight.

    Each of the `blocks` (the gates of an LSTM) is scaled as a matrix of its own. Source:
    Glorot and Bengio, 2010.
    """
    sizes = {"fan_in": fan_in, "fan_out": fan_out, "blocks": blocks}
    fan_in, fan_out, blocks = (size_of(f"glorot_uniform: {k}", v) for k, v in sizes.items())
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
    size, blocks = (
        size_of(f"orthogonal: {name}", length)
        for name, length in {"size": size, "blocks": blocks}.items()
    )

    def draw(shape: tuple[int, ...]) -> Array:
        parts = []
        for _ in range(blocks):
            q, r = np.linalg.qr(rng.standard_normal((size, size)))
            parts.append(q * np.sign(np.diag(r)))
        return np.concatenate(parts, axis=1)

    return _drawn("orthogonal", rng, (size, blocks * size), dtype, draw)


def chrono_(layer: Recurrent[Any], longest: float, rng: np.random.Generator) -> None:
    """Start the units of a gated layer with time constants from 2 to `longest` steps.

    A gate that keeps the share ``sigma(b)`` of a state forgets at the rate ``1 / (1 + e^b)`` per
    step. Its bias b is set to ``log u``, u uniform in [1, longest - 1]: f of an LSTM, with -b for
    i, so that what is kept long also fills slowly; z of a GRU; what the cell declares in
    :attr:`~tinygrad_seq.nn.Cell.keeps`. Source: Tallec and Ollivier, 2018.

    Parameters
    ----------
    layer : Recurrent
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
    longest = number(2.0, open_low=True)("chrono_: longest", longest)
    generator_of("chrono_: rng", rng)
    cells: list[Any] = list(layer.cells()) if hasattr(layer, "cells") else [layer]
    if not all(
        getattr(each, "keeps", None)
        and getattr(getattr(each, "bias", None), "shape", None)
        == (len(each.gates) * each.hidden_size,)
        for each in cells
    ):
        raise ConfigError(
            "chrono_: layer",
            expected="cells that say which gates keep their states, with a bias (gates * H,)",
            got=type(layer).__name__,
            hint="nn.LSTM and nn.GRU do; of a cell of your own, Cell.keeps says so",
        )
    for cell in cells:
        bias = np.log(rng.uniform(1.0, longest - 1.0, cell.hidden_size))
        values = cell.bias.numpy()
        for gate, sign in cell.keeps.items():
            values[cell.columns(gate)] = sign * bias
        cell.bias.data = values


if not TYPE_CHECKING:  # type checkers know of a missing name themselves

    def __getattr__(name: str) -> None:
        raise _elsewhere.missing(f"module {__name__!r}", name, _elsewhere.INITIALISERS)
