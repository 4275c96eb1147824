"""Same name, same meaning: defaults and refusals of NumPy's functions hold on Tensors too."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError, ShapeError
from tinygrad_seq.ops.registry import DIFFERENTIABLE
from tinygrad_seq.testing import gradcheck
from tinygrad_seq.testing.strategies import arrays, shapes


def parameters(fn) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(fn).parameters)
    except ValueError:  # some of NumPy's are written in C and show no signature
        return {}


def other_defaults(theirs, ours) -> list[str]:
    """Parameters of one name that may be left out of both, and then mean different values."""
    known = parameters(theirs)
    none = (np._NoValue, inspect.Parameter.empty)
    return [
        f"{name}: {known[name].default!r}, ours {parameter.default!r}"
        for name, parameter in parameters(ours).items()
        if name in known
        and known[name].default not in none
        and parameter.default not in none
        and known[name].default != parameter.default
    ]


@pytest.mark.parametrize("fn", DIFFERENTIABLE, ids=lambda fn: fn.__name__)
def test_what_is_left_out_means_what_it_means_to_numpy(fn) -> None:
    assert other_defaults(fn, DIFFERENTIABLE[fn]) == []


def test_another_default_is_noticed() -> None:
    def ours(m, k=1):
        return m

    assert other_defaults(np.triu, ours) == ["k: 0, ours 1"]


@given(st.data())
def test_averages_are_numpys_or_refused(data: st.DataObject) -> None:
    shape = data.draw(shapes(1, 3))
    a = data.draw(arrays(shape))
    axes = st.permutations(range(-len(shape), 0))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1) | axes.map(tuple))
    named = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    right = [shape, tuple(shape[i] for i in named), (1, *shape[1:]), shape[-1:], (2,)]
    weights = data.draw(st.sampled_from(right).flatmap(lambda s: arrays(s, "positive")))
    try:
        expected = np.average(a, axis, weights)
    except (ValueError, TypeError):
        with pytest.raises(ShapeError, match=r"np\.average on a Tensor: weights"):
            np.average(tgs.tensor(a), axis, weights)
    else:
        np.testing.assert_allclose(np.average(tgs.tensor(a), axis, weights).data, expected)
        gradcheck(lambda a, w: np.average(a, axis, w), a, weights)


@pytest.mark.parametrize(("shape", "axis"), [((2, 3, 2), None), ((2, 3), None), ((2, 3), (0, 1))])
def test_norms_of_vectors_are_not_taken_of_more_axes(shape, axis) -> None:
    x = tgs.tensor(np.ones(shape), requires_grad=True)
    for order in (1, 3, np.inf, "nuc"):
        with pytest.raises(ConfigError, match=r"np\.linalg\.norm on a Tensor: ord"):
            np.linalg.norm(x, order, axis)
