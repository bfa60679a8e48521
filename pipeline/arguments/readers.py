"""Commands that show what a run holds."""

from pathlib import Path

from pipeline.arguments.kinds import positive
from pipeline.arguments.options import Commands, new_command, with_outputs


def add(commands: Commands) -> None:
    """Add them."""
    show = new_command(commands, "show", "look:show", "show rows that an entry kept or dropped")
    show.add_argument("run", metavar="RUN")
    show.add_argument("entry", metavar="ENTRY", nargs="?", help="default: the last finished one")
    show.add_argument("--drops", action="store_true", help="dropped rows, with reason and evidence")
    show.add_argument("--reason", help="only drops with this reason")
    show.add_argument("-n", type=positive, default=5, metavar="N", help="how many, spread evenly (default 5)")
    show.add_argument("--full", action="store_true", help="do not cut long texts")

    explain = new_command(commands, "explain", "look:explain", "show the whole history of a record or drop")
    explain.add_argument("run", metavar="RUN")
    explain.add_argument("id", metavar="ID", help="its id or the beginning of it")

    calls = new_command(
        commands, "calls", "calls:calls", "show the calls of a run, or the prompts and raw replies of a row"
    )
    calls.add_argument("run", metavar="RUN")
    calls.add_argument("id", metavar="ID", nargs="?", help="a kept or dropped row's id or the beginning of it")

    report = new_command(commands, "report", "look:report", "show the funnel, the costs and sample rows of a run")
    report.add_argument("run", metavar="RUN")

    batches = new_command(
        commands, "batches", "batches:batches", "show the batches of a run at their servers, or stop them"
    )
    batches.add_argument("run", metavar="RUN")
    batches.add_argument("--cancel", action="store_true", help="stop those under way; what is finished is kept")

    status = new_command(commands, "status", "look:status", "show how far a run is")
    status.add_argument("run", metavar="RUN")

    stages = new_command(commands, "stages", "look:stages", "list the stages and their settings")
    stages.add_argument("stage", nargs="?", metavar="STAGE")

    servers = new_command(
        commands, "servers", "servers:servers", "list the known servers, or what a recipe's are taken for"
    )
    servers.add_argument("recipe", type=Path, nargs="?", metavar="RECIPE")
    servers.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE")
    for command in (show, explain, calls, report, batches, status, stages, servers):
        command.add_argument("--json", action="store_true", help="print JSON")
        with_outputs(command)
