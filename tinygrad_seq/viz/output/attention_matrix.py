"""Attention weights as a matrix: a row for every query, a column for every step of the memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from itertools import islice
from typing import Any

import numpy as np

from tinygrad_seq.checks import array_of, index_of
from tinygrad_seq.engine.node import Array
from tinygrad_seq.engine.variable import Variable
from tinygrad_seq.errors import ConfigError, NonFiniteError, RenderError, ShapeError, shown
from tinygrad_seq.ops.registry import constant
from tinygrad_seq.viz.graph.attention import picked_weights
from tinygrad_seq.viz.output.dot import dot_text
from tinygrad_seq.viz.output.drawing import Drawing
from tinygrad_seq.viz.picture.shapes import Line, Picture, Shape
from tinygrad_seq.viz.picture.style import HeatScale, Theme
from tinygrad_seq.viz.picture.themes import theme_for, theme_of

__all__ = ["draw_alignment"]

CELL = 34.0
MAX_CELLS = 4096


def draw_alignment(
    weights: Any,
    source: Sequence[Any] | None = None,
    target: Sequence[Any] | None = None,
    *,
    sample: int = 0,
    head: int | None = None,
    theme: str | Mapping[str, Any] = "light",
) -> Drawing:
    """Draw attention weights as a matrix, as Bahdanau et al. (2015) show alignments.

    Parameters
    ----------
    weights : (T, S), (N, T, S) or (N, heads, T, S)
        As the attention modules return them.
    source, target : sequence, optional
        S and T names (words, tokens), for columns and rows; the time steps by default.
        Longer ones are padding: rows and columns beyond the names are left out.
    sample : int
        Which sequence of a batch.
    head : int, optional
        Which head of weights with heads; by default the mean of all.
    theme : {"light", "dark"} or mapping
        Colours, as of :func:`~tinygrad_seq.viz.draw`: ``{"alignment": ["#ffffff", "#000000"]}``.

    Returns
    -------
    Drawing
        Every cell says its weight in figures, or nothing for one below 0.005; its tooltip has four
        decimals. The scale runs from 0 to 1.

    Raises
    ------
    ShapeError
        If the weights have another number of axes, or there are more names than steps.
    RenderError
        If there are more than 4,096 cells.
    ConfigError
        For an unknown theme, or a sample or a head that the weights do not have.
    NonFiniteError
        If a weight that is shown is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import viz
    >>> weights = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> drawing = viz.draw_alignment(weights, ["le", "chat"], ["the", "cat"])
    >>> drawing.title
    'attention weights, 2 × 2'
    """
    colors = theme_for(theme_of(theme, "draw_alignment"), {}, "draw_alignment")
    array = array_of(
        "draw_alignment: weights", constant(weights) if isinstance(weights, Variable) else weights
    )
    sample = index_of("draw_alignment: sample", sample)
    head = None if head is None else index_of("draw_alignment: head", head)
    table = _table(array, sample, head)
    rows = _names(target, len(table), "target")
    columns = _names(source, table.shape[1], "source")
    table = table[: len(rows), : len(columns)]
    if table.size > MAX_CELLS:
        raise RenderError(
            "draw_alignment: more cells than a reader can take",
            expected=f"at most {MAX_CELLS:,}",
            got=f"{table.shape[0]:,} × {table.shape[1]:,}",
            hint="pass a slice of the weights",
        )
    if not np.isfinite(table).all():
        row, column = np.argwhere(~np.isfinite(table))[0]
        raise NonFiniteError(
            "draw_alignment: weights",
            expected="finite numbers",
            got=f"{table[row, column]} of row {row}, column {column}",
        )
    picture = _painted(table, rows, columns, colors)
    return Drawing(dot_text(picture, colors), picture.title, theme=colors)


def _table(weights: Array, sample: int, head: int | None) -> Array:
    """(T, S) of the sequence and the head that were asked for."""
    if weights.ndim not in {2, 3, 4}:
        raise ShapeError(
            "draw_alignment: weights",
            expected="(T, S), (N, T, S) or (N, heads, T, S)",
            got=weights.shape,
        )
    if weights.ndim < 4 and head is not None:
        raise ConfigError(
            "draw_alignment: head, of weights without heads",
            expected="weights (N, heads, T, S)",
            got=f"head={head!r} of weights {weights.shape}",
            hint="leave head= out",
        )
    batch, sample = (weights[None], 0) if weights.ndim == 2 else (weights, sample)
    return picked_weights(batch, sample, head, "draw_alignment")


def _names(given: Sequence[Any] | None, size: int, what: str) -> list[str]:
    several = isinstance(given, Iterable) and getattr(given, "shape", None) != ()
    if given is not None and not several:
        raise ConfigError(
            f"draw_alignment: {what}", expected="a sequence of names", got=type(given).__name__
        )
    names = [shown(name, str) for name in islice(range(size) if given is None else given, size + 1)]
    if len(names) > size:
        count = len(given) if isinstance(given, Sized) else "more"
        raise ShapeError(f"draw_alignment: {what}", expected=f"at most {size} names", got=count)
    return names


def _painted(table: Array, rows: list[str], columns: list[str], theme: Theme) -> Picture:
    picture = Picture(title=f"attention weights, {len(rows)} × {len(columns)}")
    scale = HeatScale(0.0, 1.0, theme.alignment, log=False)
    width = max([CELL, *(Line(name, 11).width + 8 for name in columns)])

    def add_name(place: str, name: str, x: float, y: float, wide: float) -> None:
        shape = Shape(place, x, y, wide, 16, [Line(name, 11)], "text", tooltip=name)
        shape.classes = "name"
        picture.shapes.append(shape)

    for t, row in enumerate(rows):
        y, wide = -t * CELL, Line(row, 11).width
        add_name(f"row:{t}", row, -width / 2 - 8 - wide / 2, y, wide)
        for s, column in enumerate(columns):
            weight = float(table[t, s])
            text = f"{weight:.2f}" if abs(weight) >= 0.005 else ""
            lines = [Line(text, 9, color=scale.text(weight))] if text else []
            cell = Shape(f"cell:{t}:{s}", s * width, y, width, CELL, lines, "square", pen=0.5)
            cell.fill, cell.stroke, cell.classes = scale.color(weight), theme.panel_line, "cell"
            cell.tooltip = f"{row} to {column}: {weight:.4f}"
            picture.shapes.append(cell)
    for s, column in enumerate(columns):
        add_name(f"column:{s}", column, s * width, CELL / 2 + 14, width)
    return picture
