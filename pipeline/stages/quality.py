"""Judge every record by a quality model that has learnt from a judge's scores; no model is asked."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.quality.folder import FILES, MADE_BY, QualityModel, read_model
from pipeline.quality.line import lines_of
from pipeline.quality.pair import pairs
from pipeline.record import NUMBER_MAP, SCHEMA, detail_text
from pipeline.similar.threads import spread
from pipeline.stage import Outcome, Tools
from pipeline.stages.prune import score_named

_PART_ROWS = 512
"""Rows judged at a time, on as many processors as there are."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Gives every record the probability that the judge would find its final answer good, at no cost.

    The model comes from `seedmill distill-scores`, whose report says what it is worth. It judges the languages it has
    learnt: a record in another one is kept without a score and counted as `language_unseen`, one without a final
    answer as `nothing_to_judge`. With a `threshold` it drops the rest below it as `below-quality`; but a record that
    has the judge's own score is decided by that one, since it was paid for and the model only imitates it.

    Attributes:
        classifier: the folder that `seedmill distill-scores` wrote; it need not be there before this entry's turn.
        score: name of the score that holds the probability, 0 to 1.
        threshold: `model` for the one the model chose for its recall, or a probability; nothing is dropped when not
            set, and `prune: {score: quality, classifier: ..., unscored: keep}` can do it later.
    """

    scope: ClassVar[Literal["rows"]] = "rows"

    classifier: str = field(metadata={"file": True, "folder": FILES, "made_by": MADE_BY})
    score: str = field(default="quality", metadata={"schema": {"pattern": r"^\w[\w -]*$"}})
    threshold: float | str | None = None

    def __post_init__(self) -> None:
        line = self.threshold
        if line not in (None, "model") and not (isinstance(line, float | int) and 0 <= line <= 1):
            raise UsageError(
                f"the threshold {line!r} is no probability", "give 'threshold: model', or a number between 0 and 1"
            )

    def run(self, block: pl.DataFrame, tools: Tools) -> Outcome:
        """The block with its probabilities, divided when there is a threshold."""
        model = read_model(Path(self.classifier))
        if self.score == model.score:
            raise UsageError(
                f"quality: the score '{self.score}' is the judge's own, which the model would overwrite",
                "name another one with 'score:'",
            )
        paired = pairs(block)
        answered, known = paired["answer"] != "", paired["language"].is_in(list(model.languages))
        told = (answered & known).arg_true().to_numpy()
        chance = np.full(block.height, np.nan)
        chance[told] = _probabilities(model, paired[told])
        counts = {"language_unseen": int((answered & ~known).sum()), "nothing_to_judge": int((~answered).sum())}
        notes = {name: count for name, count in counts.items() if count}
        scored = with_score(block, self.score, chance)
        if self.threshold is None:
            return Outcome(kept=scored, notes=notes)
        line = model.threshold if self.threshold == "model" else float(self.threshold)
        return _divided(scored, chance, model, line, notes)


def _probabilities(model: QualityModel, paired: pl.DataFrame) -> NDArray[np.float64]:
    parts = [paired.slice(at, _PART_ROWS) for at in range(0, paired.height, _PART_ROWS)]
    return np.concatenate([np.empty(0), *spread(partial(_of_part, model), parts)])


def _of_part(model: QualityModel, part: pl.DataFrame) -> NDArray[np.float64]:
    return model.probabilities(lines_of(part["question"], part["answer"]))


def with_score(block: pl.DataFrame, name: str, values: NDArray[np.float64]) -> pl.DataFrame:
    """The block with a score in place of any of that name; a row whose value is NaN is left without it."""
    pair = pl.element().struct
    others = (
        pl.col("scores").fill_null(pl.lit([], dtype=NUMBER_MAP)).list.eval(pl.element().filter(pair["key"] != name))
    )
    item = pl.concat_list(pl.struct(key=pl.lit(name), value=pl.col("value")))
    new = pl.when(pl.col("value").is_not_nan()).then(item).otherwise(pl.lit([], dtype=NUMBER_MAP))
    frame = block.with_columns(value=pl.Series(values, dtype=pl.Float64))
    both = frame.with_columns(scores=pl.concat_list(others, new))
    # Sorted by name, as every map is on disk.
    return both.with_columns(scores=pl.col("scores").list.eval(pl.element().sort_by(pair["key"]))).select(
        SCHEMA.names()
    )


def _divided(
    block: pl.DataFrame, chance: NDArray[np.float64], model: QualityModel, line: float, notes: dict[str, int]
) -> Outcome:
    """What is kept, and what is below the line or was found bad by the judge itself."""
    judged = block.select(score_named(model.score)).to_series().cast(pl.Float64).to_numpy()
    own = ~np.isnan(judged)
    dropped = np.where(own, judged < model.good, chance < line)
    details = [
        _evidence(model, judged[row], chance[row], line, own=bool(own[row])) for row in np.flatnonzero(dropped).tolist()
    ]
    mask = pl.Series(dropped, dtype=pl.Boolean)
    drops = block.filter(mask).with_columns(
        reason=pl.lit("below-quality", dtype=pl.String), detail=pl.Series(details, dtype=pl.String)
    )
    if own.any():
        notes = notes | {"decided_by_judge": int(own.sum())}
    return Outcome(kept=block.filter(~mask), drops=drops, notes=notes)


def _evidence(model: QualityModel, judged: float, chance: float, line: float, *, own: bool) -> str:
    found: dict[str, Any] = {"probability": None if np.isnan(chance) else float(chance), "threshold": line}
    if own:
        found |= {"judge": model.score, "score": float(judged), "good": model.good}
    return detail_text(found)
