"""In which order the suite runs: what takes minutes first, or one worker ends up waiting for it alone."""

from pathlib import Path

import pytest

SLOW = (
    "test_whole",
    "test_dedup_spread",
    "test_engines",
    "test_readme",
    "test_kills",
    "test_keys",
    "test_submit",
    "test_llm_batch_runs",
    "test_trainers_real",
    "test_stage_semantic_dedup",
    "test_books",
    "test_dedup_batches",
    "test_release",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(SLOW)}
    items.sort(key=lambda item: rank.get(Path(str(item.path)).stem, len(SLOW)))
