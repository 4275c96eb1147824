"""Draws docs/images/house.svg: the rooms of the package and what they read, off its own imports.

make house      # or: python docs/house.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.test_house import EXCEPTIONS, PACKAGE, imports, module_name, package_sources, room  # noqa: E402

SAYS = {
    "charlm": "character models, command line",
    "errors": "errors, and checks of what is given",
    "data": "text, streams, n-grams",
    "engine": "Node, Op record, backward",
    "flow": "gradients through time",
    "celltext": "texts coloured by units",
    "kernels": "whole sequences on NumPy",
    "nn": "Cell, Recurrent, wirings",
    "ops": "operations and their rules",
    "optim": "steps, schedules, clipping",
    "tensor": "Tensor, NumPy's protocols",
    "testing": "checks of gradients",
    "timeline": "time read off the graph",
    "train": "TBPTT, checkpoints",
    "transforms": "grad, jvp, recomputation",
    "viz": "Item, Edge, pictures",
}


def reads() -> dict[str, set[str]]:
    """By room, the rooms that it imports at the top of its files and inside of functions."""
    sources = package_sources()
    modules = {module_name(file) for file in sources}
    found: dict[str, set[str]] = {name: set() for name in SAYS}
    for file, source in sources.items():
        here = room(module_name(file))
        for each in imports(file, source, modules):
            if (
                each.module.startswith(f"{PACKAGE}.")
                and (file, room(each.module)) not in EXCEPTIONS
            ):
                found.get(here, set()).add(room(each.module))
    return {name: (read & SAYS.keys()) - {name} for name, read in found.items()}


def below(found: dict[str, set[str]], name: str) -> set[str]:
    """All that a room reads, and what that reads."""
    seen: set[str] = set()
    stack = [name]
    while stack:
        for other in found[stack.pop()] - seen:
            seen.add(other)
            stack.append(other)
    return seen


def dot() -> str:
    """The rooms as DOT text; an arrow that follows from others is left out."""
    found = reads()
    lines = [
        'digraph house { layout=dot; rankdir=BT; bgcolor="transparent"; ranksep=0.35;',
        'node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#8c959f",'
        ' fontname="Helvetica", fontsize=12]; edge [color="#8c959f", arrowsize=0.6];',
    ]
    for name, words in SAYS.items():
        label = f'<<b>{name}</b><br/><font point-size="10" color="#57606a">{words}</font>>'
        lines.append(f'"{name}" [label={label}];')
        direct = {
            o for o in found[name] if not any(o in below(found, p) for p in found[name] - {o})
        }
        lines += [f'"{other}" -> "{name}" [dir=back];' for other in sorted(direct)]
    return "\n".join([*lines, "}"])


if __name__ == "__main__":
    from tinygrad_seq.viz.output.render import render
    from tinygrad_seq.viz.output.svg import polished

    target = ROOT / "docs" / "images" / "house.svg"
    target.write_text(polished(render(dot(), "svg").decode()), "utf-8")
