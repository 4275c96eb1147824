"""``check_op``: everything that must hold of an operation, in one reusable property."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_seq.checks import count, instance_of
from tinygrad_seq.engine.node import Array, Node
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.rules import arguments
from tinygrad_seq.engine.tape import ITEM
from tinygrad_seq.errors import ConfigError, TinygradSeqError
from tinygrad_seq.tensor import Tensor
from tinygrad_seq.testing.example import CENTRAL, Example, defaults_of, operands_of, record_of
from tinygrad_seq.testing.invariants import arrays_in, copies, overlap, same, strided
from tinygrad_seq.testing.numeric import central_derivative
from tinygrad_seq.testing.report import GradientError, Tolerance
from tinygrad_seq.testing.subject import Subject, cast, paired

__all__ = ["check_op", "contributions"]

EQUAL = Tolerance(1e-10, 1e-13)
LINEAR = Tolerance(1e-12, 1e-14)
SINGLE = Tolerance(1e-4, 1e-5)


def check_op(
    op: Op | Callable[..., Any],
    arrays: Sequence[Any],
    params: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
) -> None:
    """Check one operation at one example: value, gradient rules, manners, second order, twin.

    Parameters
    ----------
    op : Op, or a function made by :func:`tinygrad_seq.op`
        Need not be registered.
    arrays : sequence of arrays
        One float64 array per operand, away from kinks; integer operands are constants.
    params : dict, optional
        Static parameters, as the operation's domain draws them; by default the function's own.
    seed : int
        Of cotangents and directions.

    Raises
    ------
    GradientError
        Naming the property that fails, with the example.
    ConfigError
        If `op` is no operation, or `arrays` are not one for each operand, or none of them is one
        of floats to differentiate to.
    DtypeError
        For float32 arrays.

    Notes
    -----
    In order: the forward function writes to no operand, and looks into one only if ``op.view``;
    every rule agrees with the complex step (1e-10 of the largest entry) or central
    differences (1e-6); gradients have their input's shape and dtype, in float32 too, and are
    the same when only one input wants one; each rule writes to nothing, returns memory of its own,
    is linear and takes strided cotangents; the recorded gradient
    (``create_graph=True``) is the same and differentiates once more; the twin agrees.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq.ops import OPS
    >>> from tinygrad_seq.testing import check_op
    >>> check_op(OPS["tanh"], [np.array([0.5, -1.0])])
    """
    record = record_of(op)
    rng = np.random.default_rng(count(0)("check_op: seed", seed))
    if params is not None:
        instance_of("check_op: params", params, Mapping)
    params = {**defaults_of(record), **(params or {})}
    operands = operands_of(record, arrays)
    try:
        example = Example(record, operands, params, rng)
    except TinygradSeqError:
        raise
    except Exception as error:
        raise ConfigError(
            f"check_op: the forward function of {record.name} stopped",
            expected="operands and params that it takes",
            got=f"{type(error).__name__}: {error}",
        ) from error
    if not example.wanted and any(rule is not None for rule in (record.joint, *record.rules)):
        raise ConfigError(
            f"check_op: nothing to differentiate {record.name} to",
            expected="an array of float64 for an operand with a rule",
            got=", ".join(str(getattr(a, "dtype", type(a).__name__)) for a in operands),
            hint="pass np.asarray(x, np.float64); integers and numbers are constants",
        )
    for part in (
        _check_forward,
        _check_gradient,
        _check_subsets,
        _check_single_precision,
        _check_manners,
        _check_linear,
        _check_second_order,
        _check_twin,
    ):
        try:
            part(example)
        except GradientError:
            raise
        except Exception as error:
            raise example.failure(f"{part.__name__[1:]} stopped: {error}") from error


def _check_forward(example: Example) -> None:
    op = example.op
    operands = copies(example.arrays)
    again = example.evaluate(operands, keep=True)
    if not same(example.arrays, operands):
        raise example.failure("the forward function writes to its operands")
    _, outs = example.record()
    for value, kept, out in zip(example.values, again, outs, strict=True):
        example.compare("the recorded value", out._array, value, LINEAR)
        example.compare("the value computed with keep=True", kept, value, LINEAR)
        if not op.view and any(overlap(kept, a) for a in operands):
            raise example.failure(
                "the output looks into an operand",
                "memory of its own, or view=True in the record",
            )
    _, outs32 = example.record(dtype=np.float32)
    for value, out in zip(example.values, outs32, strict=True):
        if out.dtype != np.float32:
            raise example.failure("float32 operands give another dtype", np.float32, out.dtype)
        example.compare("the float32 value", out._array, value, SINGLE)


def _check_gradient(example: Example) -> None:
    found = example.gradients()
    for i, got, expected in zip(example.wanted, found, example.reference, strict=True):
        example.compare_gradient(i, f"the gradient to {example.names[i]}", got, expected)


def _check_subsets(example: Example) -> None:
    """The same gradient when only one operand wants one: what is saved depends on that."""
    if len(example.wanted) < 2:
        return
    for i, expected in zip(example.wanted, example.reference, strict=True):
        (got,) = example.gradients(wanted=[i])
        example.compare_gradient(
            i, f"the gradient to {example.names[i]}, wanted alone,", got, expected
        )


def _check_single_precision(example: Example) -> None:
    found = example.gradients(cast(example.arrays, np.float32))
    for i, got, expected in zip(example.wanted, found, example.reference, strict=True):
        example.compare(f"the float32 gradient to {example.names[i]}", got, expected, SINGLE)


def contributions(
    node: Node, wanted: Sequence[int], cotangents: Sequence[Array]
) -> list[tuple[int, Any]]:
    """What the rules of a recorded node return, before the engine sums and reshapes it."""
    op = node.op
    assert op is not None
    cotangent: Any = list(cotangents) if op.outputs != 1 else cotangents[0]
    if op.joint is not None:
        found = op.joint.fn(cotangent, *arguments(node, op.joint))
        return [(i, found[i]) for i in wanted if found[i] is not None]
    results = []
    for i in wanted:
        rule = op.rules[i]
        assert rule is not None
        results.append((i, rule.fn(cotangent, *arguments(node, rule, i))))
    return results


def _node_of(outs: Sequence[Tensor]) -> Node:
    node = outs[0].node
    assert node is not None
    parent = node.parents[0]
    return parent if node.op is ITEM and parent is not None else node


def _check_linear(example: Example) -> None:
    """vjp(2 c - 3 d) = 2 vjp(c) - 3 vjp(d), and strides of a cotangent do not matter."""
    if not example.wanted:
        return
    _, outs = example.record()
    node = _node_of(outs)
    c = example.cotangents
    d = [np.asarray(example.rng.uniform(-1, 1, part.shape)) for part in c]
    mixed = [np.asarray(2 * p - 3 * q) for p, q in zip(c, d, strict=True)]
    at_c, at_d, at_mixed = (contributions(node, example.wanted, g) for g in (c, d, mixed))
    at_strided = contributions(node, example.wanted, [strided(part) for part in c])
    for (i, p), (_, q), (_, m), (_, s) in zip(at_c, at_d, at_mixed, at_strided, strict=True):
        example.compare(f"linearity of the rule for {example.names[i]}", m, 2 * p - 3 * q, LINEAR)
        example.compare(f"the rule for {example.names[i]} on a strided cotangent", s, p, LINEAR)


def _check_manners(example: Example) -> None:
    """Rules write to nothing and return memory of their own, or the cotangent's."""
    if not example.wanted:
        return
    for dtype in (np.float64, np.float32):
        made, outs = example.record(dtype=dtype)
        node = _node_of(outs)
        cots = [c.astype(dtype) for c in example.cotangents]
        held = [
            *arrays_in(made),
            *arrays_in([o._array for o in outs]),
            *arrays_in([node.residuals]),
        ]
        before, cots_before = copies(held), copies(cots)
        found = contributions(node, example.wanted, cots)
        if not same(before, held):
            raise example.failure("a gradient rule writes to a saved array")
        if not same(cots_before, cots):
            raise example.failure("a gradient rule writes to its cotangent")
        for k, (i, part) in enumerate(found):
            if any(overlap(part, array) for array in held):
                raise example.failure(
                    f"the rule for {example.names[i]} returns memory of an operand or saved array"
                )
            in_cotangent = any(overlap(part, c) for c in cots)
            if not in_cotangent and any(overlap(part, q) for _, q in found[:k]):
                what = f"the rule for {example.names[i]} returns another input's memory"
                raise example.failure(what)


def _check_second_order(example: Example) -> None:
    """Recorded gradients equal plain ones, and differentiate again, cotangent included."""
    if not example.wanted:
        return
    vs, us = example.drawn(), example.drawn()
    first, found, to_cotangents = example.twice(vs)
    for i, got, expected in zip(example.wanted, first, example.reference, strict=True):
        what = f"the recorded gradient to {example.names[i]}"
        example.compare_gradient(i, what, got._array, expected)
    if not any(slope.requires_grad for slope in first):
        raise example.failure("the recorded gradient does not depend on the cotangent")
    slope = example.gradient_along(vs, us)
    # Small steps only: a long one could leave the domain on which the operation is smooth.
    bend = central_derivative(lambda eps: slope(0.1 * eps)) * 10.0
    example.compare("the second derivative along a direction", paired(found, us), bend, CENTRAL)
    _check_transpose(example, vs, to_cotangents)


def _check_transpose(example: Example, vs: Sequence[Array], found: Sequence[Any]) -> None:
    """The slope of <vjp(c), v> to c is J v: it pairs with a cotangent w as vjp(w) pairs with v."""
    ws = [np.asarray(example.rng.uniform(-1, 1, c.shape)) for c in example.cotangents]
    got = paired(found, ws)
    _, outs = example.record()
    parts = contributions(_node_of(outs), example.wanted, ws)
    by_input = dict(zip(example.wanted, vs, strict=True))
    expected = sum(float(np.sum(part * by_input[i])) for i, part in parts)
    tolerance = Tolerance(1e-10, 1e-12 * max(1.0, *(np.size(w) for w in ws)))
    example.compare("the recorded gradient's slope to its cotangent", got, expected, tolerance)


def _check_twin(example: Example) -> None:
    op, composed_of = example.op, example.op.twin
    if composed_of is None:
        return
    twin = Subject(
        op.name,
        lambda *given: composed_of(*given, **example.params),
        example.arrays,
        example.wanted,
        example.rng,
        example.names,
    )
    for mine, other in zip(example.values, twin.values, strict=True):
        example.compare("the twin's value", other, mine, EQUAL)
    found = twin.gradients(cotangents=example.cotangents)
    for i, other, mine in zip(example.wanted, found, example.gradients(), strict=True):
        example.compare(f"twin and rule, {example.names[i]}:", other, mine, EQUAL)
