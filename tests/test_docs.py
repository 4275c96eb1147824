"""README and the pages in docs/ are true: their Python runs, their links and targets exist.

The ```` ```python ```` blocks of a page run in order, in one namespace, in an empty folder; a
block of ``>>>`` lines is a doctest. A block that cannot run here carries a reason, in an HTML
comment right before it, and is listed as skipped::

    <!-- not run: needs PyTorch -->
"""

from __future__ import annotations

import doctest
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if page.is_file()
]

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w+-]*)")
NOT_RUN = re.compile(r"^\s*<!--\s*not run:(?P<reason>.*?)-->\s*$")
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)[^)]*\)|<img[^>]*\ssrc=\"(?P<image>[^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line its text starts on (from 1)."""

    language: str
    source: str
    line: int
    not_run: str | None = None


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a Markdown page, in order."""
    found = []
    lines = iter(enumerate(text.splitlines(), start=1))
    reason = None
    for number, line in lines:
        opening = FENCE.match(line)
        if opening is None:
            marker = NOT_RUN.match(line)
            if marker is not None:
                reason = marker["reason"].strip()
                if not reason:
                    raise ValueError(f"line {number}: 'not run:' needs a reason")
            elif line.strip():
                reason = None
            continue
        body = []
        for _, inner in lines:
            if inner.strip().startswith(opening["fence"]) and not inner.strip(" `~"):
                break
            body.append(inner.removeprefix(opening["indent"]))
        else:
            raise ValueError(f"line {number}: the block is never closed")
        found.append(Block(opening["language"], "\n".join(body) + "\n", number + 1, reason))
        reason = None
    return found


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page.read_text("utf-8")) if block.language == "python"]


def run(page: Path) -> int:
    """Run the page's Python blocks in order; return how many there were to run."""
    names: dict[str, object] = {"__name__": "__page__"}
    runnable = [block for block in python_blocks(page) if block.not_run is None]
    for block in runnable:
        if block.source.lstrip().startswith(">>>"):
            run_doctest(page, block, names)
        else:
            # The blank lines in front make a traceback show the page's own line.
            code = compile("\n" * (block.line - 1) + block.source, str(page), "exec")
            exec(code, names)
    return len(runnable)


def run_doctest(page: Path, block: Block, names: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(
        block.source, names, page.name, str(page), block.line - 1
    )
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
    results = runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)  # the parser made a copy
    assert results.failed == 0, "".join(report)


def page_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = run(page)
    if page.name == "README.md":
        assert count > 0, "the README shows no Python that runs"


LEFT_OUT = [(page, block) for page in PAGES for block in python_blocks(page) if block.not_run]

if LEFT_OUT:  # else pytest would report a skip for the empty set

    @pytest.mark.parametrize(
        ("page", "block"),
        LEFT_OUT,
        ids=lambda value: page_name(value) if isinstance(value, Path) else f"line{value.line}",
    )
    def test_block_left_out(page, block):
        compile(block.source, str(page), "exec")  # what does not run is at least Python
        pytest.skip(f"{page_name(page)}, line {block.line}, not run: {block.not_run}")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_and_pictures_exist(page):
    for match in LINK.finditer(page.read_text("utf-8")):
        target = (match["target"] or match["image"]).split("#")[0]
        if target and not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), f"{page_name(page)} points at {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = page.read_text("utf-8")
    shell = "".join(b.source for b in blocks(text) if b.language in {"sh", "bash", "console"})
    named = set(re.findall(r"^\$? ?make ([a-z]+)", shell, re.MULTILINE))
    named |= set(re.findall(r"`make ([a-z]+)", text))
    assert named <= targets, f"no such make target: {sorted(named - targets)}"


def test_no_page_is_overlooked():
    present = {path for path in ROOT.iterdir() if path.name == "README.md"}
    present |= set((ROOT / "docs").rglob("*.md")) if (ROOT / "docs").is_dir() else set()
    assert present <= set(PAGES)


PAGE = """\
# Title
```python
x = 1
```
text
<!-- not run: needs a telescope -->

```python
import telescope
```
1. a list
   ```python
   >>> x + 1
   2
   ```
~~~python
assert x == EXPECTED, "planted"
~~~
```sh
rm -r nothing
```
"""


def test_blocks_are_found_with_their_lines_and_reasons(tmp_path):
    found = blocks(PAGE)
    assert [(b.language, b.line, b.not_run) for b in found] == [
        ("python", 3, None),
        ("python", 9, "needs a telescope"),
        ("python", 13, None),
        ("python", 17, None),
        ("sh", 20, None),
    ]
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("EXPECTED", "1"), "utf-8")
    assert run(page) == 3


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("EXPECTED", "2", AssertionError),  # a block that fails
        ("   2\n", "   3\n", AssertionError),  # a doctest that fails
        ("x = 1", "y = 1", AssertionError),  # a name that an earlier block no longer makes
        ("needs a telescope", "", ValueError),  # left out without a reason
        ("<!-- not run: needs a telescope -->", "", ModuleNotFoundError),
        ("nothing\n```", "nothing\n", ValueError),  # never closed
    ],
)
def test_planted_mistakes_on_a_page_are_caught(tmp_path, old, new, error):
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(old, new).replace("EXPECTED", "1"), "utf-8")
    with pytest.raises(error):
        run(page)
