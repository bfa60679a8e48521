"""`ask` keeps its window, its order and its promise to lose nothing."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ModelError, UsageError
from pipeline.llm.body import Call
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.ledger import ledger_facts
from pipeline.llm.request import Reply, Request
from tests.scripted import FunctionWire, Script, Seen, failed, said, spec_of, until

SPECS = {"default": spec_of(languages=("en",))}


def ask(number: int) -> Request:
    return Request(prompt=f"q{number}")


class Delayed:
    """An exchange that finds some calls and answers the others from a thread, after a while of their own."""

    def __init__(self, rng: Random, found: float = 0.3, broken: int | None = None) -> None:
        self.rng, self.found, self.broken = rng, found, broken
        self.order: list[str] = []
        self.released: list[str] = []
        self.done = 0

    def find(self, call: Call) -> Reply | None:
        return self._reply(call, reused=True) if self.rng.random() < self.found else None

    def _reply(self, call: Call, *, reused: bool) -> Reply:
        text = call.document.split('"prompt":"')[1].split('"')[0]
        return Reply(key=call.key, text=text, reused=reused)

    def send(self, call: Call) -> Future[Reply]:
        future: Future[Reply] = Future()
        future.set_running_or_notify_cancel()
        reply = self._reply(call, reused=False)

        def end() -> None:
            self.order.append(reply.text)
            self.done += 1
            if reply.text == f"q{self.broken}":
                future.set_exception(ModelError("refused for good"))
            else:
                future.set_result(reply)

        threading.Timer(self.rng.choice([0.0, 0.0, 0.001, 0.005]), end).start()
        return future

    def awaits(self, key: str) -> None:
        pass

    def release(self, keys: Sequence[str]) -> None:
        self.released += keys


@given(count=st.integers(0, 25), window=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_exactly_the_window_is_pulled_before_a_reply_is_handed_out(count: int, window: int, seed: int) -> None:
    pulled = 0

    def source() -> Iterator[Request]:
        nonlocal pulled
        for number in range(count):
            pulled += 1
            yield ask(number)

    client = Client(Delayed(Random(seed)), SPECS, "e")
    for index, reply in enumerate(client.ask(source(), window)):
        assert reply.text == f"q{index}"
        assert pulled == min(count, index + window)
    assert pulled == count


@given(window=st.integers(1, 6), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_a_request_may_depend_on_the_replies_before_its_window(window: int, seed: int) -> None:
    """What a lazily built request sees of a growing pool is a function of the replies, never of timing."""
    pool: list[str] = []
    sizes: list[int] = []

    def source() -> Iterator[Request]:
        for number in range(20):
            sizes.append(len(pool))
            yield ask(number)

    for reply in Client(Delayed(Random(seed)), SPECS, "e").ask(source(), window):
        pool.append(reply.text)
    assert sizes == [max(0, n - window + 1) for n in range(20)]


def test_the_first_refusal_is_raised_before_its_turn_and_the_rest_awaited() -> None:
    exchange = Delayed(Random(1), found=0.0, broken=9)
    got: list[str] = []

    def consume() -> None:
        for reply in Client(exchange, SPECS, "e").ask((ask(n) for n in range(50)), 10):
            got.append(reply.text)
            time.sleep(0.02)

    with pytest.raises(ModelError, match="refused for good"):
        consume()
    assert len(got) <= 9
    assert exchange.done == len(got) + 10, "all that was sent was awaited"


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[tuple[Caller, Script]]:
    script = Script(lambda seen: said(f"re: {seen.text}"))
    spec = spec_of(concurrency=4)
    made = Caller({"default": spec}, tmp_path, "r", connect=lambda spec: FunctionWire(script, lambda: 0.03))
    yield made, script
    made.close()


def test_closing_early_awaits_what_was_sent_and_drops_what_was_not(
    caller: tuple[Caller, Script], tmp_path: Path
) -> None:
    made, script = caller
    with closing(cast(Any, Client(made, SPECS, "e").ask((ask(n) for n in range(100)), 20))) as replies:
        assert next(replies).text == "re: q0"
    sent = len(script.seen)
    assert 1 < sent <= 12
    usage = made.usage("e")
    assert usage.calls + usage.after_target == sent
    assert usage.after_target >= 1
    assert usage.in_flight == 0
    assert ledger_facts(tmp_path) == {"calls": sent, "intents": 0, "lost": 0}
    time.sleep(0.1)
    assert len(script.seen) == sent, "nothing is sent after the close"
    texts = [reply.text for reply in Client(made, SPECS, "e").ask((ask(n) for n in range(sent)), 20)]
    assert texts == [f"re: q{n}" for n in range(sent)]
    assert len(script.seen) == sent, "what was awaited is not paid again"


def test_ctrl_c_leaves_a_clean_ledger(caller: tuple[Caller, Script], tmp_path: Path) -> None:
    made, script = caller

    def source() -> Iterator[Request]:
        yield from (ask(n) for n in range(3))
        until(lambda: len(script.seen) == 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Client(made, SPECS, "e").ask(source(), 10))
    assert ledger_facts(tmp_path) == {"calls": 3, "intents": 0, "lost": 0}


class Interrupted:
    """A Caller whose asker is interrupted when a call has just been handed over, before the asker has its future."""

    def __init__(self, caller: Caller, number: int) -> None:
        self.find, self.awaits, self.release = caller.find, caller.awaits, caller.release
        self._caller, self._number = caller, number

    def send(self, call: Call) -> Future[Reply]:
        future = self._caller.send(call)
        if f'"q{self._number}"' in call.document:
            raise KeyboardInterrupt
        return future


def test_ctrl_c_while_a_call_is_handed_over_drops_it_like_the_others(tmp_path: Path) -> None:
    script = Script(lambda seen: said(seen.text))
    spec = spec_of(concurrency=4)
    made = Caller({"default": spec}, tmp_path, "r", connect=lambda spec: FunctionWire(script, lambda: 0.3))
    with made, pytest.raises(KeyboardInterrupt):
        list(Client(Interrupted(made, 9), SPECS, "e").ask((ask(n) for n in range(50)), 20))
    sent = len(script.seen)
    assert sent <= 4
    assert sorted(script.texts) == [f"q{n}" for n in range(sent)], "q9 waited for a place when it was let go"
    assert ledger_facts(tmp_path) == {"calls": sent, "intents": 0, "lost": 0}


def test_a_source_that_fails_is_the_askers_business(caller: tuple[Caller, Script]) -> None:
    def source() -> Iterator[Request]:
        yield ask(0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(Client(caller[0], SPECS, "e").ask(source(), 5))


def test_equal_requests_in_one_window_are_one_call(caller: tuple[Caller, Script]) -> None:
    made, script = caller
    got = list(Client(made, SPECS, "e").ask([ask(1)] * 10, 4))
    assert [reply.text for reply in got] == ["re: q1"] * 10
    assert len(script.seen) == 1


def test_a_refusal_through_a_caller(tmp_path: Path) -> None:
    def answer(seen: Seen) -> Any:
        return failed(401) if seen.text == "q5" else said("x")

    script = Script(answer)
    with Caller(SPECS, tmp_path, "r", connect=lambda spec: FunctionWire(script)) as made:
        with pytest.raises(ModelError, match="HTTP 401"):
            list(Client(made, SPECS, "e").ask((ask(n) for n in range(100)), 4))
        facts = ledger_facts(tmp_path)
        assert facts["calls"] == len(script.seen) - script.texts.count("q5")
        until(lambda: ledger_facts(tmp_path)["intents"] == 0)


def test_profiles_and_unknown_roles() -> None:
    client = Client(Delayed(Random(0)), SPECS, "e")
    assert client.profile("default").languages == ("en",)
    with pytest.raises(UsageError, match="no model role 'judge'"):
        client.profile("judge")
    with pytest.raises(UsageError, match="no model role 'judge'"):
        list(client.ask([Request(role="judge", prompt="x")], 1))
    with pytest.raises(ValueError, match="window"):
        list(client.ask([], 0))


def test_replaying_is_fast(caller: tuple[Caller, Script]) -> None:
    """A gross bound on the time of the asking thread; the promise of 20,000 a second is measured in the benchmarks."""
    made, _ = caller
    requests = [ask(n) for n in range(40)]
    list(Client(made, SPECS, "e").ask(requests, 40))
    began = time.thread_time()
    assert all(reply.reused for reply in Client(made, SPECS, "e").ask(requests * 25, 64))
    assert (time.thread_time() - began) / 1000 < 0.0005
