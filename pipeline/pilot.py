"""A pilot: a few rows go through a recipe's entries on the real models, and what each of them uses is measured."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import polars as pl

from pipeline.engine import Engine
from pipeline.errors import DataError, IncompleteError
from pipeline.llm.request import LLM, Profile, Reply, Request
from pipeline.models import Models
from pipeline.recipe import Entry, Recipe
from pipeline.record import SCHEMA, digest
from pipeline.stage import Outcome, Slice, Stream, Tools, merged

POOL = "self-instruct"
"""The stage that makes as many rows as it is told, whatever comes in."""

Keys = dict[str, str]
"""Ledger key of a call -> the role that was asked."""


@dataclass(slots=True)
class Unit:
    """One piloted row and all that came of it; or one call of a pool stage.

    Attributes:
        rows: what is left of it after the entries so far, a frame of SCHEMA.
        asked: entry -> the calls made for it.
        made: rows that a pool's call yielded.
    """

    rows: pl.DataFrame
    asked: dict[str, Keys] = field(default_factory=dict)
    made: int = 0


@dataclass(slots=True)
class Leg:
    """Entries that one sample of units goes through.

    Attributes:
        entries: names of those that ask a model, in order.
        population: units in the whole run; for a pool its target.
        pool: whether the units are calls of a pool stage.
        thin: share of the population that the `top_k` of its prunings let through so far.
        share: that share when an entry's turn came.
        rows: rows of the pilot that came into an entry.
        window: of a pool: calls that may be under way when its target is reached.
        repeats: of a pool: tasks that were too much like an earlier one of the pilot.
        whole: the pilot has already made all of it.
    """

    units: list[Unit]
    population: float
    entries: list[str] = field(default_factory=list)
    pool: bool = False
    thin: float = 1.0
    share: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    window: int = 0
    repeats: int = 0
    whole: bool = False


class _Noted:
    """A model whose replies' keys are noted."""

    def __init__(self, llm: LLM) -> None:
        self._llm, self.keys = llm, Keys()

    def ask(self, requests: Iterable[Request], window: int) -> Iterator[Reply]:
        """See LLM.ask."""
        roles: deque[str] = deque()

        def noted() -> Iterator[Request]:
            for request in requests:
                roles.append(request.role)
                yield request

        with closing(cast(Any, self._llm.ask(noted(), window))) as replies:
            for reply in replies:
                role = roles.popleft()
                if reply.outcome != "unavailable":
                    self.keys[reply.key] = role
                yield reply

    def profile(self, role: str) -> Profile:
        """See LLM.profile."""
        return self._llm.profile(role)


class Pilot:
    """Runs entries on samples. Its calls are those of the real run, which finds them in the ledger."""

    def __init__(self, recipe: Recipe, engine: Engine, models: Models, rows: int, scratch: Path) -> None:
        self._recipe, self._engine, self._models = recipe, engine, models
        self._rows, self._scratch = rows, scratch
        self._files = 0
        self.assumptions: list[str] = []

    def legs(self, stream: Stream, entries: Sequence[Entry]) -> list[Leg]:
        """The legs of these entries; the first of them asks a model, and `stream` is all that comes into it."""
        legs: list[Leg] = []
        leg: Leg | None = None
        for entry in entries:
            if entry.kind == POOL:
                source = stream if leg is None else self._stream(_all(leg.units))
                if leg is not None:
                    self.assumptions.append(f"{entry.name}: its seeds are the pilot's, so its calls are asked anew")
                pool, leg = self._pool(entry, source)
                legs += [pool, leg]
                continue
            if leg is None:
                leg = Leg(units=self._units(_sampled(stream.blocks(), self._rows, entry.name)), population=stream.rows)
                legs.append(leg)
            if entry.model_roles:
                self._ask(entry, leg)
            else:
                self._plain(entry, leg)
        return [leg for leg in legs if leg.entries]

    def _pool(self, entry: Entry, source: Stream) -> tuple[Leg, Leg]:
        """The pool's first calls, as units; and a leg of rows that they made."""
        stage = cast(Any, entry.stage)
        fifth = -(-stage.target // (5 * stage.tasks_per_call))
        calls = min(self._rows, max(4, fifth), stage.max_calls or self._rows)
        noted = _Noted(self._models.open(entry))
        outcome = self._run(entry, replace(stage, max_calls=calls), source, noted)
        units: dict[str, Unit] = {}
        for frame, kept in ((outcome.kept, True), (outcome.drops, False)):
            for keys in frame["calls"].to_list():
                if not keys:
                    continue  # a seed
                unit = units.setdefault(keys[0], Unit(pl.DataFrame(schema=SCHEMA), {entry.name: Keys()}))
                unit.made += kept
                unit.asked[entry.name] |= {key: noted.keys.get(key, stage.model) for key in keys}
        used = {key for unit in units.values() for key in unit.asked[entry.name]}
        for key, role in noted.keys.items():
            if key not in used:
                units[key] = Unit(pl.DataFrame(schema=SCHEMA), {entry.name: {key: role}})
        made = outcome.kept.filter(pl.col("calls").list.len() > 0)
        if not made.height:
            raise DataError(
                f"entry '{entry.name}' made no row in {calls} calls, so nothing can be projected",
                f"look at its prompts and replies: seedmill preview RECIPE {entry.name} --live",
            )
        seeds = source.rows if stage.keep_seeds else 0
        leg = Leg(
            units=list(units.values()), population=stage.target, entries=[entry.name], pool=True,
            window=stage.window, whole=made.height >= stage.target, repeats=_repeats(outcome, source),
        )  # fmt: skip
        self.assumptions.append(
            f"{entry.name}: new tasks grow rarer as its pool fills, as the pilot's repeats tell, by half at most"
        )
        sample = _sampled([made], max(1, round(self._rows * stage.target / (stage.target + seeds))), entry.name)
        if seeds:
            sample = pl.concat([sample, _sampled(source.blocks(), max(1, self._rows - sample.height), entry.name)])
        return leg, Leg(units=self._units(sample), population=stage.target + seeds)

    def _ask(self, entry: Entry, leg: Leg) -> None:
        """A stage that asks models for each row by itself, so that each row's provenance tells its calls."""
        leg.entries.append(entry.name)
        rows = sum(unit.rows.height for unit in leg.units)
        stage, sampled = _all_judged(entry.stage, rows / max(1, len(leg.units)) * leg.population * leg.thin)
        leg.share[entry.name], leg.rows[entry.name] = leg.thin * sampled, rows
        if entry.kind == "semantic-dedup":
            self.assumptions.append(f"{entry.name}: keeps the share that it keeps of the pilot's rows")
        noted = _Noted(self._models.open(entry))
        outcome = self._run(entry, stage, self._stream(_all(leg.units)), noted)
        unit_of = {id: unit for unit in leg.units for id in unit.rows["id"].to_list()}
        kept: dict[int, list[str]] = {id(unit): [] for unit in leg.units}
        left = dict(noted.keys)
        frames = (outcome.drops, outcome.kept)
        parents = {row: of for frame in frames for row, of in frame.select("id", "parents").iter_rows()}
        for frame in frames:
            for row, calls in frame.select("id", "calls").iter_rows():
                unit = _ancestor(row, unit_of, parents)
                mine = {key: noted.keys[key] for key in calls or () if key in noted.keys}
                unit.asked.setdefault(entry.name, Keys()).update(mine)
                for key in mine:
                    left.pop(key, None)
                if frame is outcome.kept:
                    kept[id(unit)].append(row)
        for number, (key, role) in enumerate(left.items()):  # calls that left no trace in a row
            leg.units[number % len(leg.units)].asked.setdefault(entry.name, Keys())[key] = role
        for unit in leg.units:
            unit.rows = outcome.kept.filter(pl.col("id").is_in(kept[id(unit)]))

    def _plain(self, entry: Entry, leg: Leg) -> None:
        """A stage that asks no model, on all units' rows together."""
        rows = _all(leg.units)
        top = getattr(entry.stage, "top_k", None)
        if entry.kind == "prune" and top is not None:
            alive = rows.height / max(1, len(leg.units)) * leg.population * leg.thin
            leg.thin *= min(1.0, top / alive) if alive else 1.0
            return
        if entry.kind in ("dedup", "prune"):
            self.assumptions.append(f"{entry.name}: keeps the share that it keeps of the pilot's rows")
        if entry.stage.scope == "rows":
            tools = Tools(entry=entry.name, seed=self._recipe.seed, llm=cast(LLM, None), map=self._engine.map)
            kept = cast(Any, entry.stage).run(rows, tools).kept
        else:
            kept = self._run(entry, entry.stage, self._stream(rows), cast(LLM, None)).kept
        for unit in leg.units:
            unit.rows = kept.filter(pl.col("id").is_in(unit.rows["id"].to_list()))

    def _run(self, entry: Entry, stage: Any, stream: Stream, llm: LLM) -> Outcome:
        tools = Tools(entry=entry.name, seed=self._recipe.seed, llm=llm, map=self._engine.map)
        outcome = merged(list(stage.run(stream, tools)))
        if outcome.unavailable:
            raise IncompleteError(
                f"entry '{entry.name}': {len(outcome.unavailable)} of the pilot's rows got no reply in time",
                "run the same command again: what was answered is kept",
            )
        return outcome

    def _stream(self, rows: pl.DataFrame) -> Stream:
        self._files += 1
        path = self._scratch / f"pilot-{self._files}.parquet"
        rows.write_parquet(path)
        return Stream((Slice(0, path, 0, rows.height),) if rows.height else ())

    def _units(self, rows: pl.DataFrame) -> list[Unit]:
        return [Unit(rows.slice(i, 1)) for i in range(rows.height)]


def _all_judged(stage: Any, alive: float) -> tuple[Any, float]:
    """The stage without its `sample`, for all of the pilot's rows shall tell what one costs; and the sample's share."""
    sample = getattr(stage, "sample", None)
    if sample is None:
        return stage, 1.0
    return replace(stage, sample=None), min(1.0, sample / alive) if alive else 1.0


def _repeats(outcome: Outcome, seeds: Stream) -> int:
    """How many tasks were too much like another one that was made, seeds not counted."""
    given = {id for block in seeds.blocks() for id in block["id"].to_list()}
    details = outcome.drops.filter(pl.col("reason") == "not-novel")["detail"]
    return sum(json.loads(detail).get("partner") not in given for detail in details)


def _ancestor(row: str, unit_of: dict[str, Unit], parents: dict[str, list[str]]) -> Unit:
    """The unit that a row came from, whatever generation it is."""
    if row not in unit_of:
        unit_of[row] = next(_ancestor(of, unit_of, parents) for of in parents[row] if of in unit_of or of in parents)
    return unit_of[row]


def _all(units: Sequence[Unit]) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(unit.rows for unit in units)])


def _sampled(blocks: Iterable[pl.DataFrame], count: int, purpose: str) -> pl.DataFrame:
    """So many rows, chosen by a hash of their ids: at random, and the same ones every time."""
    best = pl.DataFrame(schema=SCHEMA).with_columns(mark=pl.lit("", pl.String))
    for block in blocks:
        marks = [digest("pilot", purpose, id) for id in block["id"]]
        best = pl.concat([best, block.with_columns(mark=pl.Series(marks, dtype=pl.String))]).sort("mark").head(count)
    return best.drop("mark")
