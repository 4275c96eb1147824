"""``tgs.checkpoint``: the same gradients, for the memory of one stretch at a time."""

from __future__ import annotations

import functools
import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tests.support.programs import Program, programs
from tinygrad_seq import nn
from tinygrad_seq.errors import ConfigError, GraphError
from tinygrad_seq.testing import gradcheck

RNG = np.random.default_rng(0)


def leaf(*shape: int) -> tgs.Tensor:
    return tgs.tensor(np.random.default_rng(sum(shape)).uniform(-1, 1, shape), requires_grad=True)


@given(programs(), st.booleans())
def test_gradients_are_the_same_to_the_bit(program: Program, record: bool) -> None:
    def run(*xs):
        return program.run(xs, lambda t: t.detach())

    xs = [tgs.tensor(x, requires_grad=True) for x in program.inputs]
    plain = tgs.grad(run(*xs), xs)
    kept = tgs.grad(tgs.checkpoint(run, *xs), xs, create_graph=record)
    for p, k in zip(plain, kept, strict=True):
        if record:
            np.testing.assert_allclose(k.data, p.data, rtol=1e-10, atol=1e-12)
        else:
            assert np.array_equal(k.data, p.data)


def test_weights_that_are_not_arguments_get_their_gradients() -> None:
    w, x = leaf(3, 3), leaf(2, 3)

    def run(h):
        return tgs.tanh(h @ w)

    (tgs.checkpoint(run, tgs.checkpoint(run, x)) * 2).sum().backward()
    got = w.grad, x.grad
    w.grad = x.grad = None
    (run(run(x)) * 2).sum().backward()
    np.testing.assert_allclose(got[0], w.grad, rtol=1e-12)
    np.testing.assert_allclose(got[1], x.grad, rtol=1e-12)


def test_intermediate_results_may_go_in_and_nests_come_out() -> None:
    x = leaf(2, 3)
    outside = x * 2

    def run(h, scale=1.0):
        return {"y": h * outside * scale, "pair": (h.sum(), tgs.tensor(np.ones(2)))}

    def total(found):
        return (found["y"] ** 2).sum() + found["pair"][0]

    (plain,) = tgs.grad(total(run(tgs.tanh(x), scale=3.0)), [x], retain_graph=True)
    found = tgs.checkpoint(run, tgs.tanh(x), scale=3.0)
    assert not found["pair"][1].requires_grad
    (kept,) = tgs.grad(total(found), [x])
    np.testing.assert_allclose(kept.data, plain.data, rtol=1e-12)


def test_an_output_may_be_an_input() -> None:
    x = leaf(3)
    first, second = tgs.checkpoint(lambda h: (h, h * 2), x)
    (first.sum() + second.sum()).backward()
    assert x.grad.tolist() == [3.0, 3.0, 3.0]


def test_nothing_is_saved_in_between() -> None:
    alive: list[weakref.ref] = []

    def run(h):
        for _ in range(10):
            h = tgs.tanh(h * 1.5)
            alive.append(weakref.ref(h._array))
        return h

    x = leaf(3)
    gc.disable()
    try:
        y = tgs.checkpoint(run, x)
        assert sum(ref() is not None for ref in alive) == 1  # the result
        y.sum().backward()
        del y
        assert sum(ref() is not None for ref in alive) == 0
    finally:
        gc.enable()


def test_dropout_masks_are_the_same_in_the_second_run() -> None:
    drop = nn.Dropout(0.5, rng=np.random.default_rng(7))
    x = leaf(50)

    def run(h):
        return drop(tgs.tanh(h))

    y = tgs.checkpoint(run, x)
    after = drop.rng.bit_generator.state
    (y * 1.0).sum().backward()
    kept = y.numpy() != 0
    slope = (1 - np.tanh(x.data) ** 2) * 2
    np.testing.assert_allclose(x.grad, np.where(kept, slope, 0.0))
    assert drop.rng.bit_generator.state == after
    module = tgs.checkpoint(nn.Dropout(0.5, rng=np.random.default_rng(7)), x)
    assert np.array_equal(module.numpy() != 0, kept)
    module.sum().backward()


class Hidden:
    """An object of a stranger's class: nobody looks into it."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def draws(self, h):
        return h * self.rng.standard_normal(h.shape)


HIDDEN = Hidden()
IN_SIGHT = {"rng": np.random.default_rng(0)}


def _draws(h):
    return h * HIDDEN.rng.standard_normal(h.shape)


def _draws_by_a_name(h):
    return (lambda: h * IN_SIGHT["rng"].standard_normal(h.shape))()


@pytest.mark.parametrize(
    "fn",
    [_draws_by_a_name, lambda h: _draws_by_a_name(h), HIDDEN.draws],
    ids=["global", "by another function", "method"],
)
def test_generators_of_global_names_and_of_a_methods_object_are_found(fn) -> None:
    x = leaf(5)
    y = tgs.checkpoint(fn, x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, y.data / x.data)


def test_random_numbers_out_of_reach_are_noticed_and_can_be_named() -> None:
    x = leaf(5)
    y = tgs.checkpoint(_draws, x)
    with pytest.raises(GraphError, match=r"second run differs[\s\S]*generators=\[rng\]"):
        y.sum().backward()
    assert x.grad is None
    y = tgs.checkpoint(_draws, x, generators=[HIDDEN.rng])
    y.sum().backward()
    np.testing.assert_allclose(x.grad, y.data / x.data)
    with pytest.raises(ConfigError, match=r"numpy\.random\.Generator"):
        tgs.checkpoint(_draws, x, generators=[0])
    with pytest.raises(ConfigError, match="generators"):
        tgs.checkpoint(_draws, x, generators=0)


@pytest.mark.parametrize("which", ["weight", "argument", "constant"])
def test_a_write_before_backward_is_refused(which: str) -> None:
    w, x, k = leaf(3), leaf(3), tgs.tensor(np.ones(3))

    def run(h):
        return tgs.tanh(h + 1) + w + h * k

    y = tgs.checkpoint(run, x)
    {"weight": w, "argument": x, "constant": k}[which].writable()[...] = 0.25
    with pytest.raises(GraphError, match=r"checkpoint[\s\S]*written since"):
        y.sum().backward()


def test_a_second_backward_is_refused_and_retain_graph_allows_it() -> None:
    x = leaf(3)
    y = tgs.checkpoint(tgs.tanh, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 2 * (1 - np.tanh(x.data) ** 2))
    with pytest.raises(GraphError, match="second time"):
        y.backward()


def test_modes_of_the_first_run_hold_in_the_second() -> None:
    names: list[list[str]] = []

    class Log:
        def recorded(self, node, value) -> None:
            names[-1].append(node.name)

        def received(self, node, cotangent) -> None:
            pass

    rnn = nn.RNN(2, 3, rng=np.random.default_rng(0))
    x = tgs.tensor(np.ones((3, 1, 2), np.float32), requires_grad=True)
    names.append([])
    with tgs.composed(), tgs.observe(Log()):
        y, _ = tgs.checkpoint(rnn, x)
    loss = y.sum()
    first = names[-1]
    assert "rnn_tanh_sequence" not in first
    names.append([])
    with tgs.observe(Log()):
        loss.backward()
    assert names[-1] == first


def test_without_anything_to_record_it_is_a_plain_call() -> None:
    x = leaf(3)
    assert not tgs.checkpoint(tgs.tanh, tgs.tensor(np.ones(3))).requires_grad
    with tgs.no_grad():
        assert not tgs.checkpoint(tgs.tanh, x).requires_grad
    with pytest.raises(ConfigError, match="must return tensors"):
        tgs.checkpoint(lambda h: 3.0, x)


def test_it_passes_gradcheck_to_second_order() -> None:
    w = np.random.default_rng(0).standard_normal((3, 3))

    def fn(x, w):
        return tgs.checkpoint(lambda h: tgs.tanh(h @ w) @ w, x)

    gradcheck(fn, np.random.default_rng(1).standard_normal((2, 3)), w, order=2)


def test_a_long_chain_in_stretches() -> None:
    w = leaf(4, 4)

    def stretch(h, steps=25):
        for _ in range(steps):
            h = tgs.tanh(h @ w)
        return h

    def total(wrap):
        h = tgs.tensor(np.ones((2, 4)))
        for _ in range(8):
            h = wrap(h)
        return (h * h).sum()

    (plain,) = tgs.grad(total(stretch), [w])
    (kept,) = tgs.grad(total(lambda h: tgs.checkpoint(stretch, h)), [w])
    np.testing.assert_allclose(kept.data, plain.data, rtol=1e-10)


def test_generators_are_found_in_partial_functions() -> None:
    def noisy(h, rng):
        return h * rng.standard_normal(h.shape)

    x = tgs.tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
    y = tgs.checkpoint(functools.partial(noisy, rng=np.random.default_rng(0)), x)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, y.data / x.data)


def test_a_name_that_is_not_bound_yet_is_passed_over() -> None:
    def run(h):
        return h * 2 if h.size else later

    x = tgs.tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)
    tgs.checkpoint(run, x).sum().backward()
    later = x.grad
    assert later.tolist() == [2.0, 2.0, 2.0]
