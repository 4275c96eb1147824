"""Text in: reading files, the corpus that comes with Python, the split.

A symbol is one Unicode code point throughout. A text becomes a flat array of ids in the
order it was written (:class:`~tinygrad_seq.data.Vocabulary`), and that array is laid out
for training by :class:`~tinygrad_seq.data.Streams`.
"""

from __future__ import annotations

import math
import os
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt

from tinygrad_seq.checks import array_of, count, number, path_of
from tinygrad_seq.errors import ConfigError, DataError, ShapeError

__all__ = ["pydoc_topics", "read_text", "split_text"]

TextOrIds = TypeVar("TextOrIds", str, npt.NDArray[Any])


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 text file, strictly.

    A leading byte-order mark is dropped, and the line ends ``\r\n`` and ``\r`` become
    ``\n`` (Python's universal newlines). Nothing else is changed.

    Parameters
    ----------
    path : str or path-like
        The file to read.

    Returns
    -------
    str
        At least one character.

    Raises
    ------
    DataError
        The file is missing, cannot be read, is a directory, is empty or is not UTF-8;
        the message names the file, and the byte where decoding stopped.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from tinygrad_seq.data import read_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "two-lines.txt")
    ...     _ = path.write_bytes(b"caf\xc3\xa9\r\nbar")
    ...     read_text(path)
    'café\nbar'
    """
    file = path_of("read_text: path", path)
    name = str(file)
    try:
        raw = file.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"read_text: there is no file {name!r}",
            expected="a UTF-8 text file",
            got=f"no such path, seen from {str(Path.cwd())!r}",
            hint="check the spelling, or give the full path",
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        folder = isinstance(error, IsADirectoryError)
        hint = "check the permissions of the file and of the folders above it"
        raise DataError(
            f"read_text: {name!r} {'is a directory' if folder else 'cannot be read'}",
            expected="a readable UTF-8 text file",
            got=None if folder else str(error),
            hint="name a file in it, or join its files into one first" if folder else hint,
        ) from error
    text = _decode_utf8(raw, name).removeprefix("\ufeff")
    if not text:
        raise DataError(
            f"read_text: {name!r} is empty",
            expected="at least one character",
            got=f"{len(raw)} bytes",
            hint="check that the file was written completely",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _decode_utf8(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        source = "UTF-16" if utf16 else "LATIN1"
        raise DataError(
            f"read_text: {name!r} is not UTF-8",
            expected="UTF-8 from the first byte to the last",
            got=f"byte 0x{raw[error.start]:02x} at offset {error.start} (line {line}): "
            f"{error.reason}" + ("; it starts like UTF-16" if utf16 else ""),
            hint=f"convert it, for example: iconv -f {source} -t UTF-8 {name} > utf8.txt",
        ) from error


def pydoc_topics() -> str:
    """Return the language reference that every CPython carries: a corpus with no download.

    The text of ``pydoc_data.topics``, topics in alphabetical order, joined by a newline:
    some 465,000 characters of English and code, about 100 distinct symbols. It differs a
    little from one Python release to the next, never between two runs of the same one.

    Raises
    ------
    DataError
        This Python was packaged without ``pydoc_data``.

    Examples
    --------
    >>> from tinygrad_seq.data import pydoc_topics
    >>> text = pydoc_topics()
    >>> len(text) > 300_000, text.splitlines()[0]
    (True, 'The "assert" statement')
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError(
            "pydoc_topics: this Python carries no pydoc_data.topics",
            expected="the standard library's pydoc_data package",
            got=str(error),
            hint="use a text file of your own (read_text), or a Python from python.org",
        ) from error
    return "\n".join(topics[name] for name in sorted(topics))


def split_text(text: TextOrIds, validation: float = 0.1) -> tuple[TextOrIds, TextOrIds]:
    """Split a text into a training part and, after it, a validation part.

    Both are contiguous; together they are the text, and no symbol is in both. Training
    pairs and validation pairs are made from each part alone, so no target leaks across.

    Parameters
    ----------
    text : str or ndarray, shape (L,)
        Characters or ids. Arrays are split into views.
    validation : float or int, default 0.1
        A fraction between 0 and 1 (rounded up to whole symbols, so 0.1 of Tiny
        Shakespeare's 1,115,394 leaves the customary 1,003,854 to train on), or, as an
        integer, the exact number of symbols.

    Returns
    -------
    tuple
        ``(train, validation)``, of the type of `text`.

    Raises
    ------
    ConfigError
        `validation` is neither a fraction between 0 and 1 nor a positive integer.
    DataError
        A part would have fewer than the two symbols that make one token and its target.

    Examples
    --------
    >>> from tinygrad_seq.data import split_text
    >>> split_text("abcdefghij", validation=0.2)
    ('abcdefgh', 'ij')
    """
    if not isinstance(text, str):
        text = array_of("split_text: text", text)
        if text.ndim != 1:
            raise ShapeError(
                "split_text: ids have one axis",
                expected="(L,)",
                got=text.shape,
                hint="split first, then lay the parts out in Streams",
            )
    length = len(text)
    what = "split_text: validation is a fraction or a number of symbols"
    try:
        held_out = share_or_count(what, validation)
    except ConfigError as error:
        raise ConfigError(
            what,
            expected="a float between 0 and 1, or a positive integer",
            got=error.got,
            hint="to train on everything, do not split",
        ) from None
    if isinstance(held_out, float):
        # Round the last bits away first: a tenth of 30 is 3, not a little more than 3.
        held_out = math.ceil(round(length * held_out, 6))
    if held_out < 2 or length - held_out < 2:
        raise DataError(
            "split_text: the text is too short for this split",
            expected="at least 2 symbols on each side (a token and its target)",
            got=f"{length} symbols: {length - held_out} to train on, {held_out} to validate on",
            hint="use a longer text or another validation size",
        )
    return text[: length - held_out], text[length - held_out :]


def share_or_count(name: str, value: Any) -> float | int:
    """Rule for a fraction between 0 and 1, or for a number of symbols."""
    rule = count(1) if isinstance(value, Integral) else number(0, 1, open_low=True, open_high=True)
    found: float | int = rule(name, value)
    return found
