"""Commands that begin something: recipes, previews, estimates, conversions."""

from pathlib import Path

from pipeline.arguments.kinds import names, positive
from pipeline.arguments.options import Commands, new_command, with_budget, with_outputs


def add(commands: Commands) -> None:
    """Add them."""
    init = new_command(commands, "init", "start:init", "write a commented recipe for your own seeds")
    init.add_argument("folder", type=Path, metavar="DIR")
    init.add_argument("--seeds", required=True, metavar="FILE", help="seed tasks: one JSON object a line")
    init.add_argument("--language", default="en", choices=("en", "zh"))
    init.add_argument("--translate-to", metavar="LANGUAGE", help="add a translate entry, for example zh")

    preview = new_command(commands, "preview", "start:preview", "show the prompts that an entry would send")
    preview.add_argument("recipe", type=Path, metavar="RECIPE")
    preview.add_argument("entry", metavar="ENTRY")
    preview.add_argument("-n", type=positive, default=3, metavar="N", help="how many (default 3)")
    preview.add_argument("--live", action="store_true", help="send them and show the replies")
    preview.add_argument("--run", metavar="NAME", help="the run whose finished entries it reads; default: the recipe's")
    preview.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE")
    preview.add_argument("--json", action="store_true", help="print JSON")
    with_outputs(preview)

    estimate = new_command(
        commands, "estimate", "estimate:estimate", "pilot a few rows and project calls, tokens, money and time"
    )
    estimate.add_argument("recipe", type=Path, metavar="RECIPE")
    estimate.add_argument("data", nargs="*", metavar="FILE", help="dataset files in place of the recipe's")
    estimate.add_argument("--rows", type=positive, default=10, metavar="N", help="rows to pilot (default 10)")
    estimate.add_argument(
        "--run", metavar="NAME", help="the run that the pilot's calls count for; default: the recipe's"
    )
    estimate.add_argument("--set", action="append", default=[], metavar="ENTRY.KEY=VALUE", help="change one setting")
    with_budget(estimate)
    estimate.add_argument("--rehearse", action="store_true", help="answer from the fake provider, at no cost")
    estimate.add_argument("--json", action="store_true", help="print JSON")
    with_outputs(estimate)

    convert = new_command(commands, "convert", "start:convert", "convert a dataset from one format to another")
    convert.add_argument("input", metavar="IN", help="a file, a glob, or an address (s3://..., hf://datasets/...)")
    convert.add_argument("--to", required=True, metavar="FORMAT", help="see 'seedmill formats'")
    convert.add_argument("-o", "--output", required=True, metavar="OUT", help="a file or an s3:// address")
    convert.add_argument("--format", default="auto", metavar="FORMAT", help="what IN is; default: told from its rows")
    convert.add_argument("--dry-run", action="store_true", help="only say what would be written, lost and dropped")
    convert.add_argument("--strict", action="store_true", help="write nothing if anything would be lost or dropped")
    convert.add_argument(
        "--only-licenses", type=names, metavar="NAMES", help="only rows under these, as in mit,apache-2.0"
    )
    convert.add_argument("--json", action="store_true", help="print the counts as JSON")

    formats = new_command(commands, "formats", "formats:formats", "list the dataset formats and what they cannot carry")
    formats.add_argument("--json", action="store_true", help="print JSON")
