"""The quick way to record an operation leaves what the general way leaves, field by field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.engine import tape
from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.variable import Guarded, Variable
from tinygrad_seq.ops import OPS

OWN = {"__weakref__", "seq"}


def fields(thing: Any) -> dict[str, Any]:
    """What is set of an object with slots."""
    names = {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())}
    return {name: getattr(thing, name) for name in names - OWN if hasattr(thing, name)}


def plain(value: Any) -> Any:
    """A field in comparable form."""
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, Guarded):
        return "guarded", value.array.tobytes()
    return value.tobytes() if isinstance(value, np.ndarray) else value


def differences(monkeypatch: pytest.MonkeyPatch, name: str, *operands: Any) -> list[str]:
    """Fields of the result and of its node in which the two ways differ."""
    op = OPS[name]
    assert op.plain
    quick: Any = tape.apply(op, operands, {})
    monkeypatch.setattr(op, "plain", False)
    general: Any = tape.apply(op, operands, {})
    monkeypatch.setattr(op, "plain", True)
    pairs = [(fields(quick), fields(general)), (fields(quick.node), fields(general.node))]
    for one, other in pairs[:1]:
        assert one.pop("_node") is not other.pop("_node")
    return [
        key
        for one, other in pairs
        for key in sorted(one.keys() | other.keys())
        if key not in one or key not in other or plain(one[key]) != plain(other[key])
    ]


def leaf() -> tgs.Tensor:
    return tgs.tensor([0.5, -1.0], requires_grad=True, dtype=np.float64)


CASES = {
    "a leaf": lambda: ("tanh", leaf()),
    "a result": lambda: ("sin", leaf() * 2),
    "two": lambda: ("multiply", leaf(), leaf() + 1),
    "a constant before": lambda: ("multiply", np.ones(2), leaf()),
    "a constant of zeros behind": lambda: ("multiply", leaf(), np.zeros(2)),
    "a number": lambda: ("multiply", leaf(), 3.0),
    "nothing saved": lambda: ("add", leaf(), leaf()),
}


@pytest.mark.parametrize("step", [None, 3])
@pytest.mark.parametrize("case", CASES)
def test_the_ways_agree(case: str, step: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    with tgs.scope(path="toy", step=step):
        name, *operands = CASES[case]()
        assert differences(monkeypatch, name, *operands) == []


def test_a_forgotten_field_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(Node):
        __slots__ = ("added",)

        def __init__(self, *given: Any, **options: Any) -> None:
            super().__init__(*given, **options)
            self.added = 1

    monkeypatch.setattr(tape, "Node", Wider)
    assert differences(monkeypatch, "tanh", leaf()) == ["added"]


def test_a_forgotten_field_of_a_result_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wider(tgs.Tensor):
        __slots__ = ("added",)

        @classmethod
        def _wrap(cls, data: Any, node: Any) -> Variable:
            made = super()._wrap(data, node)
            made.added = 1
            return made

    monkeypatch.setattr(tape, "_result", Wider)
    assert differences(monkeypatch, "tanh", leaf()) == ["added"]
