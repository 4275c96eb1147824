"""Gradients of recorded tensors, without touching any ``.grad``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from tinygrad_seq.checks import flag, instance_of, sequence_of
from tinygrad_seq.engine.backward import backpropagate
from tinygrad_seq.engine.mode import enable_grad
from tinygrad_seq.engine.tape import lift
from tinygrad_seq.errors import ConfigError, GraphError, ShapeError
from tinygrad_seq.tensor import Tensor, starting_point, tensor
from tinygrad_seq.transforms.nest import leaves

__all__ = ["grad", "grad_or_zeros", "tensors_in"]


def grad(
    output: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    """Gradients of `output` with respect to `inputs`, without touching any ``.grad``.

    Parameters
    ----------
    output : Tensor or sequence of Tensor
        What to differentiate; several outputs are summed, each weighted by its cotangent.
    inputs : Tensor or sequence of Tensor
        Leaves or intermediate results.
    grad_outputs : array or sequence of arrays, optional
        Cotangents of the outputs; may be left out for scalars.
    create_graph : bool
        Record the gradient computation, so that the results can be differentiated again.
    retain_graph : bool, optional
        Keep the graph for another backward; follows `create_graph` by default.
    allow_unused : bool
        Return None for an input that the output does not depend on, instead of raising.

    Returns
    -------
    Tensor or tuple of Tensor
        As `inputs` is one tensor or a sequence.

    Raises
    ------
    GraphError
        If there is no graph, it was freed, or an input is unreachable.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> x = tgs.tensor(3.0, requires_grad=True)
    >>> dy = tgs.grad(x**3, x, create_graph=True)
    >>> dy.item(), tgs.grad(dy, x).item()
    (27.0, 18.0)
    """
    single = isinstance(inputs, Tensor)
    sources, outs = _tensors("grad: inputs", inputs), _tensors("grad: output", output)
    cots = [grad_outputs] if isinstance(output, Tensor) else grad_outputs
    cots = [None] * len(outs) if cots is None else sequence_of("grad: grad_outputs", cots, "arrays")
    create_graph = flag("grad: create_graph", create_graph)
    keep = create_graph if retain_graph is None else flag("grad: retain_graph", retain_graph)
    allow_unused = flag("grad: allow_unused", allow_unused)
    if len(cots) != len(outs):
        raise ShapeError(
            "grad: grad_outputs", expected=f"one per output, {len(outs)}", got=len(cots)
        )
    starts = [
        starting_point(o, c, "grad" if len(outs) == 1 else f"grad: output {k}", create_graph)
        for k, (o, c) in enumerate(zip(outs, cots, strict=True))
    ]
    for i, source in enumerate(sources):
        if source._node is None:
            numeric = source.dtype.kind == "f"
            raise GraphError(
                f"grad: input {i} does not require gradients",
                expected="a tensor made with requires_grad=True, or a result of one",
                got=f"a constant of dtype {source.dtype}",
                hint="make it with requires_grad=True before it is used"
                if numeric
                else "only floats have gradients: x.astype(np.float32), or differentiate to what "
                "the integers pick from (an embedding's weight)",
            )
    nodes = [source._node for source in sources if source._node is not None]
    # Asked for explicitly, a recorded gradient is recorded under no_grad too.
    with enable_grad() if create_graph else nullcontext():
        found = backpropagate(starts, nodes, retain_graph=keep, lift=lift if create_graph else None)
    results = []
    for i, node in enumerate(nodes):
        value = found.get(node)
        if value is None and not allow_unused:
            raise GraphError(
                f"grad: the output does not depend on input {i} ({node})",
                expected="inputs that the output was computed from, in this graph",
                hint="pass allow_unused=True to get None for it; was it cut by detach(), "
                "or used only after the output was made?",
            )
        if value is not None and not isinstance(value, Tensor):
            # Memory of its own: for an input given twice, and where a constant was passed on.
            shared = create_graph or node in nodes[:i]
            value = Tensor._wrap(np.array(value) if shared else value, None)
        results.append(value)
    return results[0] if single else tuple(results)


def _tensors(what: str, given: Any) -> list[Tensor]:
    """One tensor, or a sequence of them, as a list."""
    found = [given] if isinstance(given, Tensor) else sequence_of(what, given, "Tensors")
    return [instance_of(what, each, Tensor) for each in found]


def tensors_in(what: str, result: Any) -> list[Tensor]:
    """The tensors in a nest that a function returned; ConfigError for anything else in it."""
    outs = leaves(result)
    for out in outs:
        if not isinstance(out, Tensor):
            raise ConfigError(
                f"{what} must return tensors, or nests of them", got=type(out).__name__
            )
    return outs


def grad_or_zeros(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], grad_outputs: Sequence[Any], **options: Any
) -> list[Tensor]:
    """As :func:`grad`, with zeros where nothing depends on an input; outputs may be constants."""
    pairs = zip(outputs, grad_outputs, strict=True)
    used = [(out, cotangent) for out, cotangent in pairs if out.requires_grad]
    found: Sequence[Any] = [None] * len(inputs)
    if used:
        outs, cotangents = zip(*used, strict=True)
        found = grad(outs, inputs, cotangents, allow_unused=True, **options)
    return [
        tensor(np.zeros(x.shape, x.dtype)) if g is None else g
        for x, g in zip(inputs, found, strict=True)
    ]
