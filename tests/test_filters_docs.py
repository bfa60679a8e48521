"""docs/filters.md names every rule, reason and fix, and is what `make docs` writes."""

import os
import re
import subprocess
import sys

import pytest

from filters import FILTERS, FIXES
from tests.runs import ROOT, environment

PAGE = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")


def test_every_rule_and_fix_is_on_the_page() -> None:
    assert re.findall(r"^## (\S+)$", PAGE, re.MULTILINE) == [*FILTERS, "Fixes"]
    for name in FIXES:
        assert f"| `{name}`" in PAGE, name


def test_samples_are_short() -> None:
    """The rows are CC BY-NC: their numbers and a few characters, never their texts."""
    cells = re.findall(r"^\| `[^`]+` \| [\d,]+ \| (.*) \|$", PAGE.split("## Fixes")[0], re.MULTILINE)
    assert len(cells) > 40
    for cell in cells:
        assert all(len(excerpt) <= 36 for excerpt in re.findall(r"`([^`]*)`", cell)), cell


def run(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "docs/filters_page.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(**changes))


def test_without_the_data_it_says_so_and_leaves_the_page() -> None:
    done = run(REAL_DATA="")
    assert done.returncode == 1
    assert "REAL_DATA is not set" in done.stderr
    assert (ROOT / "docs" / "filters.md").read_text(encoding="utf-8") == PAGE


@pytest.mark.skipif(not os.environ.get("REAL_DATA"), reason="REAL_DATA is not set: alpaca_data.json is not at hand")
def test_the_page_is_what_the_rules_say_today() -> None:
    done = run("--check", REAL_DATA=os.environ["REAL_DATA"])
    assert done.returncode == 0, done.stderr
