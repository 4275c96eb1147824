"""Recording: run an operation on the arrays of its operands and note how to go back.

The tape is the graph itself: each result holds its node, each node its parents.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_seq.engine.mode import Mode, current_mode
from tinygrad_seq.engine.node import Array, Node, Variable, guarded
from tinygrad_seq.engine.op import Op
from tinygrad_seq.errors import DtypeError

__all__ = ["ITEM", "apply", "bind_result_type", "lift"]

_result: type[Variable] = Variable


def bind_result_type(kind: type[Variable]) -> None:
    """Say which kind of Variable operations return (the Tensor class, once, at import)."""
    global _result
    _result = kind


ITEM = Op("item", lambda outputs, index: outputs[index], "outputs", [None])
"""Picks one of several outputs; the backward walk handles it itself."""


def lift(array: Any, node: Node | None) -> Any:
    """A variable standing for a saved array, so that rules on it are recorded in turn."""
    return array if node is None else _result._wrap(array, node)


def apply(op: Op, operands: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Run `op` and, if any operand requires gradients, record it.

    Operands are variables, arrays or Python numbers. Python numbers, zero-dimensional and
    integer operands take the floating dtype of the others; two different floating dtypes
    are refused rather than mixed.
    """
    mode = current_mode.get()
    arrays: list[Any] = []
    tracked = mixed = False
    dtype: Any = None
    for operand in operands:
        if isinstance(operand, Variable):
            array = operand._data
            if operand._node is not None:
                tracked = True
            if array.dtype is not dtype:
                mixed = dtype is not None or mixed
                dtype = array.dtype
            arrays.append(array)
        else:
            arrays.append(operand)
            if type(operand) is not float and type(operand) is not int:
                mixed = True
    if mixed and op.mixes:
        arrays = _one_dtype(op, arrays)
    if mode.composed and op.twin is not None:
        return op.twin(*operands, **params)
    tracked = tracked and mode.grad
    residuals = None
    if op.keep:
        out, residuals = op.forward(*arrays, keep=tracked, **params)
    else:
        out = op.forward(*arrays, **params)
    if op.outputs == 1 and type(out) is not np.ndarray:
        out = np.asarray(out)
    node = _record(op, operands, arrays, params, out, residuals, mode) if tracked else None
    if op.outputs == 1:
        made = _result._wrap(out, node)
        if op.view:
            _share_memory(operands[0], (made,))
        return made
    several = _pick(node, out, mode)
    if op.view:
        _share_memory(operands[0], several)
    return several


def _record(
    op: Op,
    operands: tuple[Any, ...],
    arrays: list[Any],
    params: dict[str, Any],
    out: Any,
    residuals: Any,
    mode: Mode,
) -> Node:
    """Make the node of an operation that was just run, saving what its rules ask for."""
    parents = tuple(
        [operand._node if isinstance(operand, Variable) else None for operand in operands]
    )
    needs = tuple([parent is not None for parent in parents])
    plan = op.plans.get(needs) or op.plan(needs)
    single = op.outputs == 1
    shape = out.shape if single else tuple([part.shape for part in out])
    node = Node(op, parents, params, shape, out.dtype if single else out[0].dtype, mode.scope)
    if plan[0]:
        saved: list[Any] = [None] * len(arrays)
        for i in plan[0]:
            operand, array = operands[i], arrays[i]
            # A cast operand is saved as cast: the rule must see what the forward saw.
            same = isinstance(operand, Variable) and operand._data is array
            saved[i] = guarded(operand) if same else array
        node.inputs = tuple(saved)
    if plan[1]:
        node.out = out
    node.residuals = residuals
    if mode.observer is not None:
        for part in (out,) if single else out:
            mode.observer.recorded(node, part)
    return node


def _pick(node: Node | None, outputs: tuple[Array, ...], mode: Mode) -> tuple[Variable, ...]:
    """One variable per output of an operation that has several."""
    picked = []
    for index, part in enumerate(outputs):
        item = None
        if node is not None:
            item = Node(ITEM, (node,), {"index": index}, part.shape, part.dtype, mode.scope)
        picked.append(_result._wrap(part, item))
    return tuple(picked)


def _share_memory(source: Any, views: tuple[Variable, ...]) -> None:
    """Note that `views` lie in the memory of a leaf, if `source` is one or looks into one."""
    if isinstance(source, Variable):
        leaf = source._base
        if leaf is None and (source._node is None or source._node.op is None):
            leaf = source
        for view in views:
            view._base = leaf


def _one_dtype(op: Op, arrays: list[Any]) -> list[Any]:
    """Bring operands to one floating dtype, or refuse."""
    arrays = [a if type(a) in (np.ndarray, float, int, bool) else np.asarray(a) for a in arrays]
    kinds = {a.dtype for a in arrays if isinstance(a, np.ndarray) and a.dtype.kind in "fc"}
    strong = {a.dtype for a in arrays if isinstance(a, np.ndarray) and a.ndim and a.dtype in kinds}
    if len(strong or kinds) > 1:
        raise DtypeError(
            f"{op.name}: operands of different floating dtypes would mix silently",
            expected="one floating dtype",
            got=" and ".join(sorted(str(kind) for kind in strong or kinds)),
            hint="convert one operand with .astype(...)",
        )
    if not kinds:
        return arrays
    (target,) = strong or kinds
    return [
        a.astype(target)
        if isinstance(a, np.ndarray) and a.dtype != target and a.dtype.kind != "b"
        else a
        for a in arrays
    ]
