"""NumPy's own functions on Tensors (NEP 13 and NEP 18).

Three tables say what happens: *differentiable* functions become operations, *constant-only*
functions are evaluated on the values and give plain arrays (their gradient is zero or has no
meaning), and every other function is refused on a tensor that requires gradients.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, GraphError, NotDifferentiableError

__all__ = ["CONSTANT_ONLY", "DIFFERENTIABLE", "call_function", "call_ufunc"]


def _where(condition: Any, *branches: Any) -> Any:
    values = _values(condition)
    return ops.where(values, *branches) if branches else np.where(values)


def _take(a: Any, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        return ops.take(ops.reshape(a, (-1,)), indices)
    if axis == 0:
        return ops.take(a, indices)
    picked = ops.take(ops.moveaxis(a, axis, 0), indices)
    ids = np.ndim(_values(indices))
    axis = axis % np.ndim(_values(a))
    order = [*range(ids, ids + axis), *range(ids), *range(ids + axis, picked.ndim)]
    return ops.transpose(picked, tuple(order))


def _cumsum(a: Any, axis: int | None = None) -> Any:
    return ops.cumsum(ops.reshape(a, (-1,)), 0) if axis is None else ops.cumsum(a, axis)


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    return ops.clip(a, bounds.get("min", a_min), bounds.get("max", a_max))


DIFFERENTIABLE: dict[Any, Callable[..., Any]] = {
    np.add: ops.add,
    np.subtract: ops.subtract,
    np.multiply: ops.multiply,
    np.true_divide: ops.divide,
    np.power: ops.power,
    np.negative: ops.negative,
    np.positive: lambda x: x,
    np.square: ops.square,
    np.sqrt: ops.sqrt,
    np.exp: ops.exp,
    np.log: ops.log,
    np.log1p: ops.log1p,
    np.sin: ops.sin,
    np.cos: ops.cos,
    np.tanh: ops.tanh,
    np.absolute: ops.absolute,
    np.maximum: ops.maximum,
    np.minimum: ops.minimum,
    np.matmul: ops.matmul,
    np.where: _where,
    np.clip: _clip,
    np.sum: ops.sum,
    np.mean: ops.mean,
    np.max: ops.max,
    np.min: ops.min,
    np.amax: ops.max,
    np.amin: ops.min,
    np.var: ops.var,
    np.std: ops.std,
    np.cumsum: _cumsum,
    np.reshape: ops.reshape,
    np.transpose: ops.transpose,
    np.swapaxes: ops.swapaxes,
    np.moveaxis: ops.moveaxis,
    np.expand_dims: ops.expand_dims,
    np.squeeze: ops.squeeze,
    np.broadcast_to: ops.broadcast_to,
    np.flip: ops.flip,
    np.concatenate: ops.concatenate,
    np.stack: ops.stack,
    np.split: ops.split,
    np.take: _take,
    np.take_along_axis: ops.take_along_axis,
    np.einsum: ops.einsum,
    np.dot: ops.matmul,
}
"""NumPy functions that are recorded as operations."""

CONSTANT_ONLY: frozenset[Any] = frozenset(
    {
        np.less,
        np.less_equal,
        np.greater,
        np.greater_equal,
        np.equal,
        np.not_equal,
        np.sign,
        np.floor,
        np.ceil,
        np.rint,
        np.trunc,
        np.isfinite,
        np.isnan,
        np.isinf,
        np.signbit,
        np.logical_and,
        np.logical_or,
        np.logical_not,
        np.argmax,
        np.argmin,
        np.argsort,
        np.allclose,
        np.isclose,
        np.array_equal,
        np.any,
        np.all,
        np.nonzero,
        np.count_nonzero,
        np.zeros_like,
        np.ones_like,
        np.full_like,
        np.empty_like,
        np.shape,
        np.ndim,
        np.size,
        np.round,
        np.array2string,
        np.array_repr,
        np.array_str,
        np.may_share_memory,
        np.shares_memory,
        np.result_type,
    }
)
"""NumPy functions evaluated on the values: piecewise constant, or not about values at all."""

_WRITES = frozenset({np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal})
"""NumPy functions that write into their first argument, as ``ufunc.at`` does."""


def call_ufunc(ufunc: Any, method: str, inputs: Any, kwargs: dict[str, Any]) -> Any:
    """Run a ufunc that met a Tensor."""
    if method == "__call__" and not kwargs and ufunc in DIFFERENTIABLE:
        return DIFFERENTIABLE[ufunc](*inputs)
    name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    return _on_values(getattr(ufunc, method), ufunc, name, inputs, kwargs)


def call_function(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one of NumPy's other functions that met a Tensor."""
    ours = DIFFERENTIABLE.get(func)
    name = f"np.{func.__name__}"
    if ours is None:
        return _on_values(func, func, name, args, kwargs)
    try:
        inspect.signature(ours).bind(*args, **kwargs)
    except TypeError as error:
        raise ConfigError(
            f"{name} on a Tensor: {error}",
            expected=f"arguments {inspect.signature(ours)}",
            hint="leave the other arguments out",
        ) from None
    return ours(*args, **kwargs)


def _on_values(run: Any, table_key: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Evaluate on the values, if no gradient can be lost by that."""
    target = kwargs.get("out", args[0] if table_key in _WRITES or name.endswith(".at") else None)
    if any(isinstance(t, Variable) for t in (target if isinstance(target, tuple) else (target,))):
        raise GraphError(
            f"{name} would write into a Tensor behind the graph's back",
            hint="write into t.writable(), or build a new tensor",
        )
    tracked = _first_tracked([args, kwargs])
    if tracked is not None and (table_key not in CONSTANT_ONLY or "out" in kwargs):
        raise NotDifferentiableError(
            f"{name} has no gradient rule for a tensor that requires gradients",
            expected="a differentiable function, or a constant",
            got=f"{tracked._node}",
            hint="use t.detach() if no gradient is meant to flow, or write the function with "
            "operations of tinygrad_seq",
        )
    return run(*_values(args), **_values(kwargs))


def _first_tracked(value: Any) -> Variable | None:
    if isinstance(value, Variable):
        return value if value._node is not None else None
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            found = _first_tracked(part)
            if found is not None:
                return found
    return None


def _values(value: Any) -> Any:
    """The same nested arguments with every Tensor replaced by its array."""
    if isinstance(value, Variable):
        return value._data
    if isinstance(value, dict):
        return {key: _values(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_values(part) for part in value)
    return value
