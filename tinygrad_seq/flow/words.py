"""What was found of a gradient's way through time, in words and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

from tinygrad_seq.flow.track import FADED, Track

__all__ = ["as_table", "in_words"]


def in_words(track: Track) -> str:
    """A short paragraph about one layer."""
    lags = len(track.decay) - 1
    if not lags:
        return f"{track.name}: one step only; nothing flows through time"
    sentence = f"{track.name}: the gradient {track.verdict}"
    left = f"{track.decay[-1]:.3g} of it is left after {lags} steps"
    limit = f"{FADED:.0%}" if track.rate < 1 else f"{1 / FADED:.0f} times"
    if track.verdict == "is carried":
        reach = (
            f"at this rate it would come to {limit} after about {track.horizon:.0f} steps"
            if np.isfinite(track.horizon)
            else "neither growing nor shrinking"
        )
    else:
        verb = "falls below" if track.verdict == "vanishes" else "passes"
        reach = f"it {verb} {limit} after {track.horizon:.0f} steps"
    lines = [f"{sentence}: {left} ({track.rate:.4g} per step); {reach}"]
    if track.cell_decay is not None and len(track.cell_decay) > 1:
        lines.append(
            f"  along the cells alone: {track.cell_decay[-1]:.3g} of dL/dc is left after "
            f"{len(track.cell_decay) - 1} steps ({track.cell_rate:.4g} per step)"
        )
    ratios = track.ratios[np.isfinite(track.ratios)]
    if ratios.size:
        lines.append(
            f"  Pascanu's ratio: median {np.median(ratios):.3g}, "
            f"from {ratios.min():.3g} to {ratios.max():.3g}"
        )
    return "\n".join([*lines, *(f"  {line}" for line in _weights(track))])


def _weights(track: Track) -> list[str]:
    """Of every recurrent weight the spectra of its blocks."""
    lines = []
    for name in track.weights:
        blocks = [
            f"{gate + ': ' if gate else ''}radius {s.radius:.3g}, sigma_max {s.largest:.3g}"
            for gate, s in track.spectra(name).items()
        ]
        if blocks:
            lines.append(f"{name}: {'; '.join(blocks)}")
    return lines


def as_table(loss: float, tracks: Iterable[Track]) -> str:
    """The same as a table in HTML, a row for every layer."""
    head = ("layer", "steps", "the gradient", "left at the start", "per step", "cells per step")
    rows = [_row("th", (*head, "Pascanu's ratio", "recurrent weights"))]
    for track in tracks:
        ratios = track.ratios[np.isfinite(track.ratios)]
        several = len(track.decay) > 1
        rows.append(
            _row(
                "td",
                (
                    track.name,
                    str(track.steps),
                    track.verdict if several else "has one step",
                    f"{track.decay[-1]:.3g}" if several else "",
                    f"{track.rate:.4g}" if several else "",
                    "" if track.cell_rate is None else f"{track.cell_rate:.4g}",
                    f"{np.median(ratios):.3g}" if ratios.size else "",
                    "\n".join(_weights(track)),
                ),
            )
        )
    return f"<p>loss {loss:.4g}</p>\n<table>\n{''.join(rows)}</table>"


def _row(kind: str, cells: Iterable[str]) -> str:
    texts = (escape(text).replace("\n", "<br/>") for text in cells)
    style = ' style="text-align: left; vertical-align: top"'
    return f"<tr>{''.join(f'<{kind}{style}>{text}</{kind}>' for text in texts)}</tr>\n"
