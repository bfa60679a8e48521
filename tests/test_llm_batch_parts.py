"""The parts of batches: terms, lines, trays, the book, and what becomes of lines that brought nothing."""

import itertools
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ModelError, SeedmillError
from pipeline.llm.accounts import Account
from pipeline.llm.batch.book import FILE, Book, entry_of, read_book
from pipeline.llm.batch.funds import Funds
from pipeline.llm.batch.lines import Line, line_of, results
from pipeline.llm.batch.terms import Terms, batch_cost, batch_factor, terms_of
from pipeline.llm.batch.tray import Tray
from pipeline.llm.body import Call, compose, wire_body
from pipeline.llm.faults import Again
from pipeline.llm.models import MODELS_SCHEMA
from pipeline.llm.purse import Purse, worst_case
from pipeline.llm.reading import Reading
from pipeline.llm.request import Request
from pipeline.record import Message
from tests.scripted import spec_of

SPEC = spec_of()


def call_of(text: str = "q", **settings: Any) -> Call:
    return compose(SPEC, Request(messages=(Message(role="user", content=text),), **settings), "e")


def result(key: str, status: int | None = 200, body: Any = None, error: Any = None) -> bytes:
    response = None if status is None else {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "x", "custom_id": key, "response": response, "error": error}).encode() + b"\n"


def said(text: str, **choice: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"message": {"role": "assistant", "content": text}, **choice}], "usage": {}}


def test_terms_come_from_the_server_and_the_recipe_has_the_last_word() -> None:
    assert terms_of(spec_of(base_url="https://api.openai.com/v1")).bytes == 200_000_000
    zhipu = terms_of(spec_of(base_url="https://open.bigmodel.cn/api/paas/v4"))
    assert (zhipu.lines, zhipu.url("chat")) == (50_000, "/v4/chat/completions")
    own = terms_of(spec_of(base_url="https://api.openai.com/v1", batch={"lines": 7, "completion_window": "7d"}))
    assert (own.lines, own.bytes, own.completion_window) == (7, 200_000_000, "7d")


@pytest.mark.parametrize(
    ("price", "cost"),
    [(None, None), ({"input": 1.0, "output": 2.0}, 5e-6), ({"input": 1.0, "output": 2.0, "batch": 0.5}, 2.5e-6)],
)
def test_a_reply_in_a_batch_costs_the_batchs_share(price: dict[str, float] | None, cost: float | None) -> None:
    reading = Reading(text="", prompt_tokens=1, completion_tokens=2)
    assert batch_cost(reading, price) == (None if cost is None else pytest.approx(cost))
    assert batch_factor({}) == 1.0


def test_the_mode_is_in_no_key_and_no_fingerprint() -> None:
    batch = spec_of(mode="batch", batch={"lines": 3})
    request = Request(prompt="q")
    assert compose(batch, request, "e") == compose(SPEC, request, "e")
    assert batch.identity == SPEC.identity


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"mode": "batches"}, "batches"), ({"batch": {"size": 3}}, "size"), ({"batch": {"completion_window": 24}}, "24")],
)
def test_mistakes_in_a_recipe_are_seen(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(jsonschema.ValidationError, match=complaint):
        jsonschema.validate({"default": settings}, MODELS_SCHEMA)


@given(text=st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_a_line_carries_the_body_of_a_single_call_on_one_line(text: str) -> None:
    call = call_of(text)
    data = line_of(SPEC, Terms(), call).data
    assert data.endswith(b"\n")
    assert len(data.decode().splitlines()) == 1, "no line break that any reader knows"
    line = json.loads(data)
    assert line == {
        "custom_id": call.key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": json.loads(wire_body(SPEC, call)[1]),
    }


def test_results_are_judged_as_single_calls_are() -> None:
    content = b"".join(
        [
            result("ok", 200, said("yes 😀 \ud800")),
            result("cut", 200, said("y", finish_reason="length")),
            result("bad", 400, {"error": {"message": "too long"}}),
            result("busy", 503, {"error": {"message": "later"}}),
            result("key", 401, {"error": {"message": "no"}}),
            result("half", 200, {"choices": []}),
            result("old", None, None, {"code": "batch_expired", "message": "m"}),
            b"\n",
            b"{broken\n",
            b"[1]\n",
            b'{"custom_id": 5}\n',
            result("nobody's", 200, said("y")),
        ]
    )
    names = ("ok", "cut", "bad", "busy", "key", "half", "old")
    asked = {name: Line(replace(call_of(), key=name), b"") for name in names}
    found = {r.key: r for r in results(SPEC, content.decode(), asked)}
    assert set(found) == {"ok", "cut", "bad", "busy", "key", "half", "old"}
    outcomes = {key: r.verdict.outcome for key, r in found.items() if isinstance(r.verdict, Reading)}
    assert outcomes == {"ok": "ok", "cut": "length", "bad": "refused"}
    assert isinstance(found["ok"].verdict, Reading)
    assert found["ok"].verdict.text.startswith("yes 😀")
    found["ok"].body.encode()
    again = {key: (r.verdict.why, r.verdict.paid) for key, r in found.items() if isinstance(r.verdict, Again)}
    assert again == {
        "busy": ("HTTP 503", False),
        "half": ("a body without choices", True),
        "old": ("batch_expired", False),
    }
    assert isinstance(found["key"].verdict, ModelError)


@given(
    sizes=st.lists(st.integers(1, 50), max_size=60), lines=st.integers(1, 20), most=st.integers(50, 200), data=st.data()
)
@settings(max_examples=60, deadline=None)
def test_files_keep_to_both_limits_and_lose_no_line(
    sizes: list[int], lines: int, most: int, data: st.DataObject
) -> None:
    tray = Tray(SPEC, Terms(lines=lines, bytes=most), "/v1/chat/completions")
    every = [Line(Call(f"{n:04}", "", "default", "e"), b"x" * size) for n, size in enumerate(sizes)]
    for line in every:
        tray.add(line)
    dropped = data.draw(st.sets(st.sampled_from([line.call.key for line in every]))) if every else set()
    for key in dropped:
        assert tray.drop(key)
        assert not tray.drop(key)
    files = []
    while len(tray):
        files.append(tray.cut())
    assert [line.call.key for file in files for line in file] == [
        line.call.key for line in every if line.call.key not in dropped
    ]
    assert all(len(file) <= lines and sum(len(line.data) for line in file) <= most for file in files)
    for file, following in itertools.pairwise(files):
        room = most - sum(len(line.data) for line in file)
        assert len(file) == lines or len(following[0].data) > room, "no file is cut short without need"


def planned(book: Book, token: str = "t1", count: int = 3) -> list[Line]:
    lines = [line_of(SPEC, Terms(), call_of(f"{token} {n}"), attempt=2) for n in range(count)]
    book.plan(entry_of(token, "run", SPEC, "/v1/chat/completions"), lines)
    return lines


def test_the_book_knows_a_batch_and_its_lines_until_it_ends(tmp_path: Path) -> None:
    book = Book(tmp_path, "run")
    lines = planned(book)
    planned(book, "t2")
    book.note("t1", state="created", id="batch_1", done=1)
    book.close()
    book = Book(tmp_path, "run")
    first, second = book.open_entries()
    assert (first.id, first.state, first.lines, first.done) == ("batch_1", "created", 3, 1)
    assert second.state == "planned"
    assert {(x.call, x.attempt) for x in book.lines("t1")} == {(x.call, 2) for x in lines}
    book.end("t1", "completed")
    book.forget("t2")
    assert book.open_entries() == []
    assert book.lines("t1") == []
    book.close()
    (told,) = read_book(tmp_path, "run")
    assert (told.state, told.said) == ("ended", "completed")
    assert read_book(tmp_path, "other") == []


def test_a_book_is_for_one_model_of_one_server(tmp_path: Path) -> None:
    entry = entry_of("t", "run", spec_of(base_url="http://a:80/v1/"), "/v1/chat/completions")
    assert entry.asks(spec_of(base_url="http://A/v1"))
    assert not entry.asks(spec_of(base_url="http://b/v1"))
    assert not entry.asks(spec_of(base_url="http://a/v1", model="other"))


def test_no_secret_is_in_the_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    spec = spec_of(api_key_env="MY_KEY", extra_headers={"X-A": "$MY_KEY", "X-B": "sk-literal"})
    book = Book(tmp_path, "run")
    book.plan(entry_of("t", "run", spec, "/v1/chat/completions"), [])
    book.close()
    (entry,) = read_book(tmp_path, "run")
    assert entry.spec().api_key() == "sk-very-secret"
    assert entry.spec().headers() == {"X-A": "sk-very-secret"}
    for path in tmp_path.iterdir():
        assert b"sk-" not in path.read_bytes()


def test_one_writer_at_a_time_and_no_book_of_the_future(tmp_path: Path) -> None:
    book = Book(tmp_path, "first")
    with pytest.raises(SeedmillError, match="in use by run 'first'"):
        Book(tmp_path, "second", patience=0.0)
    book.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version=99")
    for opened in (lambda: Book(tmp_path, "r"), lambda: read_book(tmp_path, "r")):
        with pytest.raises(SeedmillError, match="newer version"):
            opened()


def test_a_damaged_book_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"nothing that SQLite wrote, and long enough to be looked at" * 20)
    with pytest.raises(SeedmillError, match=r"damaged|cannot"):
        Book(tmp_path, "r")
    with pytest.raises(SeedmillError, match="cannot be read"):
        read_book(tmp_path, "r")


class Failures:
    """Notes what fails."""

    def __init__(self) -> None:
        self.failed: list[str] = []

    def fail(self, keys: Any, error: BaseException) -> None:
        self.failed += keys


def test_lines_without_money_wait_for_what_is_under_way_or_fail() -> None:
    spec = spec_of(price={"input": 1.0, "output": 1.0, "batch": 0.5})
    lines = [Line(call_of(str(n), params={"max_tokens": 100}), b"x") for n in range(5)]
    worst = [worst_case(line.call, spec.price) or 0.0 for line in lines]
    tray, landing = Tray(spec, Terms(), "u"), Failures()

    def afforded(budget: float, some: list[Line], *, waiting: bool) -> list[Line]:
        purse = Purse()
        purse.open(budget, Account())
        return Funds(purse).afford(tray, some, landing, waiting=waiting)  # type: ignore[arg-type]

    got = afforded(worst[0] * 1.2, lines, waiting=False)
    assert [line.call for line in got] == [line.call for line in lines[:2]]
    assert [line.reserved for line in got] == [pytest.approx(amount / 2) for amount in worst[:2]], "the batch's price"
    assert (len(tray), tray.broke, landing.failed) == (3, True, [])
    assert afforded(worst[0] * 0.1, lines[:1], waiting=True) == []
    assert landing.failed == []
    assert afforded(worst[0] * 0.1, lines[:1], waiting=False) == []
    assert landing.failed == [lines[0].call.key]
