"""A third of all attempts go wrong, in every way the fake provider knows: nothing is lost and nothing is paid twice."""

import json
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.caller import Caller
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flight import Pauses
from pipeline.llm.request import Request
from tests.scripted import spec_of

PASSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "retry_after": 0.05},
    {"kind": "status", "status": 408},
    {"kind": "status", "status": 409},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503, "retry_after": 0.02, "retry_after_as": "milliseconds"},
    {"kind": "hang", "seconds": 60},
    {"kind": "reset"},
    {"kind": "reset", "after": 0},
    {"kind": "reset", "clean": True},
    {"kind": "truncated_json"},
    {"kind": "wrong_type"},
    {"kind": "wrong_type", "status": 502},
    {"kind": "empty_choices"},
]
FINAL: list[dict[str, Any]] = [
    {"kind": "content_filter"},
    {"kind": "length"},
    {"kind": "refusal"},
    {"kind": "status", "status": 400, "per": "body"},
]
HARMLESS: list[dict[str, Any]] = [{"kind": "drip", "seconds": 0.05}]

KINDS = PASSING + FINAL + HARMLESS
SHARE = 0.3 / len(KINDS)


def storm(calls: int, ledger: Path) -> tuple[Counter[str], dict[str, Any], dict[str, Any], Any]:
    """Outcomes of so many requests, what the provider saw of each and in all, and our own numbers."""
    script = {
        "rules": [{"reply": {"kind": "answer", "words": 20}}],
        "latency": {"kind": "lognormal", "seconds": 0.01, "spread": 0.5},
        "faults": [{**kind, "share": SHARE} for kind in KINDS],
        "price": {"default": {"input": 1.0, "output": 2.0}},
    }
    pauses = Pauses(first=0.02, longest=0.5, limited=0.05, probe=0.05)
    with FakeProvider(script, own_process=True) as provider:
        spec = spec_of(base_url=provider.url, concurrency=64, timeout=2.0, deadline=90.0)
        with Caller({"default": spec}, ledger, "storm", pauses=pauses) as caller:
            futures = [caller.submit(Request(prompt=f"Question {n}"), "e") for n in range(calls)]
            replies = [future.result(300) for future in futures]
            usage = caller.usage()
        return Counter(reply.outcome for reply in replies), provider.calls(), provider.bill(), usage


def test_the_storm_has_every_kind_of_fault() -> None:
    schema = json.loads((resources.files("pipeline.llm.fake") / "script.schema.json").read_text(encoding="utf-8"))
    assert {kind["kind"] for kind in KINDS} == set(schema["$defs"]["fault_kinds"])


@pytest.mark.parametrize("calls", [1000, pytest.param(10_000, marks=pytest.mark.long)])
def test_a_storm_loses_nothing_and_repeats_nothing(calls: int, tmp_path: Path) -> None:
    outcomes, seen, bill, usage = storm(calls, tmp_path)
    print(dict(outcomes), bill["requests"], "sent", bill["faults"])
    assert set(bill["faults"]) == {kind["kind"] for kind in KINDS}
    assert sum(outcomes.values()) == len(seen) == calls
    assert outcomes["unavailable"] <= calls / 1000
    assert bill["requests"] <= 1.7 * calls
    assert bill["requests"] == usage.sent
    assert all(call["attempts"] <= 1 + sum(call["faults"].values()) for call in seen.values()), "sent without a cause"
    assert max(call["finished"] for call in seen.values()) == 1, "a reply that arrived whole is never asked for again"
    assert sum(1 for call in seen.values() if not call["finished"] and "400" not in call["statuses"]) <= calls / 1000
