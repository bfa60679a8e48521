"""Calls by the batch against the fake provider: what comes back, what is tried again, what it costs."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pipeline.errors import IncompleteError, ModelError
from pipeline.llm.accounts import account
from pipeline.llm.batch.book import Entry, read_book
from pipeline.llm.body import compose
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flight import Pauses
from pipeline.llm.ledger import Reader, ledger_facts
from pipeline.llm.models import ModelSpec
from pipeline.llm.purse import worst_case
from pipeline.llm.request import Reply, Request
from pipeline.record import Message
from tests.scripted import until

RULES = [{"reply": {"kind": "answer", "words": 20}}]
PRICE = {"default": {"input": 1.0, "output": 2.0, "batch_discount": 0.5}}
QUICK = Pauses(nobody=0.3, first=0.01, longest=0.05)


def spec_for(provider: FakeProvider, **settings: Any) -> ModelSpec:
    batch = {"poll": 0.02, **settings.pop("batch", {})}
    price = {"input": 1.0, "output": 2.0, "batch": 0.5}
    known: dict[str, Any] = {"role": "default", "model": "m", "base_url": provider.url, "endpoint_name": "fake"}
    return ModelSpec(**(known | {"mode": "batch", "price": price, "deadline": 5.0} | settings), batch=batch)


def request_of(text: object) -> Request:
    return Request(messages=(Message(role="user", content=f"Question {text}"),))


class Desk:
    """A provider, a ledger and the callers over it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.notes: list[str] = []
        self.open: Caller | None = None

    def provider(self, batch: Mapping[str, Any] | None = None, **script: Any) -> FakeProvider:
        script = {"rules": RULES, "price": PRICE, "batch": {"seconds": 0.0, **(batch or {})}} | script
        return self.stack.enter_context(FakeProvider(script))

    def caller(self, provider: FakeProvider, run: str = "run", **settings: Any) -> Caller:
        if self.open is not None:
            self.open.close()  # one writer at a time
        caller = self.open = Caller(
            {"default": spec_for(provider, **settings)},
            self.folder,
            run,
            notice=self.notes.append,
            pauses=QUICK,
        )
        self.stack.callback(caller.close)
        return caller

    def book(self, run: str = "run") -> list[Entry]:
        return read_book(self.folder, run)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(tmp_path, stack)


def asked(caller: Caller, count: int, window: int = 1000, first: int = 0) -> list[Reply]:
    return list(Client(caller, caller.specs, "e").ask((request_of(n) for n in range(first, first + count)), window))


def batched(provider: FakeProvider) -> dict[bool, int]:
    """Replies on the bill, by whether they came in a batch."""
    return {line["batch"]: line["replies"] for line in provider.bill()["lines"]}


def test_a_batch_brings_what_single_calls_bring_in_order_at_the_batch_price(desk: Desk, tmp_path: Path) -> None:
    provider = desk.provider({"seconds": 0.1})
    caller = desk.caller(provider)
    replies = asked(caller, 50)
    assert batched(provider) == {True: 50}
    assert len(desk.book()) == 1, "all that was waiting went into one batch"
    usage = caller.usage("e")
    assert usage.cost == pytest.approx(provider.bill()["usd"])
    assert (usage.calls, usage.sent, usage.retries, usage.unavailable) == (50, 50, 0, 0)
    with Caller({"default": spec_for(provider, mode="online")}, tmp_path / "online", "run") as online:
        single = asked(online, 50)
    assert replies == single, "the same replies under the same keys"
    assert ledger_facts(tmp_path) == {"calls": 50, "intents": 0, "lost": 0}
    requests = provider.bill()["requests"]
    assert [r.text for r in asked(caller, 50)] == [r.text for r in replies]
    assert all(r.reused for r in asked(caller, 50))
    assert provider.bill()["requests"] == requests


def test_the_ledger_holds_what_a_single_call_would_have_left(desk: Desk) -> None:
    provider = desk.provider()
    (reply,) = asked(desk.caller(provider), 1)
    call = Reader(desk.folder).read(reply.key)
    assert call is not None
    assert (call["role"], call["entry"], call["run"], call["outcome"], call["sends"]) == (
        "default",
        "e",
        "run",
        "ok",
        1,
    )
    assert call["reply"]["choices"][0]["message"]["content"] == reply.text
    assert call["cost"] == pytest.approx(provider.bill()["usd"])


def test_files_keep_to_the_limits_of_lines_and_bytes(desk: Desk) -> None:
    by_lines = desk.provider({"max_lines": 10})
    assert len(asked(desk.caller(by_lines, batch={"lines": 10}), 35)) == 35
    assert sorted(e.lines for e in desk.book()) == [5, 10, 10, 10]
    by_bytes = desk.provider({"max_bytes": 3000})
    assert len(asked(desk.caller(by_bytes, "other", batch={"bytes": 3000}, model="n"), 35)) == 35
    assert len(desk.book("other")) > 2
    assert batched(by_lines) == batched(by_bytes) == {True: 35}


def test_a_line_larger_than_any_file_is_asked_alone(desk: Desk) -> None:
    provider = desk.provider()
    caller = desk.caller(provider, batch={"bytes": 1000})
    big = Request(messages=(Message(role="user", content="x" * 2000),))
    replies = list(Client(caller, caller.specs, "e").ask([request_of(0), big], 10))
    assert [r.outcome for r in replies] == ["ok", "ok"]
    assert batched(provider) == {True: 1, False: 1}


def test_limits_that_only_the_server_knows_are_found(desk: Desk) -> None:
    provider = desk.provider({"max_lines": 9})
    assert len(asked(desk.caller(provider), 40)) == 40
    assert all(e.lines <= 9 for e in desk.book())
    assert provider.bill()["requests"] == 40


def test_a_server_that_takes_no_more_for_now_gets_one_batch_after_the_other(desk: Desk) -> None:
    provider = desk.provider({"max_enqueued_tokens": 120, "seconds": 0.05})
    replies = asked(desk.caller(provider, batch={"lines": 25}), 50)
    assert [r.outcome for r in replies] == ["ok"] * 50
    assert provider.bill()["requests"] == 50
    assert len(desk.book()) > 3


def test_a_line_that_can_never_be_enqueued_is_given_up(desk: Desk) -> None:
    provider = desk.provider({"max_enqueued_tokens": 1})
    (reply,) = asked(desk.caller(provider), 1)
    assert (reply.outcome, provider.bill()["requests"]) == ("unavailable", 0)


def test_expired_and_failed_lines_are_sent_again_alone(desk: Desk) -> None:
    faults = [
        {"kind": "status", "status": 500, "share": 0.2, "attempts": 1},
        {"kind": "empty_choices", "share": 0.1, "attempts": 1},
    ]
    provider = desk.provider({"expired_share": 0.2}, faults=faults)
    caller = desk.caller(provider, batch={"attempts": 20})
    replies = asked(caller, 100)
    assert {r.outcome for r in replies} == {"ok"}
    calls = provider.calls().values()
    assert all(call["finished"] - call["faults"].get("empty_choices", 0) == 1 for call in calls), "nothing paid twice"
    assert sum(e.lines for e in desk.book()) == caller.usage("e").sent > 100
    lost = sum(call["faults"].get("empty_choices", 0) for call in calls)
    assert ledger_facts(desk.folder)["lost"] == lost == caller.usage("e").maybe_paid > 0
    assert provider.bill()["usd"] >= (caller.usage("e").cost or 0)


def test_after_so_many_attempts_a_line_is_unavailable_and_a_second_run_asks_it_alone(desk: Desk) -> None:
    faults = [{"kind": "status", "status": 500, "share": 1, "attempts": 2, "when": {"text": "7$"}}]
    provider = desk.provider(faults=faults)
    caller = desk.caller(provider, batch={"attempts": 2})
    outcomes = {n: r.outcome for n, r in enumerate(asked(caller, 20))}
    assert {n for n, outcome in outcomes.items() if outcome == "unavailable"} == {7, 17}
    assert caller.usage("e").unavailable == 2
    caller.close()
    again = desk.caller(provider)
    assert {r.outcome for r in asked(again, 20)} == {"ok"}
    assert again.usage("e").sent == 2


def test_outcomes_of_the_input_are_final(desk: Desk) -> None:
    faults = [
        {"kind": "content_filter", "share": 1, "when": {"text": "1$"}},
        {"kind": "length", "share": 1, "when": {"text": "2$"}},
        {"kind": "status", "status": 400, "share": 1, "when": {"text": "3$"}},
    ]
    provider = desk.provider(faults=faults)
    caller = desk.caller(provider)
    assert [r.outcome for r in asked(caller, 5)] == ["ok", "content_filter", "length", "refused", "ok"]
    requests = provider.bill()["requests"]
    assert [r.outcome for r in asked(caller, 5)] == ["ok", "content_filter", "length", "refused", "ok"]
    assert provider.bill()["requests"] == requests


def test_what_follows_a_reply_comes_in_a_second_wave(desk: Desk) -> None:
    """Forty conversations of two turns in step are two batches, not forty."""
    provider = desk.provider({"seconds": 0.05})
    caller = desk.caller(provider)
    client = Client(caller, caller.specs, "e")
    first = [r.text for r in client.ask((request_of(n) for n in range(40)), 1000)]
    second = list(client.ask((request_of(text) for text in first), 1000))
    assert len(second) == 40
    assert [e.lines for e in desk.book()] == [40, len(set(first))]


def test_a_window_that_slides_makes_few_batches(desk: Desk) -> None:
    provider = desk.provider()
    assert len(asked(desk.caller(provider), 100, window=20)) == 100
    assert provider.bill()["requests"] == 100
    assert sum(e.lines for e in desk.book()) == 100
    assert len(desk.book()) <= 10, "whoever is handed replies brings more calls before anything is sent"


def test_auto_sends_bulk_by_batch_and_stragglers_online(desk: Desk) -> None:
    faults = [{"kind": "status", "status": 500, "share": 0.2, "attempts": 1}]
    provider = desk.provider({"expired_share": 0.1}, faults=faults)
    caller = desk.caller(provider, mode="auto", batch={"least": 30})
    assert {r.outcome for r in asked(caller, 60)} == {"ok"}
    assert [e.lines for e in desk.book()] == [60]
    shares = batched(provider)
    assert 0 < shares[False] < 30
    assert shares[True] + shares[False] == 60
    assert caller.usage("e").cost == pytest.approx(provider.bill()["usd"]), "stragglers cost the full price"
    assert {r.outcome for r in asked(caller, 29, first=100)} == {"ok"}
    assert len(desk.book()) == 1, "a small wave is asked online"


@pytest.mark.parametrize("mode", ["batch", "auto"])
def test_a_server_without_batches(desk: Desk, mode: str) -> None:
    provider = desk.provider({"absent": True})
    caller = desk.caller(provider, mode=mode, batch={"least": 5})
    if mode == "batch":
        with pytest.raises(ModelError, match="does not take batches") as caught:
            asked(caller, 20)
        assert "models.default.mode to online" in str(caught.value.hint)
        assert provider.bill()["requests"] == 0
    else:
        assert len(asked(caller, 20)) == 20
        assert batched(provider) == {False: 20}
        assert len(desk.notes) == 1
        assert "asked online" in desk.notes[0]
    assert desk.book() == []


def test_a_model_that_batches_do_not_have_is_told_in_the_servers_words(desk: Desk) -> None:
    provider = desk.provider({"reject": {"code": "unsupported_for_batch", "message": "Not in a batch.", "batches": 9}})
    with pytest.raises(ModelError, match=r"does not take batches of the model 'm'.*Not in a batch"):
        asked(desk.caller(provider), 3)
    assert len(asked(desk.caller(provider, "auto", mode="auto", batch={"least": 1}), 3)) == 3
    assert batched(provider) == {False: 3}


def test_a_line_that_spoils_its_file_is_asked_alone(desk: Desk) -> None:
    provider = desk.provider({"reject": {"code": "invalid_request", "message": "Bad line.", "line": 2}})
    assert {r.outcome for r in asked(desk.caller(provider), 5)} == {"ok"}
    assert batched(provider) == {False: 1, True: 4}


def test_a_wrong_key_stops_at_the_upload(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-wrong-key-1234")
    provider = desk.provider(valid_keys=["right"])
    with pytest.raises(ModelError, match="the key in SOME_KEY is refused") as caught:
        asked(desk.caller(provider, api_key_env="SOME_KEY"), 5)
    assert "sk-wrong" not in str(caught.value)
    assert desk.book() == []


def test_a_wrong_model_stops_and_what_others_got_is_kept(desk: Desk) -> None:
    provider = desk.provider(models=["other"])
    with pytest.raises(ModelError, match="there is no model 'm'"):
        asked(desk.caller(provider), 5)
    assert [e.state for e in desk.book()] == ["ended"]


def test_faults_of_uploading_creating_and_looking_are_outlasted(desk: Desk) -> None:
    faults = [
        {"kind": "status", "status": 503, "share": 1, "attempts": 2, "when": {"path": path}}
        for path in ("files", "batches")
    ]
    provider = desk.provider({"seconds": 0.1}, faults=faults)
    assert len(asked(desk.caller(provider), 30)) == 30
    assert provider.bill()["requests"] == 30


@pytest.mark.parametrize("after", [0, 0.5])
def test_a_lost_answer_to_creating_makes_no_second_batch(desk: Desk, after: float) -> None:
    lost = {"kind": "reset", "share": 1, "attempts": 1, "after": after}
    provider = desk.provider(faults=[lost | {"when": {"path": "batches", "text": "POST /v1/batches$"}}])
    assert len(asked(desk.caller(provider), 30)) == 30
    assert provider.bill()["requests"] == 30, "no line was answered twice"
    assert len(desk.book()) == 1


def test_a_server_that_goes_away_ends_in_time_and_a_later_run_goes_on(desk: Desk) -> None:
    faults = [{"kind": "status", "status": 503, "share": 1, "when": {"path": "batches", "text": "GET /v1/batches/"}}]
    broken = desk.provider({"seconds": 0.1}, faults=faults)
    port = broken.port
    caller = desk.caller(broken, deadline=0.3)
    assert {r.outcome for r in asked(caller, 10)} == {"unavailable"}
    assert [e.state for e in desk.book()] == ["created"]
    caller.close()
    assert "10 calls in 1 batch" in desk.notes[-1]
    assert broken.port == port


def test_a_batch_that_is_cancelled_keeps_what_is_done_and_the_rest_waits_for_a_second_run(desk: Desk) -> None:
    provider = desk.provider({"seconds": 1.0})
    caller = desk.caller(provider)
    replies: list[Reply] = []
    thread = threading.Thread(target=lambda: replies.extend(asked(caller, 200)))
    thread.start()
    until(lambda: any(e.done > 20 for e in desk.book()))
    (entry,) = desk.book()
    server_of(entry).cancel(str(entry.id))
    thread.join(20)
    outcomes = [r.outcome for r in replies]
    assert set(outcomes) == {"ok", "unavailable"}
    assert outcomes.count("ok") == provider.bill()["finished"] == ledger_facts(desk.folder)["calls"]
    caller.close()
    again = desk.caller(provider)
    assert {r.outcome for r in asked(again, 200)} == {"ok"}
    assert provider.bill()["requests"] == 200, "only the rest was asked again"


def server_of(entry: Entry) -> Any:
    from pipeline.llm.batch.server import BatchServer
    from pipeline.llm.batch.terms import terms_of

    return BatchServer(entry.spec(), terms_of(entry.spec()))


def test_leaving_does_not_wait_for_a_batch_and_the_next_run_collects_it(desk: Desk) -> None:
    provider = desk.provider({"seconds": 3.0})
    caller = desk.caller(provider)
    asking = cast(Any, Client(caller, caller.specs, "e").ask((request_of(n) for n in range(30)), 100))
    thread = threading.Thread(target=lambda: halt_when_begun(caller, desk))
    thread.start()
    with closing(asking), pytest.raises(IncompleteError, match="stopped"):
        next(asking)
    thread.join()
    caller.close()
    assert [e.state for e in desk.book()] == ["created"]
    assert "'seedmill batches run' shows them" in desk.notes[-1]
    online = desk.caller(provider, mode="online")
    until(lambda: "are waited for" in desk.notes[-1])
    assert {r.outcome for r in asked(online, 30)} == {"ok"}, "whatever the mode is now, nothing is paid twice"
    assert batched(provider) == {True: 30}
    assert provider.bill()["requests"] == 30


def asked_until_halted(caller: Caller, count: int) -> None:
    with pytest.raises(IncompleteError):
        asked(caller, count)


def halt_when_begun(caller: Caller, desk: Desk) -> None:
    until(lambda: any(e.state == "created" for e in desk.book()))
    caller.halt(IncompleteError("stopped", "go on"))


def test_a_batch_whose_calls_nobody_wants_any_more_is_stored_all_the_same(desk: Desk) -> None:
    provider = desk.provider({"seconds": 1.0})
    caller = desk.caller(provider)
    thread = threading.Thread(target=asked_until_halted, args=(caller, 30))
    thread.start()
    halt_when_begun(caller, desk)
    thread.join()
    caller.close()
    idle = desk.caller(provider)
    until(lambda: ledger_facts(desk.folder)["calls"] == 30)
    assert idle.usage().new_completion_tokens > 0
    until(lambda: [e.state for e in desk.book()] == ["ended"])


def test_a_batch_the_server_forgot_is_not_paid_twice_in_silence(desk: Desk) -> None:
    provider = desk.provider({"seconds": 1.0})
    caller = desk.caller(provider)
    thread = threading.Thread(target=asked_until_halted, args=(caller, 3))
    thread.start()
    halt_when_begun(caller, desk)
    thread.join()
    port = provider.port
    caller.close()
    desk.stack.close()
    with FakeProvider({"rules": RULES}, port=port) as other:
        again = Caller({"default": spec_for(other)}, desk.folder, "run", notice=desk.notes.append, pauses=QUICK)
        with again, pytest.raises(ModelError, match="there is no batch batch_") as caught:
            asked(again, 3)
        assert "--cancel" in str(caught.value.hint)
        assert other.bill()["requests"] == 0


def test_what_is_under_way_can_be_seen(desk: Desk) -> None:
    provider = desk.provider({"seconds": 1.0})
    caller = desk.caller(provider)
    assert caller.batches() is None
    thread = threading.Thread(target=lambda: asked(caller, 40))
    thread.start()
    until(lambda: any(batch["done"] for batch in (caller.batches() or {}).get("batches", ())))
    (shown,) = (caller.batches() or {})["batches"]
    assert (shown["lines"], shown["state"], shown["role"]) == (40, "in_progress", "default")
    assert 0 < shown["done"] < 40
    assert abs(shown["since"] - time.time()) < 60
    thread.join()
    until(lambda: caller.batches() is None)


def test_files_are_deleted_once_all_is_in_the_ledger(desk: Desk) -> None:
    import openai

    provider = desk.provider({"expired_share": 0.3})
    caller = desk.caller(provider, batch={"attempts": 9})
    asked(caller, 40)
    client = openai.OpenAI(base_url=provider.url, api_key="k", max_retries=0)
    until(lambda: not list(client.files.list()))


def test_a_batch_we_cannot_follow_is_not_asked_again_in_the_same_run(desk: Desk) -> None:
    faults = [{"kind": "status", "status": 503, "share": 1, "when": {"path": "batches", "text": "GET /v1/batches/"}}]
    provider = desk.provider(faults=faults)
    caller = desk.caller(provider, deadline=0.3)
    for _ in range(2):
        assert {r.outcome for r in asked(caller, 10)} == {"unavailable"}
    assert provider.bill()["requests"] == 10
    assert len(desk.book()) == 1


@pytest.mark.parametrize(("calls", "files"), [(0.4, None), (14.5, [14, 14, 2]), (40, [30])])
def test_no_more_is_sent_than_there_is_money_for(desk: Desk, calls: float, files: list[int] | None) -> None:
    """The budget is for so many calls at their worst in a batch; a real reply costs less than a hundredth."""
    provider = desk.provider()
    requests = [replace(request_of(n), params={"max_tokens": 50_000}) for n in range(30)]
    caller = desk.caller(provider)
    spec = caller.specs["default"]
    worst = (worst_case(compose(spec, requests[0], "e"), spec.price) or 0.0) / 2
    caller.spend_at_most(calls * worst)
    asking = Client(caller, caller.specs, "e").ask(requests, 1000)
    if files is None:
        with pytest.raises(IncompleteError, match="is used up"):
            list(asking)
        assert provider.bill()["requests"] == 0
        return
    assert {r.outcome for r in asking} == {"ok"}, "what a batch gives back pays for the next one"
    assert [e.lines for e in desk.book()] == files
    until(lambda: caller.money()["reserved"] == 0.0)
    assert caller.money()["spent"] == pytest.approx(provider.bill()["usd"])


def test_what_is_under_way_is_paid_for_by_the_next_run_too(desk: Desk) -> None:
    provider = desk.provider({"seconds": 2.0})
    caller = desk.caller(provider, max_tokens=1000)
    thread = threading.Thread(target=asked_until_halted, args=(caller, 10))
    thread.start()
    halt_when_begun(caller, desk)
    thread.join()
    reserved = caller.money()["reserved"]
    again = desk.caller(provider, max_tokens=1000)
    again.spend_at_most(100.0)
    assert again.money()["reserved"] == reserved != 0.0
    assert {r.outcome for r in asked(again, 10)} == {"ok"}
    until(lambda: again.money()["reserved"] == 0.0)
    assert again.money()["spent"] == pytest.approx(provider.bill()["usd"])


def test_a_lost_reply_stays_charged_at_its_worst_at_the_price_of_a_batch(desk: Desk) -> None:
    provider = desk.provider(faults=[{"kind": "empty_choices", "share": 1, "attempts": 1}])
    caller = desk.caller(provider)
    request = replace(request_of(1), params={"max_tokens": 100})
    spec = caller.specs["default"]
    worst = worst_case(compose(spec, request, "e"), spec.price) or 0.0
    assert [r.outcome for r in Client(caller, caller.specs, "e").ask([request], 1)] == ["ok"]
    assert caller.money()["unresolved"] == pytest.approx(worst / 2, abs=1e-8)
    caller.close()
    account_ = account(desk.folder, "run")
    assert (account_.unbounded, account_.unresolved) == (0, pytest.approx(worst / 2))
    assert account_.finished <= provider.bill()["usd"] <= account_.finished + account_.unresolved
