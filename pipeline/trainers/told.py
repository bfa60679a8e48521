"""A verdict for people: a sentence for each thing that would happen, and the first rows it would happen to."""

from collections.abc import Iterator

from pipeline.trainers.checking import Cut, Verdict
from pipeline.trainers.finding import EFFECTS, Effect

_WOULD: dict[Effect, str] = {
    "stops": "would end the training with an error",
    "skipped": "would be skipped",
    "wrong": "would be trained on wrongly",
    "note": "are worth a look",
}


def as_text(verdict: Verdict, cut: Cut) -> str:
    """Some lines about one file and one trainer."""
    return "\n".join(_lines(verdict, cut))


def sentence(verdict: Verdict, effect: Effect) -> str:
    """`312 of 9,229 rows would be skipped: 290 odd turn count, 22 unknown role`."""
    reasons = verdict.reasons[effect]
    listed = ", ".join(f"{count:,} {reason.replace('-', ' ')}" for reason, count in reasons.most_common())
    return f"{sum(reasons.values()):,} of {counted(verdict.rows)} {_WOULD[effect]}: {listed}"


def counted(rows: int) -> str:
    """`1 row`, `9,229 rows`."""
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _lines(verdict: Verdict, cut: Cut) -> Iterator[str]:
    path, layout = verdict.survey.path, verdict.survey.layout
    shape = "" if layout is None else f", {layout.base}" + ("" if layout.kind == "answers" else f" with {layout.kind}")
    yield f"{path} for {verdict.trainer.title}: {counted(verdict.rows)}{shape}"
    for finding in verdict.of_file:
        told = "the file cannot be used" if finding.effect == "stops" else "the whole file"
        yield f"  {told}: {finding.reason.replace('-', ' ')}: {finding.detail}"
    if verdict.refused:
        return
    for effect in EFFECTS:
        if verdict.reasons[effect]:
            yield f"  {sentence(verdict, effect)}"
            yield from _first(verdict, effect)
    fine = verdict.rows - sum(sum(verdict.reasons[effect].values()) for effect in EFFECTS[:3])
    yield f"  {counted(fine)} would be trained on as they are"
    if cut.tokens is None and verdict.trainer.too_long.default is not None:
        rule = verdict.trainer.too_long
        unset = f"{rule.setting} is {rule.default:,} unless set"
        yield f"  note: lengths are not checked ({unset}); --cutoff N counts longer rows"
    elif cut.tokens is not None:
        near = (
            f"; of {verdict.near:,} it cannot tell whether they are longer than {cut.tokens:,}" if verdict.near else ""
        )
        yield f"  note: lengths are counted by {cut.named}{near}"
    yield from (f"  note: {text}" for text in verdict.notes)


def _first(verdict: Verdict, effect: Effect) -> Iterator[str]:
    for reason, count in verdict.reasons[effect].most_common():
        rows = verdict.first[effect, reason]
        for line, detail in rows:
            yield f"    {verdict.survey.path}:{line}: {reason.replace('-', ' ')}: {detail}"
        if count > len(rows):
            yield f"    … and {count - len(rows):,} more with {reason.replace('-', ' ')}"
