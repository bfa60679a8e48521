"""Calls are made once, kept, tried again when that helps, and never lost."""

import functools
import gc
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ModelError, SeedmillError, UsageError
from pipeline.llm.body import compose
from pipeline.llm.caller import Caller
from pipeline.llm.carrier import Carrier, LocalCarrier
from pipeline.llm.flight import Pauses
from pipeline.llm.landings import Landings
from pipeline.llm.ledger import SHARDS, Reader, ledger_facts, shard_of
from pipeline.llm.mailbox import Post
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Reply, Request
from tests.scripted import FunctionWire, Script, Seen, Sent, failed, said, spec_of, until

QUICK = Pauses(nobody=0.3, first=0.01, longest=0.05)

Open = Callable[..., tuple[Caller, Script]]


@pytest.fixture
def open_caller(tmp_path: Path) -> Iterator[Open]:
    """Opens callers over one ledger; the answering function takes what came and gives what is sent."""
    with ExitStack() as stack:

        def open_one(
            answer: Callable[[Seen], Sent] = lambda seen: said(f"re: {seen.text}"),
            *,
            specs: Mapping[str, ModelSpec] | None = None,
            latency: float = 0.0,
            **settings: Any,
        ) -> tuple[Caller, Script]:
            script = Script(answer)
            caller = Caller(
                specs or {"default": spec_of()},
                tmp_path,
                "run",
                **{"connect": lambda spec: FunctionWire(script, lambda: latency), "pauses": QUICK, **settings},
            )
            stack.callback(caller.close)
            return caller, script

        yield open_one


def ask(number: int = 0, **settings: Any) -> Request:
    return Request(prompt=f"q{number}", **settings)


def acquainted(caller: Caller) -> None:
    """Get past the single call that scouts an endpoint of which nothing is known."""
    assert caller.submit(Request(prompt="hello"), "hello").result(10).outcome == "ok"


def replies(futures: list[Future[Reply]]) -> list[Reply]:
    return [future.result(30) for future in futures]


def first(*answers: Sent) -> Callable[[Seen], Sent]:
    """These answers to the first attempts of each call, then a good one."""
    return lambda seen: answers[seen.attempt - 1] if seen.attempt <= len(answers) else said("good")


def test_a_call_is_made_once_for_ever(open_caller: Open) -> None:
    caller, script = open_caller()
    new = caller.submit(ask(1), "e").result(10)
    assert (new.text, new.reused, new.model, new.outcome) == ("re: q1", False, "said-model", "ok")
    again = caller.submit(ask(1), "e").result(10)
    assert (again.text, again.reused, again.key) == ("re: q1", True, new.key)
    caller.close()
    later, unasked = open_caller()
    assert later.submit(ask(1), "other entry").result(10).reused
    assert (len(script.seen), len(unasked.seen)) == (1, 0)


def test_a_reply_is_durable_before_anyone_sees_it(open_caller: Open, tmp_path: Path) -> None:
    caller, _ = open_caller()
    unseen: list[str] = []

    def look(future: Future[Reply]) -> None:
        if Reader(tmp_path).find(future.result().key) is None:
            unseen.append(future.result().key)

    futures = [caller.submit(ask(n), "e") for n in range(100)]
    for future in futures:
        future.add_done_callback(look)
    replies(futures)
    assert unseen == []


def test_the_intent_is_durable_before_the_call_is_sent(open_caller: Open, tmp_path: Path) -> None:
    noted: list[int] = []

    def answer(seen: Seen) -> Sent:
        noted.append(ledger_facts(tmp_path)["intents"])
        return said("x")

    caller, _ = open_caller(answer)
    caller.submit(ask(), "e").result(10)
    assert noted == [1]
    until(lambda: ledger_facts(tmp_path)["intents"] == 0)


def test_equal_calls_under_way_are_one(open_caller: Open) -> None:
    caller, script = open_caller(latency=0.1)
    got = replies([caller.submit(ask(1), "e") for _ in range(20)])
    assert len(script.seen) == 1
    assert [reply.reused for reply in got] == [False] + [True] * 19
    usage = caller.usage("e")
    assert (usage.calls, usage.reused, usage.sent, usage.new) == (20, 19, 1, 1)


def test_threads_asking_the_same_things_pay_for_each_once(open_caller: Open) -> None:
    caller, script = open_caller(latency=0.002)
    texts: list[list[str]] = []

    def work() -> None:
        texts.append([caller.submit(ask(n), "e").result(30).text for n in range(50)])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [[f"re: q{n}" for n in range(50)]] * 6
    assert sorted(script.texts) == sorted(f"q{n}" for n in range(50))


@pytest.mark.parametrize(
    "fault",
    [failed(429), failed(408), failed(409), failed(500), failed(503), failed(529), Sent(how="reset"), Sent(how="half"),
     Sent(how="hang"), Sent(body=b"<html>busy</html>"), Sent(body={"choices": []}), Sent(body=b'{"choices": [{"me')],
    ids=lambda s: f"{s.status}-{s.how}-{len(s.data)}",
)  # fmt: skip
def test_faults_that_pass_end_as_a_reply(open_caller: Open, fault: Sent) -> None:
    caller, script = open_caller(first(fault, fault))
    assert caller.submit(ask(), "e").result(10).text == "good"
    usage = caller.usage("e")
    assert (usage.sent, usage.retries, len(script.seen)) == (3, 2, 3)
    assert usage.retries_429 == (2 if fault.status == 429 else 0)
    assert usage.maybe_paid == (2 if fault.how != "whole" or fault.status == 200 else 0)


def test_what_may_have_been_paid_is_listed(open_caller: Open, tmp_path: Path) -> None:
    caller, _ = open_caller(first(Sent(how="hang")))
    caller.submit(ask(), "e").result(10)
    assert ledger_facts(tmp_path) == {"calls": 1, "intents": 0, "lost": 1}


@pytest.mark.parametrize(
    ("sent", "outcome", "text"),
    [
        (said("cut", "length"), "length", "cut"),
        (said("", "content_filter"), "content_filter", ""),
        (failed(400, "too long"), "refused", "too long"),
        (failed(400, "no", code="content_filter"), "content_filter", "no"),
    ],
)
def test_final_outcomes_are_kept_and_replayed(open_caller: Open, sent: Sent, outcome: str, text: str) -> None:
    caller, script = open_caller(lambda seen: sent)
    new, again = (caller.submit(ask(), "e").result(10) for _ in range(2))
    assert (new.outcome, new.text) == (again.outcome, again.text) == (outcome, text)
    assert (new.reused, again.reused, len(script.seen)) == (False, True, 1)


def test_an_outage_that_outlasts_the_deadline_is_not_kept(open_caller: Open, tmp_path: Path) -> None:
    down = {"default": spec_of(deadline=0.2)}
    caller, _ = open_caller(lambda seen: failed(503), specs=down)
    reply = caller.submit(ask(), "e").result(10)
    assert (reply.outcome, reply.text) == ("unavailable", "HTTP 503")
    assert caller.usage("e").unavailable == 1
    assert caller.usage("e").calls == 0
    caller.close()
    assert ledger_facts(tmp_path) == {"calls": 0, "intents": 0, "lost": 0}
    later, _ = open_caller(specs=down)
    assert later.submit(ask(), "e").result(10).outcome == "ok"


def test_a_wrong_key_stops_what_waits_and_lets_what_is_sent_finish(open_caller: Open, tmp_path: Path) -> None:
    asked, release = threading.Event(), threading.Event()

    def answer(seen: Seen) -> Sent:
        assert asked.wait(10)
        return said("in time") if seen.text == "q0" else failed(401, "bad key")

    caller, script = open_caller(answer, specs={"default": spec_of(concurrency=2, api_key_env="K")})
    post = FunctionWire.post

    async def slow_first(self: FunctionWire, path: str, body: bytes) -> Any:
        if b"q0" in body:
            while not release.is_set():
                await __import__("asyncio").sleep(0.01)
        return await post(self, path, body)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FunctionWire, "post", slow_first)
        futures = [caller.submit(ask(n), "e") for n in range(30)]
        asked.set()
        for future in futures[1:]:
            with pytest.raises(ModelError, match="K is not set"):
                future.result(10)
        assert not futures[0].done()
        release.set()
        assert futures[0].result(10).text == "in time"
    assert len(script.seen) <= 3
    caller.close()
    assert ledger_facts(tmp_path) == {"calls": 1, "intents": 0, "lost": 0}


def test_nobody_there_is_an_error_and_a_late_server_is_not(open_caller: Open) -> None:
    caller, _ = open_caller(lambda seen: Sent(how="refused"))
    with pytest.raises(ModelError, match=r"http://model\.test/v1: nobody answers there"):
        caller.submit(ask(), "e").result(10)
    caller.close()
    late, _ = open_caller(first(Sent(how="refused"), Sent(how="refused")), specs={"default": spec_of(model="late")})
    assert late.submit(ask(), "e").result(10).text == "good"


def test_retry_after_pauses_everybody(open_caller: Open) -> None:
    times: list[float] = []

    def answer(seen: Seen) -> Sent:
        times.append(time.monotonic())
        return failed(429, headers={"retry-after": "0.4"}) if len(times) == 1 else said("x")

    caller, _ = open_caller(answer, specs={"default": spec_of(concurrency=1)})
    replies([caller.submit(ask(n), "e") for n in range(3)])
    assert times[1] - times[0] >= 0.38
    assert len(times) == 4


def test_a_server_that_wants_to_be_left_alone_for_hours_ends_the_run(open_caller: Open) -> None:
    asked = threading.Event()

    def answer(seen: Seen) -> Sent:
        assert asked.wait(10)
        return failed(429, headers={"retry-after": "7200"})

    caller, script = open_caller(answer)
    futures = [caller.submit(ask(n), "e") for n in range(30)]
    asked.set()
    for future in futures:
        with pytest.raises(ModelError, match="left alone for 120 min"):
            future.result(10)
    assert len(script.seen) <= 8


def test_concurrency_is_the_models_not_the_askers(open_caller: Open) -> None:
    caller, script = open_caller(latency=0.01, specs={"default": spec_of(concurrency=3)})
    replies([caller.submit(ask(n), "e") for n in range(40)])
    assert script.most_inside == 3


def test_roles_on_one_model_share_its_places(open_caller: Open) -> None:
    specs = {"default": spec_of(concurrency=4), "judge": spec_of(role="judge", concurrency=2, max_tokens=5)}
    caller, script = open_caller(latency=0.01, specs=specs)
    replies([caller.submit(ask(n, role=("default", "judge")[n % 2]), "e") for n in range(40)])
    assert script.most_inside == 4


def test_a_down_server_is_asked_by_few(open_caller: Open, tmp_path: Path) -> None:
    """Calls keep their place while they rest, so an outage touches no more calls than may be in flight."""
    caller, script = open_caller(
        lambda seen: failed(500), specs={"default": spec_of(concurrency=3)}, pauses=Pauses(first=0.01, longest=0.02)
    )
    futures = [caller.submit(ask(n), "e") for n in range(50)]
    until(lambda: len(script.seen) > 30)
    assert len(set(script.texts)) == 3
    caller.release([compose(spec_of(), ask(n), "e").key for n in range(50)])
    ended = [future.exception(10) for future in futures]
    assert sum(isinstance(error, CancelledError) for error in ended) == 47
    assert sum(error is None for error in ended) == 3


def test_requests_per_minute_are_kept(open_caller: Open) -> None:
    caller, script = open_caller(specs={"default": spec_of(requests_per_minute=1200)})
    began = time.monotonic()
    replies([caller.submit(ask(n), "e") for n in range(40)])
    assert time.monotonic() - began >= (40 - 20) / 20 * 0.95
    assert len(script.seen) == 40


def test_released_calls_are_dropped_or_finished(open_caller: Open, tmp_path: Path) -> None:
    caller, script = open_caller(latency=0.15, specs={"default": spec_of(concurrency=2)})
    acquainted(caller)
    futures = [caller.submit(ask(n), "e") for n in range(10)]
    until(lambda: len(script.seen) == 3)
    caller.release([compose(spec_of(), ask(n), "e").key for n in range(10)])
    ended = [future.exception(10) for future in futures]
    assert [error is None for error in ended] == [True] * 2 + [False] * 8
    assert all(isinstance(error, CancelledError) for error in ended[2:])
    usage = caller.usage("e")
    assert (usage.calls, usage.after_target, usage.in_flight, len(script.seen)) == (0, 2, 0, 3)
    assert ledger_facts(tmp_path)["calls"] == 3
    assert caller.submit(ask(5), "e").result(10).outcome == "ok"


def test_a_call_two_want_is_not_dropped_for_one(open_caller: Open) -> None:
    caller, script = open_caller(latency=0.1, specs={"default": spec_of(concurrency=1)})
    caller.submit(ask(0), "e")
    mine, yours = caller.submit(ask(1), "e"), caller.submit(ask(1), "e")
    caller.release([compose(spec_of(), ask(1), "e").key])
    assert mine.result(10).text == yours.result(10).text == "re: q1"
    assert len(script.seen) == 2


def test_close_waits_for_what_was_sent(open_caller: Open, tmp_path: Path) -> None:
    caller, script = open_caller(latency=0.2, specs={"default": spec_of(concurrency=3)})
    acquainted(caller)
    futures = [caller.submit(ask(n), "e") for n in range(20)]
    until(lambda: len(script.seen) == 4)
    caller.close()
    assert [f.exception(0) is None for f in futures] == [True] * 3 + [False] * 17
    assert ledger_facts(tmp_path) == {"calls": 4, "intents": 0, "lost": 0}
    with pytest.raises(RuntimeError, match="closed"):
        caller.submit(ask(99), "e")
    caller.close()


def test_what_cannot_be_noted_is_not_sent(open_caller: Open) -> None:
    caller, script = open_caller()
    for shard in caller._flights._carrier._ledger._shards.values():
        shard._db.execute("PRAGMA query_only=ON")
    for future in [caller.submit(ask(n), "e") for n in range(20)]:
        with pytest.raises(SeedmillError, match="cannot be written"):
            future.result(10)
    assert script.seen == []


def test_a_full_disk_stops_the_run_and_tells_what_may_be_lost(open_caller: Open, tmp_path: Path) -> None:
    caller, script = open_caller(lambda seen: said("word " * 2000))
    for shard in caller._flights._carrier._ledger._shards.values():
        pages = shard._db.execute("PRAGMA page_count").fetchone()[0]
        shard._db.execute(f"PRAGMA max_page_count={pages + 12}")
    errors = [caller.submit(ask(n), "e").exception(10) for n in range(60)]
    stored = sum(error is None for error in errors)
    assert all(isinstance(error, SeedmillError) and "is full" in error.message for error in errors if error is not None)
    caller.close()
    assert ledger_facts(tmp_path)["calls"] == stored > 0
    later, _ = open_caller()
    assert later.usage().in_flight_found_at_open == len(script.seen) - stored > 0


def test_in_flight_calls_of_a_dead_process_are_told(open_caller: Open) -> None:
    caller, _ = open_caller()
    noted = threading.Event()
    call = compose(spec_of(), ask(1), "e")
    caller._flights._carrier._ledger.intend(call, lambda error: noted.set())
    assert noted.wait(10)
    caller.close()
    later, _ = open_caller()
    assert later.usage().in_flight_found_at_open == 1
    assert later.usage("e").in_flight_found_at_open == 1


def test_money_and_tokens(open_caller: Open) -> None:
    price = {"input": 2.0, "output": 10.0, "cached_input": 1.0}
    usage: dict[str, Any] = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 400},
    }
    caller, _ = open_caller(lambda seen: said("x", **usage), specs={"default": spec_of(price=price)})
    caller.submit(ask(1), "a").result(10)
    assert caller.submit(ask(1), "b").result(10).reused
    first, second = caller.usage("a"), caller.usage("b")
    assert first.cost == pytest.approx((600 * 2 + 400 * 1 + 100 * 10) / 1e6)
    assert (first.new_prompt_tokens, first.new_completion_tokens) == (1000, 100)
    assert (second.prompt_tokens, second.new_prompt_tokens, second.cost) == (1000, 0, 0.0)
    total = caller.usage()
    assert (total.calls, total.reused, total.cost) == (2, 1, first.cost)
    assert first + second == pickle.loads(pickle.dumps(first + second))
    assert first.as_dict()["new"] == 1


def test_an_unknown_price_is_not_nothing(open_caller: Open) -> None:
    caller, _ = open_caller()
    assert caller.usage("e").cost == 0.0
    caller.submit(ask(), "e").result(10)
    assert caller.usage("e").cost is None
    assert caller.usage().cost is None


def test_an_unknown_role(open_caller: Open) -> None:
    with pytest.raises(UsageError, match="no model role 'judge'"):
        open_caller()[0].submit(ask(role="judge"), "e")


def test_carriers_share_a_ledger_by_shards(open_caller: Open, tmp_path: Path) -> None:
    """As Ray actors do: each carries only the calls of its shards, and nothing is paid twice."""
    parts = []
    for index in range(2):
        script = Script(lambda seen: said(f"re: {seen.text}"))
        carry = functools.partial(_carry, tmp_path, script, [s for s in range(SHARDS) if s % 2 == index])
        parts.append((open_caller(carry=carry)[0], script))
    for _ in range(2):
        calls = [compose(spec_of(), ask(n), "e") for n in range(30)]
        got = [parts[shard_of(call.key, SHARDS) % 2][0].send(call).result(10) for call in calls]
        assert [reply.text for reply in got] == [f"re: q{n}" for n in range(30)]
    assert sum(len(script.seen) for _, script in parts) == 30


def _carry(ledger: Path, script: Script, shards: list[int], post: Post) -> Carrier:
    return LocalCarrier(
        {"default": spec_of()}, ledger, "run", post, shards=shards, connect=lambda spec: FunctionWire(script)
    )


def test_a_bug_in_a_transport_does_not_hang(open_caller: Open) -> None:
    def answer(seen: Seen) -> Sent:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        open_caller(answer)[0].submit(ask(), "e").result(10)


def test_arguments_travel() -> None:
    arguments = ({"default": spec_of()}, Path("ledger"), "run")
    assert pickle.loads(pickle.dumps(arguments)) == arguments
    call = compose(spec_of(), ask(), "e")
    assert pickle.loads(pickle.dumps(call)) == call


def test_a_call_that_lands_between_the_look_and_the_wish_is_not_sent_again(open_caller: Open) -> None:
    """Somebody looks, does not find it, and is overtaken by another who sends the same before he does."""
    caller, script = open_caller()
    call = compose(caller.specs["default"], ask(1), "e")
    assert caller.find(call) is None
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(lambda: caller.submit(ask(1), "e").result(10)).result().reused
    assert caller.send(call).result(10).reused
    assert len(script.seen) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_landings_never_deny_what_landed_after_the_mark(steps: list[tuple[bool, int]]) -> None:
    landings, landed, marks = Landings(), list[str](), list[tuple[int, int]]()
    for note, number in steps:
        if note:
            landings.note(f"{number}")
            landed.append(f"{number}")
        else:
            marks.append((landings.mark(), len(landed)))
        for mark, length in marks:
            for key in map(str, range(6)):
                assert landings.may_hold(key, mark) == (key in landed[length:])
    assert landings.may_hold("x", None), "nobody has looked"


def test_landings_forget_and_then_say_that_they_do_not_know() -> None:
    landings = Landings()
    mark = landings.mark()
    for number in range(20_000):
        landings.note(str(number))
    assert landings.may_hold("0", mark)
    assert landings.may_hold("never landed", mark)
    assert not landings.may_hold("never landed", landings.mark())


def test_the_collector_is_as_before_once_the_last_caller_has_closed(tmp_path: Path) -> None:
    before = gc.get_threshold()
    callers = [
        Caller({"default": spec_of()}, tmp_path / name, "run", connect=lambda spec: FunctionWire(Script(one_word)))
        for name in ("a", "b")
    ]
    assert gc.get_threshold()[0] > before[0]
    callers[0].close()
    callers[0].close()
    assert gc.get_threshold()[0] > before[0], "the other one still calls"
    callers[1].close()
    assert gc.get_threshold() == before


def one_word(seen: Seen) -> Sent:
    return said("word")
