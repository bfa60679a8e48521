"""The command `distill-scores`."""

import argparse
import json
import math

from pipeline.errors import UsageError


def distill_scores(arguments: argparse.Namespace) -> int:
    """`seedmill distill-scores RUN [--score NAME] [--good N] [--recall SHARE] [-o FOLDER]`."""
    from pipeline.quality.distill import Aim, distill
    from pipeline.quality.folder import require_free
    from pipeline.quality.judged import judged_rows
    from pipeline.report.quality import as_text
    from pipeline.run import read_run

    if not math.isfinite(arguments.good):
        raise UsageError(f"a lowest score of {arguments.good} makes no sense", "give a number with --good")
    run_folder = arguments.outputs / arguments.run
    facts = read_run(run_folder)
    folder = arguments.o or run_folder / f"quality-{arguments.score}"
    require_free(folder)
    judged = judged_rows(run_folder, facts, arguments.score)
    manifest = distill(judged, Aim(arguments.score, arguments.good, arguments.recall), folder)
    if arguments.json:
        print(json.dumps(manifest, ensure_ascii=False, indent=1))
    else:
        print(as_text(manifest, folder))
    return 0
