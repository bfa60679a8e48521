"""`ledger` and its actions."""

from pathlib import Path

from pipeline.arguments.kinds import count, days, moment, paid, positive
from pipeline.arguments.options import Commands, new_command, with_outputs


def add(commands: Commands) -> None:
    """Add them."""
    ledger = new_command(commands, "ledger", "ledger:stats", "look into the ledger of finished calls, or prune it")
    actions = ledger.add_subparsers(metavar="ACTION", required=True)
    stats = new_command(
        actions, "stats", "ledger:stats", "sum up calls, tokens and money, and what was left in flight or lost"
    )

    ls = new_command(actions, "ls", "ledger:ls", "list calls, newest first")
    ls.add_argument("-n", type=positive, default=20, metavar="N", help="how many (default 20)")
    ls.add_argument("--skip", type=count, default=0, metavar="N", help="leave out the newest N: the next page")
    ls.add_argument("--lost", action="store_true", help="attempts that were sent and never answered, instead")

    show = new_command(actions, "show", "ledger:show", "show a call's request and raw reply as they are stored")
    show.add_argument("key", metavar="KEY", help="its key or the beginning of it")

    prune = new_command(
        actions, "prune", "ledger:prune", "take calls out for good; says what would go until --yes is given"
    )
    prune.add_argument("--run", metavar="NAME", help="only calls that this run made")
    prune.add_argument("--older-than", type=days, metavar="DAYS", help="only calls that finished longer ago")
    prune.add_argument("--entry", metavar="ENTRY", help="only calls of this entry")
    prune.add_argument("--outcome", metavar="OUTCOME", help="only calls that ended so")
    doing = prune.add_mutually_exclusive_group()
    doing.add_argument("--dry-run", action="store_true", help="say what would go; so does leaving --yes out")
    doing.add_argument("--yes", action="store_true", help="do it")

    export = new_command(
        actions, "export", "ledger:export", "write calls to a file, oldest first, one JSON object a line"
    )
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .jsonl or .jsonl.gz file, or -"
    )
    for command in (stats, ls, export):
        command.add_argument("--run", metavar="NAME", help="only calls that this run made")
        command.add_argument("--entry", metavar="ENTRY", help="only calls of this entry")
        command.add_argument("--model", metavar="MODEL", help="only calls that this model answered")
        command.add_argument("--outcome", metavar="OUTCOME", help="only calls that ended so, such as ok or length")
        command.add_argument("--since", type=moment, metavar="TIME", help="a span (30m, 2h, 7d) or a date, in UTC")
    reconcile = new_command(
        actions,
        "reconcile",
        "reconcile:ledger_reconcile",
        "list what a run may have paid without getting a reply, and take over what the bill says of it",
    )
    reconcile.add_argument("run", metavar="RUN")
    reconcile.add_argument("--paid", type=paid, metavar="none|all|USD", help="what the bill has of them")
    for command in (stats, ls, show, prune, export, reconcile):
        command.add_argument("--rehearse", action="store_true", help="the ledger of rehearsals")
        command.add_argument("--json", action="store_true", help="print JSON")
        with_outputs(command)
