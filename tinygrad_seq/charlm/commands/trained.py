"""``sample``, ``draw``, ``cells``: what can be done with a trained model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from tinygrad_seq import celltext, charlm
from tinygrad_seq.celltext.page import check_page
from tinygrad_seq.charlm.commands.words import add
from tinygrad_seq.data import pydoc_topics, read_text, split_text
from tinygrad_seq.errors import ConfigError, advising
from tinygrad_seq.viz.api import DIRECTIONS, WEIGHTS
from tinygrad_seq.viz.graph.views import LEVELS, VIEWS
from tinygrad_seq.viz.output.drawing import FORMATS, format_of
from tinygrad_seq.viz.picture.look import RANKDIRS
from tinygrad_seq.viz.picture.style import THEMES

__all__ = ["COMMANDS"]

_RUN = "folder of a run, or a checkpoint"
_TEXT = "UTF-8 file to read; default: what the run held out"
_KNOWS = "a model knows the characters of the text that it learnt"


# -- sample ---------------------------------------------------------------------------------------


def _sample_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=_RUN)
    add(parser, "--length", "characters", 500)
    add(parser, "--temperature", "lower is safer, 0 always takes the likeliest", 0.8)
    add(parser, "--prime", "text to continue", "", metavar="TEXT")
    add(parser, "--seed", "for the same text again", type=int)


def _sample(options: argparse.Namespace) -> int:
    import numpy as np

    if options.seed is not None and options.seed < 0:
        raise ConfigError("--seed", expected="an integer of at least 0", got=options.seed)
    model, vocabulary, _ = charlm.load_char_lm(options.run)
    with advising(f"leave it out of --prime; {_KNOWS}"):
        vocabulary.encode(options.prime)
    characters = charlm.generate(
        model,
        vocabulary,
        options.length,
        prime=options.prime,
        temperature=options.temperature,
        rng=np.random.default_rng(options.seed),
    )
    print(options.prime, end="")
    for character in characters:
        print(character, end="", flush=character == "\n")
    print()
    return 0


# -- draw -----------------------------------------------------------------------------------------


def _draw_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=_RUN)
    kinds = ", ".join(f".{kind}" for kind in FORMATS)
    said = f"{kinds}; the suffix says which (default: VIEW-LEVEL.svg beside the checkpoint)"
    add(parser, "--out", said, metavar="FILE")
    group = parser.add_argument_group("what is drawn")
    add(group, "--text", _TEXT, metavar="FILE")
    add(group, "--steps", "characters to read", 5, metavar="T")
    said = "the forward pass alone, without norms"
    group.add_argument("--no-gradients", action="store_true", help=said)
    group = parser.add_argument_group("how it is drawn (docs/drawing.md shows each)")

    def one_of(flag: str, known: Iterable[str], text: str) -> None:
        add(group, flag, text, next(iter(known)), choices=tuple(known))

    one_of("--view", VIEWS, "what becomes of the time steps")
    one_of("--level", LEVELS, "layers as boxes, gates by name, or every recorded node")
    one_of("--direction", DIRECTIONS, "with the gradients' way back")
    said = "shared weights (default: once, at op level labels)"
    add(group, "--weights", said, choices=WEIGHTS)
    said = "close modules D names deep: one box each (default: all are open)"
    add(group, "--depth", said, type=int, metavar="D")
    group = parser.add_argument_group("how the picture looks")
    add(group, "--title", "text over it", metavar="TEXT")
    said = "each character under its x_t, and what came next over its y_t"
    group.add_argument("--characters", action="store_true", help=said)
    one_of("--rankdir", RANKDIRS, "time from left to right, or down the page")
    add(group, "--width", "of the whole, in inches", type=float, metavar="W")
    add(group, "--font", "family", metavar="NAME")
    one_of("--theme", THEMES, "colours")
    group.add_argument("--no-legend", action="store_true", help="no key")


def _draw(options: argparse.Namespace) -> int:
    out = _out(options, f"{options.view}-{options.level}.svg")
    format_of(out)  # refused now, before anything is computed
    if options.steps < 1:
        raise ConfigError("--steps", expected="at least 1", got=options.steps)
    model, vocabulary, trained = charlm.load_char_lm(options.run)
    text = _text(options, trained)[: options.steps + 1]
    if len(text) < 2:
        raise ConfigError("--text", expected="at least 2 characters", got=f"{len(text)}")
    names = ["view", "level", "direction", "weights", "depth"]
    names += ["title", "rankdir", "width", "font", "theme"]
    labels = {"inputs": text[:-1], "outputs": text[1:]} if options.characters else {}
    with advising(f"another --text; {_KNOWS}"):
        ids = vocabulary.encode(text)
    drawing = charlm.draw_char_lm(
        model,
        ids,
        gradients=not options.no_gradients,
        legend=not options.no_legend,
        **labels,
        **{name: getattr(options, name) for name in names},
    )
    drawing.save(out)
    print(f"{drawing.title}: {out}")
    return 0


def _out(options: argparse.Namespace, name: str) -> Path:
    """The file to write: what was asked for, or `name` beside the checkpoint."""
    given = Path(options.run)
    out = Path(options.out or (given if given.is_dir() else given.parent) / name)
    if not out.parent.is_dir():
        raise ConfigError("--out", expected="a file in a folder that exists", got=str(out))
    return out


def _text(options: argparse.Namespace, trained: charlm.CharOptions) -> str:
    """The text to read: what was asked for, or what the run held out."""
    if options.text is not None:
        return read_text(options.text)
    source = pydoc_topics() if trained.text is None else read_text(trained.text)
    return split_text(source, trained.validation)[1]


# -- cells ----------------------------------------------------------------------------------------


def _cells_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help=_RUN)
    add(parser, "--text", _TEXT, metavar="FILE")
    add(parser, "--length", "characters of it, from its start", 2000)
    said = "how far back to ask what a prediction depends on, 0 for not at all"
    add(parser, "--horizon", said, 64, metavar="K")
    said = "whose prediction that is: of what came next, or of the likeliest"
    add(parser, "--target", said, "next", choices=("next", "likeliest"))
    said = "default: cells.html beside the checkpoint; with --text, cells-NAME.html"
    add(parser, "--out", said, metavar="FILE")


def _cells(options: argparse.Namespace) -> int:
    given = Path(options.run)
    # The report of a run links to units in its cells.html: another text gets a page of its own.
    name = "cells" if options.text is None else f"cells-{Path(options.text).stem}"
    out = _out(options, f"{name}.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError("--out", expected="a name ending in .html", got=str(out))
    if options.length < 2:
        raise ConfigError("--length", expected="at least 2", got=options.length)
    model, vocabulary, trained = charlm.load_char_lm(given)
    text = _text(options, trained)[: options.length]
    with advising(f"another --text; {_KNOWS}"):
        vocabulary.encode(text)
    title = (
        f"{Path(options.text or trained.text or 'pydoc_data.topics').name}, read by {given.name}"
    )
    with advising("a smaller --length"):
        check_page(model, len(text))
    seen = celltext.cell_text(
        model,
        text,
        vocabulary,
        horizon=options.horizon,
        target=options.target,
        title=title,
    )
    size = seen.save(out).stat().st_size
    for name in seen.properties:
        for unit in seen.correlations(name, top=1):
            print(f"{name:<22} {unit.r:+.2f}  {unit}")
    print(f"{len(seen.ids):,} characters, {size / 1e6:.1f} MB: {out}")
    return 0


COMMANDS = {
    "sample": ("let a trained model write", _sample_options, _sample),
    "draw": ("draw the recorded graph of a trained model", _draw_options, _draw),
    "cells": ("colour a text by what each unit of a trained model does", _cells_options, _cells),
}
