"""The command line: parse, wire, run. Heavy imports wait until a command needs them."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from pipeline.arguments import (
    checks,
    comparisons,
    contamination,
    distillers,
    ledger,
    measures,
    readers,
    runs,
    senders,
    starters,
)
from pipeline.errors import SeedmillError, no_room

Command = Callable[[argparse.Namespace], int]

FAMILIES = (
    runs,
    measures,
    contamination,
    readers,
    comparisons,
    distillers,
    ledger,
    starters,
    checks,
    senders,
)
"""Of commands, in the order in which the help lists them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed or incomplete, 2 wrong usage."""
    _read_dotenv()
    arguments = parser().parse_args(argv)
    module, _, name = arguments.command.partition(":")
    try:
        command: Command = getattr(import_module(f"pipeline.commands.{module}"), name)
        return command(arguments)
    except SeedmillError as error:
        print(f"seedmill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("seedmill: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has gone (as with `| head`); point stdout elsewhere so that the interpreter's last flush is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sentence = no_room(error, error.filename or "a file")
        if sentence is None:
            raise
        print(f"seedmill: {sentence}", file=sys.stderr)
        return sentence.exit_code


def _read_dotenv() -> None:
    if Path(".env").is_file():
        from dotenv import load_dotenv

        load_dotenv(".env")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="seedmill",
        description="Grow seed tasks or a dataset into an instruction-tuning dataset that a trainer accepts.",
        epilog="A model: set LLM_BASE_URL, LLM_MODEL and LLM_API_KEY; without them a small embedded one is used.",
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    for family in FAMILIES:
        family.add(commands)

    return top


if __name__ == "__main__":
    sys.exit(main())
