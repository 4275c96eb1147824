"""Time a chain of operations forward, backward and being freed, for growing lengths.

The time per operation should not grow with the length, and nothing recurses: all of it runs under
a recursion limit of 200.

    python benchmarks/chain.py [10000 100000 1000000]
"""

from __future__ import annotations

import argparse
import sys
import time

import tinygrad_seq as tgs


def measure(length: int) -> tuple[float, float, float]:
    """Seconds to build, to differentiate and to free a chain of `length` additions."""
    start = tgs.tensor(1.0, requires_grad=True)
    marks = [time.perf_counter()]
    end = start
    for _ in range(length):
        end = end + 1.0
    marks.append(time.perf_counter())
    end.backward()
    marks.append(time.perf_counter())
    del end
    marks.append(time.perf_counter())
    assert start.grad == 1
    return marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[2]


def main() -> None:
    """Print microseconds per operation for every length."""
    parser = argparse.ArgumentParser(description="time chains of operations")
    parser.add_argument("lengths", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    lengths = parser.parse_args().lengths
    sys.setrecursionlimit(200)
    print("   length    build  backward     free   (microseconds per operation)")
    for length in lengths:
        best = [min(part) for part in zip(*(measure(length) for _ in range(3)), strict=True)]
        print(f"{length:9,d}" + "".join(f"{1e6 * seconds / length:9.2f}" for seconds in best))


if __name__ == "__main__":
    main()
