"""One long sequence as parallel streams, read window by window with the state carried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from tinygrad_seq.checks import count, flag, index_of
from tinygrad_seq.data.vocabulary import flat_ids
from tinygrad_seq.errors import DataError, IndexRangeError, advising

__all__ = ["Streams", "Window"]

Ids: TypeAlias = npt.NDArray[np.integer[Any]]


class Window(NamedTuple):
    """One step's worth of every stream: ``targets[t, n]`` comes right after ``tokens[t, n]``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq.data import Streams
    >>> tokens, targets = next(Streams(np.arange(8), streams=2).windows(3))
    >>> tokens.shape, (targets - tokens).tolist()
    ((3, 2), [[1, 1], [1, 1], [1, 1]])
    """

    tokens: Ids
    targets: Ids


class Streams:
    r"""Cut a sequence into N contiguous streams and read them side by side.

    Stream n is ``ids[n * S : (n + 1) * S]`` with ``S = L // N``; the last ``L - N * S`` symbols
    do not fill a row and are left out (:attr:`unused`). Each stream gives S - 1 pairs of a
    token and the symbol after it *in the same stream*: no target crosses from one stream to
    the next, none wraps around to the start, and no position is a target twice.

    Successive windows of :meth:`windows` continue where the one before stopped, so a
    recurrent state carried from window to window belongs to the same N places in the text
    (truncated backpropagation through time).

    Parameters
    ----------
    ids : array_like of int, shape (L,)
        The sequence. It is copied into the time-major layout, in its own dtype.
    streams : int, default 1
        N, the batch size.

    Attributes
    ----------
    streams : int
        N.
    length : int
        S, the symbols in each stream.
    unused : int
        Symbols at the end of `ids` that fill no row.

    Raises
    ------
    DataError
        There are fewer than two symbols for each stream.
    DtypeError, ShapeError, ConfigError
        The ids are no integers or not flat, or `streams` is no positive integer.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq.data import Streams
    >>> streams = Streams(np.arange(11), streams=2)
    >>> for tokens, targets in streams.windows(3):
    ...     print(tokens.T.tolist(), "->", targets.T.tolist())
    [[0, 1, 2], [5, 6, 7]] -> [[1, 2, 3], [6, 7, 8]]
    [[3], [8]] -> [[4], [9]]
    """

    __slots__ = ("_rows", "length", "streams", "unused")

    def __init__(self, ids: npt.ArrayLike, streams: int = 1) -> None:
        array = flat_ids("Streams: ids", ids)
        self.streams = count(1)("Streams: streams", streams)
        self.length = len(array) // self.streams
        self.unused = len(array) - self.streams * self.length
        if self.length < 2:
            raise DataError(
                f"Streams: the text is too short for {self.streams} streams",
                expected=f"at least {2 * self.streams} symbols "
                "(every stream needs a token and its target)",
                got=f"{len(array)} symbols",
                hint=f"use at most {max(len(array) // 2, 1)} streams, or a longer text",
            )
        used = array[: self.streams * self.length].reshape(self.streams, self.length)
        # Row t is what all streams read at time t, so that a window is one slice of memory.
        self._rows: Ids = np.array(used.T, order="C")
        self._rows.flags.writeable = False  # windows are views: nobody may write into the text

    def __repr__(self) -> str:
        return f"Streams(streams={self.streams}, length={self.length}, unused={self.unused})"

    def stream(self, n: int) -> Ids:
        """Return the symbols of stream `n`, shape (S,).

        Examples
        --------
        >>> Streams([3, 1, 4, 1, 5, 9], streams=2).stream(1).tolist()
        [1, 5, 9]
        """
        n = index_of("Streams.stream: n", n)
        if not 0 <= n < self.streams:
            raise IndexRangeError(
                "Streams.stream: there is no such stream",
                expected=f"0 to {self.streams - 1}",
                got=n,
            )
        return self._rows[:, n]

    def window_count(self, k: int, *, drop_last: bool = False) -> int:
        """Count the windows that one pass of :meth:`windows` yields.

        Examples
        --------
        >>> streams = Streams(range(11), streams=2)
        >>> streams.window_count(3), streams.window_count(3, drop_last=True)
        (2, 1)
        """
        k = int(count(1)("Streams.windows: the window length k", k))
        flag("Streams.windows: drop_last", drop_last)
        pairs = int(self.length) - 1
        if pairs < k:
            raise DataError(
                f"Streams.windows: the text is shorter than one window of {k} steps",
                expected=f"at least {self.streams * (k + 1)} symbols ({self.streams} streams "
                f"of {k} tokens and a last target)",
                got=f"{self.streams * self.length + self.unused} symbols, {pairs} pairs per stream",
                hint=f"use windows of at most {pairs} steps, fewer streams, or a longer text",
            )
        return pairs // k if drop_last else -(-pairs // k)

    def windows(self, k: int, *, start: int = 0, drop_last: bool = False) -> Iterator[Window]:
        """Iterate over windows of `k` steps, time-major.

        Parameters
        ----------
        k : int
            Steps in a window.
        start : int, default 0
            Windows to leave out at the front: to resume a pass after `start` windows. The
            remaining ones are the same as in an uninterrupted pass.
        drop_last : bool, default False
            Whether to leave out a last window of fewer than `k` steps.

        Yields
        ------
        Window
            ``(tokens, targets)``, both (k, N) and read-only views: ``targets[t, n]`` is the
            symbol after ``tokens[t, n]`` in stream n.

        Raises
        ------
        DataError
            A stream is shorter than one window. Raised by the call, before any iteration.
        ConfigError
            `k` is no positive integer, or `start` is not a window of this pass.

        Examples
        --------
        >>> import numpy as np
        >>> streams = Streams(np.arange(10), streams=1)
        >>> [tokens[:, 0].tolist() for tokens, _ in streams.windows(4, start=1)]
        [[4, 5, 6, 7], [8]]
        """
        windows = self.window_count(k, drop_last=drop_last)
        place = f"Streams.windows: start among {windows} windows of {k} steps"
        with advising("resume with the same text, number of streams and window length"):
            start = count(0, windows)(place, start)
        pairs = self.length - 1
        return (
            Window(self._rows[t : min(t + k, pairs)], self._rows[t + 1 : min(t + k, pairs) + 1])
            for t in range(start * k, windows * k, k)
        )
