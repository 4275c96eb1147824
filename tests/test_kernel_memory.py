"""Memory that recurrent kernels use again: never while anything looks into it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_seq import nn
from tinygrad_seq.kernels import memory

SIZES = st.sampled_from([10, 20_000, 30_000, 40_000, 100_000])


@given(st.lists(st.tuples(st.sampled_from(["make", "drop", "view"]), SIZES), max_size=30))
def test_memory_is_used_again_only_when_nothing_looks_into_it(actions):
    held = []
    for number, (action, size) in enumerate(actions):
        if action == "make" or not held:
            array = memory.empty((size,), np.float32)
            array[:] = number
            held.append((number, array))
        elif action == "drop":
            held.pop(size % len(held))
        else:  # a view keeps what it looks into, when the array itself is gone
            at = size % len(held)
            held[at] = (held[at][0], held[at][1][1::3][:, None])
    for number, array in held:
        assert (array == number).all()


def test_a_graph_keeps_its_memory_until_it_has_gone():
    layer = nn.LSTM(64, 64, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((20, 30, 64)).astype(np.float32)
    kept = [layer(x * k)[0] for k in (1, 2, 3)]
    values = [y.numpy().copy() for y in kept]
    first = layer(x)[0]
    first.sum().backward()
    for y, value in zip(kept, values, strict=True):
        np.testing.assert_array_equal(y.numpy(), value)
        y.sum().backward()
    np.testing.assert_array_equal(first.numpy(), values[0])


def test_of_much_memory_that_is_held_the_pool_looks_through_a_part():
    pool = memory._Pool()
    held = [pool.take(100) for _ in range(2 * memory._MOST)]
    assert len(pool.buffers) <= memory._MOST + 1
    place = held.pop().ctypes.data
    assert pool.take(100).ctypes.data == place


def test_memory_that_is_not_asked_for_again_goes_back_to_the_system():
    pool = memory._Pool()
    pool.take(10**6)
    for _ in range(2 * memory._LONG):
        pool.take(100)
    assert [len(buffer.bytes) for buffer in pool.buffers] == [100]
