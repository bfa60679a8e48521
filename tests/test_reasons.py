"""Every reason slug in the code is produced by a test: this one enumerates them."""

import ast
import re
from pathlib import Path

from pipeline.formats import FORMATS

ROOT = Path(__file__).parent.parent
SOURCES = [*ROOT.glob("pipeline/stages/*.py"), *ROOT.glob("pipeline/formats/*.py"), *ROOT.glob("filters/*.py")]
NOT_REASONS = {"self-instruct", "evol-instruct", "two-step", "zstd-compressed", "xz-compressed"}
SLUG = re.compile(r"[a-z]+(-[a-z]+)+")
SINGLE = {
    "seed",
    "superseded",
    "unscored",
    "apology",
    "unchanged",
    "truncated",
    "merged",
    "unparsable",
    "preamble",
    "refusal",
}
"""Reasons of one word, which cannot be told from other words by their look."""


def slugs(path: Path) -> set[str]:
    """String constants of a file that look like a reason, doc strings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    given = {
        n.value.value
        for n in ast.walk(tree)
        if isinstance(n, ast.keyword) and n.arg == "reason" and isinstance(n.value, ast.Constant)
    }
    return {t for t in texts if SLUG.fullmatch(t) or t in SINGLE} | {g for g in given if isinstance(g, str)}


def test_every_reason_is_named_by_a_test_that_produces_it() -> None:
    found = set().union(*(slugs(path) for path in SOURCES)) - NOT_REASONS - FORMATS.keys()
    assert len(found) > 90
    assert found >= SINGLE
    tests = "\n".join(
        p.read_text(encoding="utf-8") for p in ROOT.glob("tests/test_*.py") if p.name != Path(__file__).name
    )
    # The length rule's reasons end in the name of the field.
    missing = {slug for slug in found if not re.search(rf"[\"']{re.escape(slug)}[\"'-]", tests)}
    assert not missing
