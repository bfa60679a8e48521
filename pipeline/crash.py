"""Named points at which a test may kill the process, as a power cut would; inert unless SEEDMILL_CRASH_AT is set."""

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()

CRASH_POINTS = (
    "reply-durable",  # a reply is in the ledger, nobody has seen it yet
    "batch-planned",  # a batch's lines are in the book, its file is not uploaded
    "batch-uploaded",  # its file is at the server, and noted
    "batch-created",  # the server works on it, its id is not noted
    "batch-noted",  # its id is noted
    "batch-collected",  # all its replies are in the ledger, the batch is not closed
    "shards-written",  # a stage's parquet files are complete, its manifest is not there
    "before-rename",  # the manifest is there, the directory does not have its name yet
    "index-batch-written",  # a batch of a dedup index is complete, the index does not name it yet
    "mid-export",  # some export files are written
    "before-export-rename",  # all export files are written, the folder does not have its name yet
)


def crash_point(name: str) -> None:
    """Kill this process with SIGKILL when SEEDMILL_CRASH_AT is `name` or `name:n` (the n-th passing, from 1)."""
    wanted = os.environ.get("SEEDMILL_CRASH_AT")
    if wanted is None:
        return
    point, _, count = wanted.partition(":")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
