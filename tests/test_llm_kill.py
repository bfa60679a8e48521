"""kill -9 in the middle of calls: nothing finished is lost or asked again, and what was under way is listed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.llm.body import compose
from pipeline.llm.ledger import Reader, ledger_facts
from pipeline.llm.request import Request
from tests.scripted import Seen, Sent, said, serving_script, spec_of

CALLS, CONCURRENCY = 120, 8

RUN = """
import sys
from pathlib import Path
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.request import Request
from tests.scripted import spec_of

url, ledger, calls, concurrency = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
spec = spec_of(base_url=url, endpoint_name="fake", concurrency=concurrency, transport=sys.argv[5])
with Caller({"default": spec}, ledger, "run") as caller:
    print("found", caller.usage().in_flight_found_at_open, flush=True)
    requests = (Request(prompt=f"q{n}") for n in range(calls))
    for reply in Client(caller, caller.specs, "e").ask(requests, 40):
        print("seen", reply.key, reply.text, flush=True)
print("done", flush=True)
"""


def start(url: str, ledger: Path, transport: str, **environ: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, url, str(ledger), str(CALLS), str(CONCURRENCY), transport]
    root = Path(__file__).parent.parent
    return subprocess.Popen(command, cwd=root, env=os.environ | environ, stdout=subprocess.PIPE, text=True)


def lines_of(process: subprocess.Popen[str], kill_after: float | None = None) -> list[list[str]]:
    """Its output; killed so many seconds after its first line."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.split())
        if len(lines) == 1 and kill_after is not None:
            threading.Timer(kill_after, process.kill).start()
    process.wait(60)
    return lines


def finished(ledger: Path) -> set[str]:
    reader = Reader(ledger)
    texts = [f"q{n}" for n in range(CALLS)]
    keys = [compose(spec_of(endpoint_name="fake"), Request(prompt=text), "").key for text in texts]
    return {text for text, key in zip(texts, keys, strict=True) if reader.find(key) is not None}


@pytest.mark.parametrize(("seed", "transport"), [(0, "thin"), (1, "sdk")])
def test_killed_at_random_moments(tmp_path: Path, seed: int, transport: str) -> None:
    rng = random.Random(seed)
    lock = threading.Lock()
    asked: Counter[str] = Counter()
    kept: set[str] = set()
    repeated: list[str] = []

    def answer(seen: Seen) -> Sent:
        with lock:
            asked[seen.text] += 1
            if seen.text in kept:
                repeated.append(seen.text)
        time.sleep(0.02)
        return said(f"re: {seen.text}")

    with serving_script(answer) as server:
        unaccounted = 0
        for _ in range(2):
            process = start(server.url, tmp_path, transport)
            lines = lines_of(process, kill_after=rng.uniform(0.0, 1.5))
            assert int(lines[0][1]) == unaccounted
            after = finished(tmp_path)
            assert kept <= after, "finished calls are lost"
            assert {line[3] for line in lines if line[0] == "seen" and len(line) == 4} <= after
            kept = after
            unaccounted = ledger_facts(tmp_path)["intents"]
            assert unaccounted <= CONCURRENCY + 8, "calls in flight, and replies on their way into the ledger"
        lines = lines_of(start(server.url, tmp_path, transport))
    assert int(lines[0][1]) == unaccounted
    assert [line[3] for line in lines if line[0] == "seen"] == [f"q{n}" for n in range(CALLS)]
    assert lines[-1] == ["done"]
    assert repeated == []
    facts = ledger_facts(tmp_path)
    assert (facts["calls"], facts["intents"]) == (CALLS, 0)
    # every answer the server gave is a finished call, or is listed as lost
    assert sum(asked.values()) <= facts["calls"] + facts["lost"]


@pytest.mark.parametrize("transport", ["thin", "sdk"])
def test_killed_between_durable_and_seen(tmp_path: Path, transport: str) -> None:
    """The named point: the reply is in the ledger, nobody has seen it; it is not asked again."""
    with serving_script(lambda seen: said(f"re: {seen.text}")) as server:
        process = start(server.url, tmp_path, transport, SEEDMILL_CRASH_AT="reply-durable:5")
        lines_of(process)
        assert process.returncode == -signal.SIGKILL
        kept = finished(tmp_path)
        assert kept
        before = Counter(server.script.texts)
        assert lines_of(start(server.url, tmp_path, transport))[-1] == ["done"]
        after = Counter(server.script.texts)
    assert all(after[text] == before[text] == 1 for text in kept)
