"""How a drawing is to look: what a reader asks for besides what is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Union

from tinygrad_seq.checks import Rule, choice, flag, instance_of, number
from tinygrad_seq.errors import ConfigError, shown

__all__ = ["RANKDIRS", "Labels", "Look"]

RANKDIRS = ("LR", "TB")
"""Which way time runs: Graphviz' words."""
Labels = Union[tuple[str, ...], Mapping[str, tuple[str, ...]]]  # noqa: UP007
"""One for every time step, or these by the name of their time axis."""

_MOST_LABELS = 1_000_000
_BLANK = {" ": "␣", "\n": "↵", "\t": "⇥", "": "∅"}
inches: Rule = number(0.5, 500.0)


@dataclass(frozen=True)
class Look:
    """What :func:`tinygrad_seq.viz.draw` takes by the same names, checked.

    Attributes
    ----------
    title : str
        Over the picture; empty for none.
    width : float, optional
        Of the whole picture, in inches.
    """

    title: str = ""
    inputs: Labels = ()
    outputs: Labels = ()
    rankdir: str = "LR"
    width: float | None = None
    legend: bool = True

    @classmethod
    def checked(
        cls,
        caller: str,
        *,
        title: Any = None,
        inputs: Any = None,
        outputs: Any = None,
        rankdir: Any = "LR",
        width: Any = None,
        legend: Any = True,
    ) -> Look:
        """What was asked for, or a typed error that names the option."""
        return cls(
            "" if title is None else instance_of(f"{caller}: title", title, str),
            _labels(f"{caller}: inputs", inputs),
            _labels(f"{caller}: outputs", outputs),
            choice(*RANKDIRS)(f"{caller}: rankdir", rankdir),
            None if width is None else inches(f"{caller}: width", width),
            flag(f"{caller}: legend", legend),
        )


def _labels(what: str, given: Any) -> Labels:
    """Labels as text."""
    if isinstance(given, Mapping):
        return {
            instance_of(f"{what}: name of a time axis", name, str): _texts(what, several)
            for name, several in given.items()
        }
    return () if given is None else _texts(what, given)


def _texts(what: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, Iterable) or getattr(given, "shape", None) == ():
        raise ConfigError(
            what, expected="a string, or a sequence with a label per time step", got=shown(given)
        )
    return tuple(_text(label) for label in islice(given, _MOST_LABELS))


def _text(label: Any) -> str:
    """A label on one line, with a sign for what nobody would see."""
    blank = _BLANK.get(label) if type(label) is str else None
    return blank or shown(label, str) or _BLANK[" "]
