"""Reading what an optimiser has saved: all of it fits, or nothing is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_seq.errors import ConfigError, StateDictError
from tinygrad_seq.optim.options import require_same
from tinygrad_seq.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_seq.optim.optimizer import Optimizer

__all__ = ["State", "StateReader"]

HINT = "build the optimiser as the saving run did: same class, groups and parameters"


@dataclass(slots=True)
class State:
    """What a rule keeps of one parameter."""

    step: int = 0
    slots: dict[str, NDArray[Any]] = field(default_factory=dict)


def _same_end(mine: str, theirs: Any) -> bool:
    """Whether two dotted names are of one parameter, seen from different models."""
    return f".{mine}".endswith(f".{theirs}") or f".{theirs}".endswith(f".{mine}")


class StateReader:
    """Reads a state dict against an optimiser, which takes none of it before all is checked."""

    def __init__(self, optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
        self.optimizer = optimizer
        self.saved = saved
        self.owner = f"{optimizer._kind}.load_state_dict"
        self.place: list[int] = []  # of each saved parameter, among the optimiser's

    def read(self) -> tuple[list[dict[str, Any]], list[State]]:
        """Options per group and state per parameter."""
        self._same("the kind of optimiser", self.optimizer._kind, self._entry("optimizer", str))
        params = self.optimizer._params()
        steps = self._entry("steps", list)
        self._same("the number of parameters", len(params), len(steps))
        self.place = self._places(len(steps))
        states = [State() for _ in steps]
        for place, step in zip(self.place, steps, strict=True):
            states[place].step = self._step(step)
        for key in self.saved:
            if key not in ("optimizer", "param_groups", "steps", "names"):
                self._take_array(key, params, states)
        return self._options(states), states

    def _places(self, count: int) -> list[int]:
        """Where the parameters of the saving run stand in this one."""
        mine, theirs = self.optimizer._names(), self.saved.get("names")
        if theirs is None or mine is None:  # saved by an earlier version, or without names
            return list(range(count))
        theirs = [str(name) for name in self._entry("names", list)]
        if sorted(theirs) == sorted(mine):
            return [mine.index(name) for name in theirs]
        if len(theirs) == count and all(map(_same_end, mine, theirs)):
            return list(range(count))  # the model was, or is now, part of another
        raise self._error(
            "the names of the parameters do not match",
            ", ".join(name for name in mine if name not in theirs),
            ", ".join(name for name in theirs if name not in mine),
        )

    def _options(self, states: list[State]) -> list[dict[str, Any]]:
        own, new = self.optimizer.param_groups, self._entry("param_groups", list)
        self._same("the number of parameter groups", len(own), len(new))
        result, first = [], 0
        for mine, theirs in zip(own, new, strict=True):
            numbers = list(range(first, first + len(mine["params"])))
            got = theirs.get("params") if isinstance(theirs, Mapping) else theirs
            self._same("the parameters of a group", numbers, self._placed(got))
            try:
                options = self.optimizer._checked(theirs)
            except ConfigError as error:
                raise StateDictError(f"load_state_dict: {error}") from error
            names = sorted(self.optimizer._slots(options))
            for number in numbers:
                expected = names if states[number].step else []
                got = sorted(states[number].slots)
                self._same(f"the arrays under state.{number}", expected, got)
            first += len(numbers)
            result.append(options)
        return result

    def _placed(self, numbers: Any) -> Any:
        """The numbers of a saved group's parameters among this optimiser's, if they are such."""
        if self.place == sorted(self.place) or not isinstance(numbers, list):
            return numbers
        known = dict(enumerate(self.place))
        return sorted(known.get(n, -1) if isinstance(n, int) else -1 for n in numbers)

    def _take_array(self, key: str, params: list[Tensor], states: list[State]) -> None:
        prefix, _, rest = key.partition(".")
        number, _, name = rest.partition(".")
        if prefix != "state" or not name or not number.isdecimal() or int(number) >= len(params):
            raise self._error("an entry is unknown", "state.<parameter number>.<slot>", repr(key))
        place = self.place[int(number)]
        param, array = params[place], np.asarray(self.saved[key])
        self._same(f"the shape of {key}", param.shape, array.shape)
        self._same(f"the dtype of {key}", param.dtype, array.dtype)
        states[place].slots[name] = np.array(array, order="C")

    def _entry(self, key: str, kind: type) -> Any:
        value = self.saved.get(key) if isinstance(self.saved, Mapping) else None
        if not isinstance(value, kind):
            raise self._error(f"no {key} in it", f"a {kind.__name__}", type(value).__name__)
        return value

    def _step(self, value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise self._error("a step count is wrong", "integers >= 0 in steps", repr(value))

    def _same(self, what: str, expected: object, got: object) -> None:
        require_same(f"{self.owner}: {what}", expected, got, HINT)

    def _error(self, what: str, expected: object, got: object) -> StateDictError:
        return StateDictError(f"{self.owner}: {what}", expected=expected, got=got, hint=HINT)
