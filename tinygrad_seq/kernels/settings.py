"""How kernels run: on how many threads, and which."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from tinygrad_seq.checks import choice, count
from tinygrad_seq.errors import ConfigError

__all__ = ["Config", "config"]


class Config:
    """What is set for the whole process, as attributes of :data:`tinygrad_seq.config`.

    Attributes
    ----------
    kernels : {"numpy", "compiled"}
        What runs recurrent layers: NumPy, or what Numba made of the same steps, where the extra
        ``fast`` is installed. That is then the default; ``TINYGRAD_SEQ_KERNELS`` says otherwise.
        Results differ in the last digit.
    threads : int
        On how many threads the rows of a batch are shared out: at first as many as there are
        cores, or as ``TINYGRAD_SEQ_THREADS`` says. Results depend on it in the last digit, and do
        not differ from run to run.

    Raises
    ------
    ConfigError
        For kernels of another name, or that are not installed, and fewer threads than one.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> before = tgs.config.threads
    >>> tgs.config.threads = 1
    >>> tgs.config.threads
    1
    >>> tgs.config.threads = before
    """

    def __init__(self) -> None:
        # Nothing is checked at import: a wrong variable is told when a kernel is to run.
        self._kernels = os.environ.get("TINYGRAD_SEQ_KERNELS") or None
        self._threads: int | str | None = os.environ.get("TINYGRAD_SEQ_THREADS") or None

    @property
    def kernels(self) -> str:
        """What runs recurrent layers."""
        if self._kernels is None:
            self._kernels = "numpy" if _missing() else "compiled"
        elif self._kernels not in ("numpy", "compiled"):
            choice("numpy", "compiled")("TINYGRAD_SEQ_KERNELS", self._kernels)
        return self._kernels

    @kernels.setter
    def kernels(self, value: str) -> None:
        choice("numpy", "compiled")("config.kernels", value)
        missing = _missing() if value == "compiled" else []
        if missing:
            raise ConfigError(
                "config.kernels",
                expected=f"{' and '.join(missing)}, which compiled kernels need",
                got="not installed",
                hint='pip install "tinygrad-seq[fast]"',
            )
        self._kernels = value

    @property
    def threads(self) -> int:
        """On how many threads the rows of a batch are shared out."""
        if not isinstance(self._threads, int):
            self._threads = _cores() if self._threads is None else _number(self._threads)
        return self._threads

    @threads.setter
    def threads(self, value: int) -> None:
        self._threads = count(1, 1024)("config.threads", value)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(type(self), name) and not name.startswith("_"):
            raise ConfigError(
                f"config has no setting {name!r}",
                expected="kernels or threads",
                got=f"{name} = {value!r}",
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"Config(kernels={self.kernels!r}, threads={self.threads})"


def _missing() -> list[str]:
    return [name for name in ("numba", "scipy") if importlib.util.find_spec(name) is None]


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _number(text: str) -> int:
    threads: int = count(1, 1024)("TINYGRAD_SEQ_THREADS", int(text) if text.isdecimal() else text)
    return threads


config = Config()
"""The settings of this process."""
