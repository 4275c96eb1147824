"""``checkpoint``: keep the inputs of a stretch of computation, and run it again in backward."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import callable_of, generator_of, sequence_of
from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.node import Node, next_seq
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.engine.variable import Guarded, Pin, guarded
from tinygrad_seq.errors import GraphError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.transforms.draws import Draws
from tinygrad_seq.transforms.gradient import tensors_in
from tinygrad_seq.transforms.nest import leaves, rebuild

__all__ = ["checkpoint", "sketch"]


def checkpoint(
    fn: Callable[..., Any],
    *args: Any,
    generators: Iterable[np.random.Generator] = (),
    **kwargs: Any,
) -> Any:
    """``fn(*args, **kwargs)``, with nothing saved for backward but the arguments.

    Backward runs `fn` again, in the same mode and with the same random numbers, and takes its
    gradients then (Chen et al. 2016): memory for one stretch at a time, for one more forward.
    Cutting T steps into stretches of sqrt(T) keeps of the order of sqrt(T) of them.

    Parameters
    ----------
    fn : callable
        A module or function; what it returns may be a nest of tensors. Tensors that it uses
        without being given (weights) receive their gradients too.
    *args, **kwargs
        Passed on.
    generators : iterable of numpy.random.Generator
        Sources of random numbers to set back for the second run, besides those found in
        modules, arguments, closures and global names that `fn` uses.

    Returns
    -------
    What `fn` returns.

    Raises
    ------
    GraphError
        In backward, if the second run gives other values than the first, or if a tensor that
        it reads was written since.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> w = tgs.tensor(np.full((2, 2), 0.5), requires_grad=True)
    >>> def steps(h):
    ...     for _ in range(10):
    ...         h = tgs.tanh(h @ w)
    ...     return h
    >>> h = tgs.checkpoint(steps, np.ones((1, 2)))
    >>> str(h.node.parents[0])
    'checkpoint'
    >>> h.sum().backward()
    >>> w.grad.shape
    (2, 2)
    """
    callable_of("checkpoint: fn", fn)
    given = sequence_of("checkpoint: generators", generators, "numpy.random.Generators")
    generators = [generator_of("checkpoint: generators", each) for each in given]
    mode = current_mode.get()
    if not mode.grad:
        return fn(*args, **kwargs)
    draws = Draws(generators, [fn, args, kwargs])
    run = functools.partial(_run, fn, args, kwargs, mode, draws, draws.now())
    first = next_seq()
    result = fn(*args, **kwargs)
    outputs = tensors_in("checkpoint: the function", result)
    inner, outer = _split(outputs, first)
    if not inner:
        return result
    tensors = [x for x in leaves([args, kwargs]) if isinstance(x, Tensor)]
    again = _Again(run, outer, [out._array for out in outputs])
    node = Node(
        CHECKPOINT,
        tuple(outer),
        {"again": weakref.ref(again)},
        tuple(out.shape for out in outputs),
        outputs[0].dtype,
        mode.scope,
        # Guards stand in for inputs: backward refuses if one was written. None fills up.
        inputs=(*_guards(inner, outer, tensors), *[None] * len(outer)),
        residuals=again,
    )
    made = []
    for index, out in enumerate(outputs):
        item = Node(ITEM, (node,), {"index": index}, out.shape, out.dtype, mode.scope)
        made.append(Tensor._wrap(out._array, item) if out.requires_grad else out)
    return rebuild(result, made)


CHECKPOINT = Op(
    "checkpoint",
    lambda *xs: xs,
    "*xs",
    joint=lambda g, residuals: residuals.gradients(g),
    # Under create_graph the engine walks through the second run as through any twin.
    twin=lambda *xs, again: again().outputs(),
    outputs=-1,
)
"""The second run lives in the residuals, so that it goes when the node is freed."""


class _Again:
    """The second run: what it needs, and a sketch of the first to hold it against."""

    def __init__(self, run: Callable[[], Any], outer: list[Node], values: list[Any]) -> None:
        self.run = run
        self.outer = outer
        self.sketches = [sketch(value) for value in values]

    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs once more, as parts of a graph that hangs on the outer nodes."""
        outputs = tuple(leaves(self.run()))
        for k, (first, out) in enumerate(zip(self.sketches, outputs, strict=True)):
            if not np.allclose(first, sketch(out._array), rtol=1e-4, atol=0, equal_nan=True):
                raise GraphError(
                    f"checkpoint: output {k} of the second run differs from the first",
                    expected="a function that gives the same values for the same arguments",
                    hint="if it draws random numbers, pass their source: generators=[rng]",
                )
        return outputs

    def gradients(self, cotangents: Sequence[Any]) -> list[Any]:
        """Cotangents of the outer nodes."""
        pairs = zip(self.outputs(), cotangents, strict=True)
        starts = [(out._node, c) for out, c in pairs if out._node is not None]
        found = backpropagate(starts, self.outer, partial=True)
        return [found.get(node) for node in self.outer]


def sketch(value: Any) -> tuple[float, float]:
    """Two numbers that tell one array from another."""
    flat = value.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
        return float(np.abs(flat).sum()), float(np.abs(flat * np.cos(np.arange(flat.size))).sum())


def _run(
    fn: Callable[..., Any], args: Any, kwargs: Any, mode: Mode, draws: Draws, states: list[Any]
) -> Any:
    """Call `fn` in the mode, and with the random numbers, of the first run."""
    now = draws.now()
    token = current_mode.set(mode._replace(observer=current_mode.get().observer))
    try:
        draws.set(states)
        return fn(*args, **kwargs)
    finally:
        draws.set(now)
        current_mode.reset(token)


def _split(outputs: list[Tensor], first: int) -> tuple[list[Node], list[Node]]:
    """Nodes behind the outputs: made by the run, and (by age) those it found in place."""
    stack = [out._node for out in outputs if out._node is not None]
    seen = set(stack)
    inner, outer = [], []
    while stack:
        node = stack.pop()
        if node.seq < first:
            outer.append(node)
            continue
        inner.append(node)
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return inner, sorted(outer, key=lambda node: node.seq)


def _guards(inner: list[Node], outer: list[Node], given: list[Tensor]) -> tuple[Any, ...]:
    """Pins on everything in a leaf's memory that the second run will read."""
    pins: dict[Pin, Guarded] = {}
    for node in inner:
        for saved in node.inputs or ():
            if type(saved) is Guarded:
                pins[saved.pin] = saved
    owners = [node.owner() if node.owner is not None else None for node in outer]
    for variable in [*owners, *given]:
        held = None if variable is None else guarded(variable)
        if isinstance(held, Guarded):
            pins[held.pin] = held
    return tuple(pins.values())
