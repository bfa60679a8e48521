"""Measuring a file: block by block into the columns and findings of a profile."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from filters import Check
from filters.check import Scope
from filters.turns import turns
from pipeline import signals
from pipeline.errors import DataError
from pipeline.llm.request import LLM
from pipeline.profile.distribution import summary
from pipeline.profile.needs import need, signals_of, usual_checks, with_findings
from pipeline.profile.store import SCHEMAS, SHOWN_CHARS, Profile, findings_schema, findings_writer
from pipeline.record import DROP_SCHEMA, detail_text, view
from pipeline.stage import Stream, Tools
from pipeline.stages.filter import short
from pipeline.stages.read import Read
from pipeline.store import ShardWriter, replace_folder, write_json

BLOCK_ROWS = 10_000

Progress = Callable[[int], None]
Frames = dict[Scope, pl.DataFrame]


def make(folder: Path, read: Read, facts: Mapping[str, Any], progress: Progress) -> Profile:
    """Measure what `read` reads, and put the profile in place of an older one.

    Args:
        facts: what the manifest shall say beside the counts.
        progress: told how many records are done.

    Raises:
        DataError: a file cannot be read at all, or no row of them can.
    """
    temporary = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "checks").mkdir(parents=True)
    checks = with_findings(usual_checks())
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        tables = {scope: ShardWriter(temporary, f"{scope}s", schema) for scope, schema in SCHEMAS.items()}
        drops = ShardWriter(temporary, "drops", DROP_SCHEMA)
        found = _Findings(temporary / "checks", checks)
        reasons = Counter[str]()
        for frame, dropped in _blocks(read):
            drops.add(dropped)
            reasons.update(dict(dropped["reason"].value_counts().iter_rows()))
            frames = _frames(frame, tables["record"].rows)
            for scope, measured in frames.items():
                tables[scope].add(measured.select(SCHEMAS[scope].names()).cast(SCHEMAS[scope]))
            found.add(frames)
            progress(tables["record"].rows)
        for writer in (*tables.values(), drops):
            writer.close()
        found.close()
        counts = {"records": tables["record"].rows, "answers": tables["turn"].rows, "unreadable": dict(reasons)}
        if not counts["records"]:
            why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            raise DataError(f"no row can be read ({why}), so there is nothing to measure", "see the format of the rows")
        manifest = {**facts, **counts}
        write_json(temporary / "summary.json", summary(Profile(temporary, manifest)))
        write_json(temporary / "manifest.json", manifest)
        replace_folder(temporary, folder)
    return Profile(folder, manifest)


def complete(profile: Profile, checks: Mapping[str, Check], read: Read, progress: Progress) -> None:
    """Read the texts again for checks whose findings are not stored, and add these."""
    temporary = profile.folder / ".checks.partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, temporary, ignore_errors=True)
        found, done = _Findings(temporary, checks), 0
        for frame, _ in _blocks(read):
            viewed = view(frame).with_row_index("row", offset=done)
            found.add(_with_columns(viewed, checks.values()))
            done += frame.height
            progress(done)
        found.close()
        if done != profile.records:
            raise DataError(f"{profile.folder}: the file changed while it was read", "run the same command again")
        for path in temporary.iterdir():
            path.rename(profile.folder / "checks" / path.name)


def _blocks(read: Read) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Records and drops in frames of about BLOCK_ROWS rows."""
    tools = Tools(entry="read", seed=0, llm=_no_model(), map=lambda function, slices: iter(()))
    kept: list[pl.DataFrame] = []
    drops: list[pl.DataFrame] = []
    for outcome in read.run(Stream(()), tools):
        kept.append(outcome.kept)
        drops.append(outcome.drops)
        if sum(frame.height for frame in kept) >= BLOCK_ROWS:
            yield pl.concat(kept), pl.concat(drops)
            kept, drops = [], []
    if kept:
        yield pl.concat(kept), pl.concat(drops)


def _no_model() -> LLM:
    """Reading asks no model."""
    return None  # type: ignore[return-value]


def _frames(frame: pl.DataFrame, offset: int) -> Frames:
    """The frames that rules read, with every signal."""
    viewed = view(frame).with_row_index("row", offset=offset)
    record = signals.add(viewed, signals_of("record")).with_columns(
        question=pl.col("instruction").str.slice(0, SHOWN_CHARS), answer=pl.col("output").str.slice(0, SHOWN_CHARS)
    )
    return {"turn": signals.add(turns(viewed), signals_of("turn")), "record": record}


def _with_columns(viewed: pl.DataFrame, checks: Any) -> Frames:
    """The frames with the signals that these checks read, and no other."""
    read = {scope: {name for c in checks if c.scope == scope for name in c.columns()} for scope in ("turn", "record")}
    return {
        "turn": signals.add(turns(viewed), read["turn"]),
        "record": signals.add(viewed, read["record"]),
    }


class _Findings:
    """Writes what checks find."""

    def __init__(self, folder: Path, checks: Mapping[str, Check]) -> None:
        self._checks = checks
        self._writers = {key: findings_writer(folder, key, check.measured) for key, check in checks.items()}

    def add(self, frames: Frames) -> None:
        """What is found in the rows of one block."""
        for scope, frame in frames.items():
            mine = {key: check for key, check in self._checks.items() if check.scope == scope}
            # Gates are shared by many checks: one evaluation for each, side by side on all processors.
            first = {key: check.when if check.gate is None else check.gate for key, check in mine.items()}
            names = {key: str(id(expr)) for key, expr in first.items()}
            once = {names[key]: expr for key, expr in first.items()}
            passed = frame.select(expr.fill_null(False).alias(name) for name, expr in once.items())
            for key, check in mine.items():
                at = passed[names[key]].arg_true()
                if len(at):
                    self._writers[key].add(_found(frame[at], check))

    def close(self) -> None:
        """Write what is waiting."""
        for writer in self._writers.values():
            writer.close()


def _found(gated: pl.DataFrame, check: Check) -> pl.DataFrame:
    """The rows of a check's file among those that passed its gate."""
    gated = gated.with_columns(**check.measured)
    if need(check) == "text" and check.gate is not None:
        gated = gated.filter(check.when.fill_null(False))
    evidence = [detail_text({"value": short(value)}) for value in gated.select(check.value).to_series().to_list()]
    turn = pl.col("turn") if check.scope == "turn" else pl.lit(0)
    numbers = [pl.col(name).cast(pl.Float64) for name in check.measured]
    found = gated.select("row", turn.cast(pl.Int32).alias("turn"), *numbers)
    return found.with_columns(pl.Series("evidence", evidence, dtype=pl.String)).match_to_schema(
        findings_schema(check.measured)
    )
