"""Recurrent sequences: a step unrolled, and fused operations bound to that as their twin.

A fused sequence runs all steps in one kernel. Its twin, the step run T times, is its oracle, its
path under ``create_graph=True`` and what drawings expand.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_seq.checks import array_of, count, flag, integers_of, truths_of
from tinygrad_seq.engine.mode import current_mode, scope
from tinygrad_seq.engine.op import Op
from tinygrad_seq.engine.spread import Spread
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import DtypeError, IndexRangeError, ShapeError
from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.kernels.plan import Plan, make_plan
from tinygrad_seq.kernels.rows import table_of
from tinygrad_seq.kernels.sequence import run_backward, run_forward
from tinygrad_seq.ops.indexing import TAKE, where
from tinygrad_seq.ops.join import stack
from tinygrad_seq.ops.registry import (
    check_indices,
    constant,
    operation,
    record_several,
    shape_of,
    values_of,
)
from tinygrad_seq.ops.samples import REAL, Draw

if TYPE_CHECKING:
    from tinygrad_seq.engine.node import Array
    from tinygrad_seq.tensor import Tensor

__all__ = ["run_sequence", "run_steps", "sequence_op", "sequence_options", "unroll"]

_IN_CACHE = 1 << 17
"""Entries that the steps run at a time may fill."""

Step = Callable[..., tuple[Any, Sequence[Any]]]
"""``step(x_t, *states) -> (output, states)``."""


def unroll(
    step: Step,
    x: Any,
    states: Sequence[Any],
    lengths: Array | None = None,
    reset: Array | None = None,
    reverse: bool = False,
) -> tuple[Tensor, ...]:
    """Run ``step(x_t, *states) -> (output, states)`` over all T steps, one scope per step.

    Steps are numbered from the ``start`` of the scope in force.

    Past its length a row keeps its state, and its output is 0; padding is replaced by 0 before
    it is read, so that no garbage in it can matter. A row that starts anew loses its state, and
    with it the gradient.

    Returns
    -------
    tuple
        The output of every step, stacked (T, N, H), and the last states.
    """
    times = range(len(x))[:: -1 if reverse else 1]
    outputs, states = run_steps(step, x, states, times, lengths, reset, reverse)
    return (stack(outputs[:: -1 if reverse else 1]), *states)


def run_steps(
    step: Step,
    x: Any,
    states: Sequence[Any],
    times: Iterable[int],
    lengths: Array | None = None,
    reset: Array | None = None,
    reverse: bool = False,
) -> tuple[list[Any], Sequence[Any]]:
    """Some steps of :func:`unroll`: their outputs in the order of `times`, the last states."""
    outputs = []
    start = current_mode.get().scope.start
    for t in times:
        with scope(step=start + t):
            fresh = _fresh(t, len(x), lengths, reset, reverse)
            if fresh is not None:
                states = [where(fresh, 0.0, state) for state in states]
            if lengths is None or t < lengths.min():
                output, states = step(x[t], *states)
            else:
                valid = (t < lengths)[:, None]
                output, new = step(_blanked(x[t], valid), *states)
                output = where(valid, output, 0.0)
                states = [where(valid, a, b) for a, b in zip(new, states, strict=True)]
            outputs.append(output)
    return outputs, states


def _blanked(x: Any, valid: Array) -> Any:
    """One step's input with its padding replaced by 0 (token 0 for tokens)."""
    if not hasattr(x, "node") and np.asarray(x).dtype.kind in "iu":
        return np.where(valid[:, 0], x, 0)
    return where(valid, x, 0.0)


def _fresh(
    t: int, steps: int, lengths: Array | None, reset: Array | None, reverse: bool
) -> Array | None:
    """(N, 1): whose state is zeroed before step t is run, None if nobody's."""
    start = t + 1 if reverse else t  # a run from the right crosses the start of step t + 1
    if reset is None or start >= steps:
        return None
    fresh: Array = reset[start] if lengths is None else reset[start] & (start < lengths)
    return fresh[:, None] if fresh.any() else None


def sequence_options(
    owner: str,
    steps: int,
    batch: int,
    lengths: Any = None,
    reset: Any = None,
    reverse: bool = False,
    checkpoint: int | None = None,
) -> dict[str, Any]:
    """Check how a batch of sequences is to be run; only what differs from the plain run.

    Raises
    ------
    ShapeError, DtypeError, IndexRangeError, ConfigError
        For lengths that are not N integers in 0 .. T, a reset that is not N or (T, N)
        booleans, and a checkpoint that is not a positive number of steps.
    """
    found: dict[str, Any] = {}
    if lengths is not None:
        array = integers_of(f"{owner}: lengths", values_of(lengths))
        if array.shape != (batch,):
            raise ShapeError(
                f"{owner}: lengths",
                expected=f"one per row, ({batch},)",
                got=array.shape,
                hint="lengths=[T, ...]: the valid steps of every sequence of the batch",
            )
        if array.min() < 0 or array.max() > steps:
            raise IndexRangeError(
                f"{owner}: lengths",
                expected=f"0 <= length <= {steps}",
                got=f"{array.min()} to {array.max()}",
                hint="a length counts the valid steps of a row, at its beginning",
            )
        found["lengths"] = array.astype(np.intp)
    if reset is not None:
        array = truths_of(f"{owner}: reset", values_of(reset)).copy()
        if array.shape == (batch,):
            array = np.concatenate([array[None], np.zeros((steps - 1, batch), bool)])
        if array.shape != (steps, batch):
            raise ShapeError(
                f"{owner}: reset",
                expected=f"one per row, ({batch},), or per step and row, ({steps}, {batch})",
                got=array.shape,
            )
        found["reset"] = array
    if checkpoint is not None:
        found["every"] = count(1)(f"{owner}: checkpoint", checkpoint)
    if flag(f"{owner}: reverse", reverse):
        found["reverse"] = True
    return found


class _Backward:
    """The gradient rule of a fused sequence: it names what it needs as written rules do."""

    def __init__(self, kernel: Kernel, weights: Sequence[str]) -> None:
        self.kernel = kernel
        names = ["g", "x", *weights, "residuals", "needs"]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])

    def __call__(self, g: Any, x: Any, *rest: Any) -> Any:
        *weights, residuals, needs = rest
        dx, *others = run_backward(self.kernel, g, x, weights, residuals, needs[0])
        return Spread(*dx) if type(dx) is tuple else dx, *others


def sequence_op(
    name: str,
    kernel: Kernel,
    step: Callable[..., Sequence[Any]],
    *,
    states: str = "h0",
    weights: str = "weight_xh weight_hh bias",
    blocks: int = 1,
    scale: float = 1.0,
    bias: str = REAL,
    kink: str = "",
) -> Op:
    """Bind a kernel to the step that is its composed twin: an operation over whole sequences.

    Parameters
    ----------
    name : str
        Of the operation.
    kernel : Kernel
        Of :mod:`tinygrad_seq.kernels`.
    step : callable
        ``step(x_t, *states, *weights) -> states``; the first state is the output.
    states, weights : str
        Names of the operands after x, separated by spaces. The first three weights are W_xh
        (I, blocks * H), W_hh (H, blocks * H) and b (blocks * H,); others are (H,).
    blocks : int
        Blocks of H columns in the weights: gates.
    scale, bias : float, str
        The domain that property tests draw from: what shrinks the weights, the values of b.
    kink : str
        As for :class:`~tinygrad_seq.engine.op.Op`; such a forward is not analytic.
    """
    parts, matrices = states.split(), weights.split()

    def forward(x: Any, *operands: Any, keep: bool = False, **options: Any) -> Any:
        x, *values = _alike(x, *operands)
        initial, given = values[: len(parts)], values[len(parts) :]
        ids = options.pop("ids", None)
        if not keep:  # a few steps at a time, so that what they fill stays in cache
            width = np.shape(given[0])[-1] * x.shape[1]
            options.setdefault("every", max(_IN_CACHE // max(width, 1), 1))
        plan = _plan(x, kernel, options)
        return run_forward(backward.kernel, x, initial, given, plan, keep, ids)

    def twin(
        x: Any, *operands: Any, every: int | None = None, ids: Any = None, **options: Any
    ) -> Any:
        def one(x_t: Any, *now: Any) -> tuple[Any, Sequence[Any]]:
            new = step(x_t, *now, *operands[len(parts) :])
            return new[0], new

        # It has nothing to recompute, and takes rows that are alike as they come.
        return unroll(one, x, operands[: len(parts)], **options)

    twin.__doc__ = f"Over a whole sequence: {step.__doc__ or name}"

    def sample(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
        steps, batch = draw.integer(2, 4), draw.integer(1, 3)
        size, hidden = draw.integer(1, 3), draw.integer(1, 3)
        if draw.choice([False, True]):
            x: Any = draw.array((steps, batch, size))
        else:
            picks = [draw.integer(0, size - 1) for _ in range(steps * batch)]
            x = np.array(picks, int).reshape(steps, batch)
        initial = [draw.array((batch, hidden)) for _ in parts]
        drawn = [scale * draw.array((rows, blocks * hidden)) for rows in (size, hidden)]
        drawn.append(draw.array((blocks * hidden,), bias))
        drawn += [draw.array((hidden,)) for _ in matrices[3:]]
        options = _draw_options(draw, steps, batch) if draw.choice([False, True]) else {}
        return (x, *initial, *drawn), options

    backward = _Backward(kernel, matrices)
    return operation(
        name,
        forward,
        f"x {states} {weights}",
        joint=backward,
        sample=sample,
        twin=twin,
        outputs=1 + len(parts),
        keep=True,
        analytic=not kink,
        kink=kink,
        mixes=False,
    )


def _alike(*operands: Any) -> Sequence[Any]:
    """All floats complex, if one is: as where the complex step is taken in that one alone."""
    if not any(operand.dtype.kind == "c" for operand in operands):
        return operands
    kind = np.result_type(*(operand for operand in operands if operand.dtype.kind not in "iu"))
    return [x if x.dtype.kind in "iu" else x.astype(kind) for x in operands]


def _plan(x: Any, kernel: Kernel, options: dict[str, Any]) -> Plan:
    if kernel.in_place:  # nothing to recompute: the activations are the outputs
        options.pop("every", None)
    return make_plan(x.shape[0], x.shape[1], **options)


def _draw_options(draw: Draw, steps: int, batch: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.choice([False, True]):
        options["lengths"] = np.array([draw.integer(0, steps) for _ in range(batch)])
    if draw.choice([False, True]):
        marks = [draw.choice([False, True]) for _ in range(steps * batch)]
        options["reset"] = np.array(marks).reshape(steps, batch)
    if draw.choice([False, True]):
        options["reverse"] = True
    if draw.choice([False, True]):
        options["every"] = draw.integer(1, steps)
    return options


def run_sequence(op: Op, operands: Sequence[Any], **options: Any) -> tuple[Tensor, ...]:
    """Run a fused sequence: ``y (T, N, H)`` and the last states; `options` as for its twin."""
    operands = _checked(op, operands)
    given: dict[str, Any] = {}
    if any(value is not None and value is not False for value in options.values()):
        steps, batch = shape_of(operands[0])[:2]
        given = sequence_options(op.name, steps, batch, **options)
    ids = picked_by(operands[0])
    if ids is not None:
        given["ids"] = ids
    return record_several(op, operands, given)


def picked_by(x: Any) -> Array | None:
    """The ids by which ``take`` picked the vectors of x, one for each; None if it did not."""
    if not isinstance(x, Variable):
        return None
    node = x._node
    ids = getattr(x, "_ids", None) if node is None else node.params.get("ids")
    if (node is not None and node.op is not TAKE) or ids is None or ids.shape != x.shape[:-1]:
        return None
    if node is None:  # whoever holds a constant may have written into it
        flat = x._array.reshape(ids.size, x.shape[-1])
        if not np.array_equal(table_of(flat, ids.reshape(-1))[ids], x._array):
            return None
    found: Array = ids
    return found


def _checked(op: Op, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The operands, tokens copied, once dtypes and sizes are known to fit each other."""
    names = op.inputs
    operands = tuple(
        x if isinstance(x, (Variable, np.ndarray)) else array_of(f"{op.name}: {name}", x)
        for name, x in zip(names, operands, strict=True)
    )
    shapes = dict(zip(names, (shape_of(operand) for operand in operands), strict=True))
    x = constant(operands[0])
    tokens = x.dtype.kind in "iu"
    steps_batch = x.shape[:2]
    hidden, wide = (*shapes["weight_hh"], 0, 0)[:2]
    size = (*shapes["weight_xh"], 0)[0]
    states = op.inputs[1 : op.outputs]
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(names, (hidden,))
    wanted |= dict.fromkeys(states, (*steps_batch[1:], hidden))
    wanted |= {"x": steps_batch if tokens else (*steps_batch, size), "bias": (wide,)}
    wanted |= {"weight_xh": (size, wide), "weight_hh": (hidden, wide)}
    for name, shape in shapes.items():
        if shape != wanted[name] or (name == "x" and len(steps_batch) < 2):
            raise ShapeError(
                f"{op.name}: {name} does not fit the other operands",
                expected=wanted[name] if len(steps_batch) == 2 else "(T, N, I), or tokens (T, N)",
                got=shape,
            )
    floats = operands[1:] if tokens else operands
    dtypes = {constant(operand).dtype for operand in floats if hasattr(operand, "dtype")}
    if any(d.kind not in "fc" for d in dtypes) or len({d for d in dtypes if d.kind == "f"}) > 1:
        raise DtypeError(
            f"{op.name}: operands",
            expected="one floating dtype for inputs, states and weights; x may be tokens",
            got=", ".join(sorted(map(str, dtypes))),
            hint="convert the inputs or the states with .astype",
        )
    if tokens:
        return (check_indices(x, size, f"{op.name}: token"), *operands[1:])
    return operands
