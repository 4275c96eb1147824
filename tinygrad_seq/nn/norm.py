"""Layer normalisation, and dropout that drops the same entries at every time step."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import float_dtype, positive, require_room
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.nn.layers import Dropout, floating, positive_size
from tinygrad_seq.nn.module import Parameter
from tinygrad_seq.nn.options import WithOptions, made_anew
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, TensorLike

__all__ = ["LayerNorm", "VariationalDropout"]


class LayerNorm(WithOptions):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last axis (Ba et al., 2016).

    Parameters
    ----------
    size : int
        Length F of the last axis.
    eps : float
        Added to the variance (the biased one).
    dtype : optional
        Of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> y = nn.LayerNorm(4)(np.array([[0.0, 0.0, 2.0, 2.0]], np.float32))
    >>> np.round(y.numpy(), 3)
    array([[-1., -1.,  1.,  1.]], dtype=float32)
    """

    _changing: ClassVar = {"eps": positive}
    _settled: ClassVar = made_anew("size")
    _needed: ClassVar = ("weight", "bias")

    size: int

    def __init__(self, size: int, eps: float = 1e-5, *, dtype: Any = np.float32) -> None:
        super().__init__()
        (size,) = positive_size("LayerNorm", size=size)
        self._settle(size=size)
        self.eps = eps
        dtype = float_dtype("LayerNorm", dtype)
        require_room("LayerNorm: size", size)
        self.weight = Parameter(np.ones(size, dtype))
        self.bias = Parameter(np.zeros(size, dtype))

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise x (..., F)."""
        x = floating("LayerNorm", x)
        if shape_of(x)[-1:] != (self.size,):
            raise ShapeError(
                "LayerNorm: the last axis of x", expected=f"(..., {self.size})", got=shape_of(x)
            )
        centred = ops.subtract(x, ops.mean(x, axis=-1, keepdims=True))
        spread = ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + self.eps)
        return centred / spread * self.weight + self.bias

    def extra_repr(self) -> str:
        """Size."""
        return f"{self.size}"


class VariationalDropout(Dropout):
    """Dropout of sequences (T, N, F) with one mask per sequence (Gal and Ghahramani, 2016).

    Parameters
    ----------
    p : float
        Probability in [0, 1).
    rng : numpy.random.Generator, optional
        Source of the masks.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> drop = nn.VariationalDropout(0.5, rng=np.random.default_rng(0))
    >>> y = drop(np.ones((4, 2, 3), np.float32)).numpy()
    >>> bool((y == y[0]).all())
    True
    """

    def _mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) < 2:
            raise ShapeError("VariationalDropout: x", expected="(T, N, F) or (T, F)", got=shape)
        return (1, *shape[1:])
