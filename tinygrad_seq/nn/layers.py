"""Layers without a state: linear, embedding, dropout."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import below_one, flag, float_dtype, generator_of, size
from tinygrad_seq.engine.faults import refuse_several
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.errors import ConfigError, DtypeError
from tinygrad_seq.nn import init
from tinygrad_seq.nn.module import Module, Parameter
from tinygrad_seq.nn.options import WithOptions, made_anew, part_or_none
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, TensorLike
from tinygrad_seq.timeline.steps import time_steps

__all__ = [
    "Dropout",
    "Embedding",
    "Linear",
    "floating",
    "positive_size",
    "probability",
    "started",
    "steps_apart",
]


def positive_size(owner: str, **sizes: int) -> tuple[int, ...]:
    """Refuse sizes that are not positive integers; NumPy's, which may wrap, become Python's."""
    return tuple(size(f"{owner}: {name}", given) for name, given in sizes.items())


def started(layer: Module, rng: Any, dtype: Any, **sizes: int) -> tuple[Any, ...]:
    """What a layer is made from, checked: the generator, the dtype and the sizes, in order."""
    owner = type(layer).__name__
    found = positive_size(owner, **sizes)
    return init.generator(rng, owner), float_dtype(owner, dtype), *found


def probability(what: str, p: float) -> float:
    """Refuse what is no probability of dropping."""
    try:
        return cast("float", below_one(what, p))
    except ConfigError as error:
        raise ConfigError(what, expected="0 <= p < 1", got=error.got) from None


def floating(owner: str, x: TensorLike) -> Tensor:
    """The input as a Tensor, unless it holds integers: tokens are not to be scaled."""
    refuse_several(owner, x)
    x = x if isinstance(x, Tensor) else Tensor(x)
    if x.dtype.kind in "iub":
        raise DtypeError(
            f"{owner}: input",
            expected="floats",
            got=x.dtype,
            hint="embed tokens first (nn.Embedding); else x.astype(np.float32)",
        )
    return x


def steps_apart(x: Any) -> list[int] | None:
    """The time steps at which a sequence (T, N, F) is to be mapped one by one; None for at once.

    Under ``composed()`` every step is a node of its own, unless a loop outside says already what
    step it is. Where nothing recorded tells the steps, the first axis is taken for time.
    """
    if not _is_sequence(x) or not shape_of(x)[0]:
        return None
    axis, steps = time_steps(x) or (0, None)
    if axis:
        return None
    start = current_mode.get().scope.start
    return list(range(start, start + shape_of(x)[0])) if steps is None else steps


def _is_sequence(x: Any) -> bool:
    mode = current_mode.get()
    return mode.composed and mode.scope.step is None and len(shape_of(x)) == 3


class Linear(WithOptions):
    """The affine map ``y = x W + b``; the notes' readout ``y_t = W_hy h_t``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of x and y.
    bias : bool
        Whether to add b.
    rng : numpy.random.Generator, optional
        Source of the initial weights (Glorot uniform; b starts at 0).
    dtype : optional
        Of the parameters.

    Notes
    -----
    ``weight`` is (in_features, out_features), the transpose of PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> head = nn.Linear(128, 65, rng=np.random.default_rng(0))
    >>> head(np.zeros((50, 32, 128), np.float32)).shape
    (50, 32, 65)
    """

    _changing: ClassVar = {"bias": part_or_none}
    _settled: ClassVar = made_anew("in_features", "out_features")
    _needed: ClassVar = ("weight",)

    bias: Parameter | None = None
    in_features: int
    out_features: int

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        rng, dtype, in_features, out_features = started(
            self, rng, dtype, in_features=in_features, out_features=out_features
        )
        self._settle(in_features=in_features, out_features=out_features)
        flag("Linear: bias", bias)
        self.weight = Parameter(init.glorot_uniform(rng, in_features, out_features, dtype=dtype))
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """Map the last axis; under ``composed()`` time steps one by one, where time is known."""
        found = time_steps(x) if _is_sequence(x) else None
        if found is None:
            return ops.linear(x, self.weight, self.bias)
        assert isinstance(x, Tensor)  # constants have no recorded time
        steps, axis = [], found[0]
        for t, step in enumerate(found[1]):
            with scope(step=step):
                x_t = x[t] if axis == 0 else x[:, t]
                steps.append(ops.linear(x_t, self.weight, self.bias).tag("logits"))
        return ops.stack(steps, axis)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}" + (
            "" if self.bias is not None else ", bias=False"
        )


class Embedding(WithOptions):
    """A table of vectors, one row per token.

    Parameters
    ----------
    num_embeddings : int
        Number of tokens V.
    embedding_dim : int
        Length of each vector.
    rng : numpy.random.Generator, optional
        Source of the initial values (normal, standard deviation 1).
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> nn.Embedding(65, 16, rng=np.random.default_rng(0))(np.zeros((7, 2), int)).shape
    (7, 2, 16)
    """

    _settled: ClassVar = made_anew("num_embeddings", "embedding_dim")
    _needed: ClassVar = ("weight",)

    num_embeddings: int
    embedding_dim: int

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        rng: np.random.Generator | None = None,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        rng, dtype, num_embeddings, embedding_dim = started(
            self, rng, dtype, num_embeddings=num_embeddings, embedding_dim=embedding_dim
        )
        self._settle(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.weight = Parameter(init.normal(rng, (num_embeddings, embedding_dim), 1.0, dtype))

    def forward(self, ids: Any) -> Tensor:
        """Look up the rows of integer `ids`, any shape."""
        return ops.take(self.weight, ids)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Dropout(WithOptions):
    """Zero each entry with probability p while training, and scale the rest by 1 / (1 - p).

    Parameters
    ----------
    p : float
        Probability in [0, 1).
    rng : numpy.random.Generator, optional
        Source of the masks; part of a resumable state (:meth:`Module.generators`).

    Notes
    -----
    In evaluation mode it does nothing. Source: Srivastava et al., 2014 ("inverted" form).

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> drop = nn.Dropout(0.5, rng=np.random.default_rng(0)).eval()
    >>> drop(np.ones(3, np.float32)).numpy()
    array([1., 1., 1.], dtype=float32)
    """

    _changing: ClassVar = {"p": probability, "rng": generator_of}

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator | None = None) -> None:
        super().__init__()
        self.p = p
        self.rng = init.generator(rng, type(self).__name__)

    def forward(self, x: TensorLike) -> Tensor:
        """Drop entries of `x`, any shape."""
        x = floating(type(self).__name__, x)
        if not self.training or self.p == 0:
            return x
        kept = self.rng.random(self._mask_shape(x.shape), np.float32) >= self.p
        return ops.where(np.broadcast_to(kept, x.shape), x / (1 - self.p), 0.0)

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def extra_repr(self) -> str:
        """Probability."""
        return f"p={self.p}"
