"""Writes the page of operations from their records, to standard output: see `make operations`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import tinygrad_seq as tgs
from tinygrad_seq import nn as nn  # whose cells have operations of their own
from tinygrad_seq.engine.op import Op
from tinygrad_seq.ops.numpy_rest import CONSTANT_ONLY, REFUSED, name_of
from tinygrad_seq.ops.registry import DIFFERENTIABLE, NEWER, OPS

__all__ = ["operation_table"]

_INTRODUCTION = """\
# Operations

What is differentiable, what is evaluated on the values only, what is refused, and why. This page
is generated from the records: `make operations`.

## Recorded operations

These are the nodes of a graph. Every one has a gradient rule for each operand (or a reason why not)
and a domain that the property tests draw from: value and gradient against the complex step where
the operation is analytic, else against central differences; second derivatives; float32 and
float64; broadcasting; no writing and no shared memory ([testing.md](testing.md) has the kit). A
fused operation is held to its twin, the same computation from single ones.

At points without a derivative all operations follow one policy. A kink has a substitute, which
the table names: 0 at the tip of a norm, a share at a tie, the inside of a bound. It counts as a
constant: derivatives of higher order are those of a constant. An infinite slope (`sqrt` and `log`
at 0) is infinite; a NaN among the operands is one in the gradient. Outside of its domain (`log` of
a negative number) the value of an operation is NaN, and its gradient what the formula gives. What
`np.where` does not take has gradient 0, and so has what led there entry by entry, be its slope
infinite or NaN: `np.where(x > 0, np.log(x), 0)` is safe at 0.

Operands are float32 or float64, integers or booleans. float16 is read as float32; complex numbers,
text, objects and masked arrays are refused. Operations that compute in floats take integers alone
for float64.

| operation | computes | operands | gradient | checked by | fused |
|---|---|---|---|---|---|
"""
_NUMPY = """
## NumPy's functions on Tensors

- *differentiable*: recorded as an operation, or as several;
- *constant only*: evaluated on the values, as a plain array: there is no gradient to lose;
- *refused* on a tensor that requires gradients, with this reason, and evaluated on constants.

A function of NumPy that is not listed is refused like those; nothing drops the graph silently.
Arguments that a function here does not have (`out=`, `where=`, `dtype=`) are refused by name.

| function | on a tensor that requires gradients | how, or why not and what instead |
|---|---|---|
"""
_WORDS = {
    "add_rows": "Rows of the cotangent added where `take` picked them",
    "put_add": "The cotangent added where `getitem` picked it",
    "put_along_axis": "The cotangent added where `take_along_axis` picked it",
    "gru_reset_before_sequence": "`gru_sequence` with the reset gate before the product",
    "rnn_relu_sequence": "A vanilla RNN with relu over a whole sequence",
    "rnn_tanh_sequence": "A vanilla RNN with tanh over a whole sequence",
}
"""What operations without a public function of their name compute."""


def operation_table() -> str:
    """Markdown: every recorded operation, and what becomes of each NumPy function."""
    rows = [_operation(OPS[name]) for name in sorted(OPS)]
    named = [(name_of(f), "differentiable", _how(ours)) for f, ours in DIFFERENTIABLE.items()]
    named += [(f"np.{name}", "differentiable", _how(ours)) for name, ours in NEWER.items()]
    named += [(name_of(f), "constant only", _markdown(why)) for f, why in CONSTANT_ONLY.items()]
    named += [(name_of(f), "refused", _markdown(why)) for f, why in REFUSED.items()]
    numpys = [f"| `{name}` | {status} | {why} |" for name, status, why in sorted(set(named))]
    return _INTRODUCTION + "\n".join(rows) + "\n" + _NUMPY + "\n".join(numpys) + "\n"


def _operation(op: Op) -> str:
    operands = ", ".join(f"`{'*' if op.variadic else ''}{name}`" for name in op.inputs)
    without = [name for name, rule in zip(op.inputs, op.rules, strict=False) if rule is None]
    gradient = f"not to {', '.join(without)}: {op.why}" if without else "all operands"
    gradient += f"; {op.kink}" if op.kink else ""
    check = "complex step" if op.analytic else "differences"
    fused = "with a composed twin" if op.twin is not None else ""
    what = _WORDS.get(op.name) or _first_line(getattr(tgs, op.name, op.twin))
    return f"| `{op.name}` | {what} | {operands} | {gradient} | {check} | {fused} |"


def _how(ours: Callable[..., Any]) -> str:
    """The public function of the same meaning, or in words what is composed."""
    name = getattr(ours, "__name__", "")
    if inspect.unwrap(getattr(tgs, name, None)) is ours:
        return f"`tgs.{name}{_parameters(ours)}`"
    return _first_line(ours)


def _first_line(function: Any) -> str:
    return _markdown(function.__doc__.strip().split("\n")[0].rstrip("."))


def _markdown(text: str) -> str:
    """A docstring's line or a reason, with its code as code and nothing else as mark-up."""
    text = re.sub(r":func:`(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|<])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def _parameters(function: Callable[..., Any]) -> str:
    parameters = inspect.signature(function).parameters.values()
    return "(" + ", ".join(str(p.replace(annotation=p.empty)) for p in parameters) + ")"


if __name__ == "__main__":
    sys.stdout.write(operation_table())
