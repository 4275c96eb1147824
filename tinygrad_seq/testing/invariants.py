"""Manners of the engine that every model may rely on, as assertions to reuse.

Beside them what tells them: copies, overlaps and strides of what lies in memory.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_seq.engine import node as graph
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.errors import GraphError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.testing.report import GradientError
from tinygrad_seq.transforms.nest import leaves

__all__ = [
    "arrays_in",
    "assert_deterministic",
    "assert_freed",
    "assert_gradients_own_their_memory",
    "copies",
    "live_nodes",
    "nodes_behind",
    "overlap",
    "same",
    "strided",
    "unchanged",
]


def nodes_behind(*tensors: Tensor) -> list[Node]:
    """Every node of the graphs that end in `tensors`, the oldest first.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor(0.5, requires_grad=True)
    >>> [str(node) for node in nodes_behind(tgs.tanh(w * w))]
    ['leaf', 'multiply', 'tanh']
    """
    return graph.nodes_behind([t.node for t in tensors if t.node is not None])


def live_nodes() -> int:
    """How many graph nodes exist in the process: must stay flat over training steps."""
    return sum(type(thing) is Node for thing in gc.get_objects())


def assert_gradients_own_their_memory(tensors: Sequence[Tensor]) -> None:
    """No ``.grad`` looks into a value, or into another ``.grad``."""
    gradients = [t.grad for t in tensors if t.grad is not None]
    for k, gradient in enumerate(gradients):
        for t in tensors:
            if np.shares_memory(gradient, t._array):
                raise GradientError(f"gradient {k} looks into the values of {t.name or 'a leaf'}")
        for other in gradients[:k]:
            if np.shares_memory(gradient, other):
                raise GradientError(f"gradient {k} looks into another gradient")


def assert_freed(output: Tensor) -> None:
    """After a backward nothing is saved any more, and a second one is refused."""
    for node in nodes_behind(output):
        if node.op is not None and (node.inputs or node.out is not None or node.residuals):
            raise GradientError(f"{node} still holds saved values after backward")
    try:
        output.backward(np.ones(output.shape))
    except GraphError:
        return
    if output.node is not None and not output.node.is_leaf:
        raise GradientError("a second backward through a freed graph was not refused")


def assert_deterministic(run: Callable[[], Sequence[Array]], times: int = 3) -> None:
    """`run` returns the same bits each time."""
    first = [np.array(array) for array in run()]
    for _ in range(times - 1):
        for k, (a, b) in enumerate(zip(first, run(), strict=True)):
            if a.tobytes() != np.asarray(b).tobytes():
                raise GradientError(f"array {k} differs between two runs of the same computation")


@contextmanager
def unchanged(*arrays: Any) -> Iterator[None]:
    """Nothing in the ``with`` block may write to these arrays or tensors.

    Examples
    --------
    >>> x = np.ones(3)
    >>> with unchanged(x):
    ...     y = x + 1
    """
    values = [a._array if isinstance(a, Tensor) else a for a in arrays]
    before = copies(values)
    yield
    for k, (old, new) in enumerate(zip(before, values, strict=True)):
        if not same([old], [new]):
            name = getattr(arrays[k], "name", "") or f"array {k}"
            raise GradientError(f"{name} was written to")


def strided(array: Array) -> Array:
    """The same numbers in memory with gaps, read backward along the first axis."""
    if array.ndim == 0:
        return array.copy()
    wide = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    view = wide[::-2]
    view[...] = array
    return view


def arrays_in(values: Sequence[Any]) -> list[Array]:
    """Every array in a nest, those of tensors too."""
    found = [value._array if isinstance(value, Tensor) else value for value in leaves(values)]
    return [value for value in found if isinstance(value, np.ndarray)]


def copies(arrays: Sequence[Any]) -> list[Any]:
    """Copies of the arrays; anything else as it is."""
    return [np.array(a) if isinstance(a, np.ndarray) else a for a in arrays]


def same(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Whether no array has changed."""
    return all(
        np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind in "fc")
        for a, b in zip(before, after, strict=True)
        if isinstance(a, np.ndarray)
    )


def overlap(a: Any, b: Any) -> bool:
    """Whether two arrays share memory."""
    return (
        isinstance(a, np.ndarray)
        and isinstance(b, np.ndarray)
        and bool(a.size and b.size)
        and np.shares_memory(a, b)
    )
