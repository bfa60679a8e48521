"""What answers mean: an outcome of the input, another attempt, or the endpoint's refusal in one sentence."""

import json
import time
from email.utils import formatdate
from typing import Any

import pytest

from pipeline.errors import ModelError
from pipeline.llm.faults import Again, Answer, judge, left_alone, nobody_there, retry_after
from pipeline.llm.reading import Reading
from tests.scripted import said, spec_of

SPEC = spec_of(api_key_env="SOME_KEY")


def verdict(status: int, message: str = "no", headers: dict[str, str] | None = None, **error: Any) -> Any:
    body = json.dumps({"error": {"message": message} | error})
    return judge(SPEC, Answer(status=status, headers=headers or {}, body=body))


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 524, 529])
def test_faults_that_pass_are_tried_again(status: int) -> None:
    again = verdict(status)
    assert isinstance(again, Again)
    assert again.limited == (status == 429)
    assert again.down == (status >= 500)
    assert not again.paid


@pytest.mark.parametrize("body", ["", "{", "<html>", '{"choices": []}', said("x").data.decode()[:-9]])
def test_a_broken_success_is_tried_again_and_may_be_paid(body: str) -> None:
    again = judge(SPEC, Answer(status=200, headers={}, body=body))
    assert isinstance(again, Again)
    assert again.paid


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (
            400,
            {"message": "This model's maximum context length is 4096 tokens", "code": "context_length_exceeded"},
            "refused",
        ),
        (400, {"message": "messages: at least one message is required"}, "refused"),
        (413, {"message": "payload too large"}, "refused"),
        (422, {"message": "Input should be a valid string", "param": "messages"}, "refused"),
        (400, {"message": "filtered", "code": "content_filter"}, "content_filter"),
        (400, {"message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation_ContentFilter"}}, "content_filter"),
        (
            400,
            {"message": "Input may contain inappropriate content", "code": "data_inspection_failed"},
            "content_filter",
        ),
        (400, {"message": "sensitive", "code": "1301"}, "content_filter"),
    ],
)
def test_a_400_for_this_input_is_its_outcome(status: int, error: dict[str, Any], outcome: str) -> None:
    reading = verdict(status, **error)
    assert isinstance(reading, Reading)
    assert (reading.outcome, reading.text) == (outcome, error["message"])


@pytest.mark.parametrize(
    ("status", "error", "sentence"),
    [
        (404, {"message": "The model `m` does not exist"}, "there is no model 'm'"),
        (400, {"message": "Model Not Exist", "type": "invalid_request_error"}, "there is no model 'm'"),
        (400, {"message": "模型不存在", "code": "1211"}, "there is no model 'm'"),
        (
            400,
            {"message": "Unsupported parameter: 'max_tokens'", "code": "unsupported_parameter"},
            "parameter is not accepted",
        ),
        (400, {"message": "Unrecognized request argument supplied: foo"}, "parameter is not accepted"),
        (422, {"message": "[{'type': 'extra_forbidden', 'loc': ('body', 'foo')}]"}, "parameter is not accepted"),
        (402, {"message": "Insufficient Balance"}, "no credit left"),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "no credit left"),
        (429, {"message": "arrears", "code": "1113"}, "no credit left"),
        (405, {"message": "Method Not Allowed"}, "the call is refused"),
    ],
)
def test_refusals_of_all_we_ask_end_the_run(status: int, error: dict[str, Any], sentence: str) -> None:
    refusal = verdict(status, **error)
    assert isinstance(refusal, ModelError)
    assert sentence in refusal.message
    assert "http://model.test/v1" in refusal.message
    assert refusal.hint


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_names_its_variable(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    assert "SOME_KEY is not set" in verdict(status).message
    monkeypatch.setenv("SOME_KEY", "sk-something")
    assert "the key in SOME_KEY is refused" in verdict(status).message
    nameless = judge(spec_of(), Answer(status=401, headers={}, body=""))
    assert isinstance(nameless, ModelError)
    assert "LLM_API_KEY is not set" in nameless.message


def test_the_hint_names_the_setting_of_the_role() -> None:
    missing = Answer(status=404, headers={}, body="")
    judged = judge(spec_of(role="judge"), missing)
    assert isinstance(judged, ModelError)
    assert "models.judge.model" in str(judged)
    assert "LLM_MODEL" in str(judge(spec_of(), missing))


def test_an_error_page_is_cut_short() -> None:
    refusal = judge(SPEC, Answer(status=404, headers={}, body="<html>" + "not here\n" * 500))
    assert isinstance(refusal, ModelError)
    assert len(refusal.message) < 500
    assert "\n" not in refusal.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"retry-after": "7"}, 7.0), ({"retry-after": "0.5"}, 0.5), ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
     ({"retry-after": "-3"}, 0.0), ({"retry-after": "soon"}, None), ({"retry-after": "nan"}, None),
     ({"retry-after": "inf"}, None), ({}, None)],
)  # fmt: skip
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
    limited = verdict(429, headers=headers)
    assert limited.wait == seconds


def test_retry_after_as_a_date() -> None:
    wait = retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert wait is not None
    assert 27 < wait <= 30
    assert retry_after({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0.0


def test_other_sentences_say_what_to_do() -> None:
    assert "nobody answers there (role default: connection refused)" in nobody_there(SPEC, "connection refused").message
    assert "left alone for 60 min" in left_alone(SPEC, 3600, "HTTP 429").message
