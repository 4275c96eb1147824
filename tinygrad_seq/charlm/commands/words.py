"""How the command line speaks: its options, its mistakes, and the command that it is called by."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

__all__ = [
    "Parser",
    "add",
    "as_options",
    "own_command",
    "told",
    "without_a_package",
]


class Parser(argparse.ArgumentParser):
    """Options are written out, and a mistake is answered by the command that it was made in."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Like argparse, but nothing unknown is passed up, where nobody knows the options."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}", self._near(unknown))
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Like argparse, with the nearest of the choices, of which a command's name is one."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            near = difflib.get_close_matches(str(value), map(str, action.choices or ()), 1)
            self.error(str(error), "".join(near))

    def error(self, message: str, hint: str = "") -> NoReturn:
        """Say what is wrong and what to try; exit with status 2."""
        more = f"{self.prog} --help"
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {message}\n  try: {f'{hint}; {more}' if hint else more}\n")

    def _near(self, unknown: Sequence[str]) -> str:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        names = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        near = [difflib.get_close_matches(name, known, 1) for name in names]
        return ", ".join(match for matches in near for match in matches)


def add(group: Any, flag: str, text: str, default: Any = None, **how: Any) -> None:
    """Add an option that takes a value, of its default's type; the default is told with it."""
    if default is not None:
        how.setdefault("type", type(default))
    group.add_argument(flag, default=default, help=told(text, default), **how)


def told(text: str, default: Any) -> str:
    """The help of an option, with its default where there is one."""
    return text if default in (None, "") else f"{text} (default: {default})"


def own_command() -> str:
    """What to type before a command's name: the Python that is running now, as short as it goes.

    ``python`` alone where that is the one, else its path: in an environment that is not
    activated, another Python would answer, without this package or without what it needs.
    """
    running = Path(sys.executable).absolute()  # not resolved: an environment is a link
    on_path = shutil.which("python")
    if on_path is not None and Path(on_path).absolute() == running:
        return "python -m tinygrad_seq"
    if running.is_relative_to(Path.cwd()):
        running = running.relative_to(Path.cwd())
    return f"{shlex.quote(str(running))} -m tinygrad_seq"


def as_options(message: str) -> str:
    """The message with options as they are typed: "option seq_length" is ``--seq-length``."""
    return re.sub(
        r"\boption ([a-z]+(?:_[a-z]+)*)\b", lambda m: "--" + m[1].replace("_", "-"), message
    )


def without_a_package(error: ModuleNotFoundError) -> str:
    """What to say where a package is missing that this one needs."""
    return (
        f"the package {error.name} is missing\n"
        f"  expected: a Python that tinygrad_seq was installed into\n"
        f"  got: {sys.executable}\n"
        f"  try: the Python of that environment (make puts it at .venv/bin/python), or: "
        f"{shlex.quote(sys.executable)} -m pip install {error.name}"
    )
