"""The plan of the house: which room may read which, how long a file may be, what imports cost.

The import graph is read from the source with `ast`, imports inside functions included: a
dependency does not go away by being late. Only what stands under ``if TYPE_CHECKING:`` is left
out, since it does not exist when the program runs.
"""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tinygrad_seq"
LONGEST_FILE = 420

# What each room may read. `FACE` is tinygrad_seq/__init__.py: the curated names that users see.
FACE = "__init__"
BELOW_NN = {"errors", "kernels", "engine", "timeline", "ops", "tensor", "transforms"}
BELOW_TRAIN = BELOW_NN | {"nn", "optim", "data"}
MAY_READ: dict[str, set[str]] = {
    "errors": set(),
    "kernels": {"errors"},
    "engine": {"errors"},
    "timeline": {"errors", "engine"},
    "ops": {"errors", "kernels", "engine", "timeline"},
    "tensor": {"errors", "engine", "ops"},
    "transforms": {"errors", "engine", "ops", "tensor"},
    "nn": BELOW_NN,
    "optim": BELOW_NN,
    "data": {"errors"},
    "flow": BELOW_NN,
    "viz": BELOW_NN | {"nn"},
    "celltext": BELOW_NN | {"nn", "data", "viz"},
    "train": BELOW_NN | {"nn", "optim"},
    "charlm": BELOW_TRAIN | {"viz", "celltext", "train", FACE},
    FACE: BELOW_TRAIN | {"viz", "train"},
    # Leaves: they may read what users see, and nothing else reads them.
    "testing": BELOW_TRAIN | {"train", FACE},
    "interop": BELOW_TRAIN | {"train", FACE},
    "distributed": BELOW_TRAIN | {"train", FACE},
    "__main__": {"charlm"},
}
# Files beside the room they belong to: what Tensor inherits, and what finds it when called; what
# checks what is given, what errors about missing names and arguments advise, what writes files.
ROOM_OF_FILE = {
    "arguments": "errors",
    "checks": "errors",
    "elsewhere": "errors",
    "files": "errors",
    "methods": "tensor",
    "protocols": "tensor",
}

# Imports against the plan, each inside a function: (file, room) and why.
EXCEPTIONS = {
    ("tensor.py", "viz"): "Tensor.draw is a convenience; the drawing is loaded when asked for",
}

# Imports that close a circle of files: (file or room, module) and why.
CIRCLES = {
    ("tensor.py", "viz"): EXCEPTIONS["tensor.py", "viz"],
    ("ops/", "tensor"): "for types: operations return tensors, whose class has them as methods",
    ("methods.py", "tensor"): "for types: the methods that a tensor inherits return tensors",
    ("nn/init.py", "nn.recurrent"): "for types: layers are filled by init, chrono_ fills layers",
    ("optim/reader.py", "optim.optimizer"): "for types: an optimiser reads its own state with it",
}

# How a drawing is made, stage by stage: each file of viz reads files of its own stage and of those
# before, what is read for its types alone included.
STAGES = ("trace", "graph", "picture", "layout", "route", "output", "smaller", "api", "model", FACE)

# Costly or optional: imported by the function that uses them, not at the top of a file.
HEAVY = {
    "graphviz",
    "hypothesis",
    "matplotlib",
    "numba",
    "onnx",
    "pygraphviz",
    "safetensors",
    "scipy",
    "threadpoolctl",
    "torch",
    "tqdm",
}
HEAVY_EXCEPTIONS = {
    ("testing/strategies.py", "hypothesis"): "it is all strategies, and only tests import it",
    ("kernels/compiled/parts.py", "numba"): "it is all compiled code, imported when it is to run",
    ("kernels/compiled/table.py", "scipy"): "the same, and its BLAS is to be there before threads",
}


@dataclass(frozen=True)
class Import:
    file: str  # relative to the package
    line: int
    module: str  # absolute, as far as a module goes
    late: bool  # inside a function


def imports(file: str, source: str, modules: set[str], *, types: bool = False) -> Iterator[Import]:
    """All imports of a file that happen when the program runs; for `types`, those for types too."""
    yield from _walk(ast.parse(source), file, modules, late=False, types=types)


def _walk(
    node: ast.AST, file: str, modules: set[str], *, late: bool, types: bool
) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(file, node.lineno, alias.name, late)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute(node, file)
        for alias in node.names:  # `from tinygrad_seq import ops` reads the module ops
            full = f"{base}.{alias.name}"
            yield Import(file, node.lineno, full if full in modules else base, late)
    elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in [*node.body, *node.orelse] if types else node.orelse:
            yield from _walk(child, file, modules, late=late, types=types)
    else:
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from _walk(child, file, modules, late=late, types=types)


def _absolute(node: ast.ImportFrom, file: str) -> str:
    if not node.level:
        return node.module or ""
    folders = [PACKAGE, *PurePosixPath(file).parts[:-1]]
    base = folders[: len(folders) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def module_name(file: str) -> str:
    parts = [PACKAGE, *PurePosixPath(file).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == FACE else parts)


def room(module: str) -> str:
    _, *rest = module.split(".")
    name = rest[0] if rest else FACE
    return ROOM_OF_FILE.get(name, name)


def violations(sources: dict[str, str]) -> tuple[list[str], set[tuple[str, str]]]:
    """Imports against the plan, and the exceptions to it that were made use of."""
    modules = {module_name(file) for file in sources}
    found, used = [], set()
    for file, source in sources.items():
        here = room(module_name(file))
        if here not in MAY_READ:
            found.append(f"{file}: the room {here!r} has no place in the plan (MAY_READ)")
            continue
        for each in imports(file, source, modules):
            if each.module.split(".")[0] != PACKAGE:
                library = each.module.split(".")[0]
                if library not in HEAVY or each.late:
                    continue
                if (file, library) in HEAVY_EXCEPTIONS:
                    used.add((file, library))
                else:
                    found.append(f"{file}:{each.line}: {each.module} at the top of the file")
                continue
            there = room(each.module)
            if there == here or there in MAY_READ[here]:
                continue
            if each.late and (file, there) in EXCEPTIONS:
                used.add((file, there))
                continue
            found.append(f"{file}:{each.line}: {here} may not read {there}")
    return found, used


def package_sources() -> dict[str, str]:
    package = ROOT / PACKAGE
    return {
        path.relative_to(package).as_posix(): path.read_text("utf-8")
        for path in sorted(package.rglob("*.py"))
    }


def test_imports_flow_one_way():
    sources = package_sources()
    assert "errors.py" in sources
    found, used = violations(sources)
    assert not found, "\n".join(found)
    assert used == set(EXCEPTIONS) | set(HEAVY_EXCEPTIONS), "an exception nobody needs any more"


def test_the_plan_itself_has_no_circle():
    assert set().union(*MAY_READ.values()) <= set(MAY_READ)
    order = list(graphlib.TopologicalSorter(MAY_READ).static_order())
    assert order.index("engine") < order.index("ops") < order.index("tensor") < order.index("nn")


def steps_back(sources: dict[str, str]) -> list[str]:
    """What is against the order of the stages of a drawing."""
    modules = {module_name(file) for file in sources}
    found = []
    for file, source in sources.items():
        here = module_name(file).split(".")[1:]
        if here[:1] != ["viz"]:
            continue
        for each in imports(file, source, modules, types=True):
            there = each.module.split(".")[1:]
            if there[:1] == ["viz"]:
                one, other = ((parts[1:] or [FACE])[0] for parts in (here, there))
                if STAGES.index(other) > STAGES.index(one):
                    found.append(f"{file}:{each.line}: {one} stands before {other}")
    return found


TYPED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from "


def test_a_drawing_is_made_stage_by_stage():
    sources = package_sources()
    assert steps_back(sources) == []
    back = {**sources, "viz/picture/words.py": f"{TYPED}tinygrad_seq.viz.layout.grid import Grid"}
    assert "picture stands before layout" in steps_back(back)[0]


def circle(sources: dict[str, str], but: set[tuple[str, str]]) -> str:
    """Files that read one another in a circle, what is read for its types alone included."""
    modules = {module_name(file) for file in sources}
    reads: dict[str, set[str]] = {}
    for file, source in sources.items():
        here = module_name(file)
        for each in imports(file, source, modules, types=True):
            there = each.module.removeprefix(f"{PACKAGE}.")
            excused = {(file, there), (f"{PurePosixPath(file).parts[0]}/", there)} & but
            if each.module in modules and not excused:
                reads.setdefault(here, set()).add(each.module)
    try:
        graphlib.TopologicalSorter(reads).prepare()
    except graphlib.CycleError as error:
        return " > ".join(error.args[1])
    return ""


def test_no_files_read_one_another_in_a_circle():
    sources = package_sources()
    assert circle(sources, set(CIRCLES)) == ""
    for excused in CIRCLES:
        assert circle(sources, CIRCLES.keys() - {excused}), "an exception nobody needs any more"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("viz/layout/columns.py", f"{TYPED}tinygrad_seq.viz.layout.grid import Grid"),
        ("engine/scope.py", f"{TYPED}tinygrad_seq.engine.node import Node"),
        ("engine/op.py", "def f():\n    from tinygrad_seq.engine import tape"),
    ],
)
def test_planted_circles_are_caught(file, source):
    found = circle({**package_sources(), file: source}, set(CIRCLES))
    assert module_name(file) in found


CLEAN = {
    "__init__.py": "from tinygrad_seq.tensor import Tensor",
    "errors.py": "import sys",
    "engine/node.py": "from ..errors import GraphError",
    "ops/__init__.py": "",
    "ops/linalg.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from tinygrad_seq.tensor import Tensor\n"
        "else:\n"
        "    from tinygrad_seq.engine import node\n"
    ),
    "tensor.py": "from tinygrad_seq import ops\ndef draw():\n    from tinygrad_seq import viz",
    "protocols.py": "from . import tensor",
    "viz/__init__.py": "def render():\n    import graphviz",
}


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("engine/node.py", "from tinygrad_seq.tensor import Tensor", "engine may not read tensor"),
        (
            "engine/node.py",
            "def f():\n    import tinygrad_seq.ops.linalg",
            "engine may not read ops",
        ),
        ("engine/node.py", "from .. import tensor", "engine may not read tensor"),
        ("engine/node.py", "from ..viz import dot", "engine may not read viz"),
        ("engine/node.py", "import tinygrad_seq as tgs", "engine may not read __init__"),
        ("engine/node.py", "class C:\n    def f(self):\n        from .. import nn", "may not read"),
        ("ops/linalg.py", "if True:\n    from tinygrad_seq.nn import LSTM", "ops may not read nn"),
        ("kernels/rnn.py", "from tinygrad_seq.engine.node import Node", "kernels may not read"),
        ("nn/lstm.py", "from tinygrad_seq import viz", "nn may not read viz"),
        ("train/loop.py", "from tinygrad_seq.testing import gradcheck", "may not read testing"),
        ("tensor.py", "from tinygrad_seq import viz", "tensor may not read viz"),  # not late
        ("attic/old.py", "", "no place in the plan"),
        ("viz/dot.py", "import graphviz.backend", "graphviz.backend at the top"),
        ("train/save.py", "from safetensors.numpy import save_file", "safetensors.numpy at the"),
    ],
)
def test_planted_violations_are_caught(file, source, complaint):
    assert violations(CLEAN) == ([], set(EXCEPTIONS))
    found, _ = violations({**CLEAN, file: source})
    assert len(found) == 1
    assert complaint in found[0]


def test_the_picture_shows_the_house() -> None:
    from docs.house import SAYS, dot, reads

    text = (ROOT / "docs" / "images" / "house.svg").read_text("utf-8")
    assert all(f">{name}<" in text for name in SAYS), "make house draws it anew"
    assert text.count('class="edge"') == dot().count("->"), "make house draws it anew"
    rooms = {room(module_name(file)) for file in package_sources()}
    assert set(reads()) == rooms - {FACE, "__main__"}, "docs/house.py says what each room is"


def overlong(files: dict[str, int]) -> list[str]:
    return [f"{name}: {lines} lines" for name, lines in files.items() if lines > LONGEST_FILE]


def test_files_fit_in_a_head():
    folders = (PACKAGE, "tests", "demos", "benchmarks", ".ci")
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text("utf-8").splitlines())
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert "tests/test_house.py" in lengths
    assert not overlong(lengths), "split them: " + "; ".join(overlong(lengths))
    assert overlong({"long.py": LONGEST_FILE + 1}) == [f"long.py: {LONGEST_FILE + 1} lines"]


def test_import_loads_nothing_heavy():
    rooms = sorted({module_name(f) for f in package_sources() if f.endswith(f"{FACE}.py")})
    assert PACKAGE in rooms
    program = f"import sys, {', '.join(rooms)}; print(*({HEAVY!r} & set(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert answer.stdout.split() == []


def test_public_names_exist_and_the_package_says_it_is_typed():
    import tinygrad_seq as tgs

    assert len(set(tgs.__all__)) == len(tgs.__all__)
    missing = [name for name in tgs.__all__ if not hasattr(tgs, name)]
    assert not missing
    assert (ROOT / PACKAGE / "py.typed").is_file()
