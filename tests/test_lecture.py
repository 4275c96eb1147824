"""Every heading of the lecture has a page, a module, a property test and a demo, and all exist."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LECTURE = ROOT / "docs" / "lecture"
PAGES = sorted(LECTURE.glob("*.md"))

HEADINGS = [
    "Recurrent networks: process sequences",
    "Vanilla RNN",
    "Many to one",
    "One to many",
    "Many to many, aligned",
    "Sequence to sequence",
    "One-hot encoding",
    "Truncated backpropagation through time",
    "Attention",
    "Multilayer RNNs",
    "Vanilla RNN gradient flow",
    "Gradient clipping",
    "Long short term memory",
]
COLUMNS = {
    "heading": "docs/lecture/",
    "module": "tinygrad_seq/",
    "demo": "demos/",
    "property test": "tests/",
}
LINK = re.compile(r"^\[(?P<text>[^\]]+)\]\((?P<target>[^)]+)\)$")
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
NAMED_DEMO = re.compile(r"`(demos/\w+\.py)`")


def table(page: str) -> list[list[str]]:
    """Cells of the first table of a page, header first, without the ruling."""
    _, begin, rest = page.partition("\n|")
    lines = itertools.takewhile(lambda line: line.startswith("|"), (begin + rest).split("\n")[1:])
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def names_of_tests(path: Path) -> set[str]:
    """Tests that a file defines."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def missing(page: str, root: Path = ROOT) -> list[str]:
    """Tests and demos that a page names and that do not exist."""
    found = []
    for file, name in NAMED_TEST.findall(page):
        path = root / file
        if not path.is_file() or (name and name not in names_of_tests(path)):
            found.append(f"{file}::{name}" if name else file)
    return found + [file for file in NAMED_DEMO.findall(page) if not (root / file).is_file()]


def anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def holes(row: list[str], root: Path = ROOT) -> list[str]:
    """What is wrong with one row of the index."""
    if len(row) != len(COLUMNS):
        return [f"{len(row)} cells"]
    wrong = []
    for (column, folder), cell in zip(COLUMNS.items(), row, strict=True):
        link = LINK.match(cell)
        if link is None:
            wrong.append(f"{column}: no link")
            continue
        target, _, anchor = link["target"].partition("#")
        path = (root / "docs" / "lecture" / target).resolve()
        name, _, test = link["text"].strip("`").partition("::")
        if not path.is_file():
            wrong.append(f"{column}: {target} does not exist")
        elif anchor and anchor not in anchors(path.read_text("utf-8")):
            wrong.append(f"{column}: no heading {anchor} in {target}")
        elif column != "heading" and path.relative_to(root).as_posix() != folder + name:
            wrong.append(f"{column}: {name} leads to {target}")
        elif column == "property test" and test not in names_of_tests(path):
            wrong.append(f"{column}: no test {test!r} in {name}")
    return wrong


def test_the_index_has_every_heading_and_no_holes():
    header, *rows = table((LECTURE / "README.md").read_text("utf-8"))
    assert header == list(COLUMNS)
    assert [LINK.match(row[0])["text"] for row in rows] == HEADINGS
    assert not {row[0]: wrong for row in rows if (wrong := holes(row))}


def test_every_demo_is_listed():
    index = (LECTURE / "README.md").read_text("utf-8")
    demos = {path.stem for path in (ROOT / "demos").glob("*.py")}
    demos -= {"demokit", "gallery", "lecture"}  # they help the others, or draw the pages
    assert {Path(name).stem for name in NAMED_DEMO.findall(index)} == demos


def test_every_page_is_in_the_index():
    index = (LECTURE / "README.md").read_text("utf-8")
    assert [page.name for page in PAGES if f"]({page.name}" not in index] == ["README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_only_what_exists_and_show_a_figure(page):
    text = page.read_text("utf-8")
    assert not missing(text)
    if page.name != "README.md":
        shown = text.partition("\n## Where it is shown\n")[2]
        assert NAMED_TEST.search(shown), "no claim is backed by a test"
        assert not re.search(r"[^\[]`(tests|demos)/", text), "a test or demo without a link"
        assert "](figures/" in text


def test_every_figure_is_drawn_by_the_script_and_shown():
    text = "".join(page.read_text("utf-8") for page in PAGES)
    script = (ROOT / "demos" / "lecture.py").read_text("utf-8")
    figures = sorted((LECTURE / "figures").iterdir())
    assert figures
    for figure in figures:
        assert f"](figures/{figure.name})" in text, f"{figure.name} is on no page"
        assert f'"{figure.stem}": ' in script, f"nothing draws {figure.name}"
        assert figure.stat().st_size < 150_000, f"{figure.name} is large"


GOOD = [
    "[Vanilla RNN](vanilla-rnn.md)",
    "[`nn/recurrent.py`](../../tinygrad_seq/nn/recurrent.py)",
    "[`unrolled.py`](../../demos/unrolled.py)",
    "[`test_flow.py::test_contributions_sum_to_the_gradient`](../../tests/test_flow.py)",
]


@pytest.mark.parametrize(
    ("cell", "wrong", "complaint"),
    [
        (0, "Vanilla RNN", "heading: no link"),
        (0, "[x](nowhere.md)", "nowhere.md does not exist"),
        (0, "[x](wirings.md#many-to-none)", "no heading many-to-none"),
        (1, "recurrent.py", "module: no link"),
        (1, "[`nn/stack.py`](../../tinygrad_seq/nn/recurrent.py)", "leads to"),
        (2, "[`unwound.py`](../../demos/unwound.py)", "does not exist"),
        (3, "[`test_flow.py`](../../tests/test_flow.py)", "no test ''"),
        (3, "[`test_flow.py::test_nothing`](../../tests/test_flow.py)", "no test 'test_nothing'"),
    ],
)
def test_planted_holes_are_found(cell, wrong, complaint):
    assert not holes(GOOD)
    planted = [*GOOD[:cell], wrong, *GOOD[cell + 1 :]]
    assert any(complaint in said for said in holes(planted))


@pytest.fixture
def script(monkeypatch, tmp_path):
    """demos/lecture.py, drawing into a folder of its own."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "demos")
    spec = importlib.util.spec_from_file_location("lecture_figures", ROOT / "demos" / "lecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "HERE", tmp_path)
    return module


def test_the_script_draws_every_figure(script, tmp_path, capsys):
    every = {*script.GRAPHS, *script.PLOTS, *script.DEMOS}
    assert {figure.stem for figure in (LECTURE / "figures").iterdir()} == every
    for name, make in script.GRAPHS.items():
        assert ("c₋₁ = 0" if name == "lstm" else "|∂L/∂h|") in make().dot
    assert script.main(["rolled", "one-hot", "contributions"]) == 0
    assert capsys.readouterr().out.count("docs/lecture/figures") == 3
    assert "<svg" in (tmp_path / "rolled.svg").read_text("utf-8")
    for name in script.PLOTS:
        header = (tmp_path / f"{name}.png").read_bytes()[:24]
        assert header.startswith(b"\x89PNG")
        assert int.from_bytes(header[16:20], "big") == script.WIDTH
    for demo in script.DEMOS.values():
        assert (ROOT / "demos" / f"{demo}.py").is_file()
    with pytest.raises(SystemExit):
        script.main(["landscape"])
