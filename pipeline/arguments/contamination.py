"""Commands about benchmarks that must not be trained on."""

from pathlib import Path

from pipeline.arguments.options import Commands, new_command, with_run_options


def add(commands: Commands) -> None:
    """Add them."""
    decontaminate = new_command(
        commands, "decontaminate", "runs:decontaminate", "drop rows that hold questions or answers of benchmarks"
    )
    decontaminate.add_argument("files", nargs="+", metavar="FILE")
    decontaminate.add_argument(
        "--against", nargs="+", required=True, metavar="BENCH", help="benchmark files, and packs made of them"
    )
    decontaminate.add_argument("--sides", choices=("question", "answer", "both"), help="of the rows; default: both")
    decontaminate.add_argument(
        "--recipe", type=Path, help="default: recipes/decontaminate.yaml; its entry must be named decontaminate"
    )
    pack = new_command(
        commands, "pack", "pack:pack", "write a benchmark's hashes as a pack that holds none of its text"
    )
    pack.add_argument("files", nargs="+", metavar="FILE", help="the benchmark's files")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="such as gsm8k.pack.parquet")
    pack.add_argument("--name", default="", metavar="NAME", help="default: the first file's, without its endings")
    pack.add_argument("--version", default="", metavar="TEXT", help="which state of the benchmark it is")
    pack.add_argument("--json", action="store_true", help="print the header as JSON")
    for command in (decontaminate, pack):
        for side in ("question", "answer"):
            help = f"columns that hold the {side}s, if they are not the usual ones"
            command.add_argument(f"--{side}", nargs="+", default=[], metavar="COLUMN", help=help)
    with_run_options(decontaminate)
