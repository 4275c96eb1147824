"""Where a drawing is shown: in a notebook, by a program of the platform, or nowhere."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

__all__ = ["in_notebook", "view"]


def in_notebook() -> bool:
    """Whether a notebook's kernel runs the program."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def view(path: Path) -> None:
    """Open a file in the platform's viewer, without waiting; else say where it is."""
    from graphviz import view as opened

    why = "there is no display"
    if _has_display():
        try:
            opened(path, quiet=True)
            return
        except (OSError, RuntimeError) as error:  # no opener, no such platform
            why = str(error)
    logging.getLogger(__name__).warning("%s: the drawing is in %s", why, path)


def _has_display() -> bool:
    """Whether a window can be opened: on a text console an opener might take the terminal."""
    if os.name == "nt" or sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
