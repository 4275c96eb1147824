"""The operations that are methods of Tensor: NumPy's of an array, and a few of PyTorch's.

Each only calls an operation, whose docstring says what it computes. The operators stand in
:mod:`tinygrad_seq.tensor`, but for those that write in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from tinygrad_seq import elsewhere, ops
from tinygrad_seq.arguments import taking
from tinygrad_seq.checks import flag, index_of
from tinygrad_seq.engine.faults import REFUSALS, refusal
from tinygrad_seq.engine.mode import current_mode
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, GraphError, ShapeError
from tinygrad_seq.ops.registry import DIFFERENTIABLE, array_at, axis_of

if TYPE_CHECKING:
    from tinygrad_seq.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])


def _sizes(given: tuple[Any, ...]) -> Any:
    """Sizes or axes, given one by one or as one tuple."""
    return given[0] if len(given) == 1 else given


def _numpys(ufunc: Any) -> Any:
    """The operator as NumPy's function: evaluated on the values, or refused."""
    return lambda *operands: ufunc(*operands)


def swapped(operation: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """The operator for a Tensor on the right."""
    return lambda self, other: operation(other, self)


def _in_place(
    ufunc: Any, plain: Callable[[Any, Any], Tensor], sign: str
) -> Callable[[Any, Any], Tensor]:
    """An operator that writes in place under no_grad: an optimiser's step by hand.

    Elsewhere `h += x` gives the name h to a new tensor, but not to one in place of a leaf that
    requires gradients: that would silently be a leaf no more.
    """

    def operator(self: Any, other: Any) -> Any:
        if not self.is_leaf:
            return plain(self, other)
        if current_mode.get().grad:
            if self._node is not None:
                raise _no_longer_a_leaf(self, sign)
            return plain(self, other)
        number = type(other) in (float, int, bool)
        value = other if number else array_at("in-place operator: operand", other)
        try:
            new = np.asarray(ufunc(self._array, value))
        except REFUSALS as error:
            raise refusal("in-place operator", [self._array], error) from error
        if new.shape != self.shape or not np.can_cast(new.dtype, self.dtype, "same_kind"):
            raise ShapeError(
                "in-place operator: the result does not fit the tensor",
                expected=f"shape {self.shape}, {self.dtype}",
                got=f"shape {new.shape}, {new.dtype}",
                hint=f"w = w {sign} ... for a new tensor",
            )
        self.writable()[...] = new
        return self

    return operator


def _no_longer_a_leaf(leaf: Variable, sign: str) -> GraphError:
    name = leaf.name.rpartition(".")[2] or "w"
    return GraphError(
        f"{name} {sign}= ... on a leaf that requires gradients, while operations are recorded",
        expected="a write in place under no_grad(), or a new tensor",
        got=f"an operator that would make {name} a result, whose .grad is not filled",
        hint=f"with tgs.no_grad(): {name} {sign}= ... (a step by hand), or "
        f"{name} = {name} {sign} ... for a new tensor in the graph",
    )


class ArrayMethods(Variable):
    """Operations under the names that an ndarray or a PyTorch tensor has them."""

    __slots__ = ()

    # -- shapes ----------------------------------------------------------------------------------

    def reshape(self: Any, *shape: Any, order: str = "C") -> Tensor:
        """Short for :func:`tinygrad_seq.reshape`; sizes may be given one by one."""
        return ops.reshape(self, _sizes(shape), order)

    view = reshape
    """PyTorch's name. Results never share memory that could be written."""

    def transpose(self: Any, *axes: Any) -> Tensor:
        """Short for :func:`tinygrad_seq.transpose`; axes may be given one by one."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return ops.transpose(self, order or None)

    permute = transpose
    """PyTorch's name."""

    def flatten(self: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Join all axes, or those from `start_dim` to `end_dim`, into one (PyTorch's options)."""
        shape = self.shape or (1,)
        first, last = (axis_of(axis, len(shape), "flatten") for axis in (start_dim, end_dim))
        if first > last:
            raise ConfigError(
                "flatten: start_dim and end_dim",
                expected="start_dim no later than end_dim",
                got=f"{start_dim} and {end_dim} of {len(shape)} axes",
                hint="x.flatten() joins all axes",
            )
        joined = int(np.prod(shape[first : last + 1]))
        return ops.reshape(self, (*shape[:first], joined, *shape[last + 1 :]))

    ravel = DIFFERENTIABLE[np.ravel]
    squeeze = ops.squeeze
    unsqueeze = ops.expand_dims
    swapaxes = ops.swapaxes
    diagonal = ops.diagonal
    repeat = ops.repeat

    # -- reductions and running sums -------------------------------------------------------------

    sum = ops.sum
    mean = ops.mean
    max = ops.max
    min = ops.min
    std = ops.std
    var = ops.var
    prod = ops.prod

    @taking
    def norm(self: Any, *, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Short for :func:`tinygrad_seq.norm`; by name: PyTorch has the order in their place."""
        return ops.norm(self, axis, keepdims)

    cumsum = ops.cumsum
    cumprod = ops.cumprod
    logsumexp = ops.logsumexp
    trace = ops.trace

    @taking
    def argmax(self: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Positions by ``np.argmax``: plain integers, no gradient."""
        return np.argmax(self, axis, keepdims=flag("argmax: keepdims", keepdims))

    @taking
    def argmin(self: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
        """Positions by ``np.argmin``: plain integers, no gradient."""
        return np.argmin(self, axis, keepdims=flag("argmin: keepdims", keepdims))

    @taking
    def argsort(self: Any, axis: Any = -1, kind: Any = None) -> Any:
        """Positions by ``np.argsort``: plain integers, no gradient."""
        return np.argsort(self, axis, kind)

    # -- elementwise, and products ---------------------------------------------------------------

    exp = ops.exp
    log = ops.log
    sqrt = ops.sqrt
    square = ops.square
    abs = ops.absolute
    sin = ops.sin
    cos = ops.cos
    tanh = ops.tanh
    sigmoid = ops.sigmoid
    relu = ops.relu
    softmax = ops.softmax
    log_softmax = ops.log_softmax
    dot = DIFFERENTIABLE[np.dot]

    def clip(self: Any, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002
        """Short for :func:`tinygrad_seq.clip`, with NumPy's names of the bounds."""
        return ops.clip(self, min, max)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in elsewhere.METHODS]

    # -- copies ----------------------------------------------------------------------------------

    clone = copy = DIFFERENTIABLE[np.copy]

    # -- as text ---------------------------------------------------------------------------------

    def __format__(self: Any, spec: str) -> str:
        """As its number where there is one entry, ``f"{loss:.3f}"``; without a spec as text."""
        if not spec:
            return str(self._array if self.ndim == 0 else self)
        if self.size != 1:
            raise ShapeError(
                f"format {spec!r} of a tensor",
                expected="exactly one entry",
                got=f"shape {self.shape}",
                hint="x.item() of one entry, x.tolist() for all, or np.array2string(x.numpy())",
            )
        return format(self.item(), spec)

    # -- operators without a gradient: pieces of a division, and bits ----------------------------

    __floordiv__ = _numpys(np.floor_divide)
    __rfloordiv__ = swapped(np.floor_divide)
    __and__ = __rand__ = _numpys(np.bitwise_and)
    __or__ = __ror__ = _numpys(np.bitwise_or)
    __xor__ = __rxor__ = _numpys(np.bitwise_xor)
    __lshift__ = _numpys(np.left_shift)
    __rlshift__ = swapped(np.left_shift)
    __rshift__ = _numpys(np.right_shift)
    __rrshift__ = swapped(np.right_shift)
    __invert__ = _numpys(np.invert)

    def __divmod__(self: Any, other: Any) -> tuple[Any, Tensor]:
        return self // other, cast("Tensor", self % other)

    def __rdivmod__(self: Any, other: Any) -> tuple[Any, Tensor]:
        return other // self, other % self

    def __trunc__(self: Any) -> int:
        return int(self)

    def __round__(self: Any, ndigits: int | None = None) -> Any:
        return np.round(self, 0 if ndigits is None else index_of("round: ndigits", ndigits))

    def __contains__(self: Any, value: Any) -> bool:
        return bool(np.any(self == value))

    # -- operators in place ----------------------------------------------------------------------

    __iadd__ = _in_place(np.add, ops.add, "+")
    __isub__ = _in_place(np.subtract, ops.subtract, "-")
    __imul__ = _in_place(np.multiply, ops.multiply, "*")
    __itruediv__ = _in_place(np.true_divide, ops.divide, "/")
    __ipow__ = _in_place(np.power, ops.power, "**")
    __imod__ = _in_place(np.remainder, ops.remainder, "%")
    __ifloordiv__ = _in_place(np.floor_divide, np.floor_divide, "//")
    __imatmul__ = _in_place(np.matmul, ops.matmul, "@")


elsewhere.answer(ArrayMethods, elsewhere.METHODS)
