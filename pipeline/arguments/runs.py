"""Commands that run recipes."""

from pathlib import Path

from pipeline.arguments.options import Commands, new_command, with_run_options


def add(commands: Commands) -> None:
    """Add them."""
    run = new_command(commands, "run", "runs:run", "run a recipe, skipping what is done and unchanged")
    run.add_argument("recipe", type=Path, metavar="RECIPE")
    with_run_options(run)

    clean = new_command(commands, "clean", "runs:clean", "clean datasets you already have")
    clean.add_argument("files", nargs="+", metavar="FILE")
    clean.add_argument("--recipe", type=Path, help="default: recipes/clean.yaml, or clean-judged.yaml with --judge")
    clean.add_argument("--judge", action="store_true", help="also score every row with a model and prune")
    with_run_options(clean)

    dedup = new_command(
        commands, "dedup", "runs:dedup", "drop repeated rows, also of other files and of earlier batches"
    )
    dedup.add_argument("files", nargs="+", metavar="FILE")
    dedup.add_argument("--against", nargs="+", default=[], metavar="FILE", help="drop what repeats a row of these too")
    dedup.add_argument("--index", type=Path, metavar="DIR", help="drop what repeats earlier batches; add what is kept")
    dedup.add_argument("--recipe", type=Path, help="default: recipes/dedup.yaml; its entry must be named dedup")
    with_run_options(dedup)
