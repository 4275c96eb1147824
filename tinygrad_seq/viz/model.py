"""``draw_model``: from models to drawings of what they do."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_seq.checks import function_of
from tinygrad_seq.engine.mode import composed, observe
from tinygrad_seq.engine.node import nodes_behind
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.transforms.nest import leaves
from tinygrad_seq.viz.api import draw
from tinygrad_seq.viz.output.drawing import Drawing
from tinygrad_seq.viz.trace import Trace, checked_trace

if TYPE_CHECKING:
    from tinygrad_seq.nn import Module
    from tinygrad_seq.tensor import Tensor

__all__ = ["draw_model"]


def draw_model(
    model: Module | Callable[..., Any],
    *inputs: Any,
    keywords: Mapping[str, Any] | None = None,
    loss: Callable[[Any], Tensor] | None = None,
    trace: Trace | None = None,
    **options: Any,
) -> Drawing:
    """Run a model on a few time steps and draw what it did.

    The model runs composed, one node per operation and time step, and traced. Its parameters,
    their gradients and its random generators are as before afterwards.

    Parameters
    ----------
    model : Module or callable
        Of a function that calls modules, those that it names are left as before.
    *inputs
        What the model is called with: a short sequence, (T, N) or (T, N, I).
    keywords : mapping, optional
        What it is called with by name: ``{"lengths": [5, 3]}``.
    loss : callable, optional
        ``loss(outputs) -> Tensor`` with one entry; gradients are then traced too, and drawn as
        colour and figures. Without it the first tensor of the outputs is drawn.
    trace : Trace, optional
        An own one, to look at afterwards.
    **options
        Of :func:`draw`.

    Returns
    -------
    Drawing

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn, viz
    >>> rnn = nn.RNN(5, 4, num_layers=2, rng=np.random.default_rng(0))
    >>> drawing = viz.draw_model(rnn, np.zeros((3, 1), int), loss=lambda out: out[0].sum())
    >>> drawing.dot.count("|∂L/∂h|") >= 6
    True
    """
    named = isinstance(keywords, Mapping) and all(isinstance(name, str) for name in keywords)
    if keywords is not None and not named:
        raise ConfigError(
            "draw_model: keywords",
            expected="a mapping by name: {'lengths': [5, 3]}",
            got=f"a {type(keywords).__name__}",
        )
    keywords = keywords or {}
    function_of("draw_model: model", model, *inputs, **keywords)
    loss = None if loss is None else function_of("draw_model: loss", loss, None)
    trace = checked_trace(trace) or Trace()
    generators = [rng for part in _modules(model) for rng in part.generators().values()]
    states = [rng.bit_generator.state for rng in generators]
    try:
        with composed(), observe(trace):
            outputs = model(*inputs, **keywords)
            result = outputs if loss is None else loss(outputs)
            roots: list[Any] = [t for t in leaves(result) if isinstance(t, Variable) and t.node]
            roots = roots[:1] if loss is None else roots
            if loss is not None and roots:
                _trace_gradients(roots[0], trace)
    finally:
        for rng, state in zip(generators, states, strict=True):
            rng.bit_generator.state = state
    return draw(roots, trace=trace, **options)


def _modules(model: Any) -> list[Module]:
    """The modules that a model is, or that a function refers to."""
    from tinygrad_seq.nn import Module

    found = [model, getattr(model, "__self__", None)]
    if inspect.isroutine(model) and not inspect.isbuiltin(model):
        known = inspect.getclosurevars(model)
        found += [*known.nonlocals.values(), *known.globals.values()]
    return [part for part in found if isinstance(part, Module)]


def _trace_gradients(loss: Any, trace: Trace) -> None:
    """Send gradients to all leaves, parameters above all, leaving every ``.grad`` alone."""
    from tinygrad_seq.transforms import grad

    owners: list[Any] = [node.owner() for node in nodes_behind([loss.node]) if node.owner]
    known = [owner for owner in owners if owner is not None]
    for leaf, gradient in zip(known, grad(loss, known, allow_unused=True), strict=True):
        if gradient is not None:
            trace.collected(leaf.node, gradient.data)
