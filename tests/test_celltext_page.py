"""The page of a coloured text: nothing breaks out of it, and a browser can use all of it."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest

from tests.browser import needs_browser, visit
from tests.viz_models import Model
from tinygrad_seq import celltext, data
from tinygrad_seq.errors import ConfigError

TEXT = (
    "say \"</script><script>alert(1)</script>\" &amp; 'x'\n"
    "\tint (a[0])\n\n<!-- é 時間 שלום \u200b\u0301"
)
VOCABULARY = data.Vocabulary.from_text(TEXT)


def page_of(kind="LSTM", layers=2, text=TEXT, **options):
    model = Model(kind, layers, len(VOCABULARY), 6)
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter.data = rng.normal(size=parameter.shape).astype(np.float32)
    seen = celltext.cell_text(model, text, VOCABULARY, **{"horizon": 10, **options})
    return seen, seen.html()


def data_of(page):
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found.group(1))


@pytest.mark.parametrize(
    "title", ["</title><script>", "{{data}}", "<!--", "a \ud800 name", "& '\""]
)
def test_neither_text_nor_title_breaks_out(title, tmp_path):
    seen, page = page_of(title=title)
    assert page.count("<script") == 2 and page.count("</script") == 2
    assert "alert(1)" not in page  # the text is kept as numbers of symbols
    shown = data_of(page)
    assert "".join(seen.symbols[i] for i in shown["ids"]) == TEXT
    assert all(glyph.isprintable() and glyph.strip() for glyph in shown["glyphs"])
    seen.save(tmp_path / "page.html").read_text("utf-8")


def test_symbols_of_a_vocabulary_cannot_break_out():
    page = page_of(properties={"</script><script>x": np.arange(len(TEXT))})[1]
    assert page.count("<script") == 2
    assert any(one["name"] == "</script><script>x" for one in data_of(page)["properties"])


def test_page_asks_for_nothing_from_elsewhere():
    page = page_of()[1]
    assert "default-src 'none'" in page
    assert not re.search(
        r"https?://|<(link|img|iframe|script src|object|embed)\b|url\(|@import", page
    )


PROBE = """<script>
{
  const $ = id => document.getElementById(id);
  const key = (name, target = document.body) => target.dispatchEvent(
    new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
  const colour = t => getComputedStyle(faces[t]).backgroundColor;
  const chosen = () => [$("layer").value, block().role, +$("unit").value].join(" ");
  const change = (id, value) => {
    $(id).value = value;
    $(id).dispatchEvent(new Event("change"));
  };
  const bright = color => luminance(color.match(/\\d+/g).map(Number)) + .05;
  const contrasts = () => [...faces, ...strips].map(shown => {
    const style = getComputedStyle(shown);
    const pair = [bright(style.backgroundColor), bright(style.color)];
    return Math.max(...pair) / Math.min(...pair);
  });
  report.start = [chosen(), state.mark];
  choose({ block: 0, unit: 0, mark: -1 });
  report.characters = document.querySelectorAll("#text .c").length;
  report.lines = document.querySelectorAll("#text .line").length;
  report.text = faces.map(face => face.textContent);
  report.guessed = [...columns[4].querySelectorAll("i")].map(guess => guess.textContent);
  report.colours = faces.map((face, t) => colour(t));
  report.values = faces.map((face, t) => value(t));
  key("n"); report.next = chosen();
  key("p"); key("p"); report.wrapped = chosen();
  $("next").click(); report.clicked = chosen();
  key("q"); report.quantity = chosen();
  key("l"); report.layer = chosen();
  change("unit", "99"); report.tooFar = chosen();
  change("layer", data.blocks[0].layer); report.changed = chosen();
  const first = data.blocks[0].layer;
  change("quantity", data.blocks.findIndex(one => one.layer === first && one.role === "f"));
  report.gate = $("about").textContent;
  faces[7].click();
  report.at = $("info").textContent;
  report.marked = document.querySelectorAll(".c.at").length;
  text.focus();
  key("ArrowRight", text); report.right = state.at;
  key("ArrowDown", text); report.down = state.at;
  key("ArrowUp", text); report.up = state.at;
  key("End", text); report.end = state.at;
  key("ArrowRight", text); report.stays = state.at;
  key("Home", text); report.home = state.at;
  faces[12].click();
  change("mode", "reach");
  report.reach = faces.map((face, t) => colour(t));
  report.told = $("info").textContent;
  report.opacity = columns.map(column => getComputedStyle(column).opacity);
  key("c"); report.mode = state.mode;
  change("mode", "surprise"); report.surprise = faces.map((face, t) => colour(t));
  key("g"); report.bare = getComputedStyle(columns[0].querySelector("i")).display;
  key("g"); report.back = getComputedStyle(columns[0].querySelector("i")).display;
  const button = document.querySelector("#found button");
  button.click();
  report.property = [button.textContent, chosen(), state.mark, state.mode];
  report.listed = document.querySelectorAll("#found tr.chosen").length > 0;
  const under = face => getComputedStyle(face).borderBottomColor;
  report.underlined = faces.filter(face => under(face) !== "rgba(0, 0, 0, 0)").length;
  report.hash = location.hash;
  report.contrast = Math.min(...contrasts());
  $("theme").click();
  report.dark = [root.dataset.theme, getComputedStyle(document.body).backgroundColor];
  report.contrastDark = Math.min(...contrasts());
  finish();
}
</script>
"""


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """A reading, and what the probe saw of its page."""
    seen, page = page_of()
    return seen, visit(page, tmp_path_factory.mktemp("page"), PROBE)


@needs_browser
def test_a_reader_can_use_the_page(used):
    seen, report = used
    assert report["errors"] == [] and report["requests"] == []
    name, best = seen.telling()
    mark = list(seen.properties).index(name)
    assert report["start"] == [f"{best.layer} {best.quantity} {best.unit}", mark]
    assert all(abs(best.r) >= abs(r.r) for n in seen.properties for r in seen.correlations(n))
    assert report["start"][0] != "rnn.l0 h 0"  # or nothing was shown by it
    assert report["characters"] == len(TEXT) and report["lines"] == TEXT.count("\n") + 1
    signs = {" ": "\u00a0", "\n": "↵", "\t": "⇥", "\u200b": "U+200B", "\u0301": "◌\u0301"}
    assert report["text"] == [signs.get(one, one) for one in TEXT]
    best = np.argsort(-seen.log_probabilities[4], kind="stable")[:5]
    signs[" "] = "␣"
    assert report["guessed"] == [signs.get(one, one) for one in (seen.symbols[i] for i in best)]
    values = seen.values["rnn.l0", "h"][:, 0]
    np.testing.assert_allclose(report["values"], values, atol=0.0162)
    for colour, value in zip(report["colours"], values, strict=True):
        red, _, blue = map(int, re.findall(r"\d+", colour))
        assert abs(value) < 0.05 or (red > blue) == (value > 0)
    assert report["next"] == "rnn.l0 h 1"
    assert report["wrapped"] == "rnn.l0 h 5"
    assert report["clicked"] == "rnn.l0 h 0"
    assert report["quantity"] == "rnn.l0 tanh_c 0"
    assert report["layer"] == "rnn.l1 tanh_c 0"
    assert report["tooFar"] == "rnn.l1 tanh_c 5"
    assert report["changed"] == "rnn.l0 tanh_c 5"
    gate = seen.values["rnn.l0", "f"][:, 5]
    assert f"mean {gate.mean():.2f}"[:-1] in report["gate"] and "open (above 0.9)" in report["gate"]
    assert "character 7: “s”" in report["at"]
    likeliest = np.argsort(-seen.log_probabilities[7], kind="stable")[:5]
    assert ("← this came" in report["at"]) == (seen.ids[8] in likeliest)
    assert report["marked"] == 1
    assert report["right"] == 8 and report["down"] > TEXT.index("\n") and report["up"] == 8
    assert report["end"] == report["stays"] == len(TEXT) - 1 and report["home"] == 0
    assert report["mode"] == "unit"


@needs_browser
def test_connectivity_surprise_and_properties_are_shown(used):
    seen, report = used
    row = seen.connectivity[12]
    strength = []
    for colour in report["reach"]:
        red, green, blue = map(int, re.findall(r"\d+", colour))
        strength.append(255 * 3 - red - green - blue)
    order = sorted(range(10), key=lambda k: -row[k])
    assert [12 - k for k in order[:1]] == [int(np.argmax(strength))]
    assert all(strength[12 - a] >= strength[12 - b] for a, b in pairwise(order))
    assert not any(strength[:3]) and not any(strength[13:])
    assert all(float(one) < 1 for one in report["opacity"][13:])
    assert f"{row.max():.3g}" in report["told"] and "one-hot row" in report["told"]
    bits = -seen.log_probabilities[np.arange(len(TEXT) - 1), seen.ids[1:]] / np.log(2)
    shown = [255 * 3 - sum(map(int, re.findall(r"\d+", one))) for one in report["surprise"]]
    least, most = int(np.argmin(bits)) + 1, int(np.argmax(bits)) + 1
    assert shown[0] == 0 and shown[most] > shown[least]
    assert report["bare"] == "none" and report["back"] == "block"
    said, chosen, mark, mode = report["property"]
    best = seen.correlations("inside quotes")[0]
    assert said == str(best) and chosen == f"{best.layer} {best.quantity} {best.unit}"
    assert mark == 0 and mode == "unit" and report["listed"]
    assert report["underlined"] == int((seen.properties["inside quotes"] > 0).sum())
    assert f"unit={best.unit}" in report["hash"] and "at=12" in report["hash"]
    assert report["contrast"] >= 4.5 and report["contrastDark"] >= 4.5
    assert report["dark"][0] == "dark" and report["dark"][1] != "rgb(255, 255, 255)"


@needs_browser
@pytest.mark.parametrize(
    ("kind", "horizon", "fragment", "expected"),
    [
        ("GRU", 0, "#layer=rnn.l1&quantity=z&unit=3&at=9&colour=reach", "rnn.l1 z 3 9 unit"),
        ("RNN", 5, "#layer=rnn.l0&quantity=h&unit=2&at=4&colour=reach", "rnn.l0 h 2 4 reach"),
        ("LSTM", 0, "", ""),
        (
            "RNN",
            5,
            "#layer=no&quantity=h&unit=77&at=1e9&colour=%3Cb%3E&mark=-7",
            None,  # nothing that there is: as without an address
        ),
        ("RNN", 5, "#at=3&colour=surprise", None),
        ("RNN", 5, "#layer=rnn.l1&quantity=h", "rnn.l1 h 0 -1 unit"),
    ],
)
def test_an_address_says_what_to_show(kind, horizon, fragment, expected, tmp_path):
    probe = """<script>
    report.shown = [$0.value, block().role, state.unit, state.at, state.mode].join(" ");
    report.closed = document.querySelector("#mode [value=reach]").disabled;
    finish();</script>""".replace("$0", "document.getElementById('layer')")
    seen, page = page_of(kind, horizon=horizon)
    if not fragment:
        best = seen.correlations("bracket depth")[0]
        fragment = seen.address("bracket depth", best)
        expected = f"{best.layer} {best.quantity} {best.unit} -1 unit"
    if expected is None:
        best = seen.telling()[1]
        rest = "3 surprise" if "at=3" in fragment else "-1 unit"
        expected = f"{best.layer} {best.quantity} {best.unit} {rest}"
    report = visit(page, tmp_path, probe, fragment)
    assert report["errors"] == []
    assert report["shown"] == expected
    assert report["closed"] == (horizon == 0)


def test_a_page_too_large_is_refused_and_its_values_are_not(monkeypatch, tmp_path):
    small = Model("LSTM", 1, len(VOCABULARY), 3)
    size = sum(block.size for block in celltext.cell_text(small, TEXT, VOCABULARY).values.values())
    monkeypatch.setattr(celltext.page, "MAX_BYTES", size)
    celltext.page.check_page(small, len(TEXT))
    assert celltext.cell_text(small, TEXT, VOCABULARY, horizon=0).html()
    monkeypatch.setattr(celltext.page, "MAX_BYTES", size - 1)
    seen = celltext.cell_text(small, TEXT, VOCABULARY)
    assert sum(block.size for block in seen.values.values()) == size
    assert -1 <= seen.correlations("inside quotes")[0].r <= 1
    for made in (seen.html, lambda: seen.save(tmp_path / "a.html")):
        with pytest.raises(ConfigError, match="shorter text"):
            made()
    assert not (tmp_path / "a.html").exists()


def test_a_text_too_long_for_a_page_is_told_by_one_character(monkeypatch):
    small = Model("LSTM", 1, len(VOCABULARY), 3)
    read, lengths = celltext.page.read, []

    def counted(model, ids):
        lengths.append(len(ids))
        return read(model, ids)

    monkeypatch.setattr(celltext.page, "read", counted)
    fits = celltext.page.MAX_BYTES // (6 * 3)  # h, tanh_c, i, f, o, g of three units
    celltext.page.check_page(small, fits)
    with pytest.raises(ConfigError, match=r"at most 48 MB(.|\n)*shorter text"):
        celltext.page.check_page(small, fits + 1)
    assert lengths == [1, 1]


def test_a_page_is_saved_or_refused(tmp_path, monkeypatch):
    seen, _ = page_of(horizon=0)
    assert seen.connectivity is None
    assert seen.save(tmp_path / "a.html").read_text("utf-8") == seen.html()
    with pytest.raises(ConfigError, match=r"\.html"):
        seen.save(tmp_path / "a.svg")
    for taken in (tmp_path / "no" / "a.html", tmp_path / "folder.html"):
        (tmp_path / "folder.html").mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match=r"CellText\.save.* cannot be written"):
            seen.save(taken)
    with pytest.raises(ConfigError, match="inside quotes"):
        seen.correlations("nothing")
    monkeypatch.setattr(celltext.page, "MAX_BYTES", 100)
    with pytest.raises(ConfigError, match="shorter text"):
        seen.save(tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()
