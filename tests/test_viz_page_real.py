"""The page of a real character model, used as a reader would: by what lies under the pointer."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tests.browser import needs_browser, visit
from tinygrad_seq import charlm, viz

T = 6

PROBE = """
<script>
{
  const sheet = document.createElement("style");
  sheet.textContent = "* { transition: none !important; }";
  document.head.append(sheet);
  const svg = document.querySelector("#stage svg");
  const under = (x, y) => document.elementFromPoint(x, y);
  // Where a point of the drawing is on the screen, and back.
  const onScreen = (x, y) => new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
  const inDrawing = (x, y) => new DOMPoint(x, y).matrixTransform(svg.getScreenCTM().inverse());
  const send = (target, kind, type, x, y, more) => target.dispatchEvent(new kind(type,
    Object.assign({ clientX: x, clientY: y, bubbles: true, cancelable: true }, more)));
  // A pointer that goes to a place: what it leaves and what it enters are told, as browsers do.
  let over = null;
  function pointAt(x, y) {
    const part = under(x, y)?.closest("g.node, g.edge") || null;
    if (over && over !== part) over.dispatchEvent(new MouseEvent("mouseleave"));
    if (part && over !== part) part.dispatchEvent(new MouseEvent("mouseenter"));
    over = part;
    return part;
  }
  function middleOf(part) {
    const path = part.querySelector("path"), matrix = path.getScreenCTM();
    return path.getPointAtLength(path.getTotalLength() / 2).matrixTransform(matrix);
  }

  // Zoom: what is under the pointer stays there. Drag: it goes where the pointer goes.
  const fixed = inDrawing(350, 300);
  send(under(350, 300), WheelEvent, "wheel", 350, 300, { deltaY: -400 });
  const after = onScreen(fixed.x, fixed.y);
  report.zoomDrift = Math.hypot(after.x - 350, after.y - 300);
  report.scale = svg.getScreenCTM().a;
  const grabbed = inDrawing(350, 300);
  send(under(350, 300), PointerEvent, "pointerdown", 350, 300);
  for (const step of [10, 50, 80])
    send(window, PointerEvent, "pointermove", 350 + step, 300 - step);
  send(window, PointerEvent, "pointerup", 430, 220);
  send(window, PointerEvent, "pointermove", 700, 700);  // no longer held
  const dragged = onScreen(grabbed.x, grabbed.y);
  report.dragDrift = Math.hypot(dragged.x - 430, dragged.y - 220);
  const box = () => svg.getAttribute("viewBox").split(" ").map(Number);
  const key = name =>
    stage.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const earlier = box();
  key("ArrowRight"); report.right = box()[0] > earlier[0];
  key("ArrowUp"); report.up = box()[1] < earlier[1];
  key("+"); report.plus = box()[2] / earlier[2];
  key("0");
  report.home = box();

  // Hover: a state's line, then a cell, then nothing.
  const states = [...svg.querySelectorAll("g.edge.edge-c")];
  const line = states.find(part => {
    const at = middleOf(part);
    return under(at.x, at.y)?.closest("g.edge") === part;
  });
  report.reachable = Boolean(line);
  const at = middleOf(line);
  report.hit = pointAt(at.x, at.y) === line;
  const opacity = part => Number(getComputedStyle(part).opacity);
  const along = [...line.classList].filter(name => name.startsWith("road-"));
  report.bright = [...svg.querySelectorAll("g.edge." + along[0])].map(opacity);
  report.dim = Math.max(...[...svg.querySelectorAll("g.edge")]
    .filter(part => !along.some(name => part.classList.contains(name))).map(opacity));
  report.lineInfo = document.getElementById("info").textContent;
  const cell = document.getElementById("n:rnn[1]@2");
  const rect = cell.getBoundingClientRect();
  pointAt(rect.x + rect.width / 2, rect.y + rect.height / 2);
  report.cellInfo = document.getElementById("info").textContent;
  pointAt(2, 2);
  report.restored = Math.min(...[...svg.querySelectorAll("g.node, g.edge")].map(opacity));

  // The slider, moved as the keyboard moves it: one step at a time.
  const slider = document.getElementById("step");
  report.columns = [];
  report.h = [];
  for (let t = 0; t <= Number(slider.max); t++) {
    if (t) slider.stepUp();
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    report.columns.push([...svg.querySelectorAll("g.cluster.now")].map(panel => panel.id));
    report.at = document.getElementById("at").textContent;
    const rows = [...document.querySelectorAll('#norms tbody[data-owner="rnn 1"] tr')];
    const row = rows.find(r => r.textContent.includes("|h|"));
    report.h.push(Number(row.dataset.value));
  }
  finish();
}
</script>
"""


@pytest.fixture(scope="module")
def model():
    return charlm.CharLM(7, hidden=8, layers=2, rng=np.random.default_rng(0))


@needs_browser
def test_a_reader_zooms_drags_points_and_slides(model, tmp_path):
    ids = np.random.default_rng(1).integers(0, 7, T + 1)
    page = charlm.draw_char_lm(model, ids).html()
    report = visit(page, tmp_path, PROBE)
    assert report["errors"] == []
    assert report["zoomDrift"] < 0.5 and report["dragDrift"] < 0.5
    assert report["right"] and report["up"]
    assert report["plus"] == pytest.approx(0.8)
    assert report["reachable"] and report["hit"]
    assert len(report["bright"]) >= T and set(report["bright"]) == {1}
    assert report["dim"] < 0.5
    assert "state c" in report["lineInfo"]
    for part in ("rnn, layer 1, t = 2", "shape 1 × 8 float32", "|h| =", "|∂L/∂c| ="):
        assert part in report["cellInfo"]
    assert report["restored"] == 1
    assert report["columns"] == [[f"p:t{t}"] for t in range(T)]
    assert report["at"] == str(T - 1)
    # The figures are those of a run that has nothing to do with drawings.
    with tgs.no_grad():
        y, _ = model.rnn(ids[:-1, None])
    np.testing.assert_allclose(report["h"], np.linalg.norm(y.numpy(), axis=(1, 2)), rtol=1e-5)


MISTAKES = {
    "zooms about the middle": ("* 0.0015), point.x, point.y)", "* 0.0015))", "zoomDrift"),
    "drags twice as far": (
        "view[0] + grabbed.x - point.x,",
        "view[0] + grabbed.x - point.x + 9,",
        "dragDrift",
    ),
}


@needs_browser
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_probe_sees_planted_mistakes(mistake, model, tmp_path):
    right, wrong, measure = MISTAKES[mistake]
    page = charlm.draw_char_lm(model, range(7)).html()
    assert right in page
    assert visit(page.replace(right, wrong), tmp_path, PROBE)[measure] > 2


@needs_browser
def test_names_stay_text_in_the_page(tmp_path):
    name = '"><script>window.broken = 1</script><img src=x onerror="window.broken = 2">\\{'
    trace = viz.Trace()
    h = tgs.tensor([1.0], requires_grad=True)
    h.name = name
    with tgs.observe(trace):
        for t in range(2):
            with tgs.scope(path=name, layer=0, step=t):
                h = (h * np.float32(0.5)).tag("h")
        total = h.sum()
        total.backward()
    probe = """
    <script>
    report.broken = window.broken || null;
    report.images = document.querySelectorAll("img").length;
    report.rows = [...document.querySelectorAll("#norms th")].map(cell => cell.textContent);
    report.titles = [...document.querySelectorAll("#stage title")].map(title => title.textContent);
    finish();
    </script>
    """
    report = visit(viz.draw(total, trace=trace).html(), tmp_path, probe)
    assert report["errors"] == [] and report["broken"] is None and report["images"] == 0
    assert f"{name} 0" in report["rows"]
    assert any(name in title for title in report["titles"])
