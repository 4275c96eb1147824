"""Attention in several heads, over another sequence or over one's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import flag
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.nn.attention import allowed, each, require_sequence
from tinygrad_seq.nn.layers import Dropout, Linear, probability, started
from tinygrad_seq.nn.module import Module
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Scaled dot-product attention in several heads (Vaswani et al., 2017).

    Parameters
    ----------
    embed_dim, num_heads : int
        E, cut into heads of E / num_heads.
    dropout : float
        Probability of dropping weights, while training.
    bias : bool
        Whether the projections add a bias.
    kdim, vdim : int, optional
        Sizes of keys and values; E by default.
    rng : numpy.random.Generator, optional
        Source of initial weights and dropout masks.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> attend = nn.MultiheadAttention(8, 2, rng=np.random.default_rng(0))
    >>> x = np.ones((5, 3, 8), np.float32)  # (T, N, E)
    >>> y, weights = attend(x, x, x, lengths=[5, 2, 0], causal=True)
    >>> y.shape, weights.shape
    ((5, 3, 8), (3, 2, 5, 5))
    """

    _told = ("dropout",)

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        kdim = embed_dim if kdim is None else kdim
        vdim = embed_dim if vdim is None else vdim
        sizes = {"embed_dim": embed_dim, "num_heads": num_heads, "kdim": kdim, "vdim": vdim}
        rng, dtype, *_ = started(self, rng, dtype, **sizes)
        probability("MultiheadAttention: dropout", dropout)
        flag("MultiheadAttention: bias", bias)
        if embed_dim % num_heads:
            raise ConfigError(
                "MultiheadAttention: num_heads",
                expected=f"a divisor of embed_dim, {embed_dim}",
                got=num_heads,
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        made = {"rng": rng, "dtype": dtype}
        self.query = Linear(embed_dim, embed_dim, bias, **made)
        self.key = Linear(kdim, embed_dim, bias, **made)
        self.value = Linear(vdim, embed_dim, bias, **made)
        self.out = Linear(embed_dim, embed_dim, bias, **made)
        self.dropout = Dropout(dropout, rng=rng)

    def _heads(self, x: Tensor) -> Tensor:
        """(T, N, E) as (N, heads, T, E / heads)."""
        steps, batch, _ = x.shape
        cut = ops.reshape(x, (steps, batch, self.num_heads, -1))
        return ops.transpose(cut, (1, 2, 0, 3))

    def forward(
        self,
        query: Any,
        key: TensorLike,
        value: TensorLike,
        *,
        lengths: Any = None,
        mask: Any = None,
        causal: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Attend from queries (T, N, E) to keys and values (S, N, ...).

        Parameters
        ----------
        query, key, value : (T, N, E), (S, N, kdim), (S, N, vdim)
        lengths : (N,) integers, optional
            Valid steps of keys and values; a row of length 0 gets the output bias.
        mask : (N, T, S) booleans, optional
            True for what may be attended to; of exactly this shape.
        causal : bool
            Whether step t may attend to steps 0 .. t only.

        Returns
        -------
        y : Tensor (T, N, E)
        weights : Tensor (N, heads, T, S)
        """
        owner = type(self).__name__
        steps = require_sequence(f"{owner}: query", query, "(T, N, E)")
        batch = shape_of(query)[1]
        size = require_sequence(f"{owner}: key", key, f"(S, {batch}, kdim)", batch)
        if require_sequence(f"{owner}: value", value, f"(S, {batch}, vdim)", batch) != size:
            raise ShapeError(
                f"{owner}: keys and values",
                expected=f"(S, {batch}, ...) both",
                got=f"{shape_of(key)} and {shape_of(value)}",
            )
        flag(f"{owner}: causal", causal)
        found = allowed(owner, (batch, steps, size), mask, lengths, causal)
        if found is not None:
            found = np.broadcast_to(found[:, None], (batch, self.num_heads, steps, size))
        k, v = (
            self._heads(ops.linear(x, layer.weight, layer.bias))
            for x, layer in ((key, self.key), (value, self.value))
        )

        def look_up(queries: Any, mask: Any) -> tuple[Tensor, Tensor]:
            """Outputs (T, N, E) and weights (N, heads, T, S)."""
            q = self._heads(ops.linear(queries, self.query.weight, self.query.bias))
            scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) * float(1 / np.sqrt(q.shape[-1]))
            weights = ops.masked_softmax(scores, mask).tag("weights")
            heads = ops.matmul(self.dropout(weights), v)
            flat = (*shape_of(queries)[:2], self.embed_dim)
            joined = ops.reshape(ops.transpose(heads, (2, 0, 1, 3)), flat)
            return ops.linear(joined, self.out.weight, self.out.bias), weights

        # With dropout all at once, composed or not: both draw the same masks.
        at_once = self.dropout.training and self.dropout.p
        return look_up(query, found) if at_once else each(look_up, query, found)

    def extra_repr(self) -> str:
        """Sizes."""
        text = f"{self.embed_dim}, {self.num_heads}"
        return text + (f", dropout={self.dropout.p}" if self.dropout.p else "")
