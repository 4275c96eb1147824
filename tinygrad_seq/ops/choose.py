"""Choosing between operands, limiting them, and changing their dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_seq.checks import array_of, converted, dtype_of
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.ops.math import maximum, minimum
from tinygrad_seq.ops.registry import constant, for_numpy, operation, publish, record, values_of
from tinygrad_seq.ops.samples import NONZERO, Draw, Sampled

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor, TensorLike


def _where_sample(draw: Draw) -> Sampled:
    a, b, c = draw.broadcastable(3)
    condition = draw.array(c) > 0
    return (draw.array(a), draw.array(b)), {"condition": condition}


WHERE = operation(
    "where",
    lambda a, b, condition: np.where(condition, a, b),
    "a b",
    [
        lambda g, condition: np.where(condition, g, 0.0),
        lambda g, condition: np.where(condition, 0.0, g),
    ],
    sample=_where_sample,
    pointwise=True,
    unread=lambda index, condition: condition if index else ~condition,
)


def where(condition: Array, a: TensorLike, b: TensorLike) -> Tensor:
    """Take from `a` where `condition` (a constant) holds, from `b` elsewhere.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> tgs.where(np.array([True, False]), tgs.tensor([1.0, 2.0]), 0.0).numpy()
    array([1., 0.], dtype=float32)
    """
    held = np.array(array_of("where: condition", condition), dtype=bool)
    return record(WHERE, (a, b), {"condition": held})


@for_numpy(np.where)
def _where(condition: Any, *branches: Any) -> Any:
    """One of two values by a constant condition; positions, if no values are given."""
    held = values_of(condition)
    return where(held, *branches) if branches else np.where(held)


@for_numpy(np.select)
def _select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0.0) -> Any:
    """The first choice whose condition holds, by `np.where`."""
    if len(condlist) != len(choicelist):
        raise ConfigError(
            "np.select: choices",
            expected=f"one for each condition, {len(condlist)}",
            got=len(choicelist),
        )
    found = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = where(condition, choice, found)
    return found


def _clip_sample(draw: Draw) -> Sampled:
    low, high = draw.choice([(-0.125, 0.125), (None, 0.125), (-0.125, None)])
    return (draw.array(draw.shape(), NONZERO),), {"low": low, "high": high}


def _inside(g: Any, x: Any, low: Any, high: Any) -> Any:
    """The cotangent where clipping changes nothing (bounds included, as PyTorch has it)."""
    values = constant(x)
    kept = values >= (-np.inf if low is None else low)
    kept &= values <= (np.inf if high is None else high)
    unknown = np.isnan(values) | any(bound != bound for bound in (low, high))  # NaN
    return np.where(kept, g, np.where(unknown, np.nan, 0.0).astype(g.dtype))


CLIP = operation(
    "clip",
    lambda x, low, high: np.clip(x, low, high),
    "x",
    [_inside],
    sample=_clip_sample,
    pointwise=True,
    analytic=False,
    kink="1 at a bound",
)


def clip(x: TensorLike, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
    """Limit x to [low, high]; the gradient is 1 inside (bounds included) and 0 outside.

    A bound that is an array or a tensor takes part in broadcasting, and gets gradients where it
    holds; a tie shares them, as in :func:`maximum`.
    """
    bounds = {}
    for name, bound in (("low", low), ("high", high)):
        number = bound is None or array_of("clip: bound", values_of(bound)).ndim == 0
        if not number or (isinstance(bound, Variable) and bound.requires_grad):
            floor = x if low is None else maximum(x, low)
            return cast("Tensor", floor if high is None else minimum(floor, high))
        bounds[name] = None if bound is None else np.asarray(values_of(bound)).item()
    return record(CLIP, (x,), bounds)


@for_numpy(np.clip)
def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    """`tgs.clip(x, low, high)`; the gradient is 1 inside the bounds, 0 outside."""
    return clip(a, bounds.get("min", a_min), bounds.get("max", a_max))


# Not in the registry, whose operations all keep the dtype: this one is there to change it. The
# backward walk itself brings a cotangent back to the dtype of x.
ASTYPE = Op(
    "astype",
    lambda x, dtype: converted("astype", x, dtype),
    "x",
    [lambda g: g],
    analytic=False,
    pointwise=True,
)


@for_numpy("astype")
def astype(x: TensorLike, dtype: Any) -> Tensor:
    """Convert to another floating dtype; the gradient comes back in the dtype of x."""
    return record(ASTYPE, (x,), {"dtype": dtype_of("astype", dtype)})


publish(globals())
