"""Euclidean and other norms, and the spread of entries about their mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import number
from tinygrad_seq.errors import ConfigError, shown
from tinygrad_seq.kernels import numeric
from tinygrad_seq.ops.choose import where
from tinygrad_seq.ops.math import absolute, divide, square, subtract
from tinygrad_seq.ops.reduce import Axis, max, mean, min, sum
from tinygrad_seq.ops.registry import (
    axes_of,
    constant,
    direction,
    floating,
    floats_of,
    for_numpy,
    kept,
    publish,
    record,
    shape_of,
)
from tinygrad_seq.ops.samples import NONZERO, reduction
from tinygrad_seq.ops.shape import reshape

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor, TensorLike


def _norm_rule(g: Any, x: Any, out: Any, axis: Axis, keepdims: bool) -> Any:
    """The direction of x; 0 at the origin, as PyTorch has it."""
    ndim = len(x.shape)
    return kept(g, axis, keepdims, ndim) * direction(x, kept(out, axis, keepdims, ndim))


NORM = floating(
    "norm", numeric.norm, "x", [_norm_rule], sample=reduction(NONZERO), kink="0 at the origin"
)


def norm(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Euclidean norm, the root of the sum of squares, over one, several or all axes.

    Large float32 entries (1e20) do not overflow. The gradient at the origin is 0. For norms of
    another order there is ``np.linalg.norm``.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> tgs.norm(tgs.tensor([3e20, 4e20])).item() == tgs.tensor(5e20).item()
    True
    """
    return record(NORM, (x,), {"axis": axis, "keepdims": keepdims})


@for_numpy(np.linalg.norm)
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:  # noqa: A002
    """Euclidean and Frobenius norms by `tgs.norm`; of vectors also the other orders but 0."""
    ndim = len(shape_of(x)) if axis is None else len(axis) if isinstance(axis, tuple) else 1
    if ord is None or (isinstance(ord, str) and ord == "fro" and ndim == 2):
        return norm(x, axis=axis, keepdims=keepdims)
    if ndim != 1 or isinstance(ord, str) or number(infinite=True)("np.linalg.norm: ord", ord) == 0:
        raise ConfigError(
            "np.linalg.norm on a Tensor: ord",
            expected="None or 'fro' for matrices; None, 1, 2, inf, -inf or a number but 0 for "
            "vectors",
            got=shown(ord),
        )
    if ord == 2:
        return norm(x, axis=axis, keepdims=keepdims)
    size = absolute(*floats_of("np.linalg.norm", x))
    if ord == np.inf:
        return max(size, axis, keepdims)
    if ord == -np.inf:
        return min(size, axis, keepdims)
    if ord == 1:
        return sum(size, axis, keepdims)
    return _root_of_powers(size, float(ord), axis, keepdims)


def _root_of_powers(size: Any, order: float, axis: Any, keepdims: bool) -> Any:
    """``sum(size ** order) ** (1 / order)``, scaled so that powers neither overflow nor vanish.

    The scale is a constant: the norm does not depend on it. Where it is 0, so are the norm and
    all its derivatives, as at the origin of the Euclidean one.
    """
    values = constant(size)
    if order > 0:
        scale = values.max(axis=axis, keepdims=True, initial=0.0)
    else:
        scale = values.min(axis=axis, keepdims=True, initial=np.inf)
    origin = scale == 0
    scale = np.where(np.isfinite(scale) & ~origin, scale, 1.0).astype(values.dtype)
    parts = where(origin, 1.0, divide(size, scale)) ** order
    root = sum(parts, axis, keepdims) ** (1.0 / order)
    return where(origin.reshape(root.shape), 0.0, root * scale.reshape(root.shape))


@for_numpy(np.linalg.vector_norm)
def _vector_norm(x: Any, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:  # noqa: A002
    """Norm of vectors: the Euclidean one over any axes, the other orders over one."""
    if isinstance(ord, (int, float, np.number)) and ord == 2:
        return norm(x, axis=axis, keepdims=keepdims)
    if axis is None and not keepdims:
        x, axis = reshape(x, (-1,)), 0
    return _norm(x, ord, axis, keepdims)


@for_numpy(np.linalg.matrix_norm)
def _matrix_norm(x: Any, keepdims: bool = False, ord: Any = "fro") -> Any:  # noqa: A002
    """Frobenius norm of the last two axes."""
    return _norm(x, ord, (-2, -1), keepdims)


@for_numpy(np.var)
def var(
    x: TensorLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance, the mean squared distance from the mean, with n - ddof in the denominator.

    `correction` is another name of `ddof`. Both are 0 by default, as in NumPy; PyTorch's is 1.

    Raises
    ------
    ConfigError
        If `ddof` leaves nothing to divide by.
    """
    count = _freedom("var", shape_of(x), axis, ddof, correction)
    centred = subtract(x, mean(x, axis, keepdims=True))
    return sum(square(centred), axis, keepdims) / count


@for_numpy(np.std)
def std(
    x: TensorLike,
    axis: Axis = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Standard deviation: the square root of :func:`var`.

    Its gradient where all entries are equal is 0: the one direction-free choice among the
    subgradients there, what :func:`norm` does at the origin, and PyTorch's.

    Raises
    ------
    ConfigError
        If `ddof` leaves nothing to divide by.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> x = tgs.tensor([2.0, 2.0, 2.0], requires_grad=True)
    >>> tgs.std(x).backward()
    >>> x.grad
    array([0., 0., 0.], dtype=float32)
    """
    count = _freedom("std", shape_of(x), axis, ddof, correction)
    centred = subtract(x, mean(x, axis, keepdims=True))
    return norm(centred, axis=axis, keepdims=keepdims) / math.sqrt(count)


def _freedom(
    name: str, shape: tuple[int, ...], axis: Axis, ddof: float, correction: float | None
) -> float:
    """How many entries each result is made of, less `ddof`."""
    ddof = number()(f"{name}: ddof", ddof)
    if correction is not None:
        correction = number()(f"{name}: correction", correction)
        if ddof:
            raise ConfigError(
                f"{name}: ddof and correction are two names of one thing",
                expected="one of them",
                got=f"ddof={ddof}, correction={correction}",
                hint="leave ddof out",
            )
        ddof = correction
    entries = math.prod(shape[a] for a in axes_of(axis, len(shape), name))
    if entries - ddof <= 0:
        raise ConfigError(
            f"{name}: nothing is left to divide by",
            expected="more entries along the axes than ddof",
            got=f"{entries} entries, ddof={ddof}",
            hint="ddof=0",
        )
    return float(entries - ddof)


publish(globals())
