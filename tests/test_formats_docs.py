"""docs/formats.md and `seedmill formats` say what the table of formats says."""

import json
import re
import subprocess
import sys

from pipeline.formats import FORMATS, recognised
from pipeline.formats.listing import cannot_hold, entries, leaves_out
from tests.runs import ROOT, environment, seedmill

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


def test_the_page_is_what_make_docs_writes() -> None:
    command = [sys.executable, "docs/formats_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^## (\S+)$", PAGE, re.MULTILINE) == sorted(FORMATS)


def test_the_examples_of_the_page_are_rows_of_their_format() -> None:
    for name, row in zip(sorted(FORMATS), re.findall(r"^Example: `(.*)`$", PAGE, re.MULTILINE), strict=True):
        if name != "records":  # Columns without a value are left out of the example.
            assert recognised(json.loads(row)) is FORMATS[name]


def test_the_list_knows_what_a_format_cannot_carry() -> None:
    assert cannot_hold(FORMATS["dolly"])[:2] == ["a system text", "several questions"]
    assert "an input apart from the question" not in leaves_out(FORMATS["dolly"])
    assert leaves_out(FORMATS["messages"]) == ["an input apart from the question"]
    assert {e["name"] for e in entries() if e["comparisons_only"]} == {
        *("gpt4-llm", "hh-rlhf", "openai-dpo", "pandalm", "preference", "preference-chat", "preference-implicit")
    }
    assert [e["name"] for e in entries() if not e["cannot_hold"] and not e["leaves_out"]] == ["records"]


def test_the_command_prints_them_all() -> None:
    done = seedmill("formats", env=environment(), cwd=ROOT)
    assert done.returncode == 0
    assert re.findall(r"^([a-z0-9-]+)$", done.stdout, re.MULTILINE) == sorted(FORMATS)
    assert json.loads(seedmill("formats", "--json", env=environment(), cwd=ROOT).stdout) == entries()
