"""Commands that compare versions."""

from pipeline.arguments.options import Commands, new_command, with_outputs


def add(commands: Commands) -> None:
    """Add them."""
    diff = new_command(commands, "diff", "diff:diff", "compare two versions of a dataset, row by row and in figures")
    where = "a run, an export folder, a file of rows, or hf:user/name@revision"
    diff.add_argument("a", metavar="A", help=where)
    diff.add_argument("b", metavar="B", help=where)
    diff.add_argument("-n", type=int, default=5, metavar="N", help="rows of each kind to show (default 5)")
    diff.add_argument("--json", action="store_true", help="print JSON")
    with_outputs(diff)
