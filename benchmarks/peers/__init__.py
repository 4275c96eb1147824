"""How each contestant does the jobs of :mod:`benchmarks.rows`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.rows import Row


class Job(NamedTuple):
    """One row, ready to run: compiled on its first run at the latest."""

    run: Callable[[], Any]
    """What is timed."""
    check: Callable[[], dict[str, Any]]
    """Values that all contestants must agree on, by name; called once, before any run."""


Jobs = dict[str, Callable[[Row], Job]]
"""What a contestant can do, by the name of the job."""


def learning(p: dict[str, Any], loss_of: Callable[[], Any]) -> Job:
    """A loss and all its gradients, of what has a `backward`."""

    def run() -> float:
        for value in p.values():
            value.grad = None
        loss = loss_of()
        loss.backward()
        return float(loss.item())

    return Job(run, lambda: {"loss": run(), **{name: w.grad for name, w in p.items()}})


class Peer(NamedTuple):
    """Where the jobs of a contestant are, and the library that must be installed."""

    module: str
    jobs: str
    library: str


PEERS = {
    "ours": Peer("ours", "JOBS", "tinygrad_seq"),
    "pytorch": Peer("pytorch", "JOBS", "torch"),
    "eager": Peer("composed", "EAGER", "torch"),
    "jax": Peer("jax", "JOBS", "jax"),
    "autograd": Peer("composed", "AUTOGRAD", "autograd"),
    "mygrad": Peer("composed", "MYGRAD", "mygrad"),
}


def jobs_of(name: str) -> Jobs:
    """What a contestant can do; imports its library."""
    peer = PEERS[name]
    module = importlib.import_module(f"benchmarks.peers.{peer.module}")
    found: Jobs = getattr(module, peer.jobs)
    return found
