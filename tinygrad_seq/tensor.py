"""The Tensor: an array that remembers where it came from.

Operators only call operations; the mathematics is in :mod:`tinygrad_seq.ops`.
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_seq import ops
from tinygrad_seq.checks import array_of, callable_of, converted, dtype_of, flag, refuse_masked
from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.faults import REFUSALS, refusal, refuse_several
from tinygrad_seq.engine.hooks import Handle, Hook, add_hook
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.tape import bind_result_type
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import (
    ConfigError,
    DtypeError,
    GraphError,
    NotDifferentiableError,
    ShapeError,
    shown,
)
from tinygrad_seq.methods import ArrayMethods, swapped
from tinygrad_seq.ops.registry import DIFFERENTIABLE, values_of
from tinygrad_seq.protocols import call_function, call_ufunc

if TYPE_CHECKING:
    from tinygrad_seq.viz import Drawing

__all__ = ["Tensor", "TensorLike", "starting_point", "tensor"]

TensorLike: TypeAlias = "Tensor | Array | float | int"
"""What operations take: tensors, arrays and Python numbers."""


def _comparison(compare: Callable[[Any, Any], Any]) -> Any:
    def method(self: Any, other: Any) -> Array:
        refuse_masked("comparison", other)
        try:
            return np.asarray(compare(self._array, values_of(other)))
        except REFUSALS as error:
            raise refusal(f"comparison by {compare.__name__}", [self._array], error) from error

    return method


class Tensor(ArrayMethods):
    """A NumPy array with reverse-mode differentiation.

    Made by :func:`tensor` (a copy of your data) or as the result of an operation. Operators
    and NumPy's own functions work on it and are recorded wherever an operand requires gradients.

    Notes
    -----
    Values are never changed by operations. ``t.data = array`` and :meth:`writable` write
    on purpose: they bump ``version``, and a backward that needs the old value refuses.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = False, dtype: Any = None) -> None:
        array = _as_array(data, dtype)
        self._array = array
        self._node = None
        self._grad = None
        self._pin = None
        self._base = None
        self.name = ""
        self.version = 0
        if flag("tensor: requires_grad", requires_grad):
            self._make_leaf()

    # -- looking at it ---------------------------------------------------------------------------

    @property
    def T(self) -> Tensor:  # noqa: N802  (NumPy's name)
        """All axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:  # noqa: N802  (NumPy's and PyTorch's name)
        """The last two axes exchanged: every matrix of a stack transposed."""
        return ops.swapaxes(self, -1, -2)

    @property
    def real(self) -> Tensor:
        """Itself: tensors are real."""
        return self

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len() of a scalar tensor", expected="at least one axis", got="()")
        return self.shape[0]

    def __repr__(self) -> str:
        body = np.array2string(self._array, separator=", ", prefix="tensor(", threshold=100)
        notes = [] if self.dtype == np.float32 else [f"dtype={self.dtype}"]
        if self._node is not None:
            notes.append("requires_grad=True" if self.is_leaf else f"from {self._node}")
        return "tensor(" + ", ".join([body, *notes]) + ")"

    # -- leaving and entering the graph ----------------------------------------------------------

    def numpy(self) -> Array:
        """A copy of the values as an array, free to change."""
        return self._array.copy()

    def item(self) -> Any:
        """The value of a tensor with one entry as a Python number."""
        if self.size != 1:
            raise ShapeError(
                "item()",
                expected="exactly one entry",
                got=f"shape {self.shape}",
                hint="x.sum(), x.mean() or x[i] first; x.tolist() for all",
            )
        return self._array.item()

    def tolist(self) -> Any:
        """The values as nested Python lists."""
        return self._array.tolist()

    def detach(self) -> Tensor:
        """The same values, cut off from the graph: the truncation of TBPTT.

        Shares memory until one side is written through :meth:`writable`.
        """
        made = Tensor._wrap(self._array.view(), None)
        made._array.flags.writeable = False
        assert isinstance(made, Tensor)
        made._base = self._base if self._base is not None else (self if self.is_leaf else None)
        self._note_origin(made)
        return made

    def astype(self, dtype: Any) -> Tensor:
        """Convert a copy to another dtype; gradients flow between floating dtypes."""
        target = dtype_of("astype", dtype)
        if target.kind != "f":
            self._refuse_if_tracked(f"astype({target})")
        return ops.astype(self, target)

    def requires_grad_(self, value: bool = True) -> Tensor:
        """Set ``requires_grad`` and return the tensor."""
        self.requires_grad = value
        return self

    def retain_grad(self) -> None:
        """Ask :meth:`backward` to fill ``.grad`` of this intermediate result too.

        Raises
        ------
        GraphError
            On a constant, which never gets a gradient.
        """
        self._tracked_node("retain_grad", "ask it of").owner = weakref.ref(self)

    def register_hook(self, hook: Hook) -> Handle:
        """Have `hook` called with the complete gradient of this tensor in every backward.

        Parameters
        ----------
        hook : callable
            Of the gradient: a read-only array, or a Tensor under ``create_graph=True``. What it
            returns takes the gradient's place; None leaves it.

        Returns
        -------
        Handle
            ``handle.remove()`` ends it.

        Examples
        --------
        >>> import tinygrad_seq as tgs
        >>> x = tgs.tensor(3.0, requires_grad=True)
        >>> h = x * 2
        >>> handle = h.register_hook(lambda g: g.clip(-1, 1))
        >>> (h * 10).backward()
        >>> x.grad.item()
        2.0
        """
        node = self._tracked_node("register_hook", "register on")
        what, hint = "a function of the gradient", "lambda g: g.clip(-1, 1), for one"
        return add_hook(node, callable_of("register_hook: hook", hook, what, hint=hint))

    def _tracked_node(self, what: str, instead: str) -> Node:
        if self._node is None:
            raise GraphError(
                f"{what}: this tensor does not require gradients",
                expected="a tensor with requires_grad=True, or a result of one",
                got="a constant",
                hint=f"make it with requires_grad=True, or {instead} a result of such a tensor",
            )
        return self._node

    def _refuse_if_tracked(
        self, what: str, hint: str = "call .detach() first, or .numpy() for the values"
    ) -> None:
        if self._node is not None:
            raise NotDifferentiableError(
                f"{what} on a tensor that requires gradients would drop the graph",
                expected="a constant",
                got=f"a tensor that requires gradients: {self._node}",
                hint=hint,
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self._refuse_if_tracked(
            "np.asarray (or an array, a mean, a sum of several tensors)",
            "tgs.stack([a, b]) for one tensor of several; .detach() first, or .numpy(), for the "
            "values alone",
        )
        return np.array(self.data, dtype=dtype, copy=copy)  # read-only while a graph needs it

    # -- gradients -------------------------------------------------------------------------------

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add the gradient of this tensor to ``.grad`` of every leaf that it depends on.

        Parameters
        ----------
        gradient : array of this shape, optional
            Cotangent to start from; may be left out for a scalar (1 then).
        retain_graph : bool
            Keep the saved values for another backward through the same graph.

        Raises
        ------
        GraphError
            If there is no graph, if it was freed by an earlier backward, or if a value
            it saved was written since. Nothing is changed then.
        """
        flag("backward: retain_graph", retain_graph)
        start = starting_point(self, gradient, "backward")
        found = backpropagate([start], retain_graph=retain_graph)
        for node, cotangent in found.items():
            owner = node.owner() if node.owner is not None else None
            if owner is not None:
                if owner._grad is not None:
                    cotangent = np.asarray(owner._grad + cotangent)  # 0-d sums are scalars
                owner._grad = cotangent

    def draw(self, **options: Any) -> Drawing:
        """Draw the graph that ends here: short for :func:`tinygrad_seq.viz.draw`."""
        from tinygrad_seq import viz

        return viz.draw(self, **options)

    # -- NumPy's protocols -----------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call_function(func, args, kwargs)

    # -- operators -------------------------------------------------------------------------------

    __add__ = ops.add
    __radd__ = swapped(ops.add)
    __sub__ = ops.subtract
    __rsub__ = swapped(ops.subtract)
    __mul__ = ops.multiply
    __rmul__ = swapped(ops.multiply)
    __truediv__ = ops.divide
    __rtruediv__ = swapped(ops.divide)

    def __pow__(self, other: Any, modulo: Any = None) -> Tensor:
        if modulo is not None:
            raise ConfigError("pow: a third argument", expected="none", hint="x**n % m")
        return ops.power(self, other)

    __rpow__ = swapped(ops.power)
    __matmul__ = ops.matmul
    __rmatmul__ = swapped(ops.matmul)
    __mod__ = ops.remainder
    __rmod__ = swapped(ops.remainder)
    __neg__ = ops.negative
    __pos__ = DIFFERENTIABLE[np.positive]
    __abs__ = ops.absolute

    def __getitem__(self, index: Any) -> Tensor:
        return ops.getitem(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise GraphError(
            "tensors cannot be assigned into: the graph would no longer be true",
            hint="build the result with tgs.where, tgs.stack or tgs.concatenate; to change a "
            "leaf on purpose, t.writable()[...] = value",
        )

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        # As item(): to log a loss. So math.sin(t) sees the value alone; np.sin(t) is recorded.
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        self._refuse_if_tracked("index()")
        if self.ndim or self.dtype.kind not in "iu":
            raise DtypeError(
                "a tensor in place of an index",
                expected="one integer",
                got=f"shape {self.shape}, {self.dtype}",
                hint="int(t)",
            )
        return int(self._array)

    # Comparisons are constant-only: they give plain boolean arrays, ready for tgs.where.
    __lt__ = _comparison(operator.lt)
    __le__ = _comparison(operator.le)
    __gt__ = _comparison(operator.gt)
    __ge__ = _comparison(operator.ge)
    __eq__ = _comparison(operator.eq)
    __ne__ = _comparison(operator.ne)
    __hash__ = object.__hash__


bind_result_type(Tensor)


def tensor(data: Any, requires_grad: bool = False, dtype: Any = None, *, name: str = "") -> Tensor:
    """Make a tensor from a copy of `data`.

    Parameters
    ----------
    data : array_like
        Python floats become float32; a NumPy array keeps its dtype.
    requires_grad : bool
        Collect gradients for it in :meth:`Tensor.backward`.
    dtype : optional
        Convert to this dtype.
    name : str
        What messages and drawings call it.

    Raises
    ------
    DtypeError
        If `data` is not numeric, or `requires_grad` is asked of integers.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> x = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """
    made = Tensor(data, requires_grad, dtype)
    made.name = name
    return made


def starting_point(output: Tensor, gradient: Any, what: str, create_graph: bool = False) -> Any:
    """The (node, cotangent) pair that a backward walk starts from."""
    if not isinstance(output, Variable):
        raise DtypeError(f"{what}: output", expected="a Tensor", got=shown(output))
    node = output._node
    if node is None:
        raise GraphError(
            f"{what}: this tensor was not recorded",
            expected="a result that depends on a tensor with requires_grad=True",
            got="a constant",
            hint="was it made under no_grad(), or detached?",
        )
    if gradient is None:
        if output.size != 1:
            raise GraphError(
                f"{what} on a tensor that is not a scalar needs a gradient to start from",
                expected="one entry, or gradient=...",
                got=f"shape {output.shape}",
                hint="reduce it first: loss.sum() or loss.mean()",
            )
        gradient = np.ones(output.shape, output.dtype)
    elif not isinstance(gradient, Tensor):
        gradient = array_of(f"{what}: gradient", gradient).astype(output.dtype, copy=False)
    elif not create_graph:
        gradient = gradient._array
    if gradient.shape != output.shape:
        hint = f"give {what.split(':')[0]} one number for each entry of {node}"
        message = f"{what}: gradient does not fit"
        raise ShapeError(message, expected=output.shape, got=gradient.shape, hint=hint)
    return node, gradient


def _as_array(data: Any, dtype: Any) -> Array:
    """A copy of the data as an array; Python floats become float32."""
    if isinstance(data, Variable):
        data = data._array
    refuse_several("tensor", data)
    array = array_of("tensor: data", data)
    if dtype is None:
        own = isinstance(data, (np.ndarray, np.generic)) or array.dtype != np.float64
        dtype = array.dtype if own else np.float32
    return converted("tensor", array, dtype)
