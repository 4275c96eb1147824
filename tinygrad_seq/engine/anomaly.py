"""``anomaly``: stop at the first NaN or infinity, and say where it came from."""

from __future__ import annotations

import linecache
import sys
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from tinygrad_seq.arguments import is_ours, taking
from tinygrad_seq.checks import flag
from tinygrad_seq.engine.mode import Mode, Switch, refuse_second_observer
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.variable import Guarded
from tinygrad_seq.errors import NonFiniteError

__all__ = ["anomaly"]


class anomaly(Switch):  # noqa: N801  (a context manager, spelt like no_grad and observe)
    """Check every recorded value and every gradient in the ``with`` block.

    The first that is not finite raises, naming the operation, the module path and time step it
    was recorded in, the entry, whether an operand was broken already, and the line of the
    calling program. It slows training several times: for finding a fault, not for keeping on.

    Parameters
    ----------
    allow_inf : bool
        Look for NaN only, where infinities are meant (masks of -inf before a softmax).

    Raises
    ------
    NonFiniteError
        In the forward operation, or in ``backward`` (no ``.grad`` is changed then).
    ConfigError
        Inside another ``observe`` block: there is one observer at a time.

    Notes
    -----
    Only what is recorded is checked: nothing under ``no_grad``. A fused sequence is one operation;
    the step is read off the first bad entry of its (T, N, H) output. Inside ``composed()`` each
    step is recorded, and checked, by itself.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> x = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> with tgs.anomaly(), tgs.scope(path="head", step=3):
    ...     y = x * float("nan")
    Traceback (most recent call last):
    ...
    tinygrad_seq.errors.NonFiniteError: anomaly: the value of multiply (module head, t = 3)...
    """

    @taking
    def __init__(self, *, allow_inf: bool = False) -> None:
        self._allow_inf = flag("anomaly: allow_inf", allow_inf)
        refuse_second_observer(self)
        self._lines: WeakKeyDictionary[Node, str] = WeakKeyDictionary()
        self._sound: WeakSet[Node] = WeakSet()

    def _changed(self, mode: Mode) -> Mode:
        return mode._replace(observer=self, entered=(self, mode))

    def __enter__(self) -> anomaly:
        refuse_second_observer(self)
        super().__enter__()
        return self

    def recorded(self, node: Node, value: Array) -> None:
        """Check the value of an operation that was just recorded."""
        line = self._lines[node] = _caller()
        bad = self._first_bad(value)
        if bad is None:
            return
        raise NonFiniteError(
            f"anomaly: the value of {node} is not finite{_when(node, bad)}",
            expected="finite numbers",
            got=f"{value[bad]} at index {bad} of shape {value.shape}{self._operands(node)}",
            hint=f"look at {line}",
        )

    def received(self, node: Node, cotangent: Array) -> None:
        """Check the complete gradient of a node."""
        bad = self._first_bad(cotangent)
        if bad is None:
            self._sound.add(node)
            return
        makers = [n for n in self._sound if node in n.parents]
        newest = max(makers, key=lambda n: n.seq, default=None)
        source = "it was not finite to begin with"
        if newest is not None:
            names = ", ".join(sorted({str(n) for n in makers}))
            source = f"made by the rule of {names}; look at {self._line(newest)}"
        raise NonFiniteError(
            f"anomaly: the gradient of {node} is not finite{_when(node, bad)}",
            expected="finite numbers",
            got=f"{cotangent[bad]} at index {bad} of shape {cotangent.shape}",
            hint=source,
        )

    def _line(self, node: Node) -> str:
        return self._lines.get(node, "where it was recorded, before anomaly()")

    def _first_bad(self, value: Array) -> tuple[int, ...] | None:
        if value.dtype.kind not in "fc":
            return None
        fine = ~np.isnan(value) if self._allow_inf else np.isfinite(value)
        if fine.all():
            return None
        return tuple(int(i) for i in np.unravel_index(int(np.argmin(fine)), value.shape))

    def _operands(self, node: Node) -> str:
        """Which saved operands were broken before the operation: look there first."""
        broken = []
        for i, saved in enumerate(node.inputs or ()):
            array = saved.array if type(saved) is Guarded else saved
            if isinstance(array, np.ndarray) and self._first_bad(array) is not None:
                parent = node.parents[i]
                broken.append(f"input {i} ({'a constant' if parent is None else parent})")
        return "; not finite already: " + ", ".join(broken) if broken else ""


def _when(node: Node, bad: tuple[int, ...]) -> str:
    """The time step, where the first axis of a fused sequence's value tells it."""
    if node.scope.step is None and node.name.endswith("_sequence") and len(bad) == 3:
        return f" from t = {bad[0]} on"
    return ""


def _caller() -> str:
    """The innermost line of the program that is not this package's."""
    frame = sys._getframe(2)
    while frame.f_back is not None and is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    code = frame.f_code
    text = linecache.getline(code.co_filename, frame.f_lineno).strip()
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}" + (f": {text}" if text else "")
