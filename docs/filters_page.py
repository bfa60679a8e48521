"""Write docs/filters.md: every rule with its reasons, and what they object to in alpaca_data.json.

Run: REAL_DATA=folder python docs/filters_page.py [--check]
Samples are row numbers and a few characters of evidence: the rows themselves are CC BY-NC and stay where they are.
"""

import argparse
import inspect
import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import polars as pl  # noqa: E402

from filters import DEFAULT_FIXES, FILTERS, FIXES, PRESETS  # noqa: E402
from pipeline.record import Message, Record, to_frame  # noqa: E402
from pipeline.stage import Outcome, Tools  # noqa: E402
from pipeline.stages.filter import Filter  # noqa: E402
from pipeline.stages.fix import Fix  # noqa: E402

PAGE = ROOT / "docs" / "filters.md"
SAMPLES, EXCERPT = 5, 36

SHOWN: Mapping[str, Mapping[str, Any]] = {
    "missing": {"url": True},
    "language": {"allow": ["en"]},
    "vendor": {"wide": True},
}
"""Settings that show all of a rule; the others are shown as they are by default."""

INTRO = """# Rules and fixes

Written by `make docs` from `alpaca_data.json` (52,002 rows, CC BY-NC 4.0: row numbers and a few characters only).
Counts are hits of each rule alone on the raw file, whatever other rules say; the samples are spread over the file. What
precision and recall they have on labelled rows, `pytest tests/test_labelled.py -rP` prints. `seedmill stages filter`
shows how rules are chosen; a recipe's `rules: {ending: null}` takes one out, `{length: {min_words: 3}}` changes its
settings.
"""


def rows(folder: Path) -> pl.DataFrame:
    """alpaca_data.json, the row numbers as ids."""
    return to_frame(
        Record(
            id=str(number),
            messages=(
                Message(role="user", content=row["instruction"]),
                Message(role="assistant", content=row["output"]),
            ),
            input=row["input"],
        )
        for number, row in enumerate(json.loads((folder / "alpaca_data.json").read_text(encoding="utf-8")))
    )


def tools() -> Tools:
    """Tools that a rows stage never uses."""
    return Tools(entry="docs", seed=1, llm=None, map=None)  # type: ignore[arg-type]


def section(name: str, frame: pl.DataFrame) -> list[str]:
    """A rule: what it is for, who uses it, its settings, and a line for each reason."""
    doc = inspect.cleandoc(FILTERS[name].__doc__ or "")
    summary = re.sub(r"\s+", " ", doc.split("\n\nArgs:")[0].replace("\n\nRaises:", ""))
    presets = [preset for preset, rules in PRESETS.items() if name in rules]
    lines = [f"## {name}", "", summary, ""]
    lines += [f"In the presets: {', '.join(presets)}." if presets else "In no preset.", ""]
    settings = inspect.signature(FILTERS[name]).parameters.values()
    if settings:
        lines += ["Settings: " + ", ".join(f"`{p.name}: {shown(p.default)}`" for p in settings) + ".", ""]
    outcome = Filter(rules={name: dict(SHOWN.get(name, {}))}).run(frame, tools())
    lines += ["| reason | rows | samples: row and evidence |", "|---|---|---|"]
    lines += [f"| `{reason}` | {hits:,} | {samples(outcome, reason)} |" for reason, hits in outcome.hits.items()]
    return [*lines, ""]


def shown(value: Any) -> str:
    """A default as it is written in YAML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def samples(outcome: Outcome, reason: str) -> str:
    """Five rows, evenly spread over those dropped for the reason."""
    found = outcome.drops.filter(pl.col("reason") == reason).select("id", "detail").rows()
    chosen = [found[at * len(found) // SAMPLES] for at in range(SAMPLES)] if len(found) > SAMPLES else found
    return "; ".join(f"{row} {excerpt(json.loads(detail)['value'])}" for row, detail in chosen) or "-"


def excerpt(value: Any) -> str:
    """A few characters of the evidence, as code that cannot break the table."""
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    text = "".join(c for c in re.sub(r"\s+", " ", text).strip() if c.isprintable() and not unicodedata.combining(c))
    short = text if len(text) <= EXCERPT else text[: EXCERPT - 3].rstrip() + "..."
    return f"`{short.replace('|', '/').replace('`', chr(39))}`" if short else "(empty)"


def fixes(frame: pl.DataFrame) -> list[str]:
    """Each fix with the number of records it changes."""
    lines = [
        "## Fixes",
        "",
        "Those marked * are applied by default.",
        "",
        "| fix | rows | what it does |",
        "|---|---|---|",
    ]
    for name, fix in FIXES.items():
        changed = Fix(fixes=(name,)).run(frame, tools()).fixed.get(name, 0)
        doc = inspect.cleandoc(fix.mend.__doc__ or f"Mask what `contact` reports as `{name.removeprefix('mask-')}`.")
        what = re.sub(r"\s+", " ", doc.split("\n\n")[0]).replace("|", "/")
        lines.append(f"| `{name}`{'*' if name in DEFAULT_FIXES else ''} | {changed:,} | {what} |")
    return [*lines, ""]


def page(folder: Path) -> str:
    """The whole page."""
    frame = rows(folder)
    parts = [INTRO]
    for name in FILTERS:
        parts.append("\n".join(section(name, frame)))
    parts.append("\n".join(fixes(frame)))
    return "\n".join(parts)


def main() -> None:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    options = parser.parse_args()
    folder = os.environ.get("REAL_DATA")
    if not folder:
        sys.exit(
            "docs/filters.md is left as it is: REAL_DATA is not set; it names the folder that holds alpaca_data.json"
        )
    text = page(Path(folder))
    if options.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/filters.md is out of date: run make docs")
        return
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
