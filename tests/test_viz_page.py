"""The interactive page, run in a headless browser where one is installed."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.browser import needs_browser, visit
from tests.viz_models import Model, composed_loss
from tinygrad_seq import nn, viz

PROBE = """
<script>
function count(selector) { return document.querySelectorAll(selector).length; }
function enter(element) { element.dispatchEvent(new MouseEvent("mouseenter")); }
{
  const svg = document.querySelector("#stage svg");
  const box = () => svg.getAttribute("viewBox").split(" ").map(Number);
  const before = box();
  document.getElementById("in").click();
  report.zoomed = box()[2] / before[2];
  stage.dispatchEvent(new WheelEvent("wheel", { deltaY: 300, clientX: 200, clientY: 200 }));
  report.wheel = box()[2] / before[2];
  stage.dispatchEvent(new PointerEvent("pointerdown", { clientX: 100, clientY: 100 }));
  window.dispatchEvent(new PointerEvent("pointermove", { clientX: 160, clientY: 100 }));
  window.dispatchEvent(new PointerEvent("pointerup", {}));
  const moved = box();
  document.getElementById("fit").click();
  report.fitted = JSON.stringify(box()) === JSON.stringify(before);
  report.moved = moved[0] !== before[0];
  const edge = document.querySelector("g.edge.edge-c");
  enter(edge);
  report.following = stage.classList.contains("following");
  report.followedEdges = count("g.edge-c.followed");
  report.otherEdges = count("g.edge-h.followed");
  report.info = document.getElementById("info").textContent;
  edge.dispatchEvent(new MouseEvent("mouseleave"));
  report.forgotten = count(".followed") === 0 && !stage.classList.contains("following");
  enter(document.querySelector("g.node.weight"));
  report.weightUses = count("g.edge-weight.followed");
  const slider = document.getElementById("step");
  report.max = Number(slider.max);
  report.norms = [];
  for (let t = 0; t <= slider.max; t++) {
    slider.value = t;
    slider.dispatchEvent(new Event("input"));
    report.norms.push([...document.querySelectorAll("#norms tr[data-value]")].map(row =>
      [row.parentElement.dataset.owner, row.children[0].textContent, row.dataset.value]));
    report.now = count("g.cluster.now");
  }
  report.requests = performance.getEntriesByType("resource").map(entry => entry.name);
  finish();
}
</script>
"""


def traced(view: str = "unrolled", level: str = "module", steps: int = 4):
    trace = viz.Trace()
    model = Model("LSTM", 2)
    loss, _ = composed_loss(model, steps, trace=trace)
    return model, trace, viz.draw(loss, view=view, level=level, trace=trace)


@needs_browser
def test_page_zooms_moves_and_follows(tmp_path):
    model, _, drawing = traced()
    report = visit(drawing.html(), tmp_path, PROBE)
    assert report["errors"] == []
    assert report["requests"] == []
    assert report["zoomed"] == pytest.approx(0.8)
    assert report["wheel"] > report["zoomed"]
    assert report["moved"] and report["fitted"]
    assert report["following"] and report["forgotten"]
    assert report["followedEdges"] == 3 + 1  # c of one layer: between 4 steps, and carried in
    assert report["otherEdges"] == 0
    assert "state c" in report["info"]
    assert report["weightUses"] == 4
    assert report["max"] == 3 and report["now"] == 1
    assert model


@needs_browser
@pytest.mark.parametrize("view", ["elided", "rolled"])
@pytest.mark.parametrize("level", ["module", "cell"])
def test_slider_shows_the_traced_norms_of_every_step(view, level, tmp_path):
    """Also of the steps that the view itself does not draw."""
    trace = viz.Trace()
    model = Model("LSTM", 2)
    loss, _ = composed_loss(model, 7, trace=trace)
    report = visit(viz.draw(loss, view=view, level=level, trace=trace).html(), tmp_path, PROBE)
    assert report["errors"] == []
    assert report["max"] == 6
    expected: dict[tuple[int, str, str], float] = {}
    stack = [loss.node]
    seen = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += node.parents
        if node.role in {"h", "c"}:
            row = f"rnn {node.scope.layer}"
            expected[node.scope.step, row, f"|{node.role}|"] = trace.values[node.seq]
            expected[node.scope.step, row, f"|∂L/∂{node.role}|"] = trace.gradients[node.seq]
    shown = {
        (t, row, label): float(value)
        for t, rows in enumerate(report["norms"])
        for row, label, value in rows
    }
    assert len(expected) == 7 * 2 * 4
    for key, value in expected.items():
        assert shown[key] == pytest.approx(value)


@needs_browser
def test_a_step_is_marked_on_every_time_axis_that_has_it(tmp_path):
    rng = np.random.default_rng(0)
    decoder = nn.Decoder(nn.LSTM(6, 4, rng=rng), rng=rng)
    model = nn.Seq2Seq(nn.LSTM(5, 4, rng=rng), decoder, rng=rng)
    x = np.zeros((3, 2), int)
    report = visit(viz.draw_model(model, x, x).html(), tmp_path, PROBE)
    assert report["errors"] == []
    assert report["max"] == 2 and report["now"] == 2  # t = 2 of the encoder and of the decoder


def test_page_asks_for_nothing_from_elsewhere():
    _, _, drawing = traced()
    page = drawing.html()
    assert "default-src 'none'" in page
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"<(link|img|iframe|script src|object|embed)\b", page)
    assert "url(" not in page and "@import" not in page


@pytest.mark.parametrize("name", ["</script><script>alert(1)</script>", "{{svg}}", "<!--", "NaN"])
def test_names_cannot_break_out_of_the_page(name):
    cell_path = name
    w = tgs.tensor([1.0], requires_grad=True)
    trace = viz.Trace()
    with tgs.observe(trace):
        h = w
        for t in range(2):
            with tgs.scope(path=cell_path, layer=0, step=t):
                h = (h * np.float32(0.5)).tag("h")
        h.sum().backward()
    page = viz.draw(h.sum(), trace=trace).html()
    assert page.count("<script") == 2
    data = json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', page).group(1)
    )
    assert {series["row"] for series in data["series"]} == {f"{name} 0"}


def test_page_of_an_untraced_drawing_has_no_slider_data():
    loss, _ = composed_loss(Model("RNN"), 2)
    assert '"length":0' in viz.draw(loss).html()


def test_saved_page_is_the_page(tmp_path):
    _, _, drawing = traced(steps=2)
    assert drawing.save(tmp_path / "a.html").read_text("utf-8") == drawing.html()
