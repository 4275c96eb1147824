"""Initial values. Every function takes a ``numpy.random.Generator`` and returns an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.engine.node import Array

__all__ = ["chrono", "glorot_uniform", "normal", "orthogonal", "uniform"]


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


def chrono(rng: np.random.Generator, size: int, longest: float, dtype: Any = np.float32) -> Array:
    """Biases of gates that keep, so that units start with time constants from 2 to `longest`.

    ``log u`` with u uniform in [1, longest - 1]: a unit whose gate is ``sigma(log u)`` forgets at
    the rate 1 / (1 + u) per step. For an LSTM: the bias of f, and its negative for that of i; for
    a GRU: the bias of z. Source: Tallec and Ollivier, 2018.

    Examples
    --------
    >>> bias = chrono(np.random.default_rng(0), 1000, 100.0, dtype=np.float64)
    >>> keep = 1 / (1 + np.exp(-bias))
    >>> bool(np.all(1 / (1 - keep) >= 2)), bool(np.all(1 / (1 - keep) <= 100.001))
    (True, True)
    """
    return np.log(rng.uniform(1.0, longest - 1.0, size)).astype(dtype)
