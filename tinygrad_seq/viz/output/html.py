"""One self-contained HTML file: the drawing to walk around in, with a slider through time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tinygrad_seq.viz.graph.items import Graph
from tinygrad_seq.viz.picture.shapes import Panel
from tinygrad_seq.viz.picture.style import Theme

__all__ = ["embedded", "filled", "page", "page_data"]

MOST_STEPS = 1_000_000


def page_data(graph: Graph, panels: Iterable[Panel], theme: Theme) -> dict[str, Any]:
    """What the page's script needs: norms over time, and which panel shows which steps."""
    series = []
    told = graph.series if graph.length <= MOST_STEPS else {}  # numbered by hand, perhaps
    for (row, role), steps in sorted(told.items()):
        values: list[float | None] = [None] * graph.length
        gradients: list[float | None] = [None] * graph.length
        for step, (value, gradient) in steps.items():
            at = step - graph.start
            values[at], gradients[at] = _finite(value), _finite(gradient)
        series.append({"row": row, "role": role, "values": values, "gradients": gradients})
    return {
        "length": graph.length if series else 0,
        "start": graph.start,
        "series": series,
        "panels": {f"p:{panel.id}": panel.steps for panel in panels},
        "colors": {"value": theme.h, "gradient": theme.gradient},
    }


def _finite(norm: float | None) -> float | None:
    """JSON knows no infinities."""
    return norm if norm is not None and math.isfinite(norm) else None


def page(svg: str, title: str, data: dict[str, Any], theme: Theme) -> str:
    """The page around an SVG. Loads nothing, and its policy forbids that it ever would."""
    from html import escape

    told = {"title": escape(title), "svg": svg[svg.index("<svg") :], "data": embedded(data)}
    fields = {**vars(theme), **told}
    return filled(Path(__file__).with_name("page.html"), fields)


def embedded(data: Any) -> str:
    """JSON for a script element: no string in it can end the element."""
    import json

    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def filled(template: Path, fields: Mapping[str, Any]) -> str:
    """A template of this folder with its ``{{names}}`` filled in, once: fields stay literal."""
    pieces = template.read_text("utf-8").split("{{")
    made = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        made += [fields[name], rest]
    return "".join(made)
