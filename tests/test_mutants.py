"""The checker itself, tested: planted mistakes in real rules and kernels must be caught.

A mutant is one entry of a list below. ``rule``, ``joint`` and ``forward`` put a function in place
of the real one; ``source`` edits one fragment of a real function's text, so that kernels are
mutated as they stand. A fragment that no longer occurs exactly once fails loudly: update it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_seq.engine.op import Op
from tinygrad_seq.kernels.settings import config
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing import GradientError, RandomDraw, check_op


@pytest.fixture(autouse=True)
def numpys_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes are planted in the kernels that are plain functions."""
    monkeypatch.setattr(config, "_kernels", "numpy")


EXAMPLES = 40
"""How many examples a mutant may survive; most die at the first."""


class Mutant(NamedTuple):
    what: str
    op: str
    plant: Callable[[pytest.MonkeyPatch], Op]


def altered(name: str, **fields: Any) -> Op:
    """A copy of a registered record with other functions in it; the registry is left alone."""
    op = OPS[name]
    given: dict[str, Any] = {
        "forward": op.forward,
        "inputs": ("*" if op.variadic else "") + " ".join(op.inputs),
        "rules": [None if rule is None else rule.fn for rule in op.rules],
        "joint": None if op.joint is None else op.joint.fn,
    }
    given["defer"] = None if op.defer is None else (op.defer[0], op.defer[1].fn)
    for field in ("sample", "twin", "outputs", "keep", "view", "why", "analytic", "mixes"):
        given[field] = getattr(op, field)
    return Op(name, **{**given, **fields})


def rule(what: str, name: str, index: int, fn: Callable[..., Any]) -> Mutant:
    """Another function for the rule of one input."""

    def plant(patch: pytest.MonkeyPatch) -> Op:
        rules = [None if r is None else r.fn for r in OPS[name].rules]
        rules[index] = fn
        return altered(name, rules=rules, defer=None)

    return Mutant(what, name, plant)


def joint(what: str, name: str, fn: Callable[..., Any]) -> Mutant:
    """Another function for the rule of all inputs."""
    return Mutant(what, name, lambda patch: altered(name, joint=fn))


def record(what: str, name: str, **fields: Any) -> Mutant:
    """Any other field of the record."""
    return Mutant(what, name, lambda patch: altered(name, **fields))


def source(what: str, name: str, place: str, old: str, new: str, user: str = "") -> Mutant:
    """One fragment of the function at ``module:function`` replaced, where module `user` sees it."""
    module_name, function = (f"tinygrad_seq.{place}").split(":")

    def plant(patch: pytest.MonkeyPatch) -> Op:
        module = importlib.import_module(module_name)
        text = inspect.getsource(getattr(module, function))
        assert text.count(old) == 1, f"{place} holds {old!r} {text.count(old)} times: update this"
        space = dict(vars(module))
        exec(text.replace(old, new), space)
        target = importlib.import_module(f"tinygrad_seq.{user}") if user else module
        real = getattr(module, function)
        patch.setattr(target, function, space[function])
        rule = OPS[name].joint
        if rule is not None and hasattr(rule.fn, "kernel"):  # of a fused sequence
            patch.setattr(rule.fn, "kernel", _with(rule.fn.kernel, real, space[function]))
        fields = {"forward": OPS[name].forward, **_rules_of(OPS[name])}
        return altered(name, **{k: space[function] for k, fn in fields.items() if fn is real})

    return Mutant(what, name, plant)


def _with(kernel: Any, real: Any, planted: Any) -> Any:
    """A kernel with one of its functions replaced, bare or with its options bound."""
    changed = {}
    for field, function in kernel._asdict().items():
        if function is real:
            changed[field] = planted
        elif isinstance(function, functools.partial) and function.func is real:
            changed[field] = functools.partial(planted, **function.keywords)
    return kernel._replace(**changed)


def _rules_of(op: Op) -> dict[str, Any]:
    return {} if op.joint is None else {"joint": op.joint.fn}


def _returned_memory(g: Any, b: Any) -> Any:
    """Right at b = 1 only, but above all: the operand itself."""
    return b


def _writes_cotangent(g: Any, out: Any) -> Any:
    g = np.asarray(g)
    g *= 1 - out * out
    return g.copy()


def _writes_out(g: Any, out: Any) -> Any:
    grown = np.asarray(out)
    result = g * grown
    grown += 0.5
    return result


def _writes_operand(x: Any, axis: int) -> Any:
    x -= np.max(x.real, axis=axis, keepdims=True)
    e = np.exp(x)
    return e / np.sum(e, axis=axis, keepdims=True)


def _swapped_split(g: Any, points: Any, axis: int) -> Any:
    parts = np.split(g, points, axis)
    if len(parts) > 1 and parts[0].shape == parts[-1].shape:
        parts[0], parts[-1] = parts[-1], parts[0]
    return parts


def _same_memory_twice(g: Any, axis: int) -> Any:
    part = np.array(np.squeeze(np.split(g, g.shape[axis], axis)[0], axis))
    return [part] * g.shape[axis]


RULES = [
    rule("wrong sign", "subtract", 1, lambda g: g),
    rule("dropped term", "divide", 1, lambda g, b: -g / b),
    rule("numerator for quotient", "divide", 1, lambda g, a, b: -g * a / b),
    rule("swapped operands", "multiply", 0, lambda g, a: g * a),
    rule("doubled", "add", 0, lambda g: 2 * g),
    rule("off by a factor", "square", 0, lambda g, x: g * x),
    rule("input for output", "exp", 0, lambda g, x: g * x),
    rule("missing one half", "sqrt", 0, lambda g, out: g / out),
    rule("wrong sign", "cos", 0, lambda g, x: g * np.sin(x)),
    rule("exponent not lowered", "power", 0, lambda g, a, b: g * b * a**b),
    rule("logarithm of the exponent", "power", 1, lambda g, b, out: g * out * np.log(np.abs(b))),
    rule("slope of the input", "tanh", 0, lambda g, x: g * (1 - x * x)),
    rule("dropped 1 - s", "sigmoid", 0, lambda g, out: g * out),
    rule("zero gradient", "relu", 0, lambda g, out: g * 0.0),
    rule("kept where negative", "relu", 0, lambda g, out: g * (np.asarray(out) <= 0)),
    rule("sign forgotten", "absolute", 0, lambda g: g * 1.0),
    rule("loser takes all", "maximum", 0, lambda g, a, b: g * (np.asarray(a) < np.asarray(b))),
    rule("branches swapped", "where", 0, lambda g, condition: np.where(condition, 0.0, g)),
    rule("bounds ignored", "clip", 0, lambda g: g * 1.0),
    rule("no coupling along the axis", "softmax", 0, lambda g, out: g * out * (1 - out)),
    rule("sum over the wrong axis", "softmax", 0, lambda g, out: out * (g - np.sum(g * out))),
    rule("no coupling along the axis", "masked_softmax", 0, lambda g, out: g * out * (1 - out)),
    rule("probabilities forgotten", "log_softmax", 0, lambda g, axis: (
        g - np.sum(g, axis=axis, keepdims=True)
    )),
    rule("missing 1 / n", "mean", 0, lambda g, shape, axis, keepdims: (
        OPS["sum"].rules[0].fn(g, shape, axis, keepdims)
    )),
    rule("1 / n of the wrong n", "mean", 0, lambda g, shape, axis, keepdims: (
        OPS["mean"].rules[0].fn(g, shape, axis, keepdims) / max(len(shape), 1)
    )),
    rule("not reversed", "cumsum", 0, lambda g, axis: np.cumsum(g, axis=axis)),
    rule("every tie wins all", "max", 0, lambda g, x, axis: g * np.ones_like(np.asarray(x))),
    rule("axes not inverted", "transpose", 0, lambda g, axes: np.transpose(g, axes)),
    rule("flipped twice", "flip", 0, lambda g: g),
    rule("off-by-one axis", "flip", 0, lambda g, axis: np.flip(g, (axis + 1) % g.ndim)),
    rule("transposed weight", "matmul", 0, lambda g, b: np.matmul(g, b)),
    rule("dropped transpose", "matmul", 1, lambda g, a: np.matmul(a, g)),
    rule("bias of one row", "linear", 2, lambda g: g.reshape(-1, g.shape[-1])[0].copy()),
    rule("last write wins", "getitem", 0, lambda g, shape, index: _assigned(g, shape, index)),
    rule("last write wins", "take", 0, lambda g, shape, ids: _assigned(g, shape, ids)),
    rule("neighbour's row", "take", 0, lambda g, shape, ids: (
        np.roll(OPS["take"].rules[0].fn(g, shape, ids), 1, axis=0)
    )),
    rule("broadcast not undone", "broadcast_to", 0, lambda g, shape: (
        np.broadcast_to(g.reshape(-1)[0], shape).copy()
    )),
    rule("too small a shape", "sum", 0, lambda g: np.sum(g)),
    rule("always double precision", "exp", 0, lambda g, out: np.float64(1) * g * out),
    rule("always single precision", "exp", 0, lambda g, out: (g * out).astype(np.float32)),
    rule("returns an operand", "multiply", 0, _returned_memory),
    rule("writes to its cotangent", "tanh", 0, _writes_cotangent),
    rule("writes to the output", "exp", 0, _writes_out),
    rule("depends on the cotangent's sign", "negative", 0, lambda g: -np.abs(g)),
    rule("constant term", "sin", 0, lambda g, x: g * np.cos(x) + 1e-3),
    rule("drops the graph", "sin", 0, lambda g, x: g * np.cos(getattr(x, "_array", x))),
]  # fmt: skip

JOINTS = [
    joint("parts swapped", "concatenate", _swapped_split),
    joint("first part for all", "stack", _same_memory_twice),
    joint("not contracted with the others", "einsum", lambda g, xs: [np.sum(g) + x for x in xs]),
    joint("not weighted", "cross_entropy", lambda g, residuals: (residuals + 0.0,)),
    joint("saved residuals returned", "cross_entropy", lambda g, residuals: (residuals,)),
    source("one-hot row forgotten", "cross_entropy", "ops.loss:_cross_entropy",
           "exponentials[np.arange(len(picks)), picks] -= weights", "pass"),
]  # fmt: skip

RECORDS = [
    record("wrong value", "tanh", forward=np.sin),
    record("writes to its operand", "softmax", forward=_writes_operand),
    record("hidden view", "reshape", view=False),
    record("double precision value", "exp", forward=lambda x: np.exp(x) * np.ones(1)[0:1].sum()),
    record("deferred sum loses a use", "matmul", defer=(1, lambda gs, a: 0.0 * (
        np.swapaxes(a[0], -1, -2) @ gs[0]
    ))),
    record("twin of another", "rnn_tanh_sequence", twin=OPS["rnn_relu_sequence"].twin),
]  # fmt: skip

RNN, LSTM = "kernels.rnn:rnn_back", "kernels.lstm:lstm_back"
GRU, BEFORE = "kernels.gru:gru_after_back", "kernels.gru:gru_before_back"
SLOPES, BLEND = "kernels.gru:_gate_slopes", "kernels.gru:_blend"
RUN, SWEEP = "kernels.sequence:_run_group", "kernels.sequence:_sweep_back"
PROJECTION = "kernels.projection:projection_gradients"
BEFORE_STEP = "kernels.sequence:_states_before"
USER = "kernels.sequence"
KERNELS = [
    source("time runs forward", "rnn_tanh_sequence", RNN,
           "for k in reversed(at)", "for k in at"),
    source("step 0 skipped", "rnn_tanh_sequence", RNN,
           "for k in reversed(at)", "for k in reversed(at[1:])"),
    source("last state's cotangent lost", "rnn_tanh_sequence", "kernels.sequence:run_backward",
           "plan.sorted(cotangent)", "plan.sorted(cotangent * 0)", "ops.sequence"),
    source("weight not transposed", "rnn_tanh_sequence", "kernels.products:Product",
           "cut.transpose(1, 2, 0) if back", "cut.swapaxes(0, 1) if back", USER),
    source("slope of relu everywhere", "rnn_relu_sequence", RNN,
           "np.copyto(d, dh, where=new > 0)", "np.copyto(d, dh)"),
    source("writes to the last cotangent", "rnn_tanh_sequence", "kernels.sequence:run_backward",
           "plan.sorted(cotangent)", "cotangent", "ops.sequence"),
    source("h and c swapped", "lstm_sequence", LSTM,
           "dh, dc = dstates", "dc, dh = dstates"),
    source("wrong previous cell", "lstm_sequence", LSTM,
           "extras[0][k - at.step : k - at.step + len(dh)]", "extras[0][rows]"),
    source("c0 at every step", "lstm_sequence", LSTM,
           "starts[1] if k == at.start else", "starts[1] if k is not None else"),
    source("forget gate missing in the carry", "lstm_sequence", LSTM,
           "np.multiply(dc, f, out=dc)", "pass"),
    source("gate slices permuted", "lstm_sequence", LSTM,
           "(i, f, o, g), (di, df, do, dg)", "(i, f, o, g), (di, do, df, dg)"),
    source("candidate slope of a logistic", "lstm_sequence", LSTM,
           "np.multiply(g, g, out=dg)", "np.multiply(g, 1, out=dg)"),
    source("reset gate's slope without h W_hn", "gru_sequence", GRU,
           "np.multiply(dn, extras[0][rows], out=scratch)", "np.copyto(scratch, dn)"),
    source("candidate's cotangent not reset", "gru_sequence", GRU,
           "np.multiply(dn, r, out=through[2])", "np.copyto(through[2], dn)"),
    source("nothing carried past the update gate", "gru_sequence", GRU,
           "dh += kept", "pass"),
    source("update gate's slope from the new state", "gru_sequence", SLOPES,
           "np.subtract(before, n, out=scratch)", "np.copyto(scratch, before)"),
    source("new and old swapped", "gru_sequence", BLEND,
           "np.subtract(h, n, out=out)", "np.subtract(n, h, out=out)"),
    source("b_hn without its reset gate", "gru_sequence", "kernels.gru:_after_gradients",
           "dz[2] * z[0]", "dz[2]"),
    source("r h for h", "gru_reset_before_sequence", BEFORE,
           "np.multiply(dinner, before, out=scratch)", "np.multiply(dinner, y[rows], out=scratch)"),
    source("candidate's path not reset", "gru_reset_before_sequence", BEFORE,
           "dinner *= r", "pass"),
    source("candidate's columns from h", "gru_reset_before_sequence",
           "kernels.gru:_before_gradients",
           "product_gradient(extras[0], dz[2:])", "product_gradient(before, dz[2:])"),
    source("gradient crosses a reset", "lstm_sequence", SWEEP,
           "np.copyto(d, 0, where=segment.fresh[first:stop])", "pass"),
    source("reset of h only", "lstm_sequence", RUN,
           "for state in now:\n", "for state in now[:1]:\n"),
    source("last state of the longest row only", "rnn_tanh_sequence", RUN,
           "stop = min(last, segment.rows)", "stop = min(last, 1)"),
    source("rows not put back in order", "rnn_tanh_sequence", "kernels.sequence:run_forward",
           "plan.unsorted(state)", "state", "ops.sequence"),
    source("reverse resets a step late", "rnn_tanh_sequence", "kernels.plan:_fresh",
           "after = when + 1", "after = when"),
    source("padding run in reverse", "rnn_tanh_sequence", "kernels.plan:make_plan",
           "longest - 1 - clock if reverse", "steps - 1 - clock if reverse", "ops.sequence"),
    source("input weight transposed away", "lstm_sequence", "kernels.projection:input_gradient",
           "weight.T", "weight.T * 2", USER),
    source("bias gradient averaged", "lstm_sequence", PROJECTION,
           "both[-1]", "both[-1] / len(x)", USER),
    source("off-by-one step", "rnn_tanh_sequence", BEFORE_STEP,
           "run.y[low : high - rows]", "run.y[low + rows : high]"),
    source("h0 left out", "rnn_tanh_sequence", BEFORE_STEP,
           "= start[0]", "= 0 * start[0]"),
    source("forward forgets the bias", "lstm_sequence", "kernels.projection:with_ones",
           "wide[:, -1] = 1", "wide[:, -1] = 0"),
    source("row gradients assigned, not added", "take", "kernels.rows:add_rows",
           "summed: NDArray[Any] = matmul(onehot, values)",
           "summed = np.zeros((rows, values.shape[1]), values.dtype); summed[ids] = values",
           "ops.indexing"),
]  # fmt: skip

MUTANTS = [*RULES, *JOINTS, *RECORDS, *KERNELS]


def _assigned(g: Any, shape: Any, index: Any) -> Any:
    """Assignment where addition is due: repeated entries keep the last cotangent only."""
    g = getattr(g, "_array", g)
    out = np.zeros(shape, g.dtype)
    out[index] = g
    return out


def _examples(name: str) -> list[tuple[Any, Any]]:
    sample = OPS[name].sample
    assert sample is not None
    return [sample(RandomDraw(np.random.default_rng(seed))) for seed in range(EXAMPLES)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.op}: {m.what}")
def test_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = _examples(mutant.op)
    op = mutant.plant(monkeypatch)
    for operands, params in examples:
        try:
            check_op(op, operands, params)
        except GradientError:
            return
    pytest.fail(f"{mutant.op} with {mutant.what} passed {EXAMPLES} examples")


@pytest.mark.parametrize("name", sorted({mutant.op for mutant in MUTANTS}))
def test_the_unaltered_operation_passes_the_same_examples(name: str) -> None:
    for operands, params in _examples(name)[:10]:
        check_op(altered(name), operands, params)


def test_there_are_enough_mutants_and_no_two_alike() -> None:
    names = [(mutant.op, mutant.what) for mutant in MUTANTS]
    assert len(names) == len(set(names)) >= 20


def test_a_mutant_of_text_that_is_gone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = source("gone", "take", "kernels.rows:add_rows", "no such text", "pass")
    with pytest.raises(AssertionError, match="update this"):
        gone.plant(monkeypatch)
