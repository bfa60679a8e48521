"""Commands that judge a file before somebody else does."""

from pathlib import Path

from pipeline.arguments.kinds import positive
from pipeline.arguments.options import Commands, new_command


def add(commands: Commands) -> None:
    """Add them."""
    check = new_command(commands, "check", "check:check", "say what a trainer would do with the rows of a file")
    check.add_argument("files", nargs="+", metavar="FILE", help="dataset files, or the folder of an export")
    check.add_argument(
        "--for",
        dest="trainers",
        action="append",
        required=True,
        metavar="TRAINER",
        help="llama-factory, axolotl, trl, unsloth, fastchat, openai or all; may be given again, or with commas",
    )
    check.add_argument("--cutoff", type=positive, metavar="N", help="count rows of more than N tokens")
    check.add_argument(
        "--tokenizer", metavar="NAME", help="a tokenizer.json, a folder with one or a model's name; default: estimated"
    )
    check.add_argument(
        "--rows", type=Path, metavar="FILE", help="write every row that is objected to, and why, as JSON Lines"
    )
    check.add_argument(
        "--glue", type=Path, metavar="DIR", help="write the trainers' descriptions of the files to this folder"
    )
    check.add_argument("--json", action="store_true", help="print JSON")
