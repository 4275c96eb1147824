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


def sigmoid(x: Any) -> Any:
    """Logistic function as (1 + tanh(x / 2)) / 2: no overflow, and analytic."""
    y = np.asarray(0.5 * x)
    np.tanh(y, out=y)
    y *= 0.5
    y += 0.5
    return y
