"""gradcheck never says "passed" without having compared finite numbers."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq.errors import ConfigError
from tinygrad_seq.testing import GradientError, gradcheck

X = np.array([0.5, 1.5])


@tgs.op(lambda g, x: g * 7)
def _seven(x):
    return x * x  # slope 2x


@pytest.mark.parametrize("check", ["gradient", "jacobian", "directional"])
@pytest.mark.parametrize("options", [{}, {"order": 2}])
@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("bound", [np.nan, np.inf, -1.0, "1", None])
def test_no_tolerance_lets_a_wrong_rule_pass(check, options, name: str, bound) -> None:
    with pytest.raises(GradientError):
        gradcheck(lambda x: tgs.sum(_seven(x)), X, check=check, **{name: bound}, **options)
    with pytest.raises(GradientError):
        gradcheck(lambda x: tgs.sum(_seven(x)), X, check=check, rtol=1.0)


@pytest.mark.parametrize("check", ["gradient", "jacobian", "directional"])
@pytest.mark.parametrize(
    ("fn", "x", "message"),
    [
        (lambda x: x * x, np.array([np.nan, 2.0]), "input 0 is not finite"),
        (lambda x: x * x, np.array([np.inf, 2.0]), "input 0 is not finite"),
        (lambda x: x[:0], np.ones(2), "gives nothing"),
        (lambda x: [], np.ones(2), "gives nothing"),
        (lambda x: x + np.array([0.0, -np.inf]), np.ones(2), r"gives -inf at \(1,\)"),
        (lambda x: np.log(x), np.array([1.0, -2.0]), r"gives nan at \(1,\)"),
    ],
)
def test_what_cannot_be_compared_does_not_pass(check: str, fn, x, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(GradientError, match=message):
        gradcheck(fn, x, check=check)
    with pytest.raises(ConfigError, match="nothing to differentiate to"):
        gradcheck(lambda x: x, np.zeros(0), check=check)


@pytest.mark.parametrize("method", ["auto", "complex", "central"])
@pytest.mark.parametrize("order", [1, 2])
def test_inputs_without_axes_and_in_another_byte_order(method: str, order: int) -> None:
    for x in (np.array(2.0), np.float64(2.0), 2.0, np.array([2.0], ">f8")):
        assert gradcheck(lambda x: x * x * x, x, method=method, order=order).checked >= order
