"""Limits, outages and wrong keys through the whole client, against servers that answer in real time."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.engine import calls_on_ray
from pipeline.engine.on_ray import RayEngine
from pipeline.errors import ModelError
from pipeline.llm.caller import Caller
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flight import Pauses
from pipeline.llm.lease import Lease
from pipeline.llm.request import Request
from tests.scripted import FunctionWire, Script, Seen, Sent, failed, said, serving_script, spec_of

RULES = [{"reply": {"kind": "answer", "words": 10}}]


def ask_on(caller: Caller, seconds: float, look: Callable[[float], None]) -> None:
    """Ask new things for so long, always with many waiting; `look` is called about ten times a second."""
    begin, number = time.monotonic(), 0
    waiting = threading.Semaphore(400)
    futures = []
    while (passed := time.monotonic() - begin) < seconds:
        look(passed)
        while waiting.acquire(blocking=False):
            future = caller.submit(Request(prompt=f"Question {number}"), "e")
            future.add_done_callback(lambda done: waiting.release())
            futures.append(future)
            number += 1
        time.sleep(0.1)
    caller.close()
    assert all(f.done() for f in futures)


def test_a_wrong_key_costs_one_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-wrong-one")
    with FakeProvider({"rules": RULES, "valid_keys": ["sk-right-one"], "latency": {"seconds": 0.05}}) as provider:
        spec = spec_of(base_url=provider.url, concurrency=256, api_key_env="SOME_KEY")
        with Caller({"default": spec}, tmp_path, "run") as caller:
            futures = [caller.submit(Request(prompt=f"q{n}"), "e") for n in range(256)]
            for future in futures:
                with pytest.raises(ModelError, match="the key in SOME_KEY is refused"):
                    future.result(10)
        assert provider.bill()["statuses"] == {"401": 1}


def test_a_wrong_model_costs_one_request(tmp_path: Path) -> None:
    with FakeProvider({"rules": RULES, "models": ["another"]}) as provider:
        spec = spec_of(base_url=provider.url, concurrency=256)
        with Caller({"default": spec}, tmp_path, "run") as caller:
            futures = [caller.submit(Request(prompt=f"q{n}"), "e") for n in range(256)]
            for future in futures:
                with pytest.raises(ModelError, match="there is no model"):
                    future.result(10)
            with pytest.raises(ModelError, match="there is no model"):
                caller.submit(Request(prompt="too late"), "e").result(10)
        assert provider.bill()["statuses"] == {"404": 1}


class Moody:
    """Answers until it is told to be down; counts what it is asked then."""

    def __init__(self, how: Sent) -> None:
        self.how, self.down = how, False
        self.asked = 0

    def __call__(self, seen: Seen) -> Sent:
        if not self.down:
            return said(f"re: {seen.text}")
        self.asked += 1
        return self.how


def moody_caller(moody: Moody, folder: Path, notices: list[str], **settings: Any) -> Caller:
    script = Script(moody)
    pauses = Pauses(first=0.01, longest=0.05, probe=0.2)
    spec = spec_of(concurrency=16, **settings)
    return Caller(
        {"default": spec},
        folder,
        "run",
        connect=lambda spec: FunctionWire(script, lambda: 0.01),
        pauses=pauses,
        notice=notices.append,
    )


@pytest.mark.parametrize("how", [Sent(how="refused"), failed(503), Sent(how="hang")], ids=["refused", "503", "hang"])
def test_an_outage_pauses_all_and_loses_nothing(how: Sent, tmp_path: Path) -> None:
    moody, notices = Moody(how), list[str]()
    with moody_caller(moody, tmp_path, notices, deadline=60.0) as caller:
        before = [caller.submit(Request(prompt=f"a{n}"), "e") for n in range(100)]
        assert {future.result(10).outcome for future in before} == {"ok"}
        moody.down = True
        during = [caller.submit(Request(prompt=f"b{n}"), "e") for n in range(100)]
        end = time.monotonic() + 10
        while not caller.outages():
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(0.1)  # what had been let go before, and waited for its place in the ledger, has arrived by then
        asked = moody.asked
        time.sleep(1.4)
        assert moody.asked - asked <= 4, "at 0.2, 0.6 and 1.4 s"
        assert "http://model.test/v1 is down since" in caller.outages()[0]
        assert "probing every" in caller.outages()[0]
        moody.down = False
        assert {future.result(20).outcome for future in during} == {"ok"}
        assert caller.outages() == []
    assert [notice.split(" ")[1] for notice in notices] == ["is", "answers"]


def test_waiting_for_an_endpoint_does_not_eat_a_calls_deadline(tmp_path: Path) -> None:
    """Calls that waited out an outage fail once more afterwards, later than their deadline by the clock on the wall."""
    moody, notices, late = Moody(Sent(how="refused")), list[str](), set[str]()

    def answer(seen: Seen) -> Sent:
        if not moody.down and seen.text.startswith("b") and seen.text not in late:
            late.add(seen.text)
            return failed(408)
        return moody(seen)

    script = Script(answer)
    pauses = Pauses(first=0.5, longest=0.5, probe=0.2)
    caller = Caller(
        {"default": spec_of(concurrency=16, deadline=3.0)},
        tmp_path,
        "run",
        connect=lambda spec: FunctionWire(script, lambda: 0.01),
        pauses=pauses,
        notice=notices.append,
    )
    with caller:
        caller.submit(Request(prompt="a"), "e").result(10)
        moody.down = True
        futures = [caller.submit(Request(prompt=f"b{n}"), "e") for n in range(40)]
        time.sleep(2.0)  # asked again at 0.2, 0.6, 1.4 and 3.0 s
        moody.down = False
        outcomes = [future.result(20).outcome for future in futures]
    assert outcomes.count("ok") >= 36, "all but the few that were tried while the endpoint was down"


def test_an_outage_longer_than_the_deadline_ends_the_run(tmp_path: Path) -> None:
    moody, notices = Moody(Sent(how="refused")), list[str]()
    with moody_caller(moody, tmp_path, notices, deadline=1.0) as caller:
        caller.submit(Request(prompt="a"), "e").result(10)
        moody.down = True
        futures = [caller.submit(Request(prompt=f"b{n}"), "e") for n in range(100)]
        ends = [future.exception(20) for future in futures]
    sentences = {str(error) for error in ends if error is not None}
    assert len(sentences) == 1
    assert "has not answered for" in sentences.pop()
    assert sum(error is None for error in ends) <= 4, "calls tried meanwhile ran out of their own time"
    assert moody.asked < 100, "not every call had to find out for itself"


@pytest.fixture(scope="module")
def ray_engine() -> Iterator[RayEngine]:
    engine = RayEngine()
    yield engine
    engine.close()


def test_what_a_ray_job_waits_for_at_its_start_is_told(
    ray_engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_on_ray, "_PATIENCE", 0.1)
    told: list[str] = []
    lease = Lease([tmp_path / "shard-0.lease"], "killed")

    def notice(sentence: str) -> None:
        told.append(sentence)
        if len(told) == 2:
            lease.release()

    ray_engine.calls({"default": spec_of()}, tmp_path, "run", notice).close()
    assert "waiting for Ray to start" in told[0], "no other run is blamed while Ray is slow"
    assert "another run still write it" in told[1]


def test_a_rate_is_kept_by_all_actors_of_a_ray_job_together(ray_engine: RayEngine, tmp_path: Path) -> None:
    times: list[float] = []

    def answer(seen: Seen) -> Sent:
        times.append(time.monotonic())
        return said(f"re: {seen.text}")

    with serving_script(answer) as server:
        spec = spec_of(base_url=server.url, concurrency=32, requests_per_minute=600.0)
        with ray_engine.calls({"default": spec}, tmp_path, "run", lambda sentence: None) as caller:
            assert len(caller._flights._carrier._actors) >= 2  # type: ignore[attr-defined]
            for future in [caller.submit(Request(prompt=f"q{n}"), "e") for n in range(60)]:
                assert future.result(60).outcome == "ok"
    assert len(times) == 60
    # What leaves in time may arrive bunched: ten at once are allowed, and a second's worth more for the machine.
    for begin, first in enumerate(times):
        for count, last in enumerate(times[begin:], 1):
            assert count <= 10 + 10 + 10 * (last - first)


@pytest.mark.long
@pytest.mark.parametrize("retry_after", [False, True])
def test_a_storm_of_429_settles_in_real_time(retry_after: bool, tmp_path: Path) -> None:
    limit = {"requests": 500, "headers": False, "retry_after": retry_after}
    script = {"rules": RULES, "rate_limit": limit, "latency": {"kind": "lognormal", "seconds": 0.3}}
    seen: dict[str, int] = {}
    with FakeProvider(script, own_process=True) as provider:

        def look(passed: float) -> None:
            if passed >= 60 and not seen:
                seen.update(provider.bill()["statuses"])

        spec = spec_of(base_url=provider.url, concurrency=64)
        ask_on(Caller({"default": spec}, tmp_path, "run"), 200, look)
        end = provider.bill()["statuses"]
    taken, refused = end["200"] - seen["200"], end.get("429", 0) - seen.get("429", 0)
    print(f"first minute {seen}; then {taken} taken and {refused} refused in 140 s")
    assert taken >= 0.95 * 500 * 140 / 60
    assert refused < 0.02 * (taken + refused)


@pytest.mark.long
def test_silent_saturation_is_found_in_real_time(tmp_path: Path) -> None:
    """16 replies at once at full speed, 0.2 s each: 80 a second at best, whatever is in flight."""
    script = {"rules": RULES, "capacity": 16, "latency": {"kind": "lognormal", "seconds": 0.2, "spread": 0.3}}
    marks: list[tuple[float, int, int]] = []
    with FakeProvider(script, own_process=True) as provider:

        def look(passed: float) -> None:
            if not marks or passed - marks[-1][0] >= 1:
                bill = provider.bill()
                marks.append((passed, bill["finished"], bill["in_flight"]))

        spec = spec_of(base_url=provider.url, concurrency=128)
        ask_on(Caller({"default": spec}, tmp_path, "run"), 100, look)
    settled = [mark for mark in marks if mark[0] >= 20]
    rate = (settled[-1][1] - settled[0][1]) / (settled[-1][0] - settled[0][0])
    best = 16 / (0.2 * 2.718281828 ** (0.3**2 / 2))
    in_flight = sum(mark[2] for mark in settled) / len(settled)
    print(f"{rate:.1f} replies a second, {best:.1f} at best, {in_flight:.0f} in flight")
    assert rate >= 0.9 * best
    assert in_flight <= 3 * 16
