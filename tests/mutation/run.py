"""Mutation testing with cosmic-ray: how many small faults would the tests notice?

    make mutants                                        # a stratified random sample
    make mutants ARGS="--rooms engine --minutes 600"    # all of one room
    make mutants ARGS="--report"                        # what is known so far

cosmic-ray makes the mutants, plants them and judges them. What is added here keeps the time in
bounds. One mutant for every *place* (a spot and a kind of change): `a + b` could become eleven
other things, and nearly always all die or all live. It never becomes `a << b`, which is too easily
noticed. Only tests that reach the mutated line are asked, those first that reach little else. The
places are visited in a random order that goes through all modules evenly: wherever a run stops, it
has tried a stratified random sample.

Everything happens in copies of the tree. What is known is kept in runs/mutants/, and the next call
goes on from there: with the same mutants while the package is the same, and asking again about
those that survived when the tests have changed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import chain, islice
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkItem, WorkResult

ROOT = Path(__file__).resolve().parents[2]
SESSION = ROOT / "runs" / "mutants"
PACKAGE = "tinygrad_seq"
HERE = "mutation"

NOT_ASKED = {
    "tests/parity": "needs PyTorch",
    "tests/test_char_lm.py": "trains for long",
    "tests/test_demos.py": "trains for long",
    "tests/test_docs.py": "reads the pages",
    "tests/test_house.py": "reads the source: a change of text alone could fail it",
    "tests/test_mutants.py": "edits the source: a change of text alone could fail it",
    "tests/test_task_learning.py": "trains for long",
    "tests/test_viz_page.py": "starts a browser, which wants more address space than we allow",
}
"""Tests that judge no mutant, and why."""

PYTEST = ["-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]

FAMILIES = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"LShift", "RShift", "BitOr", "BitAnd", "BitXor"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"USub", "UAdd"},
    {"Invert", "Not"},
)
"""Operators, as cosmic-ray names them, that can stand for one another."""

MEMORY = 8 << 30
"""Bytes of address space a test process may take: some mutants ask for terabytes."""


class Trace:
    """What the unmutated tests reach, and how long each takes."""

    def __init__(self, seconds: dict[str, float], lines: dict[str, dict[str, list[int]]]) -> None:
        names = list(seconds)
        self.seconds = seconds
        self.lines = {  # file: line: tests
            file: {line: [names[k] for k in tests] for line, tests in reached.items()}
            for file, reached in lines.items()
        }
        everything = chain.from_iterable(
            tests for file in self.lines.values() for tests in file.values()
        )
        self.breadth = Counter(everything)  # test: how many lines it reaches

    def judges(self, mutation: MutationSpec) -> list[str]:
        """The tests that may notice a mutant, the narrowest first.

        They are those that reach its lines. Of a line that is run by the import alone, those that
        reach the definition around it, or else the module.
        """
        reached = self.lines[mutation.module_path.as_posix()]
        first, last = mutation.start_pos[0], mutation.end_pos[0]
        around = definition_around(mutation.module_path, first)
        for lines in (range(first, last + 1), around, [int(line) for line in reached]):
            found = set(chain.from_iterable(reached.get(str(line), ()) for line in lines))
            if found:
                return sorted(found, key=lambda test: (self.breadth[test], test))
        return []

    def asked(self, mutation: MutationSpec, limit: float) -> tuple[list[str], float]:
        """The narrowest of the tests of a mutant, up to a limit of seconds, and their time-out."""
        tests, spent = [], 0.0
        for test in self.judges(mutation):
            if spent + self.seconds[test] <= limit:
                tests.append(test)
                spent += self.seconds[test]
        return tests, 60 + 5 * spent


def definition_around(path: Path, line: int) -> range:
    """The lines of the innermost definition around a line; none, if it stands in none."""
    around = [
        range(node.lineno, (node.end_lineno or 0) + 1)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    return min((lines for lines in around if line in lines), key=len, default=range(0))


def never_run(path: Path) -> list[ast.AST]:
    """What the program never evaluates: annotations, and what only type checkers read."""
    found: list[ast.AST | None] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            found.append(node.returns)
        elif isinstance(node, ast.arg | ast.AnnAssign):
            found.append(node.annotation)
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            found += node.body
    return [node for node in found if node is not None]


def no_result(path: Path) -> list[ast.AST]:
    """What no result depends on: operands that tests draw, and assertions of equal lengths."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.keyword) and node.arg in ("sample", "strict"))
        or (
            isinstance(node, ast.FunctionDef | ast.Lambda)
            and "draw" in [argument.arg for argument in node.args.args]
        )
    ]


def inside(mutation: MutationSpec, node: ast.AST) -> bool:
    start = (node.lineno, node.col_offset)  # type: ignore[attr-defined]
    end = (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    return bool(start <= tuple(mutation.start_pos) < end)


def too_easy(mutation: MutationSpec) -> bool:
    """Whether one operator becomes one of another family, which mostly raises a TypeError."""
    _, *names = mutation.operator_name.split("_")
    return sum(not family.isdisjoint(names) for family in FAMILIES) > 1


def places(rooms: Iterable[str], seed: int) -> list[WorkItem]:
    """One mutant of every place, in a random order that visits all modules evenly."""
    rng = random.Random(seed)
    modules = [path for room in rooms for path in sorted(Path(PACKAGE, room).rglob("*.py"))]
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/all.sqlite") as everything:
        init(modules, everything, {})
        mutations = [item.mutations[0] for item in everything.work_items]
    dead = {module: never_run(module) for module in modules}
    kinds: dict[Path, dict[tuple[object, ...], list[MutationSpec]]] = defaultdict(dict)
    for each in sorted(mutations, key=lambda m: (m.start_pos, m.operator_name, m.occurrence)):
        if not too_easy(each) and not any(inside(each, node) for node in dead[each.module_path]):
            kind = each.operator_name.split("_")[0]  # ReplaceBinaryOperator_Add_Sub
            key = (each.start_pos, each.end_pos, kind)
            kinds[each.module_path].setdefault(key, []).append(each)
    ranked = []
    for module in modules:
        chosen = [rng.choice(alike) for alike in kinds[module].values()]
        rng.shuffle(chosen)
        ranked += [((i + rng.random()) / len(chosen), m) for i, m in enumerate(chosen)]
    ranked.sort(key=lambda pair: pair[0])
    left_out = {module: no_result(module) for module in modules}
    return [
        WorkItem.single(f"{rank:05d}", each)
        for rank, (_, each) in enumerate(ranked)
        if not any(inside(each, node) for node in left_out[each.module_path])
    ]


def fingerprint(folder: str) -> str:
    """Of the Python under a folder, but for this one: telling mutants apart changes none."""
    files = [path for path in sorted(Path(folder).rglob("*.py")) if HERE not in path.parts]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]


def enter(folder: Path) -> None:
    """Make a copy of the tree the one that a process and its children work on."""
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)
    os.environ["HYPOTHESIS_PROFILE"] = "mutants"
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def enter_first_copy(folder: Path) -> None:
    """Copy the tree, and compile all of it: every mutant then compiles one module only."""
    unneeded = shutil.ignore_patterns(".*", "runs", "__pycache__", "build", "dist")
    enter(Path(shutil.copytree(ROOT, folder, ignore=unneeded)))
    collect = [sys.executable, "-m", "pytest", *PYTEST, "--collect-only", "tests"]
    subprocess.run(collect, check=True, stdout=subprocess.DEVNULL)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # from now on: of a mutant nothing may be left


def enter_own_copy(scratch: str) -> None:
    """In a worker: copy the first copy, and bound what its tests may take."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is in hand is brought to its end
    enter(Path(shutil.copytree(Path.cwd(), Path(tempfile.mkdtemp(dir=scratch), "tree"))))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def judge(item: WorkItem, tests: list[str], seconds: float) -> WorkResult:
    """Plant one mutant in this process's copy and ask the tests about it."""
    if not tests:
        return WorkResult("no-test", "no test reaches it", TestOutcome.SURVIVED)
    listing = Path("..", "tests.txt").resolve()
    listing.write_text("\n".join(tests), "utf-8")
    command = shlex.join([sys.executable, "-m", "pytest", *PYTEST, "-x", f"@{listing}"])
    return mutate_and_test(item.mutations, command, seconds)


def trace() -> Trace:
    """What the tests reach: kept from the last call, or found out now by running them all."""
    kept = SESSION / f"trace-{fingerprint(PACKAGE)}-{fingerprint('tests')}.json"
    if not kept.exists():
        print("finding out what each test reaches: all tests run once, some minutes", flush=True)
        made = Path("..", "trace.json").resolve()
        arguments = [*PYTEST, "tests", *(f"--ignore={path}" for path in NOT_ASKED)]
        tracer = [sys.executable, f"tests/{HERE}/trace.py", str(made), *arguments]
        if subprocess.run(tracer).returncode:
            sys.exit("error: tests fail on the code as it is, see above; try: repair these first")
        for outdated in SESSION.glob("trace-*.json"):
            outdated.unlink()
        shutil.copy(made, kept)
    found = json.loads(kept.read_text("utf-8"))
    return Trace(found["seconds"], found["lines"])


def databases(rooms: list[str], seed: int, package: str = "*") -> list[Path]:
    """Those of a sample, of one state of the package or of all, the latest last."""
    found = SESSION.glob(f"{'-'.join(rooms)}-{seed}-{package}-*.sqlite")
    return sorted(found, key=lambda path: path.stat().st_mtime)


def session(rooms: list[str], seed: int) -> Path:
    """The database of this package and sample; new tests make its survivors pending again."""
    package = fingerprint(PACKAGE)
    path = SESSION / f"{'-'.join(rooms)}-{seed}-{package}-{fingerprint('tests')}.sqlite"
    if not path.exists():
        SESSION.mkdir(parents=True, exist_ok=True)
        known = databases(rooms, seed, package)
        with use_db(str(path)) as db:
            if known:
                with use_db(str(known[-1]), WorkDB.Mode.open) as last:
                    db.add_work_items(last.work_items)
                    for job_id, result in last.results:
                        if verdict(result) != "survived":
                            db.set_result(job_id, result)
            else:
                db.add_work_items(places(rooms, seed))
    return path


def run(db: WorkDB, known: Trace, chosen: argparse.Namespace, scratch: str) -> None:
    """Judge pending mutants, or survivors again, until the time is up."""
    items = db.pending_work_items
    if chosen.again:
        alive = {job_id for job_id, result in db.results if verdict(result) == "survived"}
        items = [item for item in db.work_items if item.job_id in alive]
    pending = iter(sorted(items, key=lambda item: item.job_id))
    end = time.monotonic() + 60 * chosen.minutes
    running: dict[Future[WorkResult], WorkItem] = {}
    with ProcessPoolExecutor(chosen.jobs, None, enter_own_copy, (scratch,)) as pool:
        while True:
            if time.monotonic() < end:
                for item in islice(pending, chosen.jobs - len(running)):
                    tests, seconds = known.asked(item.mutations[0], chosen.seconds)
                    running[pool.submit(judge, item, tests, seconds)] = item
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item, result = running.pop(future), future.result()
                db.set_result(item.job_id, result)
                print(f"{item.job_id} {verdict(result):9s} {describe(item)}", flush=True)


def verdict(result: WorkResult) -> str:
    if result.output == "timeout":
        return "timed out"
    return "survived" if result.test_outcome == TestOutcome.SURVIVED else "killed"


def describe(item: WorkItem) -> str:
    each = item.mutations[0]
    operator = each.operator_name.removeprefix("core/")
    return f"{each.module_path.as_posix()}:{each.start_pos[0]} {operator} #{each.occurrence}"


def interval(part: int, whole: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, in per cent."""
    if not whole:
        return 0.0, 100.0
    p, n = part / whole, float(whole)
    middle = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return 100 * (middle - reach) / (1 + z * z / n), 100 * (middle + reach) / (1 + z * z / n)


def report(db: WorkDB) -> None:
    """Every survivor as a difference, then a table of the modules and the rates of the rooms."""
    known = {item.job_id: item for item in db.work_items}
    tally: dict[str, Counter[str]] = defaultdict(Counter)
    for item in known.values():
        tally[item.mutations[0].module_path.as_posix()]["places"] += 1
    for job_id, result in sorted(db.results, key=lambda pair: pair[0]):
        item = known[job_id]
        tally[item.mutations[0].module_path.as_posix()][verdict(result)] += 1
        if verdict(result) == "survived":
            print(f"\n{job_id} survived {describe(item)}\n{result.diff or result.output}")
    columns = ("places", "killed", "timed out", "survived")
    print(f"\n{'module':40s}" + "".join(f"{column:>11s}" for column in columns))
    rooms: dict[str, Counter[str]] = defaultdict(Counter)
    for name, row in sorted(tally.items()):
        print(f"{name:40s}" + "".join(f"{row[column]:11d}" for column in columns))
        for room in (name.split("/")[1], "all rooms"):
            rooms[room].update(row)
    print()
    for room, row in sorted(rooms.items(), key=lambda pair: pair[0] == "all rooms"):
        whole = sum(row[column] for column in columns[1:])
        share, (low, high) = 100 * row["survived"] / max(whole, 1), interval(row["survived"], whole)
        print(f"{room}: {row['survived']} of {whole} mutants survived, ", end="")
        print(f"that is {share:.1f} % (95 % interval {low:.1f} to {high:.1f} %)")


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutation testing of the package.")
    parser.add_argument("--rooms", nargs="+", default=["engine", "ops", "kernels"])
    parser.add_argument("--minutes", type=float, default=60.0, help="when to stop [60]")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
    parser.add_argument("--seed", type=int, default=0, help="of the sample [0]")
    parser.add_argument("--seconds", type=float, default=30.0, help="of tests per mutant [30]")
    parser.add_argument("--again", action="store_true", help="ask again about the survivors")
    parser.add_argument("--report", action="store_true", help="only print what is known")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    if chosen.report:
        known = databases(chosen.rooms, chosen.seed)
        if not known:
            sys.exit("error: nothing is known of these rooms and this seed; try: make mutants")
        if fingerprint(PACKAGE) not in known[-1].name:
            print("the package has changed since: lines may stand elsewhere now")
        with use_db(str(known[-1]), WorkDB.Mode.open) as db:
            report(db)
        return
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        enter_first_copy(Path(scratch, "first", "tree"))
        with use_db(str(session(chosen.rooms, chosen.seed)), WorkDB.Mode.open) as db:
            try:
                run(db, trace(), chosen, scratch)
            except KeyboardInterrupt:
                print("\ninterrupted; the next call goes on from here", flush=True)
            report(db)


if __name__ == "__main__":
    main()
