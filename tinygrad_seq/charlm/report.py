"""What a finished run leaves to look at: pictures, cells.html, summary.json, report.html.

All of it is made from files and a model that are already saved, and none of it is worth losing
them: whatever fails is reported, and the rest goes on.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from tinygrad_seq import celltext, ops, viz
from tinygrad_seq.charlm.loop import METRICS, SAMPLES
from tinygrad_seq.charlm.machine import machine
from tinygrad_seq.charlm.model import CharLM
from tinygrad_seq.charlm.run import CharRun, HeldOut
from tinygrad_seq.checks import flag, instance_of, integers_of, number, path_of
from tinygrad_seq.data import ngram_cross_entropy
from tinygrad_seq.engine.mode import enable_grad
from tinygrad_seq.errors import ShapeError
from tinygrad_seq.nn import Module
from tinygrad_seq.train.metrics import Evaluation, MetricsTable, evaluating
from tinygrad_seq.viz.output.html import filled

__all__ = ["REPORT_FILES", "draw_char_lm", "write_report", "yardsticks"]

REPORT_FILES = ("report.html", "cells.html", "loss.png", "unrolled.svg")

_DRAWN_STEPS = 5
_READ = {"length": 1000, "horizon": 50}  # of cells.html: a few seconds
_ORDERS = (0, 3)


def write_report(
    run: CharRun, folder: str | os.PathLike[str], held_out: HeldOut
) -> tuple[dict[str, Any], list[str]]:
    """Write the report of a run into its folder.

    Parameters
    ----------
    run : CharRun
        Trained.
    folder : path-like
        With the metrics.csv and samples.txt of the run.
    held_out : HeldOut
        The last validation.

    Returns
    -------
    summary : dict
        What summary.json holds: results, yardsticks, options, machine.
    problems : list of str
        What could not be made, and why; empty if all went well.
    """
    instance_of("write_report: run", run, CharRun)
    for part in instance_of("write_report: held_out", held_out, HeldOut):
        instance_of("write_report: held_out", part, Evaluation)
        number()("write_report: nats", part.nats)
    place = path_of("write_report: folder", folder)
    problems: list[str] = []

    def attempt(what: str, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except Exception as error:
            told = " ".join(str(error).split()) or type(error).__name__
            problems.append(f"{what} was not made: {told}")
            return None

    lines = attempt("the n-gram yardsticks", lambda: yardsticks(run)) or {}
    summary = _summary(run, held_out, lines)
    text = json.dumps(summary, indent=2) + "\n"
    attempt("summary.json", lambda: (place / "summary.json").write_text(text, encoding="utf-8"))
    attempt("loss.png", lambda: plot_loss(place, lines))
    attempt("unrolled.svg", lambda: draw_unrolled(run, place / "unrolled.svg"))
    units = attempt("cells.html", lambda: write_cells(run, place / "cells.html"))
    attempt("report.html", lambda: _write_html(place, summary, list(problems), units))
    return summary, problems


def yardsticks(run: CharRun) -> dict[int, float]:
    """Bits per character held out of n-gram models counted on the training text, by order."""
    return {
        order: ngram_cross_entropy(
            run.train_text, run.held_out_text, order, symbols=len(run.vocabulary)
        )
        for order in _ORDERS
    }


def _summary(run: CharRun, held_out: HeldOut, lines: dict[int, float]) -> dict[str, Any]:
    return {
        "held_out_nats": held_out.carried.nats,
        "held_out_bits": held_out.carried.bits,
        "held_out_reset_every_64_nats": held_out.reset.nats,
        "held_out_reset_every_64_bits": held_out.reset.bits,
        "best_held_out_nats": run.best,
        "ngram_bits": {str(order): bits for order, bits in lines.items()},
        "uniform_bits": math.log2(len(run.vocabulary)),
        "parameters": run.model.num_parameters(),
        "steps": run.step,
        "epochs": run.epoch,
        "training_seconds": run.seconds,
        "train_characters": len(run.train_text),
        "held_out_characters": len(run.held_out_text),
        "symbols": len(run.vocabulary),
        "text_sha256": run.digest,
        "machine": machine()._asdict(),
        "options": run.options.to_dict(),
    }


# -- pictures -------------------------------------------------------------------------------------


def draw_unrolled(run: CharRun, path: Path) -> None:
    """Draw the recorded graph of the trained model on the first characters held out.

    Where no picture can be rendered, the DOT text is kept beside it (.gv).
    """
    draw_char_lm(run.model, run.held_out_ids[: _DRAWN_STEPS + 1]).save(path)


def draw_char_lm(model: CharLM, ids: Any, *, gradients: bool = True, **options: Any) -> viz.Drawing:
    """Draw what a character model records as it reads a text and predicts its next characters.

    Parameters
    ----------
    model : CharLM
        Run in evaluation mode; nothing about it changes.
    ids : (T + 1,) integers
        The text: all but the last character are read, all but the first predicted.
    gradients : bool
        Send the gradients of the loss through the graph too, for their norms.
    **options
        Of :func:`tinygrad_seq.viz.draw`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_seq import charlm, train
    >>> model = charlm.CharLM(5, hidden=4, layers=1, rng=np.random.default_rng(0))
    >>> charlm.draw_char_lm(model, [0, 3, 1, 4], view="rolled").title
    'rolled graph, module level, 3 time steps'
    """
    instance_of("draw_char_lm: model", model, Module)
    flag("draw_char_lm: gradients", gradients)
    tokens = integers_of("draw_char_lm: ids", ids)
    if tokens.ndim != 1 or len(tokens) < 2:
        raise ShapeError(
            "draw_char_lm: ids", expected="(T + 1,), at least 2 characters", got=tokens.shape
        )
    tokens = tokens[:, None]

    def loss(result: Any) -> Any:
        return ops.cross_entropy(result[0], tokens[1:])

    with evaluating(model), enable_grad():
        return viz.draw_model(model, tokens[:-1], loss=loss if gradients else None, **options)


def write_cells(run: CharRun, path: Path) -> list[tuple[str, str, Any]]:
    """Colour the first characters held out by the units of the model (cells.html).

    Returns, for each property of the text that a unit follows, its name, the address of the page
    that shows the unit, and the :class:`~tinygrad_seq.celltext.properties.Correlation`; strongest
    first.
    """
    text = run.held_out_text[: _READ["length"]]
    title = f"{run.options.model.upper()}: what its units do"
    seen = celltext.cell_text(
        run.model, text, run.vocabulary, horizon=_READ["horizon"], title=title
    )
    seen.save(path)
    best = [
        (name, path.name + seen.address(name, found), found)
        for name in seen.properties
        for found in seen.correlations(name, 1)
    ]
    return sorted(best, key=lambda row: -abs(row[2].r))


def plot_loss(folder: Path, lines: dict[int, float]) -> None:
    """Plot bits per character against updates, with the yardsticks as horizontal lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def curve(name: str) -> tuple[list[float], list[float]]:
        return MetricsTable.column(folder / METRICS, "step", name)

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, train = curve("train_bits")
    axes.plot(steps, train, color="#9db4c8", linewidth=0.9, label="training, each window")
    held = curve("held_out_bits")
    axes.plot(*held, "o-", color="#0b5394", label="held out, state carried", markersize=4.5)
    reset = curve("held_out_reset_bits")
    axes.plot(
        *reset, "s--", color="#b45f06", label="held out, state reset every 64", markersize=3.5
    )
    for order, bits in lines.items():
        axes.axhline(bits, color="#666666", linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        axes.annotate(
            f"{bits:.2f}  order-{order}\nn-gram model,\nheld out",
            (1.0, bits),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color="#444444",
            annotation_clip=False,  # beside the axes, where no curve goes
        )
    seen = [*train, *held[1], *reset[1], *lines.values()]
    if seen:
        # The first updates fall from log2 of the alphabet; what follows is the interesting part.
        top = max([*lines.values(), min(seen) * 1.3]) * 1.06
        axes.set_ylim(min(seen) * 0.93, max(top, min(seen) + 0.1))
    if held[0]:
        axes.annotate(
            f"{held[1][-1]:.2f}",
            (held[0][-1], held[1][-1]),
            xytext=(9, -3),
            textcoords="offset points",
            fontsize=9,
            color="#0b5394",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2},
        )
    axes.set_xlabel("update")
    axes.set_ylabel("bits per character")
    axes.set_xlim(0, 1.06 * max([1, *steps, *held[0]]))  # room for the last value
    axes.grid(visible=True, color="#eeeeee")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.92), edgecolor="none", framealpha=0.85)
    figure.savefig(folder / "loss.png", dpi=130)


# -- the page -------------------------------------------------------------------------------------


def _write_html(
    folder: Path,
    summary: dict[str, Any],
    problems: list[str],
    units: list[tuple[str, str, Any]] | None,
) -> None:
    options = summary["options"]
    source = options["text"] or "pydoc_data.topics"
    title = f"{options['model'].upper()} on {Path(source).name}"
    minutes, seconds = divmod(round(summary["training_seconds"]), 60)
    lead = (
        f"{options['layers']} × {options['hidden']} units, {summary['parameters']:,} parameters, "
        f"{summary['steps']:,} updates ({summary['epochs']:.1f} passes over "
        f"{summary['train_characters']:,} characters) in {minutes} min {seconds:02d} s"
    )
    fields = {
        "title": escape(title),
        "lead": escape(lead),
        "problems": "".join(f"<p class=problem>{escape(told)}</p>\n" for told in problems),
        "results": _results(summary),
        "loss": _figure(folder / "loss.png"),
        "samples": _samples(folder / SAMPLES),
        "units": _cells(units),
        "drawing": _drawing(folder / "unrolled.svg"),
        "details": _details(summary),
    }
    page = filled(Path(__file__).with_name("report.html"), fields)
    (folder / "report.html").write_text(page, encoding="utf-8", errors="replace")


def _results(summary: dict[str, Any]) -> str:
    rows = [("all symbols equally likely", summary["uniform_bits"], "")]
    for order, bits in summary["ngram_bits"].items():
        rows.append((f"n-gram model of order {order}, counted on the training text", bits, ""))
    reset = summary["held_out_reset_every_64_bits"]
    rows.append(("this model, state reset every 64 characters", reset, " class=own"))
    rows.append(("this model, state carried", summary["held_out_bits"], " class=own"))
    body = "".join(
        f"<tr{own}><td>{escape(name)}<td class=n>{bits:.3f}<td class=n>{bits * math.log(2):.3f}"
        for name, bits, own in rows
    )
    return f"<table><tr><th>predictor<th>bits/char<th>nats/char{body}</table>"


def _figure(path: Path) -> str:
    if not path.is_file():
        return ""
    caption = "Bits per character while training. Lower is better."
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _drawing(path: Path) -> str:
    if not path.is_file():
        return "<p>No picture was made; see above.</p>"
    text = path.read_text(encoding="utf-8")
    return (
        f"<figure><div class=wide>{text[text.index('<svg') :]}</div><figcaption>The recorded graph "
        f"of the trained model on {_DRAWN_STEPS} characters of the held-out text; time runs to the "
        "right.</figcaption></figure>"
    )


def _cells(units: list[tuple[str, str, Any]] | None) -> str:
    if units is None:
        return "<p>No page was made; see above.</p>"

    def half(r: float) -> str:
        return f"{r:+.2f}" if math.isfinite(r) else "–"

    rows = "".join(
        f'<tr><td>{escape(name)}<td><a href="{escape(address)}">{escape(str(unit))}</a>'
        f"<td class=n>{unit.r:+.2f}<td class=n>{half(unit.first)}, {half(unit.second)}"
        for name, address, unit in units
    )
    table = "<table><tr><th>property<th>unit<th>correlation<th>on either half"
    return (
        '<p><a href="cells.html">The held-out text, coloured by any unit or gate</a>, with the '
        "likeliest next characters and what each prediction depends on. The unit that follows "
        f"each property of the text most closely:</p>{table}{rows}</table>"
    )


def _samples(path: Path) -> str:
    if not path.is_file():
        return ""
    written = path.read_text(encoding="utf-8").split("=== step ")[1:]
    shown = written if len(written) <= 4 else [written[i] for i in (0, len(written) // 3, -1)]
    found = []
    for sample in shown:
        head, _, text = sample.partition("\n")
        found.append(f"<p>after update {escape(head)}</p><pre>{escape(text.strip())}</pre>")
    return "".join(found)


def _details(summary: dict[str, Any]) -> str:
    rows = {**summary["options"], **summary["machine"], "text sha256": summary["text_sha256"]}
    body = "".join(
        f"<tr><td>{escape(name)}<td><code>{escape(str(value))}</code>"
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<details><summary>Options and machine</summary><table>{body}</table></details>"
