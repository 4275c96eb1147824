"""Modules: named parameters, state dicts, training mode, the path that nodes are tagged with."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_seq import elsewhere
from tinygrad_seq.arguments import is_ours, our_inits_taking, refuse_misfit, taking
from tinygrad_seq.checks import flag, float_dtype, instance_of
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.node import Array
from tinygrad_seq.errors import ConfigError, StateDictError, shown
from tinygrad_seq.nn import hidden
from tinygrad_seq.nn.state import array_in
from tinygrad_seq.tensor import Tensor

__all__ = ["Module", "Parameter"]


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


_LONG = 1000  # entries


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

    What would hide parameters is refused: lists and dicts of modules (:class:`ModuleList` registers
    them), whenever they are filled; something else in the place of a parameter; parts that belong
    to the class.

    >>> scale = Scale()
    >>> scale.more = [Scale()]
    Traceback (most recent call last):
    ...
    tinygrad_seq.errors.ConfigError: Scale: attribute 'more' would hide the parameters in it...
    """

    training: bool
    _parameters: dict[str, Parameter | None]  # None: removed, its place kept
    _modules: dict[str, Module | None]
    _containers: dict[str, int]  # attributes that parts may hide in; sizes when last looked at
    _name: str
    _told: ClassVar[tuple[str, ...]] = ()
    """Modules inside that `extra_repr` tells of: no lines of their own."""

    @taking
    def __init__(self) -> None:
        for name in ("_parameters", "_modules", "_containers"):
            object.__setattr__(self, name, {})
        object.__setattr__(self, "_name", "")
        self.training = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        our_inits_taking(cls)
        # Of its own and of the classes mixed in, which are no modules.
        mixed = [kind for kind in cls.__mro__ if kind is cls or not issubclass(kind, Module)]
        for name, value in [pair for kind in mixed for pair in vars(kind).items()]:
            if hidden.hidden_part(value, (Module, Parameter), lambda part: False) is not None:
                raise ConfigError(
                    f"{cls.__name__}: attribute {name!r} of the class would hide its parameters",
                    expected="parameters and modules of each object, made in __init__",
                    got=f"a {type(value).__name__} of the class",
                    hint=f"self.{name} = ... after super().__init__()",
                )

    # -- what belongs to it ----------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if "_parameters" not in own:
            raise ConfigError(
                f"{type(self).__name__}: attribute {name!r} set before Module.__init__",
                hint="call super().__init__() first in your __init__",
            )
        described = getattr(type(self), name, None)
        if isinstance(described, property) and described.fset is not None:
            object.__setattr__(self, name, value)  # what its setter makes of it is registered
            return
        # A weak way back to another module is no part, whatever it says.
        part = None if type(value) in weakref.ProxyTypes else value
        self._check_assignment(name, part)
        own["_containers"].pop(name, None)
        for kind, registry in ((Parameter, own["_parameters"]), (Module, own["_modules"])):
            if isinstance(part, kind):
                registry[name] = part  # an old name keeps its place
            elif value is None and name in registry:
                registry[name] = None
            else:
                registry.pop(name, None)
        if isinstance(part, Parameter):
            part.name = part.name or name  # one that is shared keeps its first
        elif isinstance(part, Module):
            part._named(name)
            for inner, parameter in part.named_parameters():
                if not hidden.leads_to(self, parameter.name, parameter):
                    parameter.name = f"{name}.{inner}"
        elif hidden.is_container(part):
            own["_containers"][name] = -1
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        for registry in (self._parameters, self._modules, self._containers):
            registry.pop(name, None)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in elsewhere.MODULES]

    def _named(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def _check_assignment(self, name: str, value: Any) -> None:
        """Refuse what would lose a parameter: nothing has been changed yet."""
        owner = type(self).__name__
        is_part = isinstance(value, (Parameter, Module))
        reserved = name in _OWN or isinstance(getattr(type(self), name, None), property)
        reserved = reserved or (is_part and (name == "training" or hasattr(Module, name)))
        if reserved or (is_part and (not name or "." in name)):
            raise ConfigError(
                f"{owner}: nothing of yours can be called {name!r}",
                expected="a name without dots that modules do not use themselves",
                got=f"a {type(value).__name__}",
                hint=f"self.{name.replace('.', '_').strip('_') or 'part'}_ = ...",
            )
        for kind, registry in ((Parameter, self._parameters), (Module, self._modules)):
            held: Any = registry.get(name)
            if held is not None and value is not None and not isinstance(value, kind):
                raise hidden.lost_part(owner, name, kind is Module, value)
        if isinstance(value, Module) and any(part is self for part in value.modules()):
            raise ConfigError(
                f"{owner}: attribute {name!r} would make the module a part of itself",
                expected="a module that this one is no part of",
                got=f"a {type(value).__name__}",
                hint="weakref.ref(module), for a way back to the outer one",
            )
        if hidden.is_iterator(value):
            raise ConfigError(
                f"{owner}: attribute {name!r} gives its parts once, and hides those it makes",
                expected="parts that can be looked at",
                got=f"a {type(value).__name__}",
                hint=f"self.{name} = nn.ModuleList(...) of modules, list(...) of plain values",
            )
        if not is_part:
            self._refuse_hidden(name, value)

    def _refuse_hidden(self, name: str, value: Any) -> None:
        """Refuse parameters and modules in a container: they would not be found, nor trained."""
        parts: set[int] = set()

        def is_known(part: Any) -> bool:
            if not parts:  # looked up when there is a first one
                for _, module in self._walk():
                    parts.update(map(id, (module, *module._parameters.values())))
            return id(part) in parts

        part = hidden.hidden_part(value, (Module, Parameter), is_known)
        if part is None:
            return
        owner, kind = type(self).__name__, type(part).__name__
        if part is value:
            raise ConfigError(
                f"{owner}: {name!r} was put into __dict__, and is not registered",
                expected="parts as attributes",
                got=f"a {kind}",
                hint=f"self.{name} = ..., or weakref.ref(module) for what is no part",
            )
        instead = "nn.ModuleList([...])" if isinstance(part, Module) else "an attribute each"
        raise ConfigError(
            f"{owner}: attribute {name!r} would hide the parameters in it",
            expected="modules and parameters as attributes, or modules in a ModuleList",
            got=f"a {type(value).__name__} with a {kind}",
            hint=f"self.{name} = {instead}",
        )

    def _look_for_hidden(self) -> None:
        """Refuse what was put into a container since it was assigned, or past assignment."""
        own = self.__dict__
        for kind, registry in ((Parameter, self._parameters), (Module, self._modules)):
            for name, part in registry.items():
                if part is not None and own.get(name, part) is not part:
                    raise hidden.lost_part(type(self).__name__, name, kind is Module, own[name])
        registered = self._parameters.keys() | self._modules.keys() | _OWN
        slots = {name: getattr(self, name, None) for name in self._containers if name not in own}
        for name, value in (own | slots).items():
            size = hidden.size_of(value) if name in self._containers else 0
            if name in registered or (size > _LONG and size == self._containers[name]):
                continue  # a long one is looked into when it has grown
            self._refuse_hidden(name, value)
            if name in self._containers:
                self._containers[name] = size

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module writes its own."""
        raise ConfigError(f"{type(self).__name__} has no forward method", hint="define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run :meth:`forward`, tagging what it records with this module's path."""
        outer = current_mode.get().scope.path
        path = f"{outer}.{self._name}" if outer and self._name else outer or self._name
        return self._called(path, *args, **kwargs)

    def _called(self, path: str, /, *args: Any, **kwargs: Any) -> Any:
        held = self._containers
        if held and any(hidden.size_of(getattr(self, name, None)) != held[name] for name in held):
            self._look_for_hidden()
        with self._scope(path):
            try:
                return self.forward(*args, **kwargs)
            except TypeError as error:
                if is_ours(type(self).forward.__module__):
                    refuse_misfit(error, self.forward, args, kwargs)
                raise

    def _scope(self, path: str) -> scope:
        """The block that a call runs in."""
        return scope(path=path, module=type(self).__name__)

    # -- walking ---------------------------------------------------------------------------------

    def _walk(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            yield path, module
            for name, part in reversed(module._modules.items()):
                if part is not None:
                    stack.append((f"{path}.{name}" if path else name, part))

    @taking
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield itself and every module inside, with dotted names.

        Raises
        ------
        ConfigError
            If a module or parameter is in a plain container, where it would not be found.
        """
        for path, module in self._walk(instance_of("named_modules: prefix", prefix, str)):
            module._look_for_hidden()
            yield path, module

    @taking
    def modules(self) -> Iterator[Module]:
        """Yield itself and every module inside."""
        for _, module in self.named_modules():
            yield module

    @taking
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield every parameter with its dotted name; one that is shared comes once."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and id(parameter) not in seen:
                    seen.add(id(parameter))
                    yield f"{path}.{name}" if path else name, parameter

    @taking
    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter."""
        for _, parameter in self.named_parameters():
            yield parameter

    @taking
    def num_parameters(self) -> int:
        """Count the trained numbers."""
        return sum(parameter.size for parameter in self.parameters())

    @taking
    def generators(self) -> dict[str, np.random.Generator]:
        """Random generators in use (dropout), by dotted name: part of a resumable state."""
        return {
            f"{path}.{name}" if path else name: value
            for path, module in self.named_modules()
            for name, value in vars(module).items()
            if isinstance(value, np.random.Generator)
        }

    # -- state -----------------------------------------------------------------------------------

    @taking
    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameter values by dotted name."""
        return {name: parameter.numpy() for name, parameter in self.named_parameters()}

    @taking
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters from :meth:`state_dict`; nothing changes if anything does not fit.

        Raises
        ------
        StateDictError
            Naming every missing, unknown or misshapen entry.
        """
        own = dict(self.named_parameters())
        if not isinstance(state, Mapping):
            raise StateDictError(
                f"{type(self).__name__}.load_state_dict", expected="a dict", got=shown(state)
            )
        values = {
            name: array_in(f"state dict: {name}", state[name]) for name in own.keys() & state.keys()
        }
        faults = [f"missing {name}" for name in own if name not in state]
        faults += [f"unknown {name}" for name in state if name not in own]
        for name, value in values.items():
            parameter = own[name]
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
            parameter.data = values[name]

    @taking
    def train(self, mode: bool = True) -> Module:
        """Set training mode here and in every module inside (dropout is active)."""
        mode = flag("train: mode", mode)
        for module in list(self.modules()):  # all found, before the first is set
            module.training = mode
        return self

    @taking
    def eval(self) -> Module:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    @taking
    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in list(self.parameters()):
            parameter.grad = None

    @taking
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
        kind = float_dtype(f"{type(self).__name__}.astype", dtype)
        for parameter in list(self.parameters()):
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
            if module is None or name in self._told:
                continue
            lines += [f"  {name}: " + repr(module).replace("\n", "\n  ")]
        return "\n".join(lines)


elsewhere.answer(Module, elsewhere.MODULES)


_OWN = frozenset(["_parameters", "_modules", "_containers", "_name"])
