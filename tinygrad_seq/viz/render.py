"""From DOT text to pictures: the ``dot`` program where present, else pygraphviz."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from tinygrad_seq.errors import ConfigError, RenderError
from tinygrad_seq.viz.html import page
from tinygrad_seq.viz.style import theme as named_theme
from tinygrad_seq.viz.svg import polished

__all__ = ["FORMATS", "Drawing", "format_of", "render", "write"]

FORMATS = ("svg", "png", "pdf", "html", "gv")
TIMEOUT = 60.0
MAX_PIXELS = 32_000  # cairo draws nothing beyond 32,767 pixels a side

_PLACED = re.compile(r'digraph \{\s*graph \[(?:dpi=[\d.]+, )?layout=nop2, bb="([-\d.,]+)"')
_IN_PROCESS = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog=sys.argv[2]))
"""


class Drawing:
    """A finished drawing: DOT text, and pictures of it on demand.

    It holds text only: no tensor, node or array.

    Attributes
    ----------
    dot : str
        The drawing as DOT, complete with positions; needs no Graphviz to exist.

    Examples
    --------
    >>> import tinygrad_seq as tgs
    >>> w = tgs.tensor(2.0, requires_grad=True)
    >>> drawing = (w * w).draw()
    >>> drawing.dot.startswith("digraph")
    True
    """

    def __init__(
        self,
        dot: str,
        title: str = "",
        timeout: float = TIMEOUT,
        theme: str = "light",
        data: dict[str, Any] | None = None,
    ) -> None:
        self.dot = dot
        self.title = title
        self.timeout = timeout
        self._theme = theme
        self._data = data or {"length": 0, "series": [], "panels": {}, "colors": {}}

    def svg(self) -> str:
        """The drawing as a standalone SVG document.

        Raises
        ------
        RenderError
            If no renderer is present or it fails; ``.dot`` is still there.
        """
        return polished(render(self.dot, "svg", self.timeout).decode("utf-8"))

    def png(self, dpi: float = 144.0) -> bytes:
        """The drawing as PNG, `dpi` pixels per inch."""
        return render(_with_dpi(self.dot, dpi), "png", self.timeout)

    def pdf(self) -> bytes:
        """The drawing as PDF."""
        return render(self.dot, "pdf", self.timeout)

    def html(self) -> str:
        """The drawing as one interactive page that loads nothing from elsewhere.

        Zoom and move; point at a state or a weight to follow it through time; a slider goes
        through the time steps and shows the traced norms, those of elided steps too.
        """
        return page(self.svg(), self.title, self._data, named_theme(self._theme))

    def save(self, path: str | Path, dpi: float = 144.0) -> Path:
        """Write the drawing; the format follows from the suffix.

        Parameters
        ----------
        path : str or Path
            Ending in .svg, .png, .pdf, .html or .gv.
        dpi : float
            Pixels per inch of a PNG.

        Raises
        ------
        ConfigError
            If the suffix is another one, or the file cannot be written.
        RenderError
            If it cannot be rendered; the DOT text is then saved beside it, as .gv.
        """
        target = Path(path)
        kind = format_of(target)
        try:
            if kind == "gv":
                content = self.dot.encode("utf-8")
            elif kind in {"svg", "html"}:
                content = (self.svg() if kind == "svg" else self.html()).encode("utf-8")
            else:
                content = self.png(dpi) if kind == "png" else self.pdf()
        except RenderError as error:
            kept = target.with_suffix(".gv")
            write(kept, self.dot.encode("utf-8"), "Drawing.save")
            raise RenderError(f"{error}\n  kept: the DOT text is in {kept}") from error
        write(target, content, "Drawing.save")
        return target

    def _repr_svg_(self) -> str | None:
        """Inline picture in a notebook; None, and so the plain repr, where nothing can render."""
        try:
            return self.svg()
        except RenderError:
            return None

    def __repr__(self) -> str:
        return f"<Drawing {self.title!r}, {len(self.dot):,} characters of DOT>"


def format_of(path: Path) -> str:
    """The format that a file name asks for."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ConfigError(
            f"Drawing.save: {path.name}",
            expected="a name ending in " + ", ".join(f".{known}" for known in FORMATS),
            got=path.suffix or "no suffix",
        )
    return kind


def write(path: Path, content: bytes, caller: str) -> None:
    """Write a file, or say in the caller's name why not."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"{caller}: {str(path)!r} cannot be written",
            expected="a file in a folder that exists and may be written to",
            got=error.strerror or str(error),
        ) from error


def render(dot: str, kind: str, timeout: float = TIMEOUT) -> bytes:
    """Paint DOT text as ``"svg"``, ``"png"`` or ``"pdf"``.

    A renderer runs in a process of its own, so that one that hangs or crashes takes nothing
    with it.
    """
    import importlib.util
    import shutil
    import subprocess

    engine = "nop2" if _PLACED.match(dot) else "dot"
    program = shutil.which("dot")
    if program is not None:
        command = [program, f"-K{engine}", f"-T{kind}"]
    elif importlib.util.find_spec("pygraphviz") is not None and sys.executable:
        command = [sys.executable, "-I", "-c", _IN_PROCESS, kind, engine]
    else:
        raise RenderError(
            "no renderer: neither the dot program nor pygraphviz was found",
            expected="one of the two",
            hint="pip install pygraphviz (brings its own Graphviz), or install Graphviz from "
            "your system; the DOT text is complete without them: drawing.save('x.gv')",
        )
    try:
        done = subprocess.run(
            command, input=dot.encode("utf-8"), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RenderError(
            f"the renderer took longer than {timeout:g} s on {len(dot):,} characters of DOT",
            hint="draw(view='elided') shows a few time steps of many; or raise timeout=",
        ) from error
    except OSError as error:
        raise RenderError(f"the renderer {command[0]} could not be started", got=error) from error
    if done.returncode != 0 or not done.stdout:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise RenderError(
            f"the renderer {Path(command[0]).name} failed",
            got="; ".join(lines[-3:]) or f"exit status {done.returncode} and no output",
            hint="the DOT text is in drawing.dot",
        )
    return done.stdout


def _with_dpi(dot: str, dpi: float) -> str:
    """Ask for a resolution, lower where the picture would be too large to paint."""
    found = _PLACED.match(dot)
    if found is not None:
        left, bottom, right, top = map(float, found.group(1).split(","))
        largest = max(right - left, top - bottom) / 72
        if largest * dpi > MAX_PIXELS:
            dpi = MAX_PIXELS / largest
            if dpi < 36:
                raise RenderError(
                    f"a PNG of this drawing would be {largest * 72:,.0f} points long",
                    expected=f"at most {MAX_PIXELS:,} pixels a side",
                    hint="save it as .svg or .pdf, or draw(view='elided')",
                )
    return dot.replace("graph [", f"graph [dpi={dpi:.6g}, ", 1)
