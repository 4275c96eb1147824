"""``check_layer``: everything that must hold of a layer's gradients, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, callable_of, count, instance_of
from tinygrad_seq.engine.mode import composed
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import Module
from tinygrad_seq.tensor import Tensor, tensor
from tinygrad_seq.testing.gradcheck import GradcheckReport, gradcheck
from tinygrad_seq.testing.invariants import (
    assert_freed,
    assert_gradients_own_their_memory,
    unchanged,
)
from tinygrad_seq.testing.report import Tolerance, require_close, require_double
from tinygrad_seq.testing.subject import is_float
from tinygrad_seq.transforms.draws import Draws
from tinygrad_seq.transforms.nest import leaves, map_nest, rebuild

__all__ = ["check_layer", "replaced"]

EQUAL = Tolerance(1e-10, 1e-12)
BY_TWIN = "compare the fused operation with its twin by check_op"


def check_layer(
    module: Module,
    *inputs: Any,
    call: Callable[..., Any] | None = None,
    check: str = "gradient",
    order: int = 1,
    method: str = "auto",
    rtol: float | None = None,
    atol: float | None = None,
    seed: int = 0,
) -> GradcheckReport:
    """Check the gradients of a layer or model to every parameter and every floating input.

    Parameters
    ----------
    module : Module
        In float64: ``module.astype(np.float64)``. Its parameters are left as they are.
    *inputs : nests of arrays
        Arguments of the call; a state (a tuple of arrays) is one. Integers are passed on.
    call : callable, optional
        ``call(module, *inputs)``, where a plain call of the module will not do: to give options
        (``lengths=``), or to pick what is returned. What it returns is a nest of tensors; None
        and what else is in it is passed over.
    check, order, method, rtol, atol, seed
        As for :func:`gradcheck`; ``check="directional"`` for layers with many parameters.

    Returns
    -------
    GradcheckReport

    Raises
    ------
    GradientError
        Naming the parameter or input, the index, the two numbers and their distance.
    ConfigError
        If the layer returns no tensor.

    Notes
    -----
    In order: neither forward nor backward writes to parameters or inputs, no gradient shares
    memory, the graph is freed; :func:`gradcheck`, with random generators (dropout) put back before
    every call; values and gradients under :func:`~tinygrad_seq.composed` are the same to 1e-10.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> from tinygrad_seq.testing import check_layer
    >>> rng = np.random.default_rng(0)
    >>> lstm = nn.LSTM(2, 3, rng=rng, dtype=np.float64)
    >>> print(check_layer(lstm, rng.standard_normal((4, 2, 2)), order=2).method)
    complex
    """
    layer = _Layer(module, inputs, call)

    def run(*values: Any) -> list[Tensor]:
        return layer.run(*values)

    seed = count(0)("check_layer: seed", seed)
    run.__name__ = type(module).__name__  # for messages
    plain = layer.backward(seed)
    report = gradcheck(
        run,
        *layer.values,
        check=check,
        order=order,
        method=method,
        rtol=rtol,
        atol=atol,
        seed=seed,
        names=layer.names,
    )
    with composed():
        twin = layer.backward(seed)
    for name, mine, other in zip(layer.results, plain, twin, strict=True):
        says = f"check_layer of {type(module).__name__}: {name} differs under composed()"
        require_close(says, mine, other, EQUAL, " (composed)", lambda: BY_TWIN)
    return report


class _Layer:
    """A module as a function of its inputs and parameters."""

    def __init__(
        self, module: Module, inputs: tuple[Any, ...], call: Callable[..., Any] | None
    ) -> None:
        self.module = instance_of("check_layer: module", module, Module)
        if call is not None:
            callable_of("check_layer: call", call, "call(module, *inputs) -> Tensors")
        self.inputs = map_nest(_array, list(inputs))
        self.call = call or (lambda module, *given: module(*given))
        self.parameters = dict(module.named_parameters())
        given = leaves(self.inputs)
        self.count = len(given)
        self.values = [*given, *(p.numpy() for p in self.parameters.values())]
        self.names = [*(f"input {i}" for i in range(self.count)), *self.parameters]
        for name, value in zip(self.names, self.values, strict=True):
            hint = "module.astype(np.float64), and inputs likewise"
            require_double(f"check_layer: {name}", value, hint)
        self.draws = Draws((), module)
        self.began = self.draws.now()
        self.results: list[str] = []

    def run(self, *values: Any) -> list[Tensor]:
        """Outputs of the module at these inputs and parameters, with the same dropout masks."""
        self.draws.set(self.began)
        named = dict(zip(self.parameters, values[self.count :], strict=True))
        with replaced(self.module, self.parameters, named):
            result = self.call(self.module, *rebuild(self.inputs, values[: self.count]))
        found = [out for out in leaves(result) if isinstance(out, Tensor)]
        if not found:
            raise ConfigError(
                f"check_layer: {type(self.module).__name__} returned no tensor",
                got=type(result).__name__,
            )
        return found

    def backward(self, seed: int) -> list[Any]:
        """Values and gradients of one forward and backward, whose manners are looked at."""
        rng = np.random.default_rng(seed)
        made = [tensor(v, requires_grad=True) if is_float(v) else v for v in self.values]
        for name, value in zip(self.names, made, strict=True):
            if isinstance(value, Tensor):
                value.name = name
        tracked = [value for value in made if isinstance(value, Tensor)]
        with unchanged(*tracked):
            outs = self.run(*made)
            total: Any = tensor(np.zeros(()))
            for out in outs:
                total = total + (out * rng.uniform(0.5, 1.5, out.shape)).sum()
            total.backward()
        assert_gradients_own_their_memory(tracked)
        assert_freed(total)
        self.results = [f"output {k}" for k in range(len(outs))]
        self.results += [f"the gradient to {value.name}" for value in tracked]
        zeros = [np.zeros(value.shape) for value in tracked]
        grads = [z if t.grad is None else t.grad for t, z in zip(tracked, zeros, strict=True)]
        return [*(out.numpy() for out in outs), *grads]


def _array(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value.numpy() if isinstance(value, Tensor) else array_of("check_layer: an input", value)


@contextmanager
def replaced(
    module: Module, parameters: Mapping[str, Tensor], values: Mapping[str, Any]
) -> Iterator[None]:
    """The module with other tensors in place of its parameters, wherever they are used."""
    instead = {id(parameter): values[name] for name, parameter in parameters.items()}
    places = [
        (vars(part), name, parameter)
        for part in module.modules()
        for name, parameter in vars(part).items()
        if isinstance(parameter, Tensor) and id(parameter) in instead
    ]
    for attributes, name, parameter in places:
        attributes[name] = instead[id(parameter)]
    try:
        yield
    finally:
        for attributes, name, parameter in places:
            attributes[name] = parameter
