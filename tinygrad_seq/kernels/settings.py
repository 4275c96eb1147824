"""How kernels run: on how many threads, and which."""

from __future__ import annotations

import os

from tinygrad_seq.checks import choice, count

__all__ = ["Config", "config"]

KERNELS = ("numpy", "compiled")


class Config:
    """What may be set for the whole process, as attributes of :data:`tinygrad_seq.config`.

    Attributes
    ----------
    threads : int
        On how many threads the rows of a batch are shared out; the cores at first, or what the
        environment variable ``TINYGRAD_SEQ_THREADS`` says. Results depend on it in the last
        digit alone, and not from run to run.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> before = tgs.config.threads
    >>> tgs.config.threads = 1
    >>> tgs.config
    Config(threads=1)
    >>> tgs.config.threads = before
    """

    def __init__(self) -> None:
        text = os.environ.get("TINYGRAD_SEQ_THREADS", "")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        self._threads = int(text) if text.isdecimal() and int(text) else cores or os.cpu_count() or 1

    @property
    def threads(self) -> int:
        """On how many threads the rows of a batch are shared out."""
        return self._threads

    @threads.setter
    def threads(self, value: int) -> None:
        self._threads = count(1, 1024)("config.threads", value)

    def __repr__(self) -> str:
        return f"Config(threads={self.threads})"


config = Config()
"""The settings of this process."""
