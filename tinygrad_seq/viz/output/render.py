"""From DOT text to pictures: by the ``dot`` program where it works, else by pygraphviz."""

from __future__ import annotations

import logging
import math
import re
import sys
from typing import Any, NamedTuple

from tinygrad_seq.errors import RenderError

__all__ = [
    "LEAST_DPI",
    "MAX_PIXELS",
    "MAX_SIDE",
    "TIMEOUT",
    "engine_of",
    "fitting_dpi",
    "paint_png",
    "render",
]

TIMEOUT = 60.0
MAX_SIDE = 32_000  # cairo draws nothing beyond 32,767 pixels a side
MAX_PIXELS = 250_000_000  # in all: a renderer takes four bytes for each
LEAST_DPI = 36.0  # below, figures cannot be read

_PLACED = re.compile(
    r'digraph \{\s*graph \[(?:dpi=[\d.]+, )?layout=nop2, bb="([-\d.,]+)"(?:, size="([\d.]+),)?'
)
_SVG_SIZE = re.compile(rb'<svg width="([\d.]+)pt" height="([\d.]+)pt"')
_PAD = 29.0  # points that a renderer leaves around a drawing, on both sides together
_IN_PROCESS = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog=sys.argv[2]))
"""
_SIGNS = {"svg": b"<svg", "png": b"\x89PNG\r\n", "pdf": b"%PDF"}
_ENDS = {"svg": b"</svg>", "png": b"IEND", "pdf": b"%%EOF"}
_failed: set[str] = set()
"""Programs that failed where pygraphviz did not: from then on it is asked first."""


class _Renderer(NamedTuple):
    name: str
    command: list[Any]


def engine_of(dot: str) -> str:
    """Graphviz' program for a DOT text: it places nothing where all positions are given."""
    return "neato" if _PLACED.match(dot) else "dot"


def render(dot: str, kind: str, timeout: float = TIMEOUT, smaller: str = "") -> bytes:
    """Paint DOT text as ``"svg"``, ``"png"`` or ``"pdf"``.

    A renderer runs in a process of its own, so that one that hangs or crashes takes nothing
    with it. If there are two, what the first cannot do is left to the second.

    Parameters
    ----------
    smaller : str
        How to get a smaller drawing, for messages.
    """
    renderers = _renderers(kind, engine_of(dot))
    if not renderers:
        raise RenderError(
            "no renderer: neither the dot program nor pygraphviz was found",
            expected="one of the two",
            hint="pip install pygraphviz (brings its own Graphviz), or install Graphviz from "
            "your system; the DOT text is complete without them: drawing.save('x.gv')",
        )
    failures: list[str] = []
    for renderer in renderers:
        picture, failure = _run(renderer, dot, kind, timeout)
        if picture is not None:
            if failures:
                _tell(renderers[0], failures[0])
            return picture
        failures.append(f"{renderer.name} {failure}")
    slow = any("took longer" in failure for failure in failures)
    advice = [smaller, "raise timeout="] if slow else ["repair it, or pip install pygraphviz"]
    raise RenderError(
        f"no renderer could paint {len(dot):,} characters of DOT",
        got="; ".join(failures),
        hint=", or ".join(filter(None, [*advice, "take the DOT text: drawing.dot"])),
    )


def _renderers(kind: str, engine: str) -> list[_Renderer]:
    """Those that there are, in the order to ask them."""
    import importlib.util
    import shutil

    from graphviz.backend.dot_command import command

    found, placed = [], engine == "neato"
    program = shutil.which("dot")
    if program is not None:
        _, *arguments = command(engine, kind, neato_no_op=2 if placed else None)
        found.append(_Renderer(program, [program, *arguments]))
    if importlib.util.find_spec("pygraphviz") is not None and sys.executable:
        engine = "nop2" if placed else engine
        found.append(
            _Renderer("pygraphviz", [sys.executable, "-I", "-c", _IN_PROCESS, kind, engine])
        )
    return sorted(found, key=lambda renderer: renderer.name in _failed)


def _run(
    renderer: _Renderer, dot: str, kind: str, timeout: float
) -> tuple[bytes, str] | tuple[None, str]:
    """The picture; or None, and what went wrong.

    ``graphviz.pipe`` has no timeout. What it runs programs with hands one on to Python.
    """
    from subprocess import TimeoutExpired

    from graphviz.backend.execute import CalledProcessError, ExecutableNotFound, run_check

    source = dot.encode("utf-8", "replace")
    try:
        done = run_check(
            renderer.command, input=source, capture_output=True, timeout=timeout, quiet=True
        )
    except TimeoutExpired:
        return None, f"took longer than {timeout:g} s"
    except (OSError, ExecutableNotFound) as error:
        cause = error.__cause__ or error
        return None, f"could not be started: {getattr(cause, 'strerror', None) or cause}"
    except CalledProcessError as error:
        return None, f"failed: {_last_words(error.stderr) or f'exit status {error.returncode}'}"
    if _is_whole(done.stdout, kind):
        return done.stdout, ""
    return (
        None,
        f"failed: {_last_words(done.stderr) or f'{len(done.stdout)} bytes that are no {kind}'}",
    )


def _last_words(stderr: bytes) -> str:
    return "; ".join(stderr.decode("utf-8", "replace").strip().splitlines()[-3:])


def _is_whole(picture: bytes, kind: str) -> bool:
    """Whether a picture begins and ends as its format does; an SVG is text, too."""
    if kind == "svg":
        try:
            picture.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return _SIGNS[kind] in picture[:4096] and _ENDS[kind] in picture[-1024:]


def _tell(broken: _Renderer, failure: str) -> None:
    """Say once that another renderer is used, since the broken one may cost its whole timeout."""
    if broken.name not in _failed:
        _failed.add(broken.name)
        logging.getLogger(__name__).warning("drawing without a renderer that failed: %s", failure)


def paint_png(dot: str, dpi: float, timeout: float = TIMEOUT, smaller: str = "") -> bytes:
    """Paint a PNG, at a lower resolution than `dpi` where it would be too large."""
    found = _PLACED.match(dot)
    if found is not None:
        left, bottom, right, top = map(float, found.group(1).split(","))
        width, height = right - left + _PAD, top - bottom + _PAD
        scale = float(found.group(2)) * 72 / width if found.group(2) else 1.0
        size = width * scale, height * scale
    else:  # only a renderer knows how large what it lays out itself becomes
        header = _SVG_SIZE.search(render(dot, "svg", timeout, smaller))
        size = (float(header.group(1)), float(header.group(2))) if header else (0.0, 0.0)
    dpi = fitting_dpi(*size, dpi, smaller)
    return render(dot.replace("graph [", f"graph [dpi={dpi:.6g}, ", 1), "png", timeout, smaller)


def fitting_dpi(width: float, height: float, dpi: float, smaller: str = "") -> float:
    """`dpi`, or as much as a renderer can paint of so many points; RenderError if too little."""
    inches, area = max(width, height) / 72, width * height / 72**2
    most = min(MAX_SIDE / max(inches, 1e-9), math.sqrt(MAX_PIXELS / max(area, 1e-9)))
    if most < LEAST_DPI:
        advice = [f"save it as .svg{'' if inches > 200 else ' or .pdf'}", smaller]
        raise RenderError(
            "a PNG of this drawing could not be read",
            expected=f"at least {LEAST_DPI:g} pixels per inch, at most {MAX_SIDE:,} a side",
            got=f"{width:,.0f} × {height:,.0f} points, {most:.2g} pixels per inch",
            hint=", or ".join(filter(None, advice)),
        )
    return min(dpi, most)
