"""A user's cell with a kernel: bound by one call, held to its step, used by the layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.cells import SIZE, H, inputs
from tinygrad_seq import nn
from tinygrad_seq.engine.op import Op
from tinygrad_seq.kernels.gates import sigmoid
from tinygrad_seq.kernels.kernel import Kernel
from tinygrad_seq.nn.cells.gated import GatedCell, inputs_of
from tinygrad_seq.ops import OPS
from tinygrad_seq.ops.sequence import sequence_op
from tinygrad_seq.testing import GradientError, check_layer, check_op

# -- kernels/mgu.py --------------------------------------------------------------------------------


def mgu_steps(z: Any, y: Any, extras: Any, states: Any, recur: Any, *, at: range) -> None:
    """Gates f, n over all steps in place; extras hold f * h."""
    (h,) = states
    before = h
    for k in at:
        rows = slice(k, k + len(h))
        (f, n), reset = z[:, rows], extras[0][rows]
        f[...] = sigmoid(f + before @ recur.blocks[0])
        np.multiply(f, before, out=reset)
        n += reset @ recur.blocks[1]
        np.tanh(n, out=n)
        y[rows] = before + f * (n - before)
        before = y[rows]
    h[...] = before


def mgu_back(
    dz: Any,
    dy: Any,
    z: Any,
    y: Any,
    extras: Any,
    starts: Any,
    dstates: Any,
    back: Any,
    *,
    at: range,
) -> None:
    """The sweep back: fills `dz`, carries the cotangent of h to the start in place."""
    (dh,) = dstates
    for k in reversed(at):
        rows = slice(k, k + len(dh))
        dh += dy[rows]
        before = starts[0] if k == at.start else y[k - at.step : k - at.step + len(dh)]
        f, n = z[:, rows]
        dn = dh * f * (1 - n * n)
        dreset = dn @ back.blocks[1]
        df = (dh * (n - before) + dreset * before) * f * (1 - f)
        dz[:, rows] = df, dn
        dh[...] = dh * (1 - f) + dreset * f + df @ back.blocks[0]


def mgu_gradients(before: Any, dz: Any, z: Any, extras: Any) -> tuple[Any, ...]:
    """Of W_hh: the candidate's columns multiply f * h, the gate's h."""
    return (np.concatenate([before.T @ dz[0], extras[0].T @ dz[1]], axis=1),)


KERNEL = Kernel(1, mgu_steps, mgu_back, mgu_gradients)

# -- nn/cells/mgu.py -------------------------------------------------------------------------------


def mgu_step(x: Any, h: Any, weight_xh: Any, weight_hh: Any, bias: Any) -> tuple[Any]:
    """``f = sigma(x W_xf + h W_hf + b_f)``, ``n = tanh(x W_xn + (f h) W_hn + b_n)``."""
    weight_f, weight_n = tgs.split(weight_hh, 2, axis=1)
    zf, zn = tgs.split(inputs_of(x, weight_xh, bias), 2, axis=-1)
    f = tgs.sigmoid(zf + tgs.matmul(h, weight_f)).tag("f")
    n = tgs.tanh(zn + tgs.matmul(f * h, weight_n)).tag("n")
    return ((h + f * (n - h)).tag("h"),)


NAME = "mgu_of_this_test"  # no cell of the package may be called so


@pytest.fixture(name="op")
def bound() -> Iterator[Op]:
    yield sequence_op(NAME, KERNEL, mgu_step, blocks=2)
    del OPS[NAME]


class MGUCell(GatedCell):
    gates = ("f", "n")
    norm_sizes = {"norm_x": 2, "norm_h": 2}  # noqa: RUF012  (as a user would write it)

    def _step(self, x: Any, *parts: Any, **changes: Any) -> Any:
        return mgu_step(x, *parts, self.weight_xh, self.weight_hh, self.bias)

    def fused(self) -> Any:
        return self._bound_to(OPS[NAME])


# --------------------------------------------------------------------------------------------------


def make(**options: Any) -> nn.Recurrent[Any]:
    rng = np.random.default_rng(0)
    return nn.Recurrent(
        lambda size: MGUCell(size, H, rng=rng, dtype=np.float64), SIZE, rng=rng, **options
    )


def test_the_operation_is_held_to_its_step(op: Op) -> None:
    for seed in range(20):
        draw = tgs.testing.RandomDraw(np.random.default_rng(seed))
        assert op.sample is not None
        arrays, params = op.sample(draw)
        check_op(op, arrays, params)


def test_the_layer_runs_the_kernel_with_the_same_results(op: Op) -> None:
    layer, x, lengths = make(num_layers=2, bidirectional=True), inputs(0), [4, 2, 0]
    y, state = layer(x, lengths=lengths)
    assert operations_behind(y) >= {NAME} and "sigmoid" not in operations_behind(y)
    with tgs.composed():
        other, last = layer(x, lengths=lengths)
    assert NAME not in operations_behind(other)
    np.testing.assert_allclose(y.numpy(), other.numpy(), rtol=1e-12)
    np.testing.assert_allclose(state.h.numpy(), last.h.numpy(), rtol=1e-12)
    for options in ({}, {"checkpoint": 2}):
        checked = make(num_layers=2, bidirectional=True, **options)
        check_layer(checked, x, call=lambda m, x: m(x, lengths=lengths), order=2)


def operations_behind(y: tgs.Tensor) -> set[str]:
    names, stack = set(), [y.node]
    while stack:
        node = stack.pop()
        if node is not None and node.op is not None:
            names.add(node.op.name)
            stack.extend(node.parents)
    return names


def test_a_wrong_kernel_is_caught(op: Op) -> None:
    assert op.joint is not None

    op.joint.fn.kernel = KERNEL._replace(recurrent=None)  # type: ignore[attr-defined]
    with pytest.raises(GradientError):
        check_layer(make(), inputs(0))
