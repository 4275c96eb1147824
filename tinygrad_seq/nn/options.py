"""Options of layers, checked whenever they change; and what a layer cannot be changed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from tinygrad_seq.errors import ArgumentError, ConfigError, shown
from tinygrad_seq.nn.module import Module, Parameter

__all__ = ["Rule", "WithOptions", "made_anew", "never_run", "part_or_none"]

Rule = Callable[[str, Any], Any]
"""Takes an option's name and value; returns the value, or raises."""


_NOTHING = object()


class WithOptions(Module):
    """A module whose options take effect when they are assigned, or refuse to be.

    It says of its attributes which ones may change, which ones are settled when it is made, and
    which parts it cannot do without.
    """

    _changing: ClassVar[Mapping[str, Rule]] = {}
    """Options that may change: what checks each, when it is made too."""
    _settled: ClassVar[Mapping[str, str]] = {}
    """What is settled when it is made, and what to write instead of an assignment."""
    _needed: ClassVar[tuple[str, ...]] = ()
    """Parts that it cannot do without."""

    def _settle(self, **values: Any) -> None:
        """Set what is settled."""
        vars(self).update(values)

    def _rule(self, name: str) -> Rule | None:
        """What checks an option."""
        return self._changing.get(name)

    def _needs(self, name: str) -> bool:
        """Whether it cannot do without a part."""
        return name in self._needed

    def __setattr__(self, name: str, value: Any) -> None:
        owner, rule = type(self).__name__, self._rule(name)
        if name in self._settled:
            held = getattr(self, name, _NOTHING)
            if type(held) is type(value) and held == value:
                return
            raise ConfigError(
                f"{owner}: {name} is settled when the {owner} is made",
                expected=None if held is _NOTHING else f"{shown(held)}, as it is",
                got=shown(value),
                hint=self._settled[name].format(owner=owner, name=name, value=shown(value)),
            )
        if rule is not None:
            value = rule(f"{owner}: {name}", value)
        if value is None and self._needs(name):
            self._keep(name, "None")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._keep(name, f"del model.{name}")
        super().__delattr__(name)

    def _keep(self, name: str, got: str) -> None:
        """Refuse to lose an option, or a part that is needed: nothing has been changed yet."""
        part = vars(self).get(name)
        if part is not None and self._needs(name):
            kind = "nn.Parameter" if isinstance(part, Parameter) else type(part).__name__
            raise ConfigError(
                f"{type(self).__name__}: {name} is missing: there is no step without it",
                expected=f"another {kind} in its place",
                got=got,
                hint=f"model.{name} = {kind}(...)",
            )
        if name in self._settled or (self._rule(name) is not None and not _is_part(part)):
            raise ConfigError(
                f"{type(self).__name__}: {name} is an option",
                expected="another value",
                got=got,
                hint=f"model.{name} = ...",
            )


def made_anew(*names: str) -> dict[str, str]:
    """Entries of what is settled, for options that another layer has to be made for."""
    return dict.fromkeys(names, "make another: {owner}(..., {name}={value})")


def never_run(layer: Module, name: str, places: str) -> ConfigError:
    """The error for a part in a place that a layer does not have."""
    return ConfigError(
        f"{type(layer).__name__}: {name} would never be used",
        expected=f"a part that it has: {shown(places, str)}",
        got=name,
        hint="a new layer has the places and parts that it is made with",
    )


def part_or_none(what: str, value: Any) -> Any:
    """Rule for a parameter that a layer may do without."""
    if value is None or isinstance(value, Parameter):
        return value
    name = what.rpartition(": ")[2]
    raise ArgumentError(
        f"{what} is a parameter, or None",
        expected="an nn.Parameter, or None to go without",
        got=f"a {type(value).__name__}",
        hint=f"with tgs.no_grad(): model.{name} -= ... (a step by hand), or "
        f"model.{name} = nn.Parameter(array) for a new one",
    )


def _is_part(value: Any) -> bool:
    return value is None or isinstance(value, (Parameter, Module))
