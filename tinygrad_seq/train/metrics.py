"""Measuring a model without touching it, and the table that a run writes."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Number
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_seq import nn, ops
from tinygrad_seq.checks import count, instance_of, integers_of, path_of, sequence_of, shown
from tinygrad_seq.errors import ConfigError, DataError
from tinygrad_seq.files import write
from tinygrad_seq.nn import evaluating

__all__ = ["Evaluation", "MetricsTable", "evaluate", "evaluating"]

_WINDOW = 64  # steps run at a time: bounds the memory, changes nothing
_GROUP = 128  # rows run at a time where the state is reset


class Evaluation(NamedTuple):
    """Mean cross-entropy of a model on a text.

    Examples
    --------
    >>> from tinygrad_seq import charlm, train
    >>> round(train.Evaluation(nats=1.386294, tokens=100).bits, 3)
    2.0
    """

    nats: float
    """Per character, natural logarithm."""
    tokens: int
    """Characters that were predicted."""

    @property
    def bits(self) -> float:
        """Per character, base 2."""
        return self.nats / math.log(2)


def evaluate(
    model: nn.Module, ids: Any, *, reset_every: int | None = None, streams: int = 16
) -> Evaluation:
    """Cross-entropy of `model` on the text `ids`: each character but the first is predicted once.

    Parameters
    ----------
    model : Module
        ``model(tokens, state) -> (logits, state)``. Its mode, its generators and whatever state
        a training loop carries are left alone.
    ids : integer array (L,)
        The text.
    reset_every : int, optional
        Start from the zero state at every so many characters: the setting of models with a
        fixed context. By default the state is carried on through the text.
    streams : int
        Where the state is carried: contiguous parts of the text that are read side by side, each
        from the zero state. 1 carries it from the first character to the last, slowly.

    Returns
    -------
    Evaluation
        ``.nats``, ``.bits``, ``.tokens``.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import charlm, train
    >>> model = charlm.CharLM(65, hidden=16, layers=1, rng=np.random.default_rng(0))
    >>> _ = model.head.weight.writable().fill(0)  # all characters equally likely: ln 65
    >>> result = train.evaluate(model, np.arange(500) % 65)
    >>> round(result.nats, 3), result.tokens
    (4.174, 499)
    """
    instance_of("evaluate: model", model, nn.Module)
    text = integers_of("evaluate: ids", ids)
    streams = count(1)("evaluate: streams", streams)
    if reset_every is not None:
        reset_every = count(1)("evaluate: reset_every", reset_every)
    if text.ndim != 1 or len(text) < 2:
        raise DataError(
            "evaluate: nothing to predict",
            expected="at least 2 characters, shape (L,)",
            got=text.shape,
        )
    pairs = len(text) - 1
    length = min(reset_every, pairs) if reset_every else -(-pairs // min(streams, pairs))
    tokens, targets = (_rows(part, length) for part in (text[:-1], text[1:]))
    total = 0.0
    with evaluating(model):
        for first in range(0, tokens.shape[1], _GROUP):
            group = slice(first, first + _GROUP)
            total += _nats(model, tokens[:, group], targets[:, group])
    return Evaluation(total / pairs, pairs)


def _rows(values: Any, length: int) -> Any:
    """Cut into rows of `length`, time-major, the last filled up with -1."""
    rows = -(-len(values) // length)
    padded = np.full(rows * length, -1, np.int64)
    padded[: len(values)] = values
    return padded.reshape(rows, length).T


def _nats(model: nn.Module, tokens: Any, targets: Any) -> float:
    total, state = 0.0, None
    for t in range(0, len(tokens), _WINDOW):
        window = slice(t, t + _WINDOW)
        logits, state = model(np.maximum(tokens[window], 0), state)
        loss = ops.cross_entropy(logits, targets[window], ignore_index=-1, reduction="sum")
        total += float(loss.item())
    return total


class MetricsTable:
    """Rows of a CSV file, written as they come, so that a run that dies leaves what it measured.

    Parameters
    ----------
    path : path-like
        The file. It is made with its header; an existing one is continued.
    columns : sequence of str
        The header.
    keep_until : int, optional
        When continuing: rows whose first column is above it are dropped (they come from beyond
        the checkpoint that a run is resumed from).
    """

    def __init__(
        self, path: str | os.PathLike[str], columns: Sequence[str], keep_until: int | None = None
    ) -> None:
        self.path = path_of("MetricsTable: path", path)
        given = sequence_of("MetricsTable: columns", columns, "names")
        self.columns = tuple(instance_of("MetricsTable: a column", name, str) for name in given)
        if not self.columns:
            raise ConfigError("MetricsTable: columns", expected="at least one")
        if keep_until is not None:
            keep_until = count(0)("MetricsTable: keep_until", keep_until)
        rows = self.read(self.path) if keep_until is not None and self.path.exists() else []
        first = self.columns[0]
        kept = [row for row in rows if (row.get(first) or "").isdecimal()]
        kept = [row for row in kept if int(row[first]) <= (keep_until or 0)]
        with io.StringIO(newline="") as text:
            writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)
            write(
                self.path, text.getvalue().encode("utf-8", "replace"), _table(self.path), DataError
            )

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a row; columns left out stay empty."""
        instance_of("MetricsTable.write: row", row, dict)
        unknown = [shown(name) for name in row if name not in self.columns]
        if unknown:
            raise ConfigError(
                "MetricsTable.write: a column that the table does not have",
                expected=", ".join(self.columns),
                got=", ".join(unknown),
            )
        told = {k: f"{v:.6g}" if isinstance(v, float) else _cell(k, v) for k, v in row.items()}
        with _files(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(told)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> list[dict[str, str]]:
        """All rows of such a file, as text."""
        file = path_of("MetricsTable.read: path", path)
        with _files(file), file.open(newline="", encoding="utf-8") as rows:
            return list(csv.DictReader(rows))

    @classmethod
    def column(
        cls, path: str | os.PathLike[str], x: str, y: str
    ) -> tuple[list[float], list[float]]:
        """Two columns as numbers, where both are filled: a curve."""
        for name in (x, y):
            instance_of("MetricsTable.column: a name", name, str)
        rows = [row for row in cls.read(path) if row.get(x) and row.get(y)]
        try:
            return [float(row[x]) for row in rows], [float(row[y]) for row in rows]
        except ValueError as error:
            raise DataError(f"MetricsTable.column: {x!r} and {y!r}", got=str(error)) from error


def _cell(name: str, value: Any) -> Any:
    """A value as it is written: one that says in text what it is."""
    if value is None or isinstance(value, (str, bool, Number)):
        return value if not isinstance(value, str) else value.encode("utf-8", "replace").decode()
    raise ConfigError(
        f"MetricsTable.write: {name}", expected="a number or a text", got=shown(value)
    )


def _table(path: Path) -> str:
    return f"MetricsTable: {str(path)!r}"


@contextmanager
def _files(path: Path) -> Iterator[None]:
    """Say in the project's words that a file cannot be read or written."""
    try:
        yield
    except (OSError, ValueError, csv.Error) as error:  # ValueError: no such path, no UTF-8
        raise DataError(
            f"{_table(path)} cannot be used",
            expected="a CSV file in an existing folder",
            got=str(error),
        ) from error
