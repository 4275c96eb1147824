"""Attention over a sequence of states: additive, dot and multiplicative."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, count, flag, integers_of, require_room
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, IndexRangeError, ShapeError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.layers import Linear, started, steps_apart
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.ops.registry import shape_of, values_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = [
    "AdditiveAttention",
    "Attention",
    "DotAttention",
    "MultiplicativeAttention",
    "allowed",
    "causal_mask",
    "each",
    "length_mask",
    "require_sequence",
]


def length_mask(lengths: Any, steps: int) -> Array:
    """(N, S) booleans, True at the valid steps of rows of the given lengths.

    Examples
    --------
    >>> length_mask([2, 0], 3)
    array([[ True,  True, False],
           [False, False, False]])
    """
    steps = count(0)("length_mask: steps", steps)
    array = integers_of("length_mask: lengths", values_of(lengths))
    if array.ndim != 1:
        raise ShapeError("length_mask: lengths", expected="(N,)", got=array.shape)
    if array.size and (array.min() < 0 or array.max() > steps):
        raise IndexRangeError(
            "length_mask: lengths",
            expected=f"0 <= length <= {steps}",
            got=f"{array.min()} to {array.max()}",
        )
    require_room("length_mask", len(array), steps)
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
    rows = count(0)("causal_mask: queries", queries)
    columns = rows if keys is None else count(0)("causal_mask: keys", keys)
    require_room("causal_mask", rows, columns)
    return np.tri(rows, columns, dtype=bool)


class Attention(Module):
    """Base of the attentions that score a query against every step of a memory.

    Subclasses write :meth:`prepare`, which depends on the memory alone, and :meth:`score`.
    """

    def prepared(self, memory: TensorLike) -> Any:
        """:meth:`prepare` as called from outside, tagged with the path of this attention."""
        outer = current_mode.get().scope.path
        with scope(path=f"{outer}.{self._name}" if outer else self._name):
            return self.prepare(memory)

    def prepare(self, memory: TensorLike) -> Any:
        """What is scored against: made once for a memory (S, N, M), used for every query."""
        return memory

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S) of queries (T, N, Q) against prepared keys."""
        raise ConfigError(f"{type(self).__name__} has no score method")

    def forward(
        self,
        query: Any,
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
        owner = type(self).__name__
        one_step = len(shape_of(query)) == 2
        if not one_step:
            require_sequence(f"{owner}: query", query, "(T, N, Q), or (N, Q) for one step")
        steps, batch = (1, *shape_of(query))[:2] if one_step else shape_of(query)[:2]
        rows = f"(S, {batch}, M), as the query has {batch} rows"
        size = require_sequence(f"{owner}: memory", memory, rows, batch)
        shape = (batch, size) if one_step else (batch, steps, size)
        found = allowed(owner, shape, mask, lengths)
        if keys is None:
            keys = self.prepare(memory)
        else:
            require_sequence(f"{owner}: keys", keys, f"prepare(memory), (S, {batch}, K)", batch)

        def look_up(queries: Any, mask: Any) -> tuple[Tensor, Tensor]:
            """Context (T, N, M) and weights (N, T, S)."""
            weights = ops.masked_softmax(self.score(queries, keys), mask).tag("weights")
            averaged = ops.matmul(weights, ops.swapaxes(memory, 0, 1))
            return ops.swapaxes(averaged, 0, 1), weights

        return one(look_up, query, found) if one_step else each(look_up, query, found)


LookUp = Callable[[Any, Any], tuple[Tensor, Tensor]]
"""Of queries (T, N, Q) and what they may attend to (N, ..., T, S): averages, and weights."""


def one(look_up: LookUp, query: Any, allowed: Any) -> tuple[Tensor, Tensor]:
    """The look-up of one step (N, Q), without an axis of time."""
    averages, weights = look_up(ops.expand_dims(query, 0), allowed)
    return ops.squeeze(averages, 0), ops.squeeze(weights, -2)


def each(look_up: LookUp, query: Any, allowed: Any) -> tuple[Tensor, Tensor]:
    """All queries looked up at once, or one by one where steps are to be nodes of their own."""
    apart = steps_apart(query)
    if apart is None:
        return look_up(query, allowed)
    found = []
    for t, step in enumerate(apart):
        with scope(step=step):
            part = None if allowed is None else allowed[..., t : t + 1, :]
            found.append(one(look_up, query[t], part))
    averages, weights = zip(*found, strict=True)
    return ops.stack(averages), ops.stack(weights, axis=weights[0].ndim - 1)


def require_sequence(what: str, x: Any, expected: str, batch: int | None = None) -> int:
    """The steps of a sequence (T, N, F), for a batch of so many rows."""
    shape = shape_of(x)
    if len(shape) != 3 or batch not in (None, shape[1]):
        hint = "one sequence is a batch of one: x[:, None]" if len(shape) == 2 else None
        raise ShapeError(what, expected=expected, got=shape, hint=hint)
    return shape[0]


def allowed(
    owner: str, shape: tuple[int, ...], mask: Any = None, lengths: Any = None, causal: bool = False
) -> Array | None:
    """What may be attended to (N, T, S), by all that says so; None for everything.

    `shape` is that of the mask, (N, T, S), or (N, S) for one step.
    """
    batch, steps, size = shape[0], shape[1] if len(shape) == 3 else 1, shape[-1]
    parts = []
    if mask is not None:
        given: Array = array_of(f"{owner}: mask", values_of(mask))
        if given.shape != shape or given.dtype != bool:
            raise ShapeError(
                f"{owner}: mask",
                expected=f"booleans of shape {shape}",
                got=f"{given.dtype} of shape {given.shape}",
                hint="stretch it on purpose: np.broadcast_to(mask[:, None], (N, T, S))",
            )
        parts.append(given.reshape(batch, steps, size))
    if lengths is not None:
        parts.append(length_mask(lengths, size)[:, None])
        if len(parts[-1]) != batch:
            raise ShapeError(f"{owner}: lengths", expected=f"({batch},)", got=(len(parts[-1]),))
    if causal:
        parts.append(causal_mask(steps, size)[None])
    if not parts:
        return None
    return np.broadcast_to(functools.reduce(np.logical_and, parts), (batch, steps, size))


def _rows_first(attention: Attention, query: Any, keys: Any) -> tuple[Tensor, Tensor]:
    """Queries (T, N, Q) and prepared keys (S, N, K), as (N, T, Q) and (N, S, K)."""
    owner = type(attention).__name__
    require_sequence(f"{owner}: query", query, "(T, N, Q)")
    require_sequence(f"{owner}: keys", keys, "prepare(memory), (S, N, K)", shape_of(query)[1])
    return ops.swapaxes(query, 0, 1), ops.swapaxes(keys, 0, 1)


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
        rng, dtype, *_ = started(
            self,
            rng,
            dtype,
            query_size=query_size,
            memory_size=memory_size,
            attention_size=attention_size,
        )
        self.query = Linear(query_size, attention_size, bias=False, rng=rng, dtype=dtype)
        self.memory = Linear(memory_size, attention_size, rng=rng, dtype=dtype)
        values = init.glorot_uniform(rng, attention_size, 1, dtype=dtype)
        self.v = Parameter(values[:, 0])

    def prepare(self, memory: TensorLike) -> Tensor:
        """``m W_m + b``: (S, N, A)."""
        return ops.linear(memory, self.memory.weight, self.memory.bias)

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        queries, keys = _rows_first(self, ops.linear(query, self.query.weight), keys)
        sums = ops.expand_dims(queries, 2) + ops.expand_dims(keys, 1)  # (N, T, S, A)
        return ops.matmul(ops.tanh(sums), self.v)


class DotAttention(Attention):
    """Scores ``q . m`` (Luong et al., 2015), scaled by 1 / sqrt(M) if asked for.

    Parameters
    ----------
    scale : bool
        Whether to divide by the square root of the length (Vaswani et al., 2017).
    """

    def __init__(self, scale: bool = False) -> None:
        super().__init__()
        self.scale = flag("DotAttention: scale", scale)

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        queries, rows = _rows_first(self, query, keys)
        wide, long = shape_of(query)[-1], shape_of(keys)[-1]
        if wide != long:
            raise ShapeError(
                "DotAttention: query and memory",
                expected=f"the same last size, {long}",
                got=wide,
                hint="use MultiplicativeAttention for different sizes",
            )
        scores = ops.matmul(queries, ops.swapaxes(rows, 1, 2))
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
        rng, dtype, *_ = started(self, rng, dtype, query_size=query_size, memory_size=memory_size)
        values = init.glorot_uniform(rng, memory_size, query_size, dtype=dtype)
        self.weight = Parameter(values)

    def prepare(self, memory: TensorLike) -> Tensor:
        """``m W``: (S, N, Q)."""
        return ops.linear(memory, self.weight)

    def score(self, query: Any, keys: Any) -> Tensor:
        """Scores (N, T, S)."""
        queries, rows = _rows_first(self, query, keys)
        return ops.matmul(queries, ops.swapaxes(rows, 1, 2))
