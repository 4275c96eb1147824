"""Measure what `import tinygrad_seq` costs on top of NumPy, and what it drags in.

The time is printed, not judged: a busy machine is no reason to fail. Loading a library that
only some functions need is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

RUNS = 15
AIM_MS = 50
UNWANTED = {"graphviz", "hypothesis", "matplotlib", "pygraphviz", "safetensors", "torch", "tqdm"}

PROGRAM = """
import sys, time
start = time.perf_counter()
import numpy
before = time.perf_counter()
import tinygrad_seq
after = time.perf_counter()
print(1e3 * (before - start), 1e3 * (after - before), *sys.modules)
"""


def main() -> int:
    # As for a user: compiled sources are kept. The first run, which compiles, is not counted.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    numpy_times: list[float] = []
    times: list[float] = []
    for _ in range(RUNS + 1):
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, check=True, capture_output=True, text=True
        )
        numpy_time, time, *loaded = answer.stdout.split()
        numpy_times.append(float(numpy_time))
        times.append(float(time))
        dragged_in = UNWANTED & set(loaded)
        if dragged_in:
            print(f"import tinygrad_seq loads {', '.join(sorted(dragged_in))}")
            return 1
    warm = sorted(times[1:])
    print(
        f"import tinygrad_seq: median {statistics.median(warm):.1f} ms above NumPy "
        f"(from {warm[0]:.1f} to {warm[-1]:.1f} in {RUNS} runs; the aim is {AIM_MS} where "
        f"NumPy takes 90; here it took {statistics.median(numpy_times[1:]):.0f})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
