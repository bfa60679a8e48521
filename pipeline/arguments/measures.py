"""Commands that measure a file before anything is decided."""

from pathlib import Path

from pipeline.arguments.kinds import count
from pipeline.arguments.options import Commands, new_command, with_outputs


def add(commands: Commands) -> None:
    """Add them."""
    profile = new_command(
        commands,
        "profile",
        "profile:profile",
        "measure every signal of a dataset once, and try thresholds on the numbers",
    )
    profile.add_argument("files", nargs="+", metavar="FILE")
    profile.add_argument("--run", metavar="NAME", help="where it is kept: outputs/NAME/profile; default: profile-FILE")
    profile.add_argument("--format", default="auto", help="what the rows are; default: told by their keys")
    profile.add_argument(
        "--signal", action="append", default=[], metavar="NAME", help="show one signal in full, such as output_chars"
    )
    profile.add_argument("--preset", metavar="NAME", help="what the rules of a preset would drop")
    profile.add_argument(
        "--set", action="append", default=[], metavar="RULE.KEY=VALUE", help="change a rule's setting, or add a rule"
    )
    for side, what in (("least", "lowest 1%%"), ("most", "all above what 99%% have at most")):
        profile.add_argument(
            f"--at-{side}",
            action="append",
            default=[],
            metavar="SIGNAL=BOUND",
            help=f"bound a signal; a bound such as {'1%%' if side == 'least' else '99%%'} drops the {what}",
        )
    profile.add_argument("-n", type=count, default=2, metavar="N", help="sample rows for each reason (default 2)")
    profile.add_argument("--save-recipe", type=Path, metavar="PATH", help="write the chosen rules as a recipe")
    profile.add_argument("--fresh", action="store_true", help="measure again, whatever is stored")
    profile.add_argument("--json", action="store_true", help="print JSON")
    with_outputs(profile)
