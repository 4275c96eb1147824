"""The page of operations is the one that the records give, and names every one of them."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from tests.test_own_kernel import KERNEL, mgu_step
from tinygrad_seq.engine.op import Op
from tinygrad_seq.ops import OPS
from tinygrad_seq.ops.numpy_rest import CONSTANT_ONLY, REFUSED, name_of
from tinygrad_seq.ops.registry import DIFFERENTIABLE, NEWER
from tinygrad_seq.ops.sequence import sequence_op

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
WRITER = runpy.run_path(str(PAGE.with_suffix(".py")))
operation_table, operation_row = WRITER["operation_table"], WRITER["_operation"]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == operation_table(), "write it anew: make operations"


def test_every_operation_has_a_row() -> None:
    rows = [line for line in operation_table().splitlines() if line.startswith("| `")]
    first = {row.split("|")[1].strip().strip("`") for row in rows}
    assert set(OPS) <= first
    assert {"np.tanh", "np.linalg.norm", "np.linalg.inv", "np.argmax", "np.pad"} <= first


def test_every_numpy_function_has_one_row_with_a_status_and_a_reason() -> None:
    text = operation_table()
    lines = [line for line in text[text.index("## NumPy") :].splitlines() if line.startswith("| `")]
    names = [line.split("|")[1] for line in lines]
    assert len(names) == len(set(names))
    for line in lines:
        _, _, status, reason, _ = line.split("|")
        assert status.strip() in {"differentiable", "constant only", "refused"}
        assert len(reason.strip()) > 5
    statuses = [line.split("|")[2].strip() for line in lines]
    known = {name_of(f) for f in DIFFERENTIABLE} | {f"np.{name}" for name in NEWER}
    assert statuses.count("differentiable") == len(known)
    assert statuses.count("constant only") == len(CONSTANT_ONLY)
    assert statuses.count("refused") == len(REFUSED)


def test_no_cell_is_empty_and_none_is_broken() -> None:
    for line in operation_table().splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.replace(r"\|", "").split("|")[1:-1]]
            assert len(cells) in {3, 6}
            assert all(cells[:5])
            assert not any(":func:" in cell or "``" in cell for cell in cells)
            assert line.count("`") % 2 == 0


def test_a_sequence_without_a_public_function_is_told_by_its_step() -> None:
    op = sequence_op("of_this_test", KERNEL, mgu_step, blocks=2)
    del OPS[op.name]
    assert "| Over a whole sequence: `f = sigma(x W_xf" in operation_row(op)


def test_an_operand_without_a_gradient_gives_its_reason() -> None:
    made = Op("tanh", np.tanh, "x", [None], why="it was left out for this test")
    assert "| not to x: it was left out for this test |" in operation_row(made)


def test_the_table_shows_how_to_call_the_function() -> None:
    text = operation_table()
    assert (
        "| `np.pad` | differentiable | `tgs.pad(x, pad_width, mode='constant', **options)` |"
        in text
    )
    assert "| `np.fmod` | refused | it jumps at every multiple" in text
    assert "| `lstm_sequence` |" in text


def test_the_program_writes_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(PAGE.with_suffix(".py")), run_name="__main__")
    assert capsys.readouterr().out == PAGE.read_text("utf-8")
