"""A headless browser that opens a page, uses it, and says what it saw."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium on the PATH (Debian: apt install chromium)"
)

BEFORE = """<script>
const report = { errors: [] };
window.addEventListener("error", event => report.errors.push(String(event.message)));
function finish() {
  report.requests = performance.getEntriesByType("resource").map(entry => entry.name);
  const out = document.createElement("pre");
  out.id = "report";
  out.textContent = "REPORT" + JSON.stringify(report) + "END";
  document.body.append(out);
}
</script>"""


def visit(page: str, folder: Path, probe: str, fragment: str = "") -> dict[str, Any]:
    """What the probe, a script run at the end of the page, noted in `report`."""
    file = folder / "page.html"
    watched = page.replace("<head>", "<head>" + BEFORE, 1).replace("</body>", probe + "</body>")
    file.write_text(watched, encoding="utf-8")
    for budget in (4_000, 20_000, 60_000):  # a loaded machine may not get there in the first
        done = subprocess.run(
            [
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--no-first-run",
                f"--user-data-dir={folder / f'profile-{budget}'}",
                "--window-size=1200,800",
                f"--virtual-time-budget={budget}",
                "--dump-dom",
                file.as_uri() + fragment,
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found = re.search(r"REPORT(\{.*\})END</pre>", done.stdout, re.DOTALL)
        if found is not None:
            break
    assert found is not None, done.stderr[-2000:]
    noted: dict[str, Any] = json.loads(html.unescape(found.group(1)))
    return noted
