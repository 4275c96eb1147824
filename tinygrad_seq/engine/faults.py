"""Refusals in our words: of NumPy's functions, and of rules that do not return what they must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import refuse_masked
from tinygrad_seq.engine.node import Node
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import (
    ConfigError,
    DtypeError,
    GraphError,
    IndexRangeError,
    ShapeError,
    TinygradSeqError,
    shown,
)

__all__ = [
    "REFUSALS",
    "as_contribution",
    "no_rule",
    "refusal",
    "refuse_several",
    "wrong_count",
    "wrong_dtype",
    "wrong_shape",
]

REFUSALS = (ValueError, IndexError, TypeError, OverflowError, MemoryError)
"""How NumPy refuses shapes and values, indices, options that are not of their kind, numbers that
a dtype cannot hold and sizes that no memory can."""

_CURES = {
    "broadcast": "sizes must be equal or 1, counted from the last axis: x[:, None] adds an axis",
    "cannot reshape": "keep the number of entries; one size may be -1, and is found for you",
    "is out of bounds for array": "axes count from 0, or with -1 from the last",
    "is out of bounds for axis": "positions count from 0, or with -1 from the last",
    "input array": "give the parts equal sizes: x[None] adds an axis, reshape changes them",
}
"""What to try, by a piece of what NumPy says."""

_CHECK = "tinygrad_seq.testing.check_op tries the rule on examples"


def refusal(name: str, operands: Sequence[Any], error: Exception) -> Exception:
    """What NumPy said, with the name of the operation and the shapes of the operands."""
    if isinstance(error, TinygradSeqError):
        return error
    kind: type[TinygradSeqError] = IndexRangeError
    if isinstance(error, (TypeError, OverflowError)):
        kind = ConfigError
    elif isinstance(error, (ValueError, MemoryError)):
        kind = ShapeError
    shapes = " and ".join(str(np.shape(operand)) for operand in operands)
    said = str(error)
    hint = next((cure for sign, cure in _CURES.items() if sign in said), None)
    return kind(f"{name}: {said}", got=f"shape {shapes}", hint=hint)


def refuse_several(what: str, given: Any) -> None:
    """Refuse a tuple or list with tensors in it, in place of one: a layer's (y, state), mostly."""
    if not isinstance(given, (tuple, list)):
        return
    if any(isinstance(part, Variable) for part in given):
        parts = ", ".join(type(part).__name__ for part in given[:3])
        more = ", ..." if len(given) > 3 else ""
        raise DtypeError(
            f"{what}: several things in place of one tensor",
            expected="a tensor, an array or a number",
            got=f"a {type(given).__name__} of {parts}{more}",
            hint="y, state = layer(x) and pass y, where a layer returned both; "
            "tgs.stack(parts) for a list of tensors",
        )


def no_rule(node: Node, index: int) -> Exception:
    """A gradient was asked for to an operand that has none."""
    op = node.op
    assert op is not None
    return GraphError(
        f"{node} has no gradient to its operand {op.operand(index)}: {op.why or 'it has no rule'}",
        expected="a constant there",
        got=f"a tensor that requires gradients: {node.parents[index]}",
        hint="pass t.detach(), or give the operation a rule for it",
    )


def as_contribution(source: Node, node: Node, contribution: Any) -> Any:
    """What the rule of `source` returned for `node`, a number or anything else, as an array."""
    what = f"the gradient rule of {source} for its {_operand(source, node)}"
    refuse_masked(what, contribution)
    number = type(contribution) in (float, int)
    try:
        return np.asarray(contribution, node.dtype if number else None)
    except REFUSALS as error:
        raise refusal(what, [], error) from error


def wrong_shape(source: Node, node: Node, contribution: Any) -> Exception:
    """The rule of `source` returned something that cannot be the gradient of `node`."""
    if contribution.dtype.kind not in "fciub":  # None, most often: a forgotten return
        return wrong_dtype(source, node, contribution)
    return ShapeError(
        f"the gradient rule of {source} for its {_operand(source, node)} returned a wrong shape",
        expected=f"{node.shape}, or a shape that it broadcasts to",
        got=contribution.shape,
        hint="return the cotangent at the shape of the operand, or at that of the result: "
        f"broadcasting is undone for you. {_CHECK}",
    )


def wrong_dtype(source: Node, node: Node, contribution: Any) -> Exception:
    """The rule of `source` returned a dtype that neither operand nor result has."""
    return DtypeError(
        f"the gradient rule of {source} for its {_operand(source, node)} returned a wrong dtype",
        expected=node.dtype,
        got=shown(contribution.item()) if contribution.ndim == 0 else contribution.dtype,
        hint="compute it from g, and bring constants to its dtype: np.asarray(k, g.dtype). "
        f"{_CHECK}",
    )


def wrong_count(source: Node, contributions: Sequence[Any]) -> Exception:
    """The joint rule of `source` did not return one contribution for each operand."""
    return GraphError(
        f"the gradient rule of {source} returned a wrong number of gradients",
        expected=f"{len(source.parents)}, one for each operand (None where there is none)",
        got=len(contributions),
        hint=_CHECK,
    )


def _operand(source: Node, node: Node) -> str:
    assert source.op is not None
    places = [i for i, parent in enumerate(source.parents) if parent is node]
    return "operand " + " and ".join(source.op.operand(i) for i in places)
