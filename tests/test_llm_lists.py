"""Embeddings and moderations behind the same seam: keys, bodies, what is read of replies, money, and real calls."""

import base64
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ModelError, UsageError
from pipeline.llm.accounts import Account
from pipeline.llm.batch.lines import Line, results
from pipeline.llm.batched import batches
from pipeline.llm.body import Call, compose, token_bound, wire_body
from pipeline.llm.broken import Broken
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.faults import Again, Answer, judge
from pipeline.llm.flight import Pauses
from pipeline.llm.ledger import Reader
from pipeline.llm.ledger_tools import stored
from pipeline.llm.lists import compact, read_moderations, read_vectors, shortened
from pipeline.llm.models import ModelSpec
from pipeline.llm.prices import published
from pipeline.llm.purse import Purse, bound_of, worst_case
from pipeline.llm.reading import Reading, read_reply
from pipeline.llm.request import Reply, Request
from pipeline.llm.servers import completed_url
from pipeline.report.calls import call_text, said
from tests.scripted import spec_of

TEXTS = ("Name a colour.", "写一首诗。", "Name a colour!")
EMBED = Request(embed=TEXTS, params={"dimensions": 64})
MODERATE = Request(moderate=TEXTS[:2])


def call_of(request: Request, **settings: Any) -> Call:
    return compose(spec_of(**settings), request, "e")


def body_of(request: Request, **settings: Any) -> tuple[str, dict[str, Any]]:
    spec = spec_of(**settings)
    path, data = wire_body(spec, compose(spec, request, "e"))
    return path, json.loads(data)


def vector_body(*vectors: Any, **fields: Any) -> str:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    return json.dumps({"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 7}} | fields)


def packed(*numbers: float) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def test_known_calls_have_known_keys() -> None:
    """Golden, as for chat calls: whoever changes this makes users pay again."""
    call = call_of(EMBED, max_tokens=99)
    assert call.document == (
        '{"endpoint":"http://model.test/v1","input":["Name a colour.","写一首诗。","Name a colour!"],'
        '"kind":"embeddings","model":"m","params":{"dimensions":64},"sample":0}'
    )
    assert call.key == "420d7104eb5960a9068656821e2142518bfaa7287537ad2511443d55f511573b"
    assert call_of(MODERATE).document == (
        '{"endpoint":"http://model.test/v1","input":["Name a colour.","写一首诗。"],"kind":"moderations","model":"m",'
        '"params":{},"sample":0}'
    )


def test_the_server_decides_the_form_and_not_the_key() -> None:
    plain, coded = body_of(EMBED), body_of(EMBED, server="OpenAI")
    assert plain == ("/embeddings", {"model": "m", "input": list(TEXTS), "dimensions": 64})
    assert coded == ("/embeddings", plain[1] | {"encoding_format": "base64"})
    assert call_of(EMBED).key == call_of(EMBED, server="OpenAI").key
    assert body_of(MODERATE, server="OpenAI") == ("/moderations", {"model": "m", "input": list(TEXTS[:2])})
    for value, there in (("float", True), (None, False)):
        _, body = body_of(EMBED, server="OpenAI", extra_body={"encoding_format": value})
        assert ("encoding_format" in body) is there
        assert body.get("encoding_format") == value


def test_vectors_come_in_either_form_and_are_the_same() -> None:
    first, second = (0.25, -1.5, 3e-9), (1.0, 0.0, 0.0)
    lists = read_reply(vector_body(first, second))
    coded = read_reply(vector_body(*(base64.b64encode(packed(*v)).decode() for v in (first, second))))
    assert lists.vectors == coded.vectors == (packed(*first), packed(*second))
    assert (lists.text, lists.outcome, lists.prompt_tokens, lists.completion_tokens) == ("", "ok", 7, 0)
    shuffled = json.loads(vector_body(first, second))
    shuffled["data"].reverse()
    assert read_reply(json.dumps(shuffled)).vectors == lists.vectors
    assert read_reply(vector_body(first, usage={"total_tokens": 5})).prompt_tokens == 5


def test_what_is_stored_is_small_and_reads_the_same() -> None:
    numbers = [[math.sin(i * k + 1) for i in range(256)] for k in range(3)]
    body = vector_body(*numbers, [math.nan] * 256)
    small = compact(body)
    assert read_reply(small) == read_reply(body)
    assert len(small) < len(body) / 3
    assert compact(small) == small
    assert len(shortened(small)) < 600
    assert shortened("{broken") == "{broken"


@pytest.mark.parametrize(
    "numbers", [[math.nan, 1.0], [math.inf, 1.0], [1e39, 1.0], [None, 1.0], [0.0, 0.0], [10**400, 1]]
)
def test_a_vector_that_points_nowhere_is_none(numbers: list[Any]) -> None:
    assert read_vectors([{"embedding": [1.0, 2.0]}, {"embedding": numbers}]) == (packed(1.0, 2.0), b"")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (vector_body([1.0], [1.0], [1.0, 2.0]), "vectors of 1 and 2 numbers"),
        (vector_body([], [], []), "vectors of 0 numbers"),
        (vector_body([1.0], [1.0]), "2 results for 3 texts"),
        (vector_body([1.0], [1.0], "AAA"), "a vector that is not base64"),
        (vector_body([1.0], [1.0], "AAAA"), "half a vector"),
        (vector_body([1.0], [1.0], ["1"]), "a body without vectors"),
        (vector_body([1.0], [1.0], None), "a body without vectors"),
        (vector_body([1.0], [1.0], [True]), "a body without vectors"),
        (json.dumps({"data": ["x", "y", "z"]}), "a body without vectors"),
        (json.dumps({"choices": [{"message": {"content": "hi"}}]}), "a body without what was asked for (embeddings)"),
        (json.dumps({"results": [{"categories": {}}] * 3}), None),
        (vector_body([1.0], [1.0], [1.0])[:-9], "a body that is not JSON"),
        (json.dumps({"error": "busy"}), "a body without choices"),
        ("[]", "a body without choices"),
    ],
)  # fmt: skip
def test_a_reply_of_the_wrong_shape_is_asked_for_again(body: str, why: str | None) -> None:
    verdict = judge(spec_of(), Answer(status=200, headers={}, body=body), call_of(EMBED))
    assert isinstance(verdict, Again)
    assert verdict.paid
    assert why is None or verdict.why == why


def test_a_chat_call_takes_no_vectors() -> None:
    verdict = judge(spec_of(), Answer(status=200, headers={}, body=vector_body([1.0])), call_of(Request(prompt="q")))
    assert isinstance(verdict, Again)


def test_moderations_are_read_with_and_without_scores() -> None:
    found = read_moderations(
        [
            {
                "flagged": True,
                "categories": {"hate": True, "sexual": False},
                "category_scores": {"hate": 0.9, "sexual": 0},
            },
            {"categories": {"hate": None, "sexual": True}},
            {"flagged": False, "categories": {}, "category_scores": {"hate": None}},
        ]
    )
    assert [m.flagged for m in found] == [True, True, False]
    assert found[0].scores == {"hate": 0.9, "sexual": 0.0}
    assert found[1].categories == {"hate": False, "sexual": True}
    assert found[2].scores == {}
    for bad in ("x", {}, {"categories": {"a": "yes"}}, {"categories": {}, "category_scores": {"a": math.nan}}):
        with pytest.raises(Broken):
            read_moderations([bad])


def test_money_counts_input_alone() -> None:
    price = {"input": 0.02, "output": 5.0}
    bound = bound_of(call_of(EMBED))
    assert bound.output == 0
    assert bound.input >= sum(len(text.encode()) for text in TEXTS)
    assert worst_case(call_of(EMBED), price) == pytest.approx(bound.input * 0.02 / 1e6)
    assert token_bound(call_of(EMBED)) < bound.input
    free = published("https://api.openai.com/v1", "omni-moderation-latest")
    assert free is not None
    assert worst_case(call_of(MODERATE), free.price) == 0.0
    assert published("http://127.0.0.1:8000/v1", "omni-moderation-latest") is None
    purse = Purse()
    purse.open(1.0, Account(run="r"))
    with pytest.raises(UsageError, match="price of 'm'"):
        purse.quote(call_of(MODERATE), spec_of(base_url="http://127.0.0.1:8000/v1"))


@given(st.lists(st.text(max_size=12), max_size=60), st.integers(1, 9), st.integers(1, 40))
def test_batches_hold_every_text_once_and_in_order(texts: list[str], most: int, characters: int) -> None:
    found = list(batches(texts, most, characters))
    assert [text for batch in found for text in batch] == texts
    assert all(0 < len(batch) <= most for batch in found)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= characters for batch in found)


def test_a_row_more_changes_the_calls_near_it_only() -> None:
    texts = [f"task number {i}" for i in range(2000)]
    before = {tuple(batch) for batch in batches(texts, 32)}
    after = {tuple(batch) for batch in batches(["new", *texts[:900], "newer", *texts[900:]], 32)}
    assert len(before) < 2000 / 10
    assert len(before - after) <= 8


def test_a_batch_file_carries_both_kinds() -> None:
    spec = spec_of()
    lines = {name: Line(Call(name, call.document, "default", "e"), b"") for name, call in
             (("v", call_of(EMBED)), ("m", call_of(MODERATE)), ("few", call_of(EMBED)))}  # fmt: skip
    bodies = {"v": json.loads(vector_body([1.0], [2.0], [3.0])), "m": {"results": [{"categories": {"a": True}}] * 2}}
    bodies["few"] = json.loads(vector_body([1.0]))
    content = "\n".join(
        json.dumps({"custom_id": key, "response": {"status_code": 200, "body": body}}) for key, body in bodies.items()
    )
    found = {result.key: result for result in results(spec, content, lines)}
    assert isinstance(found["v"].verdict, Reading)
    assert read_reply(found["v"].body) == found["v"].verdict
    assert "[1.0]" not in found["v"].body
    assert isinstance(found["m"].verdict, Reading)
    assert isinstance(found["few"].verdict, Again)


SCRIPT = {
    "moderation": [{"category": "violence", "text": "attack"}],
    "price": {"default": {"input": 0.02, "output": 0}},
    "keep_bodies": True,
}


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(SCRIPT) as one:
        yield one


def asked(spec: ModelSpec, ledger: Path, *requests: Request) -> tuple[list[Reply], float | None]:
    with Caller({"default": spec}, ledger, "run", pauses=Pauses(nobody=0.5, first=0.01, longest=0.05)) as caller:
        replies = list(Client(caller, caller.specs, "e").ask(requests, 8))
        return replies, caller.usage().cost


@pytest.mark.parametrize("transport", ["thin", "sdk"])
@pytest.mark.parametrize("server", [None, "OpenAI"])
def test_over_the_wire_into_the_ledger_and_back(
    provider: FakeProvider, tmp_path: Path, transport: Any, server: str | None
) -> None:
    provider.reset()
    price = {"input": 0.02, "output": 0.0}
    spec = ModelSpec(role="default", model="m", base_url=provider.url, transport=transport, server=server, price=price)
    moderate = Request(moderate=("a plan of attack", "a plan of a garden"))
    replies, cost = asked(spec, tmp_path, EMBED, moderate)
    assert [len(vector) for vector in replies[0].vectors] == [256, 256, 256]
    assert [m.flagged for m in replies[1].moderations] == [True, False]
    assert replies[0].prompt_tokens == provider.bill()["prompt_tokens"] > 0
    assert cost is None, "a price for tokens says nothing of a server that does not count them"
    again, paid = asked(spec, tmp_path, EMBED, moderate)
    assert [reply.reused for reply in again] == [True, True]
    assert again[0].vectors == replies[0].vectors
    assert again[1].moderations == replies[1].moderations
    assert paid == 0.0
    assert provider.bill()["requests"] == 2
    (sent,) = (c["body"] for c in provider.calls().values() if c["path"] == "embeddings")
    assert ("encoding_format" in sent) is (server == "OpenAI")
    held = Reader(tmp_path).read(replies[0].key)
    assert held is not None
    assert all(isinstance(item["embedding"], str) for item in held["reply"]["data"])


def test_a_budget_is_kept_to_the_bill(provider: FakeProvider, tmp_path: Path) -> None:
    provider.reset()
    spec = ModelSpec(role="default", model="m", base_url=provider.url, price={"input": 0.02, "output": 0.0})
    _, cost = asked(spec, tmp_path, *(Request(embed=(f"text {i}", "other")) for i in range(20)))
    assert cost == pytest.approx(provider.bill()["usd"])


def test_people_can_read_stored_calls(provider: FakeProvider, tmp_path: Path) -> None:
    spec = ModelSpec(role="default", model="m", base_url=provider.url)
    replies, _ = asked(spec, tmp_path, EMBED, Request(moderate=("the attack",)))
    texts = [call_text(call) for reply in replies if (call := stored(tmp_path, reply.key)) is not None]
    assert "[text 2]\n写一首诗。" in texts[0]
    assert "[text 3] a vector, 64 numbers" in texts[0]
    assert len(texts[0]) < 2000
    assert "[text 1] violence flagged; highest scores: violence 0.9500" in texts[1]
    assert list(said('{"data": [{"embedding": "A"}]}')) == ["(nothing that could be read)"]


def test_half_replies_and_errors_end_as_for_other_kinds(tmp_path: Path) -> None:
    faults = [{"kind": "truncated_json", "share": 1.0, "attempts": 1}]
    with FakeProvider({"faults": faults}) as one:
        spec = ModelSpec(role="default", model="m", base_url=one.url)
        replies, _ = asked(spec, tmp_path, EMBED)
        assert replies[0].outcome == "ok"
        assert one.bill()["requests"] == 2
    refused = judge(spec, Answer(status=400, headers={}, body='{"error": {"message": "too long"}}'), call_of(EMBED))
    assert isinstance(refused, Reading)
    assert (refused.outcome, refused.text, refused.vectors) == ("refused", "too long", ())


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_that_has_no_such_endpoint_is_told_of(status: int) -> None:
    answer = Answer(status=status, headers={}, body='{"error": {"message": "This server does not support embeddings"}}')
    error = judge(spec_of(), answer, call_of(EMBED))
    assert isinstance(error, ModelError)
    assert "there are no embeddings of the model 'm'" in str(error)
    assert "not all have /embeddings" in str(error.hint)
    assert not isinstance(
        judge(spec_of(), Answer(status=501, headers={}, body=""), call_of(Request(prompt="q"))), Reading
    )


def test_a_text_that_is_too_long_is_refused_whatever_the_status() -> None:
    body = '{"error": {"message": "input is too large to process. increase the physical batch size"}}'
    verdict = judge(spec_of(), Answer(status=500, headers={}, body=body), call_of(EMBED))
    assert isinstance(verdict, Reading)
    assert verdict.outcome == "refused"
    for call, said_so in ((call_of(Request(prompt="q")), body), (call_of(EMBED), '{"error": {"message": "oops"}}')):
        assert isinstance(judge(spec_of(), Answer(status=500, headers={}, body=said_so), call), Again)


def test_a_pasted_endpoint_is_the_base_url() -> None:
    for end in ("embeddings", "moderations", "chat/completions", "completions"):
        assert completed_url(f"http://gpu:8000/v1/{end}", "x") == "http://gpu:8000/v1"
