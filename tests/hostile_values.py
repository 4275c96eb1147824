"""Hostile values: what a stranger, a typing error or another library may hand over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from tinygrad_seq import nn

ENDLESS = 20_000  # items, after which an endless iterable gives up


class StrangerError(Exception):
    """Raised by a hostile object itself: who calls foreign code lets its errors through."""


class _Stranger:
    """An object whose methods are those given; all others raise."""

    def __init__(self, **methods: Any) -> None:
        self.__dict__.update(methods)


def _raising(*_: Any, **__: Any) -> Any:
    raise StrangerError("raised by a hostile object")


def stranger(**methods: Any) -> Any:
    """An instance of a class with these special methods, named without their underscores."""
    return type("Stranger", (), {f"__{name}__": method for name, method in methods.items()})()


def _endless(_: Any = None) -> Iterator[float]:
    yield from (0.5 for _ in range(ENDLESS))
    raise StrangerError("an endless iterable was read to its end")


def _nested(depth: int) -> list[Any]:
    nest: list[Any] = []
    for _ in range(depth):
        nest = [nest]
    return nest


def _own_list() -> list[Any]:
    nest: list[Any] = []
    nest.append(nest)
    return nest


def _still(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


def _tracked(*shape: int) -> tgs.Tensor:
    return tgs.tensor(np.full(shape, 0.5), requires_grad=True)


_floats = np.arange(6.0).reshape(2, 3)

VALUES: dict[str, Callable[[], Any]] = {
    # numbers
    **{
        repr(number): lambda number=number: number  # type: ignore[misc]
        for number in (
            None, True, 0, -1, 1, 3, 2**63, -(2**63), 2**70, 1.5, 1e300, -0.0, 1j,
            float("nan"), float("inf"), -float("inf"), Fraction(1, 3), Decimal("0.5"), ...,
            NotImplemented,
        )
    },
    "10**400": lambda: 10**400,
    "np.float64": lambda: np.float64(0.5),
    "np.float32": lambda: np.float32(1.0),
    "np.float16": lambda: np.float16(0.5),
    "np.longdouble": lambda: np.longdouble(0.5),
    "np.complex128": lambda: np.complex128(1j),
    "np.int64": lambda: np.int64(1),
    "np.uint8": lambda: np.uint8(2),
    "np.bool_": lambda: np.bool_(True),
    "np.str_": lambda: np.str_("x"),
    # text
    "''": lambda: "",
    "'x'": lambda: "x",
    "'0.5'": lambda: "0.5",
    "'mean'": lambda: "mean",
    "'a null'": lambda: "a\0b",
    "'a surrogate'": lambda: "\ud800",
    "'long'": lambda: "x" * 5000,
    "b'x'": lambda: b"x",
    "bytearray": lambda: bytearray(b"ab"),
    "Path": lambda: Path("no/such"),
    # containers
    "[]": list,
    "[[]]": lambda: [[]],
    "()": tuple,
    "{}": dict,
    "set()": set,
    "{1, 2}": lambda: {1, 2},
    "[0]": lambda: [0],
    "[0.5, 1.5]": lambda: [0.5, 1.5],
    "(1, 2)": lambda: (1, 2),
    "(0, 0)": lambda: (0, 0),
    "(2**40, 2**40)": lambda: (2**40, 2**40),
    "[True, False]": lambda: [True, False],
    "[1, None]": lambda: [1, None],
    "[None]": lambda: [None],
    "ragged": lambda: [[1.0, 2.0], [3.0]],
    "ragged arrays": lambda: [np.ones(2), np.ones(3)],
    "[1, 'a']": lambda: [1, "a"],
    "['a', 'b']": lambda: ["a", "b"],
    "[2**70]": lambda: [2**70],
    "odd keys": lambda: {1: 2, None: 3, (): 4},
    "{'x': 'y'}": lambda: {"x": "y"},
    "generator": lambda: (x for x in [1.0, 2.0]),
    "range": lambda: range(3),
    "nested deep": lambda: _nested(70),
    "nested deeper": lambda: _nested(2000),
    "in itself": _own_list,
    # objects
    "lambda": lambda: lambda *_, **__: None,
    "type": lambda: float,
    "object": object,
    "module": lambda: np,
    "Module": lambda: nn.Linear(2, 2, rng=np.random.default_rng(0)),
    "Generator": lambda: np.random.default_rng(0),
    "dtype": lambda: np.dtype("f4"),
    "slice": lambda: slice(None, None, 2),
    "no array": lambda: stranger(array=_raising),
    "wrong array": lambda: stranger(array=lambda *_, **__: "x"),
    "array of a type": lambda: stranger(
        array=lambda *_, **__: (_ for _ in ()).throw(TypeError("no array"))
    ),
    "no repr": lambda: stranger(repr=_raising, str=_raising),
    "no float": lambda: stranger(float=_raising, int=_raising, index=_raising),
    "no bool": lambda: stranger(bool=_raising, len=_raising),
    "no eq": lambda: stranger(eq=_raising, hash=lambda _: 1),
    "no attributes": lambda: stranger(getattr=_raising),
    "wrong len": lambda: stranger(len=lambda _: 5, getitem=lambda *_: _raising()),
    "endless": lambda: stranger(iter=_endless),
    # tensors
    "Tensor ()": lambda: tgs.tensor(0.5),
    "Tensor (3,)": lambda: tgs.tensor([0.5, 1.0, 2.0]),
    "Tensor (2, 3)": lambda: tgs.tensor(np.ones((2, 3))),
    "Tensor (0,)": lambda: tgs.tensor(np.zeros(0)),
    "Tensor of int": lambda: tgs.tensor(1),
    "Tensor of ints": lambda: tgs.tensor([0, 1]),
    "Tensor of bools": lambda: tgs.tensor([True, False]),
    "tracked ()": lambda: _tracked(),
    "tracked (2, 3)": lambda: _tracked(2, 3),
    "tracked result": lambda: _tracked(2, 3) * 2,
    "[tracked]": lambda: [_tracked(), _tracked()],
    # arrays
    "array (0,)": lambda: np.zeros(0),
    "array ()": lambda: np.array(0.5),
    "array (0, 3)": lambda: np.zeros((0, 3), np.float32),
    "array (2, 3)": lambda: _floats.copy(),
    "array of int": lambda: np.arange(6).reshape(2, 3),
    "array of bool": lambda: np.eye(2, 3, dtype=bool),
    "array of uint8": lambda: np.arange(6, dtype=np.uint8).reshape(2, 3),
    "array of uint64": lambda: np.array([2**64 - 1], np.uint64),
    "array of float16": lambda: _floats.astype(np.float16),
    "array of longdouble": lambda: _floats.astype(np.longdouble),
    "array of complex": lambda: _floats * 1j,
    "array of object": lambda: np.array([None, "x"], object),
    "array of numbers as objects": lambda: _floats.astype(object),
    "array of str": lambda: np.array(["a", "b"]),
    "array of bytes": lambda: np.array([b"a", b"b"]),
    "array of dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "array of spans": lambda: np.array([3], "m8[s]"),
    "structured array": lambda: np.zeros(2, [("a", "f4"), ("b", "i4")]),
    "array >i4": lambda: np.arange(3, dtype=">i4"),
    "array >f8": lambda: _floats.astype(">f8"),
    "masked array": lambda: np.ma.masked_array([1.0, 2.0], [False, True]),
    "matrix": lambda: _floats.view(np.matrix),
    "array by columns": lambda: np.asfortranarray(_floats)[:, ::-1],
    "read-only array": lambda: _still(_floats.copy()),
    "array of nan": lambda: np.full((2, 3), np.nan),
    "array of inf": lambda: np.full((2, 3), np.inf),
    "array 7-d": lambda: np.zeros((1,) * 7),
    "array 64-d": lambda: np.zeros((1,) * 64),
}  # fmt: skip
