"""Tests that run with NumPy's kernels and with compiled ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tinygrad_seq.kernels import sequence
from tinygrad_seq.kernels.settings import config

__all__ = ["both_kernels"]


@pytest.fixture(autouse=True, params=["numpy", "compiled"])
def both_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test of a file that imports this with either kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "_kernels", request.param)
        if request.param == "compiled":
            patch.setattr(sequence, "_FEW", 0)  # however few the steps are
        yield
