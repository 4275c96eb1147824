"""The command line: ``python -m tinygrad_seq train | sample | draw | cells``.

Exit status: 0 done; 2 something is wrong with what was asked for (a message says what, nothing
was changed); 128 + N stopped by signal N, so 130 for Ctrl-C, with a checkpoint to resume from.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence

import tinygrad_seq as tgs
from tinygrad_seq.charlm.commands import trained, training
from tinygrad_seq.charlm.commands.training import (
    announce,
    finish,
    folder_of,
    open_run,
    train_parser,
)
from tinygrad_seq.charlm.commands.words import Parser, as_options, without_a_package
from tinygrad_seq.checks import callable_of, instance_of, sequence_of
from tinygrad_seq.errors import TinygradSeqError

__all__ = ["announce", "finish", "folder_of", "guarded", "main", "open_run", "train_parser"]

Command = Callable[[argparse.Namespace], int]

COMMANDS = {"train": training.TRAIN, **trained.COMMANDS}
"""By name: what it does, what adds its options, and what runs it and returns the exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    if arguments is not None:
        given = sequence_of("main: arguments", arguments, "words")
        arguments = [instance_of("main: an argument", word, str) for word in given]
    parser = Parser(
        prog="python -m tinygrad_seq",
        description="Train a character model on a text, let it write, and look into it.",
    )
    parser.add_argument("--version", action="version", version=f"tinygrad_seq {tgs.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (does, add_options, command) in COMMANDS.items():
        own = commands.add_parser(name, help=does, description=does)
        add_options(own)
        own.set_defaults(command=command)
    options = parser.parse_args(arguments)
    return guarded(options.command, options)


def guarded(command: Command, options: argparse.Namespace) -> int:
    """Run a command; a mistake of the user ends in a message and status 2, never a traceback."""
    callable_of("guarded: command", command, "a function of the parsed options")
    for stream in (sys.stdout, sys.stderr):  # a log may know fewer characters than the text has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        return command(options)
    except TinygradSeqError as error:
        print(f"error: {as_options(str(error))}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "tinygrad_seq").partition(".")[0] == "tinygrad_seq":
            raise  # a mistake of ours
        print(f"error: {without_a_package(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        sys.stdout = None
        return 141
