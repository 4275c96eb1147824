"""Random programs on the engine, on plain NumPy, and on a naive engine made of scalars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.oracles import Scalar, naive_gradients
from tests.support.programs import INSTRUCTIONS, Program, Step, programs
from tinygrad_seq.testing import gradcheck
from tinygrad_seq.testing.invariants import (
    assert_deterministic,
    assert_freed,
    assert_gradients_own_their_memory,
    nodes_behind,
    unchanged,
)


def leaves(program: Program, dtype=np.float64) -> list[tgs.Tensor]:
    return [tgs.tensor(x.astype(dtype), requires_grad=True) for x in program.inputs]


def detached(value: tgs.Tensor) -> tgs.Tensor:
    return value.detach()


def unscaled(value: np.ndarray) -> np.ndarray:
    """A cut on the naive engine: the same numbers, without their history."""
    return np.vectorize(lambda s: Scalar(getattr(s, "value", s)), otypes=[object])(value)


def reference(program: Program) -> tuple[float, list[np.ndarray]]:
    return naive_gradients(lambda *xs: program.run(xs, unscaled), program.inputs)


def assert_close(got, expected, tolerance: float = 1e-10) -> None:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


@given(programs())
def test_value_and_gradients_agree_with_the_naive_engine(program: Program) -> None:
    tensors = leaves(program)
    loss = program.run(tensors, detached)
    loss.backward()
    value, expected = reference(program)
    assert_close(loss.item(), value)
    assert_close(loss.item(), program.run(program.inputs, lambda x: x))
    for x, slope in zip(tensors, expected, strict=True):
        assert isinstance(x.grad, np.ndarray)
        assert (x.grad.shape, x.grad.dtype) == (x.shape, x.dtype)
        assert_close(x.grad, slope)


@given(programs())
def test_programs_keep_the_manners_of_the_engine(program: Program) -> None:
    tensors = leaves(program)
    with unchanged(*tensors):
        loss = program.run(tensors, detached)
        loss.backward(retain_graph=True)
        once = [x.grad.copy() for x in tensors]
        loss.backward()
    for x, first in zip(tensors, once, strict=True):
        assert np.array_equal(x.grad, 2 * first)
    assert_gradients_own_their_memory(tensors)
    assert_freed(loss)


@given(programs())
def test_programs_are_deterministic(program: Program) -> None:
    def run() -> list[np.ndarray]:
        tensors = leaves(program, np.float32)
        program.run(tensors, detached).backward()
        return [x.grad for x in tensors]

    assert_deterministic(run)


@given(programs())
def test_recorded_gradients_equal_plain_ones(program: Program) -> None:
    tensors = leaves(program)
    plain = tgs.grad(program.run(tensors, detached), tensors)
    recorded = tgs.grad(program.run(tensors, detached), tensors, create_graph=True)
    for p, r in zip(plain, recorded, strict=True):
        assert_close(r.data, p.data)


@given(programs(), st.data())
def test_gradients_of_intermediate_results(program: Program, data: st.DataObject) -> None:
    """The gradient of a value is that of the program restarted from it."""
    tensors = leaves(program)
    loss = program.run(tensors, detached)
    plain = tgs.grad(loss, tensors, retain_graph=True)
    nodes = [n for n in nodes_behind(loss) if n.op is not None and n.op.outputs == 1]
    picked = data.draw(st.sampled_from(nodes))
    from tinygrad_seq.engine.backward import backpropagate

    wanted = [x.node for x in tensors]
    together = backpropagate([(loss.node, np.ones(()))], [picked, *wanted], retain_graph=True)
    for x, expected in zip(tensors, plain, strict=True):
        assert np.array_equal(together[x.node], expected.data)
    assert together[picked].shape == picked.shape


@given(programs(max_steps=6))
def test_second_order_of_programs(program: Program) -> None:
    if any(step.instruction.startswith("cut") for step in program.steps):
        return  # differences see through a cut
    gradcheck(
        lambda *xs: program.run(xs, detached),
        *program.inputs,
        order=2,
        check="directional",
        method="central",
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_every_instruction_alone(instruction: str) -> None:
    rng = np.random.default_rng(0)
    for shape in [(), (3,), (2, 3), (2, 1, 3)]:
        arity = 2 if "{}" in instruction.replace("{}", "", 1) or "{1}" in instruction else 1
        inputs = tuple(np.asarray(rng.uniform(-1.5, 1.5, shape)) for _ in range(arity))
        program = Program(inputs, (Step(instruction, tuple(range(arity))),))
        tensors = leaves(program)
        program.run(tensors, detached).backward()
        _, expected = reference(program)
        for x, slope in zip(tensors, expected, strict=True):
            assert_close(x.grad, slope)


def test_a_wrong_rule_is_found_by_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_seq.ops import OPS

    monkeypatch.setattr(OPS["tanh"].rules[0], "fn", lambda g, out: g * (1 - out))
    program = Program((np.array([0.3, 0.7]),), (Step("np.tanh({})", (0,)),))
    tensors = leaves(program)
    program.run(tensors, detached).backward()
    with pytest.raises(AssertionError):
        assert_close(tensors[0].grad, reference(program)[1][0])


def test_a_program_prints_as_text() -> None:
    program = Program((np.zeros(2),), (Step("np.tanh({})", (0,)), Step("{} + {}", (0, 1))))
    assert str(program) == "v0 = array of shape (2,)\nv1 = np.tanh(v0)\nv2 = v0 + v1"
