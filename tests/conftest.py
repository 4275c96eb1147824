"""What every test shares: Hypothesis profiles, a headless plot backend, an honest header."""

from __future__ import annotations

import importlib.util
import os
import platform

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

import tinygrad_seq.nn  # noqa: F401  (registers the operations of the cells: all are tested)

# No deadline anywhere: the first call of an op may pay for BLAS threads waking up, and a
# test that fails by the clock says nothing about a gradient. For the same reason slow
# data generation is no failure.
settings.register_profile(
    "dev", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "ci", settings.get_profile("dev"), max_examples=100, derandomize=True, print_blob=True
)
settings.register_profile("deep", settings.get_profile("dev"), max_examples=5000, print_blob=True)
# For mutation testing: whether a test fails is all that counts, so nothing is made small.
settings.register_profile(
    "mutants",
    settings.get_profile("dev"),
    max_examples=30,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)

PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or (
    "ci" if os.environ.get("CI", "").lower() in {"1", "true"} else "dev"
)
EXAMPLES = os.environ.get("HYPOTHESIS_EXAMPLES")  # per property, in place of the profile's number
if EXAMPLES:
    sized = settings(settings.get_profile(PROFILE), max_examples=int(EXAMPLES))
    PROFILE = f"{PROFILE} of {EXAMPLES} examples"
    settings.register_profile(PROFILE, sized)
settings.load_profile(PROFILE)

os.environ.setdefault("MPLBACKEND", "Agg")  # no test may open a window

HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore = ["mutation"] if HAS_TORCH else ["mutation", "parity"]  # the first is a tool


def pytest_report_header(config: pytest.Config) -> list[str]:
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "all cores")
    parity = "collected" if HAS_TORCH else "not collected: PyTorch is not installed (make parity)"
    return [
        f"numpy {np.__version__}, {platform.machine()}, BLAS threads: {threads}",
        f"hypothesis profile: {PROFILE}",
        f"parity with PyTorch: {parity}",
    ]
