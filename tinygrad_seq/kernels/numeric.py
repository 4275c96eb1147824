"""Sums of exponentials and of squares that neither overflow nor vanish."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["largest", "log_softmax", "norm"]


def largest(x: Any, axis: int) -> Any:
    """Largest entry along the axis, kept; by real part, so that complex steps pass through."""
    top: Any = np.max(x.real, axis=axis, keepdims=True)
    return np.where(np.isfinite(top), top, 0).astype(x.real.dtype)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """Logarithm of normalised exponentials along an axis, from logits of any size.

    Examples
    --------
    >>> log_softmax(np.array([1e3, 1e3])).round(4)
    array([-0.6931, -0.6931])
    """
    shifted = x - largest(x, axis)
    shifted -= np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
    return shifted


def norm(x: Any, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Root of the sum of squares, scaled so that squares neither overflow nor vanish.

    Examples
    --------
    >>> bool(norm(np.array([3e200, 4e200])) < np.inf)
    True
    """
    top = np.max(np.abs(x.real), axis=axis, keepdims=True, initial=0.0)
    top = np.where(np.isfinite(top) & (top != 0), top, 1).astype(top.dtype)
    scaled = x / top
    root = np.sqrt(np.sum(scaled * scaled, axis=axis, keepdims=keepdims))
    return root * top.reshape(root.shape)
