"""The main job: demos/char_lm.py, its report, and what happens when a picture cannot be made."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinygrad_seq import charlm, train, viz
from tinygrad_seq.charlm import commands
from tinygrad_seq.charlm.loop import METRICS
from tinygrad_seq.charlm.run import LAST
from tinygrad_seq.data import ngram_cross_entropy
from tinygrad_seq.errors import RenderError

ROOT = Path(__file__).resolve().parents[1]
TEXT = "if a < b & c > d: <script>alert('x')</script> </pre> &amp; \"q\"\n" * 20
SMALL = "--hidden 6 --layers 2 --seq-length 8 --batch 3 --steps 24 --evals 3 --dropout 0.2 --quiet"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a<b>.txt").write_text(TEXT)
    return tmp_path


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("char_lm_demo", ROOT / "demos" / "char_lm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_clock(path):
    """The rows of a table, less what depends on the speed of the machine."""
    rows = train.MetricsTable.read(path)
    return [{k: v for k, v in r.items() if "second" not in k} for r in rows]


def test_the_demo_does_the_same_job_as_the_command_line(demo, capsys):
    common = ["--text", "a<b>.txt", *SMALL.split()]
    assert demo.main([*common, "--out", "demo"]) == 0
    assert "by hand" in capsys.readouterr().out
    assert commands.main(["train", *common, "--out", "cli"]) == 0
    assert without_clock(f"demo/{METRICS}") == without_clock(f"cli/{METRICS}")
    assert Path("demo/samples.txt").read_text() == Path("cli/samples.txt").read_text()
    one, other = (train.load_checkpoint(f"{name}/{LAST}")["model"] for name in ("demo", "cli"))
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert {p.name for p in Path("demo").iterdir()} == {p.name for p in Path("cli").iterdir()}


def test_the_demo_is_short():
    assert len((ROOT / "demos" / "char_lm.py").read_text().splitlines()) <= 110


def test_the_demo_has_a_fast_mode_which_is_a_preset(demo, capsys):
    assert demo.main(["--fast", "--text", "a<b>.txt", "--batch", "3", "--out", "fast"]) == 0
    assert "1 x 32" in capsys.readouterr().out
    options = json.loads(Path("fast/summary.json").read_text())["options"]
    assert options == charlm.CharOptions.preset("fast", text="a<b>.txt", batch=3).to_dict()
    assert Path("fast/report.html").exists()


def test_a_mistake_in_the_demo_is_a_message(demo, capsys):
    assert demo.main(["--text", "none.txt"]) == 2
    assert "no file" in capsys.readouterr().err
    assert not Path("runs").exists()


class Page(HTMLParser):
    """Collects the tags of a page and where it would load things from."""

    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text.append(data)


def finished(**changes):
    options = {
        "text": "a<b>.txt", "hidden": 6, "layers": 2, "seq_length": 8, "batch": 3, "steps": 24,
        "minutes": None, "evals": 3, "sample_length": 200, "prime": "<script>", **changes,
    }  # fmt: skip
    run = charlm.CharRun(charlm.CharOptions(**options))
    outcome = charlm.fit(run, "run", say=lambda _: None, bar=False)
    return run, outcome.held_out


def test_the_report_is_complete_and_safe():
    run, held_out = finished()
    summary, problems = charlm.write_report(run, "run", held_out)
    assert problems == []
    assert json.loads(Path("run/summary.json").read_text()) == json.loads(json.dumps(summary))
    assert Path("run/loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path("run/unrolled.svg").read_text()
    page = Path("run/report.html").read_text()
    parsed = Page()
    parsed.feed(page)
    assert "script" not in parsed.tags  # the text and its file name are escaped
    assert {"h1", "table", "img", "svg", "pre"} <= parsed.tags
    outside = [s for s in parsed.sources if s and not s.startswith(("data:image/png;base64,", "#"))]
    assert outside  # self-contained, but for the page beside it
    assert {source.partition("#")[0] for source in outside} == {"cells.html"}
    assert Path("run/cells.html").stat().st_size > 10_000
    shown = "".join(parsed.text)
    assert "a<b>.txt" in shown and "<script>" in shown
    for order in (0, 3):
        bits = ngram_cross_entropy(
            run.train_text, run.held_out_text, order, symbols=len(run.vocabulary)
        )
        assert summary["ngram_bits"][str(order)] == pytest.approx(bits)
        assert f"{bits:.3f}" in shown
    assert f"{held_out.carried.bits:.3f}" in shown
    assert f"{held_out.reset.bits:.3f}" in shown


def test_yardsticks_are_named_where_no_curve_goes(monkeypatch):
    from matplotlib.figure import Figure

    _, _ = finished()
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    charlm.report.plot_loss(Path("run"), {0: 4.0, 3: 2.0})
    (figure,) = drawn
    figure.canvas.draw()
    (axes,) = figure.axes
    named = [text for text in axes.texts if "n-gram" in text.get_text()]
    assert len(named) == 2
    for text in named:
        assert text.get_window_extent().x0 > axes.get_window_extent().x1
        assert text.get_window_extent().x1 <= figure.bbox.x1


def test_reporting_leaves_the_run_as_it_was():
    run, held_out = finished(dropout=0.3)
    names = {p.name: p.read_bytes() for p in Path("run").iterdir()}
    states = {k: g.bit_generator.state for k, g in run.model.generators().items()}
    parameters = {k: v.tobytes() for k, v in run.model.state_dict().items()}
    charlm.write_report(run, "run", held_out)
    assert all(Path("run", name).read_bytes() == content for name, content in names.items())
    assert states == {k: g.bit_generator.state for k, g in run.model.generators().items()}
    assert parameters == {k: v.tobytes() for k, v in run.model.state_dict().items()}
    assert run.model.training


def test_the_drawing_is_of_the_recorded_graph():
    run, _ = finished()
    charlm.report.draw_unrolled(run, Path("graph.gv"))
    dot = Path("graph.gv").read_text()
    for name in ("rnn", "head"):
        assert name in dot


@pytest.mark.parametrize("error", [RenderError("no renderer"), OSError("no space"), ValueError()])
def test_a_drawing_that_fails_loses_nothing(monkeypatch, error, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(viz, "draw_model", fail)
    assert commands.main(["train", "--text", "a<b>.txt", *SMALL.split(), "--out", "run"]) == 0
    captured = capsys.readouterr()
    assert "warning: unrolled.svg was not made" in captured.err
    assert "let it write" in captured.out
    made = {p.name for p in Path("run").iterdir()}
    assert {LAST, "loss.png", "report.html", "summary.json"} <= made
    assert "unrolled.svg was not made" in Path("run/report.html").read_text()
    model, _, _ = charlm.load_char_lm("run")
    assert model.num_parameters() > 0


def test_without_a_renderer_the_dot_text_is_kept(monkeypatch):
    run, held_out = finished()
    render = importlib.import_module("tinygrad_seq.viz.output.drawing")

    def no_renderer(*_, **__):
        raise RenderError("no renderer: neither the dot program nor pygraphviz was found")

    monkeypatch.setattr(render, "render", no_renderer)
    _, problems = charlm.write_report(run, "run", held_out)
    assert len(problems) == 1 and "no renderer" in problems[0]
    assert Path("run/unrolled.gv").read_text().startswith("digraph")


def test_without_matplotlib_the_rest_is_made(monkeypatch):
    run, held_out = finished()
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    _, problems = charlm.write_report(run, "run", held_out)
    assert len(problems) == 1 and re.search("loss.png was not made.*matplotlib", problems[0])
    assert Path("run/unrolled.svg").exists() and Path("run/report.html").exists()


def test_it_learns():
    """The text repeats: what follows is all but certain, and order 3 is far from enough."""
    run, held_out = finished(
        steps=250, hidden=32, layers=1, batch=4, lr=0.02, validation=0.2, sample_length=1
    )
    order_zero = ngram_cross_entropy(run.train_text, run.held_out_text, 0)
    assert held_out.carried.bits < 0.5 < 4 < order_zero
