"""One contestant in a process of its own, which does what it is told over its pipes.

Commands and answers are lines of JSON; the values of a check go through a file.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from importlib import metadata
from typing import Any

import numpy as np


class Contestant:
    """Builds a row, checks it, runs it in blocks."""

    def __init__(self, peer: str) -> None:
        from benchmarks import peers

        self.peer = peer
        self.jobs = peers.jobs_of(peer)
        self.imported = peak_memory()

    def build(self, row: str) -> dict[str, Any]:
        """Make everything that a run needs, if the contestant can do the row at all."""
        from benchmarks import peers, rows

        library = importlib.import_module(peers.PEERS[self.peer].library)
        about = {"version": version_of(library), "file": str(library.__file__)}
        make = self.jobs.get(rows.row(row).job)
        if make is not None:
            self.job = make(rows.row(row))
        return {"has": make is not None, **about}

    def check(self, file: str) -> dict[str, Any]:
        """Save what contestants must agree on."""
        values = self.job.check()
        np.savez(file, **{name: np.asarray(value) for name, value in values.items()})
        return {}

    def block(self, seconds: float, least: int = 3, warm: int = 1) -> dict[str, Any]:
        """Run for so long, after a warm-up: seconds of each run, of the clock and the processor."""
        for _ in range(warm):
            self.job.run()
        times: list[float] = []
        began, used = time.perf_counter(), time.process_time()
        while len(times) < least or time.perf_counter() < began + seconds:
            start = time.perf_counter()
            self.job.run()
            times.append(time.perf_counter() - start)
        wall, used = time.perf_counter() - began, time.process_time() - used
        return {"times": times, "cores": used / wall, "processor": used / len(times)}

    def memory(self, runs: int) -> dict[str, Any]:
        """MiB of the largest the process became, above what its imports took."""
        for _ in range(runs):
            self.job.run()
        return {"times": [peak_memory() - self.imported]}


def version_of(library: Any) -> str:
    """What a library calls itself, or what was installed."""
    return str(getattr(library, "__version__", None) or metadata.version(library.__name__))


def peak_memory() -> float:
    """MiB of this process at its largest."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def serve(peer: str, cores: int = 0) -> None:
    """Answer commands until there are no more; on so many cores, if not 0."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    contestant: Any = None
    for line in sys.stdin:
        try:
            what, *given = json.loads(line)
            contestant = contestant or Contestant(peer)
            answer = getattr(contestant, what)(*given)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
