"""Products of the rows of one step with all blocks of a weight.

BLAS multiplies small matrices without rearranging them first, up to a third faster: OpenBLAS,
which NumPy's wheels bring, where the three sizes multiply to a million at most. Wider blocks are
therefore cut into strips of columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Product"]

Array = NDArray[Any]

_SMALL = 1_000_000
_NARROWEST = 16


class Product:
    """``left @ blocks[b]`` for all blocks b, with rows of one step on the left.

    Parameters
    ----------
    blocks : (B, K, H)
    rows : int
        The most rows that `left` will have.

    Attributes
    ----------
    blocks : (B, K, H)
    small : bool
        Whether the blocks are small enough as they are.
    halved : int
        How many of the products are halved when they are made.
    """

    def __init__(self, blocks: Array, rows: int) -> None:
        self.blocks = blocks
        count, inner, hidden = blocks.shape
        width = hidden
        while rows * inner * width > _SMALL and width % 2 == 0 and width > _NARROWEST:
            width //= 2
        self.small, self.halved = width == hidden, 0
        self.strips = blocks
        if not self.small:
            cut = blocks.reshape(count, inner, hidden // width, width)
            self.strips = cut.swapaxes(1, 2).copy()

    def __call__(self, left: Array, out: Array) -> None:
        """Fill `out` (B, n, H) from `left`, (n, K) or (B, n, K)."""
        if self.small:
            np.matmul(left, self.blocks, out=out)
            if self.halved:
                out[: self.halved] *= 0.5
        else:
            count, parts, _, width = self.strips.shape
            cut = out.reshape(count, -1, parts, width).swapaxes(1, 2)
            np.matmul(left[..., None, :, :], self.strips, out=cut)

    @classmethod
    def in_place(cls, weight: Array, halved: int = 0, *, back: bool = False) -> Product:
        """By the blocks of a weight (H, B * H) where they lie, or with `back` by their transposes.

        For a few steps, which would not pay for copies of their own.
        """
        hidden = len(weight)
        made = object.__new__(cls)
        cut = weight.reshape(hidden, -1, hidden)
        made.blocks = made.strips = cut.transpose(1, 2, 0) if back else cut.swapaxes(0, 1)
        made.small, made.halved = True, halved
        return made

    def __getitem__(self, blocks: slice) -> Product:
        part = object.__new__(Product)
        part.blocks, part.small, part.strips = self.blocks[blocks], self.small, self.strips[blocks]
        part.halved = max(self.halved - (blocks.start or 0), 0)
        return part
