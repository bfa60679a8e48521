"""Which of several like records survives: the settings that say so, checked."""

from collections.abc import Sequence

from pipeline.errors import UsageError


def require_keep(stage: str, keep: str, score: str | None, sources: Sequence[str]) -> None:
    """Raise UsageError unless `keep` has what it needs, and nothing else is given."""
    if (keep == "highest_score") != (score is not None):
        raise UsageError(
            f"{stage}: 'keep: highest_score' and 'score' need each other",
            "name the score that decides, such as 'score: accuracy', or leave both out",
        )
    if (keep == "best_source") != bool(sources):
        raise UsageError(
            f"{stage}: 'keep: best_source' and 'sources' need each other",
            "list the sources from the best to the worst, such as 'sources: [people.jsonl, model.jsonl]'",
        )
