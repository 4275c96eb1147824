"""Drawings handed on: to a viewer, to a notebook, to the graphviz package, as DOT files."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import types

import graphviz
import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import ConfigError


@pytest.fixture
def timed() -> viz.Drawing:
    y, _ = nn.LSTM(3, 4, rng=np.random.default_rng(0))(np.ones((3, 2, 3), np.float32))
    return y.sum().draw()


@pytest.fixture
def timeless() -> viz.Drawing:
    w = tgs.tensor(2.0, requires_grad=True)
    return (w * w).draw()


# -- the graphviz package -------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "engine"), [("timed", "neato"), ("timeless", "dot")])
def test_graphviz_has_the_text_and_the_engine_that_it_needs(request, which, engine):
    drawing = request.getfixturevalue(which)
    source = drawing.graphviz()
    assert source.source == drawing.dot
    assert source.engine == engine


@pytest.mark.parametrize("which", ["timed", "timeless"])
def test_graphviz_paints_what_we_paint(request, which):
    drawing = request.getfixturevalue(which)
    if shutil.which("dot") is None:  # which the package runs, as it says
        with pytest.raises(graphviz.ExecutableNotFound):
            drawing.graphviz().pipe(format="svg")
        return
    theirs = drawing.graphviz().pipe(format="svg").decode()
    assert viz.output.svg.polished(theirs, drawing.title) == drawing.svg()


def test_graphviz_takes_text_that_utf8_cannot(timeless):
    drawing = viz.Drawing('digraph { a [label="\udc80"] }')
    assert drawing.graphviz().source == 'digraph { a [label="?"] }\n'


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_the_dot_text_is_saved_under_either_name(timed, tmp_path, suffix):
    assert timed.save(tmp_path / f"a.{suffix}").read_text("utf-8") == timed.dot


# -- a viewer -------------------------------------------------------------------------------------


@pytest.fixture
def opener(tmp_path, monkeypatch):
    """A folder for temporary files, and a viewer that notes what it was to open, then hangs."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen = []
    monkeypatch.setattr("graphviz.view", lambda path, quiet: seen.append(path))
    return seen


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="always has a display")
def test_without_a_display_show_says_where_the_file_is(timed, opener, monkeypatch, caplog):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.WARNING):
        path = timed.show()
    assert path.read_text("utf-8") == timed.svg() and opener == []
    assert caplog.messages == [f"there is no display: the drawing is in {path}"]


@pytest.mark.parametrize("kind", ["svg", "html"])
def test_show_opens_the_picture_in_a_viewer(timed, opener, monkeypatch, caplog, kind):
    monkeypatch.setenv("DISPLAY", ":0")
    path = timed.show(kind)
    assert opener == [path] and path.suffix == f".{kind}" and not caplog.messages


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="has an opener of its own")
def test_show_without_an_opener_says_where_the_file_is(timed, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("DISPLAY", ":0")
    svg = timed.svg()
    monkeypatch.setattr(type(timed), "svg", lambda self: svg)  # its renderer is on the path too
    monkeypatch.setenv("PATH", str(tmp_path))
    path = timed.show()
    assert path.is_file() and "xdg-open" in caplog.text and str(path) in caplog.text


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="always has a display")
def test_show_does_not_wait_for_a_viewer(tmp_path):
    hanging = tmp_path / "xdg-open"
    hanging.write_text("#!/bin/sh\nexec sleep 20\n")
    hanging.chmod(0o755)
    code = "from tinygrad_seq import viz; print(viz.Drawing('digraph {}').show())"
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    env = {**os.environ, "PATH": path, "DISPLAY": ":0", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline().strip().endswith("drawing.svg")
        assert program.wait(timeout=30) == 0


def test_in_a_notebook_show_displays_inline(timed, opener, monkeypatch):
    shown: list[viz.Drawing] = []
    python = types.ModuleType("IPython")
    python.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display = types.ModuleType("IPython.display")
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", python)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert timed.show() is None
    assert shown == [timed] and opener == []


def test_show_knows_its_kinds(timed):
    with pytest.raises(ConfigError, match=r"show: kind(.|\n)*'svg' or 'png' or 'pdf' or 'html'"):
        timed.show("jpeg")
