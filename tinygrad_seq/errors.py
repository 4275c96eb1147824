"""The exceptions of the package: one small tree, one way of speaking.

Every message names what went wrong and then says what was expected, what was
found instead and what to try. Each class also derives from the built-in
exception that a NumPy or PyTorch user would catch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """A value as messages show it: on one line, not longer than one can read, and never an error.

    Examples
    --------
    >>> len(shown([0] * 1000))
    100
    """
    try:
        text = " ".join(form(value).split())
    except Exception:  # whatever a stranger's __repr__ does, the message must come
        text = f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


class TinygradSeqError(Exception):
    """Base of every error raised on purpose by this package.

    Parameters
    ----------
    what : str
        What went wrong, naming the operation and the argument.
    expected, got, hint : optional
        What was expected, what was found, and what to try; each becomes a line of
        its own when given.

    Examples
    --------
    >>> print(
    ...     ShapeError(
    ...         "matmul: inner sizes differ", expected="(3, n)", got=(4, 2), hint="transpose b"
    ...     )
    ... )
    matmul: inner sizes differ
      expected: (3, n)
      got: (4, 2)
      try: transpose b
    """

    def __init__(
        self,
        what: str,
        *,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.expected, self.got = what, expected, got
        lines = [what if isinstance(what, str) else shown(what, str)]
        for label, value in (("expected", expected), ("got", got), ("try", hint)):
            if value is not None:
                text = value if isinstance(value, str) else shown(value, str)
                lines.append(f"  {label}: {text}")
        super().__init__("\n".join(lines))

    def advising(self, hint: str) -> TinygradSeqError:
        """The same error with other advice, for those who cannot follow the first."""
        return type(self)(self.what, expected=self.expected, got=self.got, hint=hint)


@contextmanager
def advising(hint: str) -> Iterator[None]:
    """Give other advice in errors from inside, for those who cannot follow the first.

    Examples
    --------
    >>> with advising("a longer text"):
    ...     raise DataError("too short", hint="fewer streams")
    Traceback (most recent call last):
    tinygrad_seq.errors.DataError: too short
      try: a longer text
    """
    try:
        yield
    except TinygradSeqError as error:
        raise error.advising(hint) from error


class ShapeError(TinygradSeqError, ValueError):
    """Ranks or sizes do not fit together."""


class DtypeError(TinygradSeqError, TypeError):
    """A dtype is not the one an operation needs, or two would mix silently."""


class IndexRangeError(TinygradSeqError, IndexError):
    """A token, class or index lies outside its range."""


class MissingNameError(TinygradSeqError, AttributeError):
    """Nothing here has this name; the same job may have another."""


class ConfigError(TinygradSeqError, ValueError):
    """An option has a value that cannot work."""


class ArgumentError(ConfigError, TypeError):
    """A function has no argument of that name, but one that means the same."""


class GraphError(TinygradSeqError, RuntimeError):
    """The recorded graph cannot answer: freed, cut, changed, or never recorded."""


class NotDifferentiableError(TinygradSeqError, TypeError):
    """A gradient was asked for where there is none."""


class NonFiniteError(TinygradSeqError, FloatingPointError):
    """A NaN or an infinity where only finite numbers can be used."""


class StateDictError(TinygradSeqError, ValueError):
    """Names, shapes or dtypes in a state dict do not match the module."""


class DataError(TinygradSeqError, ValueError):
    """A text or data set cannot be used: unreadable, empty, too short, unknown symbol."""


class CheckpointError(TinygradSeqError, ValueError):
    """A checkpoint is missing, incomplete or not of this program."""


class RenderError(TinygradSeqError, RuntimeError):
    """A drawing could not be rendered; its DOT text is still available."""
