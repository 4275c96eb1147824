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
from typing import Any

__all__ = ["Op", "Rule"]


class Rule:
    """A gradient rule and the names of what it asks for after the cotangent."""

    __slots__ = ("fn", "wants")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.wants = tuple(inspect.signature(fn).parameters)[1:]


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
        ``(input index, left index, combine)``: contributions to a two-dimensional leaf are
        queued as (saved left operand, cotangent) pairs and combined once at the end.
    why : str
        Reason why an input has no gradient.
    analytic : bool
        Whether the forward function also holds for complex numbers (complex-step checks).
    mixes : bool
        Whether integer operands take the floating dtype of the others; False where integers
        are ids.
    """

    __slots__ = (
        "analytic",
        "defer",
        "forward",
        "inputs",
        "joint",
        "keep",
        "mixes",
        "name",
        "outputs",
        "plans",
        "rules",
        "sample",
        "twin",
        "variadic",
        "view",
        "why",
    )

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
        defer: tuple[int, int, Callable[..., Any]] | None = None,
        why: str = "",
        analytic: bool = True,
        mixes: bool = True,
    ) -> None:
        self.name = name
        self.forward = forward
        self.variadic = inputs.startswith("*")
        self.inputs = tuple(inputs.lstrip("*").split())
        self.rules = tuple(None if rule is None else Rule(rule) for rule in rules)
        self.joint = None if joint is None else Rule(joint)
        self.sample = sample
        self.twin = twin
        self.outputs = outputs
        self.keep = keep
        self.view = view
        self.defer = defer
        self.why = why
        self.analytic = analytic
        self.mixes = mixes
        self.plans: dict[tuple[bool, ...], tuple[tuple[int, ...], bool]] = {}

    def plan(self, needs: tuple[bool, ...]) -> tuple[tuple[int, ...], bool]:
        """Which inputs (by index), and whether the output, must be saved for these needs."""
        found = self.plans.get(needs)
        if found is None:
            if self.joint is not None:
                wants = set(self.joint.wants)
            else:
                wants = set()
                for rule, need in zip(self.rules, needs, strict=True):
                    if need and rule is not None:
                        wants.update(rule.wants)
            if self.twin is not None:  # the twin runs again on every input
                keep = tuple(range(len(needs)))
            elif self.variadic:
                keep = tuple(range(len(needs))) if self.inputs[0] in wants else ()
            else:
                keep = tuple(i for i, name in enumerate(self.inputs) if name in wants)
            found = self.plans[needs] = (keep, "out" in wants)
        return found

    def __repr__(self) -> str:
        return f"<Op {self.name}>"
