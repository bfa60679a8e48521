"""The command that makes a quality model of a judge's scores."""

from pathlib import Path

from pipeline.arguments.kinds import share
from pipeline.arguments.options import Commands, new_command, with_outputs


def add(commands: Commands) -> None:
    """Add it."""
    help = "train a quality model on the rows that a run's judge has scored, and say what it is worth"
    distill = new_command(commands, "distill-scores", "distill:distill_scores", help)
    distill.add_argument("run", metavar="RUN")
    distill.add_argument("--score", default="accuracy", metavar="NAME", help="the judge's score (default accuracy)")
    distill.add_argument("--good", type=float, default=4.5, metavar="N", help="lowest good score (default 4.5)")
    distill.add_argument(
        "--recall", type=share, default=0.9, metavar="SHARE", help="of good rows that the threshold keeps (default 0.9)"
    )
    distill.add_argument("-o", type=Path, metavar="FOLDER", help="default: quality-NAME in the run's folder")
    distill.add_argument("--json", action="store_true", help="print the manifest as JSON")
    with_outputs(distill)
