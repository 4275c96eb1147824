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
_ONE = {np.dtype(kind): np.array(1, kind) for kind in (np.float32, np.float64)}
_MOST = {np.dtype(np.float32): np.array(88, np.float32), np.dtype(np.float64): np.array(709.0)}
"""Where e**x nearly overflows; there the logistic function is 1 to the last digit."""


def sigmoid(x: Any) -> Any:
    """Logistic function as e**x / (1 + e**x): no overflow, analytic, right to its lower tail."""
    x = np.asarray(x)
    e = np.asarray(np.minimum(x, _MOST.get(x.dtype, 709.0)))
    np.exp(e, e)
    return np.divide(e, e + _ONE.get(x.dtype, 1.0))
