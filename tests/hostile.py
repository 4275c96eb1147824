"""Calls with hostile values, and what may come of them.

A call ends in a result or in an error of the package's own tree; it gives no warning, and where it
is refused it has changed nothing that it was given.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import random
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

import tinygrad_seq as tgs
from demos import lab
from tests.hostile_values import VALUES, StrangerError
from tinygrad_seq import optim
from tinygrad_seq.errors import TinygradSeqError

PACKAGE = Path(tgs.__file__).parent
LAB = Path(lab.__file__).parent

# -- calls -----------------------------------------------------------------------------------------


@dataclass
class Call:
    """A callable and arguments that it takes."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    """By parameter, those with defaults included; ``*args`` as a tuple, ``**options`` as a dict."""
    owner: Any = None
    """The object whose method it is."""

    def run(self) -> Any:
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for parameter in inspect.signature(self.function).parameters.values():
            if parameter.name not in self.arguments:
                continue
            value = self.arguments[parameter.name]
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(value)
            elif parameter.kind is parameter.VAR_KEYWORD:
                named.update(value)
            elif parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                positional.append(value)
        return self.function(*positional, **named)


def call(function: Callable[..., Any], *args: Any, **options: Any) -> Call:
    """A valid call, spelt as one calls; defaults are filled in."""
    bound = inspect.signature(function).bind(*args, **options)
    bound.apply_defaults()
    return Call(function, dict(bound.arguments), getattr(function, "__self__", None))


ALL = ("every argument",)


def _spread(valid: Call, name: str) -> bool:
    """Whether a parameter is ``*args`` or ``**options``."""
    kind = inspect.signature(valid.function).parameters[name].kind
    return kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def places(valid: Call) -> Iterator[tuple[str, ...]]:
    """Where a value can be put: an argument, the first part of one, what a function returns."""
    for name, value in valid.arguments.items():
        if _spread(valid, name):
            keys = range(len(value)) if isinstance(value, tuple) else value
            yield from ((name, key) for key in keys)
            continue
        yield (name,)
        if isinstance(value, (list, tuple, dict)) and value:
            yield name, next(iter(value)) if isinstance(value, dict) else 0
        if isinstance(value, FunctionType):
            yield name, "()"
    if len(valid.arguments) > 1:
        yield ALL


def put(valid: Call, place: tuple[Any, ...], value: Any) -> None:
    """Put a value into a call."""
    name, *key = place
    if place == ALL:
        valid.arguments = {
            name: (value,) * len(old)
            if isinstance(old, tuple) and _spread(valid, name)
            else dict.fromkeys(old, value)
            if isinstance(old, dict) and _spread(valid, name)
            else value
            for name, old in valid.arguments.items()
        }
    elif not key:
        valid.arguments[name] = value
    elif key == ["()"]:
        valid.arguments[name] = lambda *_, **__: value
    elif isinstance(old := valid.arguments[name], dict):
        valid.arguments[name] = {**old, key[0]: value}
    else:
        parts = [value if i == key[0] else part for i, part in enumerate(old)]
        kind = type(old)
        valid.arguments[name] = kind(*parts) if hasattr(old, "_fields") else kind(parts)


# -- what came of it -------------------------------------------------------------------------------


@dataclass
class Fault:
    """A call that ended as none should."""

    call: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.call} -> {self.what}"


@dataclass
class Faults:
    """Faults, grouped by the place in the package that they come from."""

    calls: int = 0
    found: list[Fault] = field(default_factory=list)

    def __str__(self) -> str:
        by_place: dict[str, list[Fault]] = {}
        for fault in self.found:
            by_place.setdefault(fault.where, []).append(fault)
        lines = [f"{len(self.found)} faults in {self.calls} calls, at {len(by_place)} places"]
        for where, faults in sorted(by_place.items()):
            lines.append(f"{where}: {len(faults)}")
            lines += [f"    {fault}" for fault in faults[:3]]
        return "\n".join(lines)


def try_out(label: str, make: Callable[[], Call], place: tuple[Any, ...], value: str) -> Any:
    """Call with one value in one place; the fault, or None."""
    valid = make()
    before = {name: imprint(part) for name, part in valid.arguments.items()}
    own = imprint(valid.owner)
    put(valid, place, VALUES[value]())
    spelt = f"{label}({'.'.join(map(str, place))}={value})"
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"), _silence():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", "[^\n]* never acts")  # an option without effect
            finish(valid.run())
    except TinygradSeqError:
        pass
    except StrangerError:
        return None
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if _of_the_caller(error) or (
            isinstance(error, SystemExit) and label.startswith("commands.")
        ):
            return None
        return Fault(spelt, f"{type(error).__name__}: {_line(error)}", _origin(error))
    else:
        return None
    kept = {} if place == ALL else valid.arguments
    after = {name: imprint(part) for name, part in kept.items() if name != place[0]}
    lost = [name for name, state in after.items() if state != before[name]]
    lost += ["self"] if own != imprint(valid.owner) else []
    return Fault(spelt, f"refused, yet changed {', '.join(lost)}", label) if lost else None


OURS = ("tinygrad_seq", "contextlib")


def finish(result: Any) -> None:
    """Use a result: a fault that is only put off is a fault."""
    if isinstance(result, optim.Optimizer):
        result.step()
    elif isinstance(result, Iterator):
        for _ in range(2):
            next(result, None)
    elif hasattr(result, "__enter__") and type(result).__module__.startswith(OURS):
        with result:
            pass
    else:
        found = [t for t in _tensors(result) if t.requires_grad and t.dtype.kind == "f"]
        if found:
            total = tgs.sum(found[0])
            for other in found[1:]:
                total = total + tgs.sum(other).astype(total.dtype)
            total.backward()


def _tensors(value: Any, depth: int = 3) -> Iterator[tgs.Tensor]:
    if isinstance(value, tgs.Tensor):
        repr(value)
        yield value
    elif depth and isinstance(value, (tuple, list)):
        for part in value[:4]:
            yield from _tensors(part, depth - 1)


def imprint(value: Any, depth: int = 0) -> Any:
    """What can be compared of a value, to see whether a call has changed it."""
    if depth > 6:
        return None
    if isinstance(value, tgs.Tensor):
        return imprint(value._array, depth), imprint(value._grad, depth), value.requires_grad
    if isinstance(value, np.ndarray):
        return value.shape, str(value.dtype), value.tobytes()
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, dict):
        return {repr(key): imprint(part, depth + 1) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [imprint(part, depth + 1) for part in value]
    if type(value).__module__.startswith("tinygrad_seq."):
        return imprint(getattr(value, "__dict__", None), depth + 1)
    return value if isinstance(value, (str, bytes, int)) else None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _line(error: BaseException) -> str:
    try:
        return (str(error).splitlines() or [""])[0][:120]
    except Exception:
        return "(it cannot be shown)"


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Where an error passed through the package and the tests, the place it came from last."""
    known = (PACKAGE, LAB, Path(__file__).parent)
    frames = traceback.extract_tb(error.__traceback__)
    return [f for f in frames if any(Path(f.filename).is_relative_to(p) for p in known)]


def _ours(frame: traceback.FrameSummary) -> bool:
    return any(Path(frame.filename).is_relative_to(folder) for folder in (PACKAGE, LAB))


def _of_the_caller(error: BaseException) -> bool:
    """Whether it was raised by a function of the caller's that the package had called."""
    frames = _frames(error)
    return not _ours(frames[-1]) and any(map(_ours, frames))


def _origin(error: BaseException) -> str:
    frames = [frame for frame in _frames(error) if _ours(frame)]
    if not frames:
        return "outside the package"
    last = frames[-1]
    return f"{os.path.relpath(last.filename, PACKAGE)}:{last.lineno} ({last.name})"


CALLABLES = ("Module", "type")


def _takes_functions(valid: Call, place: tuple[Any, ...]) -> bool:
    functions = {name for name, value in valid.arguments.items() if callable(value)}
    return place == ALL or place[0] in functions | {"call", "loss"}


def fuzz(calls: Mapping[str, Callable[[], Call]], share: float = 1.0, seed: int = 0) -> Faults:
    """Put every hostile value (or a share of them, drawn by a seed) everywhere."""
    faults = Faults()
    draw = random.Random(seed)
    for label, make in calls.items():
        valid = make()
        for place in places(valid):
            for value in VALUES:
                if value in CALLABLES and _takes_functions(valid, place):
                    continue  # called with what it does not take: Python's own error
                if draw.random() < share:
                    faults.calls += 1
                    found = try_out(label, make, place, value)
                    faults.found += [found] if found else []
    return faults
