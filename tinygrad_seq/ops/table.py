"""The table of operations in the documentation, generated from the records."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

from tinygrad_seq import ops
from tinygrad_seq.engine.op import Op
from tinygrad_seq.ops.numpy_names import CONSTANT_ONLY, DIFFERENTIABLE, REFUSED, name_of
from tinygrad_seq.ops.registry import OPS

__all__ = ["operation_table"]

_INTRODUCTION = """\
# Operations

This page is generated from the records: `python -m tinygrad_seq.ops.table > docs/operations.md`.

## Recorded operations

Every one has a gradient rule for each operand (or a reason why not) and a domain that the property
tests draw from: value and gradient against the complex step where the operation is analytic, else
against central differences; second derivatives; float32 and float64; broadcasting; no writing and
no shared memory. A fused operation is held to its twin, the same computation from single ones.

| operation | operands | gradient | checked by | fused |
|---|---|---|---|---|
"""
_NUMPY = """
## NumPy's functions on Tensors

A function that is not listed is refused on a tensor that requires gradients, by name, and
works on constants; nothing drops the graph silently.

| function | on a tensor that requires gradients | how, or why not |
|---|---|---|
"""


def operation_table() -> str:
    """Markdown: every recorded operation, and what becomes of each NumPy function.

    Examples
    --------
    >>> print(operation_table().splitlines()[0])
    # Operations
    """
    rows = [_operation(OPS[name]) for name in sorted(OPS)]
    named = [(name_of(f), "differentiable", _how(ours)) for f, ours in DIFFERENTIABLE.items()]
    named += [(name_of(f), "constant only", _constant(f)) for f in CONSTANT_ONLY]
    named += [(name_of(f), "refused", why) for f, why in REFUSED.items()]
    numpys = [f"| `{name}` | {status} | {why} |" for name, status, why in sorted(set(named))]
    return _INTRODUCTION + "\n".join(rows) + "\n" + _NUMPY + "\n".join(numpys) + "\n"


def _operation(op: Op) -> str:
    operands = ", ".join(f"`{'*' if op.variadic else ''}{name}`" for name in op.inputs)
    if op.joint is not None:
        gradient = "all operands"
    else:
        refused = [name for name, rule in zip(op.inputs, op.rules, strict=True) if rule is None]
        gradient = "all operands"
        if refused:
            gradient = f"not to {', '.join(refused)}: {op.why}"
    check = "complex step" if op.analytic else "differences"
    fused = "with a composed twin" if op.twin is not None else ""
    return f"| `{op.name}` | {operands} | {gradient} | {check} | {fused} |"


def _how(ours: Callable[..., Any]) -> str:
    """The public function of the same meaning, if there is one."""
    name = getattr(ours, "__name__", "")
    if getattr(ops, name, None) is ours:
        return f"`tgs.{name}{_parameters(ours)}`"
    return "composed of operations"


def _parameters(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    return "(" + ", ".join(str(p.replace(annotation=p.empty)) for p in parameters) + ")"


def _constant(function: Any) -> str:
    if function.__name__.startswith(("arg", "is", "all", "any", "count", "search", "digit")):
        return "its values are indices, counts or truths"
    if function.__name__ in {"sign", "floor", "ceil", "rint", "trunc", "round", "fix", "signbit"}:
        return "piecewise constant: its gradient is 0 wherever it has one"
    if function.__name__.endswith("_like") or function.__name__ in {"shape", "ndim", "size"}:
        return "it looks at the shape only"
    if (
        "array_" in function.__name__
        or "2string" in function.__name__
        or "mem" in function.__name__
    ):
        return "it says something about the array"
    return "its values are indices, counts or truths"


if __name__ == "__main__":
    sys.stdout.write(operation_table())
