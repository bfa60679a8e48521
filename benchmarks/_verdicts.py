"""What a benchmark found beside what is wanted: said at once, and kept for the table that closes `make bench`.

A benchmark makes one `Verdicts(__file__, packages)` and calls `tell` for each line; `python benchmarks/_verdicts.py`
prints the table of all benchmarks that have run.
"""

import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

WORK = Path(__file__).parent / ".work"


class Verdicts:
    """The verdicts of one benchmark, in `.work/verdicts-<name>.json`; those of its last run are overwritten."""

    def __init__(self, file: str, packages: Sequence[str] = ()) -> None:
        self._name = Path(file).stem
        self._versions = {package: _version(package) for package in packages}
        self._lines: list[dict[str, object]] = []

    def tell(self, what: str, figure: str, target: str, met: bool) -> None:
        """Say one line, and keep it: what was measured, its figure, and what is wanted of it."""
        print(f"{'met   ' if met else 'MISSED'} {what}: {figure} (wanted: {target})", flush=True)
        self._lines.append({"what": what, "figure": figure, "target": target, "met": met})
        told = {
            "name": self._name,
            "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
            "versions": self._versions,
            "lines": self._lines,
        }
        WORK.mkdir(exist_ok=True)
        (WORK / f"verdicts-{self._name}.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def table() -> int:
    """Print every benchmark's verdicts; returns how many were missed."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(WORK.glob("verdicts-*.json"))]
    if not found:
        print("no benchmark has run yet: make bench")
        return 0
    rows = [("benchmark", "what", "figure", "wanted", "")]
    for told in found:
        for line in told["lines"]:
            mark = "met" if line["met"] else "MISSED"
            rows.append((told["name"], line["what"], line["figure"], line["target"], mark))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
    print()
    for told in found:
        named = ", ".join(f"{package} {number}" for package, number in told["versions"].items())
        print(f"{told['name']}: {told['time']} UTC, python {told['python']}, {told['processors']} processors; {named}")
    return sum(not line["met"] for told in found for line in told["lines"])


if __name__ == "__main__":
    missed = table()
    if missed:
        print(f"{missed} missed", file=sys.stderr)
