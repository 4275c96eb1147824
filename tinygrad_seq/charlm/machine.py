"""What a run's speed depends on and no option shows: the BLAS library, its threads, the cores."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from tinygrad_seq.checks import size

__all__ = ["Machine", "machine"]

_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "GOTO_NUM_THREADS",
    "OMP_NUM_THREADS",
)
_SMALL = 256  # below this width the products are too small to be worth two threads


class Machine(NamedTuple):
    """Found, never changed."""

    blas: str
    """Name and version of NumPy's BLAS."""
    cores: int
    """Cores this process may use."""
    threads: str
    """The setting, as ``VARIABLE=value``; empty if there is none."""
    load: float
    """Processes that want a core, on average over the last minute; 0 where that is not known."""

    def __str__(self) -> str:
        threads = self.threads or f"threads not set (the library's choice, {self.cores} cores)"
        return f"NumPy {np.__version__}, {self.blas}, {threads}"

    def hint(self, hidden: int) -> str:
        """Advice for busy machines and for small models, or nothing."""
        hidden = size("Machine.hint: hidden", hidden)
        if self.threads or self.cores == 1:
            return ""
        if self.load > self.cores / 2:
            return (
                f"hint: other programs keep this machine busy (load {self.load:.1f} on "
                f"{self.cores} cores), and BLAS threads that wait for one another can be far "
                "slower than one alone: OPENBLAS_NUM_THREADS=1"
            )
        if hidden >= _SMALL:
            return ""
        return (
            f"hint: with hidden sizes below {_SMALL} one BLAS thread is often as fast and leaves "
            "the other cores free: OPENBLAS_NUM_THREADS=1"
        )


def machine() -> Machine:
    """Look at the environment and at NumPy's build.

    Examples
    --------
    >>> from tinygrad_seq import charlm, train
    >>> charlm.machine().cores >= 1
    True
    """
    try:
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        name = f"{blas.get('name', 'BLAS')} {blas.get('version', '')}".strip()
    except (KeyError, TypeError):
        name = "BLAS of unknown name"
    threads = next((f"{v}={os.environ[v]}" for v in _VARIABLES if os.environ.get(v)), "")
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # not on every platform
        load = 0.0
    return Machine(name, cores, threads, load)
