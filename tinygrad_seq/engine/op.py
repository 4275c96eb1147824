"""The record that describes one operation: its forward function and its gradient rules.

A rule is a function of the cotangent ``g`` and of whatever else it names, found by parameter
name: an input of the operation, ``out`` (its output), a static parameter, ``shape`` (of the
input being differentiated), ``residuals`` (what the forward function kept besides its output)
or ``needs`` (which inputs want a gradient). What no rule names is not saved.

Rules are plain NumPy and never write to what they are given. The same text runs on arrays and,
under ``create_graph=True``, on Tensors, which speak NumPy's protocols.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from enum import Enum, IntEnum, auto
from types import FunctionType
from typing import Any

__all__ = ["Axes", "Op", "Rule", "Want"]


class Want(IntEnum):
    """Where a rule's argument comes from; the key says which one."""

    INPUT = 0
    PARAM = 1
    OUT = 2
    SHAPE = 3
    RESIDUALS = 4
    NEEDS = 5
    INPUTS = 6


class Axes(Enum):
    """What an operation does to the axes of its operands; its parameters say with which."""

    OTHER = auto()
    KEPT = auto()
    """Each entry along an axis comes from those at its place, the last axis perhaps excepted."""
    RESHAPED = auto()
    MOVED = auto()
    """Permuted, by ``axes``."""
    STACKED = auto()
    """All operands side by side along a new ``axis``."""
    JOINED = auto()
    """All operands along an ``axis``, cut at ``points``."""
    CUT = auto()
    """Into several parts along an ``axis``."""
    PICKED = auto()
    """By an ``index``."""
    LETTERED = auto()
    """By the letters of a ``spec``."""


_SPECIAL = {
    "out": Want.OUT,
    "shape": Want.SHAPE,
    "residuals": Want.RESIDUALS,
    "needs": Want.NEEDS,
}


def _parameters(fn: Callable[..., Any]) -> tuple[str, ...]:
    """Parameter names of a rule; a plain function's are read off its code, twenty times faster."""
    if type(fn) is FunctionType:
        code = fn.__code__
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return tuple(inspect.signature(fn).parameters)


class Rule:
    """A gradient rule and, compiled from its parameter names, what it asks for after ``g``."""

    __slots__ = ("fn", "only_input", "only_out", "wants")

    def __init__(self, fn: Callable[..., Any], inputs: tuple[str, ...], variadic: bool) -> None:
        self.fn = fn
        self.wants: tuple[tuple[Want, Any], ...] = tuple(
            (Want.INPUTS, name)
            if variadic and name in inputs
            else (Want.INPUT, inputs.index(name))
            if name in inputs
            else (_SPECIAL.get(name, Want.PARAM), name)
            for name in _parameters(fn)[1:]
        )
        # The commonest two, which backward then need not look up.
        only = self.wants[0] if len(self.wants) == 1 else (None, None)
        self.only_out = only[0] is Want.OUT
        self.only_input: int | None = only[1] if only[0] is Want.INPUT else None


class Op:
    """One differentiable operation.

    Parameters
    ----------
    name : str
        Shown in messages, drawings and the op table.
    forward : callable
        ``forward(*arrays, **params)``, NumPy in, NumPy out; a tuple for several outputs. With
        ``keep=True`` in this record it is called with a ``keep`` flag too and returns
        ``(output, residuals)``.
    inputs : str
        Names of the operands, separated by spaces; ``"*xs"`` for any number of them.
    rules : sequence of callable or None
        One rule per input; None says that there is no gradient to that input (say why in
        `why`).
    joint : callable, optional
        Instead of `rules`: one rule that returns a contribution (or None) for every input.
    sample : callable, optional
        ``sample(draw) -> (arrays, params)``: the domain that property tests draw from.
    twin : callable, optional
        The same computation on Tensors, from other operations: the oracle of a fused
        operation, its path under ``create_graph=True`` and its expansion in drawings.
    outputs : int, optional
        Number of outputs; -1 if it depends on the parameters.
    view : bool
        Whether the output shares memory with the first input.
    defer : tuple, optional
        ``(input index, rule)``: contributions to a matrix that is a leaf (a weight, most often
        shared through time) are queued, and this rule makes their sum at the end. It is given
        lists, one entry per use: the cotangents, and whatever else it names.
    why : str
        Reason why an input has no gradient.
    analytic : bool
        Whether the forward function also holds for complex numbers (complex-step checks).
    mixes : bool
        Whether integer operands take the floating dtype of the others; False where integers
        are ids.
    floats : bool
        Whether it computes in floating point: integers without a float beside them become
        float64.

    pointwise : bool
        Whether every entry of the result comes from the entries of the operands at its place.
    moves : bool
        Whether its rules only move, repeat and add entries of the cotangent.
    axes : Axes
        What it does to axes: how time is read off the graph. Pointwise operations keep them.
    product : bool
        Whether it multiplies its first two operands.
    kink : str
        What stands for the gradient where there is no derivative: shown in the op table.
    unread : callable, optional
        ``unread(index, **params)``: True at the entries of an operand that do not matter.

    Attributes
    ----------
    makes : bool
        Whether every array that a rule returns, and that is no view, is one it made: backward may
        add to it in place. True of registered operations only, which tests hold to it; a rule
        of the user's may hand out an array that somebody else holds.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        inputs: str,
        rules: Sequence[Callable[..., Any] | None] = (),
        *,
        joint: Callable[..., Any] | None = None,
        sample: Callable[..., Any] | None = None,
        twin: Callable[..., Any] | None = None,
        outputs: int = 1,
        keep: bool = False,
        view: bool = False,
        defer: tuple[int, Callable[..., Any]] | None = None,
        why: str = "",
        analytic: bool = True,
        mixes: bool = True,
        floats: bool = False,
        pointwise: bool = False,
        moves: bool = False,
        axes: Axes = Axes.OTHER,
        product: bool = False,
        kink: str = "",
        unread: Callable[..., Any] | None = None,
    ) -> None:
        self.name = name
        self.forward = forward
        self.variadic = inputs.startswith("*")
        self.inputs = tuple(inputs.lstrip("*").split())
        self.rules = tuple(None if rule is None else self._rule(rule) for rule in rules)
        self.joint = None if joint is None else self._rule(joint)
        self.sample = sample
        self.twin = twin
        self.outputs = outputs
        self.keep = keep
        self.view = view
        self.defer = None if defer is None else (defer[0], self._rule(defer[1]))
        self.why = why
        self.analytic = analytic
        self.mixes = mixes
        self.floats = floats
        self.pointwise = pointwise
        self.moves = moves
        self.axes = Axes.KEPT if pointwise else axes
        self.product = product
        self.kink = kink
        self.unread = unread
        self.makes = False
        self.plain = (
            len(self.inputs) <= 2 and outputs == 1 and twin is None and mixes and not (keep or view)
        ) and not self.variadic
        self.plans: dict[int, tuple[tuple[int, ...], bool]] = {}

    def _rule(self, fn: Callable[..., Any]) -> Rule:
        return Rule(fn, self.inputs, self.variadic)

    def plan(self, count: int, needs: int) -> tuple[tuple[int, ...], bool]:
        """Which of `count` inputs (by index), and whether the output, must be saved.

        Bit i of `needs` says that input i wants a gradient.
        """
        rules = [self.joint] if self.joint is not None else list(self.rules)
        asking = [
            rule
            for i, rule in enumerate(rules)
            if rule is not None and (rule is self.joint or needs >> i & 1)
        ]
        wants = {want for rule in asking for want in rule.wants}
        kinds = {kind for kind, _ in wants}
        if self.twin is not None or Want.INPUTS in kinds:  # a twin runs again on every input
            keep = tuple(range(count))
        else:
            keep = tuple(sorted(key for kind, key in wants if kind is Want.INPUT))
        found = self.plans[needs] = (keep, Want.OUT in kinds)
        return found

    def operand(self, index: int) -> str:
        """How messages call an operand: by its name, or by its place among any number."""
        return str(index) if self.variadic else self.inputs[index]

    def __repr__(self) -> str:
        return f"<Op {self.name}>"
