"""Products and running products: in NumPy's order, with slopes that are right at zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs


@pytest.mark.parametrize(
    "x",
    [
        [1e-30, 1e-30, 1e30, 1e30],
        [1e-30, 1e30, 1e-30, 1e30],
        [1e30, 1e-30, 0.0, 1e30],
        [1e30, 1e30, 1e-30, 0.5],
    ],
)
def test_running_products_are_taken_in_order(x: list[float]) -> None:
    a = np.array(x, np.float32)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(tgs.cumprod(a).numpy(), np.cumprod(a))
        np.testing.assert_array_equal(tgs.prod(a).item(), np.prod(a))


def test_a_product_whose_parts_leave_the_range_has_no_nan_for_a_slope() -> None:
    x = tgs.tensor(np.float32([1e-30, 1e-30, 2.0, 1e30, 1e30]), requires_grad=True)
    with np.errstate(over="ignore"):
        tgs.prod(x).backward()
    assert not np.isnan(x.grad).any()


@given(st.lists(st.sampled_from([0.0, 0.5, -1.5, 2.0]), min_size=1, max_size=6), st.booleans())
def test_slopes_of_products_at_zeros(entries: list[float], running: bool) -> None:
    """By leaving an entry out, one by one."""
    values = np.array(entries)
    x = tgs.tensor(values, requires_grad=True)
    weights = np.arange(1.0, len(values) + 1) if running else np.ones(1)
    out = tgs.cumprod(x) if running else tgs.reshape(tgs.prod(x), (1,))
    (out * weights).sum().backward()
    ends = range(1, len(values) + 1) if running else [len(values)]
    expected = [
        sum(
            w * np.prod(np.delete(values[:end], i))
            for w, end in zip(weights, ends, strict=True)
            if i < end
        )
        for i in range(len(values))
    ]
    np.testing.assert_allclose(x.grad, expected)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_products_of_nothing(shape: Any) -> None:
    for axis in range(len(shape)):
        for call, numpys in ((tgs.prod, np.prod), (tgs.cumprod, np.cumprod)):
            x = tgs.tensor(np.zeros(shape), requires_grad=True)
            out = call(x, axis=axis)
            np.testing.assert_array_equal(out.numpy(), numpys(np.zeros(shape), axis=axis))
            out.sum().backward()
            assert x.grad.shape == shape
