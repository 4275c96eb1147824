"""Race this package against others: every contestant in a process of its own, taking turns.

    python -m benchmarks.run                         # every row, every contestant there is
    python -m benchmarks.run --quick                 # in a minute: ours and PyTorch
    python -m benchmarks.run --rows 'step:lstm:*' --peers ours,pytorch --blocks 9
    python -m benchmarks.run --peers ours,ours@../other/tree,ours+OPENBLAS_NUM_THREADS=1

First losses and gradients from equal weights are compared; whoever disagrees is not timed. Then
blocks of runs take turns, A B C A B C, so that all have their share of what else the machine does.
Turns that something else disturbed are repeated, twice as many at most, and the quietest kept.
Ratios are of medians, contestant / first contestant (above 1 the first is faster), with the
quartiles of the ratios turn by turn. `processor` is the processor time of a run, all threads
together, which with threads=1 tells something on a busy machine, too; `cores` how many cores the
contestant kept busy, `others` how many something else did. Rows: benchmarks/rows.py, or --list.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import report, rows
from benchmarks.peers import PEERS
from benchmarks.rows import Row, Values

ROOT = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-4  # of the norm of each gradient; they agree to 1e-6, but PyTorch's Adam updates a
# second bias, which changes the losses of five iterations by up to 3e-5
THREADS = ("OPENBLAS", "OMP", "MKL", "NUMBA", "VECLIB_MAXIMUM", "TINYGRAD_SEQ")
DISTURBED = 0.2  # cores that something else kept busy during a turn: it is repeated
TABLE = [name for group in rows.GROUPS.values() for name in group]
START = (
    "import sys; sys.path.insert(0, {root!r}); from benchmarks import worker; "
    "sys.path[0] = {tree!r}; worker.serve({peer!r}, {cores})"
)
BUSY = "import numpy as np; a = np.ones((1024, 1024), np.float32)\nwhile True: a @ a"


class Named(NamedTuple):
    """A contestant: ``peer``, ``peer@tree`` of another source tree, ``peer+VARIABLE=value``."""

    label: str
    peer: str
    tree: Path
    environment: dict[str, str]


def contestant(label: str) -> Named:
    """Read a label."""
    start, *settings = label.split("+")
    peer, _, tree = start.partition("@")
    if peer not in PEERS:
        raise SystemExit(f"{label!r}: contestants are {', '.join(PEERS)}")
    environment = dict(setting.split("=", 1) for setting in settings)
    return Named(label, peer, Path(tree).resolve() if tree else ROOT, environment)


class Worker:
    """The process of a contestant."""

    def __init__(self, who: Named, row: Row) -> None:
        condition, _, number = row.condition.partition("=")
        cores = int(number) if condition == "threads" else 0
        own = {f"{name}_NUM_THREADS": str(cores) for name in THREADS} if cores else {}
        start = START.format(root=str(ROOT), tree=str(who.tree), peer=who.peer, cores=cores)
        self.label = who.label
        self.process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **own, **who.environment},
        )

    def ask(self, *command: Any) -> dict[str, Any]:
        """Send a command and wait for the answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        if "error" in answer:
            raise RuntimeError(f"{self.label}: {command}\n{answer['error']}")
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


@contextmanager
def neighbour(row: Row) -> Iterator[None]:
    """A process that multiplies matrices all the while, in a row that asks for it."""
    if row.condition != "busy":
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def disagreements(ours: Values, theirs: Values) -> list[str]:
    """What two contestants found differently, from equal weights."""
    if set(ours) != set(theirs):
        return [f"one has {sorted(ours)}, the other {sorted(theirs)}"]
    found = []
    for name in ours:
        mine, other = (np.asarray(values[name], float) for values in (ours, theirs))
        if mine.shape != other.shape:
            found.append(f"{name}: shapes {mine.shape} and {other.shape}")
            continue
        error = np.linalg.norm(mine - other) / max(np.linalg.norm(other), 1e-12)
        if not error <= TOLERANCE:  # nor NaN
            found.append(f"{name}: {error:.1e} of its norm")
    return found


def in_turns(
    row: Row, workers: dict[str, Worker], blocks: int, seconds: float
) -> dict[str, list[dict[str, Any]]]:
    """The blocks of each contestant."""
    if row.job == "memory":
        return {label: [worker.ask("memory", 3)] for label, worker in workers.items()}
    turns: list[dict[str, dict[str, Any]]] = []
    quiet = 0
    while quiet < blocks and len(turns) < 2 * blocks:
        turn = {label: block(worker, seconds) for label, worker in workers.items()}
        turns.append(turn)
        quiet += row.condition == "busy" or others(turn) < DISTURBED
    kept = turns if row.condition == "busy" else sorted(turns, key=others)[:blocks]
    return {label: [turn[label] for turn in kept] for label in workers}


def block(worker: Worker, seconds: float) -> dict[str, Any]:
    """What a contestant tells of its runs, and how many cores others kept busy meanwhile."""
    before, start = busy_seconds(), time.perf_counter()
    told = worker.ask("block", seconds)
    used = (busy_seconds() - before) / (time.perf_counter() - start)
    return {**told, "others": max(used - told["cores"], 0.0)}


def others(turn: dict[str, dict[str, Any]]) -> float:
    """Cores that something else kept busy during a turn, at worst."""
    return max(each["others"] for each in turn.values())


def busy_seconds() -> float:
    """Seconds that all cores together have worked, whatever on; 0 where that is not known."""
    try:
        counts = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, counts[:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def whole_processes(row: Row, who: list[Named], blocks: int) -> dict[str, list[dict[str, Any]]]:
    """Seconds from the start of a process to its end, with one step in between."""
    found: dict[str, list[dict[str, Any]]] = {each.label: [] for each in who}
    for _ in range(blocks):
        for each in who:
            start = time.perf_counter()
            with Worker(each, row) as worker:
                worker.ask("build", row.name)
                worker.ask("block", 0, 1, 0)
            found[each.label].append({"times": [time.perf_counter() - start]})
    return found


def measure(row: Row, who: list[Named], blocks: int, seconds: float) -> dict[str, Any]:
    """Check the contestants of a row, then have them take turns."""
    with ExitStack() as stack:
        stack.enter_context(neighbour(row))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers, about, values, wrong = {}, {}, {}, {}
        for each in who:
            worker = stack.enter_context(Worker(each, row))
            told = worker.ask("build", row.name)
            if not told.pop("has"):
                continue
            if each.peer == "ours" and not Path(told["file"]).is_relative_to(each.tree):
                raise SystemExit(f"{each.label}: the package came from {told['file']}")
            file = folder / f"{len(workers)}.npz"
            if row.job != "memory":
                worker.ask("check", str(file))
                values[each.label] = dict(np.load(file))
                first = next(iter(values.values()))
                problems = disagreements(first, values[each.label])
                if problems:
                    wrong[each.label] = problems
                    continue
            workers[each.label], about[each.label] = worker, told
        if row.job == "first":
            timed = whole_processes(row, [each for each in who if each.label in workers], blocks)
        else:
            timed = in_turns(row, workers, blocks, seconds)
    return summary(row, timed, about, wrong)


def summary(
    row: Row, timed: dict[str, Any], about: dict[str, Any], wrong: dict[str, list[str]]
) -> dict[str, Any]:
    """Medians and quartiles, and ratios to the first contestant."""
    scale = {"MiB": 1.0, "us": 1e6 / rows.WRITTEN}.get(row.unit, 1e3)
    found, first = {}, next(iter(timed), None)
    for label, blocks in timed.items():
        times = scale * np.concatenate([block["times"] for block in blocks])
        turns = [statistics.median(block["times"]) for block in blocks]
        each: dict[str, Any] = {
            "median": float(np.median(times)),
            "quartiles": [float(q) for q in np.quantile(times, [0.25, 0.75])],
            "blocks": [scale * turn for turn in turns],
            **about[label],
        }
        if "processor" in blocks[0]:
            for key in ("cores", "others"):
                each[key] = statistics.fmean(block[key] for block in blocks)
            each["processor"] = scale * statistics.median(block["processor"] for block in blocks)
        if label != first:
            base = found[first]
            ratios = np.divide(each["blocks"], base["blocks"])
            each["ratio"] = each["median"] / base["median"]
            each["ratio_quartiles"] = [float(q) for q in np.quantile(ratios, [0.25, 0.75])]
        found[label] = each
    return {"unit": row.unit, "sizes": row.sizes, "contestants": found, "disagree": wrong}


def machine() -> dict[str, Any]:
    """What results depend on."""
    names = [f"{name}_NUM_THREADS" for name in THREADS]
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.split(": ")[1] for line in lines if line.startswith("model name")), cpu)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    settings = {name: os.environ[name] for name in names if name in os.environ}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    when = time.strftime("%Y-%m-%d")
    return {"cpu": cpu, "cores": cores, "threads": settings, "date": when, **versions}


def load() -> float:
    """Processes that want a core, on average over the last minute."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def wait(until: float) -> None:
    """For a second in which nothing else runs, but not beyond a time."""
    told = False
    while time.monotonic() < until:
        before = busy_seconds()
        time.sleep(1.0)
        busy = busy_seconds() - before
        if busy < DISTURBED:
            return
        if not told:
            print(f"{busy:.1f} cores are busy: waiting for a quiet machine", flush=True)
        told = True
        time.sleep(2.0)


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.run",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--rows", help="patterns, separated by spaces; all rows by default")
    parser.add_argument("--peers", help="contestants, separated by commas; the first is the base")
    parser.add_argument("--quick", action="store_true", help="a few rows, ours and PyTorch")
    parser.add_argument("--blocks", type=int, help="turns of each contestant (7, quick 3)")
    parser.add_argument("--seconds", type=float, help="of a block, about (0.5, quick 0.25)")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="minutes, in all, for a quiet machine"
    )
    parser.add_argument("--json", type=Path, default=Path("runs/bench.json"), help="results")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser.parse_args(arguments)


def chosen(patterns: str | None, quick: bool) -> list[Row]:
    """Rows of the table that match; a row that is not in it may be named in full."""
    if not patterns:
        return [rows.row(name) for name in (rows.QUICK if quick else TABLE)]
    found = []
    for pattern in patterns.split():
        names = [name for name in TABLE if fnmatch(name, pattern)]
        found += names or [pattern]
    return [rows.row(name) for name in dict.fromkeys(found)]


def main(arguments: list[str] | None = None) -> int:
    """Run the rows; 1 if somebody disagreed."""
    options = options_of(arguments)
    if options.list:
        print("\n".join(TABLE))
        return 0
    peers = options.peers or ("ours,pytorch,eager" if options.quick else ",".join(PEERS))
    who = [contestant(label) for label in peers.split(",")]
    for each in list(who):
        if importlib.util.find_spec(PEERS[each.peer].library) is None:
            print(f"{each.label} is left out: {PEERS[each.peer].library} is not installed")
            who.remove(each)
    blocks = options.blocks or (3 if options.quick else 7)
    seconds = options.seconds if options.seconds is not None else 0.25 if options.quick else 0.5
    patience = time.monotonic() + 60 * options.wait
    results: dict[str, Any] = {"machine": machine(), "rows": {}}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    print(", ".join(f"{k} {v}" for k, v in results["machine"].items()), f"load {load():.2f}")
    agreed = True
    for row in chosen(options.rows, options.quick):
        wait(patience)
        before = load()
        try:
            found = measure(row, who, blocks, seconds)
        except RuntimeError as error:  # of one contestant: the other rows go on
            print(f"{row.name} is left out\n{error}")
            agreed = False
            continue
        found["load"] = [before, load()]
        agreed &= not found["disagree"]
        results["rows"][row.name] = found
        print(report.lines(row.name, found), flush=True)
        options.json.write_text(json.dumps(results, indent=1), "utf-8")
    print(report.derived_text(results))
    report.plot(results, options.json.with_suffix(".svg"))
    print(f"results in {options.json}; into the page: python -m benchmarks.report {options.json}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
