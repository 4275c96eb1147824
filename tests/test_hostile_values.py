"""Whatever is handed to a public callable, it ends in a result or in an error of the package's own.

Each argument in turn is replaced by each of a table of hostile values. A share of the pairs is
tried, drawn with a fixed seed; ``HYPOTHESIS_PROFILE=deep`` tries them all.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.hostile import Call, call, finish, fuzz, places
from tests.hostile_calls import calls
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.nn import init

CALLS = calls()
ALL = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SHARES = {
    "ops": 0.12,
    "nn": 0.05,
    "lab": 0.03,
    "train": 0.01,
    "viz": 0.02,
    "flow": 0.1,
    "commands": 0.06,
    "charlm": 0.02,
    "celltext": 0.02,
}
"""Of rooms that have many callables, or slow ones."""
SHARE = 0.15


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def known(room: str) -> dict[str, Callable[[], Call]]:
    return {name: make for name, make in CALLS[room].items() if make is not None}


def test_every_public_callable_has_a_valid_call() -> None:
    unknown = [name for room in CALLS.values() for name, make in room.items() if make is None]
    assert not unknown, f"give them one in hostile_functions or hostile_methods: {unknown}"


@pytest.mark.parametrize("room", [room for room in CALLS if room not in ("operators", "unary")])
def test_valid_calls_are_valid(room: str) -> None:
    for name, make in known(room).items():
        if name == "charlm.Monitor.record":  # where no run is under way, which that says
            with pytest.raises(ConfigError, match="with block"):
                make().run()
            continue
        try:
            finish(make().run())
        except Exception as error:
            raise AssertionError(f"the valid call of {name} is none") from error


@pytest.mark.parametrize("room", CALLS)
def test_hostile_values(room: str) -> None:
    faults = fuzz(known(room), 1.0 if ALL else SHARES.get(room, SHARE))
    assert faults.calls > 10
    assert not faults.found, str(faults)


# -- the checker itself ----------------------------------------------------------------------------


def planted(function: Callable[..., Any], *args: Any) -> str:
    return str(fuzz({"planted": lambda: call(function, *args)}))


def test_a_raw_error_is_reported() -> None:
    report = planted(lambda x: len(x) + tgs.tensor(x), [1.0])
    assert "planted(x=None) -> " in report
    assert "has no len()" in report
    assert "faults in" in report


def test_errors_are_grouped_by_the_place_that_raised() -> None:
    report = planted(lambda owner: init.generator(None, owner).missing, "owner")
    assert "outside the package: " in report


def test_a_warning_is_reported() -> None:
    def warning(x: Any) -> None:
        if x is None:
            warnings.warn("old", DeprecationWarning, stacklevel=1)

    assert "planted(x=None) -> DeprecationWarning: old" in planted(warning, 1)


def test_what_a_refused_call_has_changed_is_reported() -> None:
    def losing(kept: np.ndarray[Any, Any], size: Any) -> None:
        kept[:] = 0.0
        if not isinstance(size, int):
            raise ConfigError("size")

    assert "refused, yet changed kept" in planted(losing, np.ones(2), 1)


def test_a_fault_that_is_put_off_is_reported() -> None:
    def late(x: Any) -> Iterator[Any]:
        yield x + 1

    assert "planted(x=None) -> TypeError" in planted(late, 1)


def test_parts_and_results_are_replaced_too() -> None:
    given = call(lambda pair, function, *rest, **named: None, (1, 2), lambda: 0, 3, key=4)
    assert list(places(given)) == [
        ("pair",),
        ("pair", 0),
        ("function",),
        ("function", "()"),
        ("rest", 0),
        ("named", "key"),
        ("every argument",),
    ]
