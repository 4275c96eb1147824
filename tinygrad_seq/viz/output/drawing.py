"""A finished drawing: its DOT text, the pictures made of it, and where they are saved."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from tinygrad_seq.checks import Rule, choice, instance_of, number
from tinygrad_seq.errors import RenderError
from tinygrad_seq.files import target_of, write
from tinygrad_seq.viz.output.html import page
from tinygrad_seq.viz.output.render import LEAST_DPI, TIMEOUT, engine_of, paint_png, render
from tinygrad_seq.viz.output.svg import polished
from tinygrad_seq.viz.output.viewer import in_notebook, view
from tinygrad_seq.viz.picture.style import Theme
from tinygrad_seq.viz.picture.themes import theme_of

if TYPE_CHECKING:
    from graphviz import Source

__all__ = ["FORMATS", "Drawing", "format_of", "seconds"]

FORMATS = ("svg", "png", "pdf", "html", "gv", "dot")

_SUFFIXES = tuple(f".{kind}" for kind in FORMATS)

dots_per_inch: Rule = number(LEAST_DPI, 2400.0)
seconds: Rule = number(0.0, 86_400.0, open_low=True)


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
        theme: str | Theme = "light",
        data: dict[str, Any] | None = None,
        smaller: str = "",
    ) -> None:
        for name, text in (("dot", dot), ("title", title), ("smaller", smaller)):
            instance_of(f"Drawing: {name}", text, str)
        self.dot = dot
        self.title = title
        self.timeout: float = seconds("Drawing: timeout", timeout)
        self._theme = theme_of(theme, "Drawing")
        nothing = {"length": 0, "series": [], "panels": {}, "colors": {}}
        self._data = nothing if data is None else instance_of("Drawing: data", data, dict)
        self._smaller = smaller  # how to get a smaller one, for messages

    def _render(self, kind: str) -> bytes:
        return render(self.dot, kind, self.timeout, self._smaller)

    def svg(self) -> str:
        """The drawing as a standalone SVG document.

        Raises
        ------
        RenderError
            If no renderer is present or it fails; ``.dot`` is still there.
        """
        return polished(self._render("svg").decode("utf-8"), self.title)

    def png(self, dpi: float = 144.0) -> bytes:
        """The drawing as PNG, `dpi` pixels per inch: 36 to 2,400, fewer where it is large.

        Raises
        ------
        RenderError
            If so few would be left that it could not be read.
        """
        dpi = dots_per_inch("Drawing.png: dpi", dpi)
        return paint_png(self.dot, dpi, self.timeout, self._smaller)

    def pdf(self) -> bytes:
        """The drawing as PDF."""
        return self._render("pdf")

    def html(self) -> str:
        """The drawing as one interactive page that loads nothing from elsewhere.

        Zoom and move; point at a state or a weight to follow it through time; a slider goes
        through the time steps and shows the traced norms, those of elided steps too.
        """
        return page(self.svg(), self.title, self._data, self._theme)

    def graphviz(self) -> Source:
        """The drawing as the ``graphviz`` package has it, to go on with what that can do.

        Examples
        --------
        >>> import tinygrad_seq as tgs
        >>> w = tgs.tensor(2.0, requires_grad=True)
        >>> drawing = (w * w).draw()
        >>> drawing.graphviz().source == drawing.dot
        True
        """
        from graphviz import Source

        text = self.dot.encode("utf-8", "replace").decode("utf-8")
        return Source(text, engine=engine_of(text))

    def save(self, path: str | Path, dpi: float = 144.0) -> Path:
        """Write the drawing; the format follows from the suffix.

        Parameters
        ----------
        path : str or Path
            Ending in .svg, .png, .pdf, .html, or for the DOT text .gv or .dot.
        dpi : float
            Pixels per inch of a PNG, see :meth:`png`.

        Raises
        ------
        ConfigError
            If the suffix is another one, or the file cannot be written. What was in it is left.
        RenderError
            If it cannot be rendered; the DOT text is then saved beside it, as .gv, unless such a
            file is there.
        """
        target = target_of("Drawing.save", path, _SUFFIXES)
        dpi = dots_per_inch("Drawing.save: dpi", dpi)
        try:
            content = self._content(format_of(target), dpi)
            write(target, content, f"Drawing.save: {str(target)!r}")
        except RenderError as error:
            kept = target.with_suffix(".gv")
            if kept.exists():
                raise
            write(kept, self._content("gv", dpi), f"Drawing.save: {str(kept)!r}")
            raise RenderError(f"{error}\n  kept: the DOT text is in {kept}") from error
        return target

    def show(self, kind: str = "svg") -> Path | None:
        """Display the drawing: in a notebook below the cell, else in the platform's viewer.

        It does not wait for the viewer. Where there is no display, it says where the file is.

        Parameters
        ----------
        kind : {"svg", "png", "pdf", "html"}
            Of the file that a viewer opens.

        Returns
        -------
        Path or None
            The file, in the folder for temporary ones; None in a notebook.
        """
        choice("svg", "png", "pdf", "html")("Drawing.show: kind", kind)
        if in_notebook():
            import_module("IPython.display").display(self)
            return None
        path = self.save(Path(mkdtemp(prefix="tinygrad_seq-")) / f"drawing.{kind}")
        view(path)
        return path

    def _content(self, kind: str, dpi: float) -> bytes:
        if kind in {"png", "pdf"}:
            return self.png(dpi) if kind == "png" else self.pdf()
        text = self.dot
        if kind in {"svg", "html"}:
            text = self.svg() if kind == "svg" else self.html()
        return text.encode("utf-8", "replace")

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
    return target_of("Drawing.save", path, _SUFFIXES).suffix.lower().removeprefix(".")
