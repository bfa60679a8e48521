"""The rows of a run that a judge has scored, kept and dropped since alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.errors import UsageError
from pipeline.llm.request import Profile
from pipeline.quality.pair import pairs
from pipeline.settings import coerced
from pipeline.stages.prune import score_named
from pipeline.stages.score import Score
from pipeline.store import stream


@dataclass(frozen=True, slots=True)
class Judged:
    """Rows with a score.

    Attributes:
        rows: columns id, question, answer, language and score.
        source: where they are from, as a manifest tells it.
    """

    rows: pl.DataFrame
    source: Mapping[str, Any]


def judged_rows(folder: Path, facts: Mapping[str, Any], score: str) -> Judged:
    """The rows of the run's last `score` entry of that dimension, as that entry passed them on.

    What a later entry dropped is among them, since it was judged all the same. Without such an entry: the rows of the
    first entry of which some carry the score, as rows do that were read with their scores.

    Args:
        folder: of the run.
        facts: of the run, as `pipeline.run.read_run` gives them.

    Raises:
        UsageError: no row of the run has that score; the hint lists the scores there are.
    """
    finished = [entry for entry in facts["entries"] if "manifest" in entry]
    judges = [e for e in finished if e["stage"] == "score" and e["manifest"]["settings"]["dimension"] == score]
    there: set[str] = set()
    for entry in judges[-1:] or finished:
        rows = _scored(folder, entry, score, there)
        if rows.height:
            return Judged(rows, _source(facts, entry, judged=bool(judges)))
    scores = f"scores there: {', '.join(sorted(there))}" if there else "no row of it has a score"
    raise UsageError(
        f"no row of run '{facts['run']}' has a score '{score}'",
        f"{scores}; an entry 'score' makes them, and 'sample: 2000' in it has so many rows judged and no more",
    )


def _scored(folder: Path, entry: Mapping[str, Any], score: str, there: set[str]) -> pl.DataFrame:
    found = []
    for block in stream(folder / entry["folder"], entry["manifest"]).blocks():
        there |= set(block["scores"].explode().struct.field("key").drop_nulls().to_list())
        scored = block.with_columns(score_named(score)).filter(pl.col("score").is_not_null())
        paired = pairs(scored.select(pl.exclude("score"))).with_columns(scored["score"])
        found.append(paired.filter(pl.col("answer") != ""))
    return pl.concat(found) if found else pl.DataFrame()


def _source(facts: Mapping[str, Any], entry: Mapping[str, Any], *, judged: bool) -> dict[str, Any]:
    manifest = entry["manifest"]
    found = {
        "run": facts["run"],
        "entry": entry["name"],
        "kept": [shard["sha256"] for shard in manifest["shards"] if shard["file"].startswith("kept-")],
    }
    if not judged:
        return found | {"judge": None, "settings": None}
    settings = {k: v for k, v in manifest["settings"].items() if k not in ("window", "sample")}
    return found | {
        "judge": manifest["models"],
        "settings": settings | {"prompt": settings["prompt"] and Path(settings["prompt"]).name},
        "prompts": _prompts(manifest),
        "fingerprint": manifest["fingerprint"],
    }


def _prompts(manifest: Mapping[str, Any]) -> dict[str, str] | None:
    """`name@hash` of the judge's prompts; None when a prompt file of the user's is no longer there."""
    settings = coerced(Score, manifest["settings"])
    described = manifest["models"].get(settings["model"], {})
    profile = Profile(role=settings["model"], model="", style=described.get("style", "chat"))
    try:
        refs = Score(**settings).prompts(profile)
    except UsageError:
        return None
    # A prompt file's name is its path, which is nobody's business.
    return {tongue: ref.rsplit("/", 1)[-1] for tongue, ref in refs.items()}
