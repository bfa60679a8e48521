"""Where the money of a run went: per kept row, by entry, and into what was dropped or never used."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.llm.accounts import Sums, account, costs, spending
from pipeline.llm.purse import dollars
from pipeline.report.rows import table

_FATES = pl.Schema([("fate", pl.Int64()), ("passing", pl.Boolean()), ("calls", pl.List(pl.String()))])

SUPERSEDED = "superseded"
"""The reason of records that live on in a child: what they cost is counted with the child."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one entry paid, and what a row that it kept comes to.

    Attributes:
        cost: US dollars, as far as it is known.
        unknown: calls whose cost is not known.
        kept: rows that the entry kept; None while it is not finished.
    """

    entry: str
    calls: int
    cost: float
    unknown: int
    kept: int | None


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Money that is in no kept row.

    Attributes:
        entry: that dropped the rows, or that made the calls.
        why: the drop reason; or `after-target` for replies that came when the target was reached, and `not-used` for
            other calls that no row carries: asked under earlier settings, by a stage that is not finished, or for rows
            that are gone.
        rows: rows dropped for that reason that had cost something; or calls.
        cost: US dollars.
    """

    entry: str
    why: str
    rows: int
    cost: float


@dataclass(frozen=True, kw_only=True)
class Money:
    """All that a run of this name has paid, earlier processes and settings included.

    spent = kept + what was rejected + what was unused + pruned, where the cost of a call that made several rows is
    divided among them. Calls that other runs have paid cost nothing here.

    Attributes:
        spent: US dollars, as far as it is known; `unknown` calls come on top.
        unresolved: US dollars that may be on the bill besides, for calls whose reply was lost; `unbounded` of them, or
            of the unknown ones, have no known worst case.
        rows: rows that the last finished entry keeps.
        kept: US dollars of their calls.
        pruned: US dollars of calls that the ledger holds no more.
    """

    spent: float
    unknown: int
    unresolved: float
    unbounded: int
    rows: int
    kept: float
    parts: tuple[Part, ...]
    rejected: tuple[Loss, ...]
    unused: tuple[Loss, ...]
    pruned: float

    @property
    def per_row(self) -> float | None:
        """US dollars spent for each row kept at the end; None when nobody knows, or there is none."""
        return None if self.unknown or not self.rows else self.spent / self.rows

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"per_kept_row": self.per_row}


def money_of(folder: Path, facts: Mapping[str, Any], ledger: Path) -> Money:
    """The money of a run.

    Args:
        folder: the run's.
        facts: as `pipeline.run.read_run` gives them.
        ledger: the ledger's folder.
    """
    run = folder.name
    sums: dict[str, Sums] = {}
    for (entry, _, _), values in spending(ledger, run).items():
        sums[entry] = sums.get(entry, Sums()) + values
    order = [entry["name"] for entry in facts["entries"]]
    sums = dict(sorted(sums.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))
    total, books = sum(sums.values(), Sums()), account(ledger, run)
    done = [entry for entry in facts["entries"] if "manifest" in entry]
    paid = pl.DataFrame(
        list(costs(ledger, run)), schema={"key": pl.String, "entry": pl.String, "cost": pl.Float64}, orient="row"
    )
    names, fates = _fates(folder, done)
    carried, unused = _divided(paid, fates)
    rows = done[-1]["manifest"]["kept"] if done else 0
    kept = {entry["name"]: entry["manifest"]["kept"] for entry in done}
    return Money(
        spent=total.cost,
        unknown=total.unknown,
        unresolved=books.unresolved,
        unbounded=books.unbounded,
        rows=rows,
        kept=carried.get(0, (0, 0.0))[1],
        parts=tuple(
            Part(entry=name, calls=s.calls, cost=s.cost, unknown=s.unknown, kept=kept.get(name))
            for name, s in sums.items()
        ),
        rejected=_losses((*names[fate], *carried[fate]) for fate in sorted(carried) if fate),
        unused=_losses(_named(unused, done)),
        pruned=max(0.0, total.cost - float(paid["cost"].sum())),
    )


def _fates(folder: Path, done: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str]], pl.DataFrame]:
    """How rows ended (0: kept by the last entry, else an index of the names), with the calls that shaped them."""
    names, frames = [("", "")], [pl.DataFrame(schema=_FATES)]
    for entry in done:
        for path in sorted((folder / entry["folder"]).glob("drops-*.parquet")):
            drops = pl.read_parquet(path, columns=["reason", "calls"]).filter(pl.col("calls").list.len() > 0)
            for (reason,), some in drops.group_by("reason", maintain_order=True):
                if (entry["name"], reason) not in names:
                    names.append((entry["name"], str(reason)))
                frames.append(_fate(some, names.index((entry["name"], str(reason))), reason == SUPERSEDED))
    if done:
        for path in sorted((folder / done[-1]["folder"]).glob("kept-*.parquet")):
            frames.append(_fate(pl.read_parquet(path, columns=["calls"]), 0, passing=False))
    return names, pl.concat(frames)


def _fate(rows: pl.DataFrame, fate: int, passing: bool) -> pl.DataFrame:
    return rows.select(
        fate=pl.lit(fate, pl.Int64), passing=pl.lit(passing), calls=pl.col("calls").list.unique()
    ).match_to_schema(_FATES)


def _divided(paid: pl.DataFrame, fates: pl.DataFrame) -> tuple[dict[int, tuple[int, float]], pl.DataFrame]:
    """Rows and cost of each fate, a call's cost divided among the rows that carry it; and calls that none carries."""
    carried = fates.with_row_index("row").explode("calls").rename({"calls": "key"}).join(paid, on="key")
    lasting = (~pl.col("passing")).sum().over("key")
    share = (
        pl.when(lasting == 0).then(1 / pl.len().over("key")).when(pl.col("passing")).then(0.0).otherwise(1 / lasting)
    )
    sums = (
        carried.with_columns(cost=pl.col("cost").fill_null(0.0) * share)
        .group_by("fate")
        .agg(pl.col("row").n_unique().alias("rows"), pl.col("cost").sum())
    )
    unused = paid.join(carried.select("key").unique(), on="key", how="anti")
    by_entry = unused.group_by("entry").agg(pl.len().alias("calls"), pl.col("cost").sum())
    return {fate: (rows, cost) for fate, rows, cost in sums.iter_rows()}, by_entry


def _named(unused: pl.DataFrame, done: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int, float]]:
    manifests = {entry["name"]: entry["manifest"] for entry in done}
    named = []
    for entry, calls, cost in unused.iter_rows():
        manifest = manifests.get(entry, {})
        late = manifest.get("notes", {}).get("after_target", 0) + (manifest.get("usage") or {}).get("after_target", 0)
        named.append((entry, "after-target" if late >= calls else "not-used", calls, cost))
    return named


def _losses(found: Any) -> tuple[Loss, ...]:
    losses = [Loss(entry=entry, why=why, rows=rows, cost=cost) for entry, why, rows, cost in found if cost]
    return tuple(sorted(losses, key=lambda loss: (-loss.cost, loss.entry, loss.why)))


def sentence(money: Money) -> str | None:
    """One line for the end of a run; None when nothing was paid and nothing is unknown."""
    if not (money.spent or money.unknown or money.unresolved or money.unbounded):
        return None
    said = f"{_spent(money)} spent"
    if money.per_row is not None:
        said += f", {dollars(money.per_row)} a kept row"
    lost = sum(loss.cost for loss in money.rejected)
    if lost:
        worst = money.rejected[0]
        said += (
            f"; {dollars(lost)} ({lost / money.spent:.0%}) went into dropped rows, most by {worst.entry}: {worst.why}"
        )
    if money.unresolved or money.unbounded:
        said += f"; {_at_most(money)} for replies that were lost or did not say what they used"
    return said


def _spent(money: Money) -> str:
    if not money.unknown:
        return dollars(money.spent)
    known = f"{dollars(money.spent)} and " if money.spent else ""
    return f"{known}{money.unknown:,} calls of unknown price"


def _at_most(money: Money) -> str:
    if money.unbounded:
        return "an unknown amount may be on the bill besides,"
    return f"up to {dollars(money.unresolved)} may be on the bill besides,"


def as_text(money: Money) -> str | None:
    """The whole of it for a report; None when nothing was paid and nothing is unknown."""
    line = sentence(money)
    if line is None:
        return None
    rows = [(part.entry, f"{part.calls:,}", _cost(part.cost, part.unknown), _per_row(part)) for part in money.parts]
    blocks = [line, table(("money by entry", "calls", "paid", "per kept row"), rows, left=1)]
    went = [("kept rows", f"{money.rows:,}", dollars(money.kept))]
    went += [(f"dropped by {loss.entry}: {loss.why}", f"{loss.rows:,}", dollars(loss.cost)) for loss in money.rejected]
    went += [(f"calls of {loss.entry}: {loss.why}", f"{loss.rows:,}", dollars(loss.cost)) for loss in money.unused]
    went += [("calls that were pruned", "", dollars(money.pruned))] if money.pruned > 1e-12 else []
    went += (
        [("replies lost, perhaps paid", "", "unknown" if money.unbounded else f"at most {dollars(money.unresolved)}")]
        if (money.unresolved or money.unbounded)
        else []
    )
    blocks.append(table(("where it went", "rows or calls", "paid"), went, left=1))
    return "\n".join(blocks)


def _cost(cost: float, unknown: int) -> str:
    if not unknown:
        return dollars(cost)
    return f"{dollars(cost)} + {unknown:,} unknown" if cost else "unknown"


def _per_row(part: Part) -> str:
    if not part.kept:
        return "-"
    return "unknown" if part.unknown else dollars(part.cost / part.kept)
