"""Renderers that break, pictures too large to read, and advice that helps the drawing at hand."""

from __future__ import annotations

import logging
import re
import stat
import struct

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.viz_models import Model, composed_loss, tokens
from tinygrad_seq import nn, viz
from tinygrad_seq.errors import RenderError
from tinygrad_seq.viz.output import render as painter

SVG = "<svg width='1pt' height='1pt'></svg>"
BROKEN = {
    "fails": ("#!/bin/sh\necho 'no such plugin' >&2\nexit 3\n", "no such plugin"),
    "is killed": ("#!/bin/sh\nkill -9 $$\n", "exit status -9"),
    "says nothing": ("#!/bin/sh\ncat >/dev/null\n", "0 bytes that are no svg"),
    "prints garbage": ("#!/bin/sh\ncat >/dev/null\necho nonsense\n", "9 bytes that are no svg"),
    "has no interpreter": ("#!/no/such/program\n", "could not be started"),
    "is no program": ("\x7fELF nothing of this machine", "could not be started"),
}


@pytest.fixture
def dot(tmp_path, monkeypatch):
    """Put a program of one's own in the place of dot; nothing is remembered of it afterwards."""
    monkeypatch.setattr(painter, "_failed", set())
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    monkeypatch.setattr("shutil.which", lambda name: str(program))

    def put(text: str, mode: int = 0o755):
        program.write_text(text, encoding="latin-1")
        program.chmod(mode)
        return program

    return put


@pytest.fixture
def alone(monkeypatch):
    """No pygraphviz beside it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


@pytest.mark.parametrize("fault", BROKEN)
def test_pygraphviz_paints_what_a_broken_dot_does_not(dot, fault, caplog):
    text, said = BROKEN[fault]
    dot(text)
    drawing = composed_loss(Model(), 2)[0].draw()
    for _ in range(2):
        assert drawing.svg().count("<svg") == 1
    with caplog.at_level(logging.WARNING):
        assert drawing.png(dpi=36).startswith(b"\x89PNG")
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1 and said in told[0] and "bin/dot" in told[0]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_dot_alone_is_an_error_that_says_what_happened(dot, alone, fault):
    text, said = BROKEN[fault]
    dot(text)
    with pytest.raises(RenderError, match=f"bin/dot.*{said}(.|\n)*try: .*pip install pygraphviz"):
        composed_loss(Model(), 2)[0].draw().svg()


def test_a_dot_that_may_not_be_run_is_passed_over(dot):
    dot("nothing", stat.S_IRUSR)
    assert "<svg" in composed_loss(Model(), 2)[0].draw().svg()


def test_a_renderer_that_hangs_is_stopped(dot, alone):
    dot("#!/bin/sh\nexec sleep 30\n")
    drawing = viz.draw(composed_loss(Model(), 20)[0], timeout=0.2)
    with pytest.raises(RenderError, match=r"longer than 0\.2 s(.|\n)*elided.*raise timeout="):
        drawing.svg()


def test_after_a_dot_that_hangs_pygraphviz_is_asked_first(dot, monkeypatch):
    dot("#!/bin/sh\nexec sleep 30\n")
    drawing = composed_loss(Model(), 2)[0].draw()
    asked, run = [], painter._run

    def counted(renderer, text, kind, timeout):
        asked.append(renderer.name.rpartition("/")[2])
        return run(renderer, text, kind, 0.1 if asked[-1] == "dot" else timeout)

    monkeypatch.setattr(painter, "_run", counted)
    drawing.svg()
    drawing.svg()
    assert asked == ["dot", "pygraphviz", "pygraphviz"]


def test_when_both_fail_both_are_named(dot, monkeypatch):
    dot(BROKEN["fails"][0])
    monkeypatch.setattr(painter, "_IN_PROCESS", "raise SystemExit('no layout')")
    with pytest.raises(RenderError, match=r"bin/dot failed: no such plugin; pygr.*no layout"):
        composed_loss(Model(), 2)[0].draw().svg()


# -- sizes ----------------------------------------------------------------------------------------


def chain(length: int) -> tgs.Tensor:
    y = tgs.tensor([1.0], requires_grad=True)
    for _ in range(length):
        y = tgs.tanh(y)
    return y.sum()


def pixels(png: bytes) -> tuple[int, int]:
    return struct.unpack(">II", png[16:24])


def test_a_resolution_is_lowered_to_what_can_be_painted_and_still_be_read():
    def fitting(width, height, dpi=144.0):
        return painter.fitting_dpi(width, height, dpi)

    assert fitting(1000, 500) == 144.0
    assert fitting(30_000, 10) * 30_000 / 72 == pytest.approx(painter.MAX_SIDE)
    assert fitting(10_000, 10_000) ** 2 * (10_000 / 72) ** 2 == pytest.approx(painter.MAX_PIXELS)
    for width, height, advice in (
        (64_100, 10, r"\.svg, or view"),
        (10, 64_100, r"\.svg, or view"),
        (32_000, 32_000, r"\.svg, or view"),
    ):
        with pytest.raises(RenderError, match=f"at least 36 pixels per inch(.|\n)*{advice}"):
            painter.fitting_dpi(width, height, 144.0, "view")


def test_a_long_chain_without_time_is_refused_as_a_png_and_painted_as_svg():
    drawing = chain(1000).draw()
    with pytest.raises(RenderError, match=r"try: save it as \.svg, or draw an earlier result") as e:
        drawing.png()
    assert "elided" not in str(e.value)
    assert drawing.svg().count('class="node') == 1002
    width, height = pixels(chain(600).draw().png())
    assert 31_000 < height < 32_767 and width > 30  # fewer pixels per inch, but at least 36


@pytest.mark.parametrize("dpi", [36, 60, 144, 300])
@pytest.mark.parametrize("make", [lambda: chain(3), lambda: composed_loss(Model(), 2)[0]])
def test_a_png_has_the_pixels_that_were_asked_for(make, dpi):
    drawing = make().draw()
    size = re.search(r'<svg width="(\d+)pt" height="(\d+)pt"', drawing.svg())
    for found, points in zip(pixels(drawing.png(dpi)), map(int, size.groups()), strict=True):
        assert found == pytest.approx(points * dpi / 72, abs=2 + dpi / 36)


# -- advice ---------------------------------------------------------------------------------------


class Deep(nn.Module):
    """Many operations without time, in modules two names deep."""

    def __init__(self, blocks: int, layers: int):
        super().__init__()
        rng = np.random.default_rng(0)
        stacks = [[nn.Linear(2, 2, rng=rng) for _ in range(layers)] for _ in range(blocks)]
        self.blocks = nn.Sequential([nn.Sequential(stack) for stack in stacks])

    def forward(self, x):
        return self.blocks(x)


def long(steps=60):
    return composed_loss(Model("LSTM", 2), steps)[0]


CASES = [
    (long, {}),
    (long, {"view": "elided"}),
    (long, {"level": "op"}),
    (long, {"level": "op", "view": "elided"}),
    (long, {"level": "cell"}),
    (long, {"level": "cell", "view": "rolled"}),
    (long, {"direction": "both"}),
    (lambda: chain(100), {}),
    (lambda: chain(100), {"view": "elided"}),
    (lambda: chain(100), {"view": "rolled", "level": "op"}),
    (lambda: Deep(4, 10)(np.ones((1, 2), np.float32)).sum(), {}),
    (lambda: Deep(4, 10)(np.ones((1, 2), np.float32)).sum(), {"level": "op"}),
    (lambda: Deep(4, 10)(np.ones((1, 2), np.float32)).sum(), {"depth": 1}),
    (long, {"weights": "hidden"}),
    (long, {"depth": 0}),
]


@pytest.mark.parametrize("allowed", [3, 10, 30, 60])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_what_the_size_error_advises_does_help(case, allowed):
    make, options = CASES[case]
    loss = make()
    try:
        viz.draw(loss, **options, max_items=allowed)
    except RenderError as error:
        text = str(error)
    else:
        return
    advice = text.rpartition("try: ")[2]
    calls = re.findall(r"draw\((\w+=[^)]*)\)|(max_items=\d+)", advice)
    assert calls or "an earlier result" in advice
    by_columns = "items or more" in text  # told by the steps alone: the next error says more
    for call in calls:
        given = dict(re.findall(r"(\w+)='?(\w+)", "".join(call)))
        given = {name: int(v) if v.isdigit() else v for name, v in given.items()}
        if "max_items" not in given and by_columns:
            assert given.keys() <= {"view", "direction"} and options.get("view") != "rolled"
            continue
        viz.draw(loss, **{"max_items": allowed, **options, **given})
    if not viz.graph.survey.Survey([loss.node]).steps:
        assert "no time steps" in text and "view=" not in advice
    if options.get("view") == "rolled":
        assert "view=" not in advice
    if options.get("direction") == "both":
        assert "rolled" not in advice and "level" not in advice


def test_what_helps_nothing_is_not_advised():
    def told(loss, **options):
        with pytest.raises(RenderError) as caught:
            viz.draw(loss, **options)
        return str(caught.value).rpartition("try: ")[2]

    assert told(chain(2000)).startswith("draw an earlier result or a smaller program")
    elided = told(long(), view="elided", max_items=13)
    assert elided.startswith("draw(weights='hidden', depth=0)") and "elided" not in elided
    both = {"view": "elided", "direction": "both", "max_items": 3}
    assert told(long(), **both) == "draw(direction='forward', view='rolled')"
    deep = Deep(20, 40)(np.ones((1, 2), np.float32)).sum()
    assert told(deep).startswith("draw(weights='hidden'), or allow it: max_items=")
    assert told(deep, max_items=50).startswith("draw(weights='hidden', depth=2), or allow it")
    assert viz.draw(deep, max_items=50, weights="hidden", depth=2).dot
    assert told(deep, max_items=50, depth=0).startswith("draw(weights='hidden'), or allow it")


def test_a_renderer_that_is_slow_is_given_less_in_the_same_words(dot, alone):
    dot("#!/bin/sh\nexec sleep 30\n")
    for drawing, advice in (
        (viz.draw(chain(50), timeout=0.1), "draw an earlier result or a smaller program"),
        (viz.draw(long(5), view="rolled", timeout=0.1), "draw(weights='hidden', depth=0)"),
    ):
        with pytest.raises(RenderError, match=r"longer than(.|\n)*try: ") as caught:
            drawing.svg()
        assert str(caught.value).rpartition("try: ")[2].startswith(advice)


def test_a_module_level_is_advised_where_there_are_modules():
    loss = Deep(4, 10)(np.ones((1, 2), np.float32)).sum()
    with pytest.raises(RenderError, match=r"try: draw\(depth=2\), or allow it: max_items=\d+"):
        viz.draw(loss, max_items=86)
    ids = tokens(30)
    loss = tgs.cross_entropy(Model()(ids)[0], ids)
    with pytest.raises(RenderError, match=r"elided.*rolled.*level='module'"):
        viz.draw(loss, level="op", max_items=150)


@pytest.mark.parametrize(
    "said", [b"<svg", b"Error: <svg not supported>", b"<svg>\xff\xfe</svg>", b"<svg><g>half of it"]
)
def test_a_picture_that_is_not_whole_is_no_picture(said: bytes) -> None:
    assert not painter._is_whole(said, "svg")
    assert painter._is_whole(b"<?xml version='1.0'?><svg></svg>\n", "svg")
