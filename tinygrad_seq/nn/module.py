"""Modules: named parameters, state dicts, training mode, the path that nodes are tagged with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from tinygrad_seq.engine.mode import current_mode, no_grad, scope
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, DtypeError, StateDictError
from tinygrad_seq.tensor import Tensor

__all__ = ["Module", "ModuleList", "Parameter", "Sequential", "evaluating"]


class Parameter(Tensor):
    """A tensor that belongs to a module and is trained.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> nn.Parameter(np.zeros(3, np.float32)).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, dtype: Any = None) -> None:
        super().__init__(data, requires_grad=True, dtype=dtype)


class Module:
    """Base of layers and models.

    Attributes that are :class:`Parameter` or :class:`Module` are registered under their
    names. Write ``forward``; call the module. Nodes recorded during the call carry the module's
    dotted path.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import nn
    >>> class Scale(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = nn.Parameter(np.ones(1, np.float32))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> [name for name, _ in Scale().named_parameters()]
    ['factor']
    """

    training: bool
    _parameters: dict[str, Parameter]
    _modules: dict[str, Module]
    _name: str

    def __init__(self) -> None:
        object.__setattr__(self, "_parameters", {})
        object.__setattr__(self, "_modules", {})
        object.__setattr__(self, "_name", "")
        self.training = True

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise ConfigError(
                f"{type(self).__name__}: attribute {name!r} set before Module.__init__",
                hint="call super().__init__() first in your __init__",
            )
        if isinstance(value, (list, tuple, dict)):
            _refuse_hidden(type(self).__name__, name, value)
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        if isinstance(value, Parameter):
            self._parameters[name] = value
            value.name = name
        elif isinstance(value, Module):
            self._modules[name] = value
            value._named(name)
            for inner, parameter in value.named_parameters():
                parameter.name = f"{name}.{inner}"
        object.__setattr__(self, name, value)

    def _named(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __delattr__(self, name: str) -> None:
        self._parameters.pop(name, None)
        self._modules.pop(name, None)
        object.__delattr__(self, name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module writes its own."""
        raise ConfigError(f"{type(self).__name__} has no forward method", hint="define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run :meth:`forward`, tagging what it records with this module's path."""
        outer = current_mode.get().scope.path
        path = f"{outer}.{self._name}" if outer and self._name else outer or self._name
        with scope(path=path):
            return self.forward(*args, **kwargs)

    # -- walking ---------------------------------------------------------------------------------

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield itself and every module inside, with dotted names."""
        yield prefix, self
        for name, module in self._modules.items():
            yield from module.named_modules(f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yield itself and every module inside."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its dotted name; one that is shared comes once."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{path}.{name}" if path else name, parameter

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter."""
        for _, parameter in self.named_parameters():
            yield parameter

    def num_parameters(self) -> int:
        """Count the trained numbers."""
        return sum(parameter.size for parameter in self.parameters())

    def generators(self) -> dict[str, np.random.Generator]:
        """Random generators in use (dropout), by dotted name: part of a resumable state."""
        return {
            f"{path}.{name}" if path else name: value
            for path, module in self.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, np.random.Generator)
        }

    # -- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameter values by dotted name."""
        return {name: parameter.numpy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters from :meth:`state_dict`; nothing changes if anything does not fit.

        Raises
        ------
        StateDictError
            Naming every missing, unknown or misshapen entry.
        """
        own = dict(self.named_parameters())
        faults = [f"missing {name}" for name in own if name not in state]
        faults += [f"unknown {name}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            value, parameter = np.asarray(state[name]), own[name]
            if value.shape != parameter.shape:
                faults.append(f"{name} has shape {value.shape}, not {parameter.shape}")
            elif value.dtype != parameter.dtype:
                faults.append(f"{name} is {value.dtype}, not {parameter.dtype}")
        if faults:
            raise StateDictError(
                f"state dict does not fit {type(self).__name__}",
                expected=f"{len(own)} entries: {', '.join(own)}",
                got="; ".join(sorted(faults)),
                hint="build the module with the options it was saved with",
            )
        for name, parameter in own.items():
            parameter.data = np.asarray(state[name])

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and in every module inside (dropout is active)."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype: Any) -> Module:
        """Convert all parameters in place (float64 for gradient checks).

        They stay the same objects: an optimiser made before goes on with them, its running
        averages converted. A graph recorded before that needs the old values is refused by
        backward, as after any write.

        Raises
        ------
        DtypeError
            For a dtype that is not floating; nothing is converted then.
        """
        kind = np.dtype(dtype)
        if kind.kind != "f":
            raise DtypeError(
                f"{type(self).__name__}.astype", expected="float32 or float64", got=kind
            )
        for parameter in self.parameters():
            if parameter.dtype != kind:
                parameter._convert(kind)
        return self

    # -- looking ---------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the options shown between the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.extra_repr()})"
        count = self.num_parameters()
        lines = [f"{head}  # {count:,} parameters" if count else head]
        for name, module in self._modules.items():
            lines += [f"  {name}: " + repr(module).replace("\n", "\n  ")]
        return "\n".join(lines)


@contextmanager
def evaluating(model: Module) -> Iterator[None]:
    """Evaluation mode and no recording in the block; each module's own mode is put back after.

    Examples
    --------
    >>> from tinygrad_seq import nn
    >>> drop = nn.Dropout(0.5)
    >>> with nn.evaluating(drop):
    ...     drop.training
    False
    >>> drop.training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _refuse_hidden(owner: str, name: str, value: Any) -> None:
    """Refuse a plain container of modules: their parameters would not be found, nor trained."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, (Module, Parameter)):
            instead = "nn.ModuleList([...])" if isinstance(part, Module) else "an attribute each"
            raise ConfigError(
                f"{owner}: attribute {name!r} would hide the parameters in it",
                expected="modules and parameters as attributes, or modules in a ModuleList",
                got=f"a {type(value).__name__} with a {type(part).__name__}",
                hint=f"self.{name} = {instead}",
            )


class ModuleList(Module):
    """Modules in a list, registered under their positions.

    It is not called itself: what its modules record carries its name and their position,
    ``cells.0``.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        if not isinstance(modules, Iterable):
            raise self._no_module("a list of modules", modules)
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end; ConfigError if it is none."""
        if not isinstance(module, Module):
            raise self._no_module("modules", module)
        setattr(self, str(len(self)), module)
        self._named(self._name)

    def _no_module(self, expected: str, given: Any) -> ConfigError:
        kind = type(self).__name__
        uncalled = isinstance(given, type) and issubclass(given, Module)
        hint = f"nn.{kind}([{given.__name__}(...)])" if uncalled else f"nn.{kind}([a, b])"
        if callable(given) and not isinstance(given, (type, Module)):
            hint = "write a Module of your own whose forward calls the function"
        return ConfigError(f"{kind}: parts", expected=expected, got=repr(given), hint=hint)

    def _named(self, name: str) -> None:
        super()._named(name)
        if name and type(self).forward is Module.forward:  # else its call says where they are
            for place, module in self._modules.items():
                module._named(f"{name}.{place}")

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())


class Sequential(ModuleList):
    """Modules applied one after the other.

    Parameters
    ----------
    *modules : Module
        One by one, or as one list or other iterable of them. A module is one part even if it can
        be iterated, as a ModuleList can.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> from tinygrad_seq import nn
    >>> rng = np.random.default_rng(0)
    >>> net = nn.Sequential([nn.Linear(3, 4, rng=rng), nn.Linear(4, 2, rng=rng)])
    >>> net(tgs.tensor(np.ones((5, 3), np.float32))).shape
    (5, 2)
    >>> len(nn.Sequential(net[0], nn.Dropout(0.5), net[1]))
    3
    """

    def __init__(self, *modules: Module | Iterable[Module]) -> None:
        alone = len(modules) == 1 and isinstance(modules[0], Iterable)
        alone = alone and not isinstance(modules[0], Module)  # whose own forward would be lost
        super().__init__(cast("Iterable[Module]", modules[0] if alone else modules))

    def forward(self, x: Any) -> Any:
        """Pass `x` through every module in turn."""
        for module in self:
            x = module(x)
        return x
