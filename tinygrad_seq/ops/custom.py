"""``@op``: an operation of your own, from a NumPy function and its gradient rules."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, NotDifferentiableError, shown
from tinygrad_seq.ops.registry import record

__all__ = ["op"]

_GIVEN = {"out", "shape", "needs"}


def op(
    *rules: Callable[..., Any] | None, analytic: bool = True, why: str = ""
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a differentiable operation of a NumPy function.

    Parameters
    ----------
    *rules : callable or None
        One per operand: ``rule(g, ...)`` returns the contribution to the operand's gradient. It
        asks for what it needs by name: operands, static parameters, ``out`` (the result),
        ``shape`` (of the operand). None says there is no gradient (give the reason as `why`).
        Written with NumPy's functions, a rule is differentiable itself.
    analytic : bool
        Whether the function also holds for complex numbers, so that tests may use the complex
        step: False for what takes absolute values, maxima, comparisons.
    why : str
        The reason why an operand has no gradient.

    Returns
    -------
    decorator
        For a function whose parameters without default are the operands, and the others static.
        What it returns takes and gives Tensors; its record is the attribute ``op``.

    Raises
    ------
    ConfigError
        If rules and operands do not match in number, a rule asks for an unknown name, or there
        is no function to go with the rules, as after ``@op`` alone.

    Examples
    --------
    >>> import numpy as np, tinygrad_seq as tgs
    >>> @tgs.op(lambda g, x, n: g * n * x ** (n - 1))
    ... def to_the(x, n=3):
    ...     return x**n
    >>> x = tgs.tensor([1.0, 2.0], requires_grad=True)
    >>> to_the(x).sum().backward()
    >>> x.grad
    array([ 3., 12.], dtype=float32)

    Its gradient, second order, dtypes and manners are tested by one call:

    >>> from tinygrad_seq.testing import check_op
    >>> check_op(to_the, [np.array([1.0, 2.0])], {"n": 4})
    """
    for rule in rules:
        if rule is not None and not callable(rule):
            raise ConfigError(
                "op: rules", expected="functions, or None", got=shown(rule), hint="@op(lambda g: g)"
            )

    def decorate(*given: Any, **named: Any) -> Callable[..., Any]:
        function = _only_function(rules, given, named)
        signature = inspect.signature(function)
        operands = [p.name for p in signature.parameters.values() if p.default is p.empty]
        _check_rules(function.__name__, rules, operands, set(signature.parameters))
        made = Op(
            function.__name__,
            _apart(function),
            " ".join(operands),
            rules,
            analytic=analytic,
            why=why,
        )

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            _refuse_tracked(made, given, operands)
            return record(made, tuple(given.pop(name) for name in operands), given)

        run.op = made  # type: ignore[attr-defined]
        return run

    return decorate


def _refuse_tracked(made: Op, given: dict[str, Any], operands: list[str]) -> None:
    """Refuse a tensor that requires gradients as a static parameter: its gradient would be lost."""
    for name, value in given.items():
        if name not in operands and isinstance(value, Variable) and value.requires_grad:
            raise NotDifferentiableError(
                f"{made.name}: {name} is a static parameter, without a gradient",
                expected="a constant",
                got=f"a tensor that requires gradients: {value.node}",
                hint=f"{name}.detach(), or make it an operand: a parameter without a default",
            )


def _only_function(rules: Any, given: Any, named: Any) -> Callable[..., Any]:
    """The decorated function. After ``@op`` alone it was taken for a rule: here is its call."""
    if len(given) == 1 and not named and callable(given[0]):
        function: Callable[..., Any] = given[0]
        return function
    name = getattr(rules[0], "__name__", "f") if rules else "f"
    raise ConfigError(
        f"op: no function goes with the rule {name}" if rules else "op: no function",
        expected="one function, below its rules",
        got=", ".join([type(each).__name__ for each in given] + [f"{each}=" for each in named]),
        hint=f"@op(rule, ...) above def {name}, one gradient rule for each operand, not @op alone",
    )


def _check_rules(name: str, rules: Any, operands: list[str], known: set[str]) -> None:
    if len(rules) != len(operands):
        raise ConfigError(
            f"op {name}: rules and operands",
            expected=f"one rule for each of {', '.join(operands)}",
            got=f"{len(rules)} rules",
            hint="parameters with a default are static and have no rule",
        )
    for operand, rule in zip(operands, rules, strict=True):
        asked = [] if rule is None else list(inspect.signature(rule).parameters)[1:]
        unknown = [each for each in asked if each not in known | _GIVEN]
        if unknown:
            raise ConfigError(
                f"op {name}: the rule for {operand} asks for {', '.join(unknown)}",
                expected=f"names among {', '.join(sorted(known | _GIVEN))}",
            )


def _read_only(operand: Any) -> Any:
    """An operand that the function cannot write into: it may be a leaf's own array."""
    if not isinstance(operand, np.ndarray):
        return operand
    view = operand.view()
    view.flags.writeable = False
    return view


def _apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a result in memory of its own: a view would escape the guards."""
    name = function.__name__

    @functools.wraps(function)
    def forward(*arrays: Any, **params: Any) -> Any:
        shown = [_read_only(array) for array in arrays]
        out = function(*shown, **params)
        stepping = any(np.iscomplexobj(array) for array in arrays)  # of a check by complex steps
        out = np.asarray(out) if stepping else array_of(f"op {name}: its result", out)
        held = [array for array in shown if isinstance(array, np.ndarray)]
        return out.copy() if any(np.may_share_memory(out, array) for array in held) else out

    return forward
