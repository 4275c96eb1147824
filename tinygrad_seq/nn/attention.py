"""Attention over a sequence of states: additive, dot, multiplicative, and multi-head."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.layers import Dropout, Linear, positive_size
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.ops.registry import constant, shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "AdditiveAttention",
    "Attention",
    "DotAttention",
    "MultiheadAttention",
    "MultiplicativeAttention",
    "causal_mask",
    "length_mask",
]


def length_mask(lengths: Any, steps: int) -> Array:
    """(N, S) booleans, True at the valid steps of rows of the given lengths.

    Examples
    --------
    >>> length_mask([2, 0], 3)
    array([[ True,  True, False],
           [False, False, False]])
    """
    array = np.asarray(constant(lengths))
    if array.ndim != 1:
        raise ShapeError("length_mask: lengths", expected="(N,)", got=array.shape)
    if array.dtype.kind not in "iu":
        raise DtypeError("length_mask: lengths", expected="integers", got=array.dtype)
    if array.size and (array.min() < 0 or array.max() > steps):
        raise IndexRangeError(
            "length_mask: lengths",
            expected=f"0 <= length <= {steps}",
            got=f"{array.min()} to {array.max()}",
        )
    mask: Array = np.arange(steps) < array[:, None]
    return mask


def causal_mask(queries: int, keys: int | None = None) -> Array:
    """(T, S) booleans, True where the key is not later than the query.

    Examples
    --------
    >>> causal_mask(3).astype(int)
    array([[1, 0, 0],
           [1, 1, 0],
           [1, 1, 1]])
    """
    return np.tri(queries, queries if keys is None else keys, dtype=bool)


class Attention(Module):
    """Base of the attentions that score a query against every step of a memory.

    Subclasses write :meth:`prepare`, which depends on the memory alone, and :meth:`score`.
    """

    def prepare(self, memory: TensorLike) -> Any:
        """What is scored against: made once for a memory (S, N, M), used for every query."""
        return memory

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S) of queries (T, N, Q) against prepared keys."""
        raise ConfigError(f"{type(self).__name__} has no score method")

    def forward(
        self,
        query: TensorLike,
        memory: TensorLike,
        *,
        lengths: Any = None,
        mask: Any = None,
        keys: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Look up a memory.

        Parameters
        ----------
        query : (T, N, Q), or (N, Q) for one step
        memory : (S, N, M)
            What is averaged, for instance the outputs of an encoder.
        lengths : (N,) integers, optional
            Valid steps of the memory; a row of length 0 gets zeros. The padding of the memory
            weighs exactly 0, but it is multiplied: it must be finite (encoders here give 0).
        mask : (N, T, S) booleans, or (N, S) for one step, optional
            True for what may be attended to; of exactly this shape.
        keys : optional
            ``self.prepare(memory)``, to save making it again for every step of a decoder.

        Returns
        -------
        context : Tensor (T, N, M), or (N, M)
        weights : Tensor (N, T, S), or (N, S)
        """
        one_step = len(shape_of(query)) == 2
        if one_step:
            query = ops.expand_dims(query, 0)
        steps, batch = shape_of(query)[:2]
        size = shape_of(memory)[0]
        if len(shape_of(memory)) != 3 or shape_of(memory)[1] != batch:
            raise ShapeError(
                f"{type(self).__name__}: memory",
                expected=f"(S, {batch}, M), as the query has {batch} rows",
                got=shape_of(memory),
            )
        shape = (batch, steps, size)
        if mask is not None:
            mask = np.asarray(constant(mask))
            wanted = (batch, size) if one_step else shape
            if mask.shape != wanted or mask.dtype != bool:
                raise ShapeError(
                    f"{type(self).__name__}: mask",
                    expected=f"booleans of shape {wanted}",
                    got=f"{mask.dtype} of shape {mask.shape}",
                    hint="stretch it on purpose: np.broadcast_to(mask[:, None], (N, T, S))",
                )
            mask = mask.reshape(shape)
        if lengths is not None:
            valid = _stretched(type(self).__name__, lengths, shape)
            mask = valid if mask is None else mask & valid
        scores = self.score(query, self.prepare(memory) if keys is None else keys)
        weights = ops.softmax(scores) if mask is None else ops.masked_softmax(scores, mask)
        weights.tag("weights")
        context = ops.swapaxes(ops.matmul(weights, ops.swapaxes(memory, 0, 1)), 0, 1)
        if one_step:
            return ops.squeeze(context, 0), ops.squeeze(weights, 1)
        return context, weights


def _stretched(owner: str, lengths: Any, shape: tuple[int, ...]) -> Array:
    """Lengths (N,) as a mask of scores (N, ..., T, S)."""
    valid = length_mask(lengths, shape[-1])
    if len(valid) != shape[0]:
        raise ShapeError(f"{owner}: lengths", expected=f"({shape[0]},)", got=(len(valid),))
    middle = (1,) * (len(shape) - 2)
    return np.broadcast_to(valid.reshape(shape[0], *middle, shape[-1]), shape)


def _rows_first(x: Any) -> Any:
    """(T, N, F) as (N, T, F)."""
    return ops.swapaxes(x, 0, 1)


class AdditiveAttention(Attention):
    """Scores ``v . tanh(q W_q + m W_m + b)`` (Bahdanau et al., 2015).

    Parameters
    ----------
    query_size, memory_size, attention_size : int
        Q, M, and the length A of the sum.
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> attend = nn.AdditiveAttention(4, 6, 5, rng=np.random.default_rng(0))
    >>> memory = np.ones((7, 2, 6), np.float32)
    >>> context, weights = attend(np.ones((2, 4), np.float32), memory, lengths=[7, 3])
    >>> context.shape, weights.shape
    ((2, 6), (2, 7))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("AdditiveAttention", attention_size=attention_size)
        rng = np.random.default_rng() if rng is None else rng
        self.query = Linear(query_size, attention_size, bias=False, rng=rng, dtype=dtype)
        self.memory = Linear(memory_size, attention_size, rng=rng, dtype=dtype)
        values = init.glorot_uniform(rng, attention_size, 1, dtype=dtype)
        self.v = Parameter(values[:, 0])

    def prepare(self, memory: TensorLike) -> Tensor:
        """``m W_m + b``: (S, N, A)."""
        return ops.linear(memory, self.memory.weight, self.memory.bias)

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        queries = ops.linear(query, self.query.weight)
        queries = ops.expand_dims(_rows_first(queries), 2)  # (N, T, 1, A)
        keys = ops.expand_dims(_rows_first(keys), 1)  # (N, 1, S, A)
        return ops.matmul(ops.tanh(queries + keys), self.v)


class DotAttention(Attention):
    """Scores ``q . m`` (Luong et al., 2015), scaled by 1 / sqrt(M) if asked for.

    Parameters
    ----------
    scale : bool
        Whether to divide by the square root of the length (Vaswani et al., 2017).
    """

    def __init__(self, scale: bool = False) -> None:
        super().__init__()
        self.scale = scale

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        wide, long = shape_of(query)[-1], shape_of(keys)[-1]
        if wide != long:
            raise ShapeError(
                "DotAttention: query and memory",
                expected=f"the same last size, {long}",
                got=wide,
                hint="use MultiplicativeAttention for different sizes",
            )
        scores = ops.matmul(_rows_first(query), ops.swapaxes(_rows_first(keys), 1, 2))
        return scores * float(1 / np.sqrt(wide)) if self.scale else scores


class MultiplicativeAttention(Attention):
    """Scores ``q W m`` (Luong et al., 2015, "general").

    Parameters
    ----------
    query_size, memory_size : int
        Q and M.
    rng : numpy.random.Generator, optional
        Source of the initial weights.
    dtype : optional
        Of the parameters.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("MultiplicativeAttention", query_size=query_size, memory_size=memory_size)
        rng = np.random.default_rng() if rng is None else rng
        values = init.glorot_uniform(rng, memory_size, query_size, dtype=dtype)
        self.weight = Parameter(values)

    def prepare(self, memory: TensorLike) -> Tensor:
        """``m W``: (S, N, Q)."""
        return ops.linear(memory, self.weight)

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        return ops.matmul(_rows_first(query), ops.swapaxes(_rows_first(keys), 1, 2))


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

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        positive_size("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ConfigError(
                "MultiheadAttention: num_heads",
                expected=f"a divisor of embed_dim, {embed_dim}",
                got=num_heads,
            )
        rng = np.random.default_rng() if rng is None else rng
        self.embed_dim, self.num_heads = embed_dim, num_heads
        made = {"rng": rng, "dtype": dtype}
        self.query = Linear(embed_dim, embed_dim, bias, **made)
        self.key = Linear(embed_dim if kdim is None else kdim, embed_dim, bias, **made)
        self.value = Linear(embed_dim if vdim is None else vdim, embed_dim, bias, **made)
        self.out = Linear(embed_dim, embed_dim, bias, **made)
        self.dropout = Dropout(dropout, rng=rng)

    def _heads(self, x: Tensor) -> Tensor:
        """(T, N, E) as (N, heads, T, E / heads)."""
        steps, batch, _ = x.shape
        cut = ops.reshape(x, (steps, batch, self.num_heads, -1))
        return ops.transpose(cut, (1, 2, 0, 3))

    def forward(
        self,
        query: TensorLike,
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
        steps, batch = shape_of(query)[:2]
        size = shape_of(key)[0]
        if shape_of(key)[:2] != (size, batch) or shape_of(value)[:2] != (size, batch):
            raise ShapeError(
                "MultiheadAttention: keys and values",
                expected=f"(S, {batch}, ...) both",
                got=f"{shape_of(key)} and {shape_of(value)}",
            )
        shape = (batch, self.num_heads, steps, size)
        allowed: Any = None
        if mask is not None:
            allowed = np.asarray(constant(mask))
            if allowed.shape != (batch, steps, size) or allowed.dtype != bool:
                raise ShapeError(
                    "MultiheadAttention: mask",
                    expected=f"booleans of shape {(batch, steps, size)}",
                    got=f"{allowed.dtype} of shape {allowed.shape}",
                )
            allowed = np.broadcast_to(allowed[:, None], shape)
        for part in (
            None if lengths is None else _stretched("MultiheadAttention", lengths, shape),
            np.broadcast_to(causal_mask(steps, size), shape) if causal else None,
        ):
            if part is not None:
                allowed = part if allowed is None else allowed & part
        q, k, v = (
            self._heads(ops.linear(x, layer.weight, layer.bias))
            for x, layer in ((query, self.query), (key, self.key), (value, self.value))
        )
        scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) * float(1 / np.sqrt(q.shape[-1]))
        weights = ops.softmax(scores) if allowed is None else ops.masked_softmax(scores, allowed)
        heads = ops.matmul(self.dropout(weights.tag("weights")), v)
        joined = ops.reshape(ops.transpose(heads, (2, 0, 1, 3)), (steps, batch, self.embed_dim))
        return ops.linear(joined, self.out.weight, self.out.bias), weights

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.embed_dim}, {self.num_heads}"
