"""The input half of a recurrent layer: products over the rows of all steps, and their gradients.

Weights (I, B * H) hold B blocks of H columns, one for each gate. Here blocks come first,
(B, I, H), and so they do in activations (B, M, H): what belongs to one gate is contiguous, and a
product is a batch of B small ones, for which BLAS need not rearrange a wide matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.kernels import memory
from tinygrad_seq.kernels.rows import add_rows
from tinygrad_seq.kernels.settings import config
from tinygrad_seq.kernels.shards import in_shards, matmul

__all__ = [
    "Projection",
    "in_blocks",
    "input_gradient",
    "product_gradient",
    "projection_gradients",
]

Array = NDArray[Any]
_TALL = 512
"""Rows that stay in cache between being laid out and multiplied."""


def in_blocks(weight: Array, hidden: int, halved: int = 0) -> Array:
    """(B, I, H) from (I, B * H), the first `halved` blocks halved: tanh makes sigma of them."""
    blocks = weight.reshape(len(weight), -1, hidden).swapaxes(0, 1).copy()
    if halved:
        blocks[:halved] *= 0.5
    return blocks


class Projection:
    """``x W + b`` of rows x (M, I), or of tokens (M,), which stand for one-hot rows.

    Parameters
    ----------
    tokens : int
        How many tokens there are in all; 0 for rows.
    few : bool
        Whether there are too few rows to pay for weights laid out in blocks.
    """

    def __init__(
        self, weight: Array, bias: Array, hidden: int, halved: int, tokens: int, few: bool
    ) -> None:
        self.weight, self.bias, self.halved = weight, bias, halved
        self.blocks: Array | None = None
        if not few and len(weight) <= tokens:
            self.blocks = in_blocks(weight + bias, hidden, halved)
        elif not few and not tokens:  # the bias is one more row, for a column of ones
            self.blocks = in_blocks(np.concatenate([weight, bias[None]]), hidden, halved)

    def __call__(self, x: Array, out: Array) -> None:
        """Fill `out` (B, M, H)."""
        tokens = x.dtype.kind in "iu"
        if self.blocks is None:
            rows = self.weight.take(x, 0) if tokens else matmul(x, self.weight)
            rows += self.bias
            out[...] = rows.reshape(len(x), len(out), -1).swapaxes(0, 1)
            out[: self.halved] *= 0.5
        elif tokens:
            np.take(self.blocks, x, axis=1, out=out, mode="clip")
        else:
            matmul(with_ones(x), self.blocks, out)


def with_ones(x: Array) -> Array:
    """(M, I + 1): x and a column of ones."""
    wide = memory.empty((len(x), x.shape[1] + 1), x.dtype)
    wide[:, :-1] = x
    wide[:, -1] = 1
    return wide


def product_gradient(left: Array, dz: Array | Sequence[Array]) -> Array:
    """``left.T @ dz`` for all blocks, (I, B * H): the gradient of weights from (M, I), (M, H)."""
    hidden = dz[0].shape[-1]
    out = np.empty((left.shape[1], len(dz), hidden), dz[0].dtype)
    for block, part in enumerate(dz):
        matmul(left.T, part, out[:, block])
    return out.reshape(len(out), -1)


def projection_gradients(x: Array, dz: Array, rows: int) -> tuple[Array, Array]:
    """Gradients of :class:`Projection` with respect to the weight, of so many rows, and bias."""
    if x.dtype.kind in "iu":
        dweight = np.concatenate(list(add_rows(x, dz, rows)), axis=1)
        return dweight, dweight.sum(axis=0)
    both = product_gradient(with_ones(x), dz)
    return both[:-1], both[-1]


def input_gradient(dz: Array, weight: Array) -> Array:
    """The gradient with respect to x: the sum of ``dz_b @ W_b.T`` over the blocks b."""
    blocks, rows, hidden = dz.shape
    dx = memory.empty((rows, len(weight)), weight.dtype)

    def some(first: int, last: int) -> None:
        for low in range(first, last, _TALL):  # side by side, the product sums the blocks
            high = min(low + _TALL, last)
            part = dz[:, low:high].swapaxes(0, 1).reshape(-1, blocks * hidden)
            np.matmul(part, weight.T, out=dx[low:high])

    in_shards(some, rows, max(min(config.threads, rows // _TALL), 1))
    return dx
