"""A profile on the terminal: distributions at a glance, one signal in full, and what rules would drop."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.profile.decide import Ruling, Sample
from pipeline.profile.distribution import ALL, OF_ANSWERS
from pipeline.stages.filter import Filter

_TITLES = {"instruction": "questions", "input": "inputs", "output": "answers", "text": "whole records"}
_AT_A_GLANCE = (
    *("chars", "words", "token_estimate", "mean_line", "alnum_ratio", "special_ratio", "digit_ratio", "stop_ratio"),
    *("char_repetition", "word_repetition", "repeated_lines", "language_confidence"),
)
_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR = 40
_EXCERPT = 90


def number(value: float) -> str:
    """Four digits or so."""
    if not math.isfinite(value):
        return "-"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def excerpt(text: str, most: int = _EXCERPT) -> str:
    """The beginning of a text on one line; control characters, which a terminal would obey, are left out."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def spark(histogram: Sequence[int]) -> str:
    """A histogram in one line; a bin that holds anything shows something."""
    highest = max(histogram, default=0) or 1
    return "".join(_BLOCKS[math.ceil(count / highest * 8)] for count in histogram)


def overview(manifest: Mapping[str, Any], summary: Mapping[str, Any], every: bool = False) -> RenderableType:
    """What is in the file: counts, languages, and the distribution of the signals."""
    languages = ", ".join(_share(name, count, manifest["records"]) for name, count in summary["languages"].items())
    head = [f"{manifest['records']:,} records with {manifest['answers']:,} answers; languages: {languages}"]
    head += [f"{count:,} rows cannot be read: {reason}" for reason, count in sorted(manifest["unreadable"].items())]
    parts: list[RenderableType] = [Text("\n".join(head))]
    for field, title in _TITLES.items():
        parts += [Text(""), _field_table(field, title, summary["signals"], every)]
    if len([1 for counts in summary["signals"]["text_chars"] if counts != ALL]) > 1:
        parts += [Text(""), _language_table(summary)]
    return Group(*parts)


def _share(name: str, count: int, records: int) -> str:
    return f"{name} {count:,} ({100 * count / records:.1f}%)"


def _field_table(field: str, title: str, signals: Mapping[str, Any], every: bool) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    there = signals[f"{field}_chars"][ALL]["count"]
    if not there:
        return Text(f"no {title}", style="dim")
    table.add_column(f"{title} ({there:,})", no_wrap=True)
    for name in ("least", "1%", "median", "99%", "most"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("distribution", no_wrap=True)
    table.add_column("most in row", justify="right", no_wrap=True)
    constant: list[str] = []
    names = ["n_turns"] if field == "text" else []
    names += [name for name in signals if name.startswith(f"{field}_")]
    for name in names:
        told = signals[name][ALL]
        short = name.removeprefix(f"{field}_")
        if told["min"] == told["max"]:
            constant.append(f"{short} {number(told['min'])}")
        elif every or short in _AT_A_GLANCE or name == "n_turns":
            low, middle, high = (number(told["quantiles"][q]) for q in ("0.01", "0.5", "0.99"))
            row = str(told["highest"][0][0])
            table.add_row(
                short, number(told["min"]), low, middle, high, number(told["max"]), spark(told["histogram"]), row
            )
    same = Text(f"the same everywhere: {', '.join(constant)}", style="dim")
    return Group(table, same) if constant else table


def _language_table(summary: Mapping[str, Any]) -> Table:
    """The medians of some signals in each language: where one language is odd."""
    names = ("instruction_chars", "output_chars", "output_special_ratio", "output_stop_ratio", "output_char_repetition")
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("medians", no_wrap=True)
    table.add_column("records", justify="right")
    for name in names:
        table.add_column(name.replace("instruction", "question").replace("output", "answer"), justify="right")
    for language in [name for name in summary["languages"] if name in summary["signals"]["text_chars"]]:
        told = [summary["signals"][name].get(language, {}) for name in names]
        medians = [number(one["quantiles"]["0.5"]) if one.get("count") else "-" for one in told]
        table.add_row(language, f"{summary['languages'][language]:,}", *medians)
    return table


def in_full(name: str, told: Mapping[str, Any], rows: Mapping[int, Mapping[str, str]]) -> RenderableType:
    """One signal: histogram, quantiles for each language, and the rows at both ends."""
    whole = told[ALL]
    what = "answers or questions" if name.split("_")[0] in OF_ANSWERS else "records"
    parts: list[RenderableType] = [Text(f"{name}: {whole['count']:,} {what}, mean {number(whole.get('mean', 0))}")]
    if not whole["count"]:
        return Group(*parts)
    highest = max(whole["histogram"])
    for low, high, count in zip(whole["edges"], whole["edges"][1:], whole["histogram"], strict=False):
        bar = "█" * max(round(count / highest * _BAR), 1 if count else 0)
        parts.append(Text(f"{number(low):>10} to {number(high):<10} {count:>10,} {bar}"))
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for head in ("", "count", "least", *(f"{100 * float(q):g}%" for q in whole["quantiles"]), "most", "distribution"):
        table.add_column(head, justify="left" if head in ("", "distribution") else "right", no_wrap=True)
    for language, one in told.items():
        values = [one["min"], *one["quantiles"].values(), one["max"]]
        table.add_row(language, f"{one['count']:,}", *(number(value) for value in values), spark(one["histogram"]))
    parts += [Text(""), table]
    for side in ("lowest", "highest"):
        parts.append(Text(f"\n{side}:"))
        for row, value in whole[side]:
            parts.append(Text(f"  row {row}: {number(value)}  {_pair(rows[row]['question'], rows[row]['answer'])}"))
    return Group(*parts)


def _pair(question: str, answer: str) -> str:
    return f"{excerpt(question, 60)} -> {excerpt(answer, 60)}"


def _bounds(stage: Filter) -> Iterator[str]:
    """The bounds that a filter entry sets for itself, as one reads them."""
    for settings in stage.rules.values() if isinstance(stage.rules, Mapping) else ():
        for side, sign in (("at_least", ">="), ("at_most", "<=")):
            for measure, bound in ((settings or {}).get(side) or {}).items():
                yield f"{(settings or {}).get('field', 'output')}_{measure} {sign} {bound}"


def decision(rulings: Sequence[Ruling], entries: Mapping[str, Filter], records: int) -> RenderableType:
    """What each rule would drop, with samples by row."""
    parts: list[RenderableType] = []
    if bounds := [line for stage in entries.values() for line in _bounds(stage)]:
        parts += [Text(f"kept is what has {', '.join(bounds)}"), Text("")]
    for ruling in rulings:
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        table.add_column(f"{ruling.name}: {ruling.rows:,} rows", no_wrap=True)
        for head in ("rule", "hits", "dropped", "share"):
            table.add_column(head, justify="left" if head == "rule" else "right", no_wrap=True)
        for reason, dropped in sorted(ruling.dropped.items(), key=lambda item: -item[1]):
            hits = ruling.hits[reason]
            if hits:
                share = f"{100 * dropped / max(1, ruling.rows):.2f}%"
                table.add_row(reason, ruling.rules[reason], f"{hits:,}", f"{dropped:,}", share)
        idle = [reason for reason, hits in ruling.hits.items() if not hits]
        parts.append(table)
        if idle:
            parts.append(Text(f"no objection: {', '.join(idle)}", style="dim"))
        for reason in sorted(ruling.samples, key=lambda reason: -ruling.dropped[reason]):
            parts += [_sample(sample) for sample in ruling.samples[reason]]
        parts.append(Text(""))
    kept = int(rulings[-1].kept.sum())
    parts.append(
        Text(f"kept {kept:,} of {records:,}, dropped {records - kept:,} ({_percent(records - kept, records)})")
    )
    return Group(*parts)


def _sample(sample: Sample) -> Text:
    value = excerpt(sample.value if isinstance(sample.value, str) else str(sample.value), 40)
    text = Text(f"  row {sample.row} {sample.reason} [{value}] ", style="yellow", no_wrap=True, overflow="ellipsis")
    return text.append(_pair(sample.question, sample.answer), style="default")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.2f}%"


def presets(rulings: Mapping[str, Sequence[Ruling]], records: int) -> RenderableType:
    """What each preset would drop, and for what most."""
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
    for head in ("preset", "dropped", "share", "mostly for"):
        table.add_column(head, justify="right" if head in ("dropped", "share") else "left", no_wrap=True)
    for name, told in rulings.items():
        dropped = sum(sum(ruling.dropped.values()) for ruling in told)
        most = sorted(((n, r) for ruling in told for r, n in ruling.dropped.items() if n), key=lambda item: -item[0])[
            :3
        ]
        named = ", ".join(f"{reason} {count:,}" for count, reason in most)
        table.add_row(name, f"{dropped:,}", _percent(dropped, records), named)
    return table


def show(*parts: RenderableType) -> None:
    """Print; columns stay whole when the output is not a terminal."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=160)
    for part in parts:
        console.print(part)
