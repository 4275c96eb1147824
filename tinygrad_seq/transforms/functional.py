"""Derivatives of functions of nests of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import callable_of, flag
from tinygrad_seq.engine.mode import enable_grad
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops import reshape, stack
from tinygrad_seq.ops.registry import shape_of
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.transforms.gradient import grad_or_zeros, tensors_in
from tinygrad_seq.transforms.nest import leaves, map_nest, rebuild

__all__ = ["hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]


class _Call:
    """One recorded call of a function: its tensors to differentiate to, and its outputs.

    A plain tuple of inputs is spread over the arguments; anything else is one argument.
    Floating tensors and arrays in it are differentiated to, the rest is passed on.
    """

    def __init__(self, func: Callable[..., Any], inputs: Any, create_graph: bool) -> None:
        func = callable_of("the function to differentiate", func, "a function of tensors")
        self.create_graph = flag("create_graph", create_graph)
        self.inputs = map_nest(self._tracked, inputs)
        self.sources = [x for x in leaves(self.inputs) if _is_source(x)]
        if not self.sources:
            raise ConfigError(
                "nothing to differentiate to",
                expected="at least one tensor or array of floats among the inputs",
                got=", ".join(map(_kind, leaves(inputs))),
                hint="integers have no gradients: x.astype(np.float64) differentiates to them",
            )
        spread = isinstance(self.inputs, tuple) and not hasattr(self.inputs, "_fields")
        with enable_grad():
            self.result = func(*self.inputs) if spread else func(self.inputs)
        self.outputs = tensors_in("the function", self.result)

    def _tracked(self, value: Any) -> Any:
        """A tensor of its own for this call, so that no graph but this one is looked at."""
        if not _is_float(value):
            return value
        if not isinstance(value, Tensor):
            return tensor(value, requires_grad=True)
        if self.create_graph and value.requires_grad:
            with enable_grad():
                return reshape(value, value.shape)  # stays connected to the outer graph
        return value.detach().requires_grad_()

    def pull(self, cotangents: Sequence[Any], **options: Any) -> list[Any]:
        """Gradients to the sources of the outputs, weighted with these cotangents."""
        return grad_or_zeros(self.outputs, self.sources, cotangents, **options)

    def like_inputs(self, gradients: Sequence[Any]) -> Any:
        """A nest like the inputs: gradients, and None for what was only passed on."""
        rest = iter(gradients)
        return map_nest(lambda x: next(rest) if _is_source(x) else None, self.inputs)

    def value(self) -> Any:
        """The outputs, cut from the graph unless a graph was asked for."""
        return self.result if self.create_graph else map_nest(Tensor.detach, self.result)

    def scalar(self, what: str) -> Tensor:
        """The one output, which must be a scalar."""
        if len(self.outputs) != 1 or self.outputs[0].size != 1:
            raise ShapeError(
                f"{what}: the function must return one scalar",
                got=[out.shape for out in self.outputs],
                hint="reduce it first: loss.sum() or loss.mean()",
            )
        return self.outputs[0]


def _kind(value: Any) -> str:
    dtype = getattr(value, "dtype", None)
    return type(value).__name__ + (f" of {dtype}" if dtype is not None else "")


def _is_source(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _tangents(like: str, given: Any, nest: Any, targets: Sequence[Tensor]) -> Any:
    """Tensors or arrays from a nest, checked against the tensors they belong to."""
    found = [x for x in leaves(given) if x is not None]
    if len(found) != len(targets):
        raise ShapeError(
            f"{like}: wrong number of entries",
            expected=f"a nest like {map_nest(_shape, nest)}",
            got=map_nest(_shape, given),
        )
    for x, target in zip(found, targets, strict=True):
        if _shape(x) != target.shape:
            raise ShapeError(f"{like}: wrong shape", expected=target.shape, got=_shape(x))
    return found


def _shape(value: Any) -> Any:
    return None if value is None else shape_of(value)


def value_and_grad(func: Callable[..., Any], inputs: Any, *, create_graph: bool = False) -> Any:
    """Value of a scalar function, and its gradient as a nest like the inputs.

    Parameters
    ----------
    func : callable
        Returns one scalar tensor.
    inputs : nest of tensors and arrays
        A plain tuple is spread over the arguments of `func`; a tensor, list, dict or named
        tuple is its one argument. Entries that are not floating are passed on.
    create_graph : bool
        Record the computation, so that value and gradient can be differentiated again.

    Returns
    -------
    value : Tensor
    gradient : nest of Tensor
        None for entries that were only passed on.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> params = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    >>> value, slope = tgs.value_and_grad(lambda p: (p["w"] ** 2).sum() * p["b"], params)
    >>> value.item(), slope["w"].tolist(), slope["b"].item()
    (15.0, [6.0, 12.0], 5.0)
    """
    call = _Call(func, inputs, create_graph)
    out = call.scalar("value_and_grad")
    found = call.pull([np.ones(out.shape)], create_graph=create_graph)
    return call.value(), call.like_inputs(found)


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, *, create_graph: bool = False) -> Any:
    """Outputs, and the cotangent `v` pulled back to the inputs: v^T J.

    Parameters
    ----------
    func, inputs, create_graph
        As in :func:`value_and_grad`; outputs of any shape, or a nest of them.
    v : nest like the outputs, optional
        May be left out for one scalar output.

    Returns
    -------
    outputs, cotangents : nests of Tensor

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> _, g = tgs.vjp(lambda x: x * x, np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    >>> g.tolist()
    [2.0, 40.0]
    """
    call = _Call(func, inputs, create_graph)
    if v is None:
        cots: Sequence[Any] = [np.ones(call.scalar("vjp without v").shape)]
    else:
        cots = _tangents("vjp: v", v, call.result, call.outputs)
    return call.value(), call.like_inputs(call.pull(cots, create_graph=create_graph))


def jvp(func: Callable[..., Any], inputs: Any, v: Any, *, create_graph: bool = False) -> Any:
    """Outputs, and the tangent `v` pushed forward through the function: J v.

    Computed as the derivative of v^T J to its cotangent (the double-vjp trick), so it works for
    every operation that differentiates twice.

    Parameters
    ----------
    func, inputs, create_graph
        As in :func:`vjp`.
    v : nest like the inputs
        None for entries that are only passed on.

    Returns
    -------
    outputs, tangents : nests of Tensor

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> _, t = tgs.jvp(lambda x: x * x, np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    >>> t.tolist()
    [2.0, 40.0]
    """
    call = _Call(func, inputs, create_graph)
    tangents = _tangents("jvp: v", v, call.inputs, call.sources)
    zeros = [tensor(np.zeros(o.shape, o.dtype), requires_grad=True) for o in call.outputs]
    pulled = call.pull(zeros, create_graph=True)
    pushed = grad_or_zeros(pulled, zeros, tangents, create_graph=create_graph)
    return call.value(), rebuild(call.result, pushed)


def jacobian(func: Callable[..., Any], inputs: Any, *, create_graph: bool = False) -> Any:
    """Every derivative of every output entry to every input entry.

    Parameters
    ----------
    func, inputs, create_graph
        As in :func:`vjp`.

    Returns
    -------
    nest like the outputs, of nests like the inputs, of Tensor
        Of shape ``output.shape + input.shape``.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> tgs.jacobian(lambda x: x[::-1] * x, np.array([1.0, 2.0])).tolist()
    [[2.0, 1.0], [2.0, 1.0]]
    """
    call = _Call(func, inputs, create_graph)
    return rebuild(call.result, [_rows(call, k) for k in range(len(call.outputs))])


def _rows(call: _Call, k: int) -> Any:
    """The part of a Jacobian that belongs to output k, row by row."""
    out = call.outputs[k]
    rows = []
    for index in np.ndindex(out.shape):
        cots = [np.zeros(o.shape, o.dtype) for o in call.outputs]
        cots[k][index] = 1.0
        rows.append(call.pull(cots, create_graph=call.create_graph, retain_graph=True))
    stacked = []
    for i, source in enumerate(call.sources):
        parts = [row[i] for row in rows]
        whole = stack(parts) if parts else tensor(np.zeros((0, *source.shape), source.dtype))
        stacked.append(reshape(whole, (*out.shape, *source.shape)))
    return call.like_inputs(stacked)


def hessian(func: Callable[..., Any], inputs: Any, *, create_graph: bool = False) -> Any:
    """Second derivatives of a scalar function: the Jacobian of its gradient.

    Returns
    -------
    nest like the inputs, of nests like the inputs, of Tensor

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> tgs.hessian(lambda x: (x**3).sum(), np.array([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """

    def gradient(box: list[Any]) -> list[Tensor]:
        _, slopes = value_and_grad(func, box[0], create_graph=True)
        return [slope for slope in leaves(slopes) if slope is not None]

    boxed = [inputs]  # one argument, a tuple or not
    rows = iter(jacobian(gradient, boxed, create_graph=create_graph))
    return map_nest(lambda x: next(rows)[0] if _is_float(x) else None, inputs)


def _is_float(value: Any) -> bool:
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return isinstance(value, float) or kind == "f"


def hvp(func: Callable[..., Any], inputs: Any, v: Any, *, create_graph: bool = False) -> Any:
    """Value of a scalar function, and its Hessian times `v`, without forming the Hessian.

    Parameters
    ----------
    func, inputs, create_graph
        As in :func:`value_and_grad`.
    v : nest like the inputs

    Returns
    -------
    value : Tensor
    product : nest of Tensor like the inputs

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> _, Hv = tgs.hvp(lambda x: (x**3).sum(), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    >>> Hv.tolist()
    [6.0, 0.0]
    """
    call = _Call(func, inputs, create_graph)
    call.scalar("hvp")
    vs = _tangents("hvp: v", v, call.inputs, call.sources)
    slopes = call.pull([np.ones(call.outputs[0].shape)], create_graph=True)
    product = grad_or_zeros(slopes, call.sources, vs, create_graph=create_graph)
    return call.value(), call.like_inputs(product)
