"""Where pages and pictures are written: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import get_ident
from typing import Any

from tinygrad_seq.checks import path_of
from tinygrad_seq.errors import ConfigError, TinygradSeqError

__all__ = ["target_of", "write"]


def target_of(caller: str, path: Any, suffixes: tuple[str, ...]) -> Path:
    """The file that a path names, if it ends in one of the suffixes (in lower case)."""
    target = path_of(f"{caller}: path", path)
    if target.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{caller}: {target.name!r}",
            expected=f"a name ending in {', '.join(suffixes)}",
            got=target.suffix or "no suffix",
        )
    return target


def write(
    path: Path,
    content: bytes,
    what: str,
    kind: type[TinygradSeqError] = ConfigError,
    hint: str | None = None,
) -> None:
    """Write a file, or say why `what` cannot be written, by an error of a kind.

    What was there before stays until the new content is whole, and on the disk: it is written
    beside, and renamed.
    """
    try:
        if path.exists() and not path.is_file():  # a device or a pipe; a folder will say so
            path.write_bytes(content)
            return
        target = Path(os.path.realpath(path))  # a link stays a link
        beside = target.with_name(f".{target.name[:100]}.{os.getpid()}-{get_ident()}.part")
        try:
            beside.write_bytes(content)
            with beside.open("r+b") as file:
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise kind(
            f"{what} cannot be written",
            expected="a file in a folder that exists and may be written to",
            got=getattr(error, "strerror", None) or str(error),
            hint=hint,
        ) from error
