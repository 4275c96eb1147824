"""Output that cannot hold a character of the text: it is replaced, and nothing ends."""

from __future__ import annotations

import argparse
import io
import sys

import pytest

from tinygrad_seq.charlm.commands import guarded
from tinygrad_seq.errors import DataError


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_what_a_log_does_not_know_is_replaced(monkeypatch, stream: str, encoding: str) -> None:
    raw = io.BytesIO()
    log = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, stream, log)

    def command(_: argparse.Namespace) -> int:
        print("αβγ and more", file=getattr(sys, stream))
        return 0

    assert guarded(command, argparse.Namespace()) == 0
    log.flush()
    assert raw.getvalue().strip() == b"??? and more"


def test_so_is_what_an_error_says(monkeypatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))

    def command(_: argparse.Namespace) -> int:
        raise DataError("no such text: λ")

    assert guarded(command, argparse.Namespace()) == 2
    sys.stderr.flush()
    assert raw.getvalue().strip() == b"error: no such text: ?"
