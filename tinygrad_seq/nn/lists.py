"""Modules in a list, and one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast

from tinygrad_seq.checks import in_order
from tinygrad_seq.errors import ConfigError, shown
from tinygrad_seq.nn.module import Module

__all__ = ["ModuleList", "Sequential"]


class ModuleList(Module):
    """Modules in a list, registered under their positions.

    It is not called itself: what its modules record carries its name and their position,
    ``cells.0``.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        in_order(f"{type(self).__name__}: parts", modules)
        try:
            parts = iter(modules)
        except TypeError:
            raise self._no_module("a list of modules", modules) from None
        for module in parts:
            self.append(module)

    def append(self, module: Module) -> None:
        """Add a module at the end; ConfigError if it is none."""
        if not isinstance(module, Module):
            raise self._no_module("modules", module)
        place = len(self._modules)
        while str(place) in self._modules:  # after one before it was deleted
            place += 1
        setattr(self, str(place), module)
        self._named(self._name)

    def _no_module(self, expected: str, given: Any) -> ConfigError:
        kind = type(self).__name__
        uncalled = isinstance(given, type) and issubclass(given, Module)
        hint = f"nn.{kind}([{given.__name__}(...)])" if uncalled else f"nn.{kind}([a, b])"
        if callable(given) and not isinstance(given, (type, Module)):
            hint = "write a Module of your own whose forward calls the function"
        return ConfigError(f"{kind}: parts", expected=expected, got=shown(given), hint=hint)

    def _named(self, name: str) -> None:
        super()._named(name)
        if name and type(self).forward is Module.forward:  # else its call says where they are
            for place, module in self._modules.items():
                if module is not None:
                    module._named(f"{name}.{place}")

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, index: int) -> Module:
        return list(self)[index]

    def __iter__(self) -> Iterator[Module]:
        return (module for module in self._modules.values() if module is not None)


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
