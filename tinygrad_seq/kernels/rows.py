"""Rows picked from a table by ids: the table again, and the adjoint, which adds them up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels.shards import matmul

__all__ = ["add_rows", "table_of"]

_GEMM_ROWS = 512
"""Up to this many distinct rows a product with one-hot rows beats sorting."""


def add_rows(ids: NDArray[Any], values: NDArray[Any], rows: int) -> NDArray[Any]:
    """Sum ``values[j]`` into row ``ids[j]`` of a zero ``(..., rows, F)`` array.

    As the product ``onehot(ids).T @ values`` for small vocabularies, by sorting and
    segment sums for large ones; the order of summation is fixed either way.

    Parameters
    ----------
    ids : (M,) integers in [0, rows)
    values : (..., M, F)

    Examples
    --------
    >>> add_rows(np.array([1, 0, 1]), np.array([[1.0], [2.0], [3.0]]), 3).tolist()
    [[2.0], [4.0], [0.0]]
    """
    if rows <= _GEMM_ROWS:
        onehot = np.zeros((rows, len(ids)), values.dtype)
        onehot[ids, np.arange(len(ids))] = 1
        summed: NDArray[Any] = matmul(onehot, values)
        return summed
    out = np.zeros((*values.shape[:-2], rows, values.shape[-1]), values.dtype)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        kept, starts = np.unique(ids[order], return_index=True)
        out[..., kept, :] = np.add.reduceat(values[..., order, :], starts, axis=-2)
    return out


def table_of(picked: NDArray[Any], ids: NDArray[Any]) -> NDArray[Any]:
    """The row of `picked` (M, I) that belongs to each id; any row for ids that do not occur.

    Examples
    --------
    >>> table_of(np.array([[5.0], [7.0], [5.0]]), np.array([2, 0, 2])).tolist()
    [[7.0], [5.0], [5.0]]
    """
    where = np.zeros(int(ids.max()) + 1, np.intp)
    where[ids] = np.arange(len(ids))
    table: NDArray[Any] = picked[where]
    return table
