"""Files and batches of the fake provider, driven by the official SDK."""

import io
import json
import time
from typing import Any

import openai
import pytest

from pipeline.llm.fake.provider import FakeProvider

RULES = [{"reply": {"kind": "answer", "words": 40}}]
PRICE = {"default": {"input": 1.0, "output": 2.0, "batch_discount": 0.5}}


def sdk(provider: FakeProvider) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.url, api_key="k", max_retries=0, timeout=10)


def body(i: int, model: str = "m") -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": f"Question {i}"}]}


def line(i: int, **changes: Any) -> dict[str, Any]:
    return {"custom_id": f"row-{i}", "method": "POST", "url": "/v1/chat/completions", "body": body(i), **changes}


def upload(client: openai.OpenAI, lines: list[Any]) -> str:
    content = "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in lines)
    return client.files.create(file=("in.jsonl", io.BytesIO(content.encode())), purpose="batch").id


def submit(client: openai.OpenAI, lines: list[Any]) -> Any:
    return client.batches.create(
        input_file_id=upload(client, lines),
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "demo"},
    )


def look(client: openai.OpenAI, id: str) -> Any:
    return client.batches.retrieve(id)


def ended(client: openai.OpenAI, id: str) -> Any:
    deadline = time.monotonic() + 10
    while (batch := look(client, id)).status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < deadline, batch.status
        time.sleep(0.01)
    return batch


def results(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    assert file is not None
    lines = [json.loads(text) for text in client.files.content(file).text.splitlines()]
    return {item["custom_id"]: item for item in lines}


def test_a_batch_gives_what_single_calls_give_at_the_batch_price() -> None:
    with FakeProvider({"rules": RULES, "price": PRICE, "batch": {"seconds": 0.1}}) as provider:
        client = sdk(provider)
        created = submit(client, [line(i) for i in range(20)])
        assert (created.status, created.endpoint, created.metadata) == (
            "validating",
            "/v1/chat/completions",
            {"run": "demo"},
        )
        batch = ended(client, created.id)
        assert batch.status == "completed"
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (20, 20, 0)
        assert batch.error_file_id is None
        done = results(client, batch.output_file_id)
        bill = provider.bill()
        (billed,) = bill["lines"]
        assert (billed["batch"], billed["replies"]) == (True, 20)
        tokens = [item["response"]["body"]["usage"] for item in done.values()]
        expected = sum(u["prompt_tokens"] + 2 * u["completion_tokens"] for u in tokens) / 2e6
        assert bill["usd"] == pytest.approx(expected)
        assert batch.usage.input_tokens == sum(u["prompt_tokens"] for u in tokens)
        assert batch.usage.output_tokens == sum(u["completion_tokens"] for u in tokens)
        assert list(done) != [f"row-{i}" for i in range(20)], "the order of an output file is not the input's"
        for i in range(20):
            single = client.chat.completions.with_raw_response.create(**body(i))
            assert done[f"row-{i}"]["response"]["body"] == json.loads(single.content)
            assert done[f"row-{i}"]["error"] is None


def test_a_batch_moves_on_while_it_is_watched() -> None:
    with FakeProvider({"rules": RULES, "batch": {"seconds": 0.4}}) as provider:
        client = sdk(provider)
        id = submit(client, [line(i) for i in range(40)]).id
        seen = []
        while (batch := look(client, id)).status == "in_progress":
            assert batch.output_file_id is None
            seen.append(batch.request_counts.completed)
            time.sleep(0.02)
        assert batch.status == "completed"
        assert seen == sorted(seen)
        assert len(set(seen)) > 2


def test_failed_and_expired_lines_come_in_the_error_file_and_a_second_batch_can_have_them() -> None:
    faults = [
        {"kind": "status", "status": 500, "share": 0.2, "attempts": 1},
        {"kind": "reset", "share": 0.1, "attempts": 1},
    ]
    with FakeProvider({"rules": RULES, "faults": faults, "batch": {"seconds": 0, "expired_share": 0.2}}) as provider:
        client = sdk(provider)
        todo, rounds = {f"row-{i}": line(i) for i in range(100)}, 0
        first: Any = None
        while todo:
            rounds += 1
            assert rounds < 20
            batch = ended(client, submit(client, list(todo.values())).id)
            first = first or batch
            if batch.output_file_id:
                for custom_id in results(client, batch.output_file_id):
                    del todo[custom_id]
            if batch.error_file_id:
                bad = results(client, batch.error_file_id)
                assert set(bad) == set(todo)
                codes = {(i["error"] or {}).get("code") or i["response"]["status_code"] for i in bad.values()}
                assert codes <= {"batch_expired", 500}
                assert all((i["response"] is None) == (i["error"] is not None) for i in bad.values())
        assert first.status == "expired"
        assert first.request_counts.failed == pytest.approx(44, abs=15)
        assert rounds > 1
        assert provider.bill()["finished"] == 100


def test_a_cancelled_batch_keeps_what_was_done() -> None:
    with FakeProvider({"rules": RULES, "batch": {"seconds": 5, "cancel_seconds": 0.1}}) as provider:
        client = sdk(provider)
        id = submit(client, [line(i) for i in range(100)]).id
        time.sleep(0.1)
        assert client.batches.cancel(id).status == "cancelling"
        batch = ended(client, id)
        assert batch.status == "cancelled"
        done = batch.request_counts.completed
        assert 0 < done < 100
        assert len(results(client, batch.output_file_id)) == done == provider.bill()["finished"]
        with pytest.raises(openai.BadRequestError, match="cancelled"):
            client.batches.cancel(id)


PROBLEMS: list[tuple[list[Any], str, int | None]] = [
    ([], "empty_file", None),
    ([line(0), "{broken"], "invalid_json_line", 2),
    ([line(0), line(1, custom_id="row-0")], "duplicate_custom_id", 2),
    ([line(0), line(1, body=body(1, "other"))], "mismatched_model", 2),
    ([line(0, url="/v1/embeddings")], "mismatched_endpoint", 1),
    ([line(0, method="GET")], "mismatched_endpoint", 1),
    ([{"method": "POST"}], "missing_required_parameter", 1),
    ([line(0, body={"messages": []})], "missing_required_parameter", 1),
    ([line(i) for i in range(11)], "file_too_large", None),
]


@pytest.mark.parametrize(("lines", "code", "number"), PROBLEMS, ids=[p[1] for p in PROBLEMS])
def test_a_bad_file_fails_the_batch_and_says_where(lines: list[Any], code: str, number: int | None) -> None:
    with FakeProvider({"rules": RULES, "batch": {"max_lines": 10}}) as provider:
        client = sdk(provider)
        batch = ended(client, submit(client, lines).id)
        assert batch.status == "failed"
        (problem,) = batch.errors.data
        assert (problem.code, problem.line) == (code, number)
        assert len(problem.message.split()) > 3
        assert provider.bill()["requests"] == 0


def test_enqueued_tokens_are_limited_over_all_batches_under_way() -> None:
    with FakeProvider({"rules": RULES, "batch": {"seconds": 0.5, "max_enqueued_tokens": 150}}) as provider:
        client = sdk(provider)
        first = submit(client, [line(i) for i in range(10)])
        second = submit(client, [line(i) for i in range(10)])
        failed = ended(client, second.id)
        assert [p.code for p in failed.errors.data] == ["token_limit_exceeded"]
        assert ended(client, first.id).status == "completed"
        assert ended(client, submit(client, [line(i) for i in range(10)]).id).status == "completed"


def test_a_line_that_a_model_refuses_fails_alone() -> None:
    with FakeProvider({"rules": RULES, "models": ["m"], "batch": {"seconds": 0}}) as provider:
        client = sdk(provider)
        batch = ended(client, submit(client, [line(0), line(1, body={**body(1), "n": 0})]).id)
        assert set(results(client, batch.output_file_id)) == {"row-0"}
        assert results(client, batch.error_file_id)["row-1"]["response"]["status_code"] == 400
        unknown = ended(client, submit(client, [line(0, body=body(0, "x"))]).id)
        assert results(client, unknown.error_file_id)["row-0"]["response"]["status_code"] == 404


def test_files_can_be_listed_read_and_deleted() -> None:
    with FakeProvider({"rules": RULES}) as provider:
        client = sdk(provider)
        ids = [upload(client, [line(i)]) for i in range(5)]
        assert [f.id for f in client.files.list(limit=2)] == ids[::-1], "the SDK walks the pages"
        file = client.files.retrieve(ids[0])
        assert (file.purpose, file.filename, file.bytes) == ("batch", "in.jsonl", len(json.dumps(line(0))) + 1)
        assert json.loads(client.files.content(ids[0]).text) == line(0)
        assert client.files.delete(ids[0]).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(ids[0])
        batches = [submit(client, [line(i)]).id for i in range(3)]
        assert [b.id for b in client.batches.list(limit=2)] == batches[::-1]


def test_a_large_file_is_taken() -> None:
    with FakeProvider({"rules": RULES}) as provider:
        content = b"x" * 20_000_000
        file = sdk(provider).files.create(file=("big", io.BytesIO(content)), purpose="batch")
        assert file.bytes == len(content)


def test_mistakes_about_batches_are_sentences() -> None:
    with FakeProvider({"rules": RULES}) as provider:
        client = sdk(provider)
        id = upload(client, [line(0)])
        with pytest.raises(openai.NotFoundError, match="No such File"):
            client.batches.create(input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h")
        with pytest.raises(openai.BadRequestError, match="endpoint"):
            client.batches.create(input_file_id=id, endpoint="/v1/responses", completion_window="24h")
        with pytest.raises(openai.BadRequestError, match="24h"):
            client.batches.create(input_file_id=id, endpoint="/v1/completions", completion_window="1h")  # type: ignore[arg-type]
        other = client.files.create(file=("a", b"x"), purpose="fine-tune").id
        with pytest.raises(openai.BadRequestError, match="uploaded for 'fine-tune'"):
            client.batches.create(input_file_id=other, endpoint="/v1/chat/completions", completion_window="24h")
        with pytest.raises(openai.NotFoundError, match="batch_x"):
            client.batches.retrieve("batch_x")
        with pytest.raises(openai.BadRequestError, match="'limit'"):
            client.files.list(limit=0)


def test_polling_can_fail_too() -> None:
    faults = [{"kind": "status", "status": 503, "share": 1, "attempts": 2, "when": {"path": "batches"}}]
    with FakeProvider({"rules": RULES, "faults": faults, "batch": {"seconds": 0}}) as provider:
        client = sdk(provider)
        statuses = []
        for _ in range(3):
            try:
                statuses.append(submit(client, [line(0)]).status)
            except openai.InternalServerError as error:
                statuses.append(error.status_code)
        assert statuses == [503, 503, "validating"]
