"""How a command is added, and the options that many of them share."""

import argparse
from pathlib import Path
from typing import TypeAlias

from pipeline.arguments.kinds import budget, positive

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

DEFAULT_OUTPUTS = "outputs"


def new_command(commands: Commands, name: str, target: str, help: str) -> argparse.ArgumentParser:
    """Add a command; `target` is `module:function` in pipeline.commands, imported when it is called."""
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.set_defaults(command=target)
    return command


def with_outputs(command: argparse.ArgumentParser) -> None:
    """Where runs are."""
    command.add_argument("--outputs", type=Path, default=Path(DEFAULT_OUTPUTS), metavar="DIR", help="default: outputs")


def with_budget(command: argparse.ArgumentParser) -> None:
    """A cap on a run's money."""
    help = "US dollars that this run may cost in all, earlier parts of it included; as --set budget_usd=USD"
    command.add_argument("--budget", dest="set", action="append", type=budget, default=[], metavar="USD", help=help)


def with_run_options(command: argparse.ArgumentParser) -> None:
    """What every command that runs a recipe takes."""
    command.add_argument("--run", metavar="NAME", help="name of the run; default: the recipe's")
    command.add_argument("--to", metavar="ENTRY", help="stop after this entry (or 'export')")
    command.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE", help="change one setting")
    with_budget(command)
    command.add_argument("--engine", choices=("auto", "ray", "local"), default="auto")
    command.add_argument("--block-size", type=positive, metavar="ROWS", help="rows a block; never changes the output")
    command.add_argument("--rehearse", action="store_true", help="answer from the fake provider, at no cost")
    command.add_argument("--quiet", action="store_true", help="no progress and no funnel")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    with_outputs(command)
