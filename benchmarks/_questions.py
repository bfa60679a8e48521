"""What every client of the benchmark is asked to send, what the provider replies, and how a run is reported."""

import json
import os
import time
from collections.abc import Sequence
from typing import Any

MODEL = "fake-model"
MAX_TOKENS = 400
TOKENS = 200
LATENCY = 0.1
_FILLER = "a plain word or two, "

SCRIPT: dict[str, Any] = {
    "latency": {"kind": "constant", "seconds": LATENCY},
    "rules": [
        {
            "reply": {
                "kind": "template",
                "take": r"\A(\w+ question \d+)",
                "template": "{{text}}: " + _FILLER * 40,
            }
        }
    ],
}
"""100 ms, and replies of 200 of the fake's tokens (4 characters each) once they are cut to that."""


def question(number: int, kind: str = "timed") -> str:
    """About 180 tokens, different for each number."""
    return f"{kind} question {number}: " + "some words of a prompt that is neither long nor short, " * 12


def expected(number: int) -> str:
    """The reply to a timed question."""
    return f"timed question {number}: " + _FILLER * 40


def check(replies: Sequence[str]) -> None:
    """Every reply is there, whole, and that of its question."""
    wrong = [n for n, reply in enumerate(replies) if reply.strip() != expected(n).strip()]
    if wrong:
        raise SystemExit(
            f"{len(wrong)} of {len(replies)} replies are not those of their questions: {replies[wrong[0]]!r:.200}"
        )


class Watch:
    """Seconds and processor seconds (of this process, all its threads) of a `with` block."""

    def __enter__(self) -> "Watch":
        self._began, self._cpu_began = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self._began, time.process_time() - self._cpu_began


def report(watch: Watch, count: int, **more: Any) -> None:
    """Tell the parent, on the last line of the output."""
    print(json.dumps({"rate": count / watch.seconds, "cpu_ms": 1e3 * watch.cpu / count, "pid": os.getpid()} | more))
