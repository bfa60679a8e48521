"""Batches under way, as people read of them."""

from collections.abc import Mapping
from typing import Any

from pipeline.report.live import span


def batches_text(snapshot: Mapping[str, Any]) -> str:
    """What is under way in batches, on one line; empty when nothing is."""
    found = snapshot.get("batches")
    if not found:
        return ""
    parts = []
    if under_way := found["batches"]:
        count, done, lines = len(under_way), sum(b["done"] for b in under_way), sum(b["lines"] for b in under_way)
        failed = sum(b["failed"] for b in under_way)
        since = max(0.0, snapshot["updated"] - min(b["since"] for b in under_way))
        parts.append(
            f"{count} {'batch' if count == 1 else 'batches'}: {done:,} of {lines:,} calls done"
            + (f", {failed:,} failed" if failed else "")
            + f", since {span(since)}"
        )
        parts += sorted({f"the server does not answer ({b['trouble']})" for b in under_way if b["trouble"]})
    if found["gathered"]:
        parts.append(f"{found['gathered']:,} calls wait for a batch")
    return ", ".join(parts)
