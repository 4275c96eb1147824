"""Which lines of the package each test reaches, and how long it takes: run as a script.

    python tests/mutation/trace.py OUT.json PYTEST-ARGUMENTS...

OUT.json: ``{"seconds": {test: s}, "lines": {file: {line: [k, ...]}}}``, where k counts the tests
in the order of "seconds"; the tests of a line that only imports reached are an empty list.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest


class Recorder:
    """A pytest plugin: names the running test to coverage, and adds up its phases."""

    def __init__(self, cov: coverage.Coverage) -> None:
        self.cov = cov
        self.seconds: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.cov.switch_context(item.nodeid)
        result = yield
        self.cov.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


def main(out: str, *arguments: str) -> int:
    cov = coverage.Coverage(data_file=None, source=["tinygrad_seq"], config_file=False)
    cov.start()
    recorder = Recorder(cov)
    status = int(pytest.main([*arguments], plugins=[recorder]))
    cov.stop()
    data = cov.get_data()
    number = {test: k for k, test in enumerate(recorder.seconds)}
    lines = {
        Path(file).relative_to(Path.cwd()).as_posix(): {
            line: sorted(number[test] for test in set(tests) - {""})
            for line, tests in data.contexts_by_lineno(file).items()
        }
        for file in data.measured_files()
    }
    Path(out).write_text(json.dumps({"seconds": recorder.seconds, "lines": lines}), "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
