"""Recording: run an operation on the arrays of its operands and note how to go back.

The tape is the graph itself: each result holds its node, each node its parents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.checks import FLOATS, array_of
from tinygrad_seq.engine.faults import REFUSALS, refusal, refuse_several
from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.node import Array, Node, Origin, next_seq, noted
from tinygrad_seq.engine.op import Axes, Op
from tinygrad_seq.engine.variable import Variable, guarded
from tinygrad_seq.errors import DtypeError

__all__ = ["ITEM", "apply", "bind_result_type", "detached", "lift"]

_result: type[Variable] = Variable
_new: Any = object.__new__
_SINGLE, _DOUBLE = FLOATS


def bind_result_type(kind: type[Variable]) -> None:
    """Say which kind of Variable operations return (the Tensor class, once, at import)."""
    global _result
    _result = kind


ITEM = Op("item", lambda outputs, index: outputs[index], "outputs", [None], axes=Axes.KEPT)
"""Picks one of several outputs; the backward walk handles it itself."""


def lift(array: Any, node: Node | None) -> Any:
    """A variable standing for a saved array, so that rules on it are recorded in turn."""
    return array if node is None else _result._wrap(array, node)


def detached(array: Array, origin: Origin) -> Variable:
    """A constant that is known to have been detached from a node."""
    made = _result._wrap(array, None)
    made._origin = origin
    return made


def apply(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Run `op` and, if any operand requires gradients, record it.

    Operands are variables, arrays, Python numbers or lists of them. Python numbers and lists,
    zero-dimensional and integer operands take the floating dtype of the others; two different
    floating dtypes are refused rather than mixed. Whatever no tensor can hold is refused here:
    complex numbers, float16, text, masked arrays.
    """
    mode = current_mode.get()
    if op.plain:
        made = _apply_plain(op, operands, params, mode)
        if made is not None:
            return made
    if mode.composed and op.twin is not None:
        return op.twin(*operands, **params)
    arrays: list[Any] = []
    parents: list[Node | None] = []
    needs, bit = 0, 1
    mixed = False
    dtype: Any = None
    kind: Any
    for operand in operands:
        if isinstance(operand, Variable):
            array, node = operand._array, operand._node
            if node is not None:
                needs |= bit
            parents.append(node)
        else:
            array = operand
            parents.append(None)
        arrays.append(array)
        bit <<= 1
        kind = type(array)
        if kind is np.ndarray:
            if dtype is None:
                dtype = array.dtype
            elif array.dtype is not dtype:
                mixed = True
        elif op.variadic or (kind is not float and kind is not int):
            mixed = True
    if mixed or (dtype is not _SINGLE and dtype is not _DOUBLE):
        arrays = _one_dtype(op, operands, arrays)
    tracked = needs != 0 and mode.grad
    residuals = None
    try:
        if op.keep:
            out, residuals = op.forward(*arrays, keep=tracked, **params)
        else:
            out = op.forward(*arrays, **params) if params else op.forward(*arrays)
    except REFUSALS as error:
        raise refusal(op.name, arrays, error) from error
    single = op.outputs == 1
    if single and type(out) is not np.ndarray:
        out = np.asarray(out)
    node = None
    if tracked:
        inputs, kept_out = _saved(op, operands, arrays, needs)
        if single:
            shape, kind = out.shape, out.dtype
        else:
            shape, kind = tuple([part.shape for part in out]), out[0].dtype
        kept = out if kept_out else None
        node = Node(op, tuple(parents), params, shape, kind, mode.scope, inputs, kept, residuals)
        if None in parents:
            _note_constants(node, operands)
        if mode.observer is not None:
            for part in (out,) if single else out:
                mode.observer.recorded(node, part)
    if single:
        made = _result._wrap(out, node)
        if needs == 0:
            _hand_on_origin(operands, made)
        if op.view:
            _share_memory(operands[0], (made,))
        return made
    several = _pick(node, out, mode)
    if op.view:
        _share_memory(operands[0], several)
    return several


def _hand_on_origin(operands: tuple[Any, ...], made: Any) -> None:
    """Note of what is made of constants that one of them was detached, and from what."""
    for operand in operands:
        if isinstance(operand, Variable) and hasattr(operand, "_origin"):
            made._origin = operand._origin


def _note_constants(node: Node, operands: tuple[Any, ...]) -> None:
    """Note what constants are numbers, and what they were detached from."""
    for place, operand in enumerate(operands):
        if isinstance(operand, (float, int)):
            node.figure = operand
            continue
        if isinstance(operand, Variable) and operand._node is None and hasattr(operand, "_origin"):
            node.detached = {**getattr(node, "detached", {}), place: operand._origin}


def _apply_plain(
    op: Op, operands: tuple[Any, ...], params: dict[str, Any], mode: Mode
) -> Variable | None:
    """:func:`apply` for one or two operands of one floating dtype; None if it is not so.

    Most operations are of this kind, and on the short rows of a recurrent step the engine costs
    more than the arithmetic. So what the general path does in loops and calls is written out:
    that halves its cost.
    """
    b: Any
    dtype: Any
    a = operands[0]
    x, p = (a._array, a._node) if isinstance(a, Variable) else (a, None)
    if len(operands) == 1:
        if type(x) is not np.ndarray or (x.dtype is not _SINGLE and x.dtype is not _DOUBLE):
            return None
        y = b = q = None
        try:
            out = op.forward(x, **params) if params else op.forward(x)
        except REFUSALS as error:
            raise refusal(op.name, [x], error) from error
    else:
        b = operands[1]
        y, q = (b._array, b._node) if isinstance(b, Variable) else (b, None)
        if type(x) is np.ndarray:
            dtype = x.dtype
            if type(y) is np.ndarray:
                if dtype is not y.dtype:
                    return None
            elif type(y) is not float and type(y) is not int:
                return None
        elif type(y) is not np.ndarray or (type(x) is not float and type(x) is not int):
            return None
        else:
            dtype = y.dtype
        if dtype is not _SINGLE and dtype is not _DOUBLE:
            return None
        try:
            out = op.forward(x, y, **params) if params else op.forward(x, y)
        except REFUSALS as error:
            raise refusal(op.name, [x, y], error) from error
    if type(out) is not np.ndarray:
        out = np.asarray(out)
    made: Variable = _new(_result)
    made._array = out
    made._node = None
    made._grad = None
    made._pin = None
    made._base = None
    made._name = ""
    made.version = 0
    needs = (p is not None) | (q is not None) << 1
    if needs == 0 or not mode.grad:
        _hand_on_origin(operands, made)
        return made
    plan = op.plans.get(needs) or op.plan(len(operands), needs)
    made._node = node = _new(Node)
    node.seq = next_seq()
    node.op = op
    node.parents = (p,) if len(operands) == 1 else (p, q)
    node.params = params
    node.shape = out.shape
    node.dtype = out.dtype
    node.scope = mode.scope
    if plan[0]:
        # A result's array is kept as it is; what may lie in a leaf's memory is guarded.
        first = second = None
        if 0 in plan[0]:
            inner = p is not None and p.op is not None and a._base is None
            first = x if inner else _kept(a, x)
        if 1 in plan[0]:
            inner = q is not None and q.op is not None and b._base is None
            second = y if inner else _kept(b, y)
        node.inputs = (first,) if len(operands) == 1 else (first, second)
        if len(operands) == 2 and needs != 3 and mode.scope.step is not None:
            node.constants = noted(node.parents, node.inputs)
    else:
        node.inputs = None
    if needs != 3 and len(operands) == 2:
        constant, place = (b, 1) if q is None else (a, 0)
        if type(constant) is float or type(constant) is int:
            node.figure = constant
        elif type(constant) is _result and hasattr(constant, "_origin"):
            node.detached = {place: constant._origin}
    node.out = out if plan[1] else None
    node.residuals = None
    node.role = None
    node.owner = None
    node.freed = False
    if mode.observer is not None:
        mode.observer.recorded(node, out)
    return made


def _kept(operand: Any, array: Any) -> Any:
    """What to save of an operand: guarded if it is a variable in a leaf's memory."""
    if isinstance(operand, Variable):
        node = operand._node
        if operand._base is not None or node is None or node.op is None:
            return guarded(operand)
    return array


def _saved(
    op: Op, operands: tuple[Any, ...], arrays: list[Any], needs: int
) -> tuple[tuple[Any, ...] | None, bool]:
    """The inputs that the rules of `op` ask for, None in place of others, and whether out is."""
    plan = op.plans.get(needs)
    if plan is None or (op.variadic and plan[0] and len(plan[0]) != len(arrays)):
        plan = op.plan(len(arrays), needs)
    if not plan[0]:
        return None, plan[1]
    saved: list[Any] = [None] * len(arrays)
    for i in plan[0]:
        operand, array = operands[i], arrays[i]
        # A cast operand is saved as cast: the rule must see what the forward saw.
        same = isinstance(operand, Variable) and operand._array is array
        saved[i] = _kept(operand, array) if same else array
    return tuple(saved), plan[1]


def _pick(node: Node | None, outputs: tuple[Array, ...], mode: Mode) -> tuple[Variable, ...]:
    """One variable per output of an operation that has several."""
    if node is None:
        return tuple([_result._wrap(part, None) for part in outputs])
    return tuple(
        [
            _result._wrap(
                part, Node(ITEM, (node,), {"index": index}, part.shape, part.dtype, mode.scope)
            )
            for index, part in enumerate(outputs)
        ]
    )


def _share_memory(source: Any, views: tuple[Variable, ...]) -> None:
    """Note that `views` lie in the memory of a leaf, if `source` is one or looks into one."""
    if isinstance(source, Variable):
        leaf = source._base
        if leaf is None and (source._node is None or source._node.op is None):
            leaf = source
        for view in views:
            view._base = leaf


def _one_dtype(op: Op, operands: tuple[Any, ...], arrays: list[Any]) -> list[Any]:
    """Operands as arrays (Python numbers stay) of one floating dtype, or a refusal.

    Of an operation that computes in floats, integers alone become float64, as NumPy has it for
    the default integers: in small ones differences wrap, and NumPy's choice is float16.
    """
    arrays = _admitted(op, operands, arrays)
    if not op.mixes:  # its integers are ids
        return arrays
    target = _common_dtype(op, operands, arrays)
    if target is None:
        if not op.floats:
            return arrays
        target = _DOUBLE
    if op.variadic:  # NumPy joins a number as an array of its own dtype
        arrays = [a if isinstance(a, np.ndarray) else array_of(op.name, a) for a in arrays]
    return [
        a.astype(target)
        if isinstance(a, np.ndarray) and a.dtype != target and (op.floats or a.dtype.kind != "b")
        else a
        for a in arrays
    ]


def _admitted(op: Op, operands: tuple[Any, ...], arrays: list[Any]) -> list[Any]:
    """What is no variable as an array of numbers that a tensor can hold, or a refusal."""
    # A complex variable is one of a gradient check by complex steps: others cannot be made.
    stepping = any(isinstance(o, Variable) and o._array.dtype.kind == "c" for o in operands)
    alone = not any(isinstance(a, np.ndarray) for a in arrays)
    made = list(arrays)
    for i, a in enumerate(arrays):
        if isinstance(operands[i], Variable) or (type(a) in (float, int, bool) and not alone):
            continue
        what = f"{op.name}: operand {op.operand(i)}"
        refuse_several(what, a)
        if isinstance(a, np.floating) and a.dtype not in FLOATS and not alone:
            made[i] = float(a)
        elif not (stepping and isinstance(a, (np.ndarray, np.generic)) and a.dtype.kind == "c"):
            made[i] = array_of(what, a)
    return made


def _common_dtype(op: Op, operands: tuple[Any, ...], arrays: list[Any]) -> Any:
    """The floating dtype that the others take: of operands with axes, else of variables.

    Python numbers and lists have none of their own.
    """
    floating = [
        (a.dtype, a.ndim > 0, isinstance(operand, Variable))
        for operand, a in zip(operands, arrays, strict=True)
        if isinstance(operand, (Variable, np.ndarray, np.generic))
        and isinstance(a, np.ndarray)
        and a.dtype.kind in "fc"
    ]
    kinds = (
        {dtype for dtype, axes, _ in floating if axes}
        or {dtype for dtype, _, variable in floating if variable}
        or {dtype for dtype, _, _ in floating}
    )
    if len(kinds) > 1:
        raise DtypeError(
            f"{op.name}: operands of different floating dtypes would mix silently",
            expected="one floating dtype",
            got=" and ".join(sorted(str(kind) for kind in kinds)),
            hint="convert one operand with .astype(...)",
        )
    return kinds.pop() if kinds else None
