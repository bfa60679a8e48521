"""The command line: parse, wire, run. Heavy imports wait until a command needs them."""

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from pipeline.errors import SeedmillError, no_room

Command = Callable[[argparse.Namespace], int]

DEFAULT_OUTPUTS = "outputs"


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

    run = _add(commands, "run", "runs:run", "run a recipe, skipping what is done and unchanged")
    run.add_argument("recipe", type=Path, metavar="RECIPE")
    _add_run_options(run)

    clean = _add(commands, "clean", "runs:clean", "clean datasets you already have")
    clean.add_argument("files", nargs="+", metavar="FILE")
    clean.add_argument("--recipe", type=Path, help="default: recipes/clean.yaml, or clean-judged.yaml with --judge")
    clean.add_argument("--judge", action="store_true", help="also score every row with a model and prune")
    _add_run_options(clean)

    dedup = _add(commands, "dedup", "runs:dedup", "drop repeated rows, also of other files and of earlier batches")
    dedup.add_argument("files", nargs="+", metavar="FILE")
    dedup.add_argument("--against", nargs="+", default=[], metavar="FILE", help="drop what repeats a row of these too")
    dedup.add_argument("--index", type=Path, metavar="DIR", help="drop what repeats earlier batches; add what is kept")
    dedup.add_argument("--recipe", type=Path, help="default: recipes/dedup.yaml; its entry must be named dedup")
    _add_run_options(dedup)

    _add_readers(commands)
    _add_ledger(commands)
    _add_starters(commands)
    _add_senders(commands)
    return top


def _add_run_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", metavar="NAME", help="name of the run; default: the recipe's")
    command.add_argument("--to", metavar="ENTRY", help="stop after this entry (or 'export')")
    command.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE", help="change one setting")
    _add_budget(command)
    command.add_argument("--engine", choices=("auto", "ray", "local"), default="auto")
    command.add_argument("--block-size", type=_positive, metavar="ROWS", help="rows a block; never changes the output")
    command.add_argument("--rehearse", action="store_true", help="answer from the fake provider, at no cost")
    command.add_argument("--quiet", action="store_true", help="no progress and no funnel")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_outputs(command)


def _add_readers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = _add(commands, "show", "look:show", "show rows that an entry kept or dropped")
    show.add_argument("run", metavar="RUN")
    show.add_argument("entry", metavar="ENTRY", nargs="?", help="default: the last finished one")
    show.add_argument("--drops", action="store_true", help="dropped rows, with reason and evidence")
    show.add_argument("--reason", help="only drops with this reason")
    show.add_argument("-n", type=_positive, default=5, metavar="N", help="how many, spread evenly (default 5)")
    show.add_argument("--full", action="store_true", help="do not cut long texts")

    explain = _add(commands, "explain", "look:explain", "show the whole history of a record or drop")
    explain.add_argument("run", metavar="RUN")
    explain.add_argument("id", metavar="ID", help="its id or the beginning of it")

    calls = _add(commands, "calls", "calls:calls", "show the calls of a run, or the prompts and raw replies of a row")
    calls.add_argument("run", metavar="RUN")
    calls.add_argument("id", metavar="ID", nargs="?", help="a kept or dropped row's id or the beginning of it")

    report = _add(commands, "report", "look:report", "show the funnel, the costs and sample rows of a run")
    report.add_argument("run", metavar="RUN")

    batches = _add(commands, "batches", "batches:batches", "show the batches of a run at their servers, or stop them")
    batches.add_argument("run", metavar="RUN")
    batches.add_argument("--cancel", action="store_true", help="stop those under way; what is finished is kept")

    status = _add(commands, "status", "look:status", "show how far a run is")
    status.add_argument("run", metavar="RUN")

    stages = _add(commands, "stages", "look:stages", "list the stages and their settings")
    stages.add_argument("stage", nargs="?", metavar="STAGE")

    servers = _add(commands, "servers", "servers:servers", "list the known servers, or what a recipe's are taken for")
    servers.add_argument("recipe", type=Path, nargs="?", metavar="RECIPE")
    servers.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE")
    for command in (show, explain, calls, report, batches, status, stages, servers):
        command.add_argument("--json", action="store_true", help="print JSON")
        _add_outputs(command)


def _add_ledger(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    ledger = _add(commands, "ledger", "ledger:stats", "look into the ledger of finished calls, or prune it")
    actions = ledger.add_subparsers(metavar="ACTION", required=True)
    stats = _add(
        actions, "stats", "ledger:stats", "sum up calls, tokens and money, and what was left in flight or lost"
    )

    ls = _add(actions, "ls", "ledger:ls", "list calls, newest first")
    ls.add_argument("-n", type=_positive, default=20, metavar="N", help="how many (default 20)")
    ls.add_argument("--skip", type=_count, default=0, metavar="N", help="leave out the newest N: the next page")
    ls.add_argument("--lost", action="store_true", help="attempts that were sent and never answered, instead")

    show = _add(actions, "show", "ledger:show", "show a call's request and raw reply as they are stored")
    show.add_argument("key", metavar="KEY", help="its key or the beginning of it")

    prune = _add(actions, "prune", "ledger:prune", "take calls out for good; says what would go until --yes is given")
    prune.add_argument("--run", metavar="NAME", help="only calls that this run made")
    prune.add_argument("--older-than", type=_days, metavar="DAYS", help="only calls that finished longer ago")
    prune.add_argument("--entry", metavar="ENTRY", help="only calls of this entry")
    prune.add_argument("--outcome", metavar="OUTCOME", help="only calls that ended so")
    doing = prune.add_mutually_exclusive_group()
    doing.add_argument("--dry-run", action="store_true", help="say what would go; so does leaving --yes out")
    doing.add_argument("--yes", action="store_true", help="do it")

    export = _add(actions, "export", "ledger:export", "write calls to a file, oldest first, one JSON object a line")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .jsonl or .jsonl.gz file, or -"
    )
    for command in (stats, ls, export):
        command.add_argument("--run", metavar="NAME", help="only calls that this run made")
        command.add_argument("--entry", metavar="ENTRY", help="only calls of this entry")
        command.add_argument("--model", metavar="MODEL", help="only calls that this model answered")
        command.add_argument("--outcome", metavar="OUTCOME", help="only calls that ended so, such as ok or length")
        command.add_argument("--since", type=_moment, metavar="TIME", help="a span (30m, 2h, 7d) or a date, in UTC")
    reconcile = _add(
        actions,
        "reconcile",
        "reconcile:ledger_reconcile",
        "list what a run may have paid without getting a reply, and take over what the bill says of it",
    )
    reconcile.add_argument("run", metavar="RUN")
    reconcile.add_argument("--paid", type=_paid, metavar="none|all|USD", help="what the bill has of them")
    for command in (stats, ls, show, prune, export, reconcile):
        command.add_argument("--rehearse", action="store_true", help="the ledger of rehearsals")
        command.add_argument("--json", action="store_true", help="print JSON")
        _add_outputs(command)


def _add_starters(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    init = _add(commands, "init", "start:init", "write a commented recipe for your own seeds")
    init.add_argument("folder", type=Path, metavar="DIR")
    init.add_argument("--seeds", required=True, metavar="FILE", help="seed tasks: one JSON object a line")
    init.add_argument("--language", default="en", choices=("en", "zh"))
    init.add_argument("--translate-to", metavar="LANGUAGE", help="add a translate entry, for example zh")

    preview = _add(commands, "preview", "start:preview", "show the prompts that an entry would send")
    preview.add_argument("recipe", type=Path, metavar="RECIPE")
    preview.add_argument("entry", metavar="ENTRY")
    preview.add_argument("-n", type=_positive, default=3, metavar="N", help="how many (default 3)")
    preview.add_argument("--live", action="store_true", help="send them and show the replies")
    preview.add_argument("--run", metavar="NAME", help="the run whose finished entries it reads; default: the recipe's")
    preview.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE")
    preview.add_argument("--json", action="store_true", help="print JSON")
    _add_outputs(preview)

    estimate = _add(
        commands, "estimate", "estimate:estimate", "pilot a few rows and project calls, tokens, money and time"
    )
    estimate.add_argument("recipe", type=Path, metavar="RECIPE")
    estimate.add_argument("data", nargs="*", metavar="FILE", help="dataset files in place of the recipe's")
    estimate.add_argument("--rows", type=_positive, default=10, metavar="N", help="rows to pilot (default 10)")
    estimate.add_argument(
        "--run", metavar="NAME", help="the run that the pilot's calls count for; default: the recipe's"
    )
    estimate.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE", help="change one setting")
    _add_budget(estimate)
    estimate.add_argument("--rehearse", action="store_true", help="answer from the fake provider, at no cost")
    estimate.add_argument("--json", action="store_true", help="print JSON")
    _add_outputs(estimate)

    convert = _add(commands, "convert", "start:convert", "convert a dataset from one format to another")
    convert.add_argument("input", type=Path, metavar="IN")
    convert.add_argument("--to", required=True, metavar="FORMAT")
    convert.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    convert.add_argument("--json", action="store_true", help="print the counts as JSON")


def _add_senders(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    publish = _add(commands, "publish", "send:publish", "push a run's export to the Hugging Face Hub")
    publish.add_argument("run", metavar="RUN")
    publish.add_argument("--repo", metavar="USER/NAME", help="default: publish.repo of the recipe")
    publish.add_argument("--public", action="store_true", help="create the dataset public; private otherwise")
    publish.add_argument("--dry-run", action="store_true", help="print what would be uploaded")
    publish.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_outputs(publish)

    submit = _add(commands, "submit", "send:submit", "send a run to a Ray cluster as a job")
    submit.add_argument("recipe", type=Path, metavar="RECIPE")
    submit.add_argument("--job-server", required=True, metavar="URL", help="such as http://head:8265")
    submit.add_argument("--no-wait", action="store_true", help="do not follow the job's log")
    _add_run_options(submit)

    control = _add(commands, "ctl", "send:control", "pause, resume or stop a run that is under way")
    control.add_argument("run", metavar="RUN")
    control.add_argument("action", choices=("pause", "resume", "stop"))
    _add_outputs(control)

    fake = _add(commands, "fake-provider", "send:fake_provider", "serve scripted replies on the OpenAI protocol")
    fake.add_argument("--script", type=Path, metavar="FILE", help="default: the rehearsal script")
    fake.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, target: str, help: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.set_defaults(command=target)
    return command


def _add_outputs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--outputs", type=Path, default=Path(DEFAULT_OUTPUTS), metavar="DIR", help="default: outputs")


def _add_budget(command: argparse.ArgumentParser) -> None:
    help = "US dollars that this run may cost in all, earlier parts of it included; as --set budget_usd=USD"
    command.add_argument("--budget", dest="set", action="append", type=_budget, default=[], metavar="USD", help=help)


def _budget(text: str) -> str:
    value = float(text.removeprefix("$"))
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be US dollars, 0 or more")
    return f"budget_usd={value!r}"


def _paid(text: str) -> str | float:
    if text in ("none", "all"):
        return text
    value = float(text.removeprefix("$"))
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be none, all or US dollars")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def _moment(text: str) -> float:
    """Seconds since 1970 of a span that ends now, or of a date."""
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if span is not None:
        return time.time() - float(span[1]) * {"m": 60, "h": 3600, "d": 86_400}[span[2]]
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a span such as 30m, 2h or 7d, or a date such as 2026-07-01") from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _days(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of days, 0 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
