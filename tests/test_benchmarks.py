"""The races of benchmarks/ run, with ours alone, and whoever computes something else is caught."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report, rows, run
from benchmarks.peers import PEERS, ours

ROOT = Path(__file__).resolve().parents[1]
SMALL = "4,3,7,8,2"


@pytest.mark.parametrize("job", [job for job in ours.JOBS if job != "iteration"])
def test_every_job_runs_and_is_the_same_again(job):
    row = rows.row(f"{job}:lstm:{SMALL}")
    first, again = (ours.JOBS[job](row) for _ in range(2))
    first.run()
    assert not run.disagreements(first.check(), again.check())


def test_an_iteration_learns():
    row = rows.row("iteration:gru:4,3,7,8,1")
    job = ours.JOBS["iteration"](row)
    losses = [job.run() for _ in range(400)]
    assert np.mean(losses[-8:]) < losses[0] - 0.3


def test_all_rows_can_be_run_by_ours():
    assert len(run.TABLE) == len(set(run.TABLE))
    assert all(rows.row(name).job in ours.JOBS for name in run.TABLE)
    assert set(rows.QUICK) <= set(run.TABLE)
    for wrong in ("step:transformer:min", "step:lstm", "step:lstm:mni", "step:lstm:min:quiet"):
        with pytest.raises(ValueError, match="is no row: job:kind:size"):
            rows.row(wrong)


@pytest.mark.parametrize(
    "plant",
    [
        lambda g: 1.01 * g,
        lambda g: g.T,
        lambda g: np.zeros_like(g),
        lambda g: np.roll(g, 8, axis=-1),  # gates in another order
        lambda g: g * np.nan,
        lambda g: g[:, :-1],
    ],
)
def test_a_planted_gradient_is_caught(plant):
    row = rows.row(f"step:lstm:{SMALL}")
    found = ours.step(row).check()
    name = "rnn.weight_hh_l1"
    problems = run.disagreements(found, {**found, name: plant(found[name])})
    assert len(problems) == 1
    assert name in problems[0]
    assert run.disagreements(found, {"loss": found["loss"]})


def test_one_command_from_rows_to_the_page(tmp_path, capsys):
    file = tmp_path / "bench.json"
    names = [f"step:lstm:{SMALL}", "first:rnn:4,3,7,8,1", "write:gru:1,1,7,8,1"]
    peers = f"ours,ours@{ROOT}+SOME_SETTING=1"
    options = ["--rows", " ".join(names), "--peers", peers, "--blocks", "2", "--seconds", "0"]
    assert run.main([*options, "--json", str(file)]) == 0
    results = json.loads(file.read_text("utf-8"))
    assert list(results["rows"]) == names
    for row in results["rows"].values():
        first, second = row["contestants"].values()
        assert first["median"] > 0
        assert second["ratio"] > 0
    assert results["rows"][names[0]]["contestants"]["ours"]["processor"] > 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    page = "a\n" + "\nold\n".join(report.MARKERS) + "\nb\n"
    text = report.refresh(page, report.markdown(results))
    assert text.startswith("a\n")
    assert text.endswith("\nb\n")
    assert "old" not in text
    assert f"`step:lstm:{SMALL}`" in text
    assert report.refresh(text, report.markdown(results)) == text


def test_disturbed_turns_are_repeated_and_the_quietest_kept(monkeypatch):
    noise = iter([0.0, 0.0, 0.9, 0.0, 0.1, 0.1, 0.0, 0.5, 0.0, 0.0])  # a, b, a, b, ...

    def block(worker, seconds):
        return {"times": [1.0], "cores": 1.0, "others": next(noise)}

    monkeypatch.setattr(run, "block", block)
    found = run.in_turns(rows.row("step:lstm:min"), {"a": None, "b": None}, 3, 0.0)
    assert next(noise, None) is None, "the fifth turn is the third quiet one"
    kept = {label: [each["others"] for each in blocks] for label, blocks in found.items()}
    assert kept == {"a": [0.0, 0.0, 0.1], "b": [0.0, 0.0, 0.1]}


def test_somebody_who_disagrees_is_not_timed(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "disagreements", lambda a, b: [] if a is b else ["planted"])
    options = ["--rows", f"step:rnn:{SMALL}", "--peers", f"ours,ours@{ROOT}", "--blocks", "1"]
    file = tmp_path / "bench.json"
    assert run.main([*options, "--seconds", "0", "--json", str(file)]) == 1
    (row,) = json.loads(file.read_text("utf-8"))["rows"].values()
    assert list(row["contestants"]) == ["ours"]
    assert row["disagree"] == {f"ours@{ROOT}": ["planted"]}


def test_the_page_has_its_markers():
    page = report.PAGE.read_text("utf-8")
    assert report.refresh(page, "new").count("new") >= 1
    with pytest.raises(SystemExit, match="markers"):
        report.refresh("no markers", "new")


def test_a_contestant_that_is_unknown_or_not_installed(tmp_path, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="contestants are ours"):
        run.contestant("tensorflow")
    monkeypatch.setitem(PEERS, "jax", PEERS["jax"]._replace(library="no_such_library"))
    options = ["--rows", f"forward:rnn:{SMALL}", "--peers", "ours,jax", "--blocks", "1"]
    run.main([*options, "--seconds", "0", "--json", str(tmp_path / "bench.json")])
    assert "jax is left out: no_such_library is not installed" in capsys.readouterr().out
