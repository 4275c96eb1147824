"""Agreement with PyTorch: value and gradient of every operation that has a counterpart there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.engine.tape import apply
from tinygrad_seq.ops import OPS
from tinygrad_seq.testing import RandomDraw

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make parity)")
F = torch.nn.functional

EXAMPLES = 25
TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}
"""Largest error relative to the largest entry (or to 1)."""


def axes(value: Any) -> Any:
    return () if value is None else value


def reduced(fn, x, axis, keepdims):
    return fn(x, dim=tuple(range(x.ndim)) if axis is None else axis, keepdim=keepdims)


def ids(value: Any) -> Any:
    return torch.from_numpy(np.asarray(value, np.int64))


def index(value: Any) -> Any:
    parts = value if isinstance(value, tuple) else (value,)
    return tuple(torch.from_numpy(p.copy()) if isinstance(p, np.ndarray) else p for p in parts)


def sliced(x, value):
    """PyTorch has no negative strides: such a slice is taken as a list of positions."""
    if isinstance(value, slice) and (value.step or 1) < 0:
        value = np.arange(x.shape[0])[value]
    return x[index(value)]


def put_add(g, value, into):
    if isinstance(value, slice) and (value.step or 1) < 0:
        value = np.arange(into[0])[value]
    zero = torch.zeros(into, dtype=g.dtype)
    if any(isinstance(p, np.ndarray) for p in (value if isinstance(value, tuple) else (value,))):
        return zero.index_put(index(value), g, accumulate=True)
    held = zero.clone()
    held[index(value)] = g
    return held


def cross_entropy(z, targets, ignore_index, reduction):
    flat = F.cross_entropy(
        z.reshape(-1, z.shape[-1]), ids(targets).reshape(-1), ignore_index=ignore_index,
        reduction="none",
    )  # fmt: skip
    if reduction == "none":
        return flat.reshape(targets.shape)
    total = flat.sum()
    return total / max((targets != ignore_index).sum(), 1) if reduction == "mean" else total


PEERS: dict[str, Any] = {
    "absolute": torch.abs, "add": torch.add, "subtract": torch.sub, "multiply": torch.mul,
    "divide": torch.div, "power": torch.pow, "negative": torch.neg, "square": torch.square,
    "sqrt": torch.sqrt, "exp": torch.exp, "log": torch.log, "log1p": torch.log1p,
    "sin": torch.sin, "cos": torch.cos, "tanh": torch.tanh, "sigmoid": torch.sigmoid,
    "relu": torch.relu, "maximum": torch.maximum, "minimum": torch.minimum,
    "where": lambda a, b, condition: torch.where(torch.from_numpy(np.asarray(condition)), a, b),
    "clip": lambda x, low, high: torch.clamp(x, low, high),
    "sum": lambda x, axis, keepdims: reduced(torch.sum, x, axis, keepdims),
    "mean": lambda x, axis, keepdims: reduced(torch.mean, x, axis, keepdims),
    "max": lambda x, axis, keepdims: reduced(torch.amax, x, axis, keepdims),
    "min": lambda x, axis, keepdims: reduced(torch.amin, x, axis, keepdims),
    "cumsum": lambda x, axis: torch.cumsum(x, axis),
    "softmax": lambda x, axis: torch.softmax(x, axis),
    "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
    "logsumexp": lambda x, axis: torch.logsumexp(x, axis),
    "matmul": torch.matmul,
    "linear": lambda x, w, b: F.linear(x, w.T, b),
    "einsum": lambda *xs, spec: torch.einsum(spec, *xs),
    "reshape": lambda x, shape_to: torch.reshape(x, shape_to),
    "transpose": lambda x, axes: torch.permute(x, axes),
    "broadcast_to": lambda x, shape_to: torch.broadcast_to(x, shape_to),
    "flip": lambda x, axis: torch.flip(x, (axis,)),
    "concatenate": lambda *xs, axis, points: torch.cat(xs, axis),
    "stack": lambda *xs, axis: torch.stack(xs, axis),
    "split": lambda x, sections, axis: torch.tensor_split(x, sections, axis),
    "getitem": lambda x, index: sliced(x, index),
    "put_add": lambda g, index, into: put_add(g, index, into),
    "take": lambda x, ids: x[torch.from_numpy(np.asarray(ids, np.int64))],
    "add_rows": lambda g, ids, rows: torch.zeros((rows, *g.shape[ids.ndim :]), dtype=g.dtype)
    .index_put((torch.from_numpy(np.asarray(ids, np.int64)),), g, accumulate=True),
    "take_along_axis": lambda x, indices, axis: torch.gather(x, axis, ids(indices)),
    "put_along_axis": lambda g, indices, axis, into: torch.zeros(into, dtype=g.dtype)
    .scatter_add(axis, ids(indices), g),
    "cross_entropy": cross_entropy,
    "expm1": torch.expm1, "exp2": torch.exp2, "log2": torch.log2, "log10": torch.log10,
    "sinh": torch.sinh, "cosh": torch.cosh, "tan": torch.tan, "arctan": torch.atan,
    "reciprocal": torch.reciprocal, "logaddexp": torch.logaddexp, "logaddexp2": torch.logaddexp2,
    "remainder": torch.remainder, "prod": lambda x: torch.prod(x, 0),
    "cumprod": lambda x, axis: torch.cumprod(x, axis),
    "masked_softmax": lambda x, mask, axis: torch.nan_to_num(
        torch.softmax(x.masked_fill(~torch.from_numpy(np.array(mask)), -torch.inf), axis)
    ),
    "norm": lambda x, axis, keepdims: reduced(torch.linalg.vector_norm, x, axis, keepdims),
    "arcsin": torch.asin, "arccos": torch.acos, "arctan2": torch.atan2, "hypot": torch.hypot,
    "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
    "arcsinh": torch.asinh, "arccosh": torch.acosh, "arctanh": torch.atanh,
}  # fmt: skip


def compared_elsewhere(name: str) -> bool:
    """Whole sequences are compared with PyTorch's layers in test_recurrent_parity.py."""
    return name.endswith("_sequence")


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def assert_close(what: str, ours: Any, theirs: Any, dtype: type) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    scale = max(1.0, float(np.max(np.abs(theirs), initial=0.0)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


def compare(name: str, ours: Any, theirs: Any, operands: Any, params: Any, dtype: type) -> None:
    """Value and gradients of one call in both libraries."""
    mine, yours = [], []
    for a in operands:
        if a.dtype.kind == "f":
            mine.append(tgs.tensor(a.astype(dtype), requires_grad=True))
            yours.append(torch.from_numpy(np.array(a, dtype)).requires_grad_())
        else:
            mine.append(a)
            yours.append(ids(a))
    out, peer = as_list(ours(*mine, **params)), as_list(theirs(*yours, **params))
    rng = np.random.default_rng(0)
    cots = [np.asarray(rng.uniform(-1, 1, o.shape), o.dtype) for o in out]
    for k, (a, b) in enumerate(zip(out, peer, strict=True)):
        assert_close(f"{name}: output {k}", a.data, b, dtype)
    sources = [m for m in mine if isinstance(m, tgs.Tensor)]
    targets = [y for y in yours if y.requires_grad]
    found = tgs.grad(out, sources, cots, allow_unused=True)
    expected = torch.autograd.grad(
        [p for p in peer if p.requires_grad], targets,
        [torch.from_numpy(c.copy()) for c, p in zip(cots, peer, strict=True) if p.requires_grad],
        allow_unused=True,
    )  # fmt: skip
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        if a is None or b is None:
            rest = a.data if b is None and a is not None else np.zeros(1)
            assert np.array_equal(rest, np.zeros_like(rest))
        else:
            assert_close(f"{name}: gradient {k}", a.data, b, dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", sorted(PEERS))
def test_operation(name: str, dtype: type) -> None:
    op = OPS[name]
    assert op.sample is not None
    for seed in range(EXAMPLES):
        operands, params = op.sample(RandomDraw(np.random.default_rng(seed)))
        compare(name, lambda *xs, **ps: apply(op, xs, ps), PEERS[name], operands, params, dtype)


def test_every_operation_is_compared_or_has_a_reason_not_to_be() -> None:
    assert {name for name in OPS if not compared_elsewhere(name)} == set(PEERS)


X = np.array([[0.5, -1.5, 2.5], [1.0, 0.25, -3.0]])

FUNCTIONS = {
    "mse_loss": (lambda x: tgs.mse_loss(x, np.ones((2, 3), x.dtype)),
                 lambda x: F.mse_loss(x, torch.ones(2, 3, dtype=x.dtype))),
    "mse_loss summed": (lambda x: tgs.mse_loss(x, 2 * x, "sum"),
                        lambda x: F.mse_loss(x, 2 * x, reduction="sum")),
    "expand_dims": (lambda x: tgs.expand_dims(x, 1), lambda x: torch.unsqueeze(x, 1)),
    "gather": (lambda x: tgs.gather(x, 1, [[2, 0], [1, 1]]),
               lambda x: torch.gather(x, 1, torch.tensor([[2, 0], [1, 1]]))),
    "one_hot": (lambda x: x @ tgs.one_hot([1, 0, 1], 4, dtype=x.dtype),
                lambda x: x @ F.one_hot(torch.tensor([1, 0, 1]), 4).to(x.dtype)),
    "var": (lambda x: tgs.var(x, 1), lambda x: torch.var(x, 1, correction=0)),
    "var ddof": (lambda x: tgs.var(x, None, ddof=1), torch.var),
    "std": (lambda x: tgs.std(x, 0, keepdims=True),
            lambda x: torch.std(x, 0, correction=0, keepdim=True)),
    "vector @ matrix": (lambda x: x[0] @ x.T, lambda x: x[0] @ x.T),
    "matrix @ vector": (lambda x: x @ x[0], lambda x: x @ x[0]),
    "vector @ vector": (lambda x: x[0] @ x[1], lambda x: x[0] @ x[1]),
    "squeeze": (lambda x: tgs.squeeze(x[:, None]), lambda x: x[:, None].squeeze()),
    "swapaxes": (lambda x: tgs.swapaxes(x, 0, -1), lambda x: torch.swapaxes(x, 0, -1)),
    "moveaxis": (lambda x: tgs.moveaxis(x, 0, 1), lambda x: torch.moveaxis(x, 0, 1)),
    "astype": (lambda x: x.astype(np.float32) * 2, lambda x: x.to(torch.float32) * 2),
    "prod": (lambda x: tgs.prod(x, 1), lambda x: torch.prod(x, 1)),
    "prod of all": (lambda x: tgs.prod(x), torch.prod),
    "cumprod": (lambda x: tgs.cumprod(x, 1), lambda x: torch.cumprod(x, 1)),
    "sort": (lambda x: tgs.sort(x, 1), lambda x: torch.sort(x, 1).values),
    "roll": (lambda x: tgs.roll(x, 1, 1), lambda x: torch.roll(x, 1, 1)),
    "repeat": (lambda x: tgs.repeat(x, 2, 0), lambda x: torch.repeat_interleave(x, 2, 0)),
    "tile": (lambda x: tgs.tile(x, (2, 1)), lambda x: torch.tile(x, (2, 1))),
    "tril": (tgs.tril, torch.tril), "triu": (lambda x: tgs.triu(x, 1), lambda x: torch.triu(x, 1)),
    "pad": (lambda x: tgs.pad(x, ((0, 0), (1, 2)), constant_values=3.0),
            lambda x: F.pad(x, (1, 2), value=3.0)),
    "diff": (tgs.diff, torch.diff), "diagonal": (tgs.diagonal, torch.diagonal),
    "trace": (lambda x: tgs.trace(x[:, :2]), lambda x: torch.trace(x[:, :2])),
    "outer": (lambda x: tgs.outer(x[0], x[1]), lambda x: torch.outer(x[0], x[1])),
    "tensordot": (lambda x: tgs.tensordot(x, x, (1, 1)),
                  lambda x: torch.tensordot(x, x, dims=([1], [1]))),
    "one index": (lambda x: x[1, -1], lambda x: x[1, -1]),
    "linear without bias": (lambda x: tgs.linear(x, x.T), lambda x: F.linear(x, x)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str, dtype: type) -> None:
    ours, theirs = FUNCTIONS[name]
    compare(name, ours, theirs, [X], {}, dtype)


KINKS = {
    "norm": (lambda x: tgs.norm(0 * x, 1), lambda x: torch.linalg.vector_norm(0 * x, dim=1)),
    "prod": (lambda x: tgs.prod(x, 1), lambda x: torch.prod(x, 1)),
    "cumprod": (lambda x: tgs.cumprod(x, 1), lambda x: torch.cumprod(x, 1)),
    "relu": (tgs.relu, torch.relu), "absolute": (tgs.absolute, torch.abs),
    "clip": (lambda x: tgs.clip(x, 0.0, 1.0), lambda x: torch.clamp(x, 0.0, 1.0)),
    "maximum": (lambda x: tgs.maximum(x, 0 * x), lambda x: torch.maximum(x, 0 * x)),
    "minimum": (lambda x: tgs.minimum(x, 1 + 0 * x), lambda x: torch.minimum(x, 1 + 0 * x)),
    "max": (lambda x: tgs.max(x), torch.amax),
    "min": (lambda x: tgs.min(x, 1), lambda x: torch.amin(x, 1)),
    "x**0": (lambda x: x**0, lambda x: x**0), "x**1": (lambda x: x**1, lambda x: x**1),
    "x**2": (lambda x: x**2, lambda x: x**2), "x**3.0": (lambda x: x**3.0, lambda x: x**3.0),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKS)
def test_subgradients_at_ties_and_zeros_are_pytorchs(name: str) -> None:
    ours, theirs = KINKS[name]
    compare(
        name,
        ours,
        theirs,
        [np.array([[0.0, 1.0, -1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])],
        {},
        np.float64,
    )


@pytest.mark.parametrize("name", sorted(PEERS))
def test_second_order(name: str) -> None:
    op = OPS[name]
    assert op.sample is not None
    for seed in range(3):
        operands, params = op.sample(RandomDraw(np.random.default_rng(seed)))
        mine = [tgs.tensor(a, requires_grad=True) if a.dtype.kind == "f" else a for a in operands]
        yours = [
            torch.from_numpy(a).requires_grad_() if a.dtype.kind == "f" else ids(a)
            for a in operands
        ]
        sources = [m for m in mine if isinstance(m, tgs.Tensor)]
        targets = [y for y in yours if y.requires_grad]
        loss = sum((o * o).sum() for o in as_list(apply(op, tuple(mine), params)))
        peer = sum((o * o).sum() for o in as_list(PEERS[name](*yours, **params)))
        first = tgs.grad(loss, sources, create_graph=True)
        expected = torch.autograd.grad(peer, targets, create_graph=True)
        if not any(g.requires_grad for g in first):
            continue  # nothing was picked: the gradient is 0, whatever the operand
        second = tgs.grad(sum((g * g).sum() for g in first), sources, allow_unused=True)
        second_expected = torch.autograd.grad(
            sum((g * g).sum() for g in expected), targets, allow_unused=True
        )
        for a, b in zip([*first, *second], [*expected, *second_expected], strict=True):
            if a is not None and b is not None:
                assert_close(name, a.data, b, np.float64)
