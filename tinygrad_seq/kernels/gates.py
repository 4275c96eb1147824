"""The gates of the LSTM: their order, and the logistic function.

The order is the notes': [i, f, o, g] = [sigma, sigma, sigma, tanh] W [h; x], the three logistic
gates contiguous. The slices here are the only place that knows it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["GATE_ORDER", "gate", "sigmoid"]

GATE_ORDER = ("i", "f", "o", "g")
"""Input, forget, output and candidate ("gate gate") blocks of every stacked gate axis."""


def gate(name: str, hidden: int) -> slice:
    """Columns of one gate in an axis of length ``4 * hidden``.

    Examples
    --------
    >>> gate("f", 8)
    slice(8, 16, None)
    """
    k = GATE_ORDER.index(name)
    return slice(k * hidden, (k + 1) * hidden)


# NumPy computes with a 0-d array of the right dtype twice as fast as with a Python number.
_HALF = {np.dtype(kind): np.array(0.5, kind) for kind in (np.float32, np.float64)}


def sigmoid(x: Any) -> Any:
    """Logistic function as (1 + tanh(x / 2)) / 2: no overflow, and analytic."""
    x = np.asarray(x)
    half = _HALF.get(x.dtype, 0.5)
    y = np.asarray(half * x)
    np.tanh(y, y)
    np.multiply(y, half, y)
    np.add(y, half, y)
    return y
